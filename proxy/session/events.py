"""What the session tells the audit, and when. A journal that fails refuses statements: fail closed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from proxy.errors import INSUFFICIENT_PRIVILEGE, Refusal
from proxy.journal import Journal, SessionFacts
from proxy.policy.model import Policy
from proxy.session.reasons import SessionOver
from proxy.verdict import StatementVerdict, Verdict

Clock = Callable[[], float]
"""Seconds of a clock that never goes back."""


@dataclass(slots=True, eq=False)
class Run:
    """The events of one text under way: one for each statement, ``done`` of them with their result. ``personal``: the
    text reads or writes personal information, or is refused."""

    events: list[str]
    started: float
    personal: bool = True
    done: int = 0

    @property
    def open(self) -> bool:
        return self.done < len(self.events)


class Events:
    """Writes the events of one session."""

    def __init__(self, journal: Journal, facts: SessionFacts, clock: Clock) -> None:
        self.facts = facts
        self._journal = journal
        self._clock = clock
        self._started = False

    def session_start(self) -> None:
        """Raises SessionOver where the audit cannot be written."""
        self._journaled(lambda: self._journal.session_start(self.facts))
        self._started = True

    def refuse_start(self, sqlstate: str, message: str, purpose: str | None) -> str:
        """The session may not start. Returns the event's id. Raises what the journal raises."""
        event = self._journal.new_event_id()
        self._journal.refused_start(self.facts, event, sqlstate, message, purpose)
        return event

    def session_end(self, sqlstate: str | None) -> None:
        """Raises what the journal raises: there is nothing left to refuse."""
        if self._started:
            self._started = False
            self._journal.session_end(self.facts, sqlstate)

    def purpose_change(self, purpose: str | None) -> None:
        self._journaled(lambda: self._journal.purpose_change(self.facts, purpose))

    def begin(self, verdict: Verdict, policy: Policy, subjects: tuple[tuple[str, str], ...] = ()) -> Run:
        """Every statement of a text is about to be forwarded; ``subjects`` are those whom bound parameters name. Raises
        what the journal raises."""
        events: list[str] = []
        personal = False
        for statement in verdict.statements:
            event = self._journal.new_event_id()
            self._journal.statement(self.facts, event, statement, policy, None, subjects)
            events.append(event)
            personal = personal or statement.kind != "pass" or statement.unverified
        return Run(events, self._clock(), personal)

    def refuse(
        self, statements: tuple[StatementVerdict, ...], refusal: Refusal, policy: Policy, purpose: str | None
    ) -> tuple[Refusal, Run]:
        """A text is refused. Returns the refusal, with its event named in DETAIL. Raises what the journal raises."""
        if not statements:
            statements = (StatementVerdict("reject", "", "", "", purpose),)
        events: list[str] = []
        named = next((place for place, found in enumerate(statements) if found.kind == "reject"), 0)
        for statement in statements:
            event = self._journal.new_event_id()
            self._journal.statement(self.facts, event, statement, policy, refusal)
            events.append(event)
        if not refusal.message.startswith("consentry:"):
            # PostgreSQL's own error, told in its own words: nothing may show that another told it.
            return refusal, Run(events, self._clock())
        detail = f"{refusal.detail}\n" if refusal.detail else ""
        return replace(refusal, detail=f"{detail}audit event {events[named]}"), Run(events, self._clock())

    def complete(self, run: Run, rows: int | None) -> None:
        """The next statement of the text completed."""
        now = self._clock()
        event, started = run.events[run.done], run.started
        run.done += 1
        run.started = now
        self._result(event, rows, (now - started) * 1000, None, soon=not run.personal)

    def alarm(self, witness: str, columns: tuple[str, ...], run: Run | None) -> None:
        """A witness found that the statement under way, if any, reads what it must not."""
        event = run.events[run.done] if run is not None and run.open else None
        self._journaled(lambda: self._journal.alarm(self.facts, event, witness, columns))

    def conflict(
        self,
        run: Run | None,
        table: str | None,
        constraint: str | None,
        sqlstate: str | None,
        exceeded: tuple[str, ...],
    ) -> None:
        """A constraint told the statement under way of a value; ``exceeded`` are the limits to that (``bulk``)."""
        event = run.events[run.done] if run is not None and run.open else None
        self._journaled(lambda: self._journal.conflict(self.facts, event, table, constraint, sqlstate, exceeded))

    def abandon(self, run: Run, sqlstate: str | None, rows: int | None = None) -> None:
        """The text goes no further: the statement under way failed (or its portal closed), the rest never ran."""
        duration = (self._clock() - run.started) * 1000
        rows = rows or None
        while run.open:
            event = run.events[run.done]
            run.done += 1
            self._result(event, rows, duration, sqlstate, soon=not run.personal)
            duration, rows = 0.0, None

    def _result(self, event: str, rows: int | None, duration: float, sqlstate: str | None, *, soon: bool) -> None:
        try:
            self._journal.result(self.facts, event, rows, duration, sqlstate, soon=soon)
        except Exception as failure:
            raise _unwritten() from failure

    @staticmethod
    def _journaled(write: Callable[[], None]) -> None:
        """What has happened cannot be refused any more, so a session whose audit fails ends."""
        try:
            write()
        except Exception as failure:
            raise _unwritten() from failure


def _unwritten() -> SessionOver:
    return SessionOver(INSUFFICIENT_PRIVILEGE, "consentry: the audit cannot be written")
