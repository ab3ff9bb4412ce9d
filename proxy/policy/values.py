"""Scalars of the policy file and how each is written: durations, timestamps, names of tables, constants."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from functools import cache
from typing import Annotated, Any
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from proxy.policy.model import Name

_DURATION = re.compile(r"([0-9]{1,9}) +(second|minute|hour|day|week)s?")
_PART = r'(?:"(?:[^"]|"")+"|[^".\s]+)'
_TABLE = re.compile(rf"({_PART})\.({_PART})")
_OBJECT = re.compile(rf"\*|{_PART}\.(?:\*|{_PART})")
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?([Zz]|[-+]\d{2}:\d{2})?")


def read_duration(text: Any) -> timedelta:
    """``180 days``: a whole number of seconds, minutes, hours, days or weeks. Months and years have no fixed length."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("a duration is '<n> seconds|minutes|hours|days|weeks', such as '180 days'")
    try:
        kept = timedelta(**{match[2] + "s": int(match[1])})
    except OverflowError:
        kept = timedelta()
    if not timedelta() < kept <= timedelta(days=365_000):
        raise ValueError("a duration is longer than nothing and at most 365000 days")
    return kept


def read_timestamp(text: Any) -> datetime:
    """An ISO 8601 date and time with its zone: without one, an order to stop would begin at an unknown moment."""
    if not isinstance(text, str) or not _TIMESTAMP.fullmatch(text):
        raise ValueError("a time is written as 2026-11-01T00:00:00+08:00")
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError(f"there is no such time as {text}") from None
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone, such as +08:00 or Z")
    return moment


def read_table(text: str) -> Name:
    """``schema.table`` as the catalog has it; a part that holds a dot stands in ``"``, where ``""`` is one ``"``."""
    match = _TABLE.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not schema.table; put a part that holds a dot or a space in double quotes")
    return Name(*(_unquoted(part) for part in match.groups()))


def _unquoted(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part


def _table(text: str) -> str:
    read_table(text)
    return text


def _object(text: str) -> str:
    if not _OBJECT.fullmatch(text):
        raise ValueError(f"'{text}' is not schema.name, schema.* or *")
    return text


def _scalar(value: Any) -> Any:
    if not isinstance(value, str | int | float | bool) or value in (math.inf, -math.inf):
        raise ValueError("expected text, a number, true or false")
    return value


def read_state_value(value: Any) -> str:
    """One value of an account column, as PostgreSQL's cast to text writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise ValueError("expected text, a whole number, true or false")


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _time_zone(text: str) -> str:
    if text != "UTC" and not _zones():
        raise ValueError("this machine has no time zone data: install tzdata, or use UTC")
    if text != "UTC" and text not in _zones():
        raise ValueError(f"'{text}' is not a time zone such as UTC or Asia/Shanghai")
    return text


Text = Annotated[str, Field(min_length=1)]
TableName = Annotated[str, AfterValidator(_table)]
ObjectName = Annotated[str, AfterValidator(_object)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Duration = Annotated[
    timedelta,
    BeforeValidator(read_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["180 days"]}),
]
Timestamp = Annotated[
    datetime,
    BeforeValidator(read_timestamp),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-01T00:00:00+08:00"]}),
]
Scalar = Annotated[Any, BeforeValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]
StateValue = Annotated[
    str, BeforeValidator(read_state_value), WithJsonSchema({"type": ["string", "integer", "boolean"]})
]
