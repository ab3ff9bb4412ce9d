"""Where the classification of a relation's columns comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.catalog.model import Catalog, Relation
from proxy.policy.model import Name, TablePolicy


@dataclass(frozen=True, slots=True)
class Source:
    """Where the classification of a column stands in the policy: ``table.column``.

    ``rows`` says how the rows of *this* relation reach their subject and their retention: the policy's own table, or
    for a view what it shows of that.
    """

    table: Name
    column: str
    rows: TablePolicy


Classification = Mapping[str, Source]
"""Column of a relation -> its source; columns that are not classified are absent."""


def of_table(table: TablePolicy) -> Classification:
    """The classification of a table that the policy names itself."""
    return {column: Source(table.name, column, table) for column in table.columns}


def family(catalog: Catalog, oid: int) -> list[Relation]:
    """A relation and all that inherit from it, partitions included."""
    found: dict[int, Relation] = {}
    pending = [oid]
    while pending:
        relation = catalog.relations.get(pending.pop())
        if relation is not None and relation.oid not in found:
            found[relation.oid] = relation
            pending.extend(relation.children)
    return list(found.values())
