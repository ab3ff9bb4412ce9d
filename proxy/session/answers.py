"""The upstream's side of a dialogue: matches what it answers with what was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from proxy.errors import INSUFFICIENT_PRIVILEGE, Refusal
from proxy.session import checks, endings, errors
from proxy.session.cursors import Cursors
from proxy.session.dialogue import Dialogue
from proxy.session.loading import Loading, Stage
from proxy.session.reasons import FAILED_TRANSACTION, INTERNAL_ERROR, HiddenOrigin, SessionOver, StateLost
from proxy.session.replies import Reply
from proxy.session.statements import Statement
from proxy.settings import boolean
from proxy.verdict import CloseCursor, Deallocate, Declare, DiscardAll, Effect, Prepare, StatementVerdict, Verdict
from proxy.wire import backend, frontend
from proxy.wire.backend import Fields
from proxy.wire.upstream import Rows

PINNED: Final = {"client_encoding": "UTF8", "standard_conforming_strings": "on"}
"""Settings that change how a text is read: what was decided holds under these values only."""

_EXPECTED: Final[dict[int, frozenset[int]]] = {
    backend.PARSE_COMPLETE: frozenset({frontend.PARSE}),
    backend.BIND_COMPLETE: frozenset({frontend.BIND}),
    backend.CLOSE_COMPLETE: frozenset({frontend.CLOSE}),
    backend.PARAMETER_DESCRIPTION: frozenset({frontend.DESCRIBE}),
    backend.NO_DATA: frozenset({frontend.DESCRIBE}),
    backend.ROW_DESCRIPTION: frozenset({frontend.DESCRIBE, frontend.QUERY}),
    backend.COMMAND_COMPLETE: frozenset({frontend.QUERY, frontend.EXECUTE}),
    backend.EMPTY_QUERY_RESPONSE: frozenset({frontend.QUERY, frontend.EXECUTE}),
    backend.PORTAL_SUSPENDED: frozenset({frontend.EXECUTE}),
    backend.COPY_IN_RESPONSE: frozenset({frontend.QUERY, frontend.EXECUTE}),
    backend.COPY_OUT_RESPONSE: frozenset({frontend.QUERY, frontend.EXECUTE}),
    backend.COPY_DONE: frozenset({frontend.QUERY, frontend.EXECUTE}),
    backend.READY_FOR_QUERY: frozenset({frontend.QUERY, frontend.SYNC}),
}
"""Which message a reply may be an answer to."""


_PARSE_MESSAGE: Final = "exec_parse_message"


_FOR_OPERATORS: Final = frozenset({"LOG", "DEBUG"})
"""Severities of messages about plans, sorts, durations and the texts that run: ``client_min_messages = log`` sends them
to the client too, where ``debug_print_plan``, ``log_statement`` or their like were switched on for it."""


class Answers:
    """Judges each upstream message: None passes it, other bytes go to the client in its place."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._cursors = Cursors(dialogue)
        self._asides: Final[Mapping[int, Callable[[bytes], bytes | None]]] = {
            backend.ERROR_RESPONSE: self._error,
            backend.NOTICE_RESPONSE: self._notice,
            backend.PARAMETER_STATUS: self._parameter,
            backend.NOTIFICATION_RESPONSE: self._notification,
        }
        self._answers: Final[Mapping[int, Callable[[int, bytes, Reply], bytes | None]]] = {
            backend.READY_FOR_QUERY: self._is_ready,
            backend.COMMAND_COMPLETE: self._completed,
            backend.EMPTY_QUERY_RESPONSE: self._completed,
            backend.PORTAL_SUSPENDED: self._suspended,
            backend.COPY_IN_RESPONSE: self._copy_in,
            backend.COPY_OUT_RESPONSE: _passes,
            backend.COPY_DONE: _passes,
            backend.PARSE_COMPLETE: self._done,
            backend.BIND_COMPLETE: self._done,
            backend.CLOSE_COMPLETE: self._done,
            backend.PARAMETER_DESCRIPTION: self._described,
            backend.NO_DATA: self._described,
            backend.ROW_DESCRIPTION: self._described,
        }

    def judge(self, kind: int, whole: bytes) -> bytes | None:
        if self._dialogue.inquiry.pending:
            return self._inquired(kind, whole)
        aside = self._asides.get(kind)
        if aside is not None:
            return aside(whole)
        head = self._dialogue.replies.head
        if head is None or head.kind not in _EXPECTED.get(kind, ()):
            raise StateLost(f"unexpected message {chr(kind)} from the upstream")
        if head.refused is not None and kind != backend.READY_FOR_QUERY:
            raise StateLost("what was refused did not fail")
        if head.hidden:
            return self._hidden(kind, whole, head)
        return self._answers[kind](kind, whole, head)

    def rows(self) -> Rows:
        """What the client gets of the DataRows that come now."""
        return checks.rows(self._dialogue.replies.head)

    def _hidden(self, kind: int, whole: bytes, head: Reply) -> bytes | None:
        """An answer to a message of our own. A hidden Query stands in for one of the client's, which ends as that."""
        if kind == backend.READY_FOR_QUERY:
            self._ready(whole, head)
            return b"" if head.kind == frontend.SYNC else None
        if kind == backend.COMMAND_COMPLETE:
            for statement in () if head.verdict is None else head.verdict.statements:
                self._apply(statement.effects, backend.read_tag(whole), statement, head)
            head.completed += 1
            if head.kind == frontend.EXECUTE:
                self._dialogue.replies.pop()
        else:
            self._dialogue.replies.pop()
            self._settle(head)
            return b"" if head.releases is None else self._released(head.releases)
        return b""

    def _checked(self, head: Reply) -> bytes:
        """A check behind a simple query's own statements passed."""
        head.completed += 1
        return b"" if head.completed != head.until else self._released(head)

    def _released(self, reply: Reply) -> bytes:
        """What was held back, now that the checks behind it have passed."""
        if reply.run is not None and reply.run.open:
            self._dialogue.events.complete(reply.run, reply.rows)
        return reply.held

    def _inquired(self, kind: int, whole: bytes) -> bytes | None:
        """An answer to a question of our own, of which the client sees nothing; it hears of the connection's end."""
        if kind == backend.ERROR_RESPONSE:
            fields = backend.read_fields(whole)
            if fields.get("V", fields.get("S")) in ("FATAL", "PANIC"):
                self._dialogue.upstream_ending = fields.get("C", "")
        if kind == backend.PARAMETER_STATUS:
            self._parameter(whole)
        if kind == backend.NOTIFICATION_RESPONSE:
            return self._notification(whole)
        return self._dialogue.inquiry.judge(kind, whole)

    def _notification(self, whole: bytes) -> bytes | None:
        """Of a channel that was trusted when the session began to listen, and no longer is, nothing is heard."""
        return None if self._dialogue.circumstances.may_hear(backend.read_channel(whole)) else b""

    def _is_ready(self, _kind: int, whole: bytes, head: Reply) -> bytes | None:
        self._ready(whole, head)
        return b"" if head.more and not head.failed else None

    def _completed(self, kind: int, whole: bytes, head: Reply) -> bytes | None:
        return self._complete(kind, whole, head) if not endings.under_way(head) else self._checked(head)

    def _done(self, _kind: int, _whole: bytes, head: Reply) -> None:
        """A Parse, Bind or Close."""
        self._dialogue.replies.pop()
        self._settle(head)

    def _described(self, kind: int, whole: bytes, head: Reply) -> bytes | None:
        if kind == backend.PARAMETER_DESCRIPTION:
            if head.describes is not None:
                head.describes.described = backend.read_types(whole)
            return None
        if endings.under_way(head):
            return b""
        if kind == backend.ROW_DESCRIPTION:
            self._witness(whole, head)
        if head.kind == frontend.DESCRIBE:
            self._dialogue.replies.pop()
        return checks.described(whole, head) if kind == backend.ROW_DESCRIPTION else None

    def _settle(self, reply: Reply) -> None:
        """What the message made of names holds."""
        if reply.variant is not None:
            reply.variant.confirmed = True
        if reply.statement is not None:
            self._dialogue.statements.settle(reply.statement)
        if reply.portal is not None:
            self._dialogue.close_portal(self._dialogue.portals.settle(reply.portal))

    def _drop(self, reply: Reply, sqlstate: str, skipped: bool) -> None:
        """The message failed, or was skipped because one before it did."""
        dialogue = self._dialogue
        if reply.statement is not None:
            if reply.kind == frontend.PARSE and not reply.statement.name and not skipped:
                # A Parse that fails has dropped the unnamed statement before (exec_parse_message).
                dialogue.statements.remove(b"")
            dialogue.statements.drop(reply.statement)
        if reply.portal is not None:
            dialogue.portals.drop(reply.portal)
        if reply.run is not None and reply.run.open:
            rows = reply.executing.rows if reply.executing is not None else None
            dialogue.events.abandon(reply.run, sqlstate, rows)

    def _witness(self, whole: bytes, head: Reply) -> None:
        """The result must not come from a column that the decision hides: the statement was not understood then.

        What was refused for now may be described as the client wrote it: that has no verdict here, and no rows.
        """
        verdict = head.verdict
        if verdict is None or not verdict.classified_origins:
            return
        hidden = verdict.hidden_origins(head.completed, backend.read_origins(whole))
        if hidden:
            columns = self._dialogue.circumstances.names(hidden)
            self._dialogue.events.alarm("row_description", columns, head.run)
            raise SessionOver(
                INTERNAL_ERROR,
                "consentry: the result would show classified columns that the decision on the statement hides",
                detail=f"Columns: {', '.join(columns)}.",
                hint="Nothing of it was sent. This is a defect of consentry: please report the statement.",
            ) from HiddenOrigin(columns)

    # --- completion ---------------------------------------------------------------------------------------------------

    def _complete(self, kind: int, whole: bytes, head: Reply) -> bytes | None:
        if self._dialogue.loading is not None and kind == backend.COMMAND_COMPLETE:
            return self._stored(self._dialogue.loading, whole, head)
        tag = backend.read_tag(whole) if kind == backend.COMMAND_COMPLETE else b""
        statement = self._statement(kind, head)
        masked = statement is not None and statement.kind == "mask" and self._notifies()
        rows = backend.tag_rows(tag)
        portal = head.executing
        effects = () if statement is None else statement.effects
        if portal is None:
            head.completed += 1
            self._ran(statement, rows, head)
        else:
            self._dialogue.replies.pop()
            if rows is not None:
                rows += portal.rows
            if portal.applied:
                effects = ()
            else:
                self._ran(statement, rows, head)
            portal.applied = True
        shown = errors.MASKED_NOTICE + whole if masked else None
        holds = bool(head.ending) and (portal is not None or endings.under_way(head))
        if holds:
            head.held, head.rows = shown or whole, rows
        elif head.run is not None and head.run.open:
            self._dialogue.events.complete(head.run, rows)
        if effects and statement is not None:
            self._apply(effects, tag, statement, head)
        return b"" if holds else shown

    def _ran(self, statement: StatementVerdict | None, rows: int | None, head: Reply) -> None:
        """A statement wrote what it writes, however many of its rows were asked for. ``rows``: if all were told of."""
        if head.verdict is None:
            return
        dialogue = self._dialogue
        if statement is not None and statement.conflicts:
            dialogue.conflicts.completed(statement, rows, head.run, dialogue.circumstances.policy)
        transaction = dialogue.transaction
        transaction.secured |= head.verdict.secured
        if statement is not None and statement.deferred:
            transaction.leave(statement, head.verdict.secret)

    def _stored(self, loading: Loading, whole: bytes, head: Reply) -> bytes:
        """The rows of a COPY are stored, and are to be checked before the client hears of them."""
        self._dialogue.replies.pop()
        self._ran(None, None, head)
        if head.executing is not None:
            head.executing.applied = True
        loading.completed(whole)
        return b""

    @staticmethod
    def _statement(kind: int, head: Reply) -> StatementVerdict | None:
        """The statement that completed: the next one of the text."""
        statements = head.verdict.statements if head.verdict is not None else ()
        if head.completed < len(statements):
            return statements[head.completed]
        if kind == backend.EMPTY_QUERY_RESPONSE:
            return None
        raise StateLost("more statements completed than were decided")

    def _suspended(self, _kind: int, whole: bytes, head: Reply) -> bytes | None:
        """A row limit was reached. What the statement writes is written by then (pquery.c, FillPortalStore), and
        ``SELECT set_config(…)`` has had its effect."""
        self._dialogue.replies.pop()
        portal = head.executing
        if portal is None or head.verdict is None:
            raise StateLost("an unknown portal was suspended")
        portal.rows += head.limit
        if not portal.applied:
            portal.applied = True
            for statement in head.verdict.statements:
                self._ran(statement, None, head)
                if statement.effects:
                    self._apply(statement.effects, b"", statement, head)
        head.held = whole
        return b"" if head.ending else None

    def _apply(self, effects: tuple[Effect, ...], tag: bytes, statement: StatementVerdict, head: Reply) -> None:
        dialogue = self._dialogue
        for effect in effects:
            match effect:
                case Prepare(name, text, sent):
                    prepared = None if sent is None else Verdict(sent.encode(), (), secured=True)
                    dialogue.statements.put(
                        name.encode(), Statement(text.encode(), None, dialogue.circumstances.naming, prepared)
                    )
                case Deallocate(None) | DiscardAll():
                    dialogue.statements.clear(keep=b"")
                    dialogue.inquiry.forget()
                    unnamed = dialogue.statements.confirmed().get(b"")
                    if unnamed is not None:
                        unnamed.variants.clear()
                        unnamed.discarded.clear()
                case Deallocate(str(name)):
                    dialogue.statements.remove(name.encode())
                case Declare():
                    self._cursors.declare(effect, statement, head.policy)
                case CloseCursor(closed):
                    self._cursors.close(closed)
            if isinstance(effect, DiscardAll):
                self._cursors.close(None)
        if not all(isinstance(effect, Declare | CloseCursor) for effect in effects):
            dialogue.apply(effects, tag)

    def _notifies(self) -> bool:
        notify = self._dialogue.transaction.settings.current().get("consentry.notify")
        return notify is not None and boolean(notify) is True

    def _copy_in(self, _kind: int, _whole: bytes, _head: Reply) -> None:
        dialogue = self._dialogue
        if not dialogue.replies.enter_copy():
            raise StateLost("the upstream takes data for no COPY")
        dialogue.copy_in = True
        if dialogue.loading is not None:
            dialogue.loading.stage = Stage.TAKING

    def _ready(self, whole: bytes, head: Reply) -> None:
        dialogue = self._dialogue
        if head.kind == frontend.QUERY and not head.failed:
            decided = 1 if head.verdict is None else max(len(head.verdict.statements), 1)
            if head.completed != (decided if head.until is None else head.until):
                raise StateLost("a query is over before its statements are")
        dialogue.replies.pop()
        dialogue.copy_in = False
        dialogue.unsynced = bool(dialogue.replies)
        self._settle(head)
        if head.run is not None and head.run.open and not (head.more and not head.failed):
            dialogue.events.abandon(head.run, None)
        status = dialogue.status = whole[5]
        transaction = dialogue.transaction
        if status == backend.IDLE and not (transaction.in_block or transaction.dirty or transaction.failed):
            transaction.secured = False
            if dialogue.portals.confirmed():
                dialogue.close_portals()
        else:
            before = transaction.settings.current()
            if transaction.ready(status):
                dialogue.close_portals()
                dialogue.context_changed(before)
        if dialogue.announced or dialogue.turn_since is not None:
            dialogue.withdraw()

    # --- errors and notices -------------------------------------------------------------------------------------------

    def _error(self, whole: bytes) -> bytes | None:
        dialogue = self._dialogue
        fields = backend.read_fields(whole)
        sqlstate = fields.get("C", "")
        if fields.get("V", fields.get("S")) in ("FATAL", "PANIC"):
            dialogue.upstream_ending = sqlstate
        head = dialogue.replies.head
        if head is None:
            return None
        refusal = self._refusal(fields, head)
        shown = self._shown(fields, head) if refusal is None else errors.of_refusal(refusal, fields)
        if dialogue.private in (whole if shown is None else shown):
            raise StateLost("an error names what no client may know")
        if refusal is None and self._may_conflict(head):
            dialogue.conflicts.failed(fields, head.run, dialogue.circumstances.policy)
        sqlstate = sqlstate if refusal is None else refusal.sqlstate
        dialogue.transaction.fail()
        dialogue.rolls_back = dialogue.rolls_back or (head.left is not None and head.left.at_commit)
        if dialogue.loading is not None:
            dialogue.loading.failed()
        dialogue.copy_in = False
        if head.kind == frontend.QUERY:
            dialogue.replies.fail(head)
            if head.run is not None and head.run.open:
                dialogue.events.abandon(head.run, sqlstate)
        elif head.kind != frontend.SYNC:
            for dropped in dialogue.replies.skip():
                self._drop(dropped, sqlstate, skipped=dropped is not head)
        return shown

    def _may_conflict(self, head: Reply) -> bool:
        """A constraint of a table that is not seen whole may be what failed."""
        statement = checks.running(head)
        if statement is not None and statement.conflicts:
            return True
        return self._dialogue.transaction.secured and checks.constraints_due(head)

    def _refusal(self, fields: Fields, head: Reply) -> Refusal | None:
        """What is refused, where the error is not the upstream's own."""
        if head.refused is not None and fields.get("C") == head.expected:
            return head.refused
        if head.refused is not None and head.told is not None and fields.get("R") == _PARSE_MESSAGE:
            # The upstream can read what consentry cannot: nothing is wrong with it that it would tell.
            return FAILED_TRANSACTION if self._dialogue.transaction.failed else head.refused
        left = endings.left_by(head)
        failed = checks.failed(fields, head.verdict) if left is None else checks.left_failed(fields, left)
        statement = checks.running(head) if left is None else left.statement
        return failed if failed is None else self._dialogue.audited_failure(statement, failed)

    def _shown(self, fields: Fields, head: Reply) -> bytes | None:
        if head.told is not None:
            return backend.error_response(errors.as_told(fields, head.told)) if head.told else None
        if head.own or endings.under_way(head):
            return backend.error_response(errors.of_hidden(fields))
        if head.verdict is not None and (head.verdict.secured or head.verdict.rewritten):
            return backend.error_response(errors.as_shown(fields, head.verdict, head.before))
        if self._dialogue.transaction.secured and checks.constraints_due(head):
            return backend.error_response(errors.unquoted(fields))
        return None

    def _notice(self, whole: bytes) -> bytes | None:
        if backend.read_fields(whole).get("V") in _FOR_OPERATORS:
            return b""
        head = self._dialogue.replies.head
        if head is None or head.told is not None:
            return None
        if head.own or endings.under_way(head):
            return b""
        if head.verdict is None or not (head.verdict.secured or head.verdict.rewritten):
            return None
        return backend.notice_response(errors.as_shown(backend.read_fields(whole), head.verdict, head.before))

    def _parameter(self, whole: bytes) -> bytes | None:
        name, value = backend.read_parameter(whole)
        if name in PINNED and value != PINNED[name]:
            raise SessionOver(INSUFFICIENT_PRIVILEGE, f"consentry: {name} must stay {PINNED[name]}")
        if name == "application_name":
            self._dialogue.events.facts.application = value
        return None


def _passes(_kind: int, _whole: bytes, _head: Reply) -> None:
    """Nothing follows from it."""
