"""A table for every type that masks treat in a way of their own, with its column as the catalog describes it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from proxy.catalog.catalogs import Catalogs
from proxy.catalog.model import Column
from proxy.masks import Mask, render
from tests.fix_postgres import Database

SCHEMA = """
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'happy');
CREATE TYPE app.pair AS (a int, b text);
CREATE DOMAIN app.note AS text;
CREATE DOMAIN app.short AS varchar(5);
CREATE DOMAIN app.shorter AS app.short;
CREATE DOMAIN app.needed AS text NOT NULL;
CREATE DOMAIN app.digits AS text CHECK (VALUE ~ '^[0-9]+$' AND VALUE IS NOT NULL);
CREATE DOMAIN app.over_digits AS app.digits;
CREATE DOMAIN app.born AS date NOT NULL CHECK (VALUE > '1900-01-01');
"""

TYPES = (
    "text", "varchar", "varchar(3)", "varchar(4)", "varchar(5)", "varchar(8)", "varchar(11)", "varchar(15)",
    "varchar(20)", "char(11)", "char(4)", "char(20)", "name", "bool", "int2", "int4", "int8", "numeric",
    "numeric(5,2)", "numeric(3,5)", "numeric(3,-3)", "float4", "float8", "money", "oid", "date", "timestamp",
    "timestamp(0)", "timestamptz", "timestamptz(3)", "time", "interval", "interval day to second(3)", "uuid", "json",
    "jsonb", "bytea", '"char"', "text[]", "varchar(7)[]", "int4range", "inet", "bit(3)", "app.mood", "app.mood[]",
    "app.pair", "app.note", "app.short", "app.shorter", "app.needed", "app.digits", "app.over_digits", "app.born",
    'text COLLATE "C"', 'varchar(11) COLLATE "POSIX"',
)  # fmt: skip


class Cells:
    """Shows values through masks, on a connection whose search_path and settings are as unfriendly as can be."""

    def __init__(self, connection: psycopg.Connection[Any], columns: dict[str, Column]) -> None:
        self.connection = connection
        self.columns = columns

    def column(self, type_name: str) -> Column:
        return self.columns[type_name]

    def query(self, mask: Mask, type_name: str) -> str:
        """Nothing is folded into a constant, as nothing of a table would be; %s is the value, as text."""
        expression = render(mask, "v.cell", self.column(type_name)).replace("%", "%%")
        return f"WITH v AS MATERIALIZED (SELECT (%s)::{type_name} AS cell) SELECT {expression} AS cell FROM v"

    def source(self, type_name: str) -> str:
        """A FROM item ``t`` with the stored ``t.cell``: of the type's table, or one row of NULL if it is empty."""
        return f"(SELECT) AS one LEFT JOIN public.{table(type_name)} AS t ON true"

    def shown(self, mask: Mask, type_name: str, value: str | None) -> str | None:
        """What shows of the value, as PostgreSQL writes it."""
        sql = f"SELECT cell::pg_catalog.text FROM ({self.query(mask, type_name)}) AS shown"
        row = self.connection.execute(sql, [value]).fetchone()
        assert row is not None
        return row[0]


def table(type_name: str) -> str:
    return f"cells_{TYPES.index(type_name)}"


async def _read(database: Database) -> dict[str, Column]:
    catalogs = Catalogs(database.dsn())
    try:
        catalog = await catalogs.catalog(database.name)
    finally:
        await catalogs.close()
    relations = {name: catalog.relation("public", table(name)) for name in TYPES}
    return {name: relation.columns[0] for name, relation in relations.items() if relation is not None}


@pytest.fixture(scope="module")
def cells(module_database: Database) -> Iterator[Cells]:
    module_database.execute(SCHEMA)
    module_database.execute("".join(f"CREATE TABLE {table(name)} (cell {name});" for name in TYPES))
    columns = asyncio.run(_read(module_database))
    with module_database.connect() as connection:
        yield Cells(connection, columns)
