"""What one object of the catalog uses directly: relations, user-made functions, and what cannot be followed. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, NamedTuple, TypeVar

from proxy.catalog.model import FIRST_NORMAL_OBJECT_ID
from proxy.catalog.reach import NOTHING, Class, Code, Object, merge
from proxy.catalog.rows import Changes, SystemRows
from proxy.catalog.types import TypeRow

# Built-in functions that read or change something named by a value, so that no dependency tells what they reach.
_BY_NAME = re.compile(
    r"(query|table|cursor|schema|database)_to_xml|pg_read_|pg_ls_|pg_stat_file|lo_|loread|lowrite"
    r"|pg_logical_slot_|ts_stat|ts_rewrite|currtid|set_config"
)


class _Step(NamedTuple):
    """An object on the way; of a type, ``reading`` and ``storing`` are parts of what the whole type runs."""

    kind: Class | Literal["reading", "storing"]
    oid: int


class _Closed(NamedTuple):
    """What an object uses by all ways, and the objects on these ways which users can change."""

    code: Code
    depends: frozenset[Object]


_MADE_OF_BUILTINS = frozenset({Class.PROC, Class.OPERATOR, Class.TYPE, "reading", "storing"})
_FOLLOWED = frozenset({Class.PROC, Class.OPERATOR, Class.TYPE})
_OF_FAMILIES = ("operators", "support_functions", "family_operators")
_NO_OBJECTS: frozenset[Object] = frozenset()

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Uses:
    """Answers for the rows as they are now; :meth:`follow` tells it that they changed."""

    def __init__(self, rows: SystemRows, types: Mapping[int, TypeRow]) -> None:
        self._rows = rows
        self._types = types
        self._by_name: dict[int, str] = {}
        self.aggregates: dict[int, frozenset[int]] = {}
        self.operators: dict[int, frozenset[int]] = {}
        self._families: dict[int, frozenset[int]] = {}
        self._family_of: dict[int, int] = {}
        self._type_families: dict[int, frozenset[int]] = {}
        self._casts: dict[int, frozenset[int]] = {}
        self._known: dict[_Step, _Closed] = {}
        self._trail: set[Object] = set()

    def fork(self, rows: SystemRows, types: Mapping[int, TypeRow]) -> Uses:
        """The same uses, to follow other changes from here on."""
        forked = Uses(rows, types)
        forked._by_name = self._by_name
        forked.aggregates, forked.operators = self.aggregates, self.operators
        forked._families, forked._family_of = self._families, self._family_of
        forked._type_families, forked._casts = self._type_families, self._casts
        return forked

    def follow(self, changes: Changes) -> set[Object]:
        """Takes notice of new rows. What may use something else now, by itself."""
        rows = self._rows.rows
        self._known.clear()
        changed = {Object(Class.TYPE, oid) for oid in changes.keys("types", "enums", "ranges", "domain_checks")}
        changed |= {Object(Class.PROC, oid) for oid in changes.keys("functions", "aggregates")}
        changed |= {Object(Class.RELATION, oid) for oid in changes.keys("relations", "columns")}
        changed |= {Object(Class.COLLATION, oid) for oid in changes.keys("collations")}
        if changes.afresh:
            self._by_name = _read_by_name(self._rows)
        if changes.keys("aggregates"):
            self.aggregates = {
                oid: frozenset(function for function in group[0]["functions"] if function)
                for oid, group in rows["aggregates"].items()
            }
        if changes.keys("operators"):
            before, self.operators = self.operators, _operators(self._rows)
            changed |= {Object(Class.OPERATOR, oid) for oid in _unlike(before, self.operators)}
        if changes.keys(*_OF_FAMILIES):
            families, self._families = self._families, self._family_functions()
            changed |= {Object(Class.OPERATOR_FAMILY, oid) for oid in _unlike(families, self._families)}
        if changes.keys("operator_classes"):
            family_of, self._family_of = self._family_of, _families_of(self._rows)
            changed |= {Object(Class.OPERATOR_CLASS, oid) for oid in _unlike(family_of, self._family_of)}
            type_families, self._type_families = self._type_families, _type_families(self._rows)
            changed |= {Object(Class.TYPE, oid) for oid in _unlike(type_families, self._type_families)}
        if changes.keys("casts"):
            casts, self._casts = self._casts, _casts(self._rows)
            changed |= {Object(Class.TYPE, oid) for oid in _unlike(casts, self._casts)}
        return changed

    @contextmanager
    def trail(self) -> Iterator[set[Object]]:
        """Collects the objects, of those that users can change, on which the answers given meanwhile rest."""
        before, self._trail = self._trail, set()
        try:
            yield self._trail
        finally:
            self._trail = before

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
        family = self._family_of.get(oid, 0)
        self._trail |= {Object(Class.OPERATOR_CLASS, oid), Object(Class.OPERATOR_FAMILY, family)}
        return _functions(self._families.get(family, frozenset()))

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
        if start.oid < FIRST_NORMAL_OBJECT_ID and start.kind in _MADE_OF_BUILTINS:
            return NOTHING
        known = self._known.get(start)
        if known is None:
            found, seen, todo = [], {start}, [start]
            depends: set[Object] = set()
            while todo:
                step = todo.pop()
                code, following = self._take(step, depends)
                found.append(code)
                new = set(following) - seen
                seen |= new
                todo += new
            known = self._known[start] = _Closed(merge(found), frozenset(depends) if depends else _NO_OBJECTS)
        self._trail |= known.depends
        return known.code

    def _take(self, step: _Step, depends: set[Object]) -> tuple[Code, Iterable[_Step]]:
        """What one object uses by itself, and the objects to go on with; what initdb made uses what initdb made."""
        kind, oid = step
        if oid < FIRST_NORMAL_OBJECT_ID and kind in _MADE_OF_BUILTINS:
            return NOTHING, ()
        if kind == "reading" or kind == "storing" or kind == Class.TYPE:
            depends.add(Object(Class.TYPE, oid))
            return self._take_type(step, depends)
        depends.add(Object(kind, oid))
        if kind == Class.PROC:
            return _functions(_user_made([oid]) | self.aggregates.get(oid, frozenset())), ()
        if kind == Class.OPERATOR:
            return _functions(_user_made(self.operators.get(oid, ()))), ()
        used = self._rows.edges.get(Object(kind, oid), ())
        following = [_Step(Class(other.catalog), other.oid) for other in used if other.catalog in _FOLLOWED]
        return self._references(Object(kind, oid), used), following

    def _references(self, user: Object, used: Iterable[Object]) -> Code:
        relations = {other.oid for other in used if other.catalog == Class.RELATION}
        opaque: frozenset[str] = frozenset()
        tree = self._rows.trees.get(user)
        if tree is not None:
            relations.update(tree["relations"])
            if user.oid >= FIRST_NORMAL_OBJECT_ID:
                opaque = frozenset(f"pg_catalog.{self._by_name[f]}" for f in tree["functions"] if f in self._by_name)
        return Code(frozenset(relations), frozenset(), opaque) if relations or opaque else NOTHING

    def _take_type(self, step: _Step, depends: set[Object]) -> tuple[Code, Iterable[_Step]]:
        row = self._types.get(step.oid)
        if row is None:
            return NOTHING, ()
        parts = [row.element, row.base, row.subtype]
        if row.relation:
            depends.add(Object(Class.RELATION, row.relation))
            parts += {column["type"] for column in self._rows.group("columns", row.relation)}
        following = [_Step(step.kind, part) for part in parts if part]
        if step.kind == "reading":
            return _functions(_user_made(row.outputs)), following
        if step.kind == "storing":
            following += [_Step(Class.CONSTRAINT, check["oid"]) for check in self._rows.group("domain_checks", row.oid)]
            own = self._references(Object(Class.TYPE, row.oid), ())
            used = self._rows.edges.get(Object(Class.TYPE, row.oid), ())
            following += [_Step(Class(other.catalog), other.oid) for other in used]
            return merge([own, _functions(_user_made(row.inputs))]), following
        families = self._type_families.get(row.oid, frozenset())
        depends |= {Object(Class.OPERATOR_FAMILY, family) for family in families}
        functions = self._casts.get(row.oid, frozenset()).union(
            *(self._families.get(family, frozenset()) for family in families)
        )
        return _functions(functions), [*following, _Step("reading", row.oid), _Step("storing", row.oid)]

    def _family_functions(self) -> dict[int, frozenset[int]]:
        found: dict[int, set[int]] = defaultdict(set)
        for (row,) in self._rows.rows["support_functions"].values():
            found[row["family"]] |= _user_made([row["function"]])
        for (row,) in self._rows.rows["family_operators"].values():
            found[row["family"]] |= _user_made(self.operators.get(row["operator"], ()))
        return {family: frozenset(functions) for family, functions in found.items()}


def _unlike(before: Mapping[_Key, _Value], after: Mapping[_Key, _Value]) -> set[_Key]:
    """The keys that have not the same value in both."""
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def _read_by_name(rows: SystemRows) -> dict[int, str]:
    return {
        oid: row["name"]
        for oid, (row,) in rows.rows["functions"].items()
        if oid < FIRST_NORMAL_OBJECT_ID and _BY_NAME.match(row["name"])
    }


def _families_of(rows: SystemRows) -> dict[int, int]:
    return {oid: row["family"] for oid, (row,) in rows.rows["operator_classes"].items()}


def _type_families(rows: SystemRows) -> dict[int, frozenset[int]]:
    found: dict[int, set[int]] = defaultdict(set)
    for (row,) in rows.rows["operator_classes"].values():
        found[row["type"]].add(row["family"])
    return {oid: frozenset(families) for oid, families in found.items()}


def _casts(rows: SystemRows) -> dict[int, frozenset[int]]:
    """The user-made functions that cast from or to each type."""
    found: dict[int, frozenset[int]] = defaultdict(frozenset)
    for (row,) in rows.rows["casts"].values():
        function = _user_made([row["function"]])
        found[row["source"]] |= function
        found[row["target"]] |= function
    return dict(found)


def _user_made(functions: Iterable[int | None]) -> frozenset[int]:
    return frozenset(oid for oid in functions if oid is not None and oid >= FIRST_NORMAL_OBJECT_ID)


def _functions(functions: frozenset[int]) -> Code:
    return Code(functions=functions) if functions else NOTHING


def _operators(rows: SystemRows) -> dict[int, frozenset[int]]:
    """The functions behind each operator. The planner may put a commutator or negator in an operator's place, so
    theirs count too (manual 36.15).
    """
    operators = rows.rows["operators"]
    own = {oid: frozenset(f for f in row["functions"] if f) for oid, (row,) in operators.items()}
    partners = {oid: [other for other in row["partners"] if other in own] for oid, (row,) in operators.items()}
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
