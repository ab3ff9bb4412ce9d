"""Foreign keys that lead from what a statement changes to what the session does not see, or may not change.

Whether a row can be deleted or renamed tells whether a stored value refers to it, and what a key does to the rows that
refer to it (ON DELETE, ON UPDATE) can be seen of these: over any number of tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from proxy.catalog.model import Access, Catalog, Reach, ReferencedBy, Relation
from proxy.engine.base_table import base_of
from proxy.engine.classification import family
from proxy.engine.compared import Compared, beside, called, may_fail
from proxy.engine.grounds import Grounds
from proxy.engine.managed import Managed
from proxy.engine.protected import Protected
from proxy.engine.refusals import unsupported
from proxy.engine.secured import Viewer, look, unrestricted
from proxy.engine.session_state import SessionState
from proxy.engine.write_refusals import comparing_refused, evaluating_refused, managing_refused
from proxy.sql.facts import Facts

_CASCADE, _SET_DEFAULT = "c", "d"
_CHANGES_ROWS: Final = "cnd"
"""What a foreign key may do (pg_constraint): CASCADE, SET NULL, SET DEFAULT."""


@dataclass(frozen=True, slots=True)
class _Change:
    """Rows of ``table`` are deleted, or updated in ``columns`` (None for any). ``subject``: a deletion that began with
    the rows of this table."""

    table: Relation
    deletes: bool
    columns: frozenset[str] | None = None
    subject: Relation | None = None

    def follows(self, key: ReferencedBy) -> bool:
        """It may change what the key refers to."""
        return self.deletes or self.columns is None or bool(self.columns & set(key.referenced))


def check_references(
    facts: Facts,
    relation: Relation,
    columns: frozenset[str] | None,
    done: set[Access],
    state: SessionState,
    grounds: Grounds,
) -> None:
    """Raises Refused where rows of ``relation`` are changed (``done``) to which hidden values may refer (0A000), or
    where that goes on to what only managing roles change (42501). ``columns``: what is set, None for any."""
    _References(facts, relation, state, grounds).check(columns, done)


@dataclass(frozen=True, slots=True)
class _References:
    facts: Facts
    relation: Relation
    state: SessionState
    grounds: Grounds

    @property
    def protected(self) -> Protected:
        return self.grounds.protected

    @property
    def catalog(self) -> Catalog:
        return self.state.context.catalog

    @property
    def _viewer(self) -> Viewer:
        purpose = self.state.purpose(self.facts.purpose)
        return Viewer(self.state.policy, self.state.context.role, purpose, self.state.subject, self.grounds.now)

    def check(self, columns: frozenset[str] | None, done: set[Access]) -> None:
        pending = list(self._first(columns, done))
        first = {one.table.oid for one in pending}
        known: set[tuple[int, bool, frozenset[str] | None]] = set()
        while pending:
            change = pending.pop()
            for table in family(self.catalog, change.table.oid):
                here = replace(change, table=table)
                if (table.oid, here.deletes, here.columns) in known:
                    continue
                known.add((table.oid, here.deletes, here.columns))
                if table.oid not in first:
                    self._check_rows(here)
                    self._check_evaluated(here)
                for key in filter(here.follows, table.referenced_by):
                    self._check_key(key, here)
                    pending += self._further(key, here)

    def _lacking(self, kinds: set[str]) -> set[str]:
        role = self.state.role
        return kinds - (frozenset() if role is None else role.manages)

    def _managed(self, oid: int) -> Managed:
        return self.protected.managed.get(oid, Managed())

    def _first(self, columns: frozenset[str] | None, done: set[Access]) -> Iterator[_Change]:
        """What the statement does itself: to the table behind a view, or to all that one reaches which is not told."""
        base = base_of(self.relation, self.catalog)
        for access in (Access.DELETE, Access.UPDATE):
            if access not in done:
                continue
            deletes = access is Access.DELETE
            if base is None:
                reached = self.relation.reach.get(access, Reach()).relations
                tables = [self.catalog.relations[oid] for oid in reached if oid in self.catalog.relations]
                yield from (_Change(table, deletes=either) for table in tables for either in (deletes, False))
                continue
            set_ = None if columns is None else frozenset(base.columns[one] for one in columns if one in base.columns)
            if set_ is not None:
                # Whoever does not manage these can only set them to what they are.
                managed = self._managed(base.relation.oid).columns
                set_ -= {one for one, kinds in managed.items() if self._lacking(kinds)}
            yield _Change(base.relation, deletes, None if deletes else set_, base.relation if deletes else None)

    def _check_rows(self, change: _Change) -> None:
        """Consent goes with its subject alone, and is changed by nothing else."""
        kinds = self._lacking(self._managed(change.table.oid).rows)
        if change.subject is not None:
            registry = (change.subject.schema, change.subject.name)
            kinds = {one for one in kinds if self.state.policy.subjects[one].table != registry}
        if kinds:
            raise managing_refused(change.table, (), kinds, self.state)

    def _check_evaluated(self, change: _Change) -> None:
        """What PostgreSQL evaluates over rows that a key changes, and compares them by, tells of nothing hidden."""
        classification = self.protected.classified.get(change.table.oid)
        if change.deletes or change.columns is None or not classification:
            return
        decisions = look(self._viewer, change.table, classification).decisions
        hidden = {name for name, one in decisions.items() if not unrestricted(one)}
        evaluations = change.table.evaluations
        for one, _, found in beside(change.table, evaluations, hidden, change.columns):
            if may_fail(one):
                purpose = self.state.purpose(self.facts.purpose)
                raise evaluating_refused(
                    change.table, [called(one)], sorted(found), purpose, self.state, tag=self.facts.tag
                )
        compared = Compared(change.table, self._viewer, self.catalog, self.protected)
        telling = compared.telling("update", change.columns)
        if telling:
            purpose = self.state.purpose(self.facts.purpose)
            raise comparing_refused(change.table, telling, self.facts.tag, purpose, self.state)

    def _check_key(self, key: ReferencedBy, change: _Change) -> None:
        if not self._shown(key):
            raise unsupported(
                f"{self.facts.tag} of {self.relation.schema}.{self.relation.name}: a classified column refers to it",
                detail="Whether it succeeds would tell whether a hidden value refers to the row.",
                way_out="Declare a purpose under which all of that column may be seen.",
            )
        action = key.on_delete if change.deletes else key.on_update
        if not (action == _SET_DEFAULT or (action == _CASCADE and not change.deletes)):
            return  # what is set to NULL is nobody's, and grants nothing
        for column in key.columns:
            kinds = self._lacking(self._managed(key.relation).columns.get(column, set()))
            if kinds:
                raise managing_refused(self.catalog.relations[key.relation], (column,), kinds, self.state)

    def _shown(self, key: ReferencedBy) -> bool:
        """The session sees in every row what refers to the table by ``key``, wherever that inherits it."""
        return all(
            look(self._viewer, table, self.protected.classified[table.oid]).shows(frozenset(key.columns))
            for table in family(self.catalog, key.relation)
            if self.protected.classified.get(table.oid, {}).keys() & set(key.columns)
        )

    def _further(self, key: ReferencedBy, change: _Change) -> Iterator[_Change]:
        """What the key does to the rows that refer to what is changed."""
        action = key.on_delete if change.deletes else key.on_update
        referring = self.catalog.relations.get(key.relation)
        if referring is not None and action in _CHANGES_ROWS:
            deletes = change.deletes and action == _CASCADE
            yield replace(change, table=referring, deletes=deletes, columns=None if deletes else frozenset(key.columns))
