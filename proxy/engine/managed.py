"""Who may change the grounds of decisions: consent sources, account states, and which subject a row is about.

Only a role that manages a kind of subject may; else whoever writes could grant itself what it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.catalog.model import Access, Catalog, Relation
from proxy.engine.base_table import base_of
from proxy.engine.classification import related, stores_into
from proxy.policy.model import Name, Policy


@dataclass(slots=True)
class Managed:
    """What of one relation only managing roles write. ``rows``: the kinds for which any write of it counts.
    ``columns``: those that only they change in rows that exist, each with its kinds.
    """

    rows: set[str] = field(default_factory=set)
    columns: dict[str, set[str]] = field(default_factory=dict)


def managed(policy: Policy, catalog: Catalog) -> Mapping[int, Managed]:
    """By OID; what inherits from a table is meant too, and what it inherits from, by which its rows are changed."""
    found = _Found(catalog)
    for kind in policy.subjects.values():
        found.source(kind.table, kind.key, kind.name)
        if kind.account is not None:
            found.source(kind.account.table, kind.account.column, kind.name)
            if kind.account.table != kind.table:
                found.rows(kind.account.table, kind.name)
        if kind.consent is not None:
            found.rows(kind.consent.table, kind.name)
    for table in policy.tables.values():
        link = table.subject
        if link is not None and link.key is not None:
            found.column(table.name, link.key, link.kind)
        elif link is not None and link.via is not None:
            found.column(table.name, link.via.column, link.kind)
            found.source(link.via.table, link.via.key, link.kind)
    return found.relations


class _Found:
    def __init__(self, catalog: Catalog) -> None:
        self.relations: dict[int, Managed] = {}
        self._catalog = catalog

    def rows(self, table: Name, kind: str) -> None:
        relation = self._catalog.relation(*table)
        if relation is not None:
            self._rows_of(relation.oid, kind)
        for oid in _behind(self._catalog, relation):
            self._rows_of(oid, kind)

    def column(self, table: Name, name: str, kind: str) -> None:
        """A column of a table whose own rows are meant."""
        relation = self._catalog.relation(*table)
        for one in () if relation is None else related(self._catalog, relation.oid):
            self._of(one.oid).columns.setdefault(name, set()).add(kind)

    def source(self, table: Name, name: str, kind: str) -> None:
        """A column that decides on rows of others: it is the same one in the table behind a view."""
        self.column(table, name, kind)
        relation = self._catalog.relation(*table)
        if relation is None:
            return
        behind = _behind(self._catalog, relation)
        base = base_of(relation, self._catalog) if relation.kind == "v" else None
        if base is not None and name in base.columns:
            for one in related(self._catalog, base.relation.oid):
                self._of(one.oid).columns.setdefault(base.columns[name], set()).add(kind)
            return
        for oid in behind:  # what the view makes of their rows, nobody here knows
            self._rows_of(oid, kind)

    def _rows_of(self, oid: int, kind: str) -> None:
        for one in stores_into(self._catalog, oid):
            self._of(one.oid).rows.add(kind)

    def _of(self, oid: int) -> Managed:
        return self.relations.setdefault(oid, Managed())


def _behind(catalog: Catalog, relation: Relation | None) -> frozenset[int]:
    """The tables that a source reads, or was computed from, which is a view."""
    if relation is None or relation.kind not in "vm":
        return frozenset()
    reach = relation.reach.get(Access.SELECT)
    behind = relation.sources if reach is None else reach.relations | relation.sources
    return frozenset(oid for oid in behind if oid in catalog.relations and not catalog.relations[oid].builtin)


def deciding(policy: Policy, relation: Relation, catalog: Catalog) -> frozenset[str]:
    """Columns of a table on which the conditions of its rows may depend."""

    def is_of(name: Name) -> bool:
        named = catalog.relation(*name)
        return named is not None and relation.oid in {member.oid for member in related(catalog, named.oid)}

    names: set[str | None] = set()
    for table in policy.tables.values():
        if is_of(table.name):
            link = table.subject
            names |= {
                None if table.retention is None else table.retention.start,
                None if link is None else link.key,
                None if link is None or link.via is None else link.via.column,
            }
    for kind in policy.subjects.values():
        if kind.account is not None and is_of(kind.account.table):
            names |= {kind.account.column, kind.account.subject}
        if is_of(kind.table):
            names.add(kind.key)
    return frozenset(name for name in names if name)
