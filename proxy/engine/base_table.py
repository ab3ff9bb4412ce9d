"""The table behind a view that shows its rows as they are (CREATE VIEW, Updatable Views)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.catalog.model import Catalog, Relation
from proxy.sql.lineage import lineage

_DEEPEST = 16


@dataclass(frozen=True, slots=True)
class Base:
    """The table that a write reaches, with the name there of each column that the target shows of it."""

    relation: Relation
    columns: Mapping[str, str]


def base_of(relation: Relation, catalog: Catalog) -> Base | None:
    """What a write to ``relation`` changes: a table itself, or that behind a view; None where it cannot be told."""
    columns = {column.name: column.name for column in relation.columns}
    for _ in range(_DEEPEST):
        if relation.kind != "v":
            return Base(relation, columns)
        read = lineage(relation.definition) if relation.definition else None
        if read is None or not read.plain or len(read.items) != 1 or len(read.outputs) != len(relation.columns):
            return None
        item = read.items[0]
        behind = catalog.relation(item.schema or "pg_catalog", item.name)
        if behind is None:
            return None
        origins = {
            column.name: origin.column
            for column, origin in zip(relation.columns, read.outputs, strict=True)
            if origin is not None
        }
        columns = {name: origins[inner] for name, inner in columns.items() if inner in origins}
        relation = behind
    return None
