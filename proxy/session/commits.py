"""What statements of a transaction left to its COMMIT: checked before the COMMIT is sent, as a deferred constraint is.

The COMMIT is held until everything before it was answered; then the checks run, in messages of our own that no client
sees. If one fails, its refusal is the answer to the COMMIT, and the transaction is rolled back: in the extended
protocol at the client's Sync, before which the upstream would read nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from proxy.policy.model import Policy
from proxy.session.dialogue import Dialogue
from proxy.session.events import Run
from proxy.session.hidden import executed
from proxy.session.replies import Reply
from proxy.verdict import Commit, Rollback, StatementVerdict, Verdict
from proxy.wire import frontend


class Send(Protocol):
    """Puts a message of this kind, and its reply, behind those before."""

    def __call__(self, kind: int, message: bytes, reply: Reply | None = None, /) -> None: ...


ROLLBACK: Final = b"ROLLBACK"
_ROLLED_BACK: Final = Verdict(
    ROLLBACK, (StatementVerdict("pass", "ROLLBACK", "ROLLBACK", "", None, effects=(Rollback(),)),)
)


class Step(Enum):
    """What becomes of a message that commits."""

    SEND = auto()
    WAIT = auto()


class Commits:
    """The COMMITs of one dialogue. ``send`` puts a message, and its reply, behind those before."""

    def __init__(self, dialogue: Dialogue, send: Send) -> None:
        self._dialogue = dialogue
        self._send = send
        self._checking: object = None

    def concerned(self, verdict: Verdict) -> bool:
        """Something was left to COMMIT, or may be by what is under way, or by ``verdict``."""
        dialogue = self._dialogue
        return bool(dialogue.transaction.left) or _leaves(verdict) or any(map(_leaving, dialogue.replies))

    def before(self, verdict: Verdict, number: int, message: object, *, simple: bool) -> Step:
        """What to do with ``message``, of which statement ``number`` of ``verdict`` comes next. Ask again with the same
        message when the upstream has answered something, unless the transaction ``rolls_back`` then."""
        dialogue = self._dialogue
        transaction = dialogue.transaction
        if number >= len(verdict.statements) or not _commits(verdict.statements[number]):
            return Step.SEND
        if self._checking is not message:
            if not transaction.in_block or not self.concerned(verdict):
                return Step.SEND
            if dialogue.replies:
                return Step.WAIT
            if transaction.failed or not transaction.left:
                return Step.SEND
            self._check(message, simple=simple)
        if dialogue.replies:
            return Step.WAIT
        self._checking = None
        return Step.SEND

    def _check(self, message: object, *, simple: bool) -> None:
        dialogue = self._dialogue
        for number, left in enumerate(dialogue.transaction.left.values()):
            name = dialogue.private + b"commit %d" % number
            for whole, reply in executed(name, left.check.sql.encode(), left):
                self._send(reply.kind, whole, reply)
        if simple:
            self._send(frontend.SYNC, frontend.SYNC_MESSAGE, Reply(frontend.SYNC, hidden=True))
            dialogue.segment += 1
        else:
            self._send(frontend.FLUSH, frontend.FLUSH_MESSAGE, None)
        self._checking = message


def rolled_back(kind: int) -> Reply:
    """The reply to a hidden ROLLBACK: by a Query, whose ReadyForQuery the client gets, or by an Execute."""
    return Reply(kind, _ROLLED_BACK, barrier=True, hidden=True)


def _leaving(reply: Reply) -> bool:
    return reply.verdict is not None and _leaves(reply.verdict)


def _leaves(verdict: Verdict) -> bool:
    return any(statement.deferred for statement in verdict.statements)


def _commits(statement: StatementVerdict) -> bool:
    return any(isinstance(effect, Commit) for effect in statement.effects)


@dataclass(slots=True, eq=False)
class Parts:
    """A simple query that is sent in parts, each but the first beginning with a COMMIT. ``sent``: of them; ``last``:
    the reply to the last of these."""

    verdict: Verdict
    policy: Policy
    run: Run | None
    sent: int = 0
    last: Reply | None = None

    @property
    def failed(self) -> bool:
        """Nothing further of the query is to run."""
        return self.last is not None and self.last.failed

    @property
    def next_statement(self) -> int:
        """Number of the statement that the next part begins with."""
        return self.verdict.commits[self.sent - 1][0] if self.sent else 0

    @property
    def all_sent(self) -> bool:
        return self.sent > len(self.verdict.commits)

    def next(self) -> tuple[bytes, Reply]:
        """The next part's text, and its reply."""
        verdict, commits = self.verdict, self.verdict.commits
        start = commits[self.sent - 1][1] if self.sent else 0
        more = self.sent < len(commits)
        end = commits[self.sent][1] if more else len(verdict.text)
        self.last = Reply(
            frontend.QUERY,
            verdict,
            self.policy,
            self.run,
            barrier=True,
            completed=self.next_statement,
            until=commits[self.sent][0] if more else len(verdict.statements),
            before=len(verdict.text[:start].decode()),
            more=more,
        )
        self.sent += 1
        return verdict.text[start:end], self.last
