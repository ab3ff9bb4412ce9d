"""Names in scope: the items of a FROM with their columns, and what a column reference may mean among them.

As PostgreSQL looks names up (parse_relation.c, colNameToVar and refnameNamespaceItem): innermost level first; a column
before a whole row. What is not certain means everything that it could mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from proxy.sql.columns import SYSTEM_COLUMNS
from proxy.sql.grammar import Node
from proxy.sql.relations import RelationName
from proxy.sql.tree import strings


@dataclass(frozen=True, slots=True)
class Source:
    """A column of a relation that a statement names. ``column`` ``*``: any of them, where they are not known."""

    relation: RelationName
    column: str


Sources = frozenset[Source]
NOTHING: Sources = frozenset()


@dataclass(frozen=True, slots=True)
class Output:
    """One column of a query's result or of a FROM item. ``name`` None: it cannot be told, and could be any."""

    name: str | None
    sources: Sources


@dataclass(frozen=True, slots=True)
class Outputs:
    """The columns of a result in order. ``complete`` False: there may be more, and positions say nothing."""

    columns: tuple[Output, ...]
    complete: bool = True
    beyond: Sources = NOTHING
    """What flows into the columns that are not known."""

    @property
    def every(self) -> Sources:
        """All that flows into any column."""
        return self.beyond.union(*(column.sources for column in self.columns))

    def at(self, position: int) -> Sources:
        """What flows into the column at ``position`` (from 0)."""
        return self.columns[position].sources if self.complete and position < len(self.columns) else self.every

    def named(self, names: list[str]) -> Outputs:
        """The same under the names of an alias list, which may be shorter."""
        if not names:
            return self
        if not self.complete:
            return Outputs(tuple(Output(name, self.every) for name in names), complete=False, beyond=self.every)
        renamed = [Output(name, column.sources) for name, column in zip(names, self.columns, strict=False)]
        return Outputs((*renamed, *self.columns[len(renamed) :]))

    def beside(self, other: Outputs) -> Outputs:
        """Of two arms of a set operation, or two rows of VALUES: column by column what flows into either."""
        if not (self.complete and other.complete and len(self.columns) == len(other.columns)):
            return unknown(self.every | other.every)
        pairs = zip(self.columns, other.columns, strict=True)
        return Outputs(tuple(Output(one.name, one.sources | two.sources) for one, two in pairs))

    def followed_by(self, other: Outputs) -> Outputs:
        """The columns of both, one after the other."""
        complete = self.complete and other.complete
        return Outputs((*self.columns, *other.columns), complete, self.beyond | other.beyond)


EMPTY = Outputs(())


def unknown(sources: Sources) -> Outputs:
    """Columns of which nobody knows how many there are: any of ``sources`` may flow into each."""
    return Outputs((), complete=False, beyond=sources)


@dataclass(frozen=True, slots=True)
class Item:
    """What columns may be qualified with. ``hidden``: only qualified names reach it (``excluded``, ``old``, ``new``,
    the alias of a USING)."""

    name: str | None
    outputs: Outputs
    relation: RelationName | None = None
    hidden: bool = False

    def certainly(self, name: str) -> list[Sources]:
        """What its columns of exactly this name hold."""
        found = [column.sources for column in self.outputs.columns if column.name == name]
        if not found and self.relation is not None and name in SYSTEM_COLUMNS:
            return [frozenset({Source(self.relation, name)})]
        return found

    def possibly(self) -> list[Sources]:
        """What its columns hold whose names are not known."""
        unnamed = [column.sources for column in self.outputs.columns if column.name is None]
        return unnamed if self.outputs.complete else [*unnamed, self.outputs.every]


@dataclass(frozen=True, slots=True)
class Joined:
    """A FROM item, or several joined: the names that it brings, and what ``*`` makes of it."""

    items: tuple[Item, ...]
    star: Outputs


@dataclass(frozen=True, slots=True)
class Scope:
    """One level of names, inside the levels around it. ``queries``: every WITH query that is in scope."""

    items: tuple[Item, ...] = ()
    outer: Scope | None = None
    queries: Mapping[str, Outputs] = field(default_factory=dict)

    def inside(self, items: Iterable[Item]) -> Scope:
        """A level of its own within this one."""
        return Scope(tuple(items), self, self.queries)

    def with_queries(self, queries: Mapping[str, Outputs]) -> Scope:
        """The same level with other WITH queries."""
        return Scope(self.items, self.outer, queries)

    def resolve(self, reference: Node) -> Sources | None:
        """What a ColumnRef may mean; None where nothing in scope bears the name."""
        parts = list(strings(reference.get("fields")))
        if "A_Star" in reference["fields"][-1]:
            return self._row(parts[-1]) if parts else self._level()
        if len(parts) > 1:
            return self._qualified(parts[-2], parts[-1])
        column = self._column(parts[0])
        return self._row(parts[0]) if column is None else column

    def _levels(self) -> Iterable[Scope]:
        level: Scope | None = self
        while level is not None:
            yield level
            level = level.outer

    def _level(self) -> Sources | None:
        """Every column of the innermost level that has items: an unqualified ``*`` in an expression."""
        for level in self._levels():
            if level.items:
                return NOTHING.union(*(item.outputs.every for item in level.items))
        return None

    def _column(self, name: str) -> Sources | None:
        found: list[Sources] = []
        for level in self._levels():
            visible = [item for item in level.items if not item.hidden]
            certain = [sources for item in visible for sources in item.certainly(name)]
            if certain:
                # Were there a second column of this name beside it, PostgreSQL would call it ambiguous.
                return NOTHING.union(*found, *certain)
            found += [sources for item in visible for sources in item.possibly()]
        rows = self._row(name)
        return NOTHING.union(*found, rows or NOTHING) if found else None

    def _named(self, name: str) -> list[Item]:
        for level in self._levels():
            found = [item for item in level.items if item.name == name]
            if found:
                return found
        return []

    def _row(self, name: str) -> Sources | None:
        items = self._named(name)
        return NOTHING.union(*(item.outputs.every for item in items)) if items else None

    def _qualified(self, qualifier: str, name: str) -> Sources | None:
        items = self._named(qualifier)
        if not items:
            return None
        certain = [sources for item in items for sources in item.certainly(name)]
        # ``t.f`` may also be a function of the row (parse_func.c, ParseFuncOrColumn).
        return NOTHING.union(*(certain or [item.outputs.every for item in items]))
