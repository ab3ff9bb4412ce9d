"""The mask ``constant``: a value of the column's type, judged here so that the server never has to refuse it."""

from __future__ import annotations

import math
import struct
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation

from proxy.catalog.model import Column
from proxy.masks.expression import (
    BOOL,
    DATE,
    FLOAT4,
    FLOAT8,
    INT2,
    INT4,
    INT8,
    NUMERIC,
    TIME,
    TIMESTAMP,
    TIMESTAMPTZ,
    UUID,
    choose,
    is_text,
    literal,
    null,
    numeric_limits,
)
from proxy.masks.text import fits

Value = str | int | float | bool | None

_BITS = {INT2: 15, INT4: 31, INT8: 63}
_BOOLEANS = {"true": "true", "false": "false"}


class NotOfType(ValueError):
    """The constant is no value of the column's type; says why."""


def constant(value: Value, raw: str, column: Column) -> str:
    """``value`` wherever the raw value is not NULL."""
    if value is None:
        return null(column)
    return choose([(f"({raw}) IS NOT NULL", literal(_spelled(value, column)))], column)


def constant_unfit(value: Value, column: Column) -> str | None:
    if value is None:
        return None
    try:
        _spelled(value, column)
    except NotOfType as reason:
        return str(reason)
    return None


def _spelled(value: str | float, column: Column) -> str:
    """The value as the type's input function reads it under any settings. Raises NotOfType."""
    if is_text(column):
        return _text(value, column)
    if column.is_enum:
        if value not in column.enum_labels:
            message = f"{value!r} is no value of the enum {column.type_sql}"
            raise NotOfType(message)
        return str(value)
    speller = _SPELLERS.get(column.base_type)
    if speller is None:
        message = f"a constant cannot be given for type {column.type_sql}"
        raise NotOfType(message)
    try:
        return speller(value, column)
    except (ValueError, ArithmeticError, InvalidOperation) as error:
        message = f"{value!r} is no value of type {column.type_sql}"
        raise NotOfType(message) from error


def _text(value: str | float, column: Column) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise NotOfType("PostgreSQL cannot store this text")
    if not fits(text, column):
        message = f"the constant is too long for {column.type_sql}"
        raise NotOfType(message)
    return text


def _boolean(value: str | float, _: Column) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value in _BOOLEANS:
        return value
    raise ValueError(value)


def _integer(value: str | float, column: Column) -> str:
    number = _decimal(value)
    whole = int(number)
    if whole != number or not -(2 ** _BITS[column.base_type]) <= whole < 2 ** _BITS[column.base_type]:
        raise ValueError(value)
    return str(whole)


def _decimal(value: str | float) -> Decimal:
    """A finite number within what every numeric without a modifier holds."""
    if isinstance(value, bool) or (isinstance(value, str) and not value.isascii()):
        raise ValueError(value)
    number = Decimal(repr(value) if isinstance(value, float) else value)
    if not number.is_finite() or abs(number.adjusted()) > 1000:
        raise ValueError(value)
    return number


def _numeric(value: str | float, column: Column) -> str:
    number = _decimal(value)
    limits = numeric_limits(column)
    if limits is not None:
        precision, scale = limits
        scaled = number.scaleb(scale)
        if scaled != scaled.to_integral_value() or abs(scaled) >= Decimal(10) ** precision:
            raise ValueError(value)
    return format(number, "f")


def _float(value: str | float, column: Column) -> str:
    number = float(_decimal(value))
    if column.base_type == FLOAT4:
        number = struct.unpack("<f", struct.pack("<f", number))[0]
    if not math.isfinite(number) or (number == 0) != (_decimal(value) == 0):
        raise ValueError(value)
    return repr(number)


def _date(value: str | float, _: Column) -> str:
    return date.fromisoformat(_iso(value)).isoformat()


def _time(value: str | float, _: Column) -> str:
    parsed = time.fromisoformat(_iso(value))
    if parsed.tzinfo is not None:
        raise ValueError(value)
    return parsed.isoformat()


def _timestamp(value: str | float, _: Column) -> str:
    parsed = datetime.fromisoformat(_iso(value))
    if parsed.tzinfo is not None:
        raise ValueError(value)
    return parsed.isoformat(sep=" ")


def _timestamptz(value: str | float, _: Column) -> str:
    parsed = datetime.fromisoformat(_iso(value))
    instant = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    return instant.isoformat(sep=" ")


def _iso(value: str | float) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def _uuid(value: str | float, _: Column) -> str:
    return str(uuid.UUID(_iso(value)))


_SPELLERS: dict[int, Callable[[str | float, Column], str]] = {
    BOOL: _boolean,
    INT2: _integer,
    INT4: _integer,
    INT8: _integer,
    NUMERIC: _numeric,
    FLOAT4: _float,
    FLOAT8: _float,
    DATE: _date,
    TIME: _time,
    TIMESTAMP: _timestamp,
    TIMESTAMPTZ: _timestamptz,
    UUID: _uuid,
}
