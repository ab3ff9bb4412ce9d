"""docs/operations.md leaves nothing out: every flag, variable, key, exit code, finding, event and audit field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from proxy.audit import chain
from proxy.audit.journal import AuditJournal
from proxy.audit.tally import Tally
from proxy.cli import COMMANDS, Code, application, configuration, metrics
from proxy.cli.administration import PAGES
from proxy.cli.configuration_file import ConfigurationFile
from proxy.cli.report import Report
from proxy.errors import Refusal
from proxy.journal import SessionFacts
from proxy.policy.in_force import Policies
from proxy.policy.model import Contact, Policy
from proxy.server import Served
from proxy.verdict import ColumnUse, StatementVerdict

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def documented(words: set[str]) -> None:
    """Each word stands in the text as code, alone or as the start of an example."""
    assert words, "nothing to look for"
    assert {
        word for word in words if not re.search(rf"`[^`\n]*(?<![\w.-]){re.escape(word)}(?![\w.-])[^`\n]*`", TEXT)
    } == set()


def options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from (name for name in parameter.opts if name.startswith("--"))
    for inner in getattr(command, "commands", {}).values():
        yield from options(inner)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "schema"])
def test_flags(command: str) -> None:
    group: Any = typer.main.get_command(application(command))
    documented({flag for flag in options(group.commands[command]) if flag != "--help"})


def test_commands() -> None:
    assert {name for name in COMMANDS if f"`consentry {name}" not in TEXT} == set()


def test_environment() -> None:
    documented(
        {*configuration.ENVIRONMENT.values(), configuration.CONFIG, configuration.HASH_KEY, configuration.AUDIT_KEY}
    )


def keys(form: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in form.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_configuration_keys() -> None:
    rows = set(re.findall(r"^\| `([\w.]+)` \|", TEXT, re.MULTILINE))
    assert set(keys(ConfigurationFile)) - rows == set()


def test_exit_codes() -> None:
    assert {code for code in Code if not re.search(rf"^\| {code.value} \|", TEXT, re.MULTILINE)} == set()


def test_findings() -> None:
    documented(set(re.findall(r'"((?:damaged|broken|torn)-\w+)"', Path(chain.__file__).read_text())))


class Lines(list[bytes]):
    def write(self, line: bytes) -> None:
        self.append(line)

    def close(self) -> None:
        """Nothing to close."""


def names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names(inner)


def test_events_and_their_fields() -> None:
    lines = Lines()
    journal = AuditJournal(lines, hash_key=b"k" * 16, observing=True)
    policy = Policy("p", "d", Contact(), {}, {}, {}, {}, {})
    use = ColumnUse("c", "name", "general", "read", "mask", ("consent",), "r")
    statement = StatementVerdict("mask", "SELECT", "SELECT ?", "f", "billing", (use,), (("person", "1"),))
    facts = SessionFacts("s", "c")
    journal.start(Policies(policy, {"crm": policy}), b"torn")
    journal.reload(Policies(policy))
    journal.session_start(facts)
    journal.purpose_change(facts, "billing")
    journal.statement(facts, "e", statement, policy, Refusal("42501", "consentry: no"))
    journal.result(facts, "e", 1, 1.0, None)
    journal.refused_start(facts, "e", "42501", "consentry: no", "billing")
    journal.alarm(facts, "e", "row_description", ["c"])
    journal.conflict(facts, "e", "public.people", "people_key", "23505", ["limit"])
    journal.session_end(facts, None)
    journal.stop()
    events = [json.loads(line) for line in lines]
    methods = {name for name in vars(AuditJournal) if not name.startswith("_")} - {"new_event_id", "flush"}
    assert len({event["event"] for event in events}) == len(methods) + 1, "an event is not written here"
    documented({event["event"] for event in events})
    documented({name for event in events for name in names(event)})


def test_metrics() -> None:
    rows = re.findall(r"^\| `(consentry_\w+)` \| (\w+) \|([^|]*)\|", TEXT, re.MULTILINE)
    written_down = {
        name.removesuffix("_total"): (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows
    }
    report = Report(
        worker=0,
        started=0.0,
        accepting=True,
        served=Served(),
        sessions=(),
        policies=(),
        since=0.0,
        catalogs={},
        tally=Tally(),
    )
    families = list(text_string_to_metric_families(metrics.exposition([report], 0)))
    told = {name: ("counter", set(labels)) for name, (_, labels, _) in metrics.COUNTERS.items()}
    told |= {name: ("gauge", set(labels)) for name, (_, labels, _) in metrics.GAUGES.items()}
    told |= {metrics.DURATION: ("histogram", set()), metrics.WORKERS_UP: ("gauge", set())}
    told |= {metrics.RESTARTS: ("counter", set())}
    assert written_down == told
    assert {(family.name, family.type) for family in families} == {(name, kind) for name, (kind, _) in told.items()}


def test_pages() -> None:
    assert set(re.findall(r"^\| `(/\w*)` \|", TEXT, re.MULTILINE)) == set(PAGES)
