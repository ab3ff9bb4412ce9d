"""How the session tells the audit what happens. The audit implements it; a failing journal refuses statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.errors import Refusal
from proxy.policy.model import Policy
from proxy.verdict import StatementVerdict


@dataclass(slots=True)
class SessionFacts:
    """What every event of a session carries. The session keeps it current."""

    session: str
    client: str
    role: str = ""
    database: str = ""
    application: str = ""
    actor: str = ""


class Journal(Protocol):
    """Each method returns when the event has been handed to every sink, and raises if one failed."""

    def session_start(self, facts: SessionFacts) -> None: ...

    def refused_start(
        self, facts: SessionFacts, event_id: str, sqlstate: str, message: str, purpose: str | None
    ) -> None:
        """A session was refused when it asked to start, and has neither start nor end. ``purpose``: as declared."""
        ...

    def session_end(self, facts: SessionFacts, sqlstate: str | None) -> None: ...

    def purpose_change(self, facts: SessionFacts, purpose: str | None) -> None: ...

    def new_event_id(self) -> str:
        """An id for an event that is about to be written: a refusal's DETAIL names it."""
        ...

    def statement(
        self,
        facts: SessionFacts,
        event_id: str,
        statement: StatementVerdict,
        policy: Policy,
        refusal: Refusal | None,
        subjects: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """A statement was decided and is about to run (or was refused).

        ``subjects``: those whom its bound parameters name, beside those whom its text does.
        """
        ...

    def alarm(self, facts: SessionFacts, event_id: str | None, witness: str, found: Sequence[str]) -> None:
        """A witness contradicts the decision on a statement (that of ``event_id``, where it is known).

        ``witness`` is ``row_description`` (the statement's result comes from the columns ``found``) or ``plan`` (the
        server would scan the relations ``found`` in a way that was not decided).
        """
        ...

    def conflict(
        self,
        facts: SessionFacts,
        event_id: str | None,
        table: str | None,
        constraint: str | None,
        sqlstate: str | None,
        exceeded: Sequence[str],
    ) -> None:
        """A constraint of a table that the session does not see whole accepted a value not. ``sqlstate`` None: the row
        was left out instead of an error. ``exceeded``: limits of the policy (``bulk``) that it goes beyond."""
        ...

    def result(
        self,
        facts: SessionFacts,
        event_id: str,
        rows: int | None,
        duration_ms: float,
        sqlstate: str | None,
        *,
        soon: bool = False,
    ) -> None:
        """A statement is over. ``rows`` returned or touched, None where its command tag has no count. ``soon``: it may
        wait for :meth:`flush`, and does not raise then."""
        ...

    def flush(self) -> None:
        """Writes what may have waited, before clients are answered. Never raises: the next statement is refused."""
        ...
