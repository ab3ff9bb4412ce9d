"""Which code hangs on which relation: rules, policies, triggers, defaults, constraints, indexes, types. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from proxy.catalog.model import Access
from proxy.catalog.reach import NOTHING, Class, Code, ForeignKey, Rule, Table
from proxy.catalog.rows import Changes, SystemRows
from proxy.catalog.uses import Uses

_RULE_EVENTS = {"1": Access.SELECT, "2": Access.UPDATE, "3": Access.INSERT, "4": Access.DELETE}
_TRIGGER_EVENTS = {1 << 2: Access.INSERT, 1 << 3: Access.DELETE, 1 << 4: Access.UPDATE, 1 << 5: Access.TRUNCATE}
_WITH_ROWS = frozenset("rpvmft")
_LINKING = ("relations", "constraints", "inheritance")


class Links:
    """What points at a relation from elsewhere: foreign keys, children, and the table whose TOAST it is."""

    def __init__(self) -> None:
        self._referenced: dict[int, dict[int, tuple[ForeignKey, ...]]] = defaultdict(dict)
        self._children: dict[int, set[int]] = defaultdict(set)
        self._toast_of: dict[int, int] = {}
        self._pointing: dict[int, tuple[dict[int, tuple[ForeignKey, ...]], tuple[int, ...], int]] = {}

    def fork(self) -> Links:
        """The same links, to follow other changes from here on."""
        forked = Links()
        forked._referenced.update((oid, dict(keys)) for oid, keys in self._referenced.items())
        forked._children.update((oid, set(children)) for oid, children in self._children.items())
        forked._toast_of = dict(self._toast_of)
        forked._pointing = dict(self._pointing)
        return forked

    def follow(self, changes: Changes, rows: SystemRows) -> set[int]:
        """Takes notice of new rows. The relations at which something else points now, or did before."""
        touched: set[int] = set()
        for oid in changes.keys(*_LINKING):
            before = self._pointing.get(oid, ({}, (), 0))
            after = _pointing(oid, rows)
            if after == before:
                continue
            touched |= {*before[0], *after[0], *before[1], *after[1], before[2], after[2]}
            for referenced in before[0]:
                del self._referenced[referenced][oid]
            for parent in before[1]:
                self._children[parent].discard(oid)
            if self._toast_of.get(before[2]) == oid:
                del self._toast_of[before[2]]
            self._pointing[oid] = after
            for referenced, keys in after[0].items():
                self._referenced[referenced][oid] = keys
            for parent in after[1]:
                self._children[parent].add(oid)
            if after[2]:
                self._toast_of[after[2]] = oid
        return touched

    def referencing(self, oid: int) -> list[ForeignKey]:
        """The foreign keys that refer to a relation."""
        return sorted(key for keys in self._referenced.get(oid, {}).values() for key in keys)

    def referenced_by(self, oid: int) -> Iterable[int]:
        """The relations to which foreign keys of this one refer."""
        return self._pointing[oid][0] if oid in self._pointing else ()

    def children(self, oid: int) -> list[int]:
        """The partitions of a relation, and what inherits from it."""
        return sorted(self._children.get(oid, ()))

    def toast_of(self, oid: int) -> int:
        """The table of which this is the TOAST; else 0."""
        return self._toast_of.get(oid, 0)


def _pointing(oid: int, rows: SystemRows) -> tuple[dict[int, tuple[ForeignKey, ...]], tuple[int, ...], int]:
    relation = rows.row("relations", oid)
    if relation is None:
        return {}, (), 0
    referenced: dict[int, tuple[ForeignKey, ...]] = {}
    for row in rows.group("constraints", oid):
        if row["kind"] == "f":
            columns, theirs = tuple(row["columns"]), tuple(row["referenced_columns"])
            holds = row["validated"] and not row["deferrable"]
            key = ForeignKey(oid, row["on_update"], row["on_delete"], columns, theirs, holds)
            referenced[row["referenced"]] = (*referenced.get(row["referenced"], ()), key)
    return referenced, tuple(row["parent"] for row in rows.group("inheritance", oid)), relation["toast"]


def table(oid: int, name: str, rows: SystemRows, links: Links, uses: Uses) -> Table | None:
    """A relation that holds or yields rows, with what hangs on it; None for others. ``name`` is ``schema.relation``."""
    relation = rows.row("relations", oid)
    if relation is None or relation["kind"] not in _WITH_ROWS:
        return None
    found = Table(
        oid,
        relation["kind"],
        name,
        parents=[row["parent"] for row in rows.group("inheritance", oid)],
        children=links.children(oid),
        referenced_by=links.referencing(oid),
        toast_of=links.toast_of(oid),
    )
    _hang_rules(rows, found, uses)
    if relation["row_security"]:
        for row in rows.group("policies", oid):
            found.policies.setdefault(row["command"], []).append(uses.code(Class.POLICY, row["oid"], own=oid))
    _hang_triggers(rows, found, uses)
    _hang_columns(rows, found, uses)
    _hang_constraints(rows, found, uses)
    _hang_indexes(rows, found, uses)
    return found


def _hang_rules(rows: SystemRows, found: Table, uses: Uses) -> None:
    for row in rows.group("rules", found.oid):
        access = _RULE_EVENTS[row["event"]]
        if access is Access.SELECT:
            found.query = uses.code(Class.RULE, row["oid"], own=found.oid)
        else:
            rule = Rule(f"{found.name}.{row['name']}", uses.code(Class.RULE, row["oid"]))
            found.rules.setdefault(access, []).append(rule)


def _hang_triggers(rows: SystemRows, found: Table, uses: Uses) -> None:
    for row in rows.group("triggers", found.oid):
        # Of PostgreSQL's own functions too it matters that they are fired: some compare or copy stored values.
        fired = _both(uses.function(row["function"]), Code(functions=frozenset({row["function"]})))
        code = _both(uses.code(Class.TRIGGER, row["oid"], own=found.oid), fired)
        for bit, access in _TRIGGER_EVENTS.items():
            if row["events"] & bit:
                found.triggers.setdefault(access, []).append(code)


def _hang_columns(rows: SystemRows, found: Table, uses: Uses) -> None:
    columns = rows.group("columns", found.oid)
    for oid in dict.fromkeys(row["type"] for row in columns):
        _add(found.reading, uses.reading(oid))
        _add(found.storing, uses.storing(oid))
    defaults = rows.group("defaults", found.oid)
    virtual = {row["number"] for row in columns if defaults and row["generated"] == "v"}
    for row in defaults:
        code = uses.code(Class.DEFAULT, row["oid"], own=found.oid)
        _add(found.storing, code)
        if row["number"] in virtual:
            _add(found.reading, code)


def _hang_constraints(rows: SystemRows, found: Table, uses: Uses) -> None:
    for row in rows.group("constraints", found.oid):
        if row["kind"] == "c":
            _add(found.storing, uses.code(Class.CONSTRAINT, row["oid"], own=found.oid))
        for operator in row["operators"]:
            _add(found.storing, uses.operator(operator))


def _hang_indexes(rows: SystemRows, found: Table, uses: Uses) -> None:
    classes: set[int] = set()
    for row in rows.group("indexes", found.oid):
        _add(found.storing, uses.code(Class.RELATION, row["oid"], own=found.oid))
        classes.update(row["classes"])
    _add_all(found.storing, classes, uses)
    for row in rows.group("partitioned", found.oid):
        _add(found.routing, uses.code(Class.RELATION, found.oid, own=found.oid))
        _add_all(found.routing, row["classes"], uses)


def _add_all(codes: list[Code], classes: Iterable[int], uses: Uses) -> None:
    for operator_class in sorted(classes):
        _add(codes, uses.operator_class(operator_class))


def _both(one: Code, other: Code) -> Code:
    return Code(one.relations | other.relations, one.functions | other.functions, one.opaque | other.opaque)


def _add(codes: list[Code], code: Code) -> None:
    if code is not NOTHING:
        codes.append(code)
