"""What a session reads of its own open transaction is what all will read once that is committed."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

import psycopg
import pytest
from psycopg import pq

from proxy.catalog.catalogs import Catalogs
from proxy.catalog.own import Answer, Unreadable
from tests.catalog.test_catalogs import BEFORE, lines
from tests.catalog.test_following import ANYTIME, TOGETHER, same_as_from_nothing
from tests.fix_postgres import Database


class Asking:
    """Asks on a connection, as a session does. ``asked`` counts."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        self._connection = connection.pgconn
        self.asked = 0

    async def __call__(self, text: str, parameters: Sequence[str]) -> Answer:
        self.asked += 1
        result = self._connection.exec_params(text.encode(), [one.encode() for one in parameters])
        if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
            raise ConnectionError(result.error_message)
        columns = [((result.fname(n) or b"").decode(), result.ftype(n)) for n in range(result.nfields)]
        rows = [[result.get_value(row, n) for n in range(result.nfields)] for row in range(result.ntuples)]
        return columns, rows


@pytest.mark.parametrize("seed", range(2))
async def test_in_any_order(database: Database, catalogs: Catalogs, seed: int) -> None:
    pick, statements = random.Random(seed), [line for line in lines(ANYTIME) if "TEMP" not in line]
    database.execute(BEFORE + "; CREATE SCHEMA IF NOT EXISTS app")
    committed = await catalogs.catalog(database.name)
    own = catalogs.own(database.name)
    with database.connect() as connection:
        connection.execute("SET search_path = app, other")
        ask = Asking(connection)
        for _ in range(3):
            connection.execute("BEGIN")
            done = 0
            while done < TOGETHER:
                connection.execute("SAVEPOINT before")
                try:
                    connection.execute(pick.choice(statements).encode())
                except psycopg.Error:
                    connection.execute("ROLLBACK TO before")
                    continue  # what it needs is not there
                done += 1
                if done % 3 == 0:
                    await own.read(ask, "consentry", steady=False)
            seen = await own.read(ask, "consentry", steady=False)
            connection.execute("COMMIT")
            await same_as_from_nothing(dataclasses.replace(seen, committed=None), database)
            assert seen.committed is not None and seen.committed.generation >= committed.generation
        assert connection.execute("SHOW search_path").fetchall() == [("app, other",)]


async def test_temporary_objects(database: Database, catalogs: Catalogs) -> None:
    database.execute("CREATE TABLE a (id int PRIMARY KEY)")
    shared = await catalogs.catalog(database.name)
    own = catalogs.own(database.name)
    with database.connect() as connection:
        connection.execute("CREATE TEMP TABLE mine (id serial, m text); CREATE TEMP VIEW v AS SELECT m FROM mine, a")
        seen = await own.read(Asking(connection), None, steady=False)
        assert {name for schema, name in seen.relation_names if schema == "pg_temp"} == {"mine", "mine_id_seq", "v"}
        mine, view = seen.relation("pg_temp", "mine"), seen.relation("pg_temp", "v")
        assert mine is not None and mine.temporary and [column.name for column in mine.columns] == ["id", "m"]
        assert view is not None and view.kind == "v" and [c.type_sql for c in view.columns] == ["pg_catalog.text"]
        assert connection.info.transaction_status == pq.TransactionStatus.IDLE
    assert seen.committed is shared and not [one for one in shared.relation_names if one[0] == "pg_temp"]


async def test_a_snapshot_of_the_beginning(database: Database, catalogs: Catalogs) -> None:
    await catalogs.catalog(database.name)
    with database.connect() as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        with pytest.raises(Unreadable):
            await catalogs.own(database.name).read(Asking(connection), "consentry", steady=False)
        assert connection.info.transaction_status == pq.TransactionStatus.INTRANS
        await catalogs.own(database.name).read(Asking(connection), "consentry", steady=True)


async def test_what_did_not_change_costs_little(database: Database, catalogs: Catalogs) -> None:
    await catalogs.catalog(database.name)
    own = catalogs.own(database.name)
    with database.connect() as connection:
        connection.execute("BEGIN; CREATE TABLE a (id int)")
        ask = Asking(connection)
        first = await own.read(ask, "consentry", steady=False)
        ask.asked = 0
        second = await own.read(ask, "consentry", steady=False)
        assert ask.asked == 5 and second.relations is first.relations
