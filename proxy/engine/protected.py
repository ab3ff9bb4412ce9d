"""Which relations of a catalog a policy protects, and by which of its tables. Made once for a policy and catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.catalog.model import Catalog
from proxy.engine.classification import Classification, Source, ancestors, family, of_table, together, with_generated
from proxy.engine.managed import Managed, managed
from proxy.engine.views import classify_views
from proxy.policy.decision import sources
from proxy.policy.model import Name, Policy, TablePolicy
from proxy.verdict import Origins

_LAST = 1 << 30


@dataclass(frozen=True, slots=True)
class Protected:
    """``classified``: relation OID -> its classification, inherited by children, partitions and views.

    ``refused``: views that do more with classified columns than to show them, and why. ``harmless``: views over
    classified tables that touch no classified column.
    ``sources``: OIDs of registries, consent and account sources and ``via`` tables, children included.
    """

    classified: dict[int, Classification]
    refused: dict[int, str]
    harmless: frozenset[int]
    sources: frozenset[int]
    names: frozenset[str]
    """Names of all classified relations and sources, without schema."""
    origins: Origins
    """Every classified column."""
    managed: Mapping[int, Managed] = field(default_factory=dict)
    """What only roles that manage a kind of subject write, by relation OID."""

    def __contains__(self, oid: int) -> bool:
        return oid in self.classified or oid in self.sources


def protect(policy: Policy, catalog: Catalog) -> Protected:
    """Classifying a partitioned or inherited parent classifies its children, and a child the parent, which shows its
    rows; where several are named, the most restrictive holds. An absent table protects nothing."""
    own: dict[int, TablePolicy] = {}
    for name, table in policy.tables.items():
        relation = catalog.relation(name.schema, name.relation)
        if relation is not None and table.columns:
            own[relation.oid] = table
    classified = _classify(catalog, own)
    views = classify_views(policy, catalog, classified)
    classified.update(views.classified)
    others = _sources(policy, catalog)
    names = frozenset(catalog.relations[oid].name for oid in others | classified.keys())
    origins = frozenset(
        (oid, column.number)
        for oid, classification in classified.items()
        for column in catalog.relations[oid].columns
        if column.name in classification
    )
    return Protected(
        classified,
        views.refused,
        frozenset(views.harmless),
        others,
        names,
        origins,
        managed(policy, catalog),
    )


def _classify(catalog: Catalog, own: dict[int, TablePolicy]) -> dict[int, Classification]:
    found: dict[int, dict[str, list[Source]]] = {}
    for oid, table in own.items():
        related = [*family(catalog, oid), *ancestors(catalog, oid)]
        for relation in {one.oid: one for one in related}.values():
            columns = found.setdefault(relation.oid, {})
            for column, source in of_table(table).items():
                # What the policy says of the relation itself comes first: it says how its rows reach their subject.
                columns.setdefault(column, []).insert(0 if relation.oid == oid else _LAST, source)
    return {
        oid: with_generated(catalog.relations[oid], {column: together(sources) for column, sources in columns.items()})
        for oid, columns in found.items()
    }


def _sources(policy: Policy, catalog: Catalog) -> frozenset[int]:
    found: set[int] = set()
    names: frozenset[Name] = sources(policy)
    for name in names:
        relation = catalog.relation(name.schema, name.relation)
        if relation is not None:
            found |= {member.oid for member in family(catalog, relation.oid)}
    return frozenset(found)
