"""How the checks of a modification stand in its RETURNING, outside and within a transaction block."""

from __future__ import annotations

from dataclasses import dataclass, replace

from proxy.engine.aliases import alias
from proxy.engine.awaited import awaited
from proxy.engine.conditions import RowConditions
from proxy.engine.part import Part
from proxy.engine.refusals import unsupported
from proxy.engine.registration import deferral, deferred, registered
from proxy.engine.row_checks import CHECK, Check, combined, immediate, written_use
from proxy.engine.with_queries import unseen
from proxy.engine.write_refusals import explaining_refused, writing_refused
from proxy.errors import Refusal
from proxy.policy.model import SubjectLink, TablePolicy
from proxy.sql.quote import identifier, qualified
from proxy.sql.splice import Change
from proxy.verdict import DeferredCheck

_KNOWN = alias("s")
_MERGE_RETURNS = 17
"""The first version of PostgreSQL whose MERGE has RETURNING."""


@dataclass(frozen=True, slots=True)
class Returning:
    """The RETURNING of one modification."""

    part: Part

    def add(self, edits: list[Change], found: list[Check]) -> None:
        """Adds ``edits`` and the checks to what the statement comes to."""
        items: list[str] = []
        within: list[str] = []
        note = self._note()
        if note is not None:
            within.append(note)
        for check in found:
            uses = [written_use(self.part.relation, one) for one in check.columns]
            refusal = check.refusal or writing_refused(uses, self.part.purpose, self.part.state, always=False)
            number = self.part.number(refusal)
            concerning = self._concerning(check)
            items.append(immediate(concerning, number))
            within.append(self._within(concerning, number, refusal))
        if items and self.part.explained:
            raise explaining_refused(self.part.relation, self.part.state)
        inside = self._returning(within) if within != items else None
        self.part.found.add(edits, self._returning(items), inside, shows=self.part.modification.query is None)

    def _concerning(self, check: Check) -> Check:
        """The check of those rows alone that MERGE writes its columns in."""
        if self.part.modification.kind != "MergeStmt":
            return check
        assigned = self.part.assigned()
        names = {one.column for one in check.columns}
        events = {check.event} if check.event else {event for name in names for event, _ in assigned.get(name, ())}
        if not events or events >= {action.event for action in self.part.modification.actions}:
            return check
        actions = ", ".join(f"'{event.upper()}'::pg_catalog.text" for event in sorted(events))
        others = f"merge_action() OPERATOR(pg_catalog.<>) ALL (ARRAY[{actions}])"
        return replace(check, allowed=f"({others} OR {check.allowed})")

    def _returning(self, items: list[str]) -> list[Change]:
        if not items:
            return []
        version = self.part.catalog.server_version
        if (
            self.part.modification.kind == "MergeStmt"
            and (version // 10000 if version >= 10000 else version) < _MERGE_RETURNS
        ):
            raise unsupported(
                f"MERGE into {self.part.full_name}, whose rows must be checked,"
                f" is not available before PostgreSQL {_MERGE_RETURNS}",
                way_out="Write INSERT … ON CONFLICT, or INSERT and UPDATE.",
            )
        returned = self.part.clauses.returning(combined(items), identifier(CHECK))
        return [returned, *unseen(self.part.facts, self.part.modification, self.part.relation)]

    def _note(self) -> str | None:
        """Notes that a subject is new, where its consent may come later in the transaction."""
        known = None if self.part.purpose is None else self.part.state.policy.purposes.get(self.part.purpose)
        role = self.part.state.role
        asks = (known is not None and known.basis == "consent") or (role is not None and role.third_party)
        if not asks or not self.part.modification.does("insert") or self.part.explained:
            return None
        for kind in self.part.registered_kinds():
            key = f"{self.part.base}.{identifier(self.part.shown(kind.key) or kind.key)}"
            noted = registered(kind, key)
            if len(self.part.modification.actions) == 1:
                return noted
            # What was there before is not new; the statement's own snapshot does not show what it adds.
            row = f"SELECT FROM {qualified(*kind.table)} AS {_KNOWN}"
            there = f"EXISTS ({row} WHERE {_KNOWN}.{identifier(kind.key)} OPERATOR(pg_catalog.=) {key})"
            return f"CASE WHEN NOT {there} THEN {noted} END"
        return None

    def _within(self, check: Check, number: int, refusal: Refusal) -> str:
        """The check as it is made within a transaction block."""
        waits = awaited(self.part, check)
        unless = ""
        if waits is not None:
            unless = waits.case
            self.part.found.deferred.append(DeferredCheck(waits.id, waits.sql, refusal))
            self.part.found.awaits = True
        links = {one.rows.subject.kind for one in check.columns if one.rows.subject is not None}
        kinds = [self.part.state.policy.subjects[name] for name in links]
        registry = self.part.catalog.relation(*kinds[0].table) if len(kinds) == 1 else None
        if registry is None:
            return immediate(check, number, unless)
        [kind] = kinds
        rows = RowConditions(self.part.state.policy, self.part.catalog, registry, self.part.state.subject, inline=True)
        rows.table = TablePolicy(kind.table, SubjectLink(kind.name, key=kind.key), None, {})
        left = deferral(check, kind, self.part.conditions(), rows)
        if left is None:
            return immediate(check, number, unless)
        self.part.found.deferred.append(DeferredCheck(left.id, left.sql, refusal))
        registers = kind in self.part.registered_kinds() and [one.event for one in self.part.modification.actions] == [
            "insert"
        ]
        return deferred(check, number, left, registers=registers, unless=unless)
