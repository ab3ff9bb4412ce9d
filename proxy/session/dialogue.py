"""The state of a session between login and its end, shared by the two that work on it: Requests and Answers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from tempfile import TemporaryFile
from typing import Final

from proxy.catalog.model import Catalog
from proxy.errors import QUERY_CANCELED, Refusal
from proxy.session.circumstances import Circumstances, Prepared, refused
from proxy.session.conflicts import Conflicts
from proxy.session.copied import Spool
from proxy.session.events import Clock, Events, Run
from proxy.session.inquiry import Inquiry
from proxy.session.loading import Loading
from proxy.session.migrations import Migrations, concerns_others
from proxy.session.names import Names, Unsettled
from proxy.session.outbox import CheckPlan, Decide, Fault, LoadCatalog, Outbox, ReadOwnCatalog
from proxy.session.reasons import AUDIT_FAILED, StateLost, unexplained
from proxy.session.replies import Replies
from proxy.session.statements import Portal, Statement
from proxy.session.transaction import Transaction
from proxy.verdict import Begin, Commit, Effect, StatementVerdict, Verdict, Work
from proxy.wire import backend

DELIBERATIONS: Final = 3
"""How often one decision is made elsewhere, where each time the session stands otherwise when it is there."""

FAILING_QUERY: Final = b'SELECT FROM pg_catalog."consentry: refused"'
"""Fails upstream with 42P01 where a refused text would have run: nobody can create relations in pg_catalog."""


@dataclass(slots=True, eq=False)
class Dialogue:
    """``private`` begins every name that the session makes upstream on its own; clients cannot guess it.

    ``awaiting_own``: nothing may be decided before the session's own catalog was read. ``canceled``: the message that
    waited for that is to fail so. ``unsynced``: something was sent since the upstream was last ready for a query.
    ``began_with``: what all saw when the transaction block began.
    ``copy_in``: the upstream reads COPY data and the client has not ended it. ``awaiting_catalog``: nothing may be
    decided before the catalog was read anew. ``witness``: new secured texts wait until their plan was seen;
    ``awaiting_plan``: one does; ``awaiting_verdict``: a decision that takes long is being made, which was
    ``deliberated`` so often. ``types_sought``: for the sake of these types the catalog was read anew.
    ``rolls_back``: a check before COMMIT failed, and the transaction is to be rolled back. ``loading``: a COPY FROM
    STDIN whose rows are checked is under way; ``open_spool`` opens files for their subjects. ``held``: a message waits
    for other sessions. ``partial``: a part of a simple query is still to be sent. ``waits_since``, ``turn_since``: of a
    change that must be alone, by the clock (:mod:`proxy.session.turns`); ``turn_cancelled``: it was cancelled, by the
    packet ``cancel``.
    """

    outbox: Outbox
    events: Events
    transaction: Transaction
    private: bytes
    database: str
    witness: bool = False
    migrations: Migrations = field(default_factory=Migrations)
    alone: bool = True
    clock: Clock = time.monotonic
    circumstances: Circumstances = field(init=False)
    conflicts: Conflicts = field(init=False)
    replies: Replies = field(default_factory=Replies)
    statements: Names[Statement] = field(default_factory=Names)
    portals: Names[Portal] = field(default_factory=Names)
    status: int = backend.IDLE
    segment: int = 0
    copy_in: bool = False
    awaiting_catalog: bool = False
    inquiry: Inquiry = field(init=False)
    awaiting_own: bool = False
    canceled: Refusal | None = None
    unsynced: bool = False
    began_with: Catalog | None = None
    awaiting_plan: CheckPlan | None = None
    awaiting_verdict: Work | None = None
    deliberated: int = 0
    plan_found: tuple[bytes, bytes, tuple[str, ...]] | None = None
    types_sought: tuple[int, ...] = ()
    rolls_back: bool = False
    announced: bool = False
    held: bool = False
    partial: bool = False
    waits_since: float | None = None
    turn_since: float | None = None
    cancel: bytes = b""
    turn_cancelled: bool = False
    open_spool: Spool = TemporaryFile
    loading: Loading | None = None
    terminated: bool = False
    upstream_ending: str | None = None

    def __post_init__(self) -> None:
        self.inquiry = Inquiry(self.outbox, self.private)

    @property
    def awaiting(self) -> bool:
        """Nothing may be decided now."""
        plan, verdict = self.awaiting_plan, self.awaiting_verdict
        return self.awaiting_catalog or self.awaiting_own or plan is not None or verdict is not None

    def must_read_own(self) -> bool:
        """What this session alone sees has to be read before anything is decided, and can be."""
        overlay = self.transaction.overlay
        if overlay.named_all or not overlay.unread(self.circumstances.committed):
            return False
        if self.transaction.in_block:
            return not self.transaction.failed
        return self.status == backend.IDLE and not self.unsynced

    @property
    def _open(self) -> int:
        """The status that the upstream must tell while nothing of the client's is under way."""
        return backend.IN_TRANSACTION if self.transaction.in_block else backend.IDLE

    def read_own(self) -> None:
        """Asks for the session's own catalog. Nothing may be in flight."""
        self.awaiting_own = True
        self.inquiry.status = self._open
        savepoint = (self.private + b"catalog").decode() if self.transaction.in_block else None
        steady = self.began_with is self.circumstances.committed
        self.outbox.commands.append(ReadOwnCatalog(self.database, savepoint, steady))

    def own_read(self, catalog: Catalog | None, canceled: str = "") -> None:
        """The session's own catalog, None where it cannot be read: for good, or because the client ``canceled`` what
        waits for it. Raises StateLost if reading it left traces."""
        if not self.awaiting_own:
            return
        self.awaiting_own = False
        if canceled:
            self.canceled = Refusal(QUERY_CANCELED, canceled)
        if canceled and self.transaction.in_block and self.inquiry.status == backend.FAILED_TRANSACTION:
            self.transaction.fail()  # what was canceled was the savepoint that would have kept it from that
            self.status = backend.FAILED_TRANSACTION
        elif self.inquiry.status != self._open:
            raise StateLost("reading the catalog changed the transaction's state")
        if catalog is not None:
            self.transaction.overlay.show(catalog, self.transaction.in_block)
        elif not canceled:
            self.transaction.overlay.give_up()
        self.circumstances.changed()

    @property
    def missing(self) -> bytes:
        """A name that no statement and no portal has."""
        return self.private + b"refused"

    def prepared(self) -> Prepared:
        """What SQL EXECUTE may name."""
        named = {
            name.decode("utf-8", "replace"): statement
            for name, statement in self.statements.confirmed().items()
            if name
        }
        return Prepared(
            {name: statement.text.decode("utf-8", "replace") for name, statement in named.items()},
            {name: one.sent.decode("utf-8", "replace") for name, one in named.items() if one.sent != one.text},
            frozenset(name for name, one in named.items() if self.outdated(one)),
            {
                name.decode("utf-8", "replace"): portal.statement.text.decode("utf-8", "replace")
                for name, portal in self.portals.confirmed().items()
            },
        )

    def outdated(self, statement: Statement) -> bool:
        """What the upstream has under the client's name means other relations now than the text does."""
        if self.circumstances.renamed(statement.text, statement.naming):
            statement.stale = True
            statement.discard_variants()
        statement.naming = self.circumstances.naming
        return statement.stale

    def planned(self, query: bytes, verdict: Verdict, types: bytes = b"") -> Verdict | None:
        """``verdict`` when its plan was held against it: a refusal if that reads what was not decided; None: wait."""
        if verdict.plan is None or verdict.refusal is not None or not self.witness:
            return verdict
        found = verdict.plan.outcome(verdict.text, types)
        if found is None and self.plan_found is not None and self.plan_found[:2] == (verdict.text, types):
            # Not remembered with the verdict, since that was not remembered either.
            found = self.plan_found[2]
        if found is None:
            self.awaiting_plan = CheckPlan(self.database, query, verdict, types)
            self.outbox.commands.append(self.awaiting_plan)
            return None
        if not found:
            return verdict
        self.events.alarm("plan", found, None)
        return verdict.rejected(unexplained(found))

    def deliberates(self, text: bytes) -> bool:
        """The decision on ``text`` takes long, and is made elsewhere: wait."""
        work = self.circumstances.work(text) if self.deliberated < DELIBERATIONS else None
        if work is None:
            self.deliberated = 0
            return False
        self.deliberated += 1
        self.awaiting_verdict = work
        self.outbox.commands.append(Decide(work.make))
        return True

    def decided(self, verdict: Verdict | None) -> None:
        """What was deliberated on; None where that failed."""
        work, self.awaiting_verdict = self.awaiting_verdict, None
        if verdict is None:
            self.deliberated = DELIBERATIONS
        elif work is not None:
            work.take(verdict)

    def judged_types(self, oids: tuple[int, ...]) -> Refusal | Unsettled | None:
        """Why parameters may not be of these types; UNSETTLED until a catalog that may show them has been read."""
        judged = self.circumstances.parameter_types(oids)
        if judged.unknown and self.types_sought != oids:
            self.types_sought = oids
            self.awaiting_catalog = True
            self.outbox.commands.append(LoadCatalog(self.database, anew=True))
            return Unsettled.UNSETTLED
        self.types_sought = ()
        return judged.refusal

    def plan_checked(self, found: tuple[str, ...]) -> None:
        """The plan that was awaited scans ``found`` in a way that was not decided."""
        check, self.awaiting_plan = self.awaiting_plan, None
        if check is not None:
            self.plan_found = check.verdict.text, check.types, found

    def audited(self, verdict: Verdict, subjects: tuple[tuple[str, str], ...] = ()) -> tuple[Verdict, Run | None]:
        """Has the audit write that ``verdict`` is about to run, and whom its parameters name. If it cannot, the verdict
        is a refusal."""
        conflicting = self.conflicts.refusal(verdict, self.circumstances.policy)
        if conflicting is not None:
            return verdict.rejected(conflicting), None
        try:
            return verdict, self.events.begin(verdict, self.circumstances.policy, subjects)
        except Exception as error:  # any failure of the audit refuses the statement
            self.outbox.commands.append(Fault(error))
            return refused(verdict.text, AUDIT_FAILED), None

    def audited_refusal(self, verdict: Verdict, refusal: Refusal) -> tuple[Refusal, Run | None]:
        """Has the audit write that the text is refused; the refusal then names the event."""
        purpose = self.transaction.settings.current().get("consentry.purpose")
        try:
            return self.events.refuse(verdict.statements, refusal, self.circumstances.policy, purpose)
        except Exception as error:  # it is refused already
            self.outbox.commands.append(Fault(error))
            return refusal, None

    def audited_failure(self, statement: StatementVerdict | None, refusal: Refusal) -> Refusal:
        """Has the audit write that a statement under way is refused after all, for a row that it would write."""
        rejected = None if statement is None else replace(statement, kind="reject")
        refusal, run = self.audited_refusal(Verdict(b"", () if rejected is None else (rejected,)), refusal)
        if run is not None:
            self.events.abandon(run, refusal.sqlstate)
        return refusal

    def apply(self, effects: tuple[Effect, ...], tag: bytes) -> None:
        """A statement completed: what it changed holds from now on."""
        before = self.transaction.settings.current()
        if any(isinstance(effect, Begin) for effect in effects):
            self.began_with = self.circumstances.committed
        if self.transaction.complete(effects, tag):
            self.close_portals()
        self.context_changed(before)

    def context_changed(self, before: Mapping[str, str]) -> None:
        """Settings were ``before``; tells everyone who depends on them."""
        self.circumstances.changed()
        now = self.transaction.settings.current()
        if now is not before:
            self.events.facts.actor = now.get("consentry.actor", "")
            purpose = now.get("consentry.purpose")
            if purpose != before.get("consentry.purpose"):
                self.events.purpose_change(purpose)
        if self.transaction.catalog_outdated and not self.awaiting_catalog:
            self.awaiting_catalog = True
            self.outbox.commands.append(LoadCatalog(self.database, anew=True))

    def announce(self, verdict: Verdict) -> None:
        """``verdict`` is about to be sent: tells other sessions if it may commit a change of what they see."""
        ends = any(isinstance(effect, Commit) for one in verdict.statements for effect in one.effects)
        changes = any(concerns_others(one.effects) for one in verdict.statements)
        if (changes and (ends or not self.transaction.in_block)) or (ends and self.transaction.concerns_others):
            self.announced = True
            self.migrations.announce(self.database, self)

    def withdraw(self) -> None:
        """What was announced is known to everybody, or never was; unless it is still under way."""
        if (self.announced or self.turn_since is not None) and not self.awaiting_catalog and not self.replies.barriers:
            self.announced = self.turn_cancelled = False
            self.turn_since = None
            self.migrations.withdraw(self.database, self)

    @property
    def busy(self) -> bool:
        """As :class:`proxy.session.migrations.Party` has it. Roles with ``code: true`` may run anything."""
        under_way = bool(self.replies) or self.partial or self.loading is not None
        return under_way and not self.circumstances.trusted

    @property
    def settling(self) -> bool:
        """As :class:`proxy.session.migrations.Party` has it."""
        return self.awaiting_catalog

    def close_portals(self) -> None:
        """A transaction ended, and its portals with it, but for cursors WITH HOLD that it committed or found."""
        confirmed = self.portals.confirmed()
        for name, portal in list(confirmed.items()):
            if portal.hold and (portal.held or self.transaction.committed):
                portal.held = True
            else:
                del confirmed[name]
                self.close_portal(portal)

    def close_portal(self, portal: Portal | None) -> None:
        if portal is not None and portal.run is not None and portal.run.open:
            self.events.abandon(portal.run, None, portal.rows)
