"""Columns that only managing roles change, and rows that move from one subject to another."""

from __future__ import annotations

from dataclasses import dataclass, replace

from proxy.engine.part import Part
from proxy.engine.refusals import PolicyRefused, unsupported
from proxy.engine.row_checks import Check, Written, failing_as, unmodified, written_use
from proxy.engine.secured import look, unrestricted
from proxy.engine.write_refusals import managing_refused, writing_refused
from proxy.policy.decision import decide
from proxy.policy.model import Outcome, RetentionCondition, Use
from proxy.sql.proof import HOLE
from proxy.sql.quote import identifier
from proxy.sql.splice import Change
from proxy.sql.writing import EMPTYING, Assignment, Given


@dataclass(frozen=True, slots=True)
class Managing:
    """What one modification does to what decides over personal information."""

    part: Part

    def check_managed(self, edits: list[Change]) -> None:
        """Consent, account states and subject keys are for roles that manage the kind of subject.

        Who does not may still set what is there already, as an ORM does that saves every column.
        """
        role = self.part.state.role
        manages = frozenset() if role is None else role.manages
        lacking = self.part.managed.rows - manages
        if lacking and self.part.modification.actions:
            raise managing_refused(self.part.relation, (), lacking, self.part.state)
        for action in self.part.modification.actions:
            for one in action.assignments if action.event == "update" else ():
                kinds = self.part.managed.columns.get(one.column or "", set()) - manages
                if kinds:
                    refused = managing_refused(self.part.relation, (one.column or "",), kinds, self.part.state)
                    edits.append(self._unchanged(one, refused))
                    self.part.unchanged.add(one.column or "")

    def _unchanged(self, one: Assignment, refused: PolicyRefused) -> Change:
        """Fails unless the column keeps its value."""
        column = self.part.relation.column(one.column or "")
        if column is None or one.item is None or one.part or one.several or one.given & EMPTYING:
            raise refused
        if column.name in self.part.classification:
            seen = look(self.part.viewer(Use.READ), self.part.relation, self.part.classification)
            if not unrestricted(seen.decisions[column.name]):
                raise refused
        stored = f"{self.part.base}.{identifier(column.name)}"
        failure = failing_as(self.part.number(refused.refusal), column)
        text = f"CASE CAST({HOLE} AS {unmodified(column)}) WHEN {stored} THEN {stored} ELSE {failure} END"
        return self.part.clauses.wrapped(one, text)

    def check_moved(self, edits: list[Change], found: list[Check]) -> None:
        """A row that moves from one subject to another is checked for both: as it was, and as it will be."""
        links = self._links() - self.part.unchanged
        moved = [
            one
            for action in self.part.modification.actions
            for one in action.assignments
            if action.event == "update" and one.column in links
        ]
        if not moved:
            return
        if self.part.relation.kind == "v":
            raise unsupported(
                f"{self.part.full_name}.{moved[0].column} says whom a row is about, and cannot be set through a view",
                way_out="Write to the table itself.",
            )
        columns = self._moving()
        conditions = self.part.conditions()
        allowed = " AND ".join(dict.fromkeys(f"({one.writing(conditions)})" for one in columns))
        if not columns or all(one.writing(conditions) == "true" for one in columns):
            return
        uses = [written_use(self.part.relation, one) for one in columns]
        refusal = writing_refused(uses, self.part.purpose, self.part.state, always=False)
        for one in moved:
            column = self.part.relation.column(one.column or "")
            if column is None or one.item is None or one.part or one.several or Given.DEFAULT in one.given:
                raise unsupported(
                    f"{self.part.full_name}.{one.column} is set in a way that cannot be checked",
                    way_out="Set it by itself, to a value.",
                )
            text = f"CASE WHEN {allowed} THEN ({HOLE}) ELSE {failing_as(self.part.number(refusal), column)} END"
            edits.append(self.part.clauses.wrapped(one, text))
        found.append(Check(allowed, tuple(columns), event="update"))

    def _links(self) -> frozenset[str]:
        """The columns by which a row of the target reaches its subject."""
        if self.part.relation.kind == "v":
            return frozenset(self.part.managed.columns)
        links = [entry.subject for entry in self.part.entries()]
        found = {link.key or (link.via.column if link.via is not None else "") for link in links if link is not None}
        return frozenset(found | {kind.key for kind in self.part.registered_kinds()})

    def _moving(self) -> list[Written]:
        """What moves with a row: its classified columns, or those of the tables that reach their subject through it.

        Those that the purpose may not write in any row are no reason against it, unless there are no others.
        """
        names = {entry.name for entry in self.part.entries()}
        found: list[Written] = []
        for entry in self.part.state.policy.tables.values():
            through = entry.subject is not None and entry.subject.via is not None and entry.subject.via.table in names
            if not (through or entry.name in names):
                continue
            rows = entry if entry.name in names else next(one for one in self.part.entries() if one.subject is not None)
            for name in entry.columns:
                viewer = self.part.viewer(Use.WRITE)
                decision = decide(viewer.policy, viewer.role, viewer.purpose, Use.WRITE, entry.name, name, viewer.now)
                if through:
                    about = tuple(one for one in decision.conditions if not isinstance(one, RetentionCondition))
                    decision = replace(decision, conditions=about)
                given = frozenset({Given.CONSTANT})
                found.append(Written(name, decision, rows, given, "false", "true", table=entry.name))
        return [one for one in found if one.decision.outcome is Outcome.ALLOW] or found
