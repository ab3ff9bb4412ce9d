"""Writes: what a statement may set, what of it flows where, and the check of its rows that it carries.

Every data-modifying part of a statement is judged, those in WITH queries too. What a purpose or grant could change is
refused when it is decided, if the text shows it, and else by the statement itself (:mod:`proxy.engine.row_checks`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from proxy.catalog.model import Access, Catalog, Column, Relation
from proxy.engine.aliases import alias
from proxy.engine.classification import family
from proxy.engine.conditions import RowConditions
from proxy.engine.destinations import Destinations
from proxy.engine.grounds import Grounds
from proxy.engine.managed import Managed, deciding
from proxy.engine.reading import Reading, check_rejected
from proxy.engine.refusals import PolicyRefused, unsupported
from proxy.engine.resolve import Resolved
from proxy.engine.row_checks import (
    CHECK,
    Check,
    Written,
    checks,
    combined,
    deferral,
    deferred,
    failing_as,
    immediate,
    registered,
)
from proxy.engine.secured import Sight, Viewer, column_use, look, unrestricted
from proxy.engine.session_state import SessionState
from proxy.engine.targets import Target
from proxy.engine.write_refusals import (
    conflict_refused,
    erasing_refused,
    explaining_refused,
    managing_refused,
    writing_refused,
)
from proxy.errors import Refusal
from proxy.policy.model import Decision, Outcome, SubjectKind, SubjectLink, TablePolicy, Use
from proxy.sql.clauses import Clauses, wrapped
from proxy.sql.columns import subject_key, subject_keys
from proxy.sql.facts import Facts
from proxy.sql.flows import Flows
from proxy.sql.proof import HOLE
from proxy.sql.quote import identifier, qualified
from proxy.sql.splice import Change, unexpected
from proxy.sql.writing import Assignment, Given, Modification, given, modifications, parameter
from proxy.verdict import ColumnUse, DeferredCheck

_KNOWN = alias("s")
_EMPTYING = frozenset({Given.NULL, Given.DEFAULT})


@dataclass(slots=True)
class _Found:
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
    raw: set[tuple[int, int]] = field(default_factory=set)

    def add(self, edits: list[Change], check: list[Change], within: list[Change] | None) -> None:
        """The edits of one modification, with its check, and that within a block where it is another."""
        self.changes += [*edits, *check]
        self.within += [*edits, *(check if within is None else within)]
        self.checked |= bool(check)
        self.checked_within |= bool(check if within is None else within)
        self.differs |= within is not None


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
    found = _Found()
    for part in parts:
        work = _Work(facts, part, resolved, state, purpose, grounds, flows, found, first)
        work.run()
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
    return replace(reading, within=within.beside(found.within))


class _Work:
    """One modification."""

    def __init__(
        self,
        facts: Facts,
        part: Modification,
        resolved: Resolved,
        state: SessionState,
        purpose: str | None,
        grounds: Grounds,
        flows: Flows,
        found: _Found,
        first: int,
    ) -> None:
        self.facts, self.part, self.resolved, self.state = facts, part, resolved, state
        self.purpose, self.grounds, self.flows, self.found, self.first = purpose, grounds, flows, found, first
        self.relation: Relation = resolved.named[id(part.target.node)]
        self.catalog: Catalog = state.context.catalog
        self.classification = grounds.protected.classified.get(self.relation.oid, {})
        self.managed = grounds.protected.managed.get(self.relation.oid, Managed())

    def run(self) -> None:
        """Judges it, and adds what it comes to."""
        self._check_form()
        self._check_managed()
        viewer = self._viewer(Use.READ)
        Destinations(self.facts, self.part, self.resolved, viewer, self.grounds, self.flows, self.catalog).check()
        if not self.classification:
            note = self._note()
            self.found.add([], [], None if note is None else self._returning([note]))
            return
        seen = look(self._viewer(Use.READ), self.relation, self.classification)
        target = Target(self.facts, self.part, seen, self._viewer(Use.READ), self.catalog, self.flows)
        reads = seen.uses(target.read())
        check_rejected(reads, self.purpose, self.state)
        self.found.uses |= {f"{use.use} {use.column}": use for use in reads}
        self.found.raw |= seen.raw_origins
        self.found.subjects |= set(self._subjects(seen))
        written = list(self._written(seen))
        edits = target.changes()
        kept = [self._unless_barred(one, written, edits) for one in written]
        self._add_checks(edits, kept)

    def _viewer(self, use: Use) -> Viewer:
        return Viewer(
            self.state.policy, self.state.context.role, self.purpose, self.state.subject, self.grounds.now, use
        )

    # --- what is not done ---------------------------------------------------------------------------------------------

    def _check_form(self) -> None:
        """Raises Refused (0A000) for a protected target in a form that is not judged."""
        if self.relation.oid not in self.grounds.protected:
            return
        full = f"{self.relation.schema}.{self.relation.name}"
        mixed = self.grounds.protected.mixed.get(self.relation.oid)
        if mixed is not None:
            raise unsupported(f"{full} and {mixed} are classified differently", way_out="Write to the children.")
        if self.relation.kind not in "rp":
            raise unsupported(
                f"{self.facts.tag} changes protected tables through {full}", way_out="Write to the table itself."
            )
        if self.facts.statement.kind == "CopyStmt":
            raise unsupported(
                f"COPY of a query that changes the protected table {full}", way_out="Write two statements."
            )
        if self.part.query is not None and (self.classification or self.managed.rows or self.managed.columns):
            raise unsupported(
                f"a data-modifying WITH query changes the protected table {full}", way_out="Write two statements."
            )

    def _check_managed(self) -> None:
        """Consent, account states and subject keys are for roles that manage the kind of subject."""
        role = self.state.role
        manages = frozenset() if role is None else role.manages
        lacking = self.managed.rows - manages
        if lacking and self.part.actions:
            raise managing_refused(self.relation, (), lacking, self.state)
        for action in self.part.actions:
            if action.event != "update":
                continue
            for one in action.assignments:
                kinds = self.managed.columns.get(one.column or "", set()) - manages
                if kinds:
                    raise managing_refused(self.relation, (one.column or "",), kinds, self.state)

    # --- columns that are written -------------------------------------------------------------------------------------

    def _assigned(self) -> dict[str, list[tuple[str, Assignment]]]:
        """Each column that is set, with what sets it and in which event."""
        found: dict[str, list[tuple[str, Assignment]]] = {}
        columns = self.relation.columns
        for action in self.part.actions:
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

    def _written(self, seen: Sight) -> Iterator[Written]:
        assigned = self._assigned()
        if not self.classification:
            return
        allowed = look(self._viewer(Use.WRITE), self.relation, self.classification)
        decisive = deciding(self.state.policy, self.relation, self.catalog)
        moves = bool(decisive & {name for name, ones in assigned.items() if any(e == "update" for e, _ in ones)})
        for name, ones in assigned.items():
            column = self.relation.column(name)
            if column is None or name not in self.classification:
                continue
            given = frozenset().union(*(one.given for _, one in ones))
            updates = any(event == "update" for event, _ in ones)
            if not updates and given <= _EMPTYING:
                continue  # nothing is written, and nothing was there
            decision = allowed.decisions[name]
            if self.part.conflicts and any(event == "update" for event, _ in ones):
                self._check_conflict(name, seen.decisions[name], decision)
            use = column_use(self.relation, name, decision, Use.WRITE)
            self.found.uses[f"{use.use} {use.column}"] = use
            erasable = self._erasable(name, seen, moves=moves) if updates else "true"
            written = Written(name, decision, self.classification[name].rows, given, self._null(column, ones), erasable)
            if given <= _EMPTYING and erasable == "false":
                raise erasing_refused(use, self.purpose, self.state)
            yield written

    def _check_conflict(self, name: str, read: Decision, written: Decision) -> None:
        """ON CONFLICT DO UPDATE of what the session sees masked is refused: it would write over what it does not see,
        and know that it was there."""
        if read.outcome is not Outcome.ALLOW or not set(read.conditions) <= set(written.conditions):
            use = column_use(self.relation, name, read, Use.READ)
            raise conflict_refused(use, self.purpose, self.state)

    def _erasable(self, name: str, seen: Sight, *, moves: bool) -> str:
        """SQL: NULL may stand in the place of what stood there. Not over what the session sees masked or as NULL."""
        known = None if self.purpose is None else self.state.policy.purposes.get(self.purpose)
        decision = seen.decisions[name]
        if (known is not None and known.erase) or unrestricted(decision):
            return "true"
        if decision.outcome is not Outcome.ALLOW or moves:
            return "false"
        return self._conditions().sql(decision.conditions, self.classification[name].rows)

    def _null(self, column: Column, ones: list[tuple[str, Assignment]]) -> str:
        """A test whether the column comes to be NULL.

        Of a parameter where that is certainly what is stored: it asks for no privilege on the column.
        """
        stored = f"{self._base}.{identifier(column.name)} IS NULL"
        [(event, one), *others] = ones
        number = parameter(one.values[0]) if len(one.values) == 1 and one.given == {Given.PARAMETER} else None
        reach = self.relation.reach.get(Access.INSERT)
        if others or event != "insert" or number is None or self.part.kind != "InsertStmt":
            return stored
        return stored if reach is not None and reach.functions else f"${number} IS NULL"

    def _unless_barred(self, one: Written, written: list[Written], edits: list[Change]) -> Written:
        """A column that may not be written in any row can only be emptied, which is then made certain.

        Before it is stored: whether a unique constraint accepts a value is not for everybody to know. Raises
        PolicyRefused where the text shows already that it is not emptied.
        """
        if one.decision.outcome is Outcome.ALLOW or one.given <= _EMPTYING:
            return one
        barred = column_use(self.relation, one.column, one.decision, Use.WRITE)
        refusal = writing_refused([barred], self.purpose, self.state, always=True)
        sets = [assignment for _, assignment in self._assigned()[one.column]]
        values = [value for assignment in sets for value in assignment.values]
        plain = all(not (each.part or each.several or each.select) for each in sets)
        reads = any(self.flows.of(value) for value in values)
        if Given.CONSTANT in one.given or one.erasable == "false" or not plain or reads:
            uses = [column_use(self.relation, other.column, other.decision, Use.WRITE) for other in written]
            raise PolicyRefused(refusal, tuple(uses))
        if self.facts.statement.kind == "ExplainStmt":
            raise explaining_refused(self.relation, self.state)
        number = self._number(refusal)
        for assignment in sets:
            edits += self._emptied(one.column, assignment, number)
        return replace(one, given=frozenset({Given.NULL}))

    def _emptied(self, name: str, assignment: Assignment, number: int) -> list[Change]:
        """Fails unless the value is NULL."""
        column = self.relation.column(name)
        assert column is not None  # noqa: S101 - it is classified
        clauses = Clauses(self.facts.tokens, self.part)
        rows = [] if assignment.item is not None else clauses.values()
        changes = []
        for row, value in enumerate(assignment.values):
            if given(value) in _EMPTYING:
                continue
            if assignment.item is not None:
                place = clauses.value(assignment.item)
            elif row < len(rows) and assignment.position < len(rows[row]):
                place = rows[row][assignment.position]
            else:
                raise unexpected("VALUES")
            client = f"CAST({HOLE} AS {column.type_sql})" if "ParamRef" in value else f"({HOLE})"
            failure = failing_as(number, column)
            changes.append(wrapped(value, place, f"CASE WHEN {client} IS NULL THEN NULL ELSE {failure} END"))
        return changes

    def _number(self, refusal: Refusal) -> int:
        """Of a new check that means ``refusal``."""
        self.found.refusals.append(refusal)
        return self.first + len(self.found.refusals) - 1

    # --- the check ----------------------------------------------------------------------------------------------------

    @property
    def _base(self) -> str:
        return identifier(self.part.target.visible_name)

    def _conditions(self) -> RowConditions:
        return RowConditions(
            self.state.policy, self.catalog, self.relation, self.state.subject, inline=True, base=self._base
        )

    def _add_checks(self, edits: list[Change], written: list[Written]) -> None:
        items, within = [], []
        note = self._note()
        if note is not None:
            within.append(note)
        for check in checks(written, self._conditions()):
            uses = [column_use(self.relation, one.column, one.decision, Use.WRITE) for one in check.columns]
            refusal = writing_refused(uses, self.purpose, self.state, always=False)
            number = self._number(refusal)
            items.append(immediate(check, number))
            within.append(self._within(check, number, refusal))
        if items and self.facts.statement.kind == "ExplainStmt":
            raise explaining_refused(self.relation, self.state)
        self.found.add(edits, self._returning(items), self._returning(within) if within != items else None)

    def _returning(self, items: list[str]) -> list[Change]:
        if not items:
            return []
        return [Clauses(self.facts.tokens, self.part).returning(combined(items), identifier(CHECK))]

    # --- registration in one transaction ------------------------------------------------------------------------------

    def _note(self) -> str | None:
        """Notes that a subject is new, where its consent may come later in the transaction."""
        known = None if self.purpose is None else self.state.policy.purposes.get(self.purpose)
        role = self.state.role
        asks = (known is not None and known.basis == "consent") or (role is not None and role.third_party)
        if not asks or not self.part.does("insert") or self.facts.statement.kind == "ExplainStmt":
            return None
        for kind in self._registered_kinds():
            key = f"{self._base}.{identifier(kind.key)}"
            noted = registered(kind, key)
            if len(self.part.actions) == 1:
                return noted
            # What was there before is not new; the statement's own snapshot does not show what it adds.
            row = f"SELECT FROM {qualified(*kind.table)} AS {_KNOWN}"
            there = f"EXISTS ({row} WHERE {_KNOWN}.{identifier(kind.key)} OPERATOR(pg_catalog.=) {key})"
            return f"CASE WHEN NOT {there} THEN {noted} END"
        return None

    def _registered_kinds(self) -> list[SubjectKind]:
        """The kinds whose registry the target is."""
        found = []
        for kind in self.state.policy.subjects.values():
            registry = self.catalog.relation(*kind.table)
            members = set() if registry is None else {one.oid for one in family(self.catalog, registry.oid)}
            if kind.consent is not None and self.relation.oid in members:
                found.append(kind)
        return found

    def _within(self, check: Check, number: int, refusal: Refusal) -> str:
        """The check as it is made within a transaction block."""
        links = {one.rows.subject.kind for one in check.columns if one.rows.subject is not None}
        kinds = [self.state.policy.subjects[name] for name in links]
        registry = self.catalog.relation(*kinds[0].table) if len(kinds) == 1 else None
        if registry is None:
            return immediate(check, number)
        [kind] = kinds
        rows = RowConditions(self.state.policy, self.catalog, registry, self.state.subject, inline=True)
        rows.table = TablePolicy(kind.table, SubjectLink(kind.name, key=kind.key), None, {})
        left = deferral(check, kind, self._conditions(), rows)
        if left is None:
            return immediate(check, number)
        self.found.deferred.append(DeferredCheck(left.id, left.sql, refusal))
        registers = kind in self._registered_kinds() and [one.event for one in self.part.actions] == ["insert"]
        return deferred(check, number, left, registers=registers)

    # --- audit --------------------------------------------------------------------------------------------------------

    def _subjects(self, seen: Sight) -> Iterator[tuple[str, str, int]]:
        """The subjects that the statement names by a literal, in a predicate or as a key that is set."""
        assigned = self._assigned()
        for link in {source.rows.subject for source in seen.classification.values()}:
            if link is None or link.key is None:
                continue
            for named in subject_keys(self.part.node, link.key):
                yield link.kind, *named
            for _, one in assigned.get(link.key, ()):
                for value in one.values:
                    key = subject_key(value)
                    if key is not None and not one.part:
                        yield link.kind, *key
