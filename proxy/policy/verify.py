"""Holds a policy against the live catalog of one database. Pure.

A table or column that the database lacks is a warning: it is as good as absent, and protected from the moment it
appears. A mask that does not fit its column's type is an error; until it is corrected, such a column shows NULL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from proxy.catalog.model import Catalog, Column, Relation
from proxy.masks import Mask, unfit
from proxy.policy.diagnostic import Severity
from proxy.policy.model import Account, ColumnPolicy, ConsentSource, Name, Outcome, Policy, Rule, TablePolicy

Place = tuple[Name | str, ...]
"""Where in a policy file: keys from its root down, a table's by the name that it means."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement between policy and catalog. ``str()`` gives ``severity: code: message``."""

    severity: Severity
    code: str
    message: str
    place: Place = field(default=(), compare=False)

    def __str__(self) -> str:
        return f"{self.severity}: {self.code}: {self.message}"


def verify(policy: Policy, catalog: Catalog) -> list[Finding]:
    """What a database's catalog says against the policy, the errors first, each once. Empty where all is well.

    Codes: ``mask-type`` (error), ``mask-null``, ``unclassified-copy``, ``missing-table`` and ``missing-column``
    (warnings).
    """
    found: dict[Finding, None] = {}
    for name, table in policy.tables.items():
        found.update(dict.fromkeys(_table(policy, catalog, name, table)))
    for name, place, columns in _sources(policy):
        found.update(dict.fromkeys(_present(catalog, name, place, columns)))
    found.update(dict.fromkeys(_copies(policy, catalog)))
    return sorted(found, key=lambda finding: finding.severity is not Severity.ERROR)


def _table(policy: Policy, catalog: Catalog, name: Name, table: TablePolicy) -> Iterable[Finding]:
    place: Place = ("tables", name)
    columns = {column: (*place, "columns", column) for column in table.columns}
    yield from _present(catalog, name, place, columns | _subject_columns(place, table))
    relation = catalog.relation(name.schema, name.relation)
    if relation is None:
        return
    for classified in table.columns.values():
        column = relation.column(classified.name)
        if column is not None:
            yield from _masks(policy, name, classified, column)


def _subject_columns(place: Place, table: TablePolicy) -> dict[str, Place]:
    found: dict[str, Place] = {}
    if table.subject is not None and table.subject.key is not None:
        found[table.subject.key] = (*place, "subject", "key")
    elif table.subject is not None and table.subject.via is not None:
        found[table.subject.via.column] = (*place, "subject", "via", "column")
    if table.retention is not None:
        found.setdefault(table.retention.start, (*place, "retention", "from"))
    return found


def _masks(policy: Policy, table: Name, classified: ColumnPolicy, column: Column) -> Iterable[Finding]:
    full_name, place = f"{_written(table)}.{column.name}", ("tables", table, "columns", column.name)
    rules = [rule for rule in policy.rules if rule.categories is None or classified.category in rule.categories]
    masks = [(classified.mask, ""), *((rule.mask, f" of rule {rule.id}") for rule in rules if rule.mask)]
    for mask, origin in masks:
        why = unfit(mask, column)
        if why is not None:
            message = f"{full_name} is of type {column.type_sql}, and its mask{origin} is {mask.kind}: {why}"
            yield Finding(Severity.ERROR, "mask-type", message, place)
    if column.not_null and _may_be_null(policy, rules, [mask for mask, _ in masks]):
        message = f"{full_name} is NOT NULL, and sessions may see NULL in it"
        yield Finding(Severity.WARNING, "mask-null", message, place)


def _may_be_null(policy: Policy, rules: list[Rule], masks: list[Mask]) -> bool:
    defaults = policy.defaults
    outcomes = [rule.effect for rule in rules]
    outcomes += [defaults.undeclared_purpose, defaults.out_of_scope, defaults.condition_failed]
    return Outcome.NULLIFY in outcomes or any(mask.kind == "nullify" for mask in masks)


_Read = tuple[Name, Place, dict[str, Place]]
"""A table that conditions read, where the policy names it, and the columns that they need."""


def _sources(policy: Policy) -> Iterable[_Read]:
    for kind in policy.subjects.values():
        place: Place = ("subjects", kind.name)
        yield kind.table, (*place, "table"), {kind.key: (*place, "key")}
        if kind.account is not None:
            yield _account((*place, "account"), kind.account)
        if kind.consent is not None:
            yield _consent((*place, "consent"), kind.consent)
    for name, table in policy.tables.items():
        if table.subject is not None and table.subject.via is not None:
            at: Place = ("tables", name, "subject", "via")
            yield table.subject.via.table, (*at, "table"), {table.subject.via.key: (*at, "key")}


def _account(place: Place, account: Account) -> _Read:
    columns = {account.subject: (*place, "subject"), account.column: (*place, "column")}
    return account.table, (*place, "table"), columns


def _consent(place: Place, consent: ConsentSource) -> _Read:
    keys = ("subject", "purpose", "granted_at", "withdrawn_at", "expires_at", "express", "notice_version")
    columns = {column: (*place, key) for key in keys if (column := getattr(consent, key)) is not None}
    return consent.table, (*place, "table"), columns


def _present(catalog: Catalog, name: Name, place: Place, columns: Mapping[str, Place]) -> Iterable[Finding]:
    relation = catalog.relation(name.schema, name.relation)
    if relation is None:
        message = f"database {catalog.database} has no table {_written(name)}"
        yield Finding(Severity.WARNING, "missing-table", message, place)
        return
    for column, at in columns.items():
        if relation.column(column) is None:
            yield Finding(Severity.WARNING, "missing-column", f"{_written(name)} has no column {column}", at)


def _copies(policy: Policy, catalog: Catalog) -> Iterable[Finding]:
    """Reading a materialized view reads a copy, which only its own classification protects."""
    for relation in catalog.relations.values():
        if relation.sources and Name(relation.schema, relation.name) not in policy.tables:
            names = {_name(catalog.relations[oid]) for oid in relation.sources if oid in catalog.relations}
            classified = sorted(_written(name) for name in names & policy.tables.keys() if policy.tables[name].columns)
            if classified:
                message = f"{_written(_name(relation))} holds rows of {', '.join(classified)} and is not classified"
                yield Finding(Severity.WARNING, "unclassified-copy", message)


def _name(relation: Relation) -> Name:
    return Name(relation.schema, relation.name)


def _written(name: Name) -> str:
    return f"{name.schema}.{name.relation}"
