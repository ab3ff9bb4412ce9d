"""Which relations of a catalog a policy protects, and by which of its tables. Made once for a policy and catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.catalog.model import Catalog
from proxy.engine.classification import Classification, family, of_table
from proxy.engine.managed import Managed, managed
from proxy.engine.views import classify_views
from proxy.policy.decision import sources
from proxy.policy.model import Name, Policy, TablePolicy
from proxy.verdict import Origins


@dataclass(frozen=True, slots=True)
class Protected:
    """``classified``: relation OID -> its classification, inherited by children, partitions and views.

    ``mixed``: relations below which, or above which, another classification stands than their own, with that
    relation's name. ``refused``: views that do more with classified columns than to show them, and why.
    ``harmless``: views over classified tables that touch no classified column.
    ``sources``: OIDs of registries, consent and account sources and ``via`` tables, children included.
    """

    classified: dict[int, Classification]
    mixed: dict[int, str]
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
    """Classifying a partitioned or inherited parent classifies its children; an absent table protects nothing."""
    own: dict[int, TablePolicy] = {}
    for name, table in policy.tables.items():
        relation = catalog.relation(name.schema, name.relation)
        if relation is not None and table.columns:
            own[relation.oid] = table
    classified: dict[int, Classification] = {}
    for oid, table in own.items():
        for relation in family(catalog, oid):
            classified.setdefault(relation.oid, of_table(table))
    classified.update({oid: of_table(table) for oid, table in own.items()})
    mixed = _mixed(catalog, own, classified)
    views = classify_views(policy, catalog, classified, mixed)
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
        mixed,
        views.refused,
        frozenset(views.harmless),
        others,
        names,
        origins,
        managed(policy, catalog),
    )


def _mixed(catalog: Catalog, own: dict[int, TablePolicy], classified: dict[int, Classification]) -> dict[int, str]:
    """Ancestors of a table with a classification of its own, and that table itself where one of them has one too."""
    mixed: dict[int, str] = {}
    for oid in own:
        relation = catalog.relations[oid]
        pending = list(relation.parents)
        while pending:
            parent = catalog.relations.get(pending.pop())
            if parent is None:
                continue
            mixed[parent.oid] = f"{relation.schema}.{relation.name}"
            if parent.oid in classified:
                mixed[oid] = f"{parent.schema}.{parent.name}"
            pending.extend(parent.parents)
    return mixed


def _sources(policy: Policy, catalog: Catalog) -> frozenset[int]:
    found: set[int] = set()
    names: frozenset[Name] = sources(policy)
    for name in names:
        relation = catalog.relation(name.schema, name.relation)
        if relation is not None:
            found |= {member.oid for member in family(catalog, relation.oid)}
    return frozenset(found)
