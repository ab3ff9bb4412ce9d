"""Conflicts with constraints of tables that the session does not see whole: each tells that a value is there.

A unique, exclusion or foreign key constraint accepts a value or not, whoever may see it; whoever may write there can
try values out. Each conflict is an event of the audit, and the policy limits how many there may be (``bulk``).
"""

from __future__ import annotations

from typing import Final, Protocol

from proxy.errors import INSUFFICIENT_PRIVILEGE, Refusal
from proxy.policy.model import BulkLimit, Policy
from proxy.session.events import Events, Run
from proxy.verdict import StatementVerdict, Verdict
from proxy.wire.backend import Fields

_CONSTRAINTS: Final = frozenset({"23503", "23505", "23P01"})
"""foreign_key_violation (of restrict too), unique_violation, exclusion_violation."""


class ConflictCount(Protocol):
    """The conflicts of each role within the last minute, in all sessions of an instance."""

    def add(self, role: str, conflicts: int) -> int:
        """There were more; how many there are with them."""
        ...

    def within_minute(self, role: str) -> int: ...


class Conflicts:
    """Those of one session."""

    def __init__(self, events: Events, count: ConflictCount | None) -> None:
        self._events = events
        self._count = count

    def refusal(self, verdict: Verdict, policy: Policy) -> Refusal | None:
        """Why a text that may tell of conflicts is not to run: the role has had more than it may have."""
        if self._count is None or not policy.bulk or not any(statement.conflicts for statement in verdict.statements):
            return None
        role = self._events.facts.role
        for limit in _limits(policy, role):
            most = limit.conflicts_per_minute
            if limit.effect == "reject" and most is not None and self._count.within_minute(role) > most:
                return Refusal(
                    INSUFFICIENT_PRIVILEGE,
                    "consentry: too many conflicts with constraints of tables that this session does not see whole",
                    detail=f"Bulk limit: {limit.id}, {most} within a minute.",
                    hint=f"Wait a minute. {policy.contact}".strip(),
                )
        return None

    def failed(self, fields: Fields, run: Run | None, policy: Policy) -> None:
        """The upstream answered with the error ``fields`` to what may tell of conflicts. Raises SessionOver where the
        audit cannot be written."""
        if fields.get("C") in _CONSTRAINTS:
            self._happened(1, fields, run, policy)

    def completed(self, statement: StatementVerdict, rows: int | None, run: Run | None, policy: Policy) -> None:
        """A statement completed, which may have left out rows (ON CONFLICT DO NOTHING): of one row the command tag
        tells, of more or of a query nobody knows, and it counts as one. Raises SessionOver as ``failed`` does."""
        if statement.conflicts == "skips" or (statement.conflicts == "skips one" and rows == 0):
            self._happened(1, {}, run, policy)

    def _happened(self, conflicts: int, fields: Fields, run: Run | None, policy: Policy) -> None:
        role = self._events.facts.role
        total = conflicts if self._count is None else self._count.add(role, conflicts)
        exceeded = [
            limit.id
            for limit in _limits(policy, role)
            if limit.conflicts_per_minute is not None and total > limit.conflicts_per_minute
        ]
        table = f"{fields['s']}.{fields['t']}" if "s" in fields and "t" in fields else None
        self._events.conflict(run, table, fields.get("n"), fields.get("C"), tuple(exceeded))


def _limits(policy: Policy, role: str) -> list[BulkLimit]:
    return [limit for limit in policy.bulk if limit.roles is None or role in limit.roles]
