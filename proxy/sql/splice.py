"""Edits by byte offset. The client's text is never written anew, only edited: what is not edited stays as it came."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.errors import FEATURE_NOT_SUPPORTED, Refusal, Refused
from proxy.sql.grammar import Token
from proxy.sql.quote import identifier
from proxy.sql.relations import RelationName

_DOT, _STAR, _OPEN, _CLOSE = "ASCII_46", "ASCII_42", "ASCII_40", "ASCII_41"


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes ``start`` to ``end`` of the client's text become ``replacement``."""

    start: int
    end: int
    replacement: str


def secure(tokens: list[Token], relation: RelationName, fragment: str) -> list[Edit]:
    """The edits that put ``fragment`` (a parenthesised SELECT) in the place of a relation in FROM.

    ONLY, the inheritance star and the name go; the client's alias stays, and the relation's own name becomes one where
    there is none, so that every reference finds it. ``TABLE t`` becomes ``SELECT * FROM (…) AS t``. Raises Refused
    (0A000) where the tokens are not those that the tree promises.
    """
    tokens = [token for token in tokens if not token.comment]
    first = next((index for index, token in enumerate(tokens) if token.start == relation.location), None)
    if first is None:
        raise _unexpected(relation)
    parts = 1 + (relation.schema is not None) + (relation.catalog is not None)
    last = first + 2 * (parts - 1)
    if last >= len(tokens) or any(tokens[dot].kind != _DOT for dot in range(first + 1, last, 2)):
        raise _unexpected(relation)
    edits = []
    if relation.only:
        first, last = _only(tokens, first, last, relation)
    elif last + 1 < len(tokens) and tokens[last + 1].kind == _STAR:
        last += 1
    if first > 0 and tokens[first - 1].kind == "TABLE":
        table = tokens[first - 1]
        edits.append(Edit(table.start, table.end, "SELECT * FROM"))
    alias = "" if relation.alias else f" AS {identifier(relation.name)}"
    edits.append(Edit(tokens[first].start, tokens[last].end, fragment + alias))
    return edits


def _only(tokens: list[Token], first: int, last: int, relation: RelationName) -> tuple[int, int]:
    """Widens the name to ``ONLY name`` or ``ONLY (name)``."""
    if first > 0 and tokens[first - 1].kind == "ONLY":
        return first - 1, last
    parenthesised = (
        first > 1
        and tokens[first - 1].kind == _OPEN
        and tokens[first - 2].kind == "ONLY"
        and last + 1 < len(tokens)
        and tokens[last + 1].kind == _CLOSE
    )
    if not parenthesised:
        raise _unexpected(relation)
    return first - 2, last + 1


def _unexpected(relation: RelationName) -> Refused:
    return Refused(
        Refusal(
            FEATURE_NOT_SUPPORTED,
            f'consentry: the reference to "{relation.name}" is written in a way that cannot be analysed',
            hint="Write the table's name plainly, with an alias if one is needed.",
        )
    )


def apply(query: bytes, edits: list[Edit]) -> tuple[bytes, tuple[tuple[int, int, int], ...]]:
    """The edited text, and for each edit (character offset in the new text, characters there, characters before)."""
    pieces: list[str] = []
    map_: list[tuple[int, int, int]] = []
    length = position = 0
    for edit in sorted(edits, key=lambda edit: edit.start):
        if edit.start < position:
            raise ValueError("edits overlap")
        kept = query[position : edit.start].decode("utf-8")
        pieces += [kept, edit.replacement]
        length += len(kept)
        map_.append((length, len(edit.replacement), len(query[edit.start : edit.end].decode("utf-8"))))
        length += len(edit.replacement)
        position = edit.end
    pieces.append(query[position:].decode("utf-8"))
    return "".join(pieces).encode("utf-8"), tuple(map_)
