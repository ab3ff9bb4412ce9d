"""What one object of the catalog uses directly: relations, user-made functions, and what cannot be followed. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxy.catalog.model import FIRST_NORMAL_OBJECT_ID
from proxy.catalog.reach import NOTHING, Class, Code, Object, merge
from proxy.catalog.types import TypeRow

Row = Mapping[str, Any]

# Built-in functions that read or change something named by a value, so that no dependency tells what they reach.
_BY_NAME = re.compile(
    r"(query|table|cursor|schema|database)_to_xml|pg_read_|pg_ls_|pg_stat_file|lo_|loread|lowrite"
    r"|pg_logical_slot_|ts_stat|ts_rewrite|currtid|set_config"
)


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
        self._known: dict[tuple[str, int], Code] = {}

    def code(self, catalog: Class, oid: int, own: int = 0) -> Code:
        """What the object's stored expressions use. ``own`` is the relation that it belongs to, which is no use."""
        relations, functions = set[int](), set[int]()
        for used in self._edges.get(Object(catalog, oid), ()):
            if used.catalog == Class.RELATION:
                relations.add(used.oid)
            elif used.catalog == Class.PROC:
                functions |= self.function(used.oid).functions
            elif used.catalog == Class.OPERATOR:
                functions |= self.operator(used.oid).functions
            elif used.catalog == Class.TYPE:
                functions |= self.type(used.oid).functions
        opaque: frozenset[str] = frozenset()
        tree = self._trees.get(Object(catalog, oid))
        if tree is not None:
            relations.update(tree["relations"])
            if oid >= FIRST_NORMAL_OBJECT_ID:
                opaque = frozenset(f"pg_catalog.{self._by_name[f]}" for f in tree["functions"] if f in self._by_name)
        relations.discard(own)
        if not (relations or functions or opaque):
            return NOTHING
        return Code(frozenset(relations), frozenset(functions), opaque)

    def function(self, oid: int) -> Code:
        """The function itself, and what an aggregate is composed of; of built-in functions nothing."""
        return _functions(_user_made([oid]) | self.aggregates.get(oid, frozenset()))

    def operator(self, oid: int) -> Code:
        return _functions(_user_made(self.operators.get(oid, ())))

    def operator_class(self, oid: int) -> Code:
        """The support functions of an index's operator class, and the operators that it answers."""
        return _functions(self._families.get(self._family_of.get(oid, 0), frozenset()))

    def reading(self, oid: int) -> Code:
        """What handing out a value of the type runs."""
        return self._over_parts("reading", oid)

    def storing(self, oid: int) -> Code:
        """What taking in a value of the type runs: its input functions, and the checks of domains."""
        return self._over_parts("storing", oid)

    def type(self, oid: int) -> Code:
        """All that converting to or from the type, or comparing its values, may run."""
        return merge([self.reading(oid), self.storing(oid), self._over_parts("comparing", oid)])

    def _over_parts(self, aspect: str, oid: int) -> Code:
        if oid < FIRST_NORMAL_OBJECT_ID:
            return NOTHING  # what initdb made is made of what initdb made
        key = (aspect, oid)
        if key not in self._known:
            of_part = {"reading": self._read_part, "storing": self._store_part, "comparing": self._compare_part}[aspect]
            self._known[key] = merge(of_part(self._types[part]) for part in self._parts(oid))
        return self._known[key]

    def _parts(self, oid: int) -> set[int]:
        """The type and every type that it is made of: elements, bounds, attributes, the type under a domain."""
        found, todo = set[int](), [oid]
        while todo:
            part = todo.pop()
            row = self._types.get(part)
            if row is None or part in found:
                continue
            found.add(part)
            todo += [row.element, row.base, row.subtype, *self._attributes.get(row.relation, ())]
        return found

    def _read_part(self, row: TypeRow) -> Code:
        return _functions(_user_made(row.outputs))

    def _store_part(self, row: TypeRow) -> Code:
        checks = [self.code(Class.CONSTRAINT, check) for check in self._checks.get(row.oid, ())]
        return merge([_functions(_user_made(row.inputs)), self.code(Class.TYPE, row.oid, own=row.relation), *checks])

    def _compare_part(self, row: TypeRow) -> Code:
        families = self._type_families.get(row.oid, ()) if row.oid >= FIRST_NORMAL_OBJECT_ID else ()
        of_families = (self._families.get(family, frozenset()) for family in families)
        casts = self._casts.get(row.oid, ()) if row.oid >= FIRST_NORMAL_OBJECT_ID else ()
        return _functions(_user_made(casts).union(*of_families))

    def _family_functions(self, members: Iterable[Row]) -> dict[int, frozenset[int]]:
        found: dict[int, set[int]] = defaultdict(set)
        for row in members:
            found[row["family"]] |= _user_made([row["function"]]) | self.operator(row["operator"]).functions
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
