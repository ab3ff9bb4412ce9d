"""Long texts are long because they repeat themselves: rows of VALUES, items of IN. What is decided needs two of a kind.

Rows whose tokens are the same but for the values of literals have equal trees but for the values of constants. So a
text may be decided without all but two of each such kind, as long as no literal has a say in the decision; and what was
decided is carried over to the whole text by offset. The same holds of parameters in rows, if each stands once in the
text, and those that are left have no gaps in their numbers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from postgast import pg_query_pb2
from postgast.errors import PgQueryError
from postgast.scan import scan

from proxy.errors import Refused
from proxy.sql.grammar import check_bytes

_token = pg_query_pb2.Token.Value
_LITERALS = frozenset(_token(name) for name in ("SCONST", "ICONST", "FCONST", "BCONST", "XCONST"))
_UNUSUAL = frozenset(_token(name) for name in ("USCONST", "UESCAPE", "UIDENT", "C_COMMENT", "SQL_COMMENT"))
_PARAMETER = _token("PARAM")
_VALUES, _IN = _token("VALUES"), _token("IN_P")
_OPEN, _CLOSE, _COMMA = _token("ASCII_40"), _token("ASCII_41"), _token("ASCII_44")
_OPENING = frozenset({_OPEN, _token("ASCII_91")})
_CLOSING = frozenset({_CLOSE, _token("ASCII_93")})
_KEPT = 2

Place = tuple[int, int]
"""Start and end, in bytes."""


@dataclass(frozen=True, slots=True)
class _Item:
    """A row or list item: where it stands, what its tokens are beside literals and parameters, where its literals
    stand, and the numbers of its parameters."""

    start: int
    end: int
    signature: tuple[bytes | int, ...]
    literals: tuple[Place, ...]
    parameters: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Repetition:
    """``query`` is the text without the ``cuts`` (byte ranges of the whole text, ascending)."""

    query: bytes
    cuts: tuple[Place, ...]
    _repeated: dict[int, tuple[Place, ...]]
    _ends: tuple[int, ...]
    _lengths: tuple[int, ...]
    parameters: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """The numbers of parameters of cut items that stand where this one stands."""

    def whole(self, offset: int) -> int:
        """Where a byte of the shortened text stands in the whole one. What stands behind a cut stays behind it."""
        return offset + self._lengths[bisect_right(self._ends, offset)]

    def repeated(self, offset: int) -> tuple[Place, ...]:
        """The literals of cut items that stand where this literal (by its place in the shortened text) stands."""
        return self._repeated.get(self.whole(offset), ())


def repetition(query: bytes) -> Repetition | None:
    """What can be left out of ``query``; None where nothing repeats, or where the text is no plain UTF-8 SQL."""
    try:
        check_bytes(query)
        tokens = scan(query.decode("utf-8")).tokens
    except (UnicodeDecodeError, PgQueryError, Refused):
        return None
    cuts: list[Place] = []
    repeated: dict[int, list[Place]] = {}
    numbers = _Numbers(query, tokens)
    for items in _lists(query, tokens, numbers):
        seen: dict[tuple[bytes | int, ...], list[_Item]] = {}
        for before, item in zip([None, *items[:-1]], items, strict=True):
            same = seen.setdefault(item.signature, [])
            if before is None or len(same) < _KEPT:
                same.append(item)
                continue
            cuts.append((before.end, item.end))
            for own, other in zip(same[0].literals, item.literals, strict=True):
                repeated.setdefault(own[0], []).append(other)
            numbers.cut(same[0].parameters, item.parameters)
    if not cuts or not numbers.without_gaps:
        return None
    short = _shortened(query, cuts, {start: tuple(places) for start, places in repeated.items()})
    return replace(short, parameters={kept: tuple(others) for kept, others in numbers.standing.items()})


class _Numbers:
    """The parameters of a text. ``once``: none stands in it twice. ``standing``: those cut, by what stands for them."""

    def __init__(self, query: bytes, tokens: list[pg_query_pb2.ScanToken]) -> None:
        found = [int(query[token.start + 1 : token.end]) for token in tokens if token.token == _PARAMETER]
        self._kept = set(found)
        self.once = len(self._kept) == len(found)
        self.standing: dict[int, list[int]] = {}

    def cut(self, kept: tuple[int, ...], item: tuple[int, ...]) -> None:
        self._kept.difference_update(item)
        for own, other in zip(kept, item, strict=True):
            self.standing.setdefault(own, []).append(other)

    @property
    def without_gaps(self) -> bool:
        """What is left can be prepared by itself: a parameter that stands nowhere has no type."""
        return not self.standing or max(self._kept) == len(self._kept)


def _shortened(query: bytes, cuts: list[Place], repeated: dict[int, tuple[Place, ...]]) -> Repetition:
    pieces: list[bytes] = []
    ends: list[int] = []
    lengths = [0]
    position = 0
    for start, end in cuts:
        pieces.append(query[position:start])
        ends.append(start - lengths[-1])
        lengths.append(lengths[-1] + end - start)
        position = end
    pieces.append(query[position:])
    return Repetition(b"".join(pieces), tuple(cuts), repeated, tuple(ends), tuple(lengths))


def _lists(query: bytes, tokens: list[pg_query_pb2.ScanToken], numbers: _Numbers) -> Iterator[list[_Item]]:
    """The rows of each VALUES and the items of each IN that holds single values."""
    index = 0
    while index < len(tokens) - 1:
        kind = tokens[index].token
        if kind in (_VALUES, _IN) and tokens[index + 1].token == _OPEN:
            if kind == _VALUES:
                items, index = _rows(query, tokens, index + 1, parameters=numbers.once)
            else:
                items, index = _values(query, tokens, index + 2)
            if len(items) > _KEPT:
                yield items
        else:
            index += 1


def _rows(
    query: bytes, tokens: list[pg_query_pb2.ScanToken], index: int, *, parameters: bool
) -> tuple[list[_Item], int]:
    """Parenthesised rows with commas between them, from the parenthesis at ``index``; the index behind them.

    ``parameters``: they may differ in these.
    """
    items: list[_Item] = []
    while True:
        end = _closing(tokens, index)
        if end is None:
            return items, index + 1
        item = _item(query, tokens, index, end, parameters=parameters)
        if item is None:
            return items, index + 1  # the rest of the list stays whole
        items.append(item)
        if end + 2 >= len(tokens) or tokens[end + 1].token != _COMMA or tokens[end + 2].token != _OPEN:
            return items, end + 1
        index = end + 2


def _values(query: bytes, tokens: list[pg_query_pb2.ScanToken], index: int) -> tuple[list[_Item], int]:
    """Literals with commas between them, from ``index`` to the closing parenthesis; the index to go on from."""
    items: list[_Item] = []
    while index + 1 < len(tokens) and tokens[index].token in _LITERALS:
        item = _item(query, tokens, index, index)
        if item is None:
            break
        items.append(item)
        if tokens[index + 1].token == _CLOSE:
            return items, index + 1
        if tokens[index + 1].token != _COMMA:
            break
        index += 2
    return [], index


def _closing(tokens: list[pg_query_pb2.ScanToken], opening: int) -> int | None:
    depth = 0
    for index in range(opening, len(tokens)):
        kind = tokens[index].token
        depth += (kind in _OPENING) - (kind in _CLOSING)
        if depth == 0:
            return index
    return None


def _item(
    query: bytes, tokens: list[pg_query_pb2.ScanToken], first: int, last: int, *, parameters: bool = False
) -> _Item | None:
    """The tokens from ``first`` to ``last``; None where one of them says more than its text."""
    signature: list[bytes | int] = []
    literals: list[Place] = []
    numbers: list[int] = []
    for token in tokens[first : last + 1]:
        kind = token.token
        if kind in _UNUSUAL:
            return None
        if kind in _LITERALS:
            signature.append(kind)
            literals.append((token.start, token.end))
        elif kind == _PARAMETER and parameters:
            signature.append(kind)
            numbers.append(int(query[token.start + 1 : token.end]))
        else:
            signature.append(query[token.start : token.end])
    return _Item(tokens[first].start, tokens[last].end, tuple(signature), tuple(literals), tuple(numbers))
