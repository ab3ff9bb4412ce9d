"""Checks of the rows that a statement writes, carried by its own RETURNING.

    RETURNING …, CASE WHEN <the row, as it will stand, may be written> THEN NULL
                      ELSE CAST(pg_catalog.concat('_5f3a…:0:') AS pg_catalog.int4) END AS …

RETURNING sees the row as it is stored: after defaults, triggers and ON CONFLICT, wherever it was routed to. A cast that
fails (22P02) fails the whole statement, in whose own snapshot the conditions were read; the session says what it means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from proxy.catalog.model import Column, Relation
from proxy.engine.aliases import TOKEN, alias
from proxy.engine.conditions import RowConditions
from proxy.engine.secured import column_use
from proxy.errors import Refusal
from proxy.policy.model import Decision, Name, Outcome, TablePolicy, Use
from proxy.sql.writing import Given
from proxy.verdict import ColumnUse

CHECK = alias("x")
"""The name of the result column that carries the check. It never reaches a client."""
_MODIFIER = re.compile(r"\([\d,]+\)$")
_TEXT, _INT4 = "pg_catalog.text", "pg_catalog.int4"


@dataclass(frozen=True, slots=True)
class Written:
    """One classified column that is written. ``decision`` is that on writing it; ``rows`` how the row reaches its
    subject. ``null``: a test (SQL) whether it comes to be NULL. ``erasable``: SQL, whether it may be made NULL.
    """

    column: str
    decision: Decision
    rows: TablePolicy
    given: frozenset[Given]
    null: str
    erasable: str
    as_it_was: bool = False
    """``erasable`` holds of the row as it was, and no longer of what it comes to be."""
    table: Name | None = None
    """Whose column it is, where it is not the target's: that of a table that reaches its subject through the row."""

    def writing(self, conditions: RowConditions) -> str:
        """SQL: a value may stand in the row."""
        if self.decision.outcome is not Outcome.ALLOW:
            return "false"
        return conditions.sql(self.decision.conditions, self.rows) if self.decision.conditions else "true"


@dataclass(frozen=True, slots=True)
class Check:
    """What all of ``columns`` demand of a row. ``allowed`` is SQL. ``refusal``: what it means that a row fails it, if
    not that ``columns`` may not be written. ``event``: the rows that it is about (those of one action of a MERGE), if
    not those in which ``columns`` are set.
    """

    allowed: str
    columns: tuple[Written, ...]
    refusal: Refusal | None = None
    event: str = ""


def checks(columns: Iterable[Written], conditions: RowConditions) -> list[Check]:
    """The demands that differ, without those that every row meets. Each is evaluated once a row."""
    found: dict[tuple[str, str], list[Written]] = {}
    for column in columns:
        found.setdefault((column.writing(conditions), column.erasable), []).append(column)
    made = [Check(_allowed(*demand, those), tuple(those)) for demand, those in found.items()]
    return [check for check in made if check.allowed != "true"]


def _allowed(written: str, erasable: str, columns: list[Written]) -> str:
    """SQL: all of ``columns`` may stand in the row, with their values where they have some."""
    if written == erasable:
        return written
    emptied = [column for column in columns if column.given <= {Given.NULL, Given.DEFAULT}]
    filled = [column for column in columns if column.given == {Given.CONSTANT}]
    open_ = [column.null for column in columns if column not in emptied and column not in filled]
    if erasable == "true":
        if len(emptied) == len(columns):
            return "true"
        return written if filled else f"({' AND '.join(open_)} OR {written})"
    either = [f"CASE WHEN {null} THEN {erasable} ELSE {written} END" for null in open_]
    terms = ([f"({erasable})"] if emptied else []) + ([f"({written})"] if filled else []) + either
    return " AND ".join(terms)


def written_use(target: Relation, one: Written) -> ColumnUse:
    """What audit and refusals say of it."""
    use = column_use(target, one.column, one.decision, Use.WRITE)
    if one.table is None:
        return use
    return replace(use, column=f"{one.table.schema}.{one.table.relation}.{one.column}")


def failing(mark: int | str) -> str:
    """An int4 that fails with ``<TOKEN>:<mark>`` in the error. Not folded while planning: concat() is not immutable."""
    return f"CAST(pg_catalog.concat('{TOKEN}:{mark}:') AS {_INT4})"


def unmodified(column: Column) -> str:
    """The type that a value for ``column`` is cast to before it is assigned: without the modifier, since an explicit
    cast to ``varchar(20)`` would cut what is too long, where the assignment fails."""
    return _MODIFIER.sub("", column.base_sql or column.type_sql)


def failing_as(mark: int, column: Column) -> str:
    """The failure as an expression of ``column``'s type."""
    return f"CAST(CAST({failing(mark)} AS {_TEXT}) AS {column.base_sql or column.type_sql})"


def immediate(check: Check, number: int, unless: str = "") -> str:
    """NULL of type int4, or the failure ``number``. ``unless``: another branch (SQL) before that."""
    return f"CASE WHEN {check.allowed} THEN NULL {unless} ELSE {failing(number)} END"


def combined(items: list[str]) -> str:
    """NULL of type int4, once every item is evaluated."""
    if len(items) == 1:
        return items[0]
    return f"CASE WHEN pg_catalog.num_nulls({', '.join(items)}) IS NULL THEN 0 END"
