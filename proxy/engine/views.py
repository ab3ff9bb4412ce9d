"""Views over classified tables: their columns inherit the classification of the columns they come from.

The view stays as it is (its owner's privileges, its row security); what changes is what may be seen of it. Row
conditions use the subject key where the view shows it, and fail where it does not. A view that uses a classified column
for more than plain output cannot be secured from outside: its rows would tell of values that its reader may not see.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from proxy.catalog.model import Access, Catalog, Relation
from proxy.engine.classification import Classification, Source, family, together
from proxy.policy.model import Name, Outcome, Policy, Retention, SubjectLink, TablePolicy
from proxy.sql.columns import SYSTEM_COLUMNS
from proxy.sql.lineage import Lineage, lineage


@dataclass(slots=True)
class Views:
    """What became of each view that reaches a classified relation and is neither classified itself nor trusted."""

    classified: dict[int, Classification] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    harmless: set[int] = field(default_factory=set)


def classify_views(policy: Policy, catalog: Catalog, tables: dict[int, Classification]) -> Views:
    """Works through the views of a catalog, each after those that it reads."""
    work = _Work(policy, catalog, tables)
    for relation in catalog.relations.values():
        if relation.kind == "v" and not relation.builtin:
            work.view(relation)
    return work.views


@dataclass(slots=True)
class _Work:
    policy: Policy
    catalog: Catalog
    tables: dict[int, Classification]
    views: Views = field(default_factory=Views)
    _done: set[int] = field(default_factory=set)

    def view(self, relation: Relation) -> None:
        """Decides one view, unless that is done, or the policy speaks of it itself."""
        if relation.oid in self._done or relation.oid in self.tables:
            return
        self._done.add(relation.oid)
        if f"{relation.schema}.{relation.name}" in self.policy.trusted_views:
            return
        reach = relation.reach.get(Access.SELECT)
        reached = [
            self.catalog.relations[oid] for oid in (reach.relations if reach else ()) if oid in self.catalog.relations
        ]
        if not any(one.oid in self.tables or self._is_copy(one) for one in reached):
            return
        found = self._judge(relation)
        if isinstance(found, str):
            self.views.refused[relation.oid] = found
        elif found:
            self.views.classified[relation.oid] = found
        else:
            self.views.harmless.add(relation.oid)

    def _judge(self, view: Relation) -> Classification | str:
        """The view's classification (empty: it shows nothing classified), or why it is refused."""
        if _drops_rows(self.policy):
            return "the policy drops rows, and the view would still count them"
        read = lineage(view.definition) if view.definition else None
        if read is None:
            return "its definition cannot be read"
        items: list[Relation] = []
        for name in read.items:
            item = self.catalog.relation(name.schema or "pg_catalog", name.name)
            if item is None:
                return f"it reads {name.schema}.{name.name}, which the catalog does not show"
            why = self._refused_item(item, read)
            if why is not None:
                return why
            items.append(item)
        if not read.plain:
            return self._complex(read, items)
        return self._plain(view, read, items)

    def _refused_item(self, item: Relation, read: Lineage) -> str | None:
        """Why no view may read ``item`` in this way; None if it may."""
        if item.kind == "v":
            self.view(item)
        if item.oid in self.views.refused:
            return f"it reads {item.schema}.{item.name}: {self.views.refused[item.oid]}"
        if self._is_copy(item):
            return f"{item.schema}.{item.name} holds a copy of a classified table, and is not classified itself"
        policy = self._row_policy(item)
        if policy is not None:
            return f"the row security policy {policy} of {item.schema}.{item.name} chooses rows by classified columns"
        if self._tells_partition(item, read):
            return f"it tells in which partition the rows of {item.schema}.{item.name} stand"
        return None

    def _of(self, relation: Relation) -> Classification:
        return self.tables.get(relation.oid) or self.views.classified.get(relation.oid) or {}

    def _is_copy(self, relation: Relation) -> bool:
        """A materialized view that was computed from a classified table, and is not classified itself."""
        return relation.oid not in self.tables and any(oid in self.tables for oid in relation.sources)

    def _row_policy(self, item: Relation) -> str | None:
        """The name of a row security policy by which classified columns may decide which rows a view shows."""
        for policy in item.policies:
            for oid, number in policy.columns if policy.command in "r*" else ():
                other = self.catalog.relations.get(oid)
                of_other = {} if other is None else self._of(other)
                if any(number in (0, one.number) and one.name in of_other for one in (other.columns if other else ())):
                    return policy.name
        return None

    def _tells_partition(self, item: Relation, read: Lineage) -> bool:
        """Classified values choose the partition, and the view names one, or asks which it is."""
        around = [item]
        for relation in around:
            around += [self.catalog.relations[oid] for oid in relation.parents if oid in self.catalog.relations]
        keys = {key for relation in [*around, *family(self.catalog, item.oid)] for key in relation.partition_key}
        if not keys & (self._of(item).keys() | {""}) or not self._of(item):
            return False
        return bool(item.parents) or bool(read.names & SYSTEM_COLUMNS) or "*" in read.names

    def _complex(self, read: Lineage, items: list[Relation]) -> Classification | str:
        """Not plain: harmless only if no classified column is named at all."""
        for item in items:
            touched = read.names & self._of(item).keys()
            if self._of(item) and (touched or "*" in read.names):
                what = ", ".join(sorted(touched)) or "whole rows"
                return f"it does more than to show {what} of {item.schema}.{item.name}"
        return {}

    def _plain(self, view: Relation, read: Lineage, items: list[Relation]) -> Classification | str:
        for origin in read.used:
            for index, item in enumerate(items):
                if origin.item not in (index, -1):
                    continue
                if origin.column in self._of(item):
                    return f"it does more than to show {origin.column} of {item.schema}.{item.name}"
        if len(read.outputs) != len(view.columns):
            return "its definition and its columns do not fit"
        classification: dict[str, Source] = {}
        for column, output in zip(view.columns, read.outputs, strict=True):
            source = None if output is None else self._of(items[output.item]).get(output.column)
            if output is not None and source is not None:
                shown = {
                    other.column: name.name
                    for name, other in zip(view.columns, read.outputs, strict=True)
                    if other is not None and other.item == output.item
                }
                name = Name(view.schema, view.name)
                each = [replace(one, rows=_shown_rows(one.rows, name, shown)) for one in source.all]
                classification[column.name] = together(each)
        return classification


def _shown_rows(rows: TablePolicy, name: Name, shown: dict[str, str]) -> TablePolicy:
    """What a view shows of the columns by which rows reach their subject and their retention.

    What it does not show stays demanded: a condition on a column that is not there fails.
    """
    subject: SubjectLink | None = None
    link = rows.subject
    if link is not None and link.key in shown:
        subject = SubjectLink(link.kind, key=shown[link.key])
    elif link is not None and link.via is not None and link.via.column in shown:
        subject = SubjectLink(link.kind, via=replace(link.via, column=shown[link.via.column]))
    retention = rows.retention
    if retention is not None:
        retention = Retention(shown.get(retention.start, ""), retention.keep)
    return TablePolicy(name, subject, retention, {})


def _drops_rows(policy: Policy) -> bool:
    defaults = policy.defaults
    return Outcome.DROP_ROW in (defaults.undeclared_purpose, defaults.out_of_scope, defaults.condition_failed) or any(
        rule.effect is Outcome.DROP_ROW for rule in policy.rules
    )
