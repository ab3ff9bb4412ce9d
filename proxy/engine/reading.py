"""Reading classified relations: which columns a SELECT needs of each, what it may see of them, and the edits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from proxy.catalog.model import Relation
from proxy.copying import CopyCheck
from proxy.engine.definitions import check_stored, copy_clause
from proxy.engine.forms import Reference, copied_columns
from proxy.engine.grounds import Grounds
from proxy.engine.managed import deciding
from proxy.engine.refusals import PolicyRefused, hint
from proxy.engine.resolve import Resolved
from proxy.engine.secured import Sight, Viewer, look
from proxy.engine.session_state import SessionState
from proxy.errors import INSUFFICIENT_PRIVILEGE, Refusal
from proxy.policy.model import Outcome, Use
from proxy.settings import serializable
from proxy.sql.columns import ColumnNeeds, Levels, needs, subject_keys
from proxy.sql.facts import Facts
from proxy.sql.relations import RelationName
from proxy.sql.splice import Change, Edit, splicer_of
from proxy.sql.tree import nodes
from proxy.verdict import ColumnUse, DeferredCheck, Origins


@dataclass(frozen=True, slots=True)
class Reading:
    """What one statement reads of classified relations. ``replacements``: what the edits do to the tree."""

    edits: tuple[Edit, ...] = ()
    replacements: dict[int, object] = field(default_factory=dict)
    columns: tuple[ColumnUse, ...] = ()
    subjects: tuple[tuple[str, str, int], ...] = ()
    """(kind, key, byte offset of the literal) of each subject that the text names; of one that a parameter ``$n``
    names (kind, '', -n)."""
    raw_origins: Origins = frozenset()
    """The classified columns that show as they are in every row."""
    patterns: bool = False
    """What the edits are may depend on a literal that is a pattern."""
    checks: tuple[Refusal, ...] = ()
    """What each check that the edits brought means when it fails, in the order of their numbers."""
    checked: bool = False
    """The edits brought a column into the result of the statement itself."""
    copying: CopyCheck | None = None
    """How the rows of a COPY FROM STDIN are checked."""
    deferred: tuple[DeferredCheck, ...] = ()
    """What is checked when the transaction commits."""
    ending: tuple[DeferredCheck, ...] = ()
    """What is checked when the statement is done."""
    within: Reading | None = None
    """What is done instead within a transaction block, where that is something else."""

    @property
    def masked(self) -> bool:
        """Some cell may be hidden."""
        return any(use.decision != "allow" and use.use != Use.WRITE.value for use in self.columns)

    def and_(self, other: Reading) -> Reading:
        """All of both."""
        joined = replace(
            self,
            edits=self.edits + other.edits,
            replacements=self.replacements | other.replacements,
            columns=self.columns + tuple(use for use in other.columns if use not in self.columns),
            subjects=tuple(sorted({*self.subjects, *other.subjects})),
            raw_origins=self.raw_origins | other.raw_origins,
            checks=other.checks,
            checked=other.checked,
            deferred=other.deferred,
            ending=other.ending,
        )
        return joined if other.within is None else replace(joined, within=self.and_(other.within))

    def beside(self, changes: list[Change]) -> Reading:
        """The same with changes to other relations of the statement."""
        edits = tuple(edit for change in changes for edit in change.edits)
        replacements = {key: node for change in changes for key, node in change.replacements.items()}
        within = None if self.within is None else self.within.beside(changes)
        return replace(self, edits=self.edits + edits, replacements=self.replacements | replacements, within=within)


def qualify(facts: Facts, shadows: list[tuple[RelationName, str]]) -> Reading:
    """Puts its schema before each name that could come to mean another relation."""
    splicer = splicer_of(facts)
    return _reading([splicer.qualified(name, schema) for name, schema in shadows])


def _reading(
    changes: list[Change], columns: tuple[ColumnUse, ...] = (), subjects: tuple[tuple[str, str, int], ...] = ()
) -> Reading:
    replacements = {key: node for change in changes for key, node in change.replacements.items()}
    edits = tuple(edit for change in changes for edit in change.edits)
    return Reading(edits, replacements, columns, subjects)


def read(
    facts: Facts,
    resolved: Resolved,
    state: SessionState,
    purpose: str | None,
    grounds: Grounds,
) -> Reading:
    """Secures every classified relation that a statement names.

    Raises PolicyRefused: 42501 if a column that it needs is rejected, 0A000 for a form that cannot be secured, where
    the session does not see the whole relation anyway.
    """
    viewer = Viewer(state.policy, state.context.role, purpose, state.subject, grounds.now)
    seen = sights(facts, resolved, viewer, grounds)
    # A target is not read as a whole.
    read_names = [name for name, _ in resolved.classified if name.place != "target"]
    looks = [(name, seen[id(name.node)]) for name in read_names]
    if copy_clause(facts) is not None:
        check_stored(facts, state, seen, resolved.named)
    uses: dict[str, ColumnUse] = {}
    changes: list[Change] = []
    secured: set[int] = set()
    patterns = False
    levels = Levels()
    for name, sight in looks:
        viewer = replace(viewer, use=sight.use)
        asked = needs(name, levels) if name.level is not None else None
        needed = _needed(facts, sight.relation, asked)
        if facts.index.of_type("InsertStmt") or facts.index.of_type("UpdateStmt") or facts.index.of_type("MergeStmt"):
            needed |= _asked_beside(sight, needed, state)
        found = sight.uses(needed)
        uses |= {use.column: use for use in found}
        check_rejected(found, purpose, state)
        if sight.unrestricted:
            continue
        reference = Reference(facts, name, asked, sight, needed, resolved.columns, serializable(state.context.settings))
        explained = facts.statement.kind == "ExplainStmt" and sight.shows(needed)
        if explained:
            continue
        reference.check(state.context.catalog)
        changes += reference.changes(viewer, state.context.catalog)
        secured.add(id(name.node))
        patterns |= reference.where.patterns
    splicer = splicer_of(facts)
    bare = [(name, schema) for name, schema in resolved.shadows if id(name.node) not in secured]
    changes += [splicer.qualified(name, schema) for name, schema in bare]
    reading = _reading(changes, tuple(uses.values()), _subjects(facts, looks))
    return replace(
        reading, patterns=patterns, raw_origins=frozenset().union(*(sight.raw_origins for _, sight in looks))
    )


def sights(facts: Facts, resolved: Resolved, viewer: Viewer, grounds: Grounds) -> dict[int, Sight]:
    """What a viewer sees of each classified relation that a statement names, by the id of its node."""
    stored = _stored_from(facts)
    export = replace(viewer, use=Use.EXPORT)
    return {
        id(name.node): _look(export if id(name.node) in stored else viewer, relation, grounds)
        for name, relation in resolved.classified
    }


def _stored_from(facts: Facts) -> frozenset[int]:
    """By the ids of their nodes, the relations out of which a statement carries rows away or stores them elsewhere."""
    if facts.statement.kind == "CopyStmt" or copy_clause(facts) is not None:
        return frozenset(id(name.node) for name in facts.relations)
    inserted = [node.get("selectStmt", {}) for node in facts.index.of_type("InsertStmt")]
    return frozenset(id(node) for select in inserted for _, node in nodes(select) if "relname" in node)


def _look(viewer: Viewer, relation: Relation, grounds: Grounds) -> Sight:
    return look(viewer, relation, grounds.protected.classified[relation.oid])


def _needed(facts: Facts, relation: Relation, asked: ColumnNeeds | None) -> frozenset[str]:
    every = frozenset(column.name for column in relation.columns)
    if asked is None:
        return every & frozenset(copied_columns(facts, relation))
    return every if asked.every else every & asked.names


def _asked_beside(sight: Sight, needed: frozenset[str], state: SessionState) -> frozenset[str]:
    """What conditions on the cells rest on: whether a row shows them may be asked beside the secured relation."""
    if not any(name in needed and decision.conditions for name, decision in sight.decisions.items()):
        return frozenset()
    return deciding(state.policy, sight.relation, state.context.catalog) - sight.decisions.keys()


def check_rejected(uses: tuple[ColumnUse, ...], purpose: str | None, state: SessionState) -> None:
    """Raises PolicyRefused (42501) if one of the columns that a statement reads is rejected."""
    rejected = [use for use in uses if use.decision == Outcome.REJECT.name.lower()]
    if not rejected:
        return
    reasons = sorted({reason for use in rejected for reason in use.reasons})
    rules = sorted({use.rule for use in rejected if use.rule is not None})
    detail = [
        f"Columns: {', '.join(use.column for use in rejected)}.",
        f"Purpose: {purpose or 'none declared'}.",
        f"Because: {', '.join(reasons)}.",
        *([f"Rules: {', '.join(rules)}."] if rules else []),
    ]
    names = ", ".join(use.column for use in rejected)
    way_out = "Declare a purpose that covers these columns, leave them out, or ask for the grant."
    raise PolicyRefused(
        Refusal(
            INSUFFICIENT_PRIVILEGE,
            f"consentry: reading {names} is not allowed",
            detail=" ".join(detail),
            hint=hint(way_out, state.policy),
        ),
        uses,
    )


def _subjects(facts: Facts, looks: list[tuple[RelationName, Sight]]) -> tuple[tuple[str, str, int], ...]:
    found: set[tuple[str, str, int]] = set()
    for name, sight in looks:
        links = {source.rows.subject for source in sight.classification.values()}
        for link in links:
            if link is None or link.key is None:
                continue
            keys = subject_keys(name.level if name.level is not None else facts.statement.node, link.key)
            found |= {(link.kind, key, location) for key, location in keys}
    return tuple(sorted(found))
