"""Masks of text. They count characters as PostgreSQL does: code points, not bytes."""

from __future__ import annotations

from proxy.catalog.model import Column
from proxy.masks.expression import (
    NAME,
    NAME_BYTES,
    Branch,
    call,
    cast,
    character_limit,
    choose,
    concatenate,
    is_text,
    literal,
    operate,
)
from proxy.masks.mask import PARTIAL, Mask

REDACTED = "[masked]"
FILL = "****"
_KEEP_LIMIT = 1_000_000  # far below where pg_catalog.left takes no more
_UTF8_BYTES = 4  # the longest character


def _constant(text: str) -> str:
    return f"{literal(text)}::pg_catalog.text"


def fits(text: str, column: Column) -> bool:
    """The text can be stored in the column as it is."""
    if column.base_type == NAME:
        return len(text.encode()) <= NAME_BYTES
    limit = character_limit(column)
    return limit is None or len(text) <= limit


def redact(value: str, column: Column) -> str:
    if not is_text(column) or not fits(REDACTED, column):
        return choose((), column)
    return choose([(f"({value}) IS NOT NULL", literal(REDACTED))], column)


def partial(mask: Mask, value: str, column: Column) -> str:
    """First k characters, fill, last m; all fill where the value is too short to hide enough of it."""
    keep_first, keep_last, fill, shortest = PARTIAL.get(mask.kind) or _parameters(mask)
    text = cast(value, "pg_catalog.text")
    length = call("length", text)
    shown = concatenate(
        *([call("left", text, str(keep_first))] if keep_first else []),
        _constant(fill),
        *([call("right", text, str(keep_last))] if keep_last else []),
    )
    condition = operate(length, ">=", str(shortest))
    branches: list[Branch] = []
    if column.base_type == NAME:
        if (keep_first + keep_last) * _UTF8_BYTES + len(fill.encode()) > NAME_BYTES:
            condition += f" AND {operate(call('octet_length', shown), '<=', str(NAME_BYTES))}"
        branches.append((condition, shown))
    elif (limit := character_limit(column)) is None or keep_first + len(fill) + keep_last <= limit:
        branches.append((condition, shown))
    if fits(fill, column):
        branches.append((operate(length, "<", str(shortest)), literal(fill)))
    return choose(branches, column)


def _parameters(mask: Mask) -> tuple[int, int, str, int]:
    """A value shorter than what would be kept of it would show whole, whatever ``min_length`` allows."""
    kept = mask.keep_first + mask.keep_last
    shortest = kept + 4 if mask.min_length is None else max(mask.min_length, kept)
    return mask.keep_first, mask.keep_last, mask.fill, shortest


def partial_unfit(mask: Mask) -> str | None:
    if mask.keep_first < 0 or mask.keep_last < 0 or (mask.min_length or 0) < 0:
        return "a partial mask cannot keep a negative number of characters"
    if max(mask.keep_first, mask.keep_last, mask.min_length or 0) > _KEEP_LIMIT:
        return f"a partial mask can keep {_KEEP_LIMIT} characters at most"
    if "\0" in mask.fill or any("\ud800" <= character <= "\udfff" for character in mask.fill):
        return "the fill of a partial mask must be text that PostgreSQL can store"
    return None


def email(value: str, column: Column) -> str:
    """First character, fill, ``@``, domain; all fill unless exactly one ``@`` has two characters before it."""
    # Functions that search refuse nondeterministic collations, or follow them.
    text = f'({cast(value, "pg_catalog.text")} COLLATE pg_catalog."C")'
    length = call("length", text)
    at = call("strpos", text, _constant("@"))
    others = call("length", call("replace", text, _constant("@"), _constant("")))
    well_formed = f"{operate(operate(length, '-', others), '=', '1')} AND {operate(at, '>=', str(len('ab@')))}"
    domain = call("substr", text, at)
    shown = concatenate(call("left", text, "1"), _constant(FILL), domain)
    room = ""
    if column.base_type == NAME:
        room = f" AND {operate(call('octet_length', shown), '<=', str(NAME_BYTES))}"
    elif (limit := character_limit(column)) is not None:
        room = f" AND {operate(call('length', shown), '<=', str(limit))}"
    branches: list[Branch] = [(well_formed + room, shown)]
    if fits(FILL, column):
        branches.append((f"NOT ({well_formed})", literal(FILL)))
    return choose(branches, column, collated=True)
