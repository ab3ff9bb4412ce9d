"""The relations of one database, built anew where something that they rest on changed. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.catalog import columns as of_columns
from proxy.catalog.attachments import Links, table
from proxy.catalog.columns import Columns
from proxy.catalog.model import TEMPORARY, Access, Column, Reach, ReferencedBy, Relation
from proxy.catalog.pace import unhurried
from proxy.catalog.queries import SOURCES
from proxy.catalog.reach import Class, ForeignKey, Object, Reaches, Table
from proxy.catalog.rows import Changes, SystemRows
from proxy.catalog.uses import Uses

_OWN = ("relations", *(source.name for source in SOURCES.values() if source.of_relations))
_NO_OBJECTS: frozenset[Object] = frozenset()


class Relations:
    """``all`` and ``names`` are never changed, but replaced by changed copies."""

    def __init__(self, rows: SystemRows, columns: Columns, uses: Uses, extensions: Mapping[Object, str]) -> None:
        self._rows = rows
        self._columns = columns
        self._uses = uses
        self._extensions = extensions
        self._links = Links()
        self._tables: dict[int, Table] = {}
        self._depends: dict[int, frozenset[Object]] = {}
        self._reaching: dict[int, frozenset[int]] = {}
        """What each relation reaches by any access, but for those that reach nothing."""
        self.all: dict[int, Relation] = {}
        self.names: dict[tuple[str, str], int] = {}

    def fork(self, rows: SystemRows, columns: Columns, uses: Uses, extensions: Mapping[Object, str]) -> Relations:
        """The same relations, to follow other changes from here on."""
        forked = Relations(rows, columns, uses, extensions)
        forked._links = self._links.fork()
        forked._tables = dict(self._tables)
        forked._depends = dict(self._depends)
        forked._reaching = dict(self._reaching)
        forked.all, forked.names = self.all, self.names
        return forked

    def follow(self, changes: Changes, changed: set[Object], members: set[Object], visible: Mapping[int, str]) -> None:
        """Takes notice of new rows. ``changed``: what may use something else now; ``members``: the objects that belong
        to another extension; ``visible``: the schemas by OID.

        Raises KeyError where the rows contradict each other.
        """
        dirty = (
            changes.keys(*_OWN) | self._links.follow(changes, self._rows) | changes.definitions.keys() | changes.unread
        )
        dirty |= {one.oid for one in members if one.catalog == Class.RELATION}
        dirty |= {oid for oid, depends in self._depends.items() if not depends.isdisjoint(changed)}
        dirty |= {oid for referencing in changes.keys("columns") for oid in self._links.referenced_by(referencing)}
        columns: dict[int, tuple[Column, ...]] = {}
        tables: set[int] = set()
        for oid in unhurried(dirty):
            found = self._rows.row("relations", oid)
            name = f"{visible[found['schema']]}.{found['name']}" if found is not None else ""
            with self._uses.trail() as trail:
                columns[oid] = self._columns.of(oid, trail)
                new = table(oid, name, self._rows, self._links, self._uses)
            tables |= self._hang(oid, new)
            if found is None:
                self._depends.pop(oid, None)
            elif trail or oid in self._depends:
                self._depends[oid] = frozenset(trail)
        self._build(columns, tables, visible)

    def _hang(self, oid: int, new: Table | None) -> set[int]:
        """Puts a table in its place. The tables from which something else can be reached now."""
        before = self._tables.get(oid)
        if new == before:
            return set()
        if new is None:
            del self._tables[oid]
        else:
            self._tables[oid] = new
        if before is None or new is None or (before.routing, before.parents) == (new.routing, new.parents):
            return {oid}
        return {oid, *self._descendants(oid)}

    def _descendants(self, oid: int) -> set[int]:
        found: set[int] = set()
        todo = self._links.children(oid)
        while todo:
            child = todo.pop()
            if child not in found:
                found.add(child)
                todo += self._links.children(child)
        return found

    def _build(self, columns: Mapping[int, tuple[Column, ...]], tables: set[int], visible: Mapping[int, str]) -> None:
        reaches = Reaches(self._tables)
        further = {oid for oid, reached in self._reaching.items() if not reached.isdisjoint(tables)} | tables
        built: dict[int, Relation | None] = {}
        for oid in unhurried(columns.keys() | further):
            before = self.all.get(oid)
            own = columns.get(oid, () if before is None else before.columns)
            if before is not None and oid not in further:
                relation = self._relation(oid, own, before.reach, before.sources, visible)
            else:
                relation = self._relation(oid, own, reaches.of(oid), reaches.sources(oid), visible)
            if relation != before:
                built[oid] = relation
                self._reaching.pop(oid, None)
                if relation is not None and (reached := _reached(relation)):
                    self._reaching[oid] = reached
        self._replace(built)

    def _relation(
        self,
        oid: int,
        columns: tuple[Column, ...],
        reach: Mapping[Access, Reach],
        sources: frozenset[int],
        visible: Mapping[int, str],
    ) -> Relation | None:
        row = self._rows.row("relations", oid)
        if row is None:
            return None
        hung = self._tables.get(oid)
        return Relation(
            oid=oid,
            schema=visible[row["schema"]],
            name=row["name"],
            kind=row["kind"],
            columns=columns,
            parents=tuple(hung.parents) if hung else (),
            children=tuple(hung.children) if hung else (),
            partition_key=of_columns.partition_key(self._rows, oid),
            row_security=row["row_security"],
            temporary=visible[row["schema"]] == TEMPORARY,
            extension=self._extensions.get(Object(Class.RELATION, oid)),
            unique_keys=of_columns.keys(self._rows, oid),
            indexed=of_columns.indexed(self._rows, oid),
            reach=reach,
            sources=sources,
            referenced_by=tuple(self._reference(key, oid) for key in hung.referenced_by) if hung else (),
            evaluations=of_columns.evaluations(self._rows, oid),
            policies=of_columns.policies(self._rows, oid) if row["row_security"] else (),
            common_values=of_columns.common_values(self._rows, oid),
            analyzed=of_columns.analyzed(self._rows, oid),
            definition=self._rows.definitions.get(oid, ""),
        )

    def _reference(self, key: ForeignKey, referenced: int) -> ReferencedBy:
        own = of_columns.names(self._rows, key.referencing, key.columns)
        theirs = of_columns.names(self._rows, referenced, key.referenced)
        return ReferencedBy(key.referencing, own, theirs, key.holds, key.on_update, key.on_delete)

    def _replace(self, built: Mapping[int, Relation | None]) -> None:
        if not built:
            return
        relations = dict(self.all)
        for oid, relation in built.items():
            if relation is None:
                relations.pop(oid, None)
            else:
                relations[oid] = relation
        gone = [_name(self.all[oid]) for oid in built if oid in self.all]
        came = {_name(relation): oid for oid, relation in built.items() if relation is not None}
        self.all = relations
        if len(gone) != len(came) or any(self.names.get(name) != oid for name, oid in came.items()):
            names = dict(self.names)
            for name in gone:
                names.pop(name, None)
            self.names = names | came


def _name(relation: Relation) -> tuple[str, str]:
    return relation.schema, relation.name


def _reached(relation: Relation) -> frozenset[int]:
    """The relations that any access reaches. Where a table changed that is one of them, the reach may be another."""
    reaches = [relation.sources, *(reach.relations for reach in relation.reach.values())]
    widest = max(reaches, key=len)
    return widest if all(reach <= widest for reach in reaches) else widest.union(*reaches)
