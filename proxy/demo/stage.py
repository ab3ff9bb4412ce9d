"""Where the scenes of the tour play: sessions through consentry, compared with the database itself, cell by cell."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import contains
from typing import Any, NamedTuple

import psycopg
from rich.console import Console, Group
from rich.measure import Measurement
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from proxy.demo.servers import Servers

AUDIT_SECONDS = 5.0


class SceneFailed(AssertionError):
    """A scene did not show what it must."""


class Rows(NamedTuple):
    """A result: names of the columns, of which the first identifies the row, and the rows."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


MASKS: Mapping[str, Callable[[str], object]] = {
    "full_name": lambda value: value[0] + "**",
    "phone": lambda value: f"{value[:3]}****{value[-4:]}",
    "callee": lambda value: f"{value[:3]}****{value[-4:]}",
    "id_number": lambda value: f"{value[0]}****{value[-1]}",
    "address": lambda value: value[:6] + "****",
    "email": lambda value: f"{value[0]}****@{value.partition('@')[2]}",
}
"""What shows of a hidden cell, column by column: said here once more, so that the proxy's word is not taken for it."""


class Session:
    """One connection through consentry, and what it must see."""

    def __init__(self, stage: Stage, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._stage = stage
        self._connection = connection

    def sees(self, query: str, hidden: Mapping[int, Collection[str]]) -> Rows:
        """Runs `query` here and in the database itself, shows both, and fails unless exactly `hidden` is masked.

        `hidden` maps what identifies a row to the columns whose cells may not show.
        """
        stored, seen = self._stage.stored(query), _fetch(self._connection, query)
        expected = [
            tuple(
                MASKS[column](cell) if cell is not None and column in hidden.get(row[0], ()) else cell
                for column, cell in zip(stored.columns, row, strict=True)
            )
            for row in stored.rows
        ]
        self._stage.show(query, stored, seen)
        self._stage.verdicts.append({"mask", "allow"})
        if seen != Rows(stored.columns, expected):
            raise SceneFailed(f"should have been {expected}")
        return seen

    def finds(self, query: str, rows: Sequence[tuple[Any, ...]], verdicts: Collection[str]) -> None:
        """Runs `query` here and in the database itself, shows both, and fails unless it gives `rows` here.

        `verdicts` are those that the audit may have of it.
        """
        seen = _fetch(self._connection, query)
        self._stage.show(query, self._stage.stored(query), seen)
        self._stage.verdicts.append(verdicts)
        if seen.rows != list(rows):
            raise SceneFailed(f"should have been {rows}")

    def is_refused(self, query: str, sqlstate: str = "42501") -> None:
        """Runs `query` here and fails unless it is refused with DETAIL and HINT; shows the error."""
        try:
            seen = _fetch(self._connection, query)
        except psycopg.Error as error:
            self._stage.show_error(query, error)
            self._stage.verdicts.append({"reject"})
            if error.sqlstate != sqlstate:
                raise SceneFailed(f"should have been refused with {sqlstate}") from error
            if not (error.diag.message_detail and error.diag.message_hint):
                raise SceneFailed("a refusal has a DETAIL and a HINT") from error
            return
        self._stage.show(query, self._stage.stored(query), seen)
        raise SceneFailed("should have been refused")


@dataclass
class Stage:
    """One scene's view of the servers. `application` marks its sessions in the audit.

    `verdicts`, for each statement that ran so far: what the audit may say of it.
    """

    servers: Servers
    console: Console
    application: str
    database: psycopg.Connection[tuple[Any, ...]]
    verdicts: list[Collection[str]] = field(default_factory=list, init=False)

    @contextmanager
    def session(self, role: str, *, purpose: str | None = None, subject: str | None = None) -> Iterator[Session]:
        """Connects through consentry, declaring what is given."""
        settings = {"consentry.purpose": purpose, "consentry.subject": subject}
        declared = {name: value for name, value in settings.items() if value is not None}
        self.console.print(
            Text(f"{role}, {f'for {purpose}' if purpose else 'no purpose declared'}", "bold cyan"), end=""
        )
        self.console.print(Text(f", serving {subject}" if subject else "", "bold cyan"))
        dsn = self.servers.dsn(role, **declared)
        with psycopg.connect(dsn, autocommit=True, application_name=self.application) as connection:
            yield Session(self, connection)

    def direct(self, statement: str) -> None:
        """Changes the database itself, beside consentry: as another application would."""
        self.console.print(Text(f"  meanwhile, directly in the database: {statement}", "magenta"))
        self.database.execute(statement.encode())

    def stored(self, query: str) -> Rows:
        """What the database itself holds."""
        return _fetch(self.database, query)

    def show(self, query: str, stored: Rows, seen: Rows) -> None:
        """Raw beside seen."""
        tables = _table("stored", stored, None), _table("seen", seen, stored)
        beside = Table.grid(padding=(0, 3))
        beside.add_row(*tables)
        unbounded = self.console.options.update(max_width=1000)
        fits = Measurement.get(self.console, unbounded, beside).maximum <= self.console.width
        self.console.print(_code(query), beside if fits else Group(*tables))

    def show_error(self, query: str, error: psycopg.Error) -> None:
        """A refusal as psql would show it."""
        diag = error.diag
        lines = [(f"{diag.severity}: ", f"{diag.message_primary} ({error.sqlstate})")]
        lines += [("DETAIL: ", diag.message_detail or ""), ("HINT: ", diag.message_hint or "")]
        text = Text("\n").join(Text.assemble((label, "bold red"), words) for label, words in lines)
        self.console.print(Group(_code(query), Panel(text, border_style="red", expand=False)))

    def audited(self) -> list[dict[str, Any]]:
        """The audit's `statement` events of this scene. Fails unless there is the right one for each statement."""
        deadline = time.monotonic() + AUDIT_SECONDS
        while len(found := self._events()) < len(self.verdicts) and time.monotonic() < deadline:
            time.sleep(0.05)
        verdicts = [event["verdict"] for event in found]
        if len(found) != len(self.verdicts) or not all(map(contains, self.verdicts, verdicts)):
            raise SceneFailed(f"the audit has {verdicts} where it should have {list(map(sorted, self.verdicts))}")
        return found

    def _events(self) -> list[dict[str, Any]]:
        mine = (event for event in audit_events(self.servers) if event.get("application") == self.application)
        return [event for event in mine if event["event"] == "statement"]


def audit_events(servers: Servers) -> list[dict[str, Any]]:
    """Every whole line of the audit so far."""
    lines = servers.audit.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _fetch(connection: psycopg.Connection[tuple[Any, ...]], query: str) -> Rows:
    cursor = connection.execute(query.encode())
    columns = tuple(column.name for column in cursor.description or ())
    return Rows(columns, cursor.fetchall() if columns else [])


def _code(query: str) -> Syntax:
    return Syntax(query, "sql", theme="ansi_dark", background_color="default", word_wrap=True, padding=(0, 2))


def _table(title: str, shown: Rows, stored: Rows | None) -> Table:
    """A result as a table. Beside what is stored, equal cells are green and others red."""
    table = Table(title=title, title_style="bold", header_style="dim")
    for column in shown.columns:
        table.add_column(column, no_wrap=True)
    raw = {row[0]: row for row in stored.rows} if stored else {}
    for row in shown.rows:
        beside = raw.get(row[0], (None,) * len(row)) if stored else None
        table.add_row(*(_cell(cell, beside and beside[index], stored is not None) for index, cell in enumerate(row)))
    return table


def _cell(cell: object, stored: object, compared: bool) -> Text:
    text = "NULL" if cell is None else str(cell)
    return Text(text, "" if not compared else "green" if cell == stored else "bold red")
