"""Runs the same statements on two databases through the proxy, and keeps everything that a client can observe."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import yaml

from tests.fix_postgres import Database

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Attack:
    """One attempt: statements sent one after another on a connection of its own."""

    group: str
    name: str
    statements: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.group}: {self.name}"


def attacks() -> list[Attack]:
    """The named attempts of ``attacks.yaml``."""
    groups: dict[str, dict[str, str | list[str]]] = yaml.safe_load((HERE / "attacks.yaml").read_text("utf-8"))
    return [
        Attack(group, name, (sql,) if isinstance(sql, str) else tuple(sql))
        for group, members in groups.items()
        for name, sql in members.items()
    ]


@dataclass(slots=True)
class Observation:
    """Everything that a client sees of one statement."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    tags: list[str | None] = field(default_factory=list)
    columns: list[list[tuple[Any, ...]]] = field(default_factory=list)
    error: dict[str, str | None] | None = None
    notices: list[str | None] = field(default_factory=list)

    @property
    def refused_by_consentry(self) -> bool:
        return self.error is not None and (self.error["message"] or "").startswith("consentry:")


_ERROR_FIELDS = (
    "sqlstate severity_nonlocalized message_primary message_detail message_hint statement_position internal_position"
    " internal_query context schema_name table_name column_name datatype_name constraint_name"
).split()


def observe(dsn: str, statements: tuple[str, ...], options: str = "") -> list[Observation]:
    """Sends ``statements`` on a new connection; a COPY TO STDOUT is read to its end."""
    found = []
    with psycopg.connect(dsn, autocommit=True, options=options) as connection:
        notices: list[str | None] = []
        connection.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary))
        for statement in statements:
            notices.clear()
            observation = _observe(connection, statement)
            observation.notices = list(notices)
            found.append(observation)
    return found


def _observe(connection: psycopg.Connection[Any], statement: str) -> Observation:
    seen = Observation()
    with connection.cursor() as cursor:
        try:
            if statement.startswith("COPY"):
                with cursor.copy(statement) as copy:
                    seen.rows = [(bytes(block),) for block in copy]
                return seen
            cursor.execute(statement.encode())
            while True:
                seen.tags.append(cursor.statusmessage)
                if cursor.description is not None:
                    seen.columns.append(
                        [(c.name, c.type_code, c.internal_size, c.precision) for c in cursor.description]
                    )
                    seen.rows += cursor.fetchall()
                if not cursor.nextset():
                    break
        except psycopg.Error as error:
            details = {field: getattr(error.diag, field, None) for field in _ERROR_FIELDS}
            seen.error = {"message": str(error.diag.message_primary or error), **details}
            _blur(seen.error)
    return seen


def _blur(error: dict[str, str | None]) -> None:
    """The id of the audit event is new each time, and tells nothing."""
    detail = error["message_detail"]
    if detail is not None:
        error["message_detail"] = "\n".join(line for line in detail.splitlines() if not line.startswith("audit event"))


def build(database: Database, side: int) -> None:
    """Makes ``database`` one of the two (0 or 1)."""
    from tests.noninterference.rows import insert

    database.execute(insert(side) + (HERE / "schema.sql").read_text("utf-8"))
