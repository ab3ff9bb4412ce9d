"""A session that changes nothing and refuses nothing (``mode: observe``): bytes pass as they are, and an observer reads
along and has the audit write what enforce would have done.

Whoever reads along may lose the thread (a pipeline whose earlier statements change what later ones mean, a text that
nobody can analyse); the session does not depend on it, and what cannot be followed any more is only not told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from proxy.errors import Refusal
from proxy.journal import SessionFacts
from proxy.policy.model import Policy
from proxy.session import literals
from proxy.session.binding import NO_TYPES
from proxy.session.circumstances import Circumstances, Prepared
from proxy.session.events import Events, Run
from proxy.session.outbox import Fault, LoadCatalog
from proxy.session.reasons import SessionOver
from proxy.session.session import Session, Surroundings
from proxy.session.startup import Phase
from proxy.session.transaction import Transaction
from proxy.verdict import Deallocate, DiscardAll, Effect, Prepare, Verdict
from proxy.wire import backend, frontend
from proxy.wire.client import ClientMessages, Form, Frame
from proxy.wire.upstream import UpstreamMessages

_ENDS_STATEMENT: Final = frozenset({backend.COMMAND_COMPLETE, backend.EMPTY_QUERY_RESPONSE, backend.PORTAL_SUSPENDED})


class ObservingSession(Session):
    """As :class:`Session`, for its owner; for client and upstream as if it were not there."""

    def __init__(self, surroundings: Surroundings, facts: SessionFacts, token: str) -> None:
        super().__init__(surroundings, facts, token)
        self._startup.lenient = True
        self._observer: Observer | None = None
        self._passing = False
        self._terminated = False

    # --- what the owner asks ------------------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        return self._passing

    @property
    def state(self) -> str:
        if self.ended or not self._passing:
            return super().state
        observer = self._observer
        if observer is None:
            return "active"
        return "active" if observer.expected else "idle" if observer.status == backend.IDLE else "idle in transaction"

    @property
    def idle(self) -> bool:
        return not self._passing or self.state == "idle"

    @property
    def backlogged(self) -> bool:
        return not self._passing and super().backlogged

    # --- bytes --------------------------------------------------------------------------------------------------------

    def client_data(self, data: bytes) -> None:
        if not self._passing:
            super().client_data(data)
        elif not self.ended:
            self.outbox.upstream.append(data)
            self._observe(lambda observer: observer.client_data(data))

    def upstream_data(self, data: bytes) -> None:
        if not self._passing:
            super().upstream_data(data)
        elif not self.ended:
            self.outbox.client.append(data)
            self._observe(lambda observer: observer.upstream_data(data))
            self._guarded(self._leave_when_idle)

    def upstream_lost(self, why: str = "the connection to the upstream was lost") -> None:
        observer = self._observer
        told = self._terminated or (observer is not None and observer.ending is not None)
        if self._passing and not self.ended and (told or observer is None or not self._upstream.at_boundary):
            self._connected = False
            self._end(None if observer is None else observer.ending)
        else:
            super().upstream_lost(why)

    def catalog_ready(self) -> None:
        if self._passing:
            self._observe(lambda observer: observer.catalog_read())
        else:
            super().catalog_ready()

    def catalog_failed(self) -> None:
        self._lose_sight(LookupError("the catalog cannot be read"))

    # --- the end ------------------------------------------------------------------------------------------------------

    def _leave_after_client(self) -> None:
        if not self._passing:
            super()._leave_after_client()
        elif not self._terminated:
            self._terminated = True
            self.outbox.upstream.append(frontend.TERMINATE_MESSAGE)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        start = self._startup
        if start.phase is not Phase.DONE or self._passing:
            return
        self._enter(start.role)
        facts = self._events.facts
        facts.role, facts.database, facts.application = start.role, start.database, start.application
        facts.actor = start.start.get("consentry.actor", "")
        try:
            self._events.session_start()
            self._observer = Observer(
                self._surroundings, self._events, self._upstream, start.database, start.role, start.start
            )
        except Exception as error:  # nothing that goes wrong here is the client's concern
            self._lose_sight(error)
        else:
            self._begin_passing()

    def _begin_passing(self) -> None:
        """From here on nothing stands between the two."""
        self._passing = True
        self._upstream.read_rows = False
        self.outbox.client.append(self._startup.ready)
        early = self._client.unread()
        if early:
            self.client_data(early)

    def _observe(self, work: Callable[[Observer], None]) -> None:
        observer = self._observer
        if observer is None:
            return
        try:
            work(observer)
        except Exception as error:  # the same
            self._lose_sight(error)
            return
        if observer.catalog_outdated:
            observer.catalog_outdated = False
            self.outbox.commands.append(LoadCatalog(self._startup.database, anew=True))

    def _lose_sight(self, error: Exception) -> None:
        """Goes on without looking."""
        self.outbox.commands.append(Fault(error))
        self._observer = None
        if not self._passing and self._startup.ready:
            self._begin_passing()

    def _die(self, over: SessionOver) -> None:
        if self._startup.ready and not self._passing and over.of_policy:
            self._lose_sight(over)
        elif self._passing and self._observer is None:
            self._end(over.sqlstate)  # nobody knows where a message ends
        else:
            super()._die(over)


@dataclass(slots=True, eq=False)
class _Expected:
    """A message whose end is awaited: a Query, an Execute or a Sync."""

    kind: int
    verdict: Verdict | None = None
    run: Run | None = None
    completed: int = 0


class Observer:
    """Reads both directions of one session. Any method may raise; then the session is not looked at any more.

    ``status`` is that of the last ReadyForQuery, ``ending`` the SQLSTATE of a FATAL error.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        events: Events,
        upstream: UpstreamMessages,
        database: str,
        role: str,
        start: Mapping[str, str],
    ) -> None:
        self.expected: deque[_Expected] = deque()
        self.status = backend.IDLE
        self.ending: str | None = None
        self.catalog_outdated = False
        self._events = events
        self._upstream = upstream
        self._messages = ClientMessages(surroundings.limits)
        self._transaction = Transaction(start)
        self._statements: dict[bytes, bytes] = {}
        self._portals: dict[bytes, bytes] = {}
        self._copying = False
        self._skipping = False
        self._circumstances = Circumstances(
            engine=surroundings.engine,
            policies=surroundings.policies,
            current=surroundings.catalogs.current,
            database=database,
            role=role,
            transaction=self._transaction,
            prepared=self._prepared,
            fault=_raise,
        )

    # --- client -------------------------------------------------------------------------------------------------------

    def client_data(self, data: bytes) -> None:
        self._messages.feed(data)
        while (frame := self._messages.take()) is not None:
            self._frame(frame)

    def _frame(self, frame: Frame) -> None:
        if frame.form is Form.PIECE or (self._copying and frame.kind in (frontend.SYNC, frontend.FLUSH)):
            return
        if frame.form is Form.HEAD:
            self._messages.skip_rest()
        if frame.kind == frontend.SYNC:
            self._skipping = False
            self.expected.append(_Expected(frontend.SYNC))
        elif frame.form is Form.OVERSIZE:
            if frame.kind != frontend.PARSE:
                self.expected.append(_Expected(frontend.QUERY))
        elif not self._skipping:
            self._asked(frame)

    def _asked(self, frame: Frame) -> None:
        match frame.kind:
            case frontend.QUERY:
                self._decide(frontend.QUERY, frontend.read_query(frame.data))
            case frontend.PARSE:
                name, text, _ = frontend.read_parse(frame.data)
                self._statements[name] = text
            case frontend.BIND:
                names = frontend.read_bind(frame.data)
                self._portals[names.portal] = self._bound(frame, names, self._statements.get(names.statement, b""))
            case frontend.EXECUTE:
                self._decide(frontend.EXECUTE, self._portals.get(frontend.read_execute(frame.data).portal, b""))

    def _bound(self, frame: Frame, names: frontend.Bind, text: bytes) -> bytes:
        """What enforce would judge for this Bind of ``text``."""
        if frame.form is not Form.WHOLE or b"set_config" not in text.lower():
            return text
        verdict = self._circumstances.decide(text)
        return literals.in_place(frame.data, names, text, NO_TYPES, verdict) or text

    def _decide(self, kind: int, text: bytes) -> None:
        """Has the audit write what enforce would do with ``text``."""
        verdict = self._circumstances.decide(text)
        policy = self._circumstances.policy
        if verdict.refusal is None:
            run = self._events.begin(verdict, policy)
        else:
            run = self._refused(verdict, verdict.refusal, policy)
        self.expected.append(_Expected(kind, verdict, run))

    def _refused(self, verdict: Verdict, refusal: Refusal, policy: Policy) -> Run:
        purpose = self._transaction.settings.current().get("consentry.purpose")
        return self._events.refuse(verdict.statements, refusal, policy, purpose)[1]

    # --- upstream -----------------------------------------------------------------------------------------------------

    def upstream_data(self, data: bytes) -> None:
        self._upstream.scan(data, self._answer, [])

    def _answer(self, kind: int, whole: bytes) -> None:
        head = self.expected[0] if self.expected else None
        if kind == backend.ERROR_RESPONSE:
            self._error(backend.read_fields(whole), head)
        elif kind == backend.PARAMETER_STATUS:
            name, value = backend.read_parameter(whole)
            if name == "application_name":
                self._events.facts.application = value
        elif kind == backend.COPY_IN_RESPONSE:
            self._copying = True
            while len(self.expected) > 1 and self.expected[1].kind == frontend.SYNC:
                del self.expected[1]  # sent before the client could know, and ignored by the server
        elif kind == backend.READY_FOR_QUERY:
            self._ready(whole[5])
        elif kind in _ENDS_STATEMENT and head is not None:
            self._completed(kind, whole, head)

    def _completed(self, kind: int, whole: bytes, head: _Expected) -> None:
        self._copying = False
        tag = backend.read_tag(whole) if kind == backend.COMMAND_COMPLETE else b""
        statements = () if head.verdict is None else head.verdict.statements
        statement = statements[head.completed] if head.completed < len(statements) else None
        head.completed += 1
        if head.run is not None and head.run.open:
            self._events.complete(head.run, backend.tag_rows(tag))
        if statement is not None and statement.effects:
            self._apply(statement.effects, tag)
        if head.kind == frontend.EXECUTE:
            self.expected.popleft()

    def _apply(self, effects: tuple[Effect, ...], tag: bytes) -> None:
        before = self._transaction.settings.current()
        for effect in effects:
            match effect:
                case Prepare(name, text):
                    self._statements[name.encode()] = text.encode()
                case Deallocate(str(name)):
                    self._statements.pop(name.encode(), None)
                case Deallocate(None) | DiscardAll():
                    self._statements.clear()
        self._transaction.complete(effects, tag)
        self._changed(before)

    def _error(self, fields: backend.Fields, head: _Expected | None) -> None:
        sqlstate = fields.get("C", "")
        if fields.get("V", fields.get("S")) in ("FATAL", "PANIC"):
            self.ending = sqlstate
        self._transaction.fail()
        self._copying = False
        if head is not None and head.kind == frontend.QUERY:
            self._abandon(head, sqlstate)
            return
        while self.expected and self.expected[0].kind != frontend.SYNC:
            self._abandon(self.expected.popleft(), sqlstate)
        self._skipping = not self.expected

    def _ready(self, status: int) -> None:
        self._copying = False
        if self.expected:
            self._abandon(self.expected.popleft(), None)
        self.status = status
        before = self._transaction.settings.current()
        # What nobody could analyse may have begun or ended a transaction.
        if status != backend.IDLE or not self._transaction.failed:
            self._transaction.in_block = status != backend.IDLE
        self._transaction.ready(status)
        self._changed(before)

    def _abandon(self, one: _Expected, sqlstate: str | None) -> None:
        if one.run is not None and one.run.open:
            self._events.abandon(one.run, sqlstate)

    def _changed(self, before: Mapping[str, str]) -> None:
        self._circumstances.changed()
        now = self._transaction.settings.current()
        self._events.facts.actor = now.get("consentry.actor", "")
        purpose = now.get("consentry.purpose")
        if purpose != before.get("consentry.purpose"):
            self._events.purpose_change(purpose)
        self.catalog_outdated = self.catalog_outdated or self._transaction.catalog_outdated

    def catalog_read(self) -> None:
        """What was committed is in the shared catalog."""
        self._transaction.catalog_read()
        self._circumstances.changed()

    def _prepared(self) -> Prepared:
        texts = {
            name.decode("utf-8", "replace"): text.decode("utf-8", "replace")
            for name, text in self._statements.items()
            if name
        }
        return Prepared(texts)


def _raise(error: BaseException) -> None:
    raise error
