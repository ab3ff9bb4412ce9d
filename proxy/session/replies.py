"""What the client and the session wait for: one entry for each message that the upstream answers, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, TypedDict, Unpack

from proxy.catalog.model import Catalog
from proxy.errors import Refusal
from proxy.policy.model import Policy
from proxy.session.events import Run
from proxy.session.names import Change
from proxy.session.statements import Portal, Statement, Variant
from proxy.session.transaction import Left
from proxy.verdict import DeferredCheck, Verdict
from proxy.wire import frontend

_RUNNING: Final = (frontend.QUERY, frontend.EXECUTE)


class _Given(TypedDict, total=False):
    hidden: bool
    refused: Refusal | None
    expected: str
    statement: Change[Statement] | None
    portal: Change[Portal] | None
    describes: Statement | None
    executing: Portal | None
    variant: Variant | None
    limit: int
    completed: int
    left: Left | None
    until: int | None
    before: int
    more: bool
    query: bytes | None
    told: int | None
    ending: tuple[DeferredCheck, ...]


class Reply:
    """One message in flight. ``kind`` is its type byte.

    ``hidden``: the session sent it on its own, the client sees nothing of its success. ``refused``: the message was
    replaced by one that fails with ``expected``, and the client gets the refusal instead. ``barrier``: nothing may be
    decided before it is over. ``verdict`` is that of the text that runs, where there is one, under ``policy``.
    ``copies``: how often the upstream may still ask for COPY data before it is over. ``completed``: of its statements.
    ``left``: the check that a hidden message makes. ``query``: the client's text that ``verdict`` is on, decided under
    ``catalog``. ``sent``: when, by the session's clock. ``begun``: number of the statement that began to be answered.

    ``told``: it makes the upstream tell of a refused text what is wrong with it, in its own words; so many characters
    stand before the client's text.

    ``ending``: the checks that stand behind a simple query's own statements, or that are sent behind an Execute; what
    the client is to hear when they have passed is ``held``, with the ``rows`` that were written. ``releases``: what is
    held, once this has been answered.

    A simple query may be sent in parts: this is one of those up to statement ``until``, ``before`` is how many
    characters stand before it, and ``more`` says that another follows if it does not fail.
    """

    # Of the many that most messages do without, the class has the values: one is made for each message.
    verdict: Verdict | None = None
    policy: Policy | None = None
    run: Run | None = None
    barrier: bool = False
    hidden: bool = False
    refused: Refusal | None = None
    expected: str = ""
    statement: Change[Statement] | None = None
    portal: Change[Portal] | None = None
    describes: Statement | None = None
    executing: Portal | None = None
    variant: Variant | None = None
    limit: int = 0
    completed: int = 0
    failed: bool = False
    left: Left | None = None
    until: int | None = None
    before: int = 0
    more: bool = False
    query: bytes | None = None
    catalog: Catalog | None = None
    sent: float = 0.0
    begun: int = -1
    told: int | None = None
    ending: tuple[DeferredCheck, ...] = ()
    held: bytes = b""
    rows: int | None = None
    releases: Reply | None = None
    copies: int = 0

    def __init__(
        self,
        kind: int,
        verdict: Verdict | None = None,
        policy: Policy | None = None,
        run: Run | None = None,
        barrier: bool = False,
        **given: Unpack[_Given],
    ) -> None:
        self.kind = kind
        if given:
            self.__dict__.update(given)
        if barrier:
            self.barrier = True
        if verdict is not None:
            self.verdict, self.policy, self.run = verdict, policy, run
            if not verdict.plain and kind in _RUNNING:
                statements = verdict.statements[self.completed : self.until]
                self.copies = sum(statement.takes_copy for statement in statements)
        elif run is not None or policy is not None:
            self.policy, self.run = policy, run

    @property
    def own(self) -> bool:
        """The message is no form of one of the client's: nothing that it brings about is the client's."""
        return self.hidden and self.variant is None


class Replies:
    """The queue. After an error upstream skips to the next Sync, so entries up to it are dropped.

    ``skipping``: it skips, and the client's Sync has not been sent yet. ``copies``: how often the upstream may still
    ask for COPY data. What the client sends meanwhile may be read as such data, or not if the COPY fails: it must wait.
    """

    def __init__(self) -> None:
        self._queue: deque[Reply] = deque()
        self.barriers = 0
        self.copies = 0
        self.skipping = False

    def __iter__(self) -> Iterator[Reply]:
        return iter(self._queue)

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def head(self) -> Reply | None:
        return self._queue[0] if self._queue else None

    def append(self, reply: Reply) -> None:
        self._queue.append(reply)
        self.barriers += reply.barrier
        self.copies += reply.copies

    def pop(self) -> Reply:
        reply = self._queue.popleft()
        self.barriers -= reply.barrier
        self.copies -= reply.copies
        return reply

    def fail(self, reply: Reply) -> None:
        """The statements of a simple query that have not run will not: ``reply`` is the head."""
        reply.failed = True
        self.copies -= reply.copies
        reply.copies = 0

    def enter_copy(self) -> bool:
        """The head takes COPY data. False if that was not to be expected."""
        head = self._queue[0]
        if not head.copies:
            return False
        head.copies -= 1
        self.copies -= 1
        return True

    def skip(self) -> list[Reply]:
        """The head failed in an extended query: drops it and the rest of its segment. Returns what was dropped."""
        dropped: list[Reply] = []
        while self._queue and self._queue[0].kind != frontend.SYNC:
            dropped.append(self.pop())
        self.skipping = not self._queue
        return dropped
