"""Rows by whose parent, made in the same statement, they reach their subject: what of their check is left to its end.

    WITH o AS (INSERT INTO orders … RETURNING id) INSERT INTO lines (order_id, gift_to) SELECT id, … FROM o

The parts of a statement do not see each other's rows, as foreign keys do at its end. So where the parent cannot be seen
yet, the parent's key is noted, and the conditions are asked of it when the statement is done.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from proxy.catalog.model import Relation
from proxy.engine.aliases import alias
from proxy.engine.base_table import base_of
from proxy.engine.classification import family
from proxy.engine.conditions import RowConditions
from proxy.engine.part import Part
from proxy.engine.registration import noted, pending
from proxy.engine.row_checks import Check, failing
from proxy.policy.model import Name, NeverCondition, Outcome, RetentionCondition, SubjectLink
from proxy.sql.quote import identifier, qualified

_PARENT, _ROW, _LEFT = alias("ap"), alias("ar"), alias("al")


@dataclass(frozen=True, slots=True)
class Awaited:
    """``case`` is the branch of the row's own check that leaves it to the statement's end; ``sql`` the query that makes
    it there, known as ``id``."""

    id: str
    sql: str
    case: str


def awaited(part: Part, check: Check) -> Awaited | None:
    """What of ``check`` waits for the parents of its rows; None where the statement makes none of these."""
    links = {one.rows.subject for one in check.columns}
    if len(links) != 1 or not check.columns or any(one.decision.outcome is not Outcome.ALLOW for one in check.columns):
        return None
    [link] = links
    if link is None or not part.modification.does("insert"):
        return None
    table, key, own = _parent(part, link)
    parent, column = part.catalog.relation(*table), part.relation.column(own)
    if parent is None or column is None or column.name in part.classification or not _is_made(part, parent):
        return None
    account = part.state.policy.subjects[link.kind].account
    if part.table.oid in {one.oid for one in family(part.catalog, parent.oid)} or (
        account is not None and any(one.rows.name == account.table for one in check.columns)
    ):
        return None  # the row itself has a say
    row = RowConditions(part.state.policy, part.catalog, part.relation, part.state.subject, inline=True, base=_ROW)
    at_once, later = [], []
    for one in check.columns:
        for each in one.decision.conditions:
            if isinstance(each, RetentionCondition | NeverCondition):
                at_once.append(f"({part.conditions().sql((each,), one.rows)})")
            else:
                later.append(f"({row.sql((each,), one.rows)})")
    if not later:
        return None
    terms = " AND ".join(dict.fromkeys(later))
    mark = hashlib.sha256(f"{own} {terms}".encode()).hexdigest()[:12]
    named = f"{part.base}.{identifier(own)}"
    there = f"SELECT FROM {qualified(parent.schema, parent.name)} AS {_PARENT}"
    unseen = f"NOT EXISTS ({there} WHERE {_PARENT}.{identifier(key)} OPERATOR(pg_catalog.=) {named})"
    when = " AND ".join([f"{named} IS NOT NULL", unseen, *dict.fromkeys(at_once)])
    type_sql = column.base_sql or column.type_sql
    rows = f"(SELECT ({_LEFT}.key)::{type_sql} AS {identifier(own)}) AS {_ROW}"
    failed = f"CASE WHEN {terms} THEN NULL ELSE {failing(mark)} END"
    sql = f"SELECT pg_catalog.count({failed}) FROM ({pending(mark)}) AS {_LEFT} CROSS JOIN LATERAL {rows}"  # noqa: S608 - composed of generated SQL
    return Awaited(mark, sql, f"WHEN {when} THEN {noted(mark, named)}")


def _parent(part: Part, link: SubjectLink) -> tuple[Name, str, str]:
    """The table that a row reaches its subject through, its key, and the row's own column that names it."""
    if link.via is not None:
        return link.via.table, link.via.key, link.via.column
    kind = part.state.policy.subjects[link.kind]
    return kind.table, kind.key, link.key or ""


def _is_made(part: Part, parent: Relation) -> bool:
    """Another part of the statement inserts into the parent."""
    members = {one.oid for one in family(part.catalog, parent.oid)}
    for name in part.facts.relations:
        if name.place != "target" or name.node is part.modification.target.node:
            continue
        target = part.resolved.named.get(id(name.node))
        base = None if target is None else base_of(target, part.catalog)
        if base is not None and base.relation.oid in members:
            return True
    return False
