"""What the client and the session wait for: one entry for each message that the upstream answers, in order."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from proxy.errors import Refusal
from proxy.policy.model import Policy
from proxy.session.events import Run
from proxy.session.names import Change
from proxy.session.statements import Portal, Statement, Variant
from proxy.verdict import Verdict
from proxy.wire import frontend

COPY_END: Final = frontend.COPY_DONE
"""The kind of an entry that awaits nothing: where the client ended its COPY data, as far as it knew."""


@dataclass(slots=True, eq=False)
class Reply:
    """One message in flight. ``kind`` is its type byte.

    ``hidden``: the session sent it on its own, the client sees nothing of its success. ``refused``: the message was
    replaced by one that fails with ``expected``, and the client gets the refusal instead. ``barrier``: nothing may be
    decided before it is over. ``verdict`` is that of the text that runs, where there is one, under ``policy``.
    """

    kind: int
    verdict: Verdict | None = None
    policy: Policy | None = None
    run: Run | None = None
    barrier: bool = False
    hidden: bool = False
    refused: Refusal | None = None
    expected: str = ""
    statement: Change[Statement] | None = None
    portal: Change[Portal] | None = None
    executing: Portal | None = None
    variant: Variant | None = None
    limit: int = 0
    completed: int = 0
    failed: bool = False


class Replies:
    """The queue. After an error upstream skips to the next Sync, so entries up to it are dropped.

    ``skipping``: it skips, and the client's Sync has not been sent yet.
    """

    def __init__(self) -> None:
        self._queue: deque[Reply] = deque()
        self.barriers = 0
        self.skipping = False

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def head(self) -> Reply | None:
        return self._queue[0] if self._queue else None

    def append(self, reply: Reply) -> None:
        self._queue.append(reply)
        self.barriers += reply.barrier

    def copy_ended(self) -> None:
        """The client sent CopyDone or CopyFail before it can have known that the upstream takes COPY data."""
        if self._queue:
            self._queue.append(Reply(COPY_END))

    def pop(self) -> Reply:
        reply = self._queue.popleft()
        self.barriers -= reply.barrier
        while self._queue and self._queue[0].kind == COPY_END:
            self._queue.popleft()
        return reply

    def skip(self) -> list[Reply]:
        """The head failed in an extended query: drops it and the rest of its segment. Returns what was dropped."""
        dropped: list[Reply] = []
        while self._queue and self._queue[0].kind != frontend.SYNC:
            dropped.append(self.pop())
        self.skipping = not self._queue
        return dropped

    def enter_copy(self) -> tuple[bool, list[Reply]]:
        """The head takes COPY data: what the client sent behind it goes into that (manual, 55.2.6).

        Returns whether the end of the data was already sent, and what PostgreSQL reads in vain meanwhile: it ignores
        Sync and Flush in the data, anything else is an error there.
        """
        head = self._queue.popleft()
        swallowed: list[Reply] = []
        ended = False
        while self._queue and not ended:
            reply = self._queue.popleft()
            if reply.kind == COPY_END:
                ended = True
            else:
                swallowed.append(reply)
                self.barriers -= reply.barrier
        self._queue.appendleft(head)
        return ended, swallowed
