"""Where the classification of a relation's columns comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from proxy.catalog.model import Catalog, Relation
from proxy.policy.model import Name, Policy, Sensitivity, TablePolicy


@dataclass(frozen=True, slots=True)
class Source:
    """Where the classification of a column stands in the policy: ``table.column``.

    ``rows`` says how the rows of *this* relation reach their subject and their retention: the policy's own table, or
    for a view what it shows of that. ``beside``: others that hold of the column too, of a table that inherits or of the
    columns that it is generated from; the more restrictive holds.
    """

    table: Name
    column: str
    rows: TablePolicy
    beside: tuple[Source, ...] = ()

    @property
    def all(self) -> tuple[Source, ...]:
        """Every one that holds, each alone."""
        return (self if not self.beside else replace(self, beside=()), *self.beside)

    def sensitivity(self, policy: Policy) -> Sensitivity:
        """The highest of all."""
        return max(policy.tables[one.table].columns[one.column].sensitivity for one in self.all)


Classification = Mapping[str, Source]
"""Column of a relation -> its source; columns that are not classified are absent."""


def of_table(table: TablePolicy) -> Classification:
    """The classification of a table that the policy names itself."""
    return {column: Source(table.name, column, table) for column in table.columns}


def together(sources: Iterable[Source]) -> Source:
    """All of ``sources`` at once. There must be one."""
    [first, *others] = {(one.table, one.column): one for source in sources for one in source.all}.values()
    return replace(first, beside=tuple(others))


def with_generated(relation: Relation, classification: Classification) -> Classification:
    """Generated columns that the policy does not name are classified as the columns that they are computed from."""
    generated = {}
    for column in relation.columns:
        if column.generated and column.name not in classification:
            every = "" in column.sources
            found = [source for name, source in classification.items() if every or name in column.sources]
            if found:
                generated[column.name] = together(found)
    return {**classification, **generated} if generated else classification


def inherits(relation: Relation, name: str, classification: Classification) -> bool:
    """The column is generated, and classified because of what it is computed from."""
    column, source = relation.column(name), classification.get(name)
    return column is not None and column.generated and source is not None and source.column != name


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


def ancestors(catalog: Catalog, oid: int) -> list[Relation]:
    """All that a relation inherits from, or is a partition of."""
    found: dict[int, Relation] = {}
    pending = list(catalog.relations[oid].parents)
    while pending:
        relation = catalog.relations.get(pending.pop())
        if relation is not None and relation.oid not in found:
            found[relation.oid] = relation
            pending.extend(relation.parents)
    return list(found.values())


def related(catalog: Catalog, oid: int) -> list[Relation]:
    """All by whose names rows of a relation, or of a part of it, are changed."""
    return [*family(catalog, oid), *ancestors(catalog, oid)]


def stores_into(catalog: Catalog, oid: int) -> list[Relation]:
    """All by whose names a row comes to be in a relation or in a part of it: that whose partition it is, too."""
    return family(catalog, oid) + [one for one in ancestors(catalog, oid) if one.kind == "p"]


def partition_keys(relation: Relation, catalog: Catalog) -> frozenset[str]:
    """The columns that choose the partition of a row, above and below ``relation``; '' for an expression."""
    relations = related(catalog, relation.oid) if relation.oid in catalog.relations else [relation]
    return frozenset(key for one in relations for key in one.partition_key)
