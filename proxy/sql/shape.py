"""What a text has in common with all texts that differ from it in literals only.

PostgreSQL's grammar works on kinds of tokens, so two texts with equal shapes have equal trees but for the values of
their constants, and what was decided of one holds of the other wherever no constant had a say in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from postgast import pg_query_pb2
from postgast.errors import PgQueryError
from postgast.scan import scan

from proxy.errors import Refused
from proxy.sql.grammar import check_bytes

_KINDS = {
    pg_query_pb2.Token.Value(name): mark
    for name, mark in {"SCONST": b"s", "ICONST": b"i", "FCONST": b"f", "BCONST": b"b", "XCONST": b"x"}.items()
}
_UNUSUAL = frozenset(pg_query_pb2.Token.Value(name) for name in ("USCONST", "UESCAPE", "UIDENT"))
"""Tokens whose meaning depends on a literal beside them."""


@dataclass(frozen=True, slots=True)
class Shape:
    """``key`` is the text with a mark for each literal; ``literals`` are the byte ranges of these, in order."""

    key: bytes
    literals: tuple[tuple[int, int], ...]


def shape_of(query: bytes) -> Shape | None:
    """The shape of ``query`` (UTF-8 without NUL); None where the lexer meets anything unusual."""
    try:
        check_bytes(query)
        tokens = scan(query.decode("utf-8")).tokens
    except (UnicodeDecodeError, PgQueryError, Refused):
        return None
    pieces: list[bytes] = []
    literals: list[tuple[int, int]] = []
    position = 0
    for token in tokens:
        kind = token.token
        mark = _KINDS.get(kind)
        if mark is not None:
            start, end = token.start, token.end
            pieces += (query[position:start], b"\0", mark)
            literals.append((start, end))
            position = end
        elif kind in _UNUSUAL:
            return None
    pieces.append(query[position:])
    return Shape(b"".join(pieces), tuple(literals))


def literal_value(query: bytes, place: tuple[int, int]) -> str | None:
    """The value of a plain literal (``'it''s'``, ``42``); None for one with escapes of its own."""
    text = query[place[0] : place[1]].decode("utf-8")
    if text[:1] != "'":
        return text if text[:1].isdigit() else None
    inner = text[1:-1]
    return None if "\n" in inner else inner.replace("''", "'")
