"""Reading classified relations: which columns a SELECT needs of each, what it may see of them, and the edits."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.catalog.model import Relation
from proxy.engine.closed_world import check_telling, has_node
from proxy.engine.grounds import Grounds
from proxy.engine.refusals import PolicyRefused, hint, unsupported
from proxy.engine.secured import Sight, Viewer, fragment, look
from proxy.engine.session_state import SessionState
from proxy.errors import INSUFFICIENT_PRIVILEGE, Refusal
from proxy.policy.model import Outcome
from proxy.sql.columns import ColumnNeeds, needs, subject_keys
from proxy.sql.facts import Facts
from proxy.sql.relations import RelationName
from proxy.sql.splice import Edit, secure
from proxy.verdict import ColumnUse

_WRITING = ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one statement reads of classified relations. ``secured``: ``id()`` of a RangeVar -> name and fragment."""

    edits: tuple[Edit, ...] = ()
    secured: dict[int, tuple[RelationName, str]] = field(default_factory=dict)
    columns: tuple[ColumnUse, ...] = ()
    subjects: tuple[tuple[str, str], ...] = ()

    @property
    def masked(self) -> bool:
        """Some cell may be hidden."""
        return any(use.decision != "allow" for use in self.columns)


def read(
    facts: Facts,
    classified: list[tuple[RelationName, Relation]],
    state: SessionState,
    purpose: str | None,
    grounds: Grounds,
) -> Reading:
    """Secures every classified relation that a statement names.

    Raises PolicyRefused (42501) if a column that it needs is rejected; Refused (0A000) for a form that cannot be
    secured yet, where the session does not see the whole relation anyway.
    """
    viewer = Viewer(state.policy, state.context.role, purpose, state.subject, grounds.now)
    looks = [(name, _look(viewer, relation, grounds)) for name, relation in classified]
    uses: dict[str, ColumnUse] = {}
    edits: list[Edit] = []
    secured: dict[int, tuple[RelationName, str]] = {}
    for name, sight in looks:
        asked = needs(name) if name.level is not None else None
        needed = _needed(sight.relation, asked)
        found = sight.uses(needed)
        uses |= {use.column: use for use in found}
        _check_rejected(found, purpose, state)
        if sight.unrestricted and sight.relation.oid not in grounds.protected.mixed:
            continue
        _check_form(facts, name, asked, sight.relation, grounds)
        text = fragment(viewer, state.context.catalog, sight, needed, only=name.only)
        edits += secure(facts.tokens, name, text)
        secured[id(name.node)] = (name, text)
    return Reading(tuple(edits), secured, tuple(uses.values()), _subjects(facts, looks))


def _look(viewer: Viewer, relation: Relation, grounds: Grounds) -> Sight:
    return look(viewer, relation, grounds.protected.classified[relation.oid])


def _needed(relation: Relation, asked: ColumnNeeds | None) -> frozenset[str]:
    every = frozenset(column.name for column in relation.columns)
    return every if asked is None or asked.every else every & asked.names


def _check_rejected(uses: tuple[ColumnUse, ...], purpose: str | None, state: SessionState) -> None:
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


def _check_form(
    facts: Facts, name: RelationName, asked: ColumnNeeds | None, relation: Relation, grounds: Grounds
) -> None:
    """Raises Refused (0A000), naming what is missing, where a relation stands in a form that cannot be secured yet."""
    check_telling(facts)
    full = f"{relation.schema}.{relation.name}"
    missing, place = _missing(facts, name, asked, relation, grounds)
    if missing is not None:
        raise unsupported(
            f"{missing} the classified table {full} is not available yet",
            detail="The session does not see every cell of it as it is stored.",
            way_out="Write a plain SELECT of named columns, or declare a purpose under which all of it may be seen.",
            position=facts.position(place),
        )
    _check_generated(relation, asked, grounds)


def _missing(
    facts: Facts, name: RelationName, asked: ColumnNeeds | None, relation: Relation, grounds: Grounds
) -> tuple[str | None, int]:
    """What of a statement cannot be secured yet, in words that go before the relation's name, and where it stands."""
    if facts.statement.kind != "SelectStmt" or "intoClause" in facts.statement.node:
        return f"{facts.tag} over", name.location
    if name.place != "from" or asked is None:
        return "TABLESAMPLE of" if name.place == "sample" else "this reference to", name.location
    mixed = grounds.protected.mixed.get(relation.oid)
    whole_row = asked.whole_row if relation.column(name.visible_name) is None else None
    forms: tuple[tuple[bool, str, int | None], ...] = (
        (has_node(facts, *_WRITING), "a data-modifying WITH query beside", None),
        (has_node(facts, "LockingClause"), "a row lock (FOR UPDATE, FOR SHARE) in a statement over", None),
        (asked.qualified is not None, "a schema-qualified column reference beside", asked.qualified),
        (asked.system is not None, "a system column beside", asked.system),
        (whole_row is not None, "a whole-row reference to", whole_row),
        (mixed is not None, f"the classification of {mixed} beside that of", None),
        (relation.kind not in "rpvmf", "this kind of relation:", None),
    )
    for applies, words, place in forms:
        if applies:
            return words, name.location if place is None else place
    return None, 0


def _check_generated(relation: Relation, asked: ColumnNeeds | None, grounds: Grounds) -> None:
    """A generated column may show what its sources hide: it must be classified itself."""
    table = grounds.protected.classified[relation.oid]
    needed = _needed(relation, asked)
    for column in relation.columns:
        if column.generated and column.name in needed and column.name not in table.columns:
            raise unsupported(
                f"the generated column {relation.schema}.{relation.name}.{column.name} is not classified",
                way_out="Classify it in the policy, at least as strictly as the columns that it is made of.",
            )


def _subjects(facts: Facts, looks: list[tuple[RelationName, Sight]]) -> tuple[tuple[str, str], ...]:
    found: set[tuple[str, str]] = set()
    for name, sight in looks:
        link = sight.table.subject
        if link is not None and link.key is not None:
            keys = subject_keys(name.level if name.level is not None else facts.statement.node, link.key)
            found |= {(link.kind, key) for key in keys}
    return tuple(sorted(found))
