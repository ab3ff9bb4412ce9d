"""The tour: plays every scene against the running servers, then shows what the audit has of them."""

from __future__ import annotations

from typing import Any

import psycopg
from rich.console import Console
from rich.json import JSON
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from proxy.audit import chain
from proxy.demo.cast import CAST
from proxy.demo.scenes import SCENES
from proxy.demo.servers import Servers
from proxy.demo.stage import SceneFailed, Stage


def run_tour(servers: Servers, console: Console) -> bool:
    """Plays all scenes; True if every one showed what it must."""
    failures: list[str] = []
    events: dict[str, list[dict[str, Any]]] = {}
    with psycopg.connect(servers.direct_dsn(), autocommit=True) as database:
        for number, scene in enumerate(SCENES, 1):
            stage = Stage(servers, console, f"tour {number}", database)
            console.print(Rule(f"{number}. {scene.title}", style="dim"), Text(scene.why, "italic"))
            try:
                scene.play(stage)
                events[scene.title] = stage.audited()
            except (SceneFailed, psycopg.Error) as error:
                console.print(Text(f"✗ {error}", "bold red"))
                failures.append(scene.title)
            else:
                console.print(Text("✓", "bold green"))
        console.print(Rule("The audit", style="dim"), _audit_table(events))
        for event in [event for found in events.values() for event in found if event["verdict"] == "reject"]:
            console.print(Text("One of them as it is written:", "italic"), JSON.from_data(event, ensure_ascii=False))
        problems = _audit_problems(servers, database)
    for problem in problems:
        console.print(Text(f"✗ {problem}", "bold red"))
    passed = len(SCENES) - len(failures)
    console.print(
        Text(f"{passed} of {len(SCENES)} scenes showed what they must.", "bold red" if failures else "bold green")
    )
    return not failures and not problems


def _audit_table(events: dict[str, list[dict[str, Any]]]) -> Table:
    """One line for each statement: who, why, what, and what was decided of which columns."""
    table = Table(header_style="dim", expand=True)
    for column, width in (("role", 13), ("purpose", 9), ("verdict", 7)):
        table.add_column(column, no_wrap=True, width=width)
    table.add_column("statement, columns", overflow="fold")
    colours = {"reject": "bold red", "mask": "yellow", "allow": "green", "pass": "dim"}
    for event in (event for found in events.values() for event in found):
        columns = ", ".join(f"{use['column'].rpartition('.')[2]}: {use['decision']}" for use in event["columns"])
        what = Text.assemble(event["statement"], (f"  {columns}" if columns else "", "dim"))
        verdict = Text(event["verdict"], colours.get(event["verdict"], ""))
        table.add_row(event["role"], event["purpose"] or "-", verdict, what)
    return table


def _audit_problems(servers: Servers, database: psycopg.Connection[tuple[Any, ...]]) -> list[str]:
    """What is wrong with the audit as a whole: a broken chain, or a value of the cast in it."""
    content = servers.audit.read_bytes()
    found = [
        f"audit line {finding.line}: {finding.message}" for finding in chain.verify(content.splitlines(keepends=True))
    ]
    values = database.execute(
        "SELECT full_name, phone, id_number, email FROM subscribers WHERE id <= %s", [len(CAST)]
    ).fetchall()
    leaked = [value for row in values for value in row if value.encode() in content]
    return found + [f"the audit holds a value of a classified column: {value}" for value in leaked]
