"""What an access to a relation reaches beyond it, closed over the objects that depend on each other. Pure.

The edges are those that PostgreSQL itself follows: a rule to what its action names, a table to its triggers, defaults,
checks and indexes, a parent to its partitions and children, a referenced key to the tables that its deletion changes.
Bodies of functions are not followed: a function is trusted or it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from proxy.catalog.model import Access, Reach


class Class(IntEnum):
    """The system catalogs whose rows are objects here, by their OIDs (pg_class.dat)."""

    PROC = 1255
    TYPE = 1247
    RELATION = 1259
    DEFAULT = 2604
    CONSTRAINT = 2606
    OPERATOR_CLASS = 2616
    OPERATOR = 2617
    RULE = 2618
    TRIGGER = 2620
    OPERATOR_FAMILY = 2753
    POLICY = 3256
    COLLATION = 3456


class Object(NamedTuple):
    """One row of a system catalog."""

    catalog: int
    oid: int


@dataclass(frozen=True, slots=True)
class Code:
    """What an object uses: relations that it reads (or, from a rule, writes), user-made functions, what is opaque."""

    relations: frozenset[int] = frozenset()
    functions: frozenset[int] = frozenset()
    opaque: frozenset[str] = frozenset()


NOTHING = Code()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rewrite rule; ``name`` is ``relation.rule``."""

    name: str
    code: Code


class ForeignKey(NamedTuple):
    """A foreign key from ``referencing``. Actions are pg_constraint's letters: ``a r c n d``; columns are numbers."""

    referencing: int
    on_update: str
    on_delete: str
    columns: tuple[int, ...] = ()
    referenced: tuple[int, ...] = ()
    holds: bool = False
    """Of all rows, at the end of every statement: it is validated, and not deferrable."""


@dataclass(slots=True)
class Table:
    """One relation with the code attached to it, as it was read."""

    oid: int
    kind: str
    name: str
    query: Code | None = None
    """The query of a view."""
    rules: dict[Access, list[Rule]] = field(default_factory=dict)
    policies: dict[str, list[Code]] = field(default_factory=dict)
    """Row security policies by command (pg_policy.polcmd); empty where row security is not enabled."""
    triggers: dict[Access, list[Code]] = field(default_factory=dict)
    reading: list[Code] = field(default_factory=list)
    """Run when rows are read: virtual generated columns, output functions of the columns' types."""
    storing: list[Code] = field(default_factory=list)
    """Run when rows are stored: defaults, generated columns, checks, domains, indexes, exclusion."""
    routing: list[Code] = field(default_factory=list)
    """Run to find a row's partition, and to hold a row of a partition against its bounds."""
    parents: list[int] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    referenced_by: list[ForeignKey] = field(default_factory=list)
    toast_of: int = 0


class _Node(NamedTuple):
    """An access to a relation. ``stored``: to its rows alone, by way of a parent, so that rules and policies of its
    own do not come in (manual 5.12.2.3, 41.4)."""

    oid: int
    access: Access
    stored: bool


_COMMANDS = {
    Access.SELECT: "r*",
    Access.INSERT: "a*",
    Access.UPDATE: "rw*",
    Access.DELETE: "rd*",
    Access.TRUNCATE: "",
}
_STORES = (Access.INSERT, Access.UPDATE)
_CHANGES_ROWS = "cnd"  # CASCADE, SET NULL, SET DEFAULT


class Reaches:
    """Closes over the accesses to ``tables``, as they are while it is asked."""

    def __init__(self, tables: Mapping[int, Table]) -> None:
        self._tables = tables
        self._steps: dict[_Node, tuple[Code, frozenset[str], frozenset[_Node]]] = {}
        self._closed: dict[_Node, Reach] = {}

    def of(self, oid: int) -> Mapping[Access, Reach]:
        """The reach of each access to the relation; accesses that reach nothing are there too, with an empty one."""
        if oid not in self._tables:
            return _NOWHERE  # indexes, sequences and composite types: nothing hangs on them
        closed = {access: self._reach(_Node(oid, access, stored=False)) for access in Access}
        return _NOWHERE if all(reach is _EMPTY for reach in closed.values()) else closed

    def sources(self, oid: int) -> frozenset[int]:
        """Every relation that a materialized view was computed from, at any depth; of other relations none."""
        table = self._tables.get(oid)
        if table is None or table.kind != "m" or table.query is None:
            return frozenset()
        found = set(table.query.relations)
        for source in table.query.relations:
            found |= self._reach(_Node(source, Access.SELECT, stored=False)).relations
        for source in tuple(found):
            found |= self.sources(source)
        return frozenset(found)

    def _reach(self, node: _Node) -> Reach:
        """What the access reaches beyond the relation itself."""
        reach = self._close(node)
        if node.oid not in reach.relations:
            return reach
        reach = Reach(reach.relations - {node.oid}, reach.functions, reach.rules, reach.opaque)
        return _EMPTY if reach == _EMPTY else reach

    def _close(self, start: _Node) -> Reach:
        """All that the accesses reach to which this one leads, the relation itself too where they lead back to it.

        Tarjan's algorithm: accesses that lead to each other reach the same, so each is walked once.
        """
        if start in self._closed:
            return self._closed[start]
        number, low, path, on_path = {start: 0}, {start: 0}, [start], {start}
        work = [(start, iter(self._step(start)[2]))]
        while work:
            node, following = work[-1]
            for other in following:
                if other in self._closed:
                    continue
                if other not in number:
                    number[other] = low[other] = len(number)
                    path.append(other)
                    on_path.add(other)
                    work.append((other, iter(self._step(other)[2])))
                    break
                if other in on_path:
                    low[node] = min(low[node], number[other])
            else:
                work.pop()
                if work:
                    before = work[-1][0]
                    low[before] = min(low[before], low[node])
                if low[node] == number[node]:
                    members = [path.pop()]
                    while members[-1] != node:
                        members.append(path.pop())
                    on_path.difference_update(members)
                    self._join(members)
        return self._closed[start]

    def _join(self, members: list[_Node]) -> None:
        """Notes what accesses reach that all lead to each other; what they lead to otherwise is known."""
        relations: set[int] = set()
        functions: set[int] = set()
        rules: set[str] = set()
        opaque: set[str] = set()
        own = frozenset(members)
        for member in members:
            code, names, following = self._step(member)
            relations |= code.relations
            functions |= code.functions
            opaque |= code.opaque
            rules |= names
            relations.update(node.oid for node in following)
            for node in following - own:
                further = self._closed[node]
                relations |= further.relations
                functions |= further.functions
                opaque |= further.opaque
                rules |= further.rules
        reach = _EMPTY
        if relations or functions or rules or opaque:
            reach = Reach(frozenset(relations), frozenset(functions), frozenset(rules), frozenset(opaque))
        for member in members:
            self._closed[member] = reach

    def _step(self, node: _Node) -> tuple[Code, frozenset[str], frozenset[_Node]]:
        """What one access runs itself, the names of the rules it meets, and the accesses that it leads to."""
        known = self._steps.get(node)
        if known is None:
            table = self._tables.get(node.oid)
            known = (NOTHING, frozenset(), frozenset()) if table is None else self._first_step(table, node)
            self._steps[node] = known
        return known

    def _first_step(self, table: Table, node: _Node) -> tuple[Code, frozenset[str], frozenset[_Node]]:
        codes = list(self._run_by(table, node.access))
        following = set(self._led_to(table, node))
        leaves = frozenset({one.oid for one in following if one.stored and self._is_leaf(one.oid)} - {table.oid})
        if leaves:
            codes.append(Code(relations=leaves))
            following = {one for one in following if one.oid not in leaves}
        names: frozenset[str] = frozenset()
        if not node.stored:
            policies = [code for command in _COMMANDS[node.access] for code in table.policies.get(command, ())]
            rules = table.rules.get(node.access, [])
            names = frozenset(rule.name for rule in rules)
            codes += policies + [rule.code for rule in rules]
            following |= {_Node(oid, Access.SELECT, stored=False) for code in policies for oid in code.relations}
            following |= {_Node(oid, a, stored=False) for rule in rules for oid in rule.code.relations for a in Access}
            following.update(self._through_view(table, node.access))
        if table.kind == "f":
            codes.append(Code(opaque=frozenset({f"foreign table {table.name}"})))
        following.discard(node)
        return merge(codes), names, frozenset(following)

    def _is_leaf(self, oid: int) -> bool:
        """Nothing hangs on the rows of a table to which another leads: a family may have thousands of these."""
        table = self._tables.get(oid)
        if table is None or table.kind != "r" or table.children or table.referenced_by:
            return False
        hanging = (*table.triggers.values(), table.reading, table.storing, table.routing)
        return all(code is NOTHING for codes in hanging for code in codes)

    def _run_by(self, table: Table, access: Access) -> Iterable[Code]:
        yield from table.triggers.get(access, ())
        if access is Access.SELECT:
            yield from table.reading
        if access in _STORES:
            yield from table.storing
            yield from table.routing
            for ancestor in self._ancestors(table):
                yield from ancestor.routing
        if access is Access.SELECT and table.kind == "v" and table.query is not None:
            yield table.query

    def _ancestors(self, table: Table) -> Iterable[Table]:
        for oid in table.parents:
            parent = self._tables.get(oid)
            if parent is not None and parent.kind == "p":
                yield parent
                yield from self._ancestors(parent)

    def _through_view(self, table: Table, access: Access) -> Iterable[_Node]:
        """A view reads its tables, and a simple one writes to them (manual, CREATE VIEW, Updatable Views)."""
        if table.kind != "v" or table.query is None:
            return
        for oid in table.query.relations:
            yield _Node(oid, Access.SELECT, stored=False)
            yield _Node(oid, access, stored=False)

    def _led_to(self, table: Table, node: _Node) -> Iterable[_Node]:
        access = node.access
        if access in (Access.UPDATE, Access.DELETE):
            yield _Node(table.oid, Access.SELECT, node.stored)
        if access is not Access.INSERT or table.kind == "p":
            for child in table.children:
                yield _Node(child, access, stored=True)
                if access is Access.UPDATE and table.kind == "p":  # a row may move to another partition
                    yield _Node(child, Access.INSERT, stored=True)
                    yield _Node(child, Access.DELETE, stored=True)
        for key in table.referenced_by:
            if access is Access.TRUNCATE:
                yield _Node(key.referencing, Access.TRUNCATE, stored=False)
            elif access is Access.DELETE and key.on_delete in _CHANGES_ROWS:
                changed = Access.DELETE if key.on_delete == "c" else Access.UPDATE
                yield _Node(key.referencing, changed, stored=False)
            elif access is Access.UPDATE and key.on_update in _CHANGES_ROWS:
                yield _Node(key.referencing, Access.UPDATE, stored=False)
        if table.toast_of:
            yield _Node(table.toast_of, Access.SELECT, stored=False)


_EMPTY = Reach()
_NOWHERE: Mapping[Access, Reach] = dict.fromkeys(Access, _EMPTY)


def merge(codes: Iterable[Code]) -> Code:
    """All that several objects use."""
    used = [code for code in codes if code is not NOTHING]
    if len(used) <= 1:
        return used[0] if used else NOTHING
    return Code(
        frozenset().union(*(code.relations for code in used)),
        frozenset().union(*(code.functions for code in used)),
        frozenset().union(*(code.opaque for code in used)),
    )
