"""Holds a policy against the live catalog of one database. Pure.

A table or column that the database lacks is a note: it is as good as absent, and protected from the moment it appears.
A mask that does not fit its column's type is an error, with which a policy is not served.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from proxy.catalog.model import Catalog, Column, Relation
from proxy.masks import Mask, unfit
from proxy.policy.model import Account, ColumnPolicy, ConsentSource, Name, Outcome, Policy, Rule, TablePolicy


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement between policy and catalog. ``str()`` gives ``severity: code: message``."""

    severity: Literal["error", "warning", "note"]
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.code}: {self.message}"


def verify(policy: Policy, catalog: Catalog) -> list[Finding]:
    """What a database's catalog says against the policy, the errors first, each once. Empty where all is well.

    Codes: ``mask-type`` (error), ``mask-null`` and ``unclassified-copy`` (warnings), ``missing-table`` and
    ``missing-column`` (notes).
    """
    found: dict[Finding, None] = {}
    for name, table in policy.tables.items():
        found.update(dict.fromkeys(_table(policy, catalog, name, table)))
    for name, columns in _sources(policy):
        found.update(dict.fromkeys(_present(catalog, name, columns)))
    found.update(dict.fromkeys(_copies(policy, catalog)))
    return sorted(found, key=lambda finding: ("error", "warning", "note").index(finding.severity))


def _table(policy: Policy, catalog: Catalog, name: Name, table: TablePolicy) -> Iterable[Finding]:
    yield from _present(catalog, name, [*table.columns, *_subject_columns(table)])
    relation = catalog.relation(name.schema, name.relation)
    if relation is None:
        return
    for classified in table.columns.values():
        column = relation.column(classified.name)
        if column is not None:
            yield from _masks(policy, f"{_written(name)}.{column.name}", classified, column)


def _subject_columns(table: TablePolicy) -> list[str]:
    found = []
    if table.subject is not None:
        found.append(table.subject.key or (table.subject.via.column if table.subject.via else None))
    if table.retention is not None:
        found.append(table.retention.start)
    return [column for column in found if column]


def _masks(policy: Policy, full_name: str, classified: ColumnPolicy, column: Column) -> Iterable[Finding]:
    rules = [rule for rule in policy.rules if rule.categories is None or classified.category in rule.categories]
    masks = [(classified.mask, ""), *((rule.mask, f" of rule {rule.id}") for rule in rules if rule.mask)]
    for mask, origin in masks:
        why = unfit(mask, column)
        if why is not None:
            message = f"{full_name} is of type {column.type_sql}, and its mask{origin} is {mask.kind}: {why}"
            yield Finding("error", "mask-type", message)
    if column.not_null and _may_be_null(policy, rules, [mask for mask, _ in masks]):
        yield Finding("warning", "mask-null", f"{full_name} is NOT NULL, and sessions may see NULL in it")


def _may_be_null(policy: Policy, rules: list[Rule], masks: list[Mask]) -> bool:
    defaults = policy.defaults
    outcomes = [rule.effect for rule in rules]
    outcomes += [defaults.undeclared_purpose, defaults.out_of_scope, defaults.condition_failed]
    return Outcome.NULLIFY in outcomes or any(mask.kind == "nullify" for mask in masks)


def _sources(policy: Policy) -> Iterable[tuple[Name, list[str]]]:
    """Every table that conditions read, with the columns that they need."""
    for kind in policy.subjects.values():
        yield kind.table, [kind.key]
        if kind.account is not None:
            yield _account(kind.account)
        if kind.consent is not None:
            yield _consent(kind.consent)
    for table in policy.tables.values():
        if table.subject is not None and table.subject.via is not None:
            yield table.subject.via.table, [table.subject.via.key]


def _account(account: Account) -> tuple[Name, list[str]]:
    return account.table, [account.subject, account.column]


def _consent(consent: ConsentSource) -> tuple[Name, list[str]]:
    optional = (consent.granted_at, consent.withdrawn_at, consent.expires_at, consent.express, consent.notice_version)
    return consent.table, [consent.subject, consent.purpose, *(column for column in optional if column is not None)]


def _present(catalog: Catalog, name: Name, columns: Iterable[str]) -> Iterable[Finding]:
    relation = catalog.relation(name.schema, name.relation)
    if relation is None:
        yield Finding("note", "missing-table", f"database {catalog.database} has no table {_written(name)}")
        return
    for column in columns:
        if relation.column(column) is None:
            yield Finding("note", "missing-column", f"{_written(name)} has no column {column}")


def _copies(policy: Policy, catalog: Catalog) -> Iterable[Finding]:
    """Reading a materialized view reads a copy, which only its own classification protects."""
    for relation in catalog.relations.values():
        if relation.sources and Name(relation.schema, relation.name) not in policy.tables:
            names = {_name(catalog.relations[oid]) for oid in relation.sources if oid in catalog.relations}
            classified = sorted(_written(name) for name in names & policy.tables.keys())
            if classified:
                message = f"{_written(_name(relation))} holds rows of {', '.join(classified)} and is not classified"
                yield Finding("warning", "unclassified-copy", message)


def _name(relation: Relation) -> Name:
    return Name(relation.schema, relation.name)


def _written(name: Name) -> str:
    return f"{name.schema}.{name.relation}"
