"""Masks of dates and timestamps: cut to the year or month they lie in, whatever ``TimeZone`` and ``DateStyle`` say."""

from __future__ import annotations

from proxy.catalog.model import Column
from proxy.masks.expression import DATE, TIMESTAMP, TIMESTAMPTZ, call, cast, choose, operate

TYPES = frozenset({DATE, TIMESTAMP, TIMESTAMPTZ})

# PostgreSQL's calendar begins on 4714-11-24 BC (datatype/timestamp.h): a day before that cannot be shown.
_FIRST = {"year": "(-4713), 1, 1", "month": "(-4714), 12, 1"}
_UTC = "pg_catalog.make_interval()"  # a zone given by its offset: the name UTC may mean another in a session


def cut(unit: str, value: str, column: Column) -> str:
    """The first day or instant of the value's ``unit`` (``year`` or ``month``); infinity stays what it is.

    Values whose year or month begins before PostgreSQL's calendar does become NULL.
    """
    if column.base_type == DATE:
        return _cut_date(unit, cast(value, "pg_catalog.date"), column)
    if column.base_type == TIMESTAMP:
        stamp = cast(value, "pg_catalog.timestamp")
        shown = call("date_trunc", f"'{unit}'::pg_catalog.text", stamp)
    else:
        stamp = call("timezone", _UTC, cast(value, "pg_catalog.timestamptz"))
        shown = call("timezone", _UTC, call("date_trunc", f"'{unit}'::pg_catalog.text", stamp))
    first = call("make_timestamp", _FIRST[unit], "0", "0", "0::pg_catalog.float8")
    whole = f"NOT {call('isfinite', stamp)}"
    return choose([(whole, value), (operate(stamp, ">=", first), shown)], column)


def _cut_date(unit: str, date: str, column: Column) -> str:
    # Not by way of timestamp: dates reach 5874897, timestamps 294276.
    field = {"year": "doy", "month": "day"}[unit]
    day = cast(call("extract", f"'{field}'::pg_catalog.text", date), "pg_catalog.int4")
    shown = operate(date, "-", operate(day, "-", "1::pg_catalog.int4"))
    first = call("make_date", _FIRST[unit])
    return choose([(f"NOT {call('isfinite', date)}", date), (operate(date, ">=", first), shown)], column)
