"""Could a value be what a mask shows? Where it could not, a cell that equals the value is not masked."""

from __future__ import annotations

from proxy.catalog.model import Column
from proxy.masks import moment, text
from proxy.masks.expression import TEXT, VARCHAR, call, cast, literal, operate
from proxy.masks.mask import PARTIAL, Mask


def may_be_image(mask: Mask, value_sql: str, column: Column) -> str | None:
    """A condition on ``value_sql`` (of the column's type, not NULL) that is true of whatever the mask can show.

    ``false`` where the mask shows NULL only; None where no condition is known that PostgreSQL computes in advance.
    It cannot raise.
    """
    if mask.kind == "nullify" or (mask.kind == "redact" and column.base_type not in (TEXT, VARCHAR)):
        return "false"
    if mask.kind in ("year", "month") and column.base_type in moment.TYPES:
        return operate(
            moment.cut(mask.kind, cast(value_sql, column.base_sql or column.type_sql), column), "=", value_sql
        )
    if column.base_type not in (TEXT, VARCHAR):
        return None
    value = f'({cast(value_sql, "pg_catalog.text")} COLLATE pg_catalog."C")'
    if mask.kind == "redact":
        return operate(value, "=", literal(text.REDACTED))
    if mask.kind == "constant":
        return operate(value, "=", literal(str(mask.value)))
    # Whatever a partial mask hides, its fill shows.
    fill = PARTIAL[mask.kind][2] if mask.kind in PARTIAL else mask.fill if mask.kind == "partial" else ""
    fill = text.FILL if mask.kind == "email" else fill
    return operate(call("strpos", value, literal(fill)), ">", "0") if fill else None
