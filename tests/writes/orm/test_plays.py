"""What an ORM does where nothing is hidden comes out through the proxy as it does directly: results and rows alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError

from tests.writes.orm.conftest import DRIVERS, Shop
from tests.writes.orm.models import Club, Consent, Customer, Employee, Line, Mood, Order, Person, Preference

Part = Callable[[orm.Session], Any]


def add_and_flush(session: orm.Session) -> Any:
    order = Order(person_id=1, address="New Street 1", details={"gift": False})
    session.add(order)
    session.flush()
    made = (order.id, order.total)
    order.total = 7
    session.commit()
    return made, order.total, order.address, order.details


def add_many(session: orm.Session) -> Any:
    """More than one batch of ``insertmanyvalues``, whose RETURNING tells which row is which."""
    orders = [Order(person_id=1 + n % 2, address=f"Street {n}" if n % 5 else None) for n in range(1100)]
    session.add_all(orders)
    session.flush()
    places = {order.id: order.address for order in orders}
    session.commit()
    return places, session.scalar(sa.select(sa.func.count()).select_from(Order))


def add_a_graph(session: orm.Session) -> Any:
    person = session.get_one(Person, 1)
    person.orders.append(Order(address="There 1", lines=[Line(number=n, engraving=f"To {n}") for n in range(3)]))
    person.preferences.append(Preference(key="size", value="L"))
    person.clubs = {Club(title="Go"), *session.scalars(sa.select(Club))}
    session.commit()
    return len(person.orders), sorted(club.title for club in person.clubs), person.preferences[1].changes


def insert_with_parameters(session: orm.Session) -> Any:
    rows = [{"person_id": 1, "address": f"A {n}", "total": n} for n in range(50)]
    made = session.scalars(sa.insert(Order).returning(Order, sort_by_parameter_order=True), rows).all()
    session.execute(sa.insert(Line), [{"order_id": o.id, "number": 1, "engraving": o.address} for o in made])
    session.commit()
    return [(order.total, order.address) for order in made]


def insert_values(session: orm.Session) -> Any:
    several = sa.insert(Order).values([{"person_id": 1, "address": "A"}, {"person_id": 2, "address": None}])
    made = list(session.execute(several.returning(Order.id, Order.address)))
    chosen = sa.select(Order.person_id, Order.address).where(Order.id == 2)
    copied = session.execute(
        sa.insert(Order).from_select(["person_id", "address"], chosen).returning(Order.id, Order.address)
    )
    made += copied.all()
    session.commit()
    return [tuple(row) for row in made]


def bulk(session: orm.Session) -> Any:
    session.bulk_insert_mappings(sa.inspect(Order), [{"person_id": 1, "address": f"B {n}"} for n in range(5)])
    session.bulk_save_objects([Order(person_id=2, address=f"C {n}", total=n) for n in range(5)])
    session.bulk_update_mappings(sa.inspect(Order), [{"id": 1, "address": "D"}, {"id": 2, "address": "E"}])
    session.execute(sa.update(Order), [{"id": 1, "total": 3}, {"id": 2, "address": None}])
    session.commit()
    return session.scalars(sa.select(Order.address).where(Order.person_id < 3).order_by(Order.id)).all()


def save_what_changed(session: orm.Session) -> Any:
    person = session.get_one(Person, 1)
    person.name, person.mood, person.tags = "Bo Li", Mood.CROSS, ["blue"]
    session.flush()
    now = (person.revision, person.initial, person.mood, person.tags)
    person.phone = None
    person.note = "moved"
    details = session.get_one(Order, 1).details
    assert details is not None
    details["wrapped"] = True
    session.commit()
    return now, person.revision, person.phone, person.orders[0].details


def save_many(session: orm.Session) -> Any:
    people = session.scalars(sa.select(Person).where(Person.id.in_([1, 2, 6])).order_by(Person.id)).all()
    for person in people:
        person.name = f"Now {person.id}"
        for order in person.orders:
            order.address = f"There {order.id}"
    session.commit()
    return [(p.revision, p.name, p.initial, [o.address for o in p.orders]) for p in people]


def save_expressions(session: orm.Session) -> Any:
    person = session.get_one(Person, 1)
    person.name = sa.func.upper(Person.name)
    person.orders[0].total = Order.total + 5
    session.flush()
    saved = (person.name, person.revision, person.initial, person.orders[0].total)
    session.commit()
    return saved


def update_in_bulk(session: orm.Session) -> Any:
    orders = session.scalars(sa.select(Order).where(Order.person_id == 1)).all()
    fetch = sa.update(Order).where(Order.person_id == 1).values(address="F")
    session.execute(fetch, execution_options={"synchronize_session": "fetch"})
    told = session.execute(
        sa.update(Order).where(Order.address == "F").values(total=9).returning(Order.id, Order.total)
    )
    changed = [order.address for order in orders], [tuple(row) for row in told]
    session.commit()
    return changed


def update_from_others(session: orm.Session) -> Any:
    moved = sa.update(Order).values(address=Customer.shipping).where(Order.person_id == Customer.id, Customer.id == 2)
    result: Any = session.execute(moved, execution_options={"synchronize_session": False})
    with_query = sa.update(Order).where(Order.id == 1).values(total=1).returning(Order.id, Order.address).cte("changed")
    told = [tuple(row) for row in session.execute(sa.select(with_query))]
    session.commit()
    return result.rowcount, told


def merge(session: orm.Session) -> Any:
    order = session.merge(Order(id=1, person_id=1, address="Merged", total=10, details={"gift": True}))
    new = session.merge(Order(id=50, person_id=2, address="New"))
    session.commit()
    return order.address, new.id, new.total


def upsert(session: orm.Session) -> Any:
    new = insert(Preference).values(
        [{"person_id": 1, "key": key, "value": "green"} for key in ("colour", "hat")]
        + [{"person_id": 2, "key": "hat", "value": None}]
    )
    changed = new.on_conflict_do_update(
        index_elements=["person_id", "key"],
        set_={"value": new.excluded.value, "changes": Preference.changes + 1},
    )
    told = session.scalars(changed.returning(Preference), execution_options={"populate_existing": True}).all()
    shown = [(one.person_id, one.key, one.value, one.changes) for one in told]
    nothing = insert(Preference).values(person_id=1, key="hat", value="red").on_conflict_do_nothing()
    none = session.execute(nothing.returning(Preference.key)).all()
    session.commit()
    return shown, none


def upsert_many(session: orm.Session) -> Any:
    new = insert(Preference)
    changed = new.on_conflict_do_update(index_elements=["person_id", "key"], set_={"value": new.excluded.value})
    rows = [{"person_id": 1 + n % 2, "key": f"k{n // 3}", "value": f"v{n}"} for n in range(0, 60, 3)]
    told = session.execute(changed.returning(Preference.key, Preference.value), rows).all()
    session.commit()
    return [tuple(row) for row in told]


def delete_with_cascade(session: orm.Session) -> Any:
    person = session.get_one(Person, 1)
    session.delete(session.get_one(Order, 2))
    person.orders[0].lines.pop()
    session.flush()
    person.orders.clear()
    session.commit()
    gone = session.execute(sa.delete(Line).where(Line.order_id == 6).returning(Line.engraving))
    shown = [tuple(row) for row in gone]
    session.commit()
    return shown


def stale(session: orm.Session) -> Any:
    person = session.get_one(Person, 1)
    session.execute(sa.text("UPDATE people SET revision = 5 WHERE id = 1"))
    person.name = "Too late"
    with pytest.raises(StaleDataError):
        session.flush()
    session.rollback()
    session.execute(sa.text("DELETE FROM orders WHERE id = 1"))
    session.commit()
    session.add(order := Order(id=1, person_id=1, address="Again"))
    session.commit()
    return person.name, person.revision, order.address


def savepoints(session: orm.Session) -> Any:
    person = session.get_one(Person, 1)
    with session.begin_nested():
        person.name = "Kept"
    with pytest.raises(IntegrityError), session.begin_nested():
        person.phone = "13800000002"
        session.flush()
    with session.begin_nested() as nested:
        session.add(Order(person_id=1, address="Lost"))
        session.flush()
        nested.rollback()
    person.note = "after"
    session.commit()
    return person.name, person.phone, person.note, len(person.orders)


def inherit(session: orm.Session) -> Any:
    customer = session.get_one(Customer, 2)
    customer.name, customer.shipping = "Cy", "Elsewhere 9"
    session.flush()
    customer.points += 1
    employee = session.scalars(sa.select(Person).where(Person.id == 6)).one()
    assert isinstance(employee, Employee)
    employee.iban = None
    session.commit()
    everybody = orm.with_polymorphic(Person, "*")
    loaded = session.scalars(sa.select(everybody).where(everybody.id.in_([1, 2, 6])).order_by(everybody.id)).all()
    return [(type(one).__name__, one.name, one.revision) for one in loaded], customer.shipping, customer.points


def lock(session: orm.Session) -> Any:
    order = session.get_one(Order, 1, with_for_update=True)
    order.address = "Locked"
    session.flush()
    session.refresh(order, with_for_update={"of": Order, "nowait": True})
    person = session.scalars(sa.select(Person).where(Person.id == 1).with_for_update(key_share=True)).one()
    seen = (order.address, person.name)
    session.commit()
    return seen


def stream(session: orm.Session) -> Any:
    shown = []
    for order in session.scalars(sa.select(Order).order_by(Order.id).execution_options(yield_per=2)):
        if order.id in {1, 2, 6}:
            order.total += 1
            shown.append(order.address)
    session.commit()
    return shown


def rename_a_key(session: orm.Session) -> Any:
    preference = session.get_one(Preference, (1, "colour"))
    preference.key = "color"
    session.flush()
    preference.value = "pink"
    session.commit()
    return session.get_one(Preference, (1, "color")).value


def register(session: orm.Session) -> Any:
    person = Person(name="Di", phone="139", tags=[], mood=Mood.CALM, consents=[Consent(purpose="sales")])
    person.orders.append(Order(address="Here 1", lines=[Line(number=1, engraving="Di")]))
    session.add(person)
    session.flush()
    made = (person.id, person.status, person.revision, person.orders[0].id)
    session.commit()
    return made, person.name, person.initial, person.orders[0].lines[0].engraving


def register_many(session: orm.Session) -> Any:
    people = [
        kind(name=f"Ed {n}", phone=f"137{n}", consents=[Consent(purpose="sales")])
        for n, kind in enumerate((Person, Customer, Employee) * 10)
    ]
    session.add_all(people)
    session.flush()
    session.commit()
    return [(person.id, type(person).__name__, person.name, person.initial) for person in people]


def register_in_savepoints(session: orm.Session) -> Any:
    for number in range(3):
        with session.begin_nested() as nested:
            session.add(Customer(name=f"Flo {number}", shipping="There", consents=[Consent(purpose="sales")]))
            session.flush()
            if number == 1:
                nested.rollback()
    session.commit()
    return session.scalars(sa.select(Customer.name).where(Customer.id > 99).order_by(Customer.id)).all()


def forget(session: orm.Session) -> Any:
    for number in (1, 3, 5):
        session.delete(session.get_one(Person, number))
    session.commit()
    return session.scalars(sa.select(Person.id).order_by(Person.id)).all()


def withdraw(session: orm.Session) -> Any:
    person = session.get_one(Person, 1)
    person.consents[0].withdrawn_at = sa.func.now()
    session.flush()
    person.status = "closed"
    session.commit()
    return person.status, person.revision


CONSENTING = (
    *(add_and_flush, add_many, add_a_graph, insert_with_parameters, insert_values, bulk),
    *(save_what_changed, save_many, save_expressions, update_in_bulk, update_from_others, merge),
    *(upsert, upsert_many, delete_with_cascade, stale, savepoints, inherit, lock, stream, rename_a_key),
)
"""By a role that sees and writes what those who consent agreed to, and touches nobody else."""
MANAGING = (register, register_many, register_in_savepoints, forget, withdraw)
"""By a role that manages accounts and consent."""
SENT_OTHERWISE = {add_many, add_a_graph, save_what_changed, upsert_many, stale, savepoints, inherit, stream, register}
"""What asyncpg, which prepares every statement and knows each parameter's type, says in other words than psycopg."""
PLAYS = [
    pytest.param(driver, role, part, id=f"{part.__name__}-{driver}")
    for driver in DRIVERS
    for role, parts in (("shop", CONSENTING), ("desk", MANAGING))
    for part in parts
    if driver == "psycopg" or part in SENT_OTHERWISE
]


@pytest.mark.parametrize(("driver", "role", "part"), PLAYS)
def test_it_is_as_if_nobody_stood_between(directly: Shop, through: Shop, driver: str, role: str, part: Part) -> None:
    expected = directly.play(driver, role, part), directly.stored()
    through.fill()
    assert (through.play(driver, role, part), through.stored()) == expected


@pytest.mark.parametrize(("role", "part"), [("shop", add_a_graph), ("desk", register)])
def test_two_phases(directly: Shop, through: Shop, role: str, part: Part) -> None:
    """asyncpg has no such transactions."""
    expected = directly.play("psycopg", role, part, twophase=True), directly.stored()
    through.fill()
    assert (through.play("psycopg", role, part, twophase=True), through.stored()) == expected
