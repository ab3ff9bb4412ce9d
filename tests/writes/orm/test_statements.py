"""Statements that an application writes by the mapper's names: the same results and rows as directly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects.postgresql import insert

from tests.writes.orm.conftest import Shop
from tests.writes.orm.models import Consent, Customer, Employee, Order, Person, Preference

Part = Callable[[orm.Session], Any]
THOSE = (1, 2, 6)
"""Who consent."""


def an_element_of_an_array(session: orm.Session) -> Any:
    session.execute(sa.update(Person).where(Person.id == 1).values({Person.tags[1]: "green"}))
    session.execute(sa.update(Person).where(Person.id == 2).values(tags=sa.func.array_append(Person.tags, "last")))
    session.execute(sa.update(Order).where(Order.id == 1).values({Order.details["gift"]: sa.text("'1'::jsonb")}))
    session.commit()
    return [p.tags for p in session.scalars(sa.select(Person).where(Person.id.in_(THOSE)).order_by(Person.id))]


def a_case_for_each_row(session: orm.Session) -> Any:
    """How several rows are changed by one statement."""
    new = sa.case((Order.id == 1, "One"), (Order.id == 2, sa.bindparam("two")), else_=Order.address)
    result: Any = session.execute(
        sa.update(Order).where(Order.id.in_(THOSE)).values(address=new),
        {"two": "Two"},
        execution_options={"synchronize_session": False},
    )
    session.commit()
    return result.rowcount


def whether_it_was_inserted(session: orm.Session) -> Any:
    new = insert(Preference)
    rows = [{"person_id": 1, "key": key, "value": key} for key in ("colour", "hat")]
    changed = new.on_conflict_do_update(
        constraint="preferences_pkey", set_={"value": new.excluded.value}, where=Preference.value != new.excluded.value
    ).returning(Preference.key, sa.literal_column("(preferences.xmax = 0)").label("inserted"))
    told = [session.execute(changed.values(row)).all() for row in rows]
    shown = [[tuple(one) for one in some] for some in told]
    session.commit()
    return shown


def every_column_of_a_conflict(session: orm.Session) -> Any:
    new = insert(Order).values(id=1, person_id=1, address="New", total=5, details={"a": 1})
    changed = new.on_conflict_do_update(
        index_elements=[Order.id], set_={c.name: c for c in new.excluded if c.name not in ("id", "person_id")}
    )
    told = session.scalars(changed.returning(Order), execution_options={"populate_existing": True}).one()
    shown = (told.id, told.address, told.details)
    session.commit()
    return shown


def joined_tables(session: orm.Session) -> Any:
    """UPDATE … FROM, and one UPDATE for each table of a subclass."""
    changed = sa.update(Person).where(
        Person.id == Customer.__table__.c.id, Customer.__table__.c.points > 5, Person.id == 2
    )
    session.execute(changed.values(name="By points"), execution_options={"synchronize_session": "fetch"})
    session.execute(sa.update(Customer), [{"id": 2, "name": "Both", "shipping": "There", "revision": 1}])
    session.commit()
    return session.get_one(Customer, 2).name


def loading(session: orm.Session) -> Any:
    query = (
        sa.select(Person)
        .where(Person.id.in_(THOSE))
        .options(
            orm.joinedload(Person.orders).selectinload(Order.lines),
            orm.subqueryload(Person.preferences),
            orm.selectin_polymorphic(Person, [Customer, Employee]),
            orm.selectinload(Person.clubs),
        )
        .order_by(Person.name.desc())
        .limit(3)
    )
    people = session.scalars(query).unique().all()
    return [
        (
            p.name,
            p.orders[0].address,
            [line.engraving for line in p.orders[0].lines],
            p.preferences[0].value,
            len(p.clubs),
        )
        for p in people
    ]


def windows_and_unions(session: orm.Session) -> Any:
    ranked = (
        sa.select(Order, sa.func.row_number().over(partition_by=Order.person_id, order_by=Order.address).label("n"))
        .where(Order.person_id.in_(THOSE))
        .subquery()
    )
    order = orm.aliased(Order, ranked)
    first = session.scalars(sa.select(order).where(ranked.c.n == 1).order_by(order.id)).all()
    both: sa.CompoundSelect[Any] = sa.union_all(
        sa.select(Person.name).where(Person.id == 1), sa.select(Order.address).where(Order.id == 2)
    )
    exists = (
        sa.select(Person.id)
        .where(Person.orders.any(Order.address.like("Short%")), Person.id.in_(THOSE))
        .order_by(Person.id)
    )
    return [o.address for o in first], sorted(session.scalars(both)), session.scalars(exists).all()


def into_a_temporary_table(session: orm.Session) -> Any:
    session.execute(sa.text("CREATE TEMPORARY TABLE numbers (id bigint, total bigint) ON COMMIT DROP"))
    numbers = sa.table("numbers", sa.column("id"), sa.column("total"))
    session.execute(numbers.insert().from_select(["id", "total"], sa.select(Order.id, Order.total)))
    result: Any = session.execute(
        sa.update(Order).where(Order.id == numbers.c.id, Order.id == 1).values(total=numbers.c.total + 1),
        execution_options={"synchronize_session": False},
    )
    session.commit()
    return result.rowcount


def a_queue(session: orm.Session) -> Any:
    """Workers that each take what no other has taken."""
    taken = []
    query = sa.select(Order).where(Order.total > 0, Order.person_id.in_(THOSE)).order_by(Order.id).limit(1)
    with orm.Session(session.get_bind()) as first, orm.Session(session.get_bind()) as second:
        for worker in (first, second, first):
            order = worker.scalars(query.with_for_update(skip_locked=True)).one()
            order.total -= 10
            worker.flush()
            taken.append((order.id, order.address))
        first.commit()
        second.commit()
        taken += [(order.id, order.total) for order in session.scalars(query)]
    session.commit()
    return taken


def forget(session: orm.Session) -> Any:
    """By the database's cascades, which take consents along."""
    result: Any = session.execute(sa.delete(Person).where(Person.id.in_([1, 3, 5])))
    session.commit()
    return result.rowcount


def a_subclass_in_bulk(session: orm.Session) -> Any:
    """Two INSERTs, whose rows must meet."""
    rows = [{"name": f"Gus {n}", "shipping": f"Street {n}", "revision": 1, "kind": "customer"} for n in range(5)]
    made = session.scalars(sa.insert(Customer).returning(Customer, sort_by_parameter_order=True), rows).all()
    session.execute(sa.insert(Consent), [{"person_id": one.id, "purpose": "sales"} for one in made])
    session.commit()
    return [(one.name, one.shipping, one.initial) for one in made]


def consent_by_select(session: orm.Session) -> Any:
    chosen = sa.select(Person.id, sa.literal("outreach")).where(Person.status == "active")
    result: Any = session.execute(sa.insert(Consent).from_select(["person_id", "purpose"], chosen))
    session.execute(
        sa.delete(Consent).where(Consent.person_id.in_(sa.select(Person.id).where(Person.status == "closed"))),
        execution_options={"synchronize_session": False},
    )
    session.commit()
    return result.rowcount


BY_WHOM = {
    "shop": (
        *(an_element_of_an_array, a_case_for_each_row, whether_it_was_inserted, every_column_of_a_conflict),
        *(joined_tables, loading, windows_and_unions, into_a_temporary_table, a_queue, forget),
    ),
    "desk": (a_subclass_in_bulk, consent_by_select),
}
PARTS = [pytest.param(role, part, id=part.__name__) for role, parts in BY_WHOM.items() for part in parts]


@pytest.mark.parametrize(("role", "part"), PARTS)
def test_it_is_as_if_nobody_stood_between(directly: Shop, through: Shop, role: str, part: Part) -> None:
    expected = directly.play("psycopg", role, part), directly.stored()
    through.fill()
    assert (through.play("psycopg", role, part), through.stored()) == expected
