"""Edits by byte offset. The client's text is never written anew, only edited: what is not edited stays as it came.

Each function that plans edits also says what they do to the tree, for :mod:`proxy.sql.proof`. Where the tokens are not
those that the tree promises, they raise Refused (0A000).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from proxy.errors import FEATURE_NOT_SUPPORTED, Refusal, Refused
from proxy.sql.facts import Facts
from proxy.sql.grammar import Node, Token
from proxy.sql.proof import Around, Expanded, Inserted, select, subselect, target
from proxy.sql.quote import identifier
from proxy.sql.relations import RelationName
from proxy.sql.tree import strings, without_locations

_DEEPER = frozenset({"ASCII_40", "ASCII_91", "CASE"})
_HIGHER = frozenset({"ASCII_41", "ASCII_93", "END_P"})
_AFTER_ITEM = frozenset(
    "ASCII_44 FROM INTO WHERE GROUP_P HAVING WINDOW UNION INTERSECT EXCEPT ORDER LIMIT OFFSET FETCH FOR"
    " RETURNING".split()
)
"""What may stand behind an item of a select list."""
_DOT, _STAR, _OPEN, _CLOSE, _COMMA = "ASCII_46", "ASCII_42", "ASCII_40", "ASCII_41", "ASCII_44"


Copies = tuple[tuple[int, int, int], ...]
"""Literals of the client's that a replacement repeats: (offset, characters, byte offset in the client's text)."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes ``start`` to ``end`` of the client's text become ``replacement``."""

    start: int
    end: int
    replacement: str
    copies: Copies = ()


@dataclass(frozen=True, slots=True)
class Change:
    """Edits that belong together, and what they replace in the tree (see :data:`proxy.sql.proof.Replacements`)."""

    edits: tuple[Edit, ...] = ()
    replacements: dict[int, object] = field(default_factory=dict)


class Splicer:
    """Plans edits of one statement. ``tokens`` are its own; comments are passed over."""

    def __init__(self, query: bytes, tokens: list[Token]) -> None:
        self._query = query
        self._tokens = [token for token in tokens if not token.comment]
        self._at = {token.start: index for index, token in enumerate(self._tokens)}

    # --- relations ----------------------------------------------------------------------------------------------------

    def relation(self, relation: RelationName, fragment: str, copies: Copies = ()) -> Change:
        """Puts ``fragment`` (a parenthesised SELECT) in the place of a relation in FROM.

        ONLY, the inheritance star, TABLESAMPLE and the name go; the client's alias stays, and the relation's own name
        becomes one where there is none, so that every reference finds it. ``TABLE t`` becomes ``SELECT * FROM (…)``.
        """
        first, last = self._name(relation)
        edits = []
        if relation.only:
            first, last = self._only(first, last, relation)
        elif self._kind(last + 1) == _STAR:
            last += 1
        if self._kind(first - 1) == "TABLE":
            table = self._tokens[first - 1]
            edits.append(Edit(table.start, table.end, "SELECT * FROM"))
        alias = "" if relation.alias else f" AS {identifier(relation.name)}"
        edits.append(Edit(self._tokens[first].start, self._tokens[last].end, fragment + alias, copies))
        node = subselect(fragment, relation.node.get("alias") or {"aliasname": relation.name})
        if relation.sample is None:
            return Change(tuple(edits), {id(relation.node): node})
        start, end = self._sample(last + 1)
        edits.append(Edit(self._tokens[start].start, self._tokens[end].end, ""))
        return Change(tuple(edits), {id(relation.sample): node})

    def qualified(self, relation: RelationName, schema: str) -> Change:
        """Puts ``schema`` before a relation's name."""
        start = self._tokens[self._index(relation.location)].start
        node = {"RangeVar": {**_plain(relation.node), "schemaname": schema}}
        key = id(relation.node)
        return Change((Edit(start, start, f"{identifier(schema)}."),), {key: node})

    def sample(self, relation: RelationName) -> str:
        """The text of the relation's TABLESAMPLE clause, '' without one."""
        if relation.sample is None:
            return ""
        _, last = self._name(relation)
        start, end = self._sample(last + 1)
        return " " + self._query[self._tokens[start].start : self._tokens[end].end].decode("utf-8")

    def copied(self, relation: RelationName, copy: Node, fragment: str, columns: list[str]) -> Change:
        """``COPY t (a, b) TO …`` becomes ``COPY (SELECT a, b FROM (…) AS t) TO …``."""
        first, last = self._name(relation)
        if self._kind(last + 1) == _OPEN:
            last = self._closing(last + 1)
        wanted = ", ".join(identifier(column) for column in columns)
        query = f"(SELECT {wanted} FROM {fragment} AS {identifier(relation.name)})"  # noqa: S608 - all quoted
        edit = Edit(self._tokens[first].start, self._tokens[last].end, query)
        rest = {key: without_locations(value) for key, value in copy.items() if key not in ("relation", "attlist")}
        node = {"CopyStmt": {**rest, "query": select(query)}}
        return Change((edit,), {id(copy): node})

    # --- references ---------------------------------------------------------------------------------------------------

    def unqualified(self, reference: Node) -> Change:
        """``schema.table.column`` becomes ``table.column``, which the secured relation's alias answers to."""
        first = self._index(int(reference.get("location", -1)))
        fields = reference["fields"]
        drop = len(fields) - 2
        if any(self._kind(first + 2 * step + 1) != _DOT for step in range(drop)):
            raise unexpected("a column reference")
        edit = Edit(self._tokens[first].start, self._tokens[first + 2 * drop].start, "")
        return Change((edit,), {id(reference): {"ColumnRef": {"fields": without_locations(fields[drop:])}}})

    def reference(self, reference: Node, expression: str) -> Change:
        """A column reference becomes ``expression``, which stands in parentheses."""
        first = self._index(int(reference.get("location", -1)))
        last = first
        for _ in reference["fields"][1:]:
            if self._kind(last + 1) != _DOT:
                raise unexpected("a column reference")
            last += 2
        edit = Edit(self._tokens[first].start, self._tokens[last].end, expression)
        return Change((edit,), {id(reference): target(expression)["ResTarget"]["val"]})

    def call(self, function: Node, location: int, expression: str) -> Change:
        """A call without arguments becomes ``expression``, which stands in parentheses."""
        first = last = self._index(location)
        while self._kind(last + 1) == _DOT:
            last += 2
        if (self._kind(last + 1), self._kind(last + 2)) != (_OPEN, _CLOSE):
            raise unexpected("a call")
        edit = Edit(self._tokens[first].start, self._tokens[last + 2].end, expression)
        return Change((edit,), {id(function): target(expression)["ResTarget"]["val"]})

    def star(self, item: Node, reference: Node, columns: list[str]) -> Change:
        """An item ``*`` or ``t.*`` becomes ``columns``, each with its name."""
        first = self._index(int(reference.get("location", -1)))
        last = first + 2 * (len(reference["fields"]) - 1)
        if self._kind(last) != _STAR:
            raise unexpected("*")
        edit = Edit(self._tokens[first].start, self._tokens[last].end, ", ".join(columns))
        return Change((edit,), {id(item): Expanded(tuple(target(column) for column in columns))})

    def named(self, item: Node, name: str) -> Change:
        """An item of a select list or of RETURNING gets the name that it had without saying so."""
        last = self._index(int(item.get("location", -1)))
        depth = 0
        while True:
            kind = self._kind(last + 1)
            depth += (self._kind(last) in _DEEPER) - (self._kind(last) in _HIGHER)
            ends = kind in _AFTER_ITEM and self._kind(last) != "DISTINCT"
            if kind == "" or (depth == 0 and (ends or kind in _HIGHER)):
                break
            last += 1
        end = self._tokens[last].end
        label = f" AS {identifier(name)}"
        named = Around(lambda wrapper: {"ResTarget": {**wrapper["ResTarget"], "name": name}})
        return Change((Edit(end, end, label),), {id(item): named})

    def whole_row(self, item: Node, reference: Node, row: str, name: str) -> Change:
        """A select-list item that is a whole row becomes ``row`` (an expression of the named composite type)."""
        token = self._tokens[self._index(int(reference.get("location", -1)))]
        named = f" AS {identifier(name)}" if "name" not in item else ""
        expected = target(f"{row} AS {identifier(item.get('name', name))}")
        return Change((Edit(token.start, token.end, row + named),), {id(item): expected})

    def grouped(self, group: list[Node], after: int, columns: list[str]) -> Change:
        """Puts qualified ``columns`` into a GROUP BY list, behind its item ``after``, which is a column."""
        last = self._index(int(group[after]["ColumnRef"].get("location", -1)))
        while self._kind(last + 1) == _DOT:
            last += 2
        end = self._tokens[last].end
        nodes = tuple(target(column)["ResTarget"]["val"] for column in columns)
        return Change(
            (Edit(end, end, "".join(f", {column}" for column in columns)),), {id(group): Inserted(after, nodes)}
        )

    # --- tokens -------------------------------------------------------------------------------------------------------

    def _index(self, offset: int) -> int:
        if offset not in self._at:
            raise unexpected("a reference")
        return self._at[offset]

    def _kind(self, index: int) -> str:
        return self._tokens[index].kind if 0 <= index < len(self._tokens) else ""

    def _name(self, relation: RelationName) -> tuple[int, int]:
        """First and last token of a qualified name."""
        first = self._index(relation.location)
        parts = 1 + (relation.schema is not None) + (relation.catalog is not None)
        last = first + 2 * (parts - 1)
        if last >= len(self._tokens) or any(self._kind(dot) != _DOT for dot in range(first + 1, last, 2)):
            raise unexpected(f'the reference to "{relation.name}"')
        return first, last

    def _only(self, first: int, last: int, relation: RelationName) -> tuple[int, int]:
        """Widens the name to ``ONLY name`` or ``ONLY (name)``."""
        if self._kind(first - 1) == "ONLY":
            return first - 1, last
        if not (self._kind(first - 1) == _OPEN and self._kind(first - 2) == "ONLY" and self._kind(last + 1) == _CLOSE):
            raise unexpected(f'the reference to "{relation.name}"')
        return first - 2, last + 1

    def _sample(self, index: int) -> tuple[int, int]:
        """First and last token of a TABLESAMPLE clause that begins at or behind an alias after ``index``."""
        start = index
        while self._kind(start) not in ("TABLESAMPLE", ""):
            start += 1
        opening = start
        while self._kind(opening) not in (_OPEN, ""):
            opening += 1
        end = self._closing(opening)
        if self._kind(end + 1) == "REPEATABLE":
            end = self._closing(end + 2)
        return start, end

    def _closing(self, opening: int) -> int:
        """The parenthesis that closes the one at ``opening``."""
        depth = 0
        for index in range(opening, len(self._tokens)):
            depth += (self._kind(index) == _OPEN) - (self._kind(index) == _CLOSE)
            if depth == 0:
                return index
        raise unexpected("a parenthesis")


@lru_cache(maxsize=8)
def splicer_of(facts: Facts) -> Splicer:
    """The splicer of a statement, for everything that is edited in it."""
    return Splicer(facts.query, facts.tokens)


def _plain(node: Node) -> Node:
    return {key: without_locations(value) for key, value in node.items() if key != "location"}


def unexpected(what: str) -> Refused:
    """The refusal where tokens and tree do not fit."""
    return Refused(
        Refusal(
            FEATURE_NOT_SUPPORTED,
            f"consentry: {what} is written in a way that cannot be analysed",
            hint="Write names plainly, with an alias where one is needed.",
        )
    )


def apply(query: bytes, edits: list[Edit]) -> tuple[bytes, tuple[tuple[int, int, int], ...]]:
    """The edited text, and for each edit (character offset in the new text, characters there, characters before).

    Raises ValueError if edits overlap.
    """
    pieces: list[str] = []
    map_: list[tuple[int, int, int]] = []
    length = position = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
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


def qualified_column(relation: RelationName, column: str) -> str:
    """``alias."column"``: how a column of the relation is referred to in its own SELECT."""
    return f"{identifier(relation.visible_name)}.{identifier(column)}"


def is_plain_reference(item: Node, names: tuple[str, ...]) -> bool:
    """``item`` is a ColumnRef of exactly these names."""
    return "ColumnRef" in item and strings(item["ColumnRef"].get("fields")) == names
