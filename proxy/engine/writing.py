"""Writes: what a statement may set, what of it flows where, and the check of its rows that it carries.

Every data-modifying part of a statement is judged, those in WITH queries too. What a purpose or grant could change is
refused when it is decided, if the text shows it, and else by the statement itself (:mod:`proxy.engine.row_checks`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from proxy.catalog.model import Access, Reach
from proxy.engine.claims import unclaimed
from proxy.engine.destinations import Destinations
from proxy.engine.evaluated import Evaluated
from proxy.engine.grounds import Grounds
from proxy.engine.kept import check_kept
from proxy.engine.managing import Managing
from proxy.engine.part import Found, Part
from proxy.engine.reach import accesses
from proxy.engine.reading import Reading, check_rejected
from proxy.engine.refusals import unsupported
from proxy.engine.resolve import Resolved
from proxy.engine.returning import Returning
from proxy.engine.row_checks import Check
from proxy.engine.secured import Sight, Viewer, look
from proxy.engine.session_state import SessionState
from proxy.engine.targets import Target
from proxy.engine.updatable import changes_protected
from proxy.engine.write_refusals import explaining_refused
from proxy.engine.written_columns import WrittenColumns
from proxy.policy.model import Use
from proxy.sql.columns import subject_key, subject_keys
from proxy.sql.facts import Facts
from proxy.sql.flows import Flows
from proxy.sql.grammar import Node, Statement
from proxy.sql.splice import Change
from proxy.sql.tree import of_type
from proxy.sql.writing import MODIFYING, modifications

_FORMS = MODIFYING | {"SelectStmt", "PrepareStmt", "ExplainStmt"}


def write(
    facts: Facts, resolved: Resolved, state: SessionState, purpose: str | None, grounds: Grounds, first: int
) -> Reading:
    """What a statement writes, beside what it reads. ``first``: the number of its first check in the text.

    Raises PolicyRefused: 42501 for what may not be written in any row, 0A000 for a form that cannot be secured.
    """
    parts = modifications(facts.statement.node, facts.statement.kind, facts.relations)
    if not parts:
        return Reading()
    flows = Flows(facts.statement.kind, facts.statement.node, facts.relations, resolved.columns_of)
    found = Found()
    works = [Part(facts, part, resolved, state, purpose, grounds, flows, found, first) for part in parts]
    for work in works:
        _Work(work).run()
    reading = Reading(
        columns=tuple(found.uses.values()),
        subjects=tuple(sorted(found.subjects)),
        raw_origins=frozenset(found.raw),
        checks=tuple(found.refusals),
        checked=found.checked,
    ).beside(found.changes)
    if not found.differs:
        return reading
    within = replace(
        reading, edits=(), replacements={}, checked=found.checked_within, deferred=tuple(dict.fromkeys(found.deferred))
    )
    within = within.beside(found.within)
    if found.awaits or _consents_beside(works):
        return replace(within, deferred=(), ending=within.deferred, within=within)
    return replace(reading, within=within)


def _consents_beside(works: list[Part]) -> bool:
    """The statement may itself bring the consent of a subject that it registers, or the state of their account."""
    for part in works:
        kinds = {kind.name for kind in part.registered_kinds()} if part.modification.does("insert") else set()
        others = part.relation.reach.get(Access.INSERT, Reach()).relations
        others = others.union(other.table.oid for other in works if other is not part)
        managed = part.grounds.protected.managed
        if any(kinds & managed[oid].rows for oid in managed.keys() & others):
            return True
    return False


def conflicts(statement: Statement) -> Literal["fails", "skips", "skips one"]:
    """How a statement tells of constraints (:attr:`proxy.verdict.StatementVerdict.conflicts`)."""
    skipping = [one for one in of_type(statement.node, "InsertStmt") if _skips(one)]
    if not skipping and not _skips(statement.node):
        return "fails"
    rows = statement.node.get("selectStmt", {}).get("SelectStmt", {}).get("valuesLists", ())
    return "skips one" if not skipping and len(rows) == 1 else "skips"


def _skips(insert: Node) -> bool:
    return bool(insert.get("onConflictClause", {}).get("action") == "ONCONFLICT_NOTHING")


def stores_unseen(facts: Facts, resolved: Resolved, state: SessionState, purpose: str | None, grounds: Grounds) -> bool:
    """A statement changes rows with cells that the session does not see, itself or by a cascade: what the server says
    of such a row when a constraint fails shows all of it.
    """
    copies = facts.statement.kind == "CopyStmt" and bool(facts.statement.node.get("is_from"))
    targets = [
        (name, resolved.named.get(id(name.node))) for name in facts.relations if name.place == "target" or copies
    ]
    changed = {
        oid
        for name, relation in targets
        if relation is not None
        for access in accesses(facts, name)
        for oid in (relation.oid, *relation.reach.get(access, Reach()).relations)
    }
    viewer = Viewer(state.policy, state.context.role, purpose, state.subject, grounds.now)
    classified, relations = grounds.protected.classified, state.context.catalog.relations
    return any(not look(viewer, relations[oid], classified[oid]).unrestricted for oid in changed & classified.keys())


@dataclass(frozen=True, slots=True)
class _Work:
    """One modification."""

    part: Part

    def run(self) -> None:
        """Judges it, and adds what it comes to."""
        self._check_form()
        edits: list[Change] = []
        managing = Managing(self.part)
        managing.check_managed(edits)
        viewer = self.part.viewer(Use.READ)
        Destinations(self.part, viewer).check(edits)
        found = self._classified(edits) if self.part.classification else []
        managing.check_moved(edits, found)
        check_kept(self.part, edits)
        Evaluated(self.part).check(edits)
        found += unclaimed(self.part)
        if edits and self.part.explained:
            raise explaining_refused(self.part.relation, self.part.state)
        Returning(self.part).add(edits, found)

    def _classified(self, edits: list[Change]) -> list[Check]:
        """What is read and written of a classified target."""
        part, found = self.part, self.part.found
        viewer = part.viewer(Use.READ)
        seen = look(viewer, part.relation, part.classification)
        target = Target(part.facts, part.modification, seen, viewer, part.catalog, part.flows)
        reads = seen.uses(target.read())
        check_rejected(reads, part.purpose, part.state)
        found.uses |= {f"{use.use} {use.column}": use for use in reads}
        found.raw |= seen.raw_origins
        found.subjects |= set(self._subjects(seen))
        edits += target.changes()
        return WrittenColumns(part, seen).check(edits)

    def _check_form(self) -> None:
        """Raises Refused (0A000) for a protected target in a form that is not judged."""
        if not changes_protected(self.part.relation, self.part.grounds.protected):
            return
        full = self.part.full_name
        if self.part.table.kind not in "rp" or not self._passes_through():
            raise unsupported(
                f"{self.part.facts.tag} changes protected tables through {full}", way_out="Write to the table itself."
            )
        if self.part.facts.statement.kind not in _FORMS:
            raise unsupported(
                f"{self.part.facts.tag} of a query that changes the protected table {full}",
                way_out="Write two statements.",
            )

    def _passes_through(self) -> bool:
        """The target is a table, or a view through which this can be followed."""
        part = self.part
        if part.relation.kind != "v":
            return True
        inside = part.grounds.protected
        judged = part.relation.oid in inside.classified or part.relation.oid in inside.harmless
        plain = judged or part.table.oid not in inside.classified
        registers = part.registered_kinds() if part.modification.does("insert") else []
        noted = all(part.shown(kind.key) is not None for kind in registers)
        return part.base_table is not None and plain and noted

    def _subjects(self, seen: Sight) -> Iterator[tuple[str, str, int]]:
        """The subjects that the statement names by a literal, in a predicate or as a key that is set."""
        assigned = self.part.assigned()
        for link in {source.rows.subject for source in seen.classification.values()}:
            if link is None or link.key is None:
                continue
            for named in subject_keys(self.part.modification.node, link.key):
                yield link.kind, *named
            for _, one in assigned.get(link.key, ()):
                for value in one.values:
                    key = subject_key(value)
                    if key is not None and not one.part:
                        yield link.kind, *key
