"""One client's session, from its first byte to its last: bytes and events in, an :class:`Outbox` out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, ParamSpec, Protocol

from proxy.catalog.model import Catalog
from proxy.errors import ProtocolViolation
from proxy.journal import Journal, SessionFacts
from proxy.session.answers import Answers
from proxy.session.circumstances import CatalogSource, Circumstances, PolicyHolder
from proxy.session.conflicts import ConflictCount, Conflicts
from proxy.session.dialogue import Dialogue
from proxy.session.doubts import Doubts
from proxy.session.encryption import ClientEncryption
from proxy.session.events import Clock, Events
from proxy.session.inquiry import Answer
from proxy.session.migrations import Migrations
from proxy.session.outbox import Close, ConfirmCatalog, Fault, LoadCatalog, Outbox
from proxy.session.reasons import CONNECTION_FAILURE, INTERNAL_ERROR, SessionOver, StateLost, too_many_of_role
from proxy.session.requests import Requests
from proxy.session.startup import Phase, Startup
from proxy.session.transaction import Transaction
from proxy.session.turns import Turns
from proxy.verdict import Engine, Verdict
from proxy.wire import backend, frontend
from proxy.wire.client import ClientMessages, MessageLimits
from proxy.wire.upstream import UpstreamMessages

Given = ParamSpec("Given")

MAX_BACKLOG: Final = 256 * 1024
"""Bytes of a client that wait behind a held message before its socket is no longer read."""


class RoleCount(Protocol):
    """How many sessions each role has, where that is limited."""

    def enter(self, role: str) -> bool:
        """A session of ``role`` begins; False if it may not."""
        ...

    def leave(self, role: str) -> None:
        """One that was let in is over."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sessions of a server share, and nothing else."""

    engine: Engine
    journal: Journal
    policies: PolicyHolder
    catalogs: CatalogSource
    limits: MessageLimits
    clock: Clock
    witness: bool = False
    """Somebody answers CheckPlan."""
    roles: RoleCount | None = None
    conflicts: ConflictCount | None = None
    """Counts conflicts with constraints, where somebody limits them."""
    snapshot_age: float | None = None
    """Seconds that the snapshot of a transaction may be old when something classified is read or written by it."""
    migrations: Migrations = field(default_factory=Migrations)
    alone: bool = True
    """No other process serves clients of the same upstream beside this one."""
    passwords: bool = False
    """A client that connects by TLS is asked for its password, and logged in upstream with it."""


class Session:
    """Call a method for everything that happens, then empty ``outbox``. No method raises.

    ``token`` must be such that no client can guess it: it begins the names that the session makes upstream.
    """

    def __init__(self, surroundings: Surroundings, facts: SessionFacts, token: str) -> None:
        self.outbox = Outbox()
        self.ended = False
        self._surroundings = surroundings
        self._private = f"consentry {token} ".encode()
        self._client = ClientMessages(surroundings.limits)
        self._upstream = UpstreamMessages()
        self._events = Events(surroundings.journal, facts, surroundings.clock)
        self._startup = Startup(
            surroundings.engine,
            surroundings.policies,
            self.outbox,
            self._client,
            self._upstream,
            surroundings.catalogs.current,
        )
        self._startup.passwords = surroundings.passwords
        self._dialogue: Dialogue | None = None
        self._requests: Requests | None = None
        self._judge = self._startup.judge
        self._connected = False
        self._client_gone = False
        self._draining = False
        self._entered: str | None = None
        self._doubts: Doubts | None = None
        self._turns: Turns | None = None
        self._confirmed = False
        self._held: list[bytes] = []
        self._lost: str | None = None
        self._violation: ProtocolViolation | None = None

    # --- what the owner asks ------------------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        """The client was told that it may send statements."""
        return self._requests is not None

    @property
    def facts(self) -> SessionFacts:
        """Who the session is, as far as is known."""
        return self._events.facts

    @property
    def state(self) -> str:
        """``starting``, ``active``, ``idle``, ``idle in transaction`` or ``ending``, as pg_stat_activity has it."""
        dialogue = self._dialogue
        if self.ended:
            return "ending"
        if dialogue is None:
            return "starting"
        if self.idle:
            return "idle"
        busy = dialogue.replies or dialogue.awaiting_catalog or (self._requests is not None and self._requests.waiting)
        return "active" if busy else "idle in transaction"

    @property
    def backlogged(self) -> bool:
        """Read no more of the client for now."""
        return self._client.pending > MAX_BACKLOG and not self._client.incomplete

    @property
    def holding(self) -> bool:
        """Read no more of the upstream for now."""
        return bool(self._held)

    @property
    def unfinished(self) -> bool:
        """There is more to be done: call ``go_on`` when other sessions have had their turn."""
        return self._requests is not None and self._requests.unfinished and not self.ended

    @property
    def waits(self) -> bool:
        """Other sessions are waited for, or wait for this one: call ``go_on`` again in a little while."""
        dialogue = self._dialogue
        return dialogue is not None and not self.ended and (dialogue.held or dialogue.turn_since is not None)

    @property
    def idle(self) -> bool:
        """No statement is under way and no transaction is open."""
        dialogue = self._dialogue
        return dialogue is None or (
            not dialogue.replies
            and dialogue.status == backend.IDLE
            and not dialogue.awaiting_catalog
            and not (self._requests is not None and self._requests.waiting)
        )

    # --- client -------------------------------------------------------------------------------------------------------

    def client_data(self, data: bytes) -> None:
        self._guarded(self._client_sent, data)

    def _client_sent(self, data: bytes) -> None:
        if self._requests is None:
            self._startup.client_data(data)
        else:
            self._client.feed(data)
            self._advance()

    def offer_encryption(self, encryption: ClientEncryption) -> None:
        """This client may have TLS, or must; nobody who is not offered it gets it."""
        self._startup.encryption = encryption

    def client_encrypted(self, certificate: str | None) -> None:
        """What a StartTls asked for. ``certificate``: the common name in the client's, if it showed one."""
        self._startup.client_encrypted(certificate)

    def client_lost(self) -> None:
        """The client sends no more. What it sent before is still done, as PostgreSQL does it."""
        self._client_gone = True
        self._guarded(self._leave_after_client)

    def client_closed(self) -> None:
        """The client's connection is gone: nobody is there to be answered."""
        self._guarded(lambda: self._end(None))

    def give_up(self) -> None:
        """The client took too long to log in. PostgreSQL closes without a word, too."""
        self._guarded(lambda: self._end(None))

    def idle_too_long(self) -> None:
        """Nothing was asked for longer than a session may be idle (PostgreSQL's idle_session_timeout)."""
        self._guarded(lambda: _fail(SessionOver.idle()))

    def turn_away(self) -> None:
        """There are as many sessions as there may be: refuse this one when it asks to log in."""
        self._startup.full = True

    # --- upstream -----------------------------------------------------------------------------------------------------

    def upstream_connected(self, private: bool = False) -> None:
        """``private``: by TLS or on the same machine."""
        self._connected = True
        self._guarded(lambda: self._startup.upstream_connected(private))

    def upstream_data(self, data: bytes) -> None:
        self._guarded(self._upstream_sent, data)

    def _upstream_sent(self, data: bytes) -> None:
        if self._held:
            self._held.append(data)
        elif self._doubts is not None and self._dialogue is not None and self._doubts.arise(data):
            self._held.append(data)
            self.outbox.commands.append(ConfirmCatalog(self._dialogue.database))
        else:
            self._answered(data)

    def go_on(self) -> None:
        """Other sessions have had their turn."""

        def work() -> None:
            if self._turns is not None:
                self._turns.watch()
            if self.unfinished or self.waits:
                self._advance()
                self._leave_when_idle()

        self._guarded(work)

    def _advance(self) -> None:
        """Handles what the client sent. Behind something malformed nothing can be read any more, but what was sent
        before it is answered first."""
        if self._requests is None or self._dialogue is None:
            return
        try:
            self._requests.advance()
        except ProtocolViolation as violation:
            if not self._dialogue.replies or self._dialogue.copy_in:
                raise
            self._violation = violation
            self._requests.stopped = True
            self._requests.flush()
        if self._violation is not None and not self._dialogue.replies:
            raise self._violation

    def _answered(self, data: bytes) -> None:
        if self._doubts is not None:
            self._doubts.settle()
        self._upstream.scan(data, self._judge, self.outbox.client)
        if self._requests is not None:
            self._advance()
        else:
            self._startup.advance()
        self._leave_when_idle()

    def upstream_lost(self, why: str = "the connection to the upstream was lost") -> None:
        """The upstream closed its connection, or there was none to be had. It may have said why itself."""
        self._connected = False
        if self.ended:
            return
        if self._held:
            self._lost = why
            return
        ending = self._startup.upstream_ending or (self._dialogue.upstream_ending if self._dialogue else None)
        terminated = self._dialogue is not None and self._dialogue.terminated
        if ending is not None or terminated:
            self._end(ending)
        else:
            self._die(SessionOver(CONNECTION_FAILURE, f"consentry: {why}"))

    # --- catalog ------------------------------------------------------------------------------------------------------

    def catalog_ready(self) -> None:
        """What a LoadCatalog asked for is there."""
        if self.ended and self._turns is not None:
            self._turns.settled()
        self._guarded(self._admit if self._dialogue is None else self._catalog_read)

    def catalog_failed(self) -> None:
        if self._dialogue is not None:
            self._dialogue.awaiting_catalog = False
        self._guarded(lambda: _fail(SessionOver(INTERNAL_ERROR, "consentry: the catalog cannot be read")))

    def ask(self, text: str, parameters: Sequence[str], answered: Callable[[Answer], None]) -> None:
        """Asks the upstream one question on the session's own connection, as a ReadOwnCatalog wants it."""

        def work() -> None:
            if self._dialogue is None or not self._dialogue.awaiting_own:
                raise StateLost("a question at the wrong time")
            self._upstream.read_rows = True
            self._dialogue.inquiry.ask(text, parameters, answered)

        self._guarded(work)
        if self.ended:
            answered(Answer(error="the session is over"))

    def own_catalog_read(self, catalog: Catalog | None, canceled: str = "") -> None:
        """What a ReadOwnCatalog asked for; None where it cannot be read. ``canceled``: what the upstream said when the
        client canceled it."""

        self._upstream.read_rows = False
        self._guarded(self._go_on_with, lambda dialogue: dialogue.own_read(catalog, canceled))

    def catalog_confirmed(self, *, read: bool) -> None:
        """What a ConfirmCatalog asked for is there, or could not be read: then what is known must do, if it can."""

        def work() -> None:
            if not read and self._doubts is not None and self._doubts.grave:
                raise SessionOver(INTERNAL_ERROR, "consentry: the catalog cannot be read")
            held, self._held = b"".join(self._held), []
            self._answered(held)

        self._guarded(work)
        if self._lost is not None:
            self.upstream_lost(self._lost)

    def plan_checked(self, found: tuple[str, ...]) -> None:
        """What a CheckPlan asked for: the relations that would be scanned in a way that was not decided."""
        self._guarded(self._go_on_with, lambda dialogue: dialogue.plan_checked(found))

    def decided(self, verdict: Verdict | None) -> None:
        """What a Decide asked for; None where it raised."""
        self._guarded(self._go_on_with, lambda dialogue: dialogue.decided(verdict))

    def _go_on_with(self, take: Callable[[Dialogue], None]) -> None:
        """What was waited for is there, and ``take`` takes it."""
        if self._dialogue is not None and self._requests is not None:
            take(self._dialogue)
            self._advance()
            self._leave_when_idle()

    # --- the end ------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """End with 57P01 as soon as no statement is under way and no transaction is open."""
        self._draining = True
        self._guarded(self._leave_when_idle)

    def shut_down(self) -> None:
        """End with 57P01 now."""
        self._guarded(lambda: _fail(SessionOver.shutdown()))

    def _leave_when_idle(self) -> None:
        if self._draining and self.idle:
            raise SessionOver.shutdown()
        if self._client_gone:
            self._leave_after_client()

    def _leave_after_client(self) -> None:
        if self._requests is None or self._dialogue is None:
            self._end(None)
        elif self._dialogue.terminated:
            return
        elif self._dialogue.copy_in or (self._client.torn and not self._requests.waiting):
            # To end the connection is what aborts a COPY whose data will not be complete, and what ends half a message.
            self._end(CONNECTION_FAILURE)
        elif not self._requests.waiting:
            self._dialogue.terminated = True
            self.outbox.upstream.append(frontend.TERMINATE_MESSAGE)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """The session knows who it is: may it go on?"""
        start = self._startup
        if start.phase is not Phase.DONE:
            return
        if not self._confirmed and self._surroundings.migrations.under_way(start.database):
            self._confirmed = True
            self.outbox.commands.append(LoadCatalog(start.database, anew=True))
            return
        transaction = Transaction(start.start, start.isolation, self._surroundings.clock)
        witness = self._surroundings.witness
        dialogue = Dialogue(self.outbox, self._events, transaction, self._private, start.database, witness)
        dialogue.conflicts = Conflicts(self._events, self._surroundings.conflicts)
        dialogue.migrations, dialogue.clock = self._surroundings.migrations, self._surroundings.clock
        dialogue.alone = self._surroundings.alone
        dialogue.circumstances = Circumstances(
            engine=self._surroundings.engine,
            policies=self._surroundings.policies,
            current=self._surroundings.catalogs.current,
            database=start.database,
            role=start.role,
            transaction=transaction,
            prepared=dialogue.prepared,
            fault=lambda error: self.outbox.commands.append(Fault(error)),
        )
        dialogue.circumstances.snapshot_age = self._surroundings.snapshot_age
        refusal = self._surroundings.engine.admit(dialogue.circumstances.context())
        if refusal is not None:
            raise SessionOver.refused(refusal)
        self._enter(start.role)
        facts = self._events.facts
        facts.role, facts.database = start.role, start.database
        facts.application = start.application
        facts.actor = start.start.get("consentry.actor", "")
        self._events.session_start()
        self._dialogue = dialogue
        self._requests = Requests(dialogue, self._client, self._surroundings.limits)
        self._doubts = Doubts(dialogue, self._surroundings.migrations, self._surroundings.clock)
        self._turns = Turns(dialogue)
        dialogue.cancel = start.cancel
        self._surroundings.migrations.join(start.database, dialogue)
        answers = Answers(dialogue)
        self._judge, self._upstream.ask_rows = answers.judge, answers.rows
        self.outbox.client.append(start.notices + start.ready)
        self._advance()
        self._leave_when_idle()

    def _enter(self, role: str) -> None:
        roles = self._surroundings.roles
        if roles is not None:
            if not roles.enter(role):
                raise too_many_of_role(role)
            self._entered = role

    def _catalog_read(self) -> None:
        if self._dialogue is not None and self._requests is not None and self._dialogue.awaiting_catalog:
            self._dialogue.awaiting_catalog = False
            self._dialogue.transaction.catalog_read()
            self._dialogue.circumstances.changed()
            self._dialogue.withdraw()
            self._advance()
            self._leave_when_idle()

    def _guarded(self, work: Callable[Given, None], *given: Given.args, **named: Given.kwargs) -> None:
        """Runs ``work``; whatever it raises ends the session and nothing else."""
        if self.ended:
            return
        if self._dialogue is not None:
            self._dialogue.circumstances.look_again()
        try:
            work(*given, **named)
        except SessionOver as over:
            self._die(over)
        except ProtocolViolation as violation:
            if violation.silent:
                self._end(violation.sqlstate)
            else:
                self._die(SessionOver(violation.sqlstate, str(violation)))
        except Exception as error:  # an impossible state must not become an allowance
            self.outbox.commands.append(Fault(error))
            self._die(SessionOver(INTERNAL_ERROR, "consentry: internal error"))

    def _die(self, over: SessionOver) -> None:
        """Tells the client why, where its stream allows to, and ends."""
        if over.__cause__ is not None:
            self.outbox.commands.append(Fault(over.__cause__))
        if self._requests is None and over.of_policy:
            over = self._refused_start(over)
        if self._upstream.at_boundary:
            self.outbox.client.append(backend.fatal(over.sqlstate, str(over), over.detail, over.hint))
        self._end(over.sqlstate)

    def _refused_start(self, over: SessionOver) -> SessionOver:
        """Has the audit write that the session may not start; the client is told of the event."""
        start, facts = self._startup, self._events.facts
        facts.role = start.role or start.parameters.get("user", "")
        facts.database = start.database or start.parameters.get("database", facts.role)
        facts.application = start.application or start.parameters.get("application_name", "")
        try:
            event = self._events.refuse_start(over.sqlstate, str(over), start.purpose)
        except Exception as error:  # it is refused already
            self.outbox.commands.append(Fault(error))
            return over
        detail = f"{over.detail}\n" if over.detail else ""
        return SessionOver(over.sqlstate, str(over), f"{detail}audit event {event}", over.hint)

    def _end(self, sqlstate: str | None) -> None:
        self.ended = True
        if self._dialogue is not None:
            self._dialogue.inquiry.abandon()
        if self._connected and not (self._dialogue is not None and self._dialogue.terminated):
            self.outbox.upstream.append(frontend.TERMINATE_MESSAGE)
        if self._turns is not None:
            self._turns.leave()
        self.outbox.commands.append(Close(sqlstate))
        if self._entered is not None and self._surroundings.roles is not None:
            self._surroundings.roles.leave(self._entered)
            self._entered = None
        try:
            self._events.session_end(sqlstate)
        except Exception as error:  # the session is over; the log is all that is left
            self.outbox.commands.append(Fault(error))


def _fail(over: SessionOver) -> None:
    raise over
