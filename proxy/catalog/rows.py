"""The rows of one database's system catalogs, kept from one reading to the next, and what a reading brings. Pure.

Rows stand under the name of their source in ``queries`` and the OID of the object that they belong to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from proxy.catalog.model import FIRST_NORMAL_OBJECT_ID
from proxy.catalog.queries import SOURCES, Source
from proxy.catalog.reach import Class, Object

Row = Mapping[str, Any]
Group = Sequence[Row]
"""The rows of one source that belong to one object."""

Versions = tuple[int, int]
"""How many row versions an object has, and a number that tells whether they are the same ones."""


class State(NamedTuple):
    """How many rows a source has, and how many of them initdb made."""

    rows: int
    builtin: int


_RELATION_NAMES = ("relations", "columns")
_TYPE_NAMES = ("types", "enums")
_NAMES_OF_ANYTHING = ("schemas", "operators", "collations")
_WITH_COLUMNS = frozenset("rpvmfcS")


@dataclass(slots=True)
class Changes:
    """What one reading brings. ``rows``: the new rows of each object that has others than before, empty for one that
    is gone. ``afresh``: nothing that was known before counts. ``recent``: the objects with rows made since the horizon
    of the reading before; ``young``: those with rows made since ``horizon``, that of this one.
    """

    horizon: str
    states: dict[str, State]
    afresh: bool = False
    rows: dict[str, dict[int, Group]] = field(default_factory=dict)
    recent: dict[str, dict[int, Versions]] = field(default_factory=dict)
    young: dict[str, dict[int, Versions]] = field(default_factory=dict)
    edges: dict[Object, list[Object]] = field(default_factory=dict)
    trees: dict[Object, Row] = field(default_factory=dict)
    definitions: dict[int, str] = field(default_factory=dict)
    unread: set[int] = field(default_factory=set)
    """Views whose text could not be read."""
    modifiers: dict[tuple[int, int], str] = field(default_factory=dict)

    def keys(self, *sources: str) -> set[int]:
        """The objects of these sources that changed."""
        found: set[int] = set()
        for source in sources:
            found |= self.rows.get(source, {}).keys()
        return found

    def code(self) -> list[Object]:
        """The objects whose stored expressions may have changed."""
        return [
            Object(source.code, row["oid"])
            for source in SOURCES.values()
            if source.code is not None
            for key, group in self.rows.get(source.name, {}).items()
            for row in group
            if source.code is not Class.TYPE or (key >= FIRST_NORMAL_OBJECT_ID and _has_expressions(row))
        ]


def _has_expressions(row: Row) -> bool:
    return not row["relation"] and not row["is_array"]


@dataclass(slots=True)
class SystemRows:
    """All rows as of one moment. ``horizon``: the oldest transaction that was running then."""

    horizon: str = ""
    states: dict[str, State] = field(default_factory=dict)
    recent: dict[str, dict[int, Versions]] = field(default_factory=dict)
    """The objects with rows made since the horizon."""
    rows: dict[str, dict[int, Group]] = field(default_factory=lambda: {name: {} for name in SOURCES})
    edges: dict[Object, list[Object]] = field(default_factory=dict)
    trees: dict[Object, Row] = field(default_factory=dict)
    definitions: dict[int, str] = field(default_factory=dict)
    unread: set[int] = field(default_factory=set)
    modifiers: dict[tuple[int, int], str] = field(default_factory=dict)
    _reads: dict[int, frozenset[Object]] = field(default_factory=dict)
    """What the text of each view names."""

    def fork(self) -> SystemRows:
        """The same rows, to take other changes from here on."""
        forked = SystemRows(self.horizon, dict(self.states), {name: dict(one) for name, one in self.recent.items()})
        forked.rows = {name: dict(groups) for name, groups in self.rows.items()}
        forked.edges, forked.trees = dict(self.edges), dict(self.trees)
        forked.definitions, forked.unread = dict(self.definitions), set(self.unread)
        forked.modifiers, forked._reads = dict(self.modifiers), dict(self._reads)
        return forked

    def group(self, source: str, key: int) -> Group:
        """The rows of one object; none where it is not there."""
        return self.rows[source].get(key, ())

    def row(self, source: str, key: int) -> Row | None:
        """The only row of one object, or None."""
        group = self.rows[source].get(key)
        return group[0] if group else None

    def confirmed(self, changes: Changes) -> bool:
        """Nothing changed."""
        return changes.states == self.states and changes.recent == self.recent

    def overthrown(self, changes: Changes) -> bool:
        """What initdb made changed."""
        return any(
            changes.states[source.name].builtin != self.states[source.name].builtin
            or any(_builtin(key) for key in self.differing(source.name, changes))
            for source in SOURCES.values()
            if source.split
        )

    def differing(self, source: str, changes: Changes) -> set[int]:
        """The objects of which recent rows came or went."""
        return {key for key, _ in self.recent.get(source, {}).items() ^ changes.recent[source].items()}

    def take_away(self, source: Source, changes: Changes) -> None:
        """What goes with the relations that are gone: what belongs to them, and their row types with the arrays."""
        gone = {key for key, group in changes.rows.get("relations", {}).items() if not group}
        if not gone:
            return
        rows, lost = self.rows[source.name], set[int]()
        if source.of_relations:
            lost.update(gone)
        elif source.name == "types" and not self.balanced(source, changes):
            types = {key for key, (row,) in rows.items() if row["relation"] in gone}
            lost = types | {key for key, (row,) in rows.items() if row["element"] in types}
        changed = changes.rows.get(source.name, {})
        if lost := {key for key in lost if key in rows and key not in changed}:
            changes.rows[source.name] = changed | dict.fromkeys(lost, ())

    def balanced(self, source: Source, changes: Changes) -> bool:
        """The changes found so far account for the number of rows that there are now, so no older row is gone."""
        known = self.rows[source.name]
        gained = sum(len(group) - len(known.get(key, ())) for key, group in changes.rows.get(source.name, {}).items())
        return self.states[source.name].rows + gained == changes.states[source.name].rows

    def miscounted(self, source: Source, changes: Changes, counts: Mapping[int, int]) -> set[int]:
        """The objects made by users that have not as many rows as is known or was found so far."""
        now = self.rows[source.name] | changes.rows.get(source.name, {})
        users = {key: len(group) for key, group in now.items() if group and not (source.split and _builtin(key))}
        return {key for key, _ in users.items() ^ counts.items()}

    def really_changed(self, source: Source, key: int, group: Group) -> bool:
        """The rows are others than before. Of stored expressions only the version can tell."""
        if source.code is not None:
            return True
        before = self.rows[source.name].get(key, ())
        return len(before) != len(group) or any(dict(old) != dict(new) for old, new in zip(before, group, strict=True))

    def outdated_definitions(self, changes: Changes) -> list[int]:
        """The views whose text may be another than before: theirs changed, or what it names."""
        kinds, known = self.rows["relations"] | changes.rows.get("relations", {}), self.definitions
        if any(self.rows[name].keys() & changes.keys(name) for name in _NAMES_OF_ANYTHING):
            outdated = set(known)
        else:
            named = {Object(Class.RELATION, oid) for oid in changes.keys(*_RELATION_NAMES)}
            named |= {Object(Class.TYPE, oid) for oid in changes.keys(*_TYPE_NAMES)}
            named |= {Object(Class.PROC, oid) for oid in changes.keys("functions")}
            outdated = {view for view in known if not named.isdisjoint(self._reads[view])}
        outdated |= changes.keys("rules") | self.unread
        return [oid for oid in outdated if oid >= FIRST_NORMAL_OBJECT_ID and kinds.get(oid) and _is_view(kinds[oid])]

    def missing_modifiers(self, changes: Changes) -> list[tuple[int, int]]:
        """The modifiers of types that extensions bring which have to be spelled: type and number."""
        types = self.rows["types"] | changes.rows.get("types", {})
        pairs = [(row["type"], row["typmod"]) for group in changes.rows.get("columns", {}).values() for row in group]
        pairs += [(row["base"], row["typmod"]) for group in changes.rows.get("types", {}).values() for row in group]
        wanted = {pair for pair in pairs if pair[0] and pair[1] >= 0}
        wanted |= {(types[oid][0]["element"], typmod) for oid, typmod in wanted if types.get(oid)}
        if changes.rows.get("functions"):
            return [pair for pair in wanted | self.modifiers.keys() if pair[0] >= FIRST_NORMAL_OBJECT_ID]
        return [pair for pair in wanted - self.modifiers.keys() if pair[0] >= FIRST_NORMAL_OBJECT_ID]

    def missing_types(self, changes: Changes) -> list[int]:
        """Types that are used and were not read."""
        known = self.rows["types"].keys() | changes.keys("types")
        used = {row["type"] for group in changes.rows.get("columns", {}).values() for row in group}
        for group in changes.rows.get("types", {}).values():
            used |= {oid for row in group for oid in (row["base"], row["element"]) if oid}
        return list(used - known)

    def owners(self, source: Source, changes: Changes, keys: Iterable[int]) -> list[int]:
        """Those of ``keys`` whose rows are wanted: relations that are no other session's temporary ones."""
        if not source.of_relations:
            return list(keys)
        relations = self.rows["relations"]
        changed = changes.rows.get("relations", {})
        kinds = _WITH_COLUMNS if source.name == "columns" else None
        found = []
        for key in keys:
            group = changed.get(key, relations.get(key))
            if group and (kinds is None or group[0]["kind"] in kinds):
                found.append(key)
        return found

    def of_users(self, changes: Changes) -> Changes:
        """These changes as if everything that users made had changed with them."""
        rows = {
            name: {key: group for key, group in groups.items() if key >= FIRST_NORMAL_OBJECT_ID}
            | changes.rows.get(name, {})
            for name, groups in self.rows.items()
        }
        return replace(changes, rows=rows)

    def apply(self, changes: Changes) -> None:
        """Takes over what a reading brought."""
        self._forget_code(changes)
        self.horizon = changes.horizon
        self.states = changes.states
        self.recent = changes.young
        for name, groups in changes.rows.items():
            rows = self.rows[name]
            for key, group in groups.items():
                if group:
                    rows[key] = group
                else:
                    rows.pop(key, None)
        self.edges |= changes.edges
        self.trees |= changes.trees
        self.modifiers |= changes.modifiers
        self.unread = changes.unread
        for view in [view for view in self.definitions if view not in self.rows["relations"] or view in self.unread]:
            del self.definitions[view], self._reads[view]
        self.definitions |= changes.definitions
        for view in changes.definitions.keys() | (changes.keys("rules") & self.definitions.keys()):
            self._reads[view] = self._named_by(view)

    def _forget_code(self, changes: Changes) -> None:
        for source in SOURCES.values():
            if source.code is not None:
                for key in changes.rows.get(source.name, {}):
                    for row in self.rows[source.name].get(key, ()):
                        self.edges.pop(Object(source.code, row["oid"]), None)
                        self.trees.pop(Object(source.code, row["oid"]), None)

    def _named_by(self, view: int) -> frozenset[Object]:
        found: set[Object] = set()
        for rule in self.group("rules", view):
            user = Object(Class.RULE, rule["oid"])
            found.update(self.edges.get(user, ()))
            tree = self.trees.get(user)
            if tree is not None:
                found |= {Object(Class.RELATION, oid) for oid in tree["relations"]}
        return frozenset(found)


def _builtin(key: int) -> bool:
    return key < FIRST_NORMAL_OBJECT_ID


def _is_view(group: Group) -> bool:
    return bool(group[0]["kind"] == "v")
