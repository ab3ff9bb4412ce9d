"""A shop as an application maps it: identities, versions, joined tables, computed columns, cascades."""

from __future__ import annotations

import datetime
import enum
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.mutable import MutableDict

Now = datetime.datetime


class Mood(enum.Enum):
    CALM = "calm"
    CROSS = "cross"


class Base(orm.DeclarativeBase):
    type_annotation_map = {Now: sa.DateTime(timezone=True), int: sa.BigInteger}  # noqa: RUF012 - SQLAlchemy's own form


members = sa.Table(
    "members",
    Base.metadata,
    sa.Column("person_id", sa.ForeignKey("people.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("club_id", sa.ForeignKey("clubs.id", ondelete="CASCADE"), primary_key=True),
)


class Club(Base):
    __tablename__ = "clubs"
    id: orm.Mapped[uuid.UUID] = orm.mapped_column(primary_key=True, server_default=sa.func.gen_random_uuid())
    title: orm.Mapped[str] = orm.mapped_column(unique=True)


class Person(Base):
    """The registry of subjects."""

    __tablename__ = "people"
    id: orm.Mapped[int] = orm.mapped_column(sa.Identity(start=100), primary_key=True)
    kind: orm.Mapped[str]
    name: orm.Mapped[str]
    phone: orm.Mapped[str | None] = orm.mapped_column(sa.String(20), unique=True)
    mood: orm.Mapped[Mood | None]
    tags: orm.Mapped[list[str] | None] = orm.mapped_column(postgresql.ARRAY(sa.Text))
    note: orm.Mapped[str | None] = orm.mapped_column(sa.Text)
    status: orm.Mapped[str] = orm.mapped_column(server_default="active")
    revision: orm.Mapped[int] = orm.mapped_column()
    saved_at: orm.Mapped[Now] = orm.mapped_column(server_default=sa.func.now(), onupdate=sa.func.now())
    initial: orm.Mapped[str] = orm.mapped_column(sa.Computed('"left"(name, 1)'))
    consents: orm.Mapped[list[Consent]] = orm.relationship(cascade="all, delete-orphan", order_by="Consent.purpose")
    orders: orm.Mapped[list[Order]] = orm.relationship(
        back_populates="person", cascade="all, delete-orphan", order_by="Order.id"
    )
    preferences: orm.Mapped[list[Preference]] = orm.relationship(cascade="all", passive_deletes=True)
    clubs: orm.Mapped[set[Club]] = orm.relationship(secondary=members)
    __mapper_args__: Any = {  # noqa: RUF012 - SQLAlchemy's own form
        "polymorphic_on": "kind",
        "polymorphic_identity": "person",
        "version_id_col": revision,
        "eager_defaults": True,
    }


class Customer(Person):
    __tablename__ = "customers"
    id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("people.id", ondelete="CASCADE"), primary_key=True)
    shipping: orm.Mapped[str | None]
    points: orm.Mapped[int] = orm.mapped_column(server_default="0")
    __mapper_args__: Any = {"polymorphic_identity": "customer"}  # noqa: RUF012 - the same


class Employee(Person):
    __tablename__ = "employees"
    id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("people.id", ondelete="CASCADE"), primary_key=True)
    iban: orm.Mapped[str | None]
    __mapper_args__: Any = {"polymorphic_identity": "employee"}  # noqa: RUF012 - the same


class Consent(Base):
    __tablename__ = "consents"
    person_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("people.id", ondelete="CASCADE"), primary_key=True)
    purpose: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    granted_at: orm.Mapped[Now] = orm.mapped_column(server_default=sa.func.now())
    withdrawn_at: orm.Mapped[Now | None]


class Order(Base):
    __tablename__ = "orders"
    id: orm.Mapped[int] = orm.mapped_column(sa.Identity(start=100), primary_key=True)
    person_id: orm.Mapped[int | None] = orm.mapped_column(sa.ForeignKey("people.id", ondelete="CASCADE"))
    address: orm.Mapped[str | None]
    total: orm.Mapped[int] = orm.mapped_column(server_default="0")
    details: orm.Mapped[dict[str, Any] | None] = orm.mapped_column(MutableDict.as_mutable(postgresql.JSONB()))
    person: orm.Mapped[Person] = orm.relationship(back_populates="orders")
    lines: orm.Mapped[list[Line]] = orm.relationship(cascade="all, delete-orphan", order_by="Line.number")


class Line(Base):
    __tablename__ = "lines"
    order_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True)
    number: orm.Mapped[int] = orm.mapped_column(primary_key=True, autoincrement=False)
    engraving: orm.Mapped[str | None]


class Preference(Base):
    __tablename__ = "preferences"
    person_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("people.id", ondelete="CASCADE"), primary_key=True)
    key: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    value: orm.Mapped[str | None]
    changes: orm.Mapped[int] = orm.mapped_column(server_default="1")
