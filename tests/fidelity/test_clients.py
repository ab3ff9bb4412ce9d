"""Tools, drivers and object-relational mappers ask the catalogs before they do anything: all of it works unchanged, for
a role that the policy grants nothing, over objects of every kind.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import psycopg
import pytest
import sqlalchemy
import sqlalchemy.orm
import yaml
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.range import RangeInfo

from proxy.demo.postgres import EmbeddedPostgres, binaries
from tests.fidelity.rig import PROTECTED
from tests.fix_postgres import Database
from tests.fix_proxy import Proxy

HERE = Path(__file__).parent
CLERK = "shop_clerk"


class Shop(NamedTuple):
    """The same database, directly and through the proxy, as URLs."""

    direct: str
    proxied: str


@pytest.fixture(scope="module")
def shop(
    postgres: EmbeddedPostgres, module_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    database = module_database
    database.execute(f"CREATE ROLE {CLERK} LOGIN")
    database.execute(PROTECTED)
    database.execute((HERE / "shop.sql").read_text("utf-8").replace("clerk", CLERK))
    folder = tmp_path_factory.mktemp("clients")
    policy = yaml.safe_load((HERE / "policy.yaml").read_text("utf-8"))
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy), "utf-8")
    with Proxy(folder, "--policy", str(folder / "policy.yaml"), "--upstream", postgres.dsn()) as proxy:
        host, port = proxy.ready().rsplit(":", 1)
        proxied = database.through(host, int(port), CLERK)
        yield Shop(database.dsn(CLERK), proxied)
    database.execute(f"DROP PUBLICATION goods; DROP OWNED BY {CLERK}; DROP ROLE {CLERK}")


# --- PostgreSQL's own programs ---------------------------------------------------------------------------------------

COMMANDS = r"""
    \d; \d+; \dS; \dS+; \d shop.customers; \d+ shop.customers; \d+ shop.orders; \d+ shop.events; \d+ shop.events_2025
    \d+ shop.parent; \d+ shop.child; \d+ shop.buyers; \d+ shop.sums; \d+ shop.numbers; \d+ shop.customers_pkey
    \d+ shop.place; \d pg_class; \d pg_stats; \d+ pg_stat_activity; \d shop.*
    \da; \da shop.*; \dA; \dA+; \dAc+; \dAf+; \dAo+; \dAp+; \db; \db+; \dc; \dcS+; \dC; \dC+; \dconfig; \dconfig+ *
    \dd; \ddS; \dD shop.*; \dD+ shop.*; \ddp; \dE; \de; \des; \des+; \det; \det+; \dew; \dew+
    \df shop.*; \df+ shop.*; \dfS+; \dfa shop.*; \dft shop.*; \dF; \dF+ shop.*; \dFd+; \dFp+; \dFt+
    \dg; \dg+; \di+ shop.*; \dl; \dl+; \dL; \dL+; \dLS+; \dm+ shop.*; \dn; \dn+; \dnS+; \do+ shop.*; \doS+
    \dO+ shop.*; \dOS+; \dp; \dp shop.*; \dpS; \dP; \dP+ shop.*; \dPt; \dPi; \dPn+; \drds; \drg; \drgS
    \dRp; \dRp+; \ds+ shop.*; \dt; \dt+; \dt+ shop.*; \dtS+; \dT shop.*; \dT+ shop.*; \dTS+; \du; \du+; \duS+
    \dv+ shop.*; \dx; \dx+; \dX; \dX+ shop.*; \dy; \dy+; \l; \l+; \l shop
    \sf shop.twice; \sf+ shop.twice; \sv shop.buyers; \sv+ shop.buyers; \z shop.*; \lo_list; \encoding
    SELECT 1 AS one \gdesc; SELECT 'SELECT 42' \gexec; SELECT 1 AS one \gset one_
    SELECT $1::int AS five \bind 5 \g
    SELECT relname, relkind, 1 FROM pg_class WHERE relname = 'customers' \crosstabview
    \copy shop.orders TO STDOUT
"""
"""Not among them: ``\\deu`` and ``\\dRs``, whose catalogs hold passwords."""


def run(program: str, *arguments: str, given: str = "") -> tuple[str, str]:
    """What a program of PostgreSQL's printed: output and errors."""
    environment = {"LANG": "C.UTF-8", "PATH": os.environ["PATH"], "PAGER": "cat"}
    ran = subprocess.run(
        [str(binaries() / program), *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    return ran.stdout, ran.stderr


def test_backslash_commands_of_psql(shop: Shop) -> None:
    commands = [command.strip() for line in COMMANDS.splitlines() for command in line.split(";") if command.strip()]
    script = "".join(f"\\echo '### {number}'\n{command}\n" for number, command in enumerate(commands))
    direct, proxied = (run("psql", "-X", "-d", dsn, given=script) for dsn in (shop.direct, shop.proxied))
    assert proxied[1] == direct[1]
    assert proxied[0].split("### ") == direct[0].split("### ")


def test_completion_of_names_in_psql(shop: Shop) -> None:
    """Two of the queries that psql sends when the tab key is pressed."""
    relations = (
        "SELECT pg_catalog.quote_ident(c.relname) FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p') AND"
        " (pg_catalog.quote_ident(c.relname)) LIKE 'cust%' AND pg_catalog.pg_table_is_visible(c.oid) LIMIT 1000"
    )
    settings = (
        "SELECT pg_catalog.lower(name) FROM pg_catalog.pg_settings WHERE context IN ('user', 'superuser') AND"
        " pg_catalog.lower(name) LIKE pg_catalog.lower('work%') LIMIT 1000"
    )
    for text in (relations, settings):
        direct, proxied = (run("psql", "-XAt", "-d", dsn, "-c", text) for dsn in (shop.direct, shop.proxied))
        assert proxied == direct


@pytest.mark.parametrize("options", [(), ("--schema-only",), ("--data-only", "--inserts"), ("--table", "shop.*")])
def test_pg_dump(shop: Shop, options: tuple[str, ...]) -> None:
    """Of the whole schema: a dump is the same byte for byte, but for the key that it makes up (--restrict-key)."""
    chosen = ("--schema", "shop", "--restrict-key", "consentry", *options)
    direct, proxied = (run("pg_dump", *chosen, "-d", dsn) for dsn in (shop.direct, shop.proxied))
    assert proxied == direct
    assert "Ada" in proxied[0] or "--schema-only" in options


@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_pgbench(shop: Shop, protocol: str, tmp_path: Path) -> None:
    script = tmp_path / "script.sql"
    script.write_text(
        "\\set number random(1, 3)\nBEGIN;\nSELECT price FROM shop.orders WHERE id = :number;\n"
        "INSERT INTO shop.notes VALUES (:number);\nEND;\n"
    )
    output, errors = run("pgbench", "-n", "-M", protocol, "-c", "2", "-t", "20", "-f", str(script), shop.proxied)
    assert "number of transactions actually processed: 40/40" in output, errors
    assert "number of failed transactions: 0" in output


# --- drivers ---------------------------------------------------------------------------------------------------------


def test_psycopg_reads_types_of_its_own(shop: Shop) -> None:
    with psycopg.connect(shop.proxied) as connection:
        place = CompositeInfo.fetch(connection, "shop.place")
        mood = EnumInfo.fetch(connection, "shop.mood")
        span = RangeInfo.fetch(connection, "shop.span")
        assert place is not None and mood is not None and span is not None
        register_composite(place, connection)
        register_enum(mood, connection)
        row = connection.execute("SELECT home, mood, moods, places FROM shop.customers WHERE id = %s", (1,)).fetchone()
        assert row is not None
        assert (row[0].street, row[0].number) == ("Main", 1)
        assert row[1].name == "calm" and [one.name for one in row[2]] == ["calm", "cross"]
        assert row[3][0].street == "Side"


def test_psycopg_pipelines_cursors_and_copies(shop: Shop) -> None:
    with psycopg.connect(shop.proxied) as connection:
        with connection.pipeline():
            cursors = [connection.execute("SELECT %s::int + 1", (number,)) for number in range(5)]
        assert [cursor.fetchone() for cursor in cursors] == [(number + 1,) for number in range(5)]
        with connection.cursor("named") as named:
            named.execute("SELECT id FROM shop.orders ORDER BY id")
            assert named.fetchmany(2) == [(100,), (101,)]
        with connection.cursor() as cursor, cursor.copy("COPY shop.notes FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4"])
            copy.write_row((41,))
        with connection.cursor() as cursor, cursor.copy("COPY (SELECT 41) TO STDOUT") as copy:
            assert list(copy.rows()) == [("41",)]
        connection.rollback()


def test_two_phase_commit(shop: Shop) -> None:
    with psycopg.connect(shop.proxied) as connection:
        connection.tpc_begin(connection.xid(1, "shop", "one"))
        connection.execute("SELECT 1")
        connection.tpc_prepare()
        connection.tpc_rollback()


async def test_asyncpg_reads_types_of_its_own(shop: Shop) -> None:
    """Composites, enums, domains and arrays of them: each is asked for by asyncpg's introspection query."""
    connection = await asyncpg.connect(shop.proxied)
    try:
        row = await connection.fetchrow("SELECT * FROM shop.customers WHERE id = $1", 1)
        assert (row["home"]["street"], row["mood"], row["moods"]) == ("Main", "calm", ["calm", "cross"])
        assert row["places"][0]["number"] == 2
        assert await connection.fetchval("SELECT quantity FROM shop.orders WHERE id = 100") == 2
        await connection.set_type_codec("mood", schema="shop", encoder=str, decoder=str.upper)
        assert await connection.fetchval("SELECT mood FROM shop.customers WHERE id = 1") == "CALM"
        await connection.reload_schema_state()
        assert len(await connection.fetch("SELECT * FROM shop.customers WHERE mood = any($1::shop.mood[])", ["calm"]))
    finally:
        await connection.close()


async def test_asyncpg_pool_resets_and_copies(shop: Shop) -> None:
    async with asyncpg.create_pool(shop.proxied, min_size=2, max_size=2) as pool:
        for _ in range(3):
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT set_config('application_name', 'pool', true)")
                assert await connection.copy_records_to_table("notes", schema_name="shop", records=[(1,)]) == "COPY 1"
                assert (await connection.prepare("SELECT a FROM shop.notes")).get_attributes()[0].name == "a"


def test_psycopg2(shop: Shop) -> None:
    psycopg2 = pytest.importorskip("psycopg2", reason="psycopg2 is not installed")
    extras = pytest.importorskip("psycopg2.extras")
    connection = psycopg2.connect(shop.proxied)
    try:
        with connection, connection.cursor() as cursor:
            extras.register_composite("shop.place", cursor)
            cursor.execute("SELECT home FROM shop.customers WHERE id = %s", (1,))
            assert cursor.fetchone()[0].street == "Main"
            extras.execute_values(cursor, "INSERT INTO shop.notes VALUES %s", [(1,), (2,)])
    finally:
        connection.close()


def test_pg8000(shop: Shop) -> None:
    native = pytest.importorskip("pg8000.native", reason="pg8000 is not installed")
    url = sqlalchemy.make_url(shop.proxied)
    connection = native.Connection(CLERK, host=url.host, port=url.port, database=url.database)
    assert connection.run("SELECT name, spent FROM shop.customers WHERE id = :id", id=1) == [["Ada", Decimal("10.00")]]
    assert connection.run("SELECT moods FROM shop.customers WHERE id = 1") == [["{calm,cross}"]]
    connection.close()


# --- object-relational mappers ---------------------------------------------------------------------------------------


@pytest.fixture
def engines(shop: Shop) -> Iterator[list[sqlalchemy.Engine]]:
    """SQLAlchemy directly and through the proxy."""
    made = [sqlalchemy.create_engine(dsn.replace("://", "+psycopg://", 1)) for dsn in (shop.direct, shop.proxied)]
    yield made
    for engine in made:
        engine.dispose()


TABLE_METHODS = (
    "get_columns get_pk_constraint get_foreign_keys get_indexes get_unique_constraints get_check_constraints"
    " get_table_comment get_table_options"
).split()
SCHEMA_METHODS = (
    "get_table_names get_view_names get_materialized_view_names get_sequence_names get_temp_table_names"
    " get_temp_view_names get_schema_names get_sorted_table_and_fkc_names get_multi_columns get_multi_pk_constraint"
    " get_multi_foreign_keys get_multi_indexes get_multi_unique_constraints get_multi_check_constraints"
    " get_multi_table_comment get_multi_table_options get_domains get_enums get_foreign_table_names"
).split()


_ADDRESS = re.compile(r"0x[0-9a-f]+")
"""Of an object in memory, in its repr."""


def _reflected(engine: sqlalchemy.Engine) -> dict[str, Any]:
    inspector: Any = sqlalchemy.inspect(engine)  # PostgreSQL's, which has more methods than the declared one
    kinds = {"kind": sqlalchemy.engine.reflection.ObjectKind.ANY, "schema": "shop"}
    tables = ("customers", "orders", "events", "child")
    schema_wide = [name for name in SCHEMA_METHODS if "temp" not in name and name != "get_schema_names"]
    calls: dict[str, Callable[[], Any]] = {
        **{f"{name} {table}": partial(getattr(inspector, name), table, schema="shop")
           for name in TABLE_METHODS for table in tables},
        **{name: partial(getattr(inspector, name), **(kinds if "multi" in name else {"schema": "shop"}))
           for name in schema_wide},
        **{name: getattr(inspector, name) for name in SCHEMA_METHODS if "temp" in name},
        "get_schema_names": inspector.get_schema_names,
        "get_view_definition": lambda: inspector.get_view_definition("buyers", schema="shop"),
        "get_table_oid": lambda: inspector.get_table_oid("orders", schema="shop"),
        "has_table": lambda: [inspector.has_table(name, schema="shop") for name in ("orders", "none")],
        "has_schema": lambda: [inspector.has_schema(name) for name in ("shop", "none")],
        "has_sequence": lambda: [inspector.has_sequence(name, schema="shop") for name in ("numbers", "none")],
        "has_index": lambda: inspector.has_index("orders", "orders_customer_idx", schema="shop"),
        "has_type": lambda: inspector.has_type("mood", schema="shop"),
    }  # fmt: skip
    return {name: _ADDRESS.sub("0x", repr(call())) for name, call in calls.items()}


@pytest.mark.filterwarnings("ignore:Did not recognize type")
def test_sqlalchemy_reflects(engines: list[sqlalchemy.Engine]) -> None:
    direct, proxied = (_reflected(engine) for engine in engines)
    assert proxied == direct
    metadata = sqlalchemy.MetaData()
    metadata.reflect(engines[1], schema="shop", views=True)
    assert {"shop.customers", "shop.orders", "shop.buyers"} <= set(metadata.tables)


def test_sqlalchemy_maps_objects(engines: list[sqlalchemy.Engine]) -> None:
    class Base(sqlalchemy.orm.DeclarativeBase):
        pass

    class Customer(Base):
        __tablename__ = "customers"
        __table_args__ = {"schema": "shop"}  # noqa: RUF012 - SQLAlchemy's own form
        id: sqlalchemy.orm.Mapped[int] = sqlalchemy.orm.mapped_column(primary_key=True)
        name: sqlalchemy.orm.Mapped[str]
        orders: sqlalchemy.orm.Mapped[list[Order]] = sqlalchemy.orm.relationship()

    class Order(Base):
        __tablename__ = "orders"
        __table_args__ = {"schema": "shop"}  # noqa: RUF012 - the same
        id: sqlalchemy.orm.Mapped[int] = sqlalchemy.orm.mapped_column(primary_key=True)
        customer: sqlalchemy.orm.Mapped[int] = sqlalchemy.orm.mapped_column(sqlalchemy.ForeignKey("shop.customers.id"))
        price: sqlalchemy.orm.Mapped[Decimal]

    with sqlalchemy.orm.Session(engines[1]) as session:
        eager = sqlalchemy.select(Customer).options(sqlalchemy.orm.selectinload(Customer.orders)).order_by(Customer.id)
        assert [len(customer.orders) for customer in session.scalars(eager)][:2] == [2, 1]
        with session.begin_nested():
            session.add_all(Customer(name=f"New {number}") for number in range(30))
        session.flush()
        (ada,) = session.scalars(sqlalchemy.select(Customer).where(Customer.name == "Ada"))
        ada.orders[0].price = Decimal("9.99")
        session.flush()
        counted = sqlalchemy.select(sqlalchemy.func.count()).select_from(Customer)
        assert session.scalar(counted) == 32
        session.rollback()


@pytest.mark.filterwarnings("ignore:Did not recognize type")
def test_sqlalchemy_over_pg8000(shop: Shop) -> None:
    pytest.importorskip("pg8000", reason="pg8000 is not installed")
    engine = sqlalchemy.create_engine(shop.proxied.replace("://", "+pg8000://", 1))
    with engine.connect() as connection:
        assert sqlalchemy.inspect(connection).get_columns("customers", schema="shop")
    engine.dispose()


DJANGO = """
import django, io, sys
from django.conf import settings
from django.core.management import call_command
host, port, name, user = sys.argv[1:]
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "HOST": host, "PORT": port, "NAME": name,
                           "USER": user, "OPTIONS": {"options": "-c search_path=shop"}}},
    INSTALLED_APPS=[],
)
django.setup()
call_command("inspectdb", "--include-views", "--include-partitions")
from django.db import connection, transaction
with transaction.atomic(), connection.cursor() as cursor:
    for table in connection.introspection.table_names(cursor, include_views=True):
        print(table, sorted(connection.introspection.get_constraints(cursor, table)))
        print(connection.introspection.get_sequences(cursor, table))
    with transaction.atomic():
        cursor.execute("SELECT count(*) FROM customers WHERE name = %s", ["Ada"])
        print(cursor.fetchall())
"""


def test_django_inspects(shop: Shop) -> None:
    pytest.importorskip("django", reason="Django is not installed")
    printed = []
    for dsn in (shop.direct, shop.proxied):
        url = sqlalchemy.make_url(dsn)
        arguments = [str(url.host), str(url.port), str(url.database), CLERK]
        ran = subprocess.run([sys.executable, "-c", DJANGO, *arguments], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        printed.append(ran.stdout)
    assert printed[0] == printed[1]
    assert "class Customers" in printed[1]
