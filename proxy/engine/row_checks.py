"""Checks of the rows that a statement writes, carried by its own RETURNING.

    RETURNING …, CASE WHEN <the row, as it will stand, may be written> THEN NULL
                      ELSE CAST(pg_catalog.concat('_5f3a…:0:') AS pg_catalog.int4) END AS …

RETURNING sees the row as it is stored: after defaults, triggers and ON CONFLICT, wherever it was routed to. A cast that
fails (22P02) fails the whole statement, in whose own snapshot the conditions were read; the session says what it means.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.catalog.model import Column
from proxy.engine.aliases import TOKEN, alias
from proxy.engine.conditions import RowConditions
from proxy.policy.model import (
    AccountCondition,
    ConsentCondition,
    Decision,
    Outcome,
    SubjectKind,
    TablePolicy,
)
from proxy.sql.quote import identifier, qualified
from proxy.sql.writing import Given

CHECK = alias("x")
"""The name of the result column that carries the check. It never reaches a client."""
_NEW = f"consentry.n{TOKEN}"
_LEFT = f"consentry.d{TOKEN}"
"""Settings, local to the transaction, so that they follow savepoints and rollbacks as the rows do: the subjects that
were registered in it, and what is left to its commit."""
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

    def writing(self, conditions: RowConditions) -> str:
        """SQL: a value may stand in the row."""
        if self.decision.outcome is not Outcome.ALLOW:
            return "false"
        return conditions.sql(self.decision.conditions, self.rows) if self.decision.conditions else "true"


@dataclass(frozen=True, slots=True)
class Check:
    """What all of ``columns`` demand of a row. ``allowed`` is SQL."""

    allowed: str
    columns: tuple[Written, ...]


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


def failing(mark: int | str) -> str:
    """An int4 that fails with ``<TOKEN>:<mark>`` in the error. Not folded while planning: concat() is not immutable."""
    return f"CAST(pg_catalog.concat('{TOKEN}:{mark}:') AS {_INT4})"


def failing_as(mark: int, column: Column) -> str:
    """The failure as an expression of ``column``'s type."""
    return f"CAST(CAST({failing(mark)} AS {_TEXT}) AS {column.base_sql or column.type_sql})"


def immediate(check: Check, number: int) -> str:
    """NULL of type int4, or the failure ``number``."""
    return f"CASE WHEN {check.allowed} THEN NULL ELSE {failing(number)} END"


def combined(items: list[str]) -> str:
    """NULL of type int4, once every item is evaluated."""
    if len(items) == 1:
        return items[0]
    return f"CASE WHEN pg_catalog.num_nulls({', '.join(items)}) IS NULL THEN 0 END"


# --- registration in one transaction ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deferral:
    """Part of a check that is left to the commit where the subject was registered in this transaction.

    ``sql`` is the query that makes it then; ``at_once`` (SQL) must hold all the same.
    """

    id: str
    sql: str
    key: str
    kind: str
    at_once: str


def deferral(check: Check, kind: SubjectKind, conditions: RowConditions, registry: RowConditions) -> Deferral | None:
    """What of ``check`` may be left to the commit; None where nothing of it asks for consent.

    ``registry`` are the conditions of the registry's own rows.
    """
    written = [one for one in check.columns if one.decision.outcome is Outcome.ALLOW]
    decisive = [one for one in written if any(isinstance(each, ConsentCondition) for each in one.decision.conditions)]
    if not decisive or len(written) != len(check.columns) or any(one.rows.subject is None for one in decisive):
        return None
    at_once, later = [], []
    for one in written:
        for each in one.decision.conditions:
            if isinstance(each, ConsentCondition | AccountCondition):
                later.append(registry.sql((each,), registry.table))
            if isinstance(each, AccountCondition):
                # Where the account is made in the same statement, its state cannot be seen before the commit.
                at_once.append(f"({conditions.sql((each,), one.rows)}) IS NOT FALSE")
            elif not isinstance(each, ConsentCondition):
                at_once.append(conditions.sql((each,), one.rows))
    key = conditions.key(decisive[0].rows)
    if key is None:
        return None
    terms = " AND ".join(f"({term})" for term in dict.fromkeys(later))
    mark = hashlib.sha256(terms.encode()).hexdigest()[:12]
    return Deferral(
        mark, _later(mark, kind, registry, terms), key, kind.name, " AND ".join(dict.fromkeys(at_once)) or "true"
    )


def deferred(check: Check, number: int, deferral: Deferral, *, registers: bool) -> str:
    """As :func:`immediate`, but for a subject that is new: then the check is left to the commit.

    ``registers``: the row is the subject's own in the registry, and new.
    """
    new = "true" if registers else _is_new(deferral)
    left = _noted(_LEFT, f"{deferral.id}:", deferral.key)
    return (
        f"CASE WHEN {check.allowed} THEN NULL WHEN ({deferral.at_once}) AND {new} THEN {left}"
        f" ELSE {failing(number)} END"
    )


def registered(kind: SubjectKind, key: str) -> str:
    """Notes that the subject ``key`` (SQL) is new in this transaction; NULL of type int4."""
    return _noted(_NEW, f"{kind.name.encode().hex()}:", key)


def _encoded(key: str) -> str:
    """A key as hex digits: no key can be taken for several."""
    return f"pg_catalog.encode(pg_catalog.convert_to(({key})::{_TEXT}, 'UTF8'), 'hex')"


def _noted(setting: str, prefix: str, key: str) -> str:
    known = f"pg_catalog.current_setting('{setting}', true)"
    noted = f"pg_catalog.concat({known}, '{prefix}', {_encoded(key)}, E'\\n')"
    return f"CASE WHEN pg_catalog.set_config('{setting}', {noted}, true) IS NULL THEN 0 END"


def _is_new(deferral: Deferral) -> str:
    entry = f"pg_catalog.concat(E'\\n', '{deferral.kind.encode().hex()}:', {_encoded(deferral.key)}, E'\\n')"
    known = f"pg_catalog.concat(E'\\n', pg_catalog.current_setting('{_NEW}', true))"
    return f"(pg_catalog.strpos({known}, {entry}) OPERATOR(pg_catalog.>) 0)"


def still_new(deferral: Deferral, *, registers: bool) -> str:
    """SQL, over many rows: the subject is new in this transaction, and what cannot wait holds of the row."""
    if registers:
        return f"({deferral.at_once})"
    entry = alias("e")
    lines = f"pg_catalog.string_to_array(pg_catalog.current_setting('{_NEW}', true), E'\\n')"
    own = f"pg_catalog.concat('{deferral.kind.encode().hex()}:', {_encoded(deferral.key)})"
    return (
        f"(({deferral.at_once}) AND {own} OPERATOR(pg_catalog.=) ANY"
        f" (SELECT {entry} FROM pg_catalog.unnest({lines}) AS {entry}))"
    )


def all_left(deferral: Deferral, condition: str) -> str:
    """An aggregate that leaves to the commit what ``condition`` (SQL) says of many rows."""
    return _all_noted(_LEFT, f"{deferral.id}:", deferral.key, condition)


def all_registered(kind: SubjectKind, key: str) -> str:
    """An aggregate that notes of many rows that the subject ``key`` (SQL) is new in this transaction."""
    return _all_noted(_NEW, f"{kind.name.encode().hex()}:", key, "true")


def _all_noted(setting: str, prefix: str, key: str, condition: str) -> str:
    known = f"pg_catalog.current_setting('{setting}', true)"
    entry = f"CASE WHEN {condition} THEN pg_catalog.concat('{prefix}', {_encoded(key)}, E'\\n') END"
    noted = f"pg_catalog.concat({known}, pg_catalog.string_agg({entry}, ''))"
    return f"pg_catalog.length(pg_catalog.set_config('{setting}', {noted}, true))"


def _later(mark: str, kind: SubjectKind, registry: RowConditions, terms: str) -> str:
    """The query over every subject that was left to the commit under ``mark``: one that has gone fails too."""
    pending, entry = alias("p"), alias("e")
    prefix = f"'{mark}:'"
    key = f"pg_catalog.convert_from(pg_catalog.decode(pg_catalog.substr({entry}, {len(mark) + 2}), 'hex'), 'UTF8')"
    lines = f"pg_catalog.string_to_array(pg_catalog.current_setting('{_LEFT}', true), E'\\n')"
    column = registry.relation.column(kind.key)
    type_sql = _TEXT if column is None else column.base_sql or column.type_sql
    left = f"SELECT DISTINCT {key} AS key FROM pg_catalog.unnest({lines}) AS {entry}"
    left = f"({left} WHERE pg_catalog.starts_with({entry}, {prefix})) AS {pending}"
    on = f"{registry.base}.{identifier(kind.key)} OPERATOR(pg_catalog.=) ({pending}.key)::{type_sql}"
    rows = f"{left} LEFT JOIN {qualified(*kind.table)} AS {registry.base} ON {on}"
    failed = f"CASE WHEN {terms} THEN NULL ELSE {failing(mark)} END"
    return f"SELECT pg_catalog.count({failed}) FROM {rows}"
