"""What one object of the catalog uses directly: relations, user-made functions, and what cannot be followed. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from proxy.catalog.model import FIRST_NORMAL_OBJECT_ID
from proxy.catalog.reach import NOTHING, Class, Code, Object, merge
from proxy.catalog.types import TypeRow

Row = Mapping[str, Any]

# Built-in functions that read or change something named by a value, so that no dependency tells what they reach.
_BY_NAME = re.compile(
    r"(query|table|cursor|schema|database)_to_xml|pg_read_|pg_ls_|pg_stat_file|lo_|loread|lowrite"
    r"|pg_logical_slot_|ts_stat|ts_rewrite|currtid|set_config"
)


class _Step(NamedTuple):
    """An object on the way; of a type, ``reading`` and ``storing`` are parts of what the whole type runs."""

    kind: Class | Literal["reading", "storing"]
    oid: int


_MADE_OF_BUILTINS = frozenset({Class.PROC, Class.OPERATOR, Class.TYPE, "reading", "storing"})
_FOLLOWED = frozenset({Class.PROC, Class.OPERATOR, Class.TYPE})


class Uses:
    """Answers for one snapshot of the rows of ``queries``."""

    def __init__(self, rows: Mapping[str, Sequence[Row]], types: Mapping[int, TypeRow]) -> None:
        self._types = types
        self._edges: dict[Object, list[Object]] = defaultdict(list)
        for row in rows["dependencies"]:
            self._edges[Object(row["user_class"], row["user"])].append(Object(row["class"], row["oid"]))
        self._trees = {Object(row["class"], row["oid"]): row for row in rows["trees"]}
        self._by_name = {row["oid"]: row["name"] for row in rows["functions"] if _reads_by_name(row)}
        self.aggregates = {row["oid"]: _user_made(row["functions"]) for row in rows["aggregates"]}
        self.operators = _operators(rows["operators"])
        self._families = self._family_functions(rows["family_members"])
        self._family_of = {row["oid"]: row["family"] for row in rows["operator_classes"]}
        self._type_families: dict[int, list[int]] = defaultdict(list)
        for row in rows["operator_classes"]:
            self._type_families[row["type"]].append(row["family"])
        self._casts: dict[int, set[int]] = defaultdict(set)
        for row in rows["casts"]:
            self._casts[row["source"]].add(row["function"])
            self._casts[row["target"]].add(row["function"])
        self._checks: dict[int, list[int]] = defaultdict(list)
        for row in rows["constraints"]:
            if row["type"] and row["kind"] == "c":
                self._checks[row["type"]].append(row["oid"])
        self._attributes: dict[int, set[int]] = defaultdict(set)
        for row in rows["columns"]:
            self._attributes[row["relation"]].add(row["type"])
        self._known: dict[_Step, Code] = {}

    def code(self, catalog: Class, oid: int, own: int = 0) -> Code:
        """What the object's stored expressions use. ``own`` is the relation that it belongs to, which is no use."""
        code = self._close(_Step(catalog, oid))
        if own not in code.relations:
            return code
        code = Code(code.relations - {own}, code.functions, code.opaque)
        return NOTHING if code == NOTHING else code

    def function(self, oid: int) -> Code:
        """The function itself, and what an aggregate is composed of; of built-in functions nothing."""
        return self._close(_Step(Class.PROC, oid))

    def operator(self, oid: int) -> Code:
        return self._close(_Step(Class.OPERATOR, oid))

    def operator_class(self, oid: int) -> Code:
        """The support functions of an index's operator class, and the operators that it answers."""
        return _functions(self._families.get(self._family_of.get(oid, 0), frozenset()))

    def reading(self, oid: int) -> Code:
        """What handing out a value of the type runs."""
        return self._close(_Step("reading", oid))

    def storing(self, oid: int) -> Code:
        """What taking in a value of the type runs: its input functions, and the checks of domains."""
        return self._close(_Step("storing", oid))

    def type(self, oid: int) -> Code:
        """All that converting to or from the type, or comparing its values, may run."""
        return self._close(_Step(Class.TYPE, oid))

    def _close(self, start: _Step) -> Code:
        if start not in self._known:
            found, seen, todo = [], {start}, [start]
            while todo:
                code, following = self._take(todo.pop())
                found.append(code)
                new = set(following) - seen
                seen |= new
                todo += new
            self._known[start] = merge(found)
        return self._known[start]

    def _take(self, step: _Step) -> tuple[Code, Iterable[_Step]]:
        """What one object uses by itself, and the objects to go on with; what initdb made uses what initdb made."""
        kind, oid = step
        if oid < FIRST_NORMAL_OBJECT_ID and kind in _MADE_OF_BUILTINS:
            return NOTHING, ()
        if kind == "reading" or kind == "storing" or kind == Class.TYPE:
            return self._take_type(step)
        if kind == Class.PROC:
            return _functions(_user_made([oid]) | self.aggregates.get(oid, frozenset())), ()
        if kind == Class.OPERATOR:
            return _functions(_user_made(self.operators.get(oid, ()))), ()
        used = self._edges.get(Object(kind, oid), ())
        following = [_Step(Class(other.catalog), other.oid) for other in used if other.catalog in _FOLLOWED]
        return self._references(Object(kind, oid), used), following

    def _references(self, user: Object, used: Iterable[Object]) -> Code:
        relations = {other.oid for other in used if other.catalog == Class.RELATION}
        opaque: frozenset[str] = frozenset()
        tree = self._trees.get(user)
        if tree is not None:
            relations.update(tree["relations"])
            if user.oid >= FIRST_NORMAL_OBJECT_ID:
                opaque = frozenset(f"pg_catalog.{self._by_name[f]}" for f in tree["functions"] if f in self._by_name)
        return Code(frozenset(relations), frozenset(), opaque) if relations or opaque else NOTHING

    def _take_type(self, step: _Step) -> tuple[Code, Iterable[_Step]]:
        row = self._types.get(step.oid)
        if row is None:
            return NOTHING, ()
        parts = [row.element, row.base, row.subtype, *self._attributes.get(row.relation, ())]
        following = [_Step(step.kind, part) for part in parts if part]
        if step.kind == "reading":
            return _functions(_user_made(row.outputs)), following
        if step.kind == "storing":
            following += [_Step(Class.CONSTRAINT, check) for check in self._checks.get(row.oid, ())]
            own = self._references(Object(Class.TYPE, row.oid), ())
            following += [_Step(Class(o.catalog), o.oid) for o in self._edges.get(Object(Class.TYPE, row.oid), ())]
            return merge([own, _functions(_user_made(row.inputs))]), following
        families = (self._families.get(family, frozenset()) for family in self._type_families.get(row.oid, ()))
        functions = _user_made(self._casts.get(row.oid, ())).union(*families)
        return _functions(functions), [*following, _Step("reading", row.oid), _Step("storing", row.oid)]

    def _family_functions(self, members: Iterable[Row]) -> dict[int, frozenset[int]]:
        found: dict[int, set[int]] = defaultdict(set)
        for row in members:
            found[row["family"]] |= _user_made([row["function"]]) | _user_made(self.operators.get(row["operator"], ()))
        return {family: frozenset(functions) for family, functions in found.items()}


def _reads_by_name(row: Row) -> bool:
    return row["oid"] < FIRST_NORMAL_OBJECT_ID and _BY_NAME.match(row["name"]) is not None


def _user_made(functions: Iterable[int | None]) -> frozenset[int]:
    return frozenset(oid for oid in functions if oid is not None and oid >= FIRST_NORMAL_OBJECT_ID)


def _functions(functions: frozenset[int]) -> Code:
    return Code(functions=functions) if functions else NOTHING


def _operators(rows: Iterable[Row]) -> dict[int, frozenset[int]]:
    """The functions behind each operator. The planner may put a commutator or negator in an operator's place, so
    theirs count too (manual 36.15).
    """
    own = {row["oid"]: frozenset(f for f in row["functions"] if f) for row in rows}
    partners = {row["oid"]: [oid for oid in row["partners"] if oid in own] for row in rows}
    found: dict[int, frozenset[int]] = {}
    for oid, functions in own.items():
        seen, todo = {oid}, list(partners[oid])
        while todo:
            partner = todo.pop()
            if partner not in seen:
                seen.add(partner)
                todo += partners[partner]
        found[oid] = functions.union(*(own[partner] for partner in seen))
    return found
