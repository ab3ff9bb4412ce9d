"""The audit as a structlog logger: an event passes two processors (time stamp, text) and waits to be written.

What is about to run is written before it may; how something ended that disclosed nothing personal may wait until the
client is answered, so that what comes together is written together.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from proxy.audit import events
from proxy.audit.chain import Head, head_of, seal
from proxy.audit.events import Fields
from proxy.audit.shared import SharedSink
from proxy.audit.sinks import FileSink, Sink, StreamSink, torn_reference
from proxy.audit.tally import Tally
from proxy.errors import Refusal
from proxy.journal import SessionFacts
from proxy.policy.in_force import Policies
from proxy.policy.model import Policy
from proxy.verdict import StatementVerdict

_REMEMBERED_STATEMENTS = 4096
_MOST_WAITING = 1000
_OBSERVED = Fields('"mode":"observe"')


class AuditJournal:
    """Implements :class:`proxy.journal.Journal`. One for each process; every method raises OSError if the sink fails.

    ``after`` is the line that the chain continues. ``chain_key`` None: plain SHA-256. ``hash_key`` hides the keys of
    subjects. ``clock`` gives seconds since 1970. ``observing``: what is decided is not enforced.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        hash_key: bytes,
        chain_key: bytes | None = None,
        after: Head | None = None,
        clock: Callable[[], float] = time.time,
        observing: bool = False,
    ) -> None:
        self._sink = sink
        self._shared = sink if isinstance(sink, SharedSink) else None
        self._hash_key = hash_key
        self._chain_key = chain_key
        self._head = after or Head()
        self._clock = clock
        self._second = (-1, "")
        self._chain = secrets.token_hex(6)
        self._ids = 0
        self._mode: tuple[Fields, ...] = (_OBSERVED,) if observing else ()
        self.tally = Tally()
        self.patient = False
        """Somebody calls :meth:`flush` before clients are answered. Else nothing waits."""
        self._waiting: list[str] = []
        self._statements: dict[int, tuple[StatementVerdict, Policy, Fields]] = {}
        self._log: _Recorder = structlog.wrap_logger(
            _Texts(self._waiting.append),
            processors=[self._stamp, self._text],
            wrapper_class=_Recorder,
            context_class=dict,
        ).bind()

    # --- structlog's processors ---------------------------------------------------------------------------------------

    def _stamp(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Adds the time, UTC to the microsecond. The second's text is kept: it is the greater part of the work."""
        now = self._clock()
        second = int(now)
        if second != self._second[0]:
            self._second = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        event["ts"] = f"{self._second[1]}.{int((now - second) * 1_000_000):06d}Z"
        return event

    def _text(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        """Renders the event as the inside of a JSON object."""
        return ",".join((f'"ts":"{event["ts"]}","event":"{event["event"]}"', *event["parts"]))

    # --- writing ------------------------------------------------------------------------------------------------------

    def _record(self, event: str, *parts: Fields | str) -> None:
        """Has the event written, and counted. What waited is written with it."""
        self._log.record(event, parts)
        try:
            self._write()
        except BaseException:
            # Refused is what it told of; what waited has happened, and is written when something can be.
            self._waiting.pop()
            raise
        self.tally.events[event] += 1

    def _record_soon(self, event: str, *parts: Fields | str) -> None:
        """Has the event written with the next one, or by :meth:`flush`."""
        if not self.patient:
            self._record(event, *parts)
            return
        self._log.record(event, parts)
        self.tally.events[event] += 1
        if len(self._waiting) > _MOST_WAITING:
            self._write()

    def flush(self) -> None:
        """Writes what waits. Where that fails it waits on, and the next statement is refused."""
        if self._waiting:
            with suppress(OSError):  # it was counted, and shows as failing
                self._write()

    def _write(self) -> None:
        """Writes all that waits. Where other processes write too, all of it is one turn."""
        try:
            if self._shared is None:
                self._seal_and_write()
            else:
                with self._shared.turn():
                    self._report_torn(self._shared)
                    self._seal_and_write(self._shared.beside(self._chain))
        except BaseException:
            self.tally.failed()
            raise
        self.tally.failing = False

    def _report_torn(self, shared: SharedSink) -> None:
        torn, shared.torn = shared.torn, []
        for one in torn:
            self._log.record("torn_line", (events.fields({"torn": torn_reference(one)}),))
            self._waiting.insert(0, self._waiting.pop())

    def _seal_and_write(self, beside: str | None = None) -> None:
        """The next lines of the chain. It goes on from them only once the sink has them."""
        head, lines = self._head, []
        for text in self._waiting:
            line, head = seal(text, self._chain, head, self._chain_key, beside)
            lines.append(line)
            beside = None
        self._sink.write(lines[0] if len(lines) == 1 else b"".join(lines))
        self._head = head
        self._waiting.clear()

    # --- events ------------------------------------------------------------------------------------------------------

    def start(self, policies: Policies, torn: bytes = b"") -> None:
        """The process begins to write, under ``policies``; ``torn`` is what a crash left of the last line before."""
        if torn:
            self._record("torn_line", events.fields({"torn": torn_reference(torn)}))
        self._record("start", events.policies(policies), *self._mode)

    def stop(self) -> None:
        """The process ends in good order: the last event, and the sink is closed."""
        self.patient = False
        self._record("stop")
        self._sink.close()

    def reload(self, policies: Policies) -> None:
        """From here on ``policies`` decide."""
        self._record("reload", events.policies(policies), *self._mode)

    def session_start(self, facts: SessionFacts) -> None:
        self._record("session_start", _session(facts))

    def refused_start(
        self, facts: SessionFacts, event_id: str, sqlstate: str, message: str, purpose: str | None
    ) -> None:
        what = events.fields({"purpose": purpose, "verdict": "reject", "sqlstate": sqlstate, "reason": message})
        self._record("refusal", f'"event_id":"{event_id}"', _session(facts), what)

    def session_end(self, facts: SessionFacts, sqlstate: str | None) -> None:
        self._record("session_end", _session(facts), events.fields({"sqlstate": sqlstate}))

    def purpose_change(self, facts: SessionFacts, purpose: str | None) -> None:
        self._record("purpose", _session(facts), events.fields({"purpose": purpose}))

    def new_event_id(self) -> str:
        self._ids += 1
        return f"{self._chain}-{self._ids:x}"

    def statement(
        self,
        facts: SessionFacts,
        event_id: str,
        statement: StatementVerdict,
        policy: Policy,
        refusal: Refusal | None,
        subjects: tuple[tuple[str, str], ...] = (),
    ) -> None:
        what = self._decided(statement, policy, refusal)
        if subjects:
            what = events.naming(what, statement, subjects, self._hash_key)
        self._record("statement", f'"event_id":"{event_id}"', _session(facts), what, *self._mode)
        if refusal is None:
            self.tally.verdicts[statement.kind] += 1
        else:
            self.tally.verdicts["reject"] += 1
            self.tally.refusals[refusal.sqlstate] += 1

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
        what = events.result(rows, duration_ms, sqlstate)
        record = self._record_soon if soon else self._record
        record("result", f'"event_id":"{event_id}"', _session(facts), what)
        self.tally.result(rows, duration_ms / 1000, sqlstate)

    def alarm(self, facts: SessionFacts, event_id: str | None, witness: str, found: Sequence[str]) -> None:
        what = events.fields({"witness": witness, "found": list(found)})
        self._record("alarm", f'"event_id":{events.encode(event_id)}', _session(facts), what)
        self.tally.alarms[witness] += 1

    def conflict(
        self,
        facts: SessionFacts,
        event_id: str | None,
        table: str | None,
        constraint: str | None,
        sqlstate: str | None,
        exceeded: Sequence[str],
    ) -> None:
        what = events.fields(
            {"table": table, "constraint": constraint, "sqlstate": sqlstate, "exceeded": list(exceeded)}
        )
        self._record("conflict", f'"event_id":{events.encode(event_id)}', _session(facts), what)
        self.tally.conflicts["exceeded" if exceeded else "within"] += 1

    def _decided(self, statement: StatementVerdict, policy: Policy, refusal: Refusal | None) -> Fields:
        """The statement's fields, encoded once for each verdict that the engine hands out again and again."""
        known = self._statements.get(id(statement))
        if known is not None and known[0] is statement and known[1] is policy and refusal is None:
            return known[2]
        what = events.statement(statement, policy, refusal, self._hash_key)
        if refusal is None:
            if len(self._statements) >= _REMEMBERED_STATEMENTS:
                self._statements.clear()
            self._statements[id(statement)] = statement, policy, what
        return what


def _session(facts: SessionFacts) -> Fields:
    return events.session(
        facts.session, facts.client, facts.role, facts.database, facts.application, facts.actor
    )  # fmt: skip


class _Texts:
    """What structlog calls with the finished text, in place of a logger of its own."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self.info = take


class _Recorder(structlog.BoundLoggerBase):
    """All events of the audit have one level."""

    def record(self, event: str, parts: tuple[Fields | str, ...]) -> None:
        self._proxy_to_logger("info", event, parts=parts)


def open_journal(
    target: str, policies: Policies, *, hash_key: bytes, chain_key: bytes | None = None, observing: bool = False
) -> AuditJournal:
    """The journal that writes to ``target``, a path or ``-`` for standard output, after what is already there.

    Raises OSError if it cannot be opened or written or has another writer, and :class:`proxy.audit.chain.Damaged` if
    its last line was edited or written with another key: no chain can go on from there.
    """
    sink = StreamSink(1) if target == "-" else FileSink.open(Path(target))
    last, torn = (sink.last_line, sink.torn) if isinstance(sink, FileSink) else (None, b"")
    try:
        after = None if last is None else head_of(last, chain_key)
        journal = AuditJournal(sink, hash_key=hash_key, chain_key=chain_key, after=after, observing=observing)
        journal.start(policies, torn)
    except BaseException:
        sink.close()
        raise
    return journal


def check_last_line(sink: FileSink, chain_key: bytes | None) -> None:
    """Raises :class:`proxy.audit.chain.Damaged` if no chain can go on from the last line of the file."""
    if sink.last_line is not None:
        head_of(sink.last_line, chain_key)


def join_journal(
    sink: SharedSink,
    policies: Policies,
    *,
    hash_key: bytes,
    chain_key: bytes | None = None,
    torn: bytes = b"",
    observing: bool = False,
) -> AuditJournal:
    """The journal of one of several processes that write to ``sink``. It begins after the last line, whoever wrote it.

    Raises what :func:`open_journal` does.
    """
    with sink.turn():
        after = sink.head(chain_key)
        journal = AuditJournal(sink, hash_key=hash_key, chain_key=chain_key, after=after, observing=observing)
        journal.start(policies, torn)
    return journal
