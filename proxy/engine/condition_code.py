"""Code that the conditions of a classified table would run: functions in a view that is a consent or account source, or
in the row security policies of one. It decides who sees what, and runs where the session's statement does."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.catalog.model import Access, Relation
from proxy.engine.classification import Classification
from proxy.engine.grounds import Grounds
from proxy.engine.refusals import PolicyRefused, hint
from proxy.engine.secured import Viewer, look
from proxy.engine.session_state import SessionState
from proxy.errors import INSUFFICIENT_PRIVILEGE, Refusal
from proxy.policy.model import Name, Policy, SubjectLink, Use


def check_conditions(relation: Relation, purpose: str | None, state: SessionState, grounds: Grounds) -> None:
    """Raises PolicyRefused (42501) where a decision on ``relation`` rests on rows that untrusted code would give."""
    classification = grounds.protected.classified.get(relation.oid)
    if classification is None or (state.role is not None and state.role.code):
        return
    for source in _sources(classification, state, grounds):
        reach = source.reach.get(Access.SELECT)
        if reach is None or grounds.trust.view(source):
            continue
        names = grounds.trust.oids(reach.functions) or sorted(reach.opaque)
        if names and _conditional(relation, classification, purpose, state, grounds):
            full = f"{source.schema}.{source.name}"
            raise PolicyRefused(
                Refusal(
                    INSUFFICIENT_PRIVILEGE,
                    f"consentry: function {', '.join(names)} is not trusted, and reading {full} runs it",
                    detail=f"Decisions on {relation.schema}.{relation.name} rest on {full}.",
                    hint=hint("Name the function in functions.trusted of the policy.", state.policy),
                )
            )


def _conditional(
    relation: Relation, classification: Classification, purpose: str | None, state: SessionState, grounds: Grounds
) -> bool:
    """Some decision has row conditions."""
    viewers = (Viewer(state.policy, state.context.role, purpose, state.subject, grounds.now, use) for use in Use)
    sights = (look(viewer, relation, classification) for viewer in viewers)
    return any(decision.conditions for sight in sights for decision in sight.decisions.values())


def _sources(classification: Classification, state: SessionState, grounds: Grounds) -> Iterator[Relation]:
    """The relations that conditions read."""
    links = {one.rows.subject for source in classification.values() for one in source.all}
    names = {name for link in links if link is not None for name in _named(link, state.policy)}
    for name in sorted(names, key=str):
        relation = state.context.catalog.relation(*name)
        if relation is not None and relation.oid in grounds.protected:
            yield relation


def _named(link: SubjectLink, policy: Policy) -> Iterator[Name]:
    kind = policy.subjects[link.kind]
    yield kind.table
    if kind.account is not None:
        yield kind.account.table
    if kind.consent is not None:
        yield kind.consent.table
    seen: set[Name] = set()
    via = link.via
    while via is not None and via.table not in seen:
        seen.add(via.table)
        yield via.table
        entry = policy.tables.get(via.table)
        via = None if entry is None or entry.subject is None else entry.subject.via
