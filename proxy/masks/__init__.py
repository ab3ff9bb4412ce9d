"""Masks: what shows of a hidden value, as SQL that cannot raise and names nothing by search_path.

A mask stands beside the raw column in one CASE, so what :func:`render` gives has exactly the column's type, modifier
and collation. It must not raise for any value: one hidden row would break every query and so tell its value.
"""

from __future__ import annotations

from proxy.catalog.model import Column
from proxy.masks import constant, moment, number, text
from proxy.masks.expression import is_text, null
from proxy.masks.mask import KINDS, PARTIAL, Mask, named

__all__ = ["KINDS", "Mask", "named", "null", "render", "unfit"]

_TEXT_ONLY = frozenset({*PARTIAL, "partial", "email"})


def unfit(mask: Mask, column: Column) -> str | None:
    """Why the mask cannot be used for a column of this type; None where it can. A policy error."""
    match mask.kind:
        case "redact" | "nullify":
            return None
        case kind if kind in _TEXT_ONLY:
            if not is_text(column):
                return f"{kind} is for text"
            return text.partial_unfit(mask) if kind == "partial" else None
        case "year" | "month" as kind:
            return None if column.base_type in moment.TYPES else f"{kind} is for dates and timestamps"
        case "range":
            return number.range_unfit(mask.step, column)
        case "constant":
            return constant.constant_unfit(mask.value, column)
        case "hash":
            return "hash is not available in this version"
        case kind:
            return f"there is no mask {kind!r}"


def render(mask: Mask, value_sql: str, column: Column) -> str:
    """The SQL expression for what shows of ``value_sql``, the raw expression of a column of this type.

    It is parenthesised or an atom, so it can stand anywhere an expression can. NULL stays NULL; where the mask's output
    does not fit the declared length, domain or enum, the result is NULL. A mask that is :func:`unfit` hides everything
    (NULL): the table may have changed since the policy was loaded.
    """
    if unfit(mask, column) is not None:
        return null(column)
    match mask.kind:
        case "redact":
            return text.redact(value_sql, column)
        case "email":
            return text.email(value_sql, column)
        case "year" | "month" as unit:
            return moment.cut(unit, value_sql, column)
        case "range" if mask.step is not None:
            return number.cut_down(mask.step, value_sql, column)
        case "constant":
            return constant.constant(mask.value, value_sql, column)
        case kind if kind in _TEXT_ONLY:
            return text.partial(mask, value_sql, column)
        case _:
            return null(column)
