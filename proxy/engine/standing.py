"""What the policy protects, by OID: a policy goes by names, so what is renamed or moved beside consentry is protected
no longer, and somebody should hear of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from proxy.catalog.model import Catalog
from proxy.engine.protected import protect
from proxy.policy.model import Policy


@dataclass(frozen=True, slots=True)
class Place:
    """Where a protected relation stands, and its classified columns by number."""

    name: str
    columns: Mapping[int, str]


Standing = Mapping[int, Place]
"""By OID of the relation."""


def standing(policy: Policy, catalog: Catalog) -> Standing:
    """Everything in ``catalog`` that ``policy`` protects by its own name, or because it belongs to that."""
    protected = protect(policy, catalog)
    found = {}
    for oid in protected.classified.keys() | protected.sources:
        relation = catalog.relations[oid]
        classified = protected.classified.get(oid, {})
        columns = {column.number: column.name for column in relation.columns if column.name in classified}
        found[oid] = Place(f"{relation.schema}.{relation.name}", columns)
    return found


def left(before: Standing, catalog: Catalog) -> Iterator[tuple[str, str]]:
    """What stood somewhere ``before`` and is now called otherwise, with its new name; ``nothing`` where it is gone."""
    for oid, place in before.items():
        relation = catalog.relations.get(oid)
        if relation is None:
            yield place.name, "nothing"
            continue
        name = f"{relation.schema}.{relation.name}"
        if name != place.name:
            yield place.name, name
        names = {column.number: column.name for column in relation.columns}
        for number, column in place.columns.items():
            if names.get(number) != column:
                yield f"{place.name}.{column}", f"{name}.{names[number]}" if number in names else "nothing"
