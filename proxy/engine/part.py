"""One data-modifying part of a statement, with all that judging it needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.catalog.model import Catalog, Relation
from proxy.engine.base_table import base_of
from proxy.engine.classification import family, related
from proxy.engine.conditions import RowConditions
from proxy.engine.grounds import Grounds
from proxy.engine.managed import Managed, deciding
from proxy.engine.resolve import Resolved
from proxy.engine.secured import Viewer
from proxy.engine.session_state import SessionState
from proxy.errors import Refusal
from proxy.policy.model import SubjectKind, TablePolicy, Use
from proxy.sql.clauses import Clauses
from proxy.sql.facts import Facts
from proxy.sql.flows import Flows
from proxy.sql.quote import identifier
from proxy.sql.splice import Change
from proxy.sql.writing import Assignment, Modification
from proxy.verdict import ColumnUse, DeferredCheck


@dataclass(slots=True)
class Found:
    """What the modifications of one statement come to."""

    changes: list[Change] = field(default_factory=list)
    within: list[Change] = field(default_factory=list)
    """As ``changes``, to be run within a transaction block."""
    uses: dict[str, ColumnUse] = field(default_factory=dict)
    subjects: set[tuple[str, str, int]] = field(default_factory=set)
    refusals: list[Refusal] = field(default_factory=list)
    deferred: list[DeferredCheck] = field(default_factory=list)
    checked: bool = False
    checked_within: bool = False
    differs: bool = False
    """Something else is done within a transaction block."""
    awaits: bool = False
    """Some check waits for rows that the statement itself makes."""
    raw: set[tuple[int, int]] = field(default_factory=set)

    def add(self, edits: list[Change], check: list[Change], within: list[Change] | None, *, shows: bool) -> None:
        """The edits of one modification, with its check, and that within a block where it is another. ``shows``: what
        it returns is the statement's own result.
        """
        self.changes += [*edits, *check]
        self.within += [*edits, *(check if within is None else within)]
        self.checked |= shows and bool(check)
        self.checked_within |= shows and bool(check if within is None else within)
        self.differs |= within is not None


class Part:
    """One modification. ``first``: the number of the first check of its statement in the text."""

    def __init__(
        self,
        facts: Facts,
        modification: Modification,
        resolved: Resolved,
        state: SessionState,
        purpose: str | None,
        grounds: Grounds,
        flows: Flows,
        found: Found,
        first: int,
    ) -> None:
        self.facts, self.modification, self.resolved, self.state = facts, modification, resolved, state
        self.purpose, self.grounds, self.flows, self.found, self.first = purpose, grounds, flows, found, first
        self.relation: Relation = resolved.named[id(modification.target.node)]
        self.catalog: Catalog = state.context.catalog
        self.classification = grounds.protected.classified.get(self.relation.oid, {})
        self.base_table = base_of(self.relation, self.catalog)
        self.managed = self._managed()
        self.unchanged: set[str] = set()
        """Managed columns that are set to what they are."""

    @property
    def full_name(self) -> str:
        """The target's, for people."""
        return f"{self.relation.schema}.{self.relation.name}"

    @property
    def clauses(self) -> Clauses:
        """Where its clauses stand in the text."""
        return Clauses(self.facts.tokens, self.modification)

    @property
    def explained(self) -> bool:
        """It is EXPLAINed, not run."""
        return self.facts.statement.kind == "ExplainStmt"

    def viewer(self, use: Use) -> Viewer:
        """Who asks what may be done with a column."""
        return Viewer(
            self.state.policy, self.state.context.role, self.purpose, self.state.subject, self.grounds.now, use
        )

    def _managed(self) -> Managed:
        """What only managing roles write, by the names that the target has for it."""
        if self.base_table is None:
            return Managed()
        own = self.grounds.protected.managed.get(self.base_table.relation.oid, Managed())
        columns = {name: own.columns[inner] for name, inner in self.base_table.columns.items() if inner in own.columns}
        return Managed(own.rows, columns)

    @property
    def table(self) -> Relation:
        """The table whose rows change."""
        return self.relation if self.base_table is None else self.base_table.relation

    def shown(self, column: str) -> str | None:
        """What the target calls a column of the table whose rows change; None where it does not show it."""
        columns = {} if self.base_table is None else self.base_table.columns
        return next((name for name, inner in columns.items() if inner == column), None)

    def deciding(self) -> frozenset[str]:
        """The target's columns on which the conditions of its rows may depend."""
        inner = deciding(self.state.policy, self.table, self.catalog)
        shown = {} if self.base_table is None else self.base_table.columns
        return frozenset(name for name, column in shown.items() if column in inner)

    def assigned(self) -> dict[str, list[tuple[str, Assignment]]]:
        """Each column that is set, with what sets it and in which event."""
        found: dict[str, list[tuple[str, Assignment]]] = {}
        columns = self.relation.columns
        for action in self.modification.actions:
            for one in action.assignments:
                if one.column is not None:
                    names = [one.column]
                elif 0 <= one.position < len(columns):
                    names = [columns[one.position].name]
                else:
                    names = [column.name for column in columns]
                for name in names:
                    found.setdefault(name, []).append((action.event, one))
        return found

    def number(self, refusal: Refusal) -> int:
        """Of a new check that means ``refusal``."""
        self.found.refusals.append(refusal)
        return self.first + len(self.found.refusals) - 1

    @property
    def base(self) -> str:
        """What the target's row is called, as SQL."""
        return identifier(self.modification.target.visible_name)

    def conditions(self) -> RowConditions:
        """Conditions of the target's row."""
        return RowConditions(
            self.state.policy, self.catalog, self.relation, self.state.subject, inline=True, base=self.base
        )

    def entries(self) -> list[TablePolicy]:
        """What the policy says of the target, or of a table that it is a part of."""
        found = [one.rows for source in self.classification.values() for one in source.all]
        for entry in self.state.policy.tables.values():
            named = self.catalog.relation(*entry.name)
            if named is not None and self.relation.oid in {one.oid for one in family(self.catalog, named.oid)}:
                found.append(entry)
        return found

    def table_entries(self) -> list[TablePolicy]:
        """What the policy says of the table whose rows change, of one that it is a part of, or of a part of it."""
        found = []
        for entry in self.state.policy.tables.values():
            named = self.catalog.relation(*entry.name)
            if named is not None and self.table.oid in {one.oid for one in related(self.catalog, named.oid)}:
                found.append(entry)
        return found

    def registered_kinds(self) -> list[SubjectKind]:
        """The kinds whose registry the target is."""
        found = []
        for kind in self.state.policy.subjects.values():
            registry = self.catalog.relation(*kind.table)
            members = set() if registry is None else {one.oid for one in family(self.catalog, registry.oid)}
            if kind.consent is not None and self.table.oid in members:
                found.append(kind)
        return found
