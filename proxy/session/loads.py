"""COPY FROM STDIN into a table whose rows are checked: the check comes behind the rows, before anybody hears of them.

The subjects are read out of the data as it passes. When the upstream has stored it, its CommandComplete is held back
while the session has the subjects checked in the same transaction; only then the client is told that the COPY is done,
or that it is refused, as if the upstream had refused it. A simple query is sent as an extended one, whose transaction
lasts until the Sync; PostgreSQL ignores a Sync amid COPY data, so that is sent when the COPY is over.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import FEATURE_NOT_SUPPORTED, INSUFFICIENT_PRIVILEGE, Refusal
from proxy.session import checks, hidden
from proxy.session.commits import Send
from proxy.session.dialogue import FAILING_QUERY, Dialogue
from proxy.session.events import Run
from proxy.session.loading import Loading, Stage
from proxy.session.reasons import UNDEFINED_TABLE
from proxy.session.replies import Reply
from proxy.session.transaction import Left
from proxy.verdict import DeferredCheck, Verdict
from proxy.wire import frontend

_UNDER_WAY: Final = 16
"""Replies that are awaited at most before more checks are sent."""
_ARRAYS: Final = b"\0\0\x03\xf1"
"""The OID of text[]."""
_CANCELED: Final = "57014"
"""What PostgreSQL answers to CopyFail."""


class Loads:
    """The COPYs of one dialogue whose rows are checked; ``send`` puts a message, and its reply, behind those before."""

    def __init__(self, dialogue: Dialogue, send: Send) -> None:
        self._dialogue = dialogue
        self._send = send

    def begin(self, verdict: Verdict, run: Run | None, *, simple: bool) -> None:
        """A COPY is about to be sent."""
        self._dialogue.loading = Loading(verdict, run, self._dialogue.open_spool, simple=simple)

    def query(self, verdict: Verdict, reply: Reply) -> None:
        """Sends the COPY of a simple query as messages of the extended one."""
        name = self._dialogue.private + b"copy"
        # That of another COPY in the same transaction still stands.
        self._send(frontend.CLOSE, frontend.close(frontend.PORTAL, name), Reply(frontend.CLOSE, hidden=True))
        for message, hidden_reply in hidden.prepared(name, verdict.text):
            hidden_reply.verdict = verdict if hidden_reply.kind == frontend.PARSE else None
            self._send(hidden_reply.kind, message, hidden_reply)
        self._send(frontend.BIND, frontend.bind(name, name), Reply(frontend.BIND, verdict, hidden=True))
        self._send(frontend.EXECUTE, frontend.execute(name), reply)
        self._send(frontend.FLUSH, frontend.FLUSH_MESSAGE, None)

    def holds(self, kind: int) -> bool:
        """A message of the client has to wait: what it is an answer to is not known yet."""
        loading = self._dialogue.loading
        return loading is not None and loading.stage is not Stage.TAKING and kind != frontend.TERMINATE

    def data(self, piece: bytes) -> None:
        """Data passes."""
        loading = self._dialogue.loading
        if loading is not None and loading.stage is Stage.TAKING:
            loading.rows.feed(piece)

    def ended(self, whole: bytes) -> bytes:
        """CopyDone or CopyFail: what to send in its place, where the data must not be stored."""
        loading = self._dialogue.loading
        if loading is None or loading.stage is not Stage.TAKING:
            return whole
        loading.stage = Stage.ENDED
        if whole[0] == frontend.COPY_DONE:
            loading.rows.finish()
            head = self._dialogue.replies.head
            if loading.rows.rejected is not None and head is not None:
                refusal = checks.meaning(loading.verdict, loading.rows.rejected)
                head.refused = self._dialogue.audited_failure(loading.statement, refusal)
                head.expected = _CANCELED
                whole = frontend.message(frontend.COPY_FAIL, b"\0")
        # In the extended protocol nothing else makes the upstream answer.
        return whole + frontend.FLUSH_MESSAGE

    def advance(self) -> None:
        """Goes on as far as the upstream has answered."""
        loading = self._dialogue.loading
        if loading is None:
            return
        if loading.stage is Stage.STORED:
            self._begin_checks(loading)
        if loading.stage is Stage.CHECKING:
            self._check(loading)
        elif loading.stage is Stage.FAILED:
            self._end(loading)

    def _begin_checks(self, loading: Loading) -> None:
        loading.stage = Stage.CHECKING
        if loading.rows.unusual:
            refusal = self._dialogue.audited_failure(loading.statement, _unusual(loading.rows.unusual))
            failing = Reply(frontend.PARSE, run=loading.run, refused=refusal, expected=UNDEFINED_TABLE)
            name = self._dialogue.private + b"copy check"
            self._send(frontend.PARSE, frontend.parse(name, FAILING_QUERY), failing)
            self._send(frontend.FLUSH, frontend.FLUSH_MESSAGE, None)
            return
        loading.checks = loading.rows.batches()

    def _check(self, loading: Loading) -> None:
        """Keeps the upstream busy with checks; ends when the last has passed."""
        replies = self._dialogue.replies
        name = self._dialogue.private + b"copy check"
        sent = False
        while len(replies) < _UNDER_WAY:
            following = next(loading.checks, None)
            if following is None:
                break
            group, parameters = following
            if loading.prepared is not group:
                loading.prepared = group
                types = len(parameters).to_bytes(2, "big") + _ARRAYS * len(parameters)
                for message, reply in hidden.prepared(name, group.sql.encode(), types):
                    self._send(reply.kind, message, reply)
            check = DeferredCheck("", group.sql, checks.meaning(loading.verdict, group.number))
            left = Left(check, loading.verdict.secret, loading.statement, at_commit=False)
            for message, reply in hidden.run(name, left, parameters):
                reply.run = loading.run
                self._send(reply.kind, message, reply)
            sent = True
        if sent:
            self._send(frontend.FLUSH, frontend.FLUSH_MESSAGE, None)
        elif not replies:
            self._pass(loading)

    def _pass(self, loading: Loading) -> None:
        """Every row may be written: the client hears that they are stored."""
        dialogue = self._dialogue
        dialogue.outbox.client.append(loading.complete)
        if loading.run is not None and loading.run.open:
            dialogue.events.complete(loading.run, loading.stored)
        dialogue.transaction.leave(loading.statement, loading.verdict.secret)
        loading.rows.close()
        self._end(loading)

    def _end(self, loading: Loading) -> None:
        dialogue = self._dialogue
        dialogue.loading = None
        if loading.run is not None and loading.run.open:
            dialogue.events.abandon(loading.run, INSUFFICIENT_PRIVILEGE)
        if loading.simple:
            barrier = dialogue.transaction.dirty and not dialogue.transaction.in_block
            self._send(frontend.SYNC, frontend.SYNC_MESSAGE, Reply(frontend.SYNC, barrier=barrier))
            dialogue.replies.skipping = False
            dialogue.segment += 1


def _unusual(why: str) -> Refusal:
    return Refusal(
        FEATURE_NOT_SUPPORTED,
        f"consentry: the data of a COPY into a table with personal information has {why}",
        detail="It is not certain whose rows these are.",
        hint="Write it as COPY TO does, or use INSERT.",
    )
