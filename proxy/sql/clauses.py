"""Where the clauses of a data-modifying statement stand in its text, and edits of them.

Found by tokens, since trees say where a clause begins and never where it ends. What is found wrongly does not pass the
proof (:mod:`proxy.sql.proof`).
"""

from __future__ import annotations

from typing import Any

from proxy.sql.grammar import Node, Token
from proxy.sql.proof import HOLE, Around, Inserted, around, target
from proxy.sql.splice import Change, Edit, unexpected
from proxy.sql.writing import Assignment, Modification

_OPENING = frozenset({"ASCII_40", "ASCII_91", "CASE"})
_CLOSING = frozenset({"ASCII_41", "ASCII_93", "END_P"})
_COMMA, _EQUALS = "ASCII_44", "ASCII_61"
_AFTER_SET = frozenset({"FROM", "WHERE", "RETURNING", "WHEN"})


class Clauses:
    """The clauses of one modification. ``tokens`` are those of the whole statement; comments are passed over."""

    def __init__(self, tokens: list[Token], modification: Modification) -> None:
        self._tokens = [token for token in tokens if not token.comment]
        self._at = {token.start: index for index, token in enumerate(self._tokens)}
        self._modification = modification
        self._first = self._index(modification.target.location)
        self._last = self._end(self._first, frozenset())

    def returning(self, expression: str, name: str) -> Change:
        """One more item at the end of RETURNING, or a RETURNING of its own. ``name`` is a quoted identifier."""
        node = self._modification.node
        item = target(f"{expression} AS {name}")
        end = self._tokens[self._last].end
        if self._modification.returns:
            items = node["returningClause"]["exprs"]
            edit = Edit(end, end, f", {expression} AS {name}")
            return Change((edit,), {id(items): Inserted(len(items) - 1, (item,))})
        edit = Edit(end, end, f" RETURNING {expression} AS {name}")
        return Change((edit,), {id(node): Around(lambda wrapper: _with(wrapper, "returningClause", {"exprs": [item]}))})

    def where(self, condition: str) -> Change:
        """The client's WHERE is evaluated only where ``condition`` holds."""
        node = self._modification.node
        start = self._find("WHERE")
        kept = target(condition)["ResTarget"]["val"]
        if start is None:
            end = self._tokens[(self._find("RETURNING") or self._last + 1) - 1].end
            edit = Edit(end, end, f" WHERE {condition}")
            return Change((edit,), {id(node): Around(lambda wrapper: _with(wrapper, "whereClause", kept))})
        first, last = self._tokens[start + 1], self._tokens[self._end(start + 1, frozenset({"RETURNING"}))]
        text = f"CASE WHEN {condition} THEN ({HOLE}) ELSE false END"
        return wrapped(node["whereClause"], (first.start, last.end), text)

    def wrapped(self, one: Assignment, text: str) -> Change:
        """What a SET gives to one column becomes ``text`` with it in the HOLE."""
        if one.item is None:
            raise unexpected("SET")
        change = wrapped(one.values[0], self.value(one.item), text)
        [made] = change.replacements.values()
        return Change(change.edits, {id(node): made for value in one.copies for node in value.values()})

    def value(self, item: Node) -> tuple[int, int]:
        """The bytes of the expression that a SET gives to one column."""
        index = self._index(int(item["location"]))
        depth, before = 0, 0
        while self._kind(index) != _EQUALS or depth > 0:
            depth += (self._kind(index) in _OPENING) - (self._kind(index) in _CLOSING)
            index += 1
            if index > self._last:
                raise unexpected("SET")
        first = index + 1
        if depth < 0:  # (a, b) = (…, …), or = ROW (…, …)
            before = self._place_among(item)
            first += 1 + (self._kind(first) == "ROW")
        for _ in range(before):
            first = self._end(first, frozenset({_COMMA})) + 2
        last = self._end(first, _AFTER_SET | {_COMMA})
        return self._tokens[first].start, self._tokens[last].end

    def _place_among(self, item: Node) -> int:
        """How many columns stand before this one within its parentheses."""
        index, depth, found = self._index(int(item["location"])) - 1, 0, 0
        while self._kind(index) not in _OPENING or depth:
            depth += (self._kind(index) in _CLOSING) - (self._kind(index) in _OPENING)
            found += self._kind(index) == _COMMA and not depth
            index -= 1
            if index < self._first:
                raise unexpected("SET")
        return found

    def values(self) -> list[list[tuple[int, int]]]:
        """The bytes of each value in each row of VALUES."""
        start = self._find("VALUES")
        rows: list[list[tuple[int, int]]] = []
        index = self._last + 1 if start is None else start + 1
        while self._kind(index) == "ASCII_40":
            row, first = [], index + 1
            while True:
                last = self._end(first, frozenset({_COMMA}))
                row.append((self._tokens[first].start, self._tokens[last].end))
                if self._kind(last + 1) != _COMMA:
                    break
                first = last + 2
            rows.append(row)
            index = last + 3 if self._kind(last + 2) == _COMMA else self._last + 1
        return rows

    # --- tokens -------------------------------------------------------------------------------------------------------

    def _index(self, offset: int) -> int:
        if offset not in self._at:
            raise unexpected("a data-modifying statement")
        return self._at[offset]

    def _kind(self, index: int) -> str:
        return self._tokens[index].kind if 0 <= index < len(self._tokens) else ""

    def _end(self, start: int, before: frozenset[str]) -> int:
        """The last token before one of ``before`` that stands as deep as ``start``, or before what encloses it."""
        depth = 0
        for index in range(start, len(self._tokens)):
            kind = self._kind(index)
            opens = kind in _OPENING
            depth += opens - (kind in _CLOSING)
            if depth < 0:
                return index - 1
            if depth == 0 and not opens and kind in before and self._kind(index - 1) != "DISTINCT":
                return index - 1
        return len(self._tokens) - 1

    def _find(self, keyword: str) -> int | None:
        """The first ``keyword`` of the modification itself, outside all parentheses."""
        last = self._end(self._first, frozenset({keyword}))
        return last + 1 if last < self._last and self._kind(last + 1) == keyword else None


def _with(wrapper: Any, field: str, value: object) -> object:
    [(kind, node)] = wrapper.items()
    return {kind: {**node, field: value}}


def wrapped(value: Node, place: tuple[int, int], text: str) -> Change:
    """The expression ``value``, which stands at ``place``, becomes ``text`` with it in the HOLE."""
    before, after = text.split(HOLE)
    start, end = place
    [inner] = value.values()
    return Change((Edit(start, start, before), Edit(end, end, after)), {id(inner): around(text)})
