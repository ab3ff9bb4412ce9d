"""The client's side of a dialogue: what becomes of each message that a client sends after login.

A refused message is never answered here, ahead of replies in flight. One that is bound to fail goes upstream in its
place, so that the order of replies, the transaction's abort, the skip to Sync and ReadyForQuery are the upstream's own;
its error comes back to the client as the refusal (see :mod:`proxy.session.answers`).
"""

from __future__ import annotations

import re
from typing import Final

from proxy.catalog.model import FIRST_NORMAL_OBJECT_ID
from proxy.errors import ProtocolViolation, Refusal
from proxy.session import checks, endings, hidden, subjects
from proxy.session.binding import Binding
from proxy.session.circumstances import refused
from proxy.session.commits import ROLLBACK, Commits, Step, rolled_back
from proxy.session.cursors import Cursors
from proxy.session.dialogue import FAILING_QUERY, Dialogue
from proxy.session.events import Run
from proxy.session.loading import copies
from proxy.session.loads import Loads
from proxy.session.names import Unsettled
from proxy.session.queries import Queries
from proxy.session.reasons import (
    FAILED_TRANSACTION,
    FUNCTION_CALL,
    UNDEFINED_PORTAL,
    UNDEFINED_STATEMENT,
    UNDEFINED_TABLE,
    too_long,
)
from proxy.session.replies import Reply
from proxy.session.statements import Portal, Statement
from proxy.verdict import Verdict
from proxy.wire import backend, frontend
from proxy.wire.client import ClientMessages, Form, Frame, MessageLimits

SLOW_SECONDS: Final = 0.1
"""Nothing further is decided behind a statement that has been running for longer: it would run much later."""
FRAMES_AT_ONCE: Final = 1000
"""Messages of one client that are handled before other sessions have their turn."""
MAX_IN_FLIGHT: Final = 10_000
"""Messages of one client that the upstream has not answered. What comes beyond them waits, and then is not read."""

_DECIDED = frozenset({frontend.QUERY, frontend.PARSE, frontend.BIND, frontend.EXECUTE, frontend.FUNCTION_CALL})
_COPY = frozenset({frontend.COPY_DATA, frontend.COPY_DONE, frontend.COPY_FAIL})
_TRANSACTION = re.compile(rb"\s*(BEGIN|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE)\b[\w\s]*;?\s*", re.IGNORECASE)
_ANSWERS_AT_ONCE = frozenset({frontend.QUERY, frontend.SYNC, frontend.FLUSH})


class Requests:
    """Takes frames in order. A frame that has to wait is kept, and everything behind it waits too."""

    def __init__(self, dialogue: Dialogue, messages: ClientMessages, limits: MessageLimits) -> None:
        self._dialogue = dialogue
        self._messages = messages
        self._limits = limits
        self._cursors = Cursors(dialogue)
        self._binding = Binding(dialogue, self._cursors)
        self._commits = Commits(dialogue, self._send)
        self._loads = Loads(dialogue, self._send)
        self._queries = Queries(
            dialogue,
            self._binding,
            self._cursors,
            self._commits,
            self._loads,
            limits.statement,
            self._send,
            self._sync,
        )
        self._waiting: Frame | None = None
        self._flushed = True
        self._unfinished = False
        self.stopped = False
        """Nothing further of the client is read."""

    @property
    def waiting(self) -> bool:
        """A message is held until replies in flight have come, or until other sessions have had their turn; or an
        answer is held until rows are checked."""
        dialogue = self._dialogue
        loads = dialogue.loading is not None and not dialogue.copy_in
        return self._waiting is not None or self._unfinished or loads

    @property
    def unfinished(self) -> bool:
        """More can be handled at once: call :meth:`advance` when other sessions have had their turn."""
        return self._unfinished

    def advance(self) -> None:
        """Handles what the client sent, as far as it can be handled now."""
        self._unfinished = self._dialogue.held = False
        if self._dialogue.loading is not None:
            self._loads.advance()
        for _ in range(FRAMES_AT_ONCE):
            if self._dialogue.terminated or self.stopped:
                return
            frame = self._waiting or self._messages.take()
            if frame is None:
                return
            self._waiting = None
            if not self._handle(frame):
                self._waiting = frame
                if not self._flushed:
                    # Nothing else makes the upstream answer what it has (Flush itself has no reply).
                    self._send(frontend.FLUSH, frontend.FLUSH_MESSAGE)
                return
        self._unfinished = True

    def flush(self) -> None:
        """Has the upstream answer all that it was sent."""
        if not self._flushed:
            self._send(frontend.FLUSH, frontend.FLUSH_MESSAGE)

    def _handle(self, frame: Frame) -> bool:
        """False if the frame must wait."""
        dialogue = self._dialogue
        kind = frame.kind
        if (dialogue.replies.copies and not dialogue.copy_in) or (
            dialogue.loading is not None and self._loads.holds(kind)
        ):
            return False
        if frame.form is Form.PIECE:
            self._loads.data(frame.data)
            dialogue.outbox.upstream.append(frame.data)
            return True
        if dialogue.copy_in:
            if kind not in _COPY and kind != frontend.TERMINATE:
                return self._amid_copy(kind)
        elif len(dialogue.replies) >= MAX_IN_FLIGHT:
            return False
        if dialogue.replies.skipping and kind not in (frontend.SYNC, frontend.TERMINATE):
            if frame.form is Form.HEAD:
                self._messages.skip_rest()
            return True
        if kind in _DECIDED:
            return not self._must_wait(frame) and self._decided(frame)
        if kind == frontend.DESCRIBE:
            return self._describe(frame.data)
        self._relay(frame)
        return True

    def _too_early(self, kind: int) -> bool:
        """What is decided now would run much later: behind a statement that takes long. No driver sends a simple query
        before the answer to another has come, so there is nothing to be gained by deciding on one."""
        if kind == frontend.QUERY:
            return not self._queries.in_parts
        head = self._dialogue.replies.head
        return head is not None and self._dialogue.clock() - head.sent > SLOW_SECONDS

    def _amid_copy(self, kind: int) -> bool:
        """PostgreSQL ignores Flush and Sync amid COPY data, and fails on anything else (copyfromparse.c). But behind
        data that it does not accept it answers a Sync, so that one waits until there is more data, or an error."""
        if kind not in (frontend.SYNC, frontend.FLUSH):
            raise ProtocolViolation(f"unexpected message type 0x{kind:02X} during COPY from stdin")
        return kind == frontend.FLUSH or self._messages.next_kind(beyond=(frontend.SYNC, frontend.FLUSH)) in _COPY

    def _decided(self, frame: Frame) -> bool:
        refusal, self._dialogue.canceled = self._dialogue.canceled, None
        if refusal is not None:
            self._cancel(frame, refusal)
            return True
        match frame.kind:
            case frontend.QUERY:
                return self._queries.query(frame)
            case frontend.PARSE:
                return self._parse(frame)
            case frontend.BIND:
                return self._bind(frame)
            case frontend.EXECUTE:
                return self._execute(frame)
            case _:
                self._queries.refuse(refused(b"", FUNCTION_CALL), FUNCTION_CALL)
                return True

    def _must_wait(self, frame: Frame) -> bool:
        """Something that the decision rests on is not known yet."""
        dialogue = self._dialogue
        if dialogue.canceled is not None:
            return False
        if dialogue.replies.barriers or dialogue.awaiting or (dialogue.replies and self._too_early(frame.kind)):
            return True
        if dialogue.migrations.holds(dialogue.database, dialogue, dialogue.clock) and self._depends_on_catalog(frame):
            dialogue.held = True
            return True
        if not dialogue.must_read_own() or not self._depends_on_catalog(frame):
            return False
        if not dialogue.replies:
            dialogue.read_own()
        return True

    def _depends_on_catalog(self, frame: Frame) -> bool:
        """The decision on the message may be another under another catalog: it is not the transaction's end."""
        if frame.form is not Form.WHOLE:
            return frame.kind == frontend.BIND
        text = frontend.read_query(frame.data) if frame.kind == frontend.QUERY else b""
        return not _TRANSACTION.fullmatch(text)

    def _send(self, kind: int, message: bytes, reply: Reply | None = None) -> None:
        self._flushed = kind in _ANSWERS_AT_ONCE
        self._dialogue.unsynced = True
        self._dialogue.outbox.upstream.append(message)
        if reply is not None:
            dialogue = self._dialogue
            reply.sent = dialogue.clock()
            if reply.verdict is not None:
                reply.catalog = dialogue.circumstances.catalog
                reply.policy = dialogue.circumstances.policy
            dialogue.replies.append(reply)

    # --- extended query -----------------------------------------------------------------------------------------------

    def _parse(self, frame: Frame) -> bool:
        dialogue = self._dialogue
        if frame.form is Form.OVERSIZE:
            refusal = too_long(self._limits.statement)
            self._refuse_parse(dialogue.missing, b"\0\0", refused(b"", refusal), refusal)
            return True
        name, text, types = frontend.read_parse(frame.data)
        if self._queries.must_settle(text) or dialogue.deliberates(text):
            return False
        verdict = dialogue.circumstances.decide(text)
        if verdict.refusal is not None and verdict.permanent:
            self._refuse_parse(name, types, verdict, verdict.refusal)
            return True
        own_types = tuple(oid for oid in frontend.read_types(types) if oid >= FIRST_NORMAL_OBJECT_ID)
        judged = dialogue.judged_types(own_types) if own_types else None
        if isinstance(judged, Unsettled):
            return False
        if judged is not None:
            self._refuse_parse(name, types, verdict.rejected(judged), judged)
            return True
        # Refused for now only: the client may describe its own text, and ask again at Bind.
        sent = verdict if verdict.refusal is None else None
        statement = Statement(text, types, dialogue.circumstances.naming, sent, own_types=own_types)
        if not name:
            self._queries.release_unnamed()
        change = dialogue.statements.change(name, statement, dialogue.segment)
        if sent is None:
            statement.withheld = True
            for message, reply in self._binding.withhold(name, statement, change):
                self._send(frontend.PARSE, message, reply)
            return True
        whole = frame.data if not sent.rewritten else frontend.parse(name, sent.text, types)
        self._send(frontend.PARSE, whole, Reply(frontend.PARSE, sent, statement=change, query=text))
        return True

    def _refuse_parse(self, name: bytes, types: bytes, verdict: Verdict, refusal: Refusal) -> None:
        dialogue = self._dialogue
        refusal, run = dialogue.audited_refusal(verdict, refusal)
        if verdict.told_by:
            if not name:
                self._send(
                    frontend.CLOSE,
                    frontend.close(frontend.STATEMENT, b""),
                    self._queries.forgetting(frontend.STATEMENT),
                )
            for message, reply in hidden.told(dialogue, verdict, refusal, run, types):
                self._send(reply.kind, message, reply)
            return
        self._send(frontend.PARSE, *self._failing_parse(name, types, refusal, run))

    def _failing_parse(
        self, name: bytes, types: bytes, refusal: Refusal, run: Run | None, expected: str = UNDEFINED_TABLE
    ) -> tuple[bytes, Reply]:
        dialogue = self._dialogue
        reply = Reply(frontend.PARSE, run=run, refused=refusal, expected=expected)
        if not name and dialogue.statements.known(b""):
            # PostgreSQL drops the unnamed statement before it reads the new one (exec_parse_message).
            reply.statement = dialogue.statements.change(b"", None, dialogue.segment)
        return frontend.parse(name, FAILING_QUERY, types), reply

    def _bind(self, frame: Frame) -> bool:
        names = frontend.read_bind(frame.data)
        if frame.form is Form.HEAD and self._binding.needs_whole(names.statement):
            self._messages.gather()
            return True
        bound = self._binding.bind(names, frame.data if frame.form is Form.WHOLE else None)
        if bound is None:
            return False
        for message, reply in bound.before:
            self._send(reply.kind, message, reply)
        if bound.reply.refused is not None:
            if frame.form is Form.HEAD:
                self._messages.skip_rest()
            message = frontend.bind(b"", bound.statement)
        else:
            if frame.form is Form.HEAD:
                self._messages.pass_rest()
            message = bound.message(frame.data, names, frame.length)
            if frame.form is Form.WHOLE and bound.portal is not None and bound.reply.verdict is not None:
                portal = bound.portal
                portal.subjects = subjects.bound(frame.data, names, portal.statement, bound.reply.verdict)
            if frame.form is Form.WHOLE and bound.reply.verdict is not None and not bound.reply.verdict.plain:
                message = checks.bound(message, bound.reply.verdict)
        self._send(frontend.BIND, message, bound.reply)
        return True

    def _execute(self, frame: Frame) -> bool:
        name, limit = frontend.read_execute(frame.data)
        portal = self._dialogue.portals.look_up(name, self._dialogue.segment)
        verdict = portal.verdict if isinstance(portal, Portal) else None
        if verdict is not None and not verdict.plain:
            waits = self._commits.before(verdict, 0, frame, simple=False) is Step.WAIT
            if waits or self._queries.must_load_alone(verdict):
                return False
        reply = self._binding.execute(name, limit)
        if reply is None:
            return False
        message = frame.data if reply.refused is None else frontend.execute(self._dialogue.missing)
        if reply.verdict is not None and not reply.verdict.plain:
            if limit > 0 and reply.refused is None and checks.drops_rows(reply.verdict):
                message = frontend.execute(name)
            if copies(reply.verdict):
                self._loads.begin(reply.verdict, reply.run, simple=False)
        self._send(frontend.EXECUTE, message, reply)
        if reply.ending:
            for whole, hidden_reply in endings.sent_behind(reply, self._dialogue.private + b"ending "):
                self._send(hidden_reply.kind, whole, hidden_reply)
        return True

    # --- what needs no decision ---------------------------------------------------------------------------------------

    def _relay(self, frame: Frame) -> None:
        match frame.kind:
            case frontend.SYNC:
                self._sync(frame.data)
            case frontend.FLUSH:
                frontend.require_empty(frame.data)
                self._send(frontend.FLUSH, frame.data)
            case frontend.CLOSE:
                self._close(frame.data)
            case frontend.COPY_DONE | frontend.COPY_FAIL:
                self._end_copy(frame.data)
            case frontend.TERMINATE:
                self._dialogue.terminated = True
                self._send(frontend.TERMINATE, frontend.TERMINATE_MESSAGE)
            case kind:
                raise ProtocolViolation(f"invalid frontend message type {kind}")

    def _sync(self, whole: bytes) -> None:
        frontend.require_empty(whole)
        dialogue = self._dialogue
        transaction = dialogue.transaction
        if dialogue.rolls_back:
            self._send(frontend.SYNC, whole, Reply(frontend.SYNC, hidden=True, barrier=True))
            dialogue.replies.skipping = False
            dialogue.segment += 1
            dialogue.rolls_back = False
            for message, reply in hidden.executed(dialogue.private + b"rollback", ROLLBACK):
                self._send(reply.kind, message, rolled_back(reply.kind) if reply.kind == frontend.EXECUTE else reply)
            self._send(frontend.SYNC, whole, Reply(frontend.SYNC, barrier=True))
            dialogue.segment += 1
            return
        barrier = dialogue.replies.barriers > 0 or (transaction.dirty and not transaction.in_block)
        self._send(frontend.SYNC, whole, Reply(frontend.SYNC, barrier=barrier))
        dialogue.replies.skipping = False
        dialogue.segment += 1

    def _cancel(self, frame: Frame, refusal: Refusal) -> None:
        """The client canceled the message while it waited."""
        if frame.form is Form.HEAD:
            self._messages.skip_rest()
        missing = self._dialogue.missing
        failed = self._dialogue.status == backend.FAILED_TRANSACTION
        expected = FAILED_TRANSACTION.sqlstate if failed else UNDEFINED_TABLE
        match frame.kind:
            case frontend.QUERY:
                self._queries.cancel(refusal, expected)
            case frontend.PARSE:
                self._send(frontend.PARSE, *self._failing_parse(missing, b"\0\0", refusal, None, expected))
            case frontend.BIND:
                reply = Reply(frontend.BIND, refused=refusal, expected=UNDEFINED_STATEMENT)
                self._send(frontend.BIND, frontend.bind(b"", missing), reply)
            case _:  # a portal, or a function, that is missing
                reply = Reply(frontend.EXECUTE, refused=refusal, expected=UNDEFINED_PORTAL)
                self._send(frontend.EXECUTE, frontend.execute(missing), reply)

    def _describe(self, whole: bytes) -> bool:
        kind, name = frontend.read_target(whole)
        dialogue = self._dialogue
        reply = Reply(frontend.DESCRIBE)
        if kind == frontend.STATEMENT:
            statement = dialogue.statements.look_up(name, dialogue.segment)
            if isinstance(statement, Unsettled):
                return False
            if statement is not None:
                if statement.withheld and dialogue.replies.barriers:
                    return False  # its private name may be about to go, by DISCARD ALL
                reply.verdict, reply.describes = statement.verdict, statement
                before, private = self._binding.describe(statement)
                for message, hidden in before:
                    self._send(hidden.kind, message, hidden)
                whole = whole if private is None else frontend.describe(frontend.STATEMENT, private)
        else:
            portal = dialogue.portals.look_up(name, dialogue.segment)
            if isinstance(portal, Portal):
                reply.verdict = portal.verdict
        self._send(frontend.DESCRIBE, whole, reply)
        return True

    def _close(self, whole: bytes) -> None:
        kind, name = frontend.read_target(whole)
        dialogue = self._dialogue
        reply = Reply(frontend.CLOSE)
        if kind == frontend.STATEMENT:
            statement = dialogue.statements.look_up(name, dialogue.segment)
            reply.statement = dialogue.statements.change(name, None, dialogue.segment)
            self._send(frontend.CLOSE, whole, reply)
            if isinstance(statement, Statement):
                for message, hidden in self._binding.close_variants(statement):
                    self._send(frontend.CLOSE, message, hidden)
            return
        reply.portal = dialogue.portals.change(name, None, dialogue.segment)
        self._send(frontend.CLOSE, whole, reply)

    def _end_copy(self, whole: bytes) -> None:
        if whole[0] == frontend.COPY_DONE:
            frontend.require_empty(whole)
        dialogue = self._dialogue
        dialogue.outbox.upstream.append(whole if dialogue.loading is None else self._loads.ended(whole))
        dialogue.copy_in = False
