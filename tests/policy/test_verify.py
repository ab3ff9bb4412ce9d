"""A policy against a live database: what is missing, and what does not fit."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.catalog.model import Catalog
from proxy.masks import Mask, named
from proxy.policy.loader import load
from proxy.policy.model import (
    Account,
    ColumnPolicy,
    ConsentSource,
    Contact,
    Defaults,
    Name,
    Outcome,
    Policy,
    Rule,
    Sensitivity,
    SubjectKind,
    SubjectLink,
    TablePolicy,
)
from proxy.policy.verify import verify
from tests.catalog.conftest import read
from tests.fix_postgres import Database

SCHEMA = """
CREATE TABLE people (id int PRIMARY KEY, phone text NOT NULL, salary int8, born date, state text);
CREATE TABLE consents (person int, purpose text);
CREATE VIEW seen AS SELECT phone FROM people;
CREATE MATERIALIZED VIEW copied AS SELECT phone FROM seen;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM consents;
"""


@pytest.fixture(scope="module")
def catalog(module_database: Database) -> Catalog:
    module_database.execute(SCHEMA)
    return asyncio.run(read(module_database))


def column(name: str, mask: Mask) -> ColumnPolicy:
    return ColumnPolicy(name, "category", Sensitivity.GENERAL, mask)


def policy(*columns: ColumnPolicy, table: str = "people", **more: object) -> Policy:
    name = Name("public", table)
    people = TablePolicy(name, SubjectLink("person", key="id"), None, {one.name: one for one in columns})
    kind = SubjectKind("person", Name("public", "people"), "id", None, None)
    fields: dict[str, object] = {
        "name": "test",
        "digest": "",
        "contact": Contact(),
        "subjects": {"person": kind},
        "tables": {name: people, Name("public", "copied"): TablePolicy(Name("public", "copied"), None, None, {})},
        "categories": {},
        "purposes": {},
        "roles": {},
    }
    return Policy(**(fields | more))  # type: ignore[arg-type]  # a table of cases names any field


def rule(effect: Outcome, mask: Mask | None = None, categories: frozenset[str] | None = None) -> Rule:
    return Rule("r", None, None, categories, None, effect, mask)


PHONE = column("phone", named("phone"))
PEOPLE = Name("public", "people")

CASES = [
    (policy(PHONE), []),
    (
        policy(column("salary", named("phone"))),
        ["error: mask-type: public.people.salary is of type pg_catalog.int8, and its mask is phone: phone is for text"],
    ),
    (
        policy(PHONE, rules=(rule(Outcome.MASK, named("year")),)),
        [
            (
                "error: mask-type: public.people.phone is of type pg_catalog.text, "
                "and its mask of rule r is year: year is for dates and timestamps"
            )
        ],
    ),
    (policy(PHONE, rules=(rule(Outcome.MASK, named("year"), frozenset({"other"})),)), []),
    (
        policy(column("phone", named("nullify"))),
        ["warning: mask-null: public.people.phone is NOT NULL, and sessions may see NULL in it"],
    ),
    (
        policy(PHONE, rules=(rule(Outcome.NULLIFY),)),
        ["warning: mask-null: public.people.phone is NOT NULL, and sessions may see NULL in it"],
    ),
    (
        policy(PHONE, defaults=Defaults(out_of_scope=Outcome.NULLIFY)),
        ["warning: mask-null: public.people.phone is NOT NULL, and sessions may see NULL in it"],
    ),
    (policy(column("born", named("nullify"))), []),
    (policy(column("gone", named("phone"))), ["warning: missing-column: public.people has no column gone"]),
    (policy(PHONE, table="nobody"), ["warning: missing-table: database {} has no table public.nobody"]),
    (
        policy(PHONE, tables={PEOPLE: TablePolicy(PEOPLE, None, None, {"phone": PHONE})}),
        ["warning: unclassified-copy: public.copied holds rows of public.people and is not classified"],
    ),
    (
        policy(
            column("salary", named("email")),
            column("gone", named("phone")),
            subjects={
                "person": SubjectKind(
                    "person",
                    PEOPLE,
                    "key",
                    Account(PEOPLE, "id", "status", {}),
                    ConsentSource(Name("public", "consents"), "person", "purpose", granted_at="granted_at"),
                )
            },
        ),
        [
            (
                "error: mask-type: public.people.salary is of type pg_catalog.int8, "
                "and its mask is email: email is for text"
            ),
            "warning: missing-column: public.people has no column gone",
            "warning: missing-column: public.people has no column key",
            "warning: missing-column: public.people has no column status",
            "warning: missing-column: public.consents has no column granted_at",
        ],
    ),
]


@pytest.mark.parametrize(("held", "expected"), CASES)
def test_verify(catalog: Catalog, held: Policy, expected: list[str]) -> None:
    found = [str(finding) for finding in verify(held, catalog)]
    assert found == [text.replace("{}", catalog.database) for text in expected]


POLICY = """\
version: 1
name: placed
extends: [base.yaml]
tables:
  '"public".people':
    subject: {kind: person, key: number}
    retention: {from: since, keep: 1 day}
    columns:
      phone: contact
      gone: contact
  public.nobody: {columns: {a: contact}}
  public.consents:
    subject: {kind: person, via: {table: public.people, column: person, key: nr}}
"""
BASE = """\
version: 1
name: base
categories:
  contact: {sensitivity: general, mask: year}
subjects:
  person:
    table: public.people
    key: id
    consent: {table: public.consents, subject: who, purpose: purpose}
"""


def test_findings_stand_where_the_file_speaks_of_it(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "policy.yaml").write_text(POLICY)
    loaded = load(tmp_path / "policy.yaml")
    assert loaded.policy is not None, loaded.diagnostics
    placed = loaded.placed(verify(loaded.policy, catalog))
    assert [f"{Path(one.path).name}:{one.line}:{one.column}: {one.severity}: {one.code}" for one in placed] == [
        "policy.yaml:9:7: error: mask-type",
        "policy.yaml:10:7: warning: missing-column",
        "policy.yaml:6:34: warning: missing-column",
        "policy.yaml:7:23: warning: missing-column",
        "policy.yaml:11:3: warning: missing-table",
        "base.yaml:9:48: warning: missing-column",
        "policy.yaml:13:78: warning: missing-column",
        "policy.yaml:1:1: warning: unclassified-copy",
    ]
