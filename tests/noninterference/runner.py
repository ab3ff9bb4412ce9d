"""Sends each shape to both databases with one vector of values after the other, and compares what comes back.

Each side has a connection, and both work at the same time. What belongs to one shape goes out in one piece: a statement
is decided and planned once, and then run with all its vectors. Some shapes are written out with literals, and go by
the decision's template where there is one; the others are prepared, in text and in binary format, half of them with
generic plans.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.noninterference import conversation as wire
from tests.noninterference.conversation import Answer, Closed, Connection, Message
from tests.noninterference.databases import Pair
from tests.noninterference.shape import Shape, Value, Values
from tests.noninterference.vocabulary import Vocabulary

STATEMENT_TIMEOUT = "2000"
"""Milliseconds. What takes longer says nothing: time is not covered."""
PATIENCE = 60.0
"""Seconds that an answer may take in all, deciding, planning and waiting for a busy machine included."""
_CANCELLED = ("57014", "53200", "54001", "53400")
"""Errors that come from time and memory: cancelled, out of memory, stack depth, configuration limit."""
PROGRESS_SECONDS = 30.0
VECTORS = 129
"""Of one shape."""
WRITTEN = 9
"""Of one whose literals are written out: many a text is decided anew."""
PIECE = 16
"""Vectors that go out together."""
SMALL_PIECE = 2
"""The same where each is a text of its own."""
SLOW = 0.1
"""Seconds for each vector of a piece: a shape that takes longer is left."""
WAYS = ("literals", "text", "binary", "text", "binary")

_NAME = "s"
"""Of the prepared statement: the unnamed one would be gone with BEGIN."""

Numbered = tuple[int, Shape]
Vector = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """A statement that tells the databases apart. ``seed`` and ``number`` make its shape again from ``source``."""

    source: str
    seed: int
    number: int
    way: str
    statement: str
    vector: Vector
    first: Answer
    second: Answer

    def __str__(self) -> str:
        place = f"--source {self.source} --seed {self.seed} --first {self.number} --shapes 1"
        return (
            f"LEAK {place} ({self.way})\n{self.statement}\n--- with {self.vector}\n--- side 0\n{self.first.shown()}\n"
            f"--- side 1\n{self.second.shown()}\n"
        )


@dataclass(slots=True)
class Tally:
    """What became of the statements of one source."""

    shapes: int = 0
    statements: int = 0
    accepted: int = 0
    rows: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """The server's own errors by SQLSTATE."""
    refusals: Counter[str] = field(default_factory=Counter)
    """By SQLSTATE and the beginning of the message."""
    examples: dict[str, str] = field(default_factory=dict)
    """A statement for each kind of refusal."""
    undecided: int = 0
    """Timeouts, and statements whose answer changes from run to run on one database."""
    ended: int = 0
    """Sessions that consentry or the server ended."""
    differences: list[Difference] = field(default_factory=list)
    found: int = 0
    """Differences, those of earlier runs included."""
    seconds: float = 0.0

    @property
    def share(self) -> float:
        """Accepted by proxy and server."""
        return self.accepted / max(self.statements, 1)

    @property
    def refused(self) -> int:
        return sum(self.refusals.values())

    def __str__(self) -> str:
        return (
            f"{self.statements} statements of {self.shapes} shapes in {self.seconds:.0f} s"
            f" ({self.statements / max(self.seconds, 0.001):.0f}/s), {self.accepted} accepted ({self.share:.1%},"
            f" {self.rows} rows), {sum(self.errors.values())} errors, {self.refused} refused"
            f" ({self.refused / max(self.statements, 1):.1%}), {self.undecided} undecided, {self.ended} sessions ended,"
            f" {self.found} differences"
        )

    def kept(self) -> dict[str, Any]:
        """As JSON, to go on from."""
        fields = ("shapes", "statements", "accepted", "rows", "undecided", "ended", "found", "seconds", "examples")
        return {name: getattr(self, name) for name in fields} | {
            "errors": dict(self.errors),
            "refusals": dict(self.refusals),
        }

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Tally:
        tally = cls(**kept)
        tally.errors, tally.refusals = Counter(tally.errors), Counter(tally.refusals)
        return tally


class Runner:
    """``report`` is called with every difference at once, and with the tally every half minute."""

    def __init__(
        self,
        databases: Pair,
        values: Values,
        *,
        role: str = "analyst",
        purpose: str = "marketing",
        vectors: int = VECTORS,
        report: Callable[[object], None] = print,
    ) -> None:
        self._databases, self._values = databases, values
        self._role, self._purpose = role, purpose
        self._vectors, self._report = vectors, report
        self._connections: dict[tuple[int, str], Connection] = {}
        self._tally = Tally()
        self._source, self._seed = "", 0

    def run(
        self, source: str, seed: int, shapes: Iterable[Numbered], tally: Tally, until: float, after: Any = None
    ) -> None:
        """Until ``shapes`` end or the clock (``time.monotonic``) says ``until``. Calls ``after(number)`` of each."""
        self._tally, self._source, self._seed = tally, source, seed
        began = said = time.monotonic()
        for number, shape in shapes:
            self._try(number, shape)
            now = time.monotonic()
            tally.seconds += now - began
            began = now
            if after is not None:
                after(number)
            if now - said > PROGRESS_SECONDS:
                said = now
                self._report(f"{source} (seed {seed}, number {number}): {tally}")
            if now > until:
                break

    def unread(self, vocabulary: Vocabulary) -> frozenset[str]:
        """Relations that are refused as a whole: statements over them would all end in the same way."""
        names = [table.name for table in vocabulary.tables]
        with self._connect(0, "auto") as connection:
            return frozenset(name for name in names if connection.query(f"SELECT * FROM {name}").refused)

    def close(self) -> None:
        for connection in self._connections.values():
            with suppress(OSError):
                connection.close()
        self._connections.clear()

    # --- one shape ---

    def _try(self, number: int, shape: Shape) -> None:
        self._tally.shapes += 1
        random = Random(f"{self._seed} {number}")
        way = "literals" if shape.text.startswith("COPY") else WAYS[number % len(WAYS)]
        sent = _Sent(shape, way, ("auto", "force_generic_plan")[number // len(WAYS) % 2])
        most = self._vectors if sent.prepared else min(self._vectors, WRITTEN)
        drawn = (shape.vector(self._values, random, nulls=sent.prepared) for _ in range(most))
        vectors = list(dict.fromkeys(drawn))
        if not self._compare(number, sent, vectors[:1]):
            return
        size = PIECE if sent.prepared else SMALL_PIECE
        for start in range(1, len(vectors), size):
            began = time.monotonic()
            piece = vectors[start : start + size]
            self._compare(number, sent, piece, again=True)
            if time.monotonic() - began > SLOW * len(piece):
                break

    def _compare(self, number: int, sent: _Sent, vectors: list[Vector], *, again: bool = False) -> bool:
        """False where other values would end in the same way. ``again``: the statement is prepared already."""
        sides = self._both(sent, vectors, again=again)
        for vector, first, second in zip(vectors, *sides, strict=False):
            self._count(sent, first)
            if any(answer.error is not None and answer.error.get("C") in _CANCELLED for answer in (first, second)):
                self._tally.undecided += 1
            elif first != second and not self._open(sent, vector, first, second):
                self._tally.found += 1
                found = Difference(self._source, self._seed, number, sent.way, sent.text(vector), vector, first, second)
                self._tally.differences.append(found)
                self._report(found)
            elif first != second:
                self._tally.undecided += 1
        return bool(sides[0]) and not sides[0][-1].refused and not sent.failed(sides[0][-1])

    def _count(self, sent: _Sent, answer: Answer) -> None:
        tally = self._tally
        tally.statements += 1
        if answer.error is None:
            tally.accepted += 1
            tally.rows += len(answer.rows)
        elif answer.refused:
            reason = f"{answer.error['C']} {answer.error['M'][:90]}"
            tally.refusals[reason] += 1
            tally.examples.setdefault(reason, sent.shape.plain)
        else:
            state = answer.error["C"]
            tally.errors[state] += 1
            if state.startswith("XX"):
                self._report(f"INTERNAL {answer.error}\n{sent.shape.plain}")

    def _open(self, sent: _Sent, vector: Vector, first: Answer, second: Answer) -> bool:
        """The difference is one that SQL leaves open: it shows on one database too, or (sqlsmith) is one of order."""
        if self._source == "sqlsmith" and first.unordered() == second.unordered():
            return True
        again = [self._both(sent, [vector]) for _ in range(3)]
        return any(_last(pair[side]) != _last([before]) for pair in again for side, before in ((0, first), (1, second)))

    # --- both sides ---

    def _both(self, sent: _Sent, vectors: list[Vector], *, again: bool = False) -> tuple[list[Answer], list[Answer]]:
        """What comes back for each vector on either side; less where a session ends."""
        again = again and all((side, sent.plans) in self._connections for side in (0, 1))
        messages = sent.messages(vectors, again=again)
        sides = [self._connection(side, sent.plans) for side in (0, 1)]
        for connection in sides:
            connection.send(messages)
        first, second = (
            self._answers(side, connection, sent, [not again] + [False] * (len(vectors) - 1))
            for side, connection in enumerate(sides)
        )
        return first, second

    def _answers(self, side: int, connection: Connection, sent: _Sent, parsed: list[bool]) -> list[Answer]:
        """One answer for each vector; with that to Parse before it where it was ``parsed``."""
        found: list[Answer] = []
        try:
            for begins in parsed:
                parts = [connection.answer() for _ in range(sent.answers + (begins and sent.prepared))]
                middle = parts[-2] if sent.undone else parts[-1]
                before = parts[0].messages if begins and sent.prepared else ()
                found.append(Answer(before + middle.messages))
        except TimeoutError:
            self._tally.undecided += side
            self._connections.pop((side, sent.plans)).close()
        except Closed as closed:
            self._tally.ended += side
            self._connections.pop((side, sent.plans)).close()
            found.append(Answer((*closed.messages, ("closed", b""))))
        return found

    def _connection(self, side: int, plans: str) -> Connection:
        if (side, plans) not in self._connections:
            self._connections[side, plans] = self._connect(side, plans)
        return self._connections[side, plans]

    def _connect(self, side: int, plans: str) -> Connection:
        given = {"statement_timeout": STATEMENT_TIMEOUT, "plan_cache_mode": plans}
        connection = self._databases.through(side, self._role, **{"consentry.purpose": self._purpose}, **given)
        connection.patience = PATIENCE
        return connection


def _last(answers: list[Answer]) -> tuple[Message, ...]:
    """What came after Parse."""
    messages = answers[-1].messages if answers else ()
    ready = [index for index, (kind, _) in enumerate(messages) if kind == "Z"]
    return messages[ready[-2] + 1 :] if len(ready) > 1 else messages


@dataclass(frozen=True, slots=True)
class _Sent:
    """A shape and the way in which it is sent."""

    shape: Shape
    way: str
    plans: str

    @property
    def prepared(self) -> bool:
        return self.way != "literals"

    @property
    def undone(self) -> bool:
        """It may write, which is undone, so that both databases stay what they are."""
        return not self.shape.text.lstrip()[:6].upper().startswith(("SELECT", "WITH", "COPY", "VALUES"))

    @property
    def answers(self) -> int:
        """ReadyForQuery messages for each vector: those to BEGIN and ROLLBACK as well."""
        return 3 if self.undone else 1

    def text(self, vector: Vector) -> str:
        return self.shape.parameterized if self.prepared else self.shape.written(vector)

    def failed(self, answer: Answer) -> bool:
        """Before it had any values: other values would not do better."""
        state = (answer.error or {}).get("C", "")
        parsed = any(kind == "1" for kind, _ in answer.messages)
        return state.startswith(("42", "0A")) and not (self.prepared and parsed)

    def messages(self, vectors: list[Vector], *, again: bool) -> bytes:
        """All that is sent for ``vectors``. ``again``: it is prepared already."""
        before, after = (wire.query("BEGIN"), wire.query("ROLLBACK")) if self.undone else (b"", b"")
        sent = b""
        if self.prepared and not again:
            sent = wire.close("S", _NAME) + wire.parse(_NAME, self.shape.parameterized)
            sent += wire.describe("S", _NAME) + wire.SYNC
        return sent + b"".join(before + self._one(vector) + after for vector in vectors)

    def _one(self, vector: Vector) -> bytes:
        if not self.prepared:
            return wire.query(self.shape.written(vector))
        results = wire.BINARY if self.way == "binary" else wire.TEXT
        return wire.bind("", _NAME, vector, results) + wire.describe("P", "") + wire.execute("") + wire.SYNC
