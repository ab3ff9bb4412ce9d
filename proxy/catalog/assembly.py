"""Builds a :class:`~proxy.catalog.model.Catalog` out of the rows of the system catalogs. Pure.

What did not change since the snapshot before is shared with it, down to the mappings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from proxy.catalog.columns import Columns
from proxy.catalog.model import FIRST_NORMAL_OBJECT_ID, Catalog, EventTrigger, Function, Operator, Type
from proxy.catalog.pace import unhurried
from proxy.catalog.reach import Class, Object
from proxy.catalog.relations import Relations
from proxy.catalog.rows import Changes, Row, SystemRows
from proxy.catalog.uses import Uses

_AUTOMATIC = ("i", "a")  # pg_cast.castcontext: implicit, assignment

_Named = TypeVar("_Named", Function, Operator, Type)
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class _ByName(Generic[_Named]):
    """Things by OID and by name. The mappings are never changed, but replaced by changed copies."""

    def __init__(self) -> None:
        self.all: dict[int, _Named] = {}
        self.named: dict[str, tuple[_Named, ...]] = {}

    def fork(self) -> _ByName[_Named]:
        """The same things, to be replaced by others from here on."""
        forked: _ByName[_Named] = _ByName()
        forked.all, forked.named = self.all, self.named
        return forked

    def replace(self, changes: Mapping[int, _Named | None]) -> None:
        """Takes over new things, and None for those that are gone. What is equal stays the same object."""
        real = {oid: thing for oid, thing in changes.items() if self.all.get(oid) != thing}
        if not real:
            return
        touched: dict[str, dict[int, _Named]] = {}
        for oid, thing in real.items():
            before = self.all.get(oid)
            for name in {one.name for one in (before, thing) if one is not None}:
                if name not in touched:
                    touched[name] = {one.oid: one for one in self.named.get(name, ())}
            if before is not None:
                touched[before.name].pop(oid, None)
            if thing is not None and thing.schema:
                touched[thing.name][oid] = thing
        self.all = _replaced(self.all, real)
        self.named = _replaced(
            self.named, {name: tuple(same[oid] for oid in sorted(same)) or None for name, same in touched.items()}
        )


class Assembly:
    """The catalog of one database, built anew where its rows changed."""

    def __init__(self, database: str, server_version: int, rows: SystemRows) -> None:
        self._database = database
        self._server_version = server_version
        self._rows = rows
        self._visible: dict[int, str] = {}
        self._schemas: frozenset[str] = frozenset()
        self._extensions: dict[Object, str] = {}
        self._columns = Columns(rows)
        self._uses = Uses(rows, self._columns.types)
        self._relations = Relations(rows, self._columns, self._uses, self._extensions)
        self._functions: _ByName[Function] = _ByName()
        self._operators: _ByName[Operator] = _ByName()
        self._types: _ByName[Type] = _ByName()
        self._type_depends: dict[int, frozenset[Object]] = {}
        self._implicit_casts: frozenset[int] = frozenset()
        self._builtin_casts: frozenset[int] = frozenset()
        self._event_triggers: tuple[EventTrigger, ...] = ()

    def fork(self, rows: SystemRows) -> Assembly:
        """The same catalog, to be built on with other changes to ``rows``, a fork of those of this assembly."""
        forked = Assembly(self._database, self._server_version, rows)
        forked._visible, forked._schemas = self._visible, self._schemas
        forked._extensions.update(self._extensions)
        forked._columns = self._columns.fork(rows)
        forked._uses = self._uses.fork(rows, forked._columns.types)
        forked._relations = self._relations.fork(rows, forked._columns, forked._uses, forked._extensions)
        forked._functions, forked._operators = self._functions.fork(), self._operators.fork()
        forked._types = self._types.fork()
        forked._type_depends = dict(self._type_depends)
        forked._implicit_casts, forked._builtin_casts = self._implicit_casts, self._builtin_casts
        forked._event_triggers = self._event_triggers
        return forked

    def catalog(self, changes: Changes, before: Catalog | None) -> Catalog:
        """The catalog with these changes in it, which were applied to the rows; ``before`` itself if they make none.

        Raises KeyError where the rows contradict each other; the assembly is then of no more use.
        """
        if self._follow_schemas(changes):
            changes = self._rows.of_users(changes)
        members = self._follow_extensions(changes)
        self._columns.follow(changes)
        changed = self._uses.follow(changes)
        self._relations.follow(changes, changed, members, self._visible)
        self._follow_functions(changes, members)
        self._follow_operators(changes, changed, members)
        self._follow_types(changed, members)
        if changes.keys("casts"):
            casts = [row for group in self._rows.rows["casts"].values() for row in group]
            self._implicit_casts = frozenset(row["function"] for row in casts if row["context"] in _AUTOMATIC)
            self._builtin_casts = frozenset(row["function"] for row in casts if _between_builtin_types(row))
        if changes.keys("event_triggers"):
            triggers = self._rows.rows["event_triggers"]
            self._event_triggers = tuple(_event_trigger(row) for _, group in sorted(triggers.items()) for row in group)
        catalog = self._snapshot(1 if before is None else before.generation)
        if catalog == before:
            return before
        return catalog if before is None else self._snapshot(before.generation + 1)

    def _snapshot(self, generation: int) -> Catalog:
        return Catalog(
            database=self._database,
            generation=generation,
            server_version=self._server_version,
            relations=self._relations.all,
            relation_names=self._relations.names,
            schemas=self._schemas,
            functions=self._functions.all,
            functions_named=self._functions.named,
            operators_named=self._operators.named,
            types_named=self._types.named,
            implicit_casts=self._implicit_casts,
            builtin_casts=self._builtin_casts,
            event_triggers=self._event_triggers,
        )

    def _follow_schemas(self, changes: Changes) -> bool:
        """Whether a schema that was known has another name now, so that what is in it has too."""
        keys = changes.keys("schemas")
        if not keys:
            return False
        before, rows = self._visible, self._rows.rows["schemas"]
        self._visible = {oid: row["name"] for oid, (row,) in rows.items() if not row["temporary"]}
        self._schemas = frozenset(self._visible.values())
        return any(before.get(oid, name) != name for oid, name in self._visible.items() if oid in keys)

    def _follow_extensions(self, changes: Changes) -> set[Object]:
        """The objects that belong to another extension than before."""
        if not changes.keys("extensions", "members"):
            return set()
        before = dict(self._extensions)
        self._extensions.clear()
        for extension, group in self._rows.rows["members"].items():
            row = self._rows.row("extensions", extension)
            if row is not None:
                self._extensions.update((Object(member["class"], member["oid"]), row["name"]) for member in group)
        return {one for one in before.keys() | self._extensions.keys() if before.get(one) != self._extensions.get(one)}

    def _follow_functions(self, changes: Changes, members: set[Object]) -> None:
        changed = changes.keys("functions", "aggregates") | _of(Class.PROC, members)
        self._functions.replace({oid: self._function(oid) for oid in unhurried(changed)})

    def _function(self, oid: int) -> Function | None:
        row = self._rows.row("functions", oid)
        if row is None:
            return None
        return Function(
            oid=oid,
            schema=self._visible.get(row["schema"], ""),
            name=row["name"],
            kind=row["kind"],
            min_args=row["min_args"],
            max_args=row["max_args"],
            extension=self._extensions.get(Object(Class.PROC, oid)),
            version=row["version"],
            input_types=tuple(row["input_types"]),
            calls=self._uses.aggregates.get(oid, frozenset()),
            internal=row["internal"],
            compiled=row["compiled"],
        )

    def _follow_operators(self, changes: Changes, changed: set[Object], members: set[Object]) -> None:
        oids = changes.keys("operators") | _of(Class.OPERATOR, changed) | _of(Class.OPERATOR, members)
        self._operators.replace({oid: self._operator(oid) for oid in unhurried(oids)})

    def _operator(self, oid: int) -> Operator | None:
        row = self._rows.row("operators", oid)
        if row is None or row["schema"] not in self._visible:
            return None
        return Operator(
            oid=oid,
            schema=self._visible[row["schema"]],
            name=row["name"],
            functions=self._uses.operators[oid],
            extension=self._extensions.get(Object(Class.OPERATOR, oid)),
        )

    def _follow_types(self, changed: set[Object], members: set[Object]) -> None:
        oids = _of(Class.TYPE, changed) | _of(Class.TYPE, members)
        oids |= {oid for oid, depends in self._type_depends.items() if not depends.isdisjoint(changed)}
        users = (oid for oid in oids if oid >= FIRST_NORMAL_OBJECT_ID)
        self._types.replace({oid: self._type(oid) for oid in unhurried(users)})

    def _type(self, oid: int) -> Type | None:
        row = self._columns.types.get(oid)
        if row is None or row.schema not in self._schemas:
            self._type_depends.pop(oid, None)
            return None
        with self._uses.trail() as trail:
            functions = self._uses.type(oid).functions
        self._type_depends[oid] = frozenset(trail)
        return Type(
            oid=oid,
            schema=row.schema,
            name=row.name,
            kind=row.kind,
            functions=functions,
            relation=row.relation,
            extension=self._extensions.get(Object(Class.TYPE, oid)),
        )


def _replaced(before: dict[_Key, _Value], changes: Mapping[_Key, _Value | None]) -> dict[_Key, _Value]:
    """A copy with these changes; None takes away."""
    after = dict(before)
    for key, value in changes.items():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = value
    return after


def _event_trigger(row: Row) -> EventTrigger:
    tags = frozenset(filter(None, (row["tags"] or "").split(",")))
    return EventTrigger(row["name"], row["event"], tags, row["function"], row["announces"])


def _of(catalog: Class, objects: Iterable[Object]) -> set[int]:
    return {one.oid for one in objects if one.catalog == catalog}


def _between_builtin_types(cast: Row) -> bool:
    return bool(max(cast["source"], cast["target"]) < FIRST_NORMAL_OBJECT_ID)
