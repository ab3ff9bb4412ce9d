"""Predicates of the client's that hold inside a secured relation too, so that PostgreSQL can use the table's indexes.

``visible = v`` implies ``raw = v OR v could be what the mask shows``. Both stand inside the secured relation, behind a
fence (OFFSET 0): beside a client's own predicate PostgreSQL might evaluate that one on the row that the raw value
found, before the CASE, and its error would tell. For the same reason nothing goes in here that could raise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proxy.catalog.model import FIRST_NORMAL_OBJECT_ID, Catalog, Column, Relation
from proxy.masks.image import may_be_image
from proxy.policy.model import Decision, Outcome
from proxy.sql.predicates import Comparison, Value, plain_prefix
from proxy.sql.splice import Copies

_TEXTS: Final = {25: "text", 1043: "varchar"}
_INTEGERS: Final = {21: "int2", 23: "int4", 20: "int8"}
_OTHERS: Final = {1082: "date", 1114: "timestamp", 1184: "timestamptz", 1700: "numeric", 2950: "uuid"}
_TYPES: Final = _TEXTS | _INTEGERS | _OTHERS
_WIDE: Final = frozenset({20, 1700})
"""int8 and numeric."""
_NARROW: Final = frozenset({21, 23})
"""int2 and int4: to whatever type of numbers they are converted, that cannot raise."""
_MARK: Final = "\0"
"""Stands around the place of a literal in what is generated; no text that PostgreSQL takes has one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the client's text asks of one relation in its WHERE clause."""

    query: bytes
    comparisons: tuple[Comparison, ...]

    @property
    def patterns(self) -> bool:
        """Some literal is a pattern, and another one in its place might be no plain prefix."""
        return any(one.operator == "LIKE" for one in self.comparisons)


def worth_asking(
    asked: Asked, relation: Relation, decisions: dict[str, Decision], catalog: Catalog, *, drops: bool
) -> tuple[Comparison, ...]:
    """The comparisons that an index of the bare table answers, where at least one is of a row-conditional column, or
    rows may be dropped (``drops``): the fence behind which that is done keeps the client's own from every index.

    None where users made an operator that could be meant by the client's own.
    """
    if any(_made_by_users(name, catalog) for name in ("=", "<", "<=", ">", ">=", "~~")):
        return ()
    usable = tuple(
        one for one in asked.comparisons if _usable(one, relation, decisions.get(one.column), asked, catalog)
    )
    if drops:
        # A dropped row's open cell is hidden too: nothing may be converted that does not fit.
        usable = tuple(one for one in usable if one.operator in ("=", "IN") or not _opens(one, relation))
        return usable if any(one.column in relation.indexed for one in usable) else ()
    conditional = any(_conditional(decisions.get(one.column)) and one.column in relation.indexed for one in usable)
    return usable if conditional else ()


def _opens(one: Comparison, relation: Relation) -> bool:
    column = relation.column(one.column)
    return column is None or _open(one, column)


def _made_by_users(operator: str, catalog: Catalog) -> bool:
    named = catalog.operators_named.get(operator, ())
    return any(one.oid >= FIRST_NORMAL_OBJECT_ID and one.extension is None for one in named)


def _conditional(decision: Decision | None) -> bool:
    return decision is not None and decision.outcome is Outcome.ALLOW and bool(decision.conditions)


def _usable(one: Comparison, relation: Relation, decision: Decision | None, asked: Asked, catalog: Catalog) -> bool:
    column = relation.column(one.column)
    if column is None or column.is_domain or column.base_type not in _TYPES:
        return False
    if not all(_fits(value, column, catalog, array=one.operator == "ANY") for value in one.values):
        return False
    if column.collation is not None and not column.collation.startswith("pg_catalog."):
        return False  # of users: under a nondeterministic one LIKE raises, and what differs in the fill may be equal
    if decision is None or (decision.outcome is Outcome.ALLOW and not decision.conditions):
        return one.operator != "LIKE"
    if not _conditional(decision):
        return False
    if _open(one, column) and one.operator not in ("=", "IN"):
        return False
    if one.operator in ("=", "IN"):
        return _image(decision, "NULL", column) is not None
    bare = _image(decision, "NULL", column) == "false"
    if one.operator == "LIKE":
        return bare and column.base_type in _TEXTS and plain_prefix(asked.query, one.values[0])
    return bare


def _open(one: Comparison, column: Column) -> bool:
    """A parameter stands there of whatever type the client says. Where that is float8 or oid, the column would be
    converted to it, which may raise: of numeric and int8 not every value fits.
    """
    return column.base_type in _WIDE and any(value.kind == "PARAM" and not value.cast for value in one.values)


def _fits(value: Value, column: Column, catalog: Catalog, *, array: bool) -> bool:
    """The value is compared by an operator of the column's own family of types, and cannot raise."""
    cast = value.cast.removesuffix("[]")
    if value.cast in catalog.types_named or cast in catalog.types_named:
        return False
    if value.cast.endswith("[]") != array and (value.cast or not array):
        return False
    family = next(one for one in (_TEXTS, _INTEGERS, _OTHERS) if column.base_type in one)
    if cast:
        same = cast in family.values() if family is not _OTHERS else cast == _TYPES[column.base_type]
        return same and value.kind in ("SCONST", "PARAM")
    if value.kind == "ICONST":
        return family is _INTEGERS or column.base_type == 1700
    return value.kind in ("SCONST", "PARAM") or column.base_type == 1700


def _image(decision: Decision, value: str, column: Column) -> str | None:
    """When ``value`` could be what a row shows that fails a condition; ``false``: never; None: that cannot be said."""
    if decision.failed in (Outcome.NULLIFY, Outcome.DROP_ROW):
        return "false"
    if decision.failed is Outcome.MASK and decision.failed_mask is not None:
        return may_be_image(decision.failed_mask, value, column)
    return None


def implied(one: Comparison, column: Column, decision: Decision | None, visible: str, raw: str, *, drops: bool) -> str:
    """What a row of the bare table meets if it meets the comparison as the session sees it, with marked values.

    ``drops``: rows may be dropped.
    """
    values = [_marked(value) for value in one.values]
    # As an element of an array of the column's type it is the parameter that is converted.
    operator = "IN" if one.operator == "=" and _open(one, column) else one.operator
    if decision is None or not _conditional(decision):
        return _compared(visible, operator if drops else one.operator, values, column)
    shown = _compared(visible, operator, values, column)
    images = [image for value in values if (image := _image(decision, value, column)) not in (None, "false")]
    stored = " OR ".join([_compared(raw, operator, values, column), *map(str, images)])
    return f"{shown} AND ({stored})"


def _marked(value: Value) -> str:
    cast = f"::pg_catalog.{value.cast}" if value.cast else ""
    return f"{_MARK}{value.start}:{value.end}{_MARK}{cast}"


def _compared(left: str, operator: str, values: list[str], column: Column) -> str:
    match operator:
        case "IN" if column.base_type in _NARROW:
            # What is no int2 or int4 is no error there. No operator of users is about that this could mean.
            return f"({left} IN ({', '.join(values)}))"
        case "IN":
            kind = _TYPES[column.base_type]
            return f"({left} OPERATOR(pg_catalog.=) ANY (ARRAY[{', '.join(values)}]::pg_catalog.{kind}[]))"
        case "ANY":
            return f"({left} OPERATOR(pg_catalog.=) ANY ({values[0]}))"
        case "LIKE":
            return f"({left} OPERATOR(pg_catalog.~~) {values[0]})"
        case "BETWEEN":
            low, high = (
                f"({left} OPERATOR(pg_catalog.{op}) {value})" for op, value in zip((">=", "<="), values, strict=True)
            )
            return f"({low} AND {high})"
        case _:
            return f"({left} OPERATOR(pg_catalog.{operator}) {values[0]})"


def settle(marked: str, query: bytes) -> tuple[str, Copies]:
    """The generated text with the client's literals in their places, and where these are."""
    pieces = marked.split(_MARK)
    text: list[str] = []
    copies: list[tuple[int, int, int]] = []
    length = 0
    for index, piece in enumerate(pieces):
        if index % 2:
            start, end = map(int, piece.split(":"))
            written = query[start:end].decode()
            copies.append((length, len(written), start))
        else:
            written = piece
        text.append(written)
        length += len(written)
    return "".join(text), tuple(copies)
