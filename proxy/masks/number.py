"""The mask ``range``: numbers cut down to a multiple of a step, without rounding and without overflow."""

from __future__ import annotations

from proxy.catalog.model import Column
from proxy.masks.expression import (
    FLOAT4,
    FLOAT8,
    INT2,
    INT4,
    INT8,
    NUMERIC,
    Branch,
    call,
    cast,
    choose,
    numeric_limits,
    operate,
)

_SMALLEST = {INT2: -(2**15), INT4: -(2**31), INT8: -(2**63)}
_EXACT = {FLOAT4: 2**24, FLOAT8: 2**53}  # whole numbers up to here are all floating point numbers
_STEP_LIMIT = 2**63 - 1
_NUMERIC_LIMIT = "1e131071"  # a digit below numeric's own limit, so that no step leads beyond it

TYPES = frozenset({*_SMALLEST, *_EXACT, NUMERIC})


def range_unfit(step: int | None, column: Column) -> str | None:
    if step is None or isinstance(step, bool) or step <= 0:
        return "range needs a step above 0"
    if step > _STEP_LIMIT:
        return f"range needs a step of at most {_STEP_LIMIT}"
    if column.base_type not in TYPES:
        return "range is for numbers"
    limits = numeric_limits(column)
    if limits is not None and limits[1] < 0 and step % 10 ** -limits[1]:
        return f"the column rounds to multiples of {10 ** -limits[1]}, which the step is not"
    return None


def cut_down(step: int, value: str, column: Column) -> str:
    """The largest multiple of ``step`` that is not above the value; NULL where the type cannot hold it exactly.

    Not-a-number and infinities lie in no range and become NULL, as do floating point numbers so large that their
    neighbours are more than 1 away.
    """
    if column.base_type == NUMERIC:
        return _cut_numeric(step, value, column)
    if column.base_type in _EXACT:
        return _cut_float(step, value, column)
    return choose(_cut_int8(step, cast(value, "pg_catalog.int8"), _SMALLEST[column.base_type]), column)


def _cut_int8(step: int, number: str, smallest: int) -> list[Branch]:
    """A remainder has the sign of its dividend, so below 0 one step more goes down, if there is room for it."""
    remainder = operate(number, "%", _int8(step))
    down = operate(number, "-", remainder)
    return [
        (operate(remainder, ">=", _int8(0)), down),
        (operate(down, ">=", _int8(smallest + step)), operate(down, "-", _int8(step))),
    ]


def _cut_float(step: int, value: str, column: Column) -> str:
    # Dividing floating point numbers raises on underflow and rounds; whole numbers do neither.
    limit = _EXACT[column.base_type]
    whole = call("floor", cast(value, "pg_catalog.float8"))
    bound = cast(_int8(limit), "pg_catalog.float8")
    low = cast(_int8(-limit), "pg_catalog.float8")
    inside = f"{operate(whole, '>=', low)} AND {operate(whole, '<=', bound)}"
    # The guard stands in a CASE of its own: only CASE promises an order of evaluation (manual 4.2.14).
    number = f"(CASE WHEN {inside} THEN {cast(whole, 'pg_catalog.int8')} END)"
    return choose(_cut_int8(step, number, -limit), column)


def _cut_numeric(step: int, value: str, column: Column) -> str:
    number = cast(value, "pg_catalog.numeric")
    inside = (
        f"{operate(number, '>', _numeric('-' + _NUMERIC_LIMIT))} AND {operate(number, '<', _numeric(_NUMERIC_LIMIT))}"
    )
    whole = f"(CASE WHEN {inside} THEN {call('floor', number)} END)"
    remainder = call("mod", whole, _numeric(str(step)))
    down = operate(whole, "-", remainder)
    further = operate(down, "-", _numeric(str(step)))
    branches = [
        (operate(remainder, ">=", _numeric("0")), down),
        (operate(remainder, "<", _numeric("0")), further),
    ]
    limits = numeric_limits(column)
    if limits is not None:
        branches = [(f"{condition} AND {_within(shown, *limits)}", shown) for condition, shown in branches]
    return choose(branches, column)


def _within(shown: str, precision: int, scale: int) -> str:
    bound = f"1e{precision - scale}"
    return f"{operate(shown, '>', _numeric('-' + bound))} AND {operate(shown, '<', _numeric(bound))}"


def _int8(number: int) -> str:
    return f"'{number}'::pg_catalog.int8"


def _numeric(digits: str) -> str:
    return f"'{digits}'::pg_catalog.numeric"
