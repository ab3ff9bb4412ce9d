"""Subjects that are registered and consent in one transaction: what of a check of rows is left to its commit.

Whom that concerns is remembered upstream, in settings that are local to the transaction: these follow savepoints and
rollbacks as the rows do, and need no privilege. They are lists of keys, spread over many settings by a hash of the key:
so finding or adding one costs the same however many there are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from proxy.engine.aliases import TOKEN, alias
from proxy.engine.conditions import RowConditions
from proxy.engine.row_checks import Check, failing
from proxy.policy.model import AccountCondition, ConsentCondition, Outcome, SubjectKind
from proxy.sql.quote import identifier, qualified
from proxy.verdict import TOO_MANY_LEFT

_NEW: Final = f"consentry.n{TOKEN}"
_LEFT: Final = f"consentry.d{TOKEN}"
"""How the settings begin that hold the subjects that were registered in a transaction, and what is left to its commit.
The number of the list comes behind."""
_LISTS: Final = 1024
"""A power of two. PostgreSQL keeps a setting, once it was set, as long as the connection lasts."""
_LIST_BYTES: Final = 32 * 1024
"""Of one list at most: 32 MiB in all, more than a million subjects with keys that are numbers."""
_TEXT: Final = "pg_catalog.text"


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


def deferred(check: Check, number: int, deferral: Deferral, *, registers: bool, unless: str = "") -> str:
    """As :func:`immediate`, but for a subject that is new: then the check is left to the commit.

    ``registers``: the row is the subject's own in the registry, and new. ``unless``: another branch (SQL) before it.
    """
    new = "true" if registers else _is_new(deferral)
    left = _noted(_LEFT, deferral.id, deferral.key)
    return (
        f"CASE WHEN {check.allowed} THEN NULL {unless} WHEN ({deferral.at_once}) AND {new} THEN {left}"
        f" ELSE {failing(number)} END"
    )


def noted(mark: str, key: str) -> str:
    """Notes that a check of ``key`` (SQL) is left to later under ``mark``; NULL of type int4."""
    return _noted(_LEFT, mark, key)


def pending(mark: str) -> str:
    """A query of every ``key`` (a text) whose check was left to later under ``mark``."""
    entry, number = alias("e"), alias("b")
    key = f"pg_catalog.convert_from(pg_catalog.decode(pg_catalog.substr({entry}, {len(mark) + 2}), 'hex'), 'UTF8')"
    listed = f"pg_catalog.current_setting(pg_catalog.concat('{_LEFT}_', {number}), true)"
    lists = f"pg_catalog.generate_series(0, {_LISTS - 1}) AS {number}"
    lines = f"pg_catalog.unnest(pg_catalog.string_to_array({listed}, E'\\n')) AS {entry}"
    return f"SELECT DISTINCT {key} AS key FROM {lists}, {lines} WHERE pg_catalog.starts_with({entry}, '{mark}:')"


def registered(kind: SubjectKind, key: str) -> str:
    """Notes that the subject ``key`` (SQL) is new in this transaction; NULL of type int4."""
    return _noted(_NEW, _of_kind(kind.name), key)


def still_new(deferral: Deferral, *, registers: bool) -> str:
    """SQL: the subject is new in this transaction, and what cannot wait holds of the row."""
    return f"({deferral.at_once})" if registers else f"(({deferral.at_once}) AND {_is_new(deferral)})"


def all_left(deferral: Deferral, condition: str) -> str:
    """An aggregate that leaves to the commit what ``condition`` (SQL) says of many rows."""
    return f"pg_catalog.count(CASE WHEN {condition} THEN {_noted(_LEFT, deferral.id, deferral.key)} END)"


def all_registered(kind: SubjectKind, key: str) -> str:
    """An aggregate that notes of many rows that the subject ``key`` (SQL) is new in this transaction."""
    return f"pg_catalog.count({registered(kind, key)})"


# --- the lists --------------------------------------------------------------------------------------------------------


def _of_kind(name: str) -> str:
    """What an entry of a new subject begins with."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _found(setting: str, mark: str, key: str, entry: str, name: str, known: str) -> str:
    """A FROM item of one row: the ``entry`` of the subject ``key`` (SQL), the ``name`` of the setting in whose list it
    belongs, and what is ``known`` there. A key is written in hex digits: none can be taken for several."""
    digits = f"pg_catalog.encode(pg_catalog.convert_to(({key})::{_TEXT}, 'UTF8'), 'hex')"
    entries = f"(SELECT pg_catalog.concat(E'\\n{mark}:', {digits}, E'\\n') AS {entry} OFFSET 0) AS {alias('i')}"
    number = f"pg_catalog.int4and(pg_catalog.hashtext({entry}), {_LISTS - 1})"
    named = f"(SELECT {entry}, pg_catalog.concat('{setting}_', {number}) AS {name} FROM {entries} OFFSET 0)"
    listed = f"pg_catalog.current_setting({name}, true) AS {known}"
    return f"(SELECT {entry}, {name}, {listed} FROM {named} AS {alias('j')} OFFSET 0) AS {alias('k')}"


def _noted(setting: str, mark: str, key: str) -> str:
    """Adds to a list what is not in it; NULL of type int4. Fails where the list is full."""
    entry, name, known = alias("e"), alias("m"), alias("o")
    added = f"pg_catalog.set_config({name}, pg_catalog.concat({known}, {entry}), true)"
    return (
        f"(SELECT CASE WHEN pg_catalog.strpos({known}, {entry}) OPERATOR(pg_catalog.>) 0 THEN NULL"
        f" WHEN pg_catalog.octet_length({known}) OPERATOR(pg_catalog.>) {_LIST_BYTES} THEN {failing(TOO_MANY_LEFT)}"
        f" WHEN {added} IS NULL THEN 0 END FROM {_found(setting, mark, key, entry, name, known)})"
    )


def _is_new(deferral: Deferral) -> str:
    entry, name, known = alias("e"), alias("m"), alias("o")
    found = _found(_NEW, _of_kind(deferral.kind), deferral.key, entry, name, known)
    return f"(SELECT pg_catalog.strpos({known}, {entry}) OPERATOR(pg_catalog.>) 0 FROM {found})"


def _later(mark: str, kind: SubjectKind, registry: RowConditions, terms: str) -> str:
    """The query over every subject that was left to the commit under ``mark``: one that has gone fails too."""
    left = alias("p")
    column = registry.relation.column(kind.key)
    type_sql = _TEXT if column is None else column.base_sql or column.type_sql
    on = f"{registry.base}.{identifier(kind.key)} OPERATOR(pg_catalog.=) ({left}.key)::{type_sql}"
    rows = f"({pending(mark)}) AS {left} LEFT JOIN {qualified(*kind.table)} AS {registry.base} ON {on}"
    failed = f"CASE WHEN {terms} THEN NULL ELSE {failing(mark)} END"
    return f"SELECT pg_catalog.count({failed}) FROM {rows}"
