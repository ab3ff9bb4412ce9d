"""How an application's tables come to be and change, as its migrations would have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.db import connection, models
from django.db.models.functions import Upper

from tests.writes.crm.models import Customer, Order, Parcel, Tag


def _field(model: Any, name: str, field: Any) -> Any:
    field.set_attributes_from_name(name)
    field.model = model
    return field


def change() -> None:
    """Makes the tables, and takes those of classified columns through what migrations do to them."""
    address, total = Order._meta.get_field("address"), Order._meta.get_field("total")
    colour = _field(Order, "colour", models.CharField(max_length=30, default="none", db_index=True))
    steps: tuple[Callable[[Any], None], ...] = (
        *(lambda editor, model=model: editor.create_model(model) for model in apps.get_app_config("crm").get_models()),
        lambda editor: editor.add_field(Order, colour),
        lambda editor: editor.alter_field(Order, address, _field(Order, "address", models.CharField(max_length=300))),
        lambda editor: editor.alter_field(Order, total, _field(Order, "total", models.BigIntegerField(default=0))),
        lambda editor: editor.alter_field(Order, total, _field(Order, "sum", models.IntegerField(default=0))),
        lambda editor: editor.add_index(Order, models.Index(fields=["address", "number"], name="by_address")),
        lambda editor: editor.add_index(Customer, models.Index(Upper("full_name"), name="by_name")),
        lambda editor: editor.add_constraint(Parcel, models.UniqueConstraint(fields=["greeting"], name="one_greeting")),
        lambda editor: editor.add_constraint(
            Parcel, models.CheckConstraint(condition=models.Q(weight__gt=0), name="weighs")
        ),
        lambda editor: editor.remove_constraint(
            Parcel, models.UniqueConstraint(fields=["greeting"], name="one_greeting")
        ),
        lambda editor: editor.alter_db_table(Tag, "crm_tag", "crm_label"),
        lambda editor: editor.alter_db_table_comment(Order, None, "What customers ordered"),
        lambda editor: editor.remove_field(Order, colour),
    )
    for step in steps:
        with connection.schema_editor() as editor:
            step(editor)


def shed() -> None:
    """A migration by which a column would lose its classification."""
    street = _field(Order, "street", models.CharField(max_length=200))
    with connection.schema_editor() as editor:
        editor.alter_field(Order, Order._meta.get_field("address"), street)
