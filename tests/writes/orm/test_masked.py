"""What an ORM does with objects that it loaded masked: what may be saved is saved, else its exception says why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm.exc import StaleDataError

from tests.writes.orm.conftest import DRIVERS, Shop
from tests.writes.orm.models import Consent, Customer, Employee, Line, Mood, Order, Person, Preference

Part = Callable[[orm.Session], Any]
by_each_driver = pytest.mark.parametrize("driver", DRIVERS)


def refused(part: Part, session: orm.Session) -> tuple[str, str]:
    """Message and detail of the exception that SQLAlchemy raises. Its session goes on after a rollback."""
    with pytest.raises(DBAPIError) as raised:
        part(session)
    session.rollback()
    assert not raised.value.connection_invalidated
    original: Any = raised.value.orig
    assert original.sqlstate == "42501"
    if isinstance(original, psycopg.Error):
        told = original.diag.message_primary, original.diag.message_detail, original.diag.message_hint
    else:
        # SQLAlchemy's own exception, which has asyncpg's as its cause.
        told = original.__cause__.message, original.__cause__.detail, original.__cause__.hint
    message, detail, hint = (text or "" for text in told)
    assert message in str(raised.value)
    assert "Contact: Privacy office" in hint
    return message, detail.splitlines()[0]


@by_each_driver
def test_an_object_that_was_loaded_masked_can_be_saved(through: Shop, driver: str) -> None:
    """Only what changed is written, and version, defaults and computed columns come back."""

    def part(session: orm.Session) -> Any:
        person = session.get_one(Customer, 3)
        seen = (person.name, person.phone, person.mood, person.tags, person.initial, person.shipping)
        assert seen == ("A**", "138****0003", None, None, "**", "Long S****")
        person.note, person.points = "called", 11
        session.flush()
        assert (person.revision, person.initial) == (2, "**")
        session.refresh(person)
        session.commit()
        return person.name, person.note, person.revision, person.points

    assert through.play(driver, "shop", part) == ("A**", "called", 2, 11)
    assert through.database.execute("SELECT name, phone, mood, tags, note FROM people WHERE id = 3") == [
        ("Anna 3", "13800000003", "CALM", ["red", "tea"], "called")
    ]


@by_each_driver
def test_an_object_that_was_loaded_masked_can_be_merged(through: Shop, driver: str) -> None:
    """``merge`` compares with what it loads, so masks are no changes."""

    def part(session: orm.Session) -> Any:
        order = session.get_one(Order, 3)
        session.expunge(order)
        order.total += 1
        merged = session.merge(order)
        session.commit()
        return merged.address, merged.total

    assert through.play(driver, "shop", part) == ("Short ****", 31)
    assert through.database.execute("SELECT address FROM orders WHERE id = 3") == [("Short Street 3, Ningbo",)]


@by_each_driver
def test_rows_that_are_seen_masked_can_be_deleted(through: Shop, driver: str) -> None:
    def part(session: orm.Session) -> Any:
        person = session.get_one(Person, 3)
        session.delete(person.orders[0])
        person.clubs.clear()
        order = session.get_one(Order, 4)
        order.lines.clear()
        session.commit()
        gone = session.scalars(sa.delete(Line).where(Line.order_id == 5).returning(Line.engraving)).all()
        session.commit()
        return gone

    assert through.play(driver, "shop", part) == ["F**", "F**"]
    assert through.database.execute("SELECT count(*) FILTER (WHERE order_id IN (3, 4, 5)), count(*) FROM lines") == [
        (0, 6)
    ]


@by_each_driver
def test_versions_are_looked_at_where_values_are_masked(through: Shop, driver: str) -> None:
    def part(session: orm.Session) -> Any:
        person = session.get_one(Person, 3)
        session.execute(sa.text("UPDATE people SET revision = 7 WHERE id = 3"))
        person.note = "too late"
        with pytest.raises(StaleDataError):
            session.flush()
        session.rollback()
        return person.note, person.revision

    assert through.play(driver, "shop", part) == ("note", 1)


@by_each_driver
def test_a_new_subject_is_seen_masked_until_they_consent(through: Shop, driver: str) -> None:
    """So is what comes back of defaults and computed columns; the object is whole when it is loaded again."""

    def part(session: orm.Session) -> Any:
        person = Person(name="Di", phone="139", tags=["x"])
        session.add(person)
        session.flush()
        before = (person.name, person.initial)
        person.consents.append(Consent(purpose="sales"))
        session.commit()
        return before, person.name, person.initial, person.tags

    assert through.play(driver, "desk", part) == (("Di", "**"), "Di", "D", ["x"])


# --- what is refused -------------------------------------------------------------------------------------------------


def _change(session: orm.Session) -> None:
    session.get_one(Person, 3).phone = "139"
    session.commit()


def _change_many(session: orm.Session) -> None:
    for person in session.scalars(sa.select(Person)):
        person.tags = ["gone"]
    session.commit()


def _write_back(session: orm.Session) -> None:
    order = session.get_one(Order, 3)
    session.execute(sa.update(Order), [{"id": order.id, "address": order.address, "total": 1}])
    session.commit()


def _write_back_in_sql(session: orm.Session) -> None:
    session.execute(sa.update(Order).values(address=Order.address + "").where(Order.id == 3))
    session.commit()


def _change_element(session: orm.Session) -> None:
    session.execute(sa.update(Person).where(Person.id == 3).values({Person.tags[1]: "green"}))


def _empty_element(session: orm.Session) -> None:
    session.execute(sa.update(Person).where(Person.id == 3).values({Person.tags[1]: None}))


def _add(session: orm.Session) -> None:
    session.add(Order(person_id=3, address="There", lines=[Line(number=1, engraving="x")]))
    session.commit()


def _add_many(session: orm.Session) -> None:
    session.add_all(Order(person_id=3 if n == 250 else 1, address=f"There {n}") for n in range(300))
    session.flush()


def _add_closed(session: orm.Session) -> None:
    order = session.get_one(Order, 5)
    order.lines.append(Line(number=9, engraving="x"))
    session.flush()


def _move(session: orm.Session) -> None:
    session.get_one(Order, 1).person = session.get_one(Person, 3)
    session.flush()


def _leave(session: orm.Session) -> None:
    """What a relationship without ``delete-orphan`` does with what is taken from it."""
    session.get_one(Order, 1).person_id = None
    session.flush()


def _take_over(session: orm.Session) -> None:
    new = insert(Preference).values(person_id=3, key="colour", value="blue")
    session.execute(new.on_conflict_do_update(index_elements=["person_id", "key"], set_={"value": new.excluded.value}))


def _agree_for_them(session: orm.Session) -> None:
    session.get_one(Consent, (3, "sales")).withdrawn_at = None
    session.flush()


def _reopen(session: orm.Session) -> None:
    session.get_one(Person, 5).status = "active"
    session.flush()


def _register(session: orm.Session) -> None:
    session.add(Person(name="Di", orders=[Order(address="Here")]))
    session.flush()
    session.commit()


def _register_child(session: orm.Session) -> None:
    session.add(Employee(name="Di", iban="DE"))
    session.commit()


def _feel(session: orm.Session) -> None:
    session.get_one(Person, 1).mood = Mood.CROSS
    session.flush()


CONDITIONS = "A row's subject does not meet: account, consent."
MANAGES = "It decides what may be done with personal information: consent, an account's state, or whom a row is about."
PERSON = "people.name, public.people.phone, public.people.mood, public.people.tags"


class Refusal(NamedTuple):
    """``columns``: what may not be written, below ``public``; if the message says something else, ``message``."""

    role: str
    part: Part
    columns: str
    detail: str = f"Columns: public.{{}}. Purpose: sales. {CONDITIONS}"
    message: str = "consentry: writing public.{} is not allowed"


MANAGED = "consentry: public.{} may only be written by a role that manages person"
MASK = "consentry: the mask of public.{} may not be stored in the place of its value"
REFUSALS = {
    "a changed cell": Refusal("shop", _change, "people.phone"),
    "changed cells of several": Refusal("shop", _change_many, "people.tags"),
    "a mask, by a bulk update": Refusal(
        *("shop", _write_back, "orders.address"),
        detail="Purpose: sales. This session sees it masked: account, consent.",
        message=MASK,
    ),
    "a mask, by an expression": Refusal("shop", _write_back_in_sql, "orders.address"),
    "an element of an array": Refusal("shop", _change_element, "people.tags"),
    "no element of an array": Refusal("shop", _empty_element, "people.tags"),
    "a new row": Refusal("shop", _add, "orders.address"),
    "one of many new rows": Refusal("shop", _add_many, "orders.address"),
    "a row of a closed account": Refusal("shop", _add_closed, "lines.engraving"),
    "a row that is moved": Refusal("shop", _move, "orders.person_id", MANAGES, MANAGED),
    "a row without a subject": Refusal("desk", _leave, "orders.address, public.lines.engraving"),
    "an upsert over a mask": Refusal("shop", _take_over, "preferences.value"),
    "consent, by who does not manage it": Refusal("shop", _agree_for_them, "consents", MANAGES, MANAGED),
    "an account, by who does not manage it": Refusal("shop", _reopen, "people.status", MANAGES, MANAGED),
    "a person who never consents": Refusal("desk", _register, PERSON),
    "a person of a joined table who never consents": Refusal("desk", _register_child, PERSON),
    "what the purpose is not for": Refusal(
        *("crew", _feel, "people.mood"), detail="Columns: public.{}. Purpose: outreach. Because: category out of scope."
    ),
}


ATTEMPTS = [
    pytest.param(driver, case, id=f"{name}-{driver}")
    for driver in DRIVERS
    for name, case in REFUSALS.items()
    if driver == "psycopg" or case.part in {_change, _write_back, _add_many, _register}
]


@pytest.mark.parametrize(("driver", "case"), ATTEMPTS)
def test_a_refusal_is_readable_and_changes_nothing(through: Shop, driver: str, case: Refusal) -> None:
    before = through.stored()

    def attempt(session: orm.Session) -> Any:
        return *refused(case.part, session), session.get_one(Order, 1).total

    expected = case.message.format(case.columns), case.detail.format(case.columns), 10
    assert through.play(driver, case.role, attempt) == expected
    assert through.stored() == before


@by_each_driver
def test_a_refusal_ends_a_savepoint_alone(through: Shop, driver: str) -> None:
    def part(session: orm.Session) -> Any:
        session.add(Order(person_id=1, address="There"))
        session.flush()
        for number in (3, 4, 1):
            try:
                with session.begin_nested():
                    session.add(Preference(person_id=number, key="hat", value="top"))
            except DBAPIError as error:
                assert "consentry: writing public.preferences.value is not allowed" in str(error)
        session.commit()
        return session.scalars(sa.select(Preference.person_id).where(Preference.key == "hat")).all()

    assert through.play(driver, "shop", part) == [1]
    assert through.database.execute("SELECT count(*) FROM orders") == [(7,)]
