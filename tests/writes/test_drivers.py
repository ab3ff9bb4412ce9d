"""Ordinary writes of drivers and of SQLAlchemy's ORM, by a role that may write: as if nobody stood between."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.exc import ProgrammingError

from tests.fix_postgres import Database
from tests.writes.conftest import Connect


class Base(orm.DeclarativeBase):
    pass


class Subscriber(Base):
    __tablename__ = "subscribers"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    full_name: orm.Mapped[str | None]
    phone: orm.Mapped[str | None]
    id_number: orm.Mapped[str | None]
    plan: orm.Mapped[str | None]
    status: orm.Mapped[str] = orm.mapped_column(server_default="active")


class Consent(Base):
    __tablename__ = "consents"
    subscriber_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("subscribers.id"), primary_key=True)
    purpose: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    is_express: orm.Mapped[bool]


class Call(Base):
    __tablename__ = "calls"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    subscriber_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("subscribers.id"))
    callee: orm.Mapped[str | None]
    seconds: orm.Mapped[int | None]


@pytest.fixture
def session_of(direct: Database, address: tuple[str, int]) -> Any:
    engines = []

    def session(role: str) -> orm.Session:
        url = direct.through(*address, role).replace("postgresql://", "postgresql+psycopg://")
        engines.append(sa.create_engine(url))
        return orm.Session(engines[-1])

    yield session
    for engine in engines:
        engine.dispose()


def test_an_orm_registers_and_saves(session_of: Any, direct: Database) -> None:
    with session_of("signup") as session:
        session.add(Subscriber(id=20, full_name="Bo Li", phone="13920", plan="basic"))
        session.flush()
        session.add_all([Call(id=20 + n, subscriber_id=20, callee=f"137{n}") for n in range(3)])
        session.add(Consent(subscriber_id=20, purpose="billing", is_express=False))
        session.commit()
        subscriber = session.get_one(Subscriber, 20)
        assert (subscriber.phone, subscriber.status) == ("13920", "active")
        subscriber.phone = "13921"
        subscriber.plan = "full"
        session.get_one(Call, 21).seconds = 5
        session.delete(session.get_one(Call, 22))
        session.commit()
    assert direct.execute("SELECT phone, plan, id_number FROM subscribers WHERE id = 20") == [("13921", "full", None)]
    assert direct.execute("SELECT count(*) FROM calls WHERE subscriber_id = 20") == [(2,)]


def test_an_orm_saves_what_changed_beside_what_it_sees_masked(session_of: Any, direct: Database) -> None:
    with session_of("billing") as session:
        subscriber = session.get_one(Subscriber, 3)
        assert subscriber.phone == "138****0003"
        subscriber.plan = "full"
        session.commit()
    assert direct.execute("SELECT phone, plan FROM subscribers WHERE id = 3") == [("13800000003", "full")]


def test_a_refusal_is_readable_in_the_exception_of_an_orm(session_of: Any) -> None:
    with session_of("billing") as session:
        session.add(Call(id=30, subscriber_id=3, callee="137"))
        with pytest.raises(
            ProgrammingError, match=r"consentry: writing public\.calls\.callee is not allowed"
        ) as raised:
            session.commit()
    assert isinstance(raised.value.orig, psycopg.errors.InsufficientPrivilege)
    assert "consent" in (raised.value.orig.diag.message_detail or "")
    assert "Privacy office" in (raised.value.orig.diag.message_hint or "")


def test_psycopg_writes_many(connect: Connect, direct: Database) -> None:
    connection = connect("billing")
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO calls (id, subscriber_id, callee) VALUES (%s, %s, %s) RETURNING id",
            [(100 + n, 1 + n % 2, None if n % 3 else f"137{n}") for n in range(30)],
            returning=True,
        )
        first = cursor.fetchone()
        assert first == (100,)
        cursor.executemany("UPDATE calls SET callee = %s WHERE id = %s", [(f"136{n}", 100 + n) for n in range(30)])
        assert cursor.rowcount == 30
        cursor.execute("DELETE FROM calls WHERE id >= 100")
        assert (cursor.rowcount, cursor.statusmessage) == (30, "DELETE 30")
    assert direct.execute("SELECT count(*) FROM calls") == [(8,)]


def test_asyncpg_writes(connect: Connect, direct: Database, address: tuple[str, int]) -> None:
    async def work() -> list[Any]:
        connection = await asyncpg.connect(direct.through(*address, "billing"))
        try:
            await connection.executemany(
                "INSERT INTO calls (id, subscriber_id, callee) VALUES ($1, $2, $3)",
                [(100 + n, 1, f"137{n}") for n in range(20)],
            )
            status = await connection.execute("UPDATE calls SET callee = $1 WHERE id > 99", "136")
            row = await connection.fetchrow("UPDATE subscribers SET plan = $1 WHERE id = $2 RETURNING *", "full", 3)
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="consentry: writing"):
                await connection.execute("UPDATE subscribers SET phone = $1 WHERE id = $2", "139", 3)
            await connection.execute("UPDATE subscribers SET phone = $1 WHERE id = $2", "139", 1)
            return [status, tuple(row or ())]
        finally:
            await connection.close()

    assert connect is not None
    assert asyncio.run(work()) == ["UPDATE 20", (3, "A**", "138****0003", "1****3", "full", "active")]


def test_sql_prepare(connect: Connect) -> None:
    connection = connect("billing")
    connection.execute("PREPARE w (text, int) AS UPDATE subscribers SET phone = $1 WHERE id = $2 RETURNING id, phone")
    assert connection.execute("EXECUTE w ('139', 1)").fetchall() == [(1, "139")]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="consentry: writing"):
        connection.execute("EXECUTE w ('137', 3)")
    connection.execute("PREPARE i AS INSERT INTO calls (id, subscriber_id, callee) VALUES ($1, $2, $3)")
    assert connection.execute("EXECUTE i (50, 1, '137')").statusmessage == "INSERT 0 1"
    assert connection.execute("EXECUTE i (51, 3, NULL)").statusmessage == "INSERT 0 1"


def test_a_parameter_that_may_not_be_written_may_be_null(connect: Connect) -> None:
    connection = connect("billing", purpose="names")
    write = "INSERT INTO subscribers (id, phone) VALUES (%s, %s)"
    assert connection.execute(write, (60, None)).statusmessage == "INSERT 0 1"
    for phone in ("139", "13800000001"):  # the second one is another's: nobody is told so
        with pytest.raises(
            psycopg.errors.InsufficientPrivilege, match=r"consentry: writing public\.subscribers\.phone"
        ):
            connection.execute(write, (61, phone))


def test_what_nobody_restricts_goes_as_it_came(connect: Connect) -> None:
    """The text that runs is the client's own, where everything is seen and written unconditionally."""
    connection = connect("clerk")
    connection.execute(
        "UPDATE subscribers SET phone = current_query() WHERE id = 3".replace("current_query()", "'139'")
    )
    plan = connection.execute("EXPLAIN (COSTS OFF) UPDATE subscribers SET phone = '138' WHERE id = 3").fetchall()
    assert "Update on subscribers" in plan[0][0]


def test_no_more_privileges_are_asked_for(connect: Connect, direct: Database) -> None:
    """Beside those on the subject's key and account: none on what is written."""
    direct.execute("REVOKE SELECT ON subscribers FROM billing; GRANT SELECT (id, status) ON subscribers TO billing")
    try:
        connection = connect("billing")
        update = "UPDATE subscribers SET phone = %s, full_name = %s::varchar WHERE id = %s"
        assert connection.execute(update, ("1391", "Anna", 1)).statusmessage == "UPDATE 1"
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="consentry: writing"):
            connection.execute(update, ("1392", None, 3))
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="consentry: writing"):
            connection.execute("INSERT INTO subscribers (id, phone) VALUES (%s, %s)", (70, "1399"))
        assert connection.execute("INSERT INTO subscribers (id, phone) VALUES (%s, %s)", (70, None)).rowcount == 1
    finally:
        direct.execute("GRANT SELECT ON subscribers TO billing")
