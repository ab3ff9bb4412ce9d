"""One client's connection and its upstream connection: a session between two sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, cast

from proxy.catalog.own import Unreadable
from proxy.errors import QUERY_CANCELED
from proxy.server import cancel
from proxy.server.certificates import ALPN
from proxy.server.connect import connect, keep_alive
from proxy.server.deliberation import Deliberation
from proxy.server.options import ServerOptions
from proxy.server.plans import Plans
from proxy.server.seen import Served, SessionSeen
from proxy.server.tls import TlsTransport
from proxy.session import (
    Answer,
    Cancel,
    CancelOwn,
    CatalogSource,
    CheckPlan,
    ClientEncryption,
    Close,
    Command,
    ConfirmCatalog,
    Connect,
    Decide,
    Fault,
    LoadCatalog,
    OwnCatalog,
    ReadOwnCatalog,
    Session,
    StartTls,
)
from proxy.verdict import Verdict

HIGH_WATER: Final = 512 * 1024
LOW_WATER: Final = 128 * 1024
"""Bytes written to a side and not taken by it, above which the other side is not read, and below which it is again."""

LINGER_SECONDS: Final = 10.0
"""How long a side that was closed may take to read what was written to it."""

CONNECT_SECONDS: Final = 30.0

OTHERS_SECONDS: Final = 0.01
"""How often a session looks whether the others that it waits for are done."""

READINGS: Final = 3
"""How often it is tried to read what a session alone sees."""

_log = logging.getLogger(__name__)


class _Side(asyncio.Protocol):
    """One of the two connections. Pausing follows the other side's ability to take more."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.full = False
        self.ended = False
        self.gone = False
        self._reading = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)

    def write(self, pieces: list[bytes]) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def read(self, wanted: bool) -> None:
        """Reads the socket, or leaves it to fill up."""
        if self.transport is None or self.ended or wanted == self._reading or self.transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def close(self) -> None:
        """Closes when everything has been written, or when that takes too long."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self.transport.abort)


class _Client(_Side):
    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._link.begin(transport)

    def data_received(self, data: bytes) -> None:
        link = self._link
        link.active_at = link.clock()
        link.session.client_data(data)
        self._link.flush()

    def eof_received(self) -> bool:
        """The client may still read: what it sent before is answered."""
        self.ended = True
        self._link.session.client_lost()
        self._link.flush()
        return not self._link.session.ended

    def pause_writing(self) -> None:
        self.full = True
        self._link.flush()

    def resume_writing(self) -> None:
        self.full = False
        self._link.flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.gone = True
        self._link.client_closed()


class _Upstream(_Side):
    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def data_received(self, data: bytes) -> None:
        link = self._link
        link.active_at = link.clock()
        link.session.upstream_data(data)
        link.flush()

    def pause_writing(self) -> None:
        self.full = True
        self._link.flush()

    def resume_writing(self) -> None:
        self.full = False
        self._link.flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.gone = True
        self._link.upstream_closed()


class Unanswered(ConnectionError):
    """What the upstream said instead of an answer to a question of our own, with its SQLSTATE if it said anything."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.error)
        self.sqlstate = answer.sqlstate


class Link:
    """Carries out what the session wants. ``opened`` says whether there is room for this link; ``closed`` is called
    when nothing of it is left. ``settle`` is called before anything is answered.
    """

    def __init__(
        self,
        options: ServerOptions,
        catalogs: CatalogSource,
        new_session: Callable[[str], Session],
        opened: Callable[[Link], bool],
        closed: Callable[[Link], None],
        plans: Plans | None = None,
        served: Served | None = None,
        settle: Callable[[], None] | None = None,
        deliberation: Deliberation | None = None,
    ) -> None:
        self.client = _Client(self)
        self.session: Session
        self._options = options
        self._catalogs = catalogs
        self._new_session = new_session
        self._opened = opened
        self._closed = closed
        self._plans = plans
        self._own: OwnCatalog | None = None
        self._served = served or Served()
        self._settle = settle
        self._deliberation = deliberation or Deliberation()
        self._upstream: _Upstream | None = None
        self._database: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = False
        self._deadline: asyncio.TimerHandle | None = None
        self._idleness: asyncio.TimerHandle | None = None
        self.clock = asyncio.get_running_loop().time
        self.began_at = self.active_at = self.clock()
        """When bytes last came from either side."""

    def begin(self, transport: asyncio.BaseTransport) -> None:
        """The client's connection is there."""
        keep_alive(transport)
        peer = transport.get_extra_info("peername")
        over_tcp = isinstance(peer, tuple)
        self.session = self._new_session(f"{peer[0]}:{peer[1]}" if over_tcp else "unix socket")
        keys = self._options.tls.client_keys
        if keys is not None and over_tcp:
            self.session.offer_encryption(ClientEncryption(required=keys.required, certificate=keys.certificates))
        if not self._opened(self):
            self.session.turn_away()
        self._deadline = asyncio.get_running_loop().call_later(self._options.startup_timeout, self._expire)
        if self._options.idle_timeout is not None:
            self._watch_idleness(self._options.idle_timeout)

    def flush(self) -> None:
        """Writes what the session wants written, does what it wants done, and reads whom it can go on with."""
        session = self.session
        outbox = session.outbox
        if self._settle is not None:
            self._settle()
        # Emptied before anything is written: a write that fills a side's buffer comes back here by pause_writing.
        if outbox.client:
            pieces, outbox.client = outbox.client, []
            self.client.write(pieces)
        if outbox.upstream:
            pieces, outbox.upstream = outbox.upstream, []
            if self._upstream is not None:
                self._upstream.write(pieces)
        if outbox.commands:
            commands, outbox.commands = outbox.commands, []
            for command in commands:
                self._carry_out(command)
        if session.unfinished and not self._turns:
            self._turns = True
            asyncio.get_running_loop().call_soon(self._go_on)
        elif session.waits and not self._turns:
            self._turns = True
            asyncio.get_running_loop().call_later(OTHERS_SECONDS, self._go_on)
        if self._upstream is not None:
            self._upstream.read(not (self.client.full or session.holding))
            self.client.read(not (self._upstream.full or session.backlogged))
        else:
            self.client.read(not session.backlogged)

    def seen(self) -> SessionSeen:
        """The session as it is now."""
        facts, now = self.session.facts, self.clock()
        return SessionSeen(
            facts.session,
            facts.client,
            facts.role,
            facts.database,
            facts.application,
            self.session.state,
            now - self.began_at,
            now - self.active_at,
        )

    def _go_on(self) -> None:
        self._turns = False
        self.session.go_on()
        self.flush()

    def client_closed(self) -> None:
        """The client's connection is gone for good: nobody waits for the upstream any more."""
        self.session.client_closed()
        self.flush()
        self._close_upstream()
        self._end_if_over()

    def upstream_closed(self) -> None:
        """The upstream's connection is gone, or was closed from here."""
        self.session.upstream_lost()
        self.flush()
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self.client.gone and not self._tasks and (self._upstream is None or self._upstream.gone):
            for timer in (self._deadline, self._idleness):
                if timer is not None:
                    timer.cancel()
            if self._database is not None:
                self._catalogs.release(self._database)
                self._database = None
            self._closed(self)

    def abort(self) -> None:
        """Drops both connections, whatever has not been written."""
        for side in (self._upstream, self.client):
            if side is not None and side.transport is not None:
                side.transport.abort()

    def _carry_out(self, command: Command) -> None:
        match command:
            case StartTls():
                self._start_tls(command)
            case Fault(error):
                self._served.faults += 1
                _log.error("fault in a session: %s", error, exc_info=error)
            case Close():
                self._close_upstream()
                self.client.close()
            case _:
                self._start(self._work(command))

    async def _work(self, command: Command) -> None:
        """What takes time."""
        match command:
            case Connect():
                await self._connect()
            case LoadCatalog():
                await self._load(command)
            case ReadOwnCatalog():
                await self._read_own(command)
            case ConfirmCatalog(database):
                await self._confirm(database)
            case CheckPlan():
                await self._check_plan(command)
            case Decide(make):
                await self._decide(make)
            case Cancel(packet) | CancelOwn(packet):
                await self._cancel(packet, own=isinstance(command, CancelOwn))

    def _close_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream.close()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._end_if_over()

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                options = self._options
                _, self._upstream = await connect(lambda: _Upstream(self), options.upstream, options.tls)
        except (OSError, TimeoutError) as error:
            self._served.upstream_failures += 1
            _log.warning("cannot connect to the upstream: %s", error)
            self.session.upstream_lost("cannot connect to the upstream")
        else:
            local = bool(self._options.upstream.path)
            self.session.upstream_connected(private=local or isinstance(self._upstream.transport, TlsTransport))
        self.flush()
        if self.session.ended:
            self._close_upstream()

    async def _load(self, command: LoadCatalog) -> None:
        try:
            if command.anew:
                await self._catalogs.reload(command.database)
            else:
                await self._catalogs.catalog(command.database)
                self._database = command.database
        except Exception:
            _log.exception("the catalog of database %s cannot be read", command.database)
            self.session.catalog_failed()
        else:
            self.session.catalog_ready()
        self.flush()

    async def _read_own(self, command: ReadOwnCatalog) -> None:
        catalog, canceled, why = None, "", ""
        for _ in range(READINGS):
            try:
                if self._own is None:
                    self._own = self._catalogs.own(command.database)
                catalog = await self._own.read(self._ask, command.savepoint, steady=command.steady)
                break
            except Exception as error:
                # Others may drop what is just being read, and code of the client's deallocate what was prepared for it.
                self._own, why = None, str(error)
                if isinstance(error, Unanswered) and error.sqlstate == QUERY_CANCELED:
                    canceled = why
                if canceled or self.session.ended or (isinstance(error, Unreadable) and not error.passing):
                    break
        if catalog is None and not canceled and not self.session.ended:
            _log.warning("what a session of database %s sees cannot be read: %s", command.database, why)
        self.session.own_catalog_read(catalog, canceled)
        self.flush()

    async def _ask(
        self, text: str, parameters: Sequence[str]
    ) -> tuple[Sequence[tuple[str, int]], Sequence[Sequence[bytes | None]]]:
        """One question to the upstream on the session's connection. Raises Unanswered, or what it answered."""
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.session.ask(text, parameters, answered.set_result)
        self.flush()
        answer = await answered
        if answer.error:
            raise Unanswered(answer)
        return answer.columns, answer.rows

    async def _confirm(self, database: str) -> None:
        try:
            await self._catalogs.reload(database)
        except Exception:
            _log.exception("the catalog of database %s cannot be read", database)
            self.session.catalog_confirmed(read=False)
        else:
            self.session.catalog_confirmed(read=True)
        self.flush()

    async def _check_plan(self, command: CheckPlan) -> None:
        found = () if self._plans is None else await self._plans.check(command)
        self.session.plan_checked(found)
        self.flush()

    async def _decide(self, make: Callable[[], Verdict]) -> None:
        self.session.decided(await self._deliberation.verdict(make))
        self.flush()

    async def _cancel(self, packet: bytes, *, own: bool) -> None:
        self._served.cancels += not own
        await cancel.forward(packet, self._options.upstream, self._options.tls)
        if not own:
            self.client.close()

    def _start_tls(self, command: StartTls) -> None:
        """Nothing was read since the session wanted it: what comes from now on is the handshake's."""
        context, below = self._options.tls.client, self.client.transport
        if context is None or below is None:
            return

        def established(tls: TlsTransport) -> None:
            if command.direct and tls.alpn != ALPN:
                _log.warning("a client began with TLS and did not name the protocol %s by ALPN", ALPN)
                tls.close()
            else:
                self.session.client_encrypted(tls.peer_name)

        def failed(error: Exception) -> None:
            if not isinstance(error, ConnectionError):  # those go away again that only look whether somebody listens
                _log.warning("TLS with a client failed: %s", error)

        tls = TlsTransport(below, self.client, context, established=established, failed=failed)
        self.client.transport = tls
        tls.begin(command.received)

    def _expire(self) -> None:
        if not self.session.started:
            self.session.give_up()
            self.flush()

    def _watch_idleness(self, timeout: float) -> None:
        """Ends a session that does nothing for ``timeout`` seconds; comes back when that may be so."""
        if self.session.ended:
            return
        left = self.active_at + timeout - self.clock()
        if left <= 0 and self.session.started and self.session.idle:
            self.session.idle_too_long()
            self.flush()
        else:
            left = left if left > 0 else timeout / 10
            self._idleness = asyncio.get_running_loop().call_later(left, self._watch_idleness, timeout)
