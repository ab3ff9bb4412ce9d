"""The catalog of the telecom sample without a server: for tests of the pure engine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proxy.catalog.model import Access, Catalog, Column, Function, Reach, Relation
from proxy.engine import ConsentEngine
from proxy.policy.loader import load
from proxy.policy.model import Policy
from proxy.verdict import Context

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)

_TYPES = {
    "int8": (20, -1, "pg_catalog.int8", "N"),
    "int4": (23, -1, "pg_catalog.int4", "N"),
    "bool": (16, -1, "pg_catalog.bool", "B"),
    "text": (25, -1, "pg_catalog.text", "S"),
    "phone": (1043, 24, "pg_catalog.varchar(20)", "S"),
    "date": (1082, -1, "pg_catalog.date", "D"),
    "timestamptz": (1184, -1, "pg_catalog.timestamptz", "D"),
}


def relation(oid: int, full: str, columns: str, *unique: str, kind: str = "r", **more: Any) -> Relation:
    """``columns``: ``name type, …`` with the types above."""
    schema, name = full.split(".")
    made = []
    for number, item in enumerate(columns.split(","), 1):
        column, type_name = item.split()
        type_oid, typmod, sql, category = _TYPES[type_name]
        made.append(
            Column(
                name=column,
                number=number,
                type_oid=type_oid,
                typmod=typmod,
                type_sql=sql,
                base_type=type_oid,
                type_category=category,
                is_enum=False,
                is_domain=False,
                not_null=False,
                generated=False,
                collation=None,
            )
        )
    base = Relation(oid, schema, name, kind, tuple(made), unique_keys=tuple((key,) for key in unique))
    return replace(base, **more)


RELATIONS = (
    relation(
        20001,
        "public.subscribers",
        "id int8, full_name text, phone phone, id_number text, birth_date date, address text, email text,"
        " account_number text, status text, plan text, password_hash text, created_at timestamptz",
        "id",
    ),
    relation(
        20002,
        "public.consents",
        "subscriber_id int8, purpose text, granted_at timestamptz, withdrawn_at timestamptz, expires_at timestamptz,"
        " is_express bool, notice_version int4",
    ),
    relation(
        20003,
        "public.calls",
        "id int8, subscriber_id int8, callee phone, started_at timestamptz, duration_s int4, cell text",
        "id",
    ),
    relation(20004, "public.invoices", "id int8, subscriber_id int8, total int8", "id"),
    relation(20005, "public.invoice_lines", "id int8, invoice_id int8, ship_to text, amount int8", "id"),
    relation(20006, "public.plans", "code text, price int8", "code"),
    relation(
        20007,
        "public.phone_book",
        "name text, phone phone",
        kind="v",
        reach={Access.SELECT: Reach(relations=frozenset({20001}))},
        definition=" SELECT subscribers.full_name AS name, subscribers.phone FROM public.subscribers;",
    ),
    relation(
        20010,
        "public.contacts",
        "customer int8, name text, called phone",
        kind="v",
        reach={Access.SELECT: Reach(relations=frozenset({20001, 20003}))},
        definition="SELECT s.id AS customer, s.full_name AS name, c.callee AS called FROM (public.subscribers s"
        " JOIN public.calls c ON ((c.subscriber_id = s.id))) WHERE (c.duration_s > 60);",
    ),
    relation(
        20011,
        "public.long_names",
        "id int8",
        kind="v",
        reach={Access.SELECT: Reach(relations=frozenset({20001}))},
        definition=" SELECT id FROM public.subscribers WHERE (length(full_name) > 3);",
    ),
    relation(
        20013,
        "public.price_list",
        "code text",
        kind="v",
        reach={Access.SELECT: Reach(relations=frozenset({20006}))},
        definition=" SELECT code FROM public.plans;",
    ),
    relation(
        20012,
        "public.per_plan",
        "plan text, customers int8",
        kind="v",
        reach={Access.SELECT: Reach(relations=frozenset({20001}))},
        definition=" SELECT plan, count(*) AS customers FROM public.subscribers GROUP BY plan;",
    ),
    relation(
        20008,
        "public.orders",
        "id int8, note text",
        reach={Access.INSERT: Reach(functions=frozenset({30001}))},
    ),
    relation(20009, "app.subscribers", "id int8, phone phone", "id"),
    relation(2619, "pg_catalog.pg_statistic", "starelid int4"),
    relation(12142, "pg_catalog.pg_backend_memory_contexts", "name text", kind="v"),
    relation(1259, "pg_catalog.pg_class", "oid int4, relname text"),
    relation(12100, "pg_catalog.pg_settings", "name text, setting text", kind="v"),
)

_BUILTIN = (
    "count sum max min lower upper now length to_jsonb row_to_json json_agg set_config current_setting query_to_xml"
    " pg_sleep substring generate_series current_query coalesce array_agg"
)
FUNCTIONS = (
    *(
        Function(1000 + number, "pg_catalog", name, "f", 0, None, None, 1)
        for number, name in enumerate(_BUILTIN.split())
    ),
    Function(30001, "public", "log_order", "f", 0, 0, None, 1),
    Function(30002, "app", "peek", "f", 1, 1, None, 1),
    Function(30004, "public", "peek", "f", 1, 1, None, 1, input_types=(20,)),
    Function(30003, "public", "of_row", "f", 1, 1, None, 1, input_types=(2249,)),
)


def catalog() -> Catalog:
    named: dict[str, tuple[Function, ...]] = {}
    for function in FUNCTIONS:
        named[function.name] = (*named.get(function.name, ()), function)
    return Catalog(
        database="telecom",
        generation=1,
        server_version=180000,
        relations={one.oid: one for one in RELATIONS},
        relation_names={(one.schema, one.name): one.oid for one in RELATIONS},
        schemas=frozenset({"public", "app", "pg_catalog"}),
        functions={one.oid: one for one in FUNCTIONS},
        functions_named=named,
        operators_named={},
        types_named={},
    )


def policy(name: str = "telecom") -> Policy:
    loaded = load(ROOT / "policies" / f"{name}.yaml")
    assert loaded.policy is not None, loaded.diagnostics
    return loaded.policy


CATALOG = catalog()
POLICY = policy()


def context(role: str, purpose: str | None = None, **settings: str) -> Context:
    """A session as the engine sees it; other settings by name with ``__`` for a dot."""
    declared = {key.replace("__", "."): value for key, value in settings.items()}
    if purpose is not None:
        declared["consentry.purpose"] = purpose
    declared.setdefault("search_path", '"$user", public')
    return Context(
        database="telecom",
        role=role,
        current_role=role,
        settings=declared,
        purpose_source="setting" if purpose else None,
        catalog=CATALOG,
        policy=POLICY,
        start={"search_path": '"$user", public'},
    )


def engine() -> ConsentEngine:
    return ConsentEngine(clock=lambda: NOW)
