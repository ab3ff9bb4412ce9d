"""Simple queries: one message with all that it takes, sent whole, in parts, or in messages of the extended protocol."""

from __future__ import annotations

from collections.abc import Callable

from proxy.errors import INSUFFICIENT_PRIVILEGE, Refusal
from proxy.session import endings, hidden
from proxy.session.binding import Binding
from proxy.session.circumstances import names_prepared, refused
from proxy.session.commits import ROLLBACK, Commits, Parts, Send, Step, rolled_back
from proxy.session.cursors import Cursors
from proxy.session.dialogue import FAILING_QUERY, Dialogue
from proxy.session.events import Run
from proxy.session.loading import copies
from proxy.session.loads import Loads
from proxy.session.reasons import UNDEFINED_TABLE, too_long
from proxy.session.replies import Reply
from proxy.session.statements import Statement
from proxy.session.turns import Turns
from proxy.verdict import Verdict
from proxy.wire import frontend
from proxy.wire.client import Form, Frame


class Queries:
    """The simple queries of one dialogue. ``limit``: bytes of a statement at most; ``sync`` sends a client's Sync."""

    def __init__(
        self,
        dialogue: Dialogue,
        binding: Binding,
        cursors: Cursors,
        commits: Commits,
        loads: Loads,
        limit: int,
        send: Send,
        sync: Callable[[bytes], None],
    ) -> None:
        self._dialogue = dialogue
        self._binding = binding
        self._cursors = cursors
        self._commits = commits
        self._loads = loads
        self._limit = limit
        self._send = send
        self._sync = sync
        self._turns = Turns(dialogue)
        self._parts: Parts | None = None

    @property
    def in_parts(self) -> bool:
        """The query that is being handled has begun to run."""
        return self._parts is not None

    def query(self, frame: Frame) -> bool:
        if frame.form is Form.OVERSIZE:
            refusal = too_long(self._limit)
            self.refuse(refused(b"", refusal), refusal)
            return True
        dialogue = self._dialogue
        if self._parts is not None:
            return self._next_part(self._parts, frame)
        if dialogue.rolls_back:
            self._roll_back()
            return True
        text = frontend.read_query(frame.data)
        verdict = self._decide_query(text)
        if verdict is None or self._must_wait(verdict, frame):
            return False
        verdict = self._turns.taken(verdict)
        if verdict is None:
            return False
        if verdict.refusal is None:
            verdict, run = dialogue.audited(verdict)
        if verdict.refusal is not None:
            self.refuse(verdict, verdict.refusal)
            return True
        return self._send_query(text, verdict, run, frame)

    def _must_wait(self, verdict: Verdict, frame: Frame) -> bool:
        """What was sent before must be answered first."""
        if verdict.plain or verdict.refusal is not None:
            return False
        waits = self._commits.before(verdict, 0, frame, simple=True) is Step.WAIT
        return waits or self.must_load_alone(verdict)

    def _send_query(self, text: bytes, verdict: Verdict, run: Run | None, frame: Frame) -> bool:
        """Sends a simple query; False if more of it is to be sent later."""
        dialogue = self._dialogue
        transaction, policy = dialogue.transaction, dialogue.circumstances.policy
        barrier = verdict.has_effects or (transaction.dirty and not transaction.in_block)
        if verdict.has_effects:
            dialogue.announce(verdict)
        if verdict.commits and self._commits.concerned(verdict):
            self._parts = Parts(verdict, policy, run)
            dialogue.partial = True
            return self._next_part(self._parts, frame)
        if copies(verdict):
            self._copy(Reply(frontend.EXECUTE, verdict, policy, run, barrier, query=text))
            return True
        whole = frame.data if not verdict.rewritten else frontend.query(verdict.text)
        reply = self._forget_unnamed(Reply(frontend.QUERY, verdict, policy, run, barrier, query=text))
        if verdict.ending:
            reply.ending, reply.until = verdict.ending, len(verdict.statements) + len(verdict.ending)
            whole = frontend.query(endings.ended(verdict))
        self._send(frontend.QUERY, whole, reply)
        return True

    def must_load_alone(self, verdict: Verdict) -> bool:
        """An error that comes during a COPY whose rows are checked must be that one's own."""
        return copies(verdict) and bool(self._dialogue.replies)

    def _copy(self, reply: Reply) -> None:
        """A COPY whose rows are checked, of a simple query."""
        if reply.verdict is None:
            return
        for kind in (frontend.STATEMENT, frontend.PORTAL):
            self._send(frontend.CLOSE, frontend.close(kind, b""), self.forgetting(kind))
        self._loads.begin(reply.verdict, reply.run, simple=True)
        self._loads.query(reply.verdict, reply)

    def _decide_query(self, text: bytes) -> Verdict | None:
        """The verdict on a simple query; None: wait."""
        dialogue = self._dialogue
        if self.must_settle(text) or dialogue.deliberates(text):
            return None
        decided = dialogue.planned(text, dialogue.circumstances.decide(text))
        return decided if decided is None or decided.refusal is not None else self._cursors.fetching(decided)

    def _next_part(self, parts: Parts, frame: Frame) -> bool:
        """Sends the next part of a query that commits in its midst."""
        dialogue = self._dialogue
        if dialogue.replies:
            return parts.sent == 0 and self._send_part(parts)
        if dialogue.rolls_back:
            self._roll_back()
        elif not parts.failed:
            waits = self._commits.before(parts.verdict, parts.next_statement, frame, simple=True) is Step.WAIT
            return not waits and self._send_part(parts)
        if parts.run is not None and parts.run.open:
            dialogue.events.abandon(parts.run, INSUFFICIENT_PRIVILEGE)
        self._parts, dialogue.partial = None, False
        return True

    def _send_part(self, parts: Parts) -> bool:
        """True if it was the last one."""
        text, reply = parts.next()
        self._send(frontend.QUERY, frontend.query(text), self._forget_unnamed(reply))
        if parts.all_sent:
            self._parts, self._dialogue.partial = None, False
        return parts.all_sent

    def _roll_back(self) -> None:
        """In the place of a COMMIT that a check forbade."""
        self._dialogue.rolls_back = False
        self._send(frontend.QUERY, frontend.query(ROLLBACK), self._forget_unnamed(rolled_back(frontend.QUERY)))

    def refuse(self, verdict: Verdict, refusal: Refusal) -> None:
        refusal, run = self._dialogue.audited_refusal(verdict, refusal)
        transaction = self._dialogue.transaction
        if verdict.told_by == "grammar" or (verdict.told_by and not transaction.failed):
            self._tell(verdict, refusal, run)
            return
        self._fail(refusal, run)

    def cancel(self, refusal: Refusal, expected: str) -> None:
        """The client canceled the query while it, or the rest of it, waited."""
        parts, self._parts = self._parts, None
        if parts is not None and parts.run is not None and parts.run.open:
            self._dialogue.events.abandon(parts.run, refusal.sqlstate)
        self._fail(refusal, None, expected)

    def _fail(self, refusal: Refusal, run: Run | None, expected: str = UNDEFINED_TABLE) -> None:
        """Sends what fails upstream, and that with ``refusal``."""
        transaction = self._dialogue.transaction
        reply = Reply(
            frontend.QUERY,
            run=run,
            barrier=transaction.dirty and not transaction.in_block,
            refused=refusal,
            expected=expected,
        )
        self._forget_unnamed(reply)
        self._send(frontend.QUERY, frontend.query(FAILING_QUERY), reply)

    def _tell(self, verdict: Verdict, refusal: Refusal, run: Run | None) -> None:
        """Has the upstream tell in its own words what is wrong with a simple query."""
        dialogue = self._dialogue
        for kind in (frontend.STATEMENT, frontend.PORTAL):
            self._send(frontend.CLOSE, frontend.close(kind, b""), self.forgetting(kind))
        for message, reply in hidden.told(dialogue, verdict, refusal, run, b"\0\0"):
            self._send(reply.kind, message, reply)
        self._sync(frontend.SYNC_MESSAGE)

    def forgetting(self, kind: bytes) -> Reply:
        """The reply to a Close of the unnamed statement or portal, as a simple query drops it."""
        dialogue, reply = self._dialogue, Reply(frontend.CLOSE, hidden=True)
        if kind == frontend.STATEMENT:
            self.release_unnamed()
            reply.statement = dialogue.statements.change(b"", None, dialogue.segment)
        else:
            reply.portal = dialogue.portals.change(b"", None, dialogue.segment)
        return reply

    def _forget_unnamed(self, reply: Reply) -> Reply:
        """A simple query drops the unnamed statement and portal (manual, 55.2.3)."""
        dialogue = self._dialogue
        if dialogue.statements.known(b""):
            self.release_unnamed()
            reply.statement = dialogue.statements.change(b"", None, dialogue.segment)
        if dialogue.portals.known(b""):
            reply.portal = dialogue.portals.change(b"", None, dialogue.segment)
        return reply

    def release_unnamed(self) -> None:
        """Closes what was prepared behind the client's back for the unnamed statement, before that goes away."""
        statement = self._dialogue.statements.look_up(b"", self._dialogue.segment)
        if isinstance(statement, Statement) and statement.variants:
            for message, reply in self._binding.close_variants(statement):
                self._send(frontend.CLOSE, message, reply)

    def must_settle(self, text: bytes) -> bool:
        """The text may EXECUTE a name whose meaning is in flight."""
        return not self._dialogue.statements.settled and names_prepared(text)
