"""Row security: PostgreSQL asks a policy of the rows as they are stored, before anything that is spliced in sees them.

    CREATE POLICY own ON rides USING (mail = current_setting('app.mail'))

Which rows there are then tells of ``mail``. So a table whose rows are chosen by what the session does not see is
refused by name, as a view would be that does the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxy.catalog.model import Access, Relation, RowPolicy
from proxy.engine.grounds import Grounds
from proxy.engine.reach import accesses
from proxy.engine.refusals import PolicyRefused, hint
from proxy.engine.resolve import Resolved
from proxy.engine.secured import Viewer, look, unrestricted
from proxy.engine.session_state import SessionState
from proxy.errors import INSUFFICIENT_PRIVILEGE, Refusal
from proxy.sql.facts import Facts

_COMMANDS = {
    Access.SELECT: "r*",
    Access.INSERT: "a*",
    Access.UPDATE: "rw*",
    Access.DELETE: "rd*",
    Access.TRUNCATE: "",
}
"""The policies that are asked, by pg_policy.polcmd. UPDATE and DELETE read what they search."""


def check_row_security(
    facts: Facts, resolved: Resolved, state: SessionState, purpose: str | None, grounds: Grounds
) -> None:
    """Raises PolicyRefused (42501) where a row security policy decides by what the session does not see."""
    if state.role is not None and state.role.code:
        return
    for name in facts.relations:
        relation = resolved.named.get(id(name.node))
        if relation is None or not relation.policies:
            continue
        viewer = Viewer(state.policy, state.context.role, purpose, state.subject, grounds.now)
        asked = _Asked(viewer, state, grounds, set())
        for access in accesses(facts, name):
            for policy, hidden in asked.hidden(relation, access):
                raise PolicyRefused(
                    Refusal(
                        INSUFFICIENT_PRIVILEGE,
                        f'consentry: the row security policy "{policy.name}" chooses rows of'
                        f" {relation.schema}.{relation.name} by {hidden}",
                        detail="This session does not see it as it is stored in every row, and which rows there are"
                        f" would tell. Purpose: {purpose or 'none declared'}.",
                        hint=hint("Declare a purpose under which it may be seen.", state.policy),
                        position=facts.position(name.location),
                    )
                )


class _Asked:
    """What the policies of relations decide by, for one viewer."""

    def __init__(self, viewer: Viewer, state: SessionState, grounds: Grounds, seen: set[int]) -> None:
        self.viewer, self.state, self.grounds, self.seen = viewer, state, grounds, seen

    def hidden(self, relation: Relation, access: Access) -> Iterator[tuple[RowPolicy, str]]:
        """What policies of ``relation``, and of what they read, decide by and the viewer does not see."""
        self.seen.add(relation.oid)
        for policy in relation.policies:
            if policy.command not in _COMMANDS[access]:
                continue
            for oid in {oid for oid, _ in policy.columns}:
                numbers = {number for other, number in policy.columns if other == oid}
                # A row that is inserted holds what the session writes itself.
                if oid != relation.oid or access is not Access.INSERT:
                    yield from ((policy, name) for name in self._unseen(oid, numbers, itself=oid == relation.oid))
                other = self.state.context.catalog.relations.get(oid)
                if other is not None and oid not in self.seen:
                    yield from ((policy, name) for _, name in self.hidden(other, Access.SELECT))

    def _unseen(self, oid: int, numbers: set[int], *, itself: bool) -> Iterator[str]:
        protected, relation = self.grounds.protected, self.state.context.catalog.relations.get(oid)
        if relation is None:
            return
        full = f"{relation.schema}.{relation.name}"
        if oid in protected.refused:
            yield full
        classification = protected.classified.get(oid)
        if not classification:
            return
        sight = look(self.viewer, relation, classification)
        if sight.drops and not itself:
            yield full
        for column in relation.columns:
            decision = sight.decisions.get(column.name)
            if decision is not None and not unrestricted(decision) and not numbers.isdisjoint({0, column.number}):
                yield f"{full}.{column.name}"
