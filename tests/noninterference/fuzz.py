"""Runs random statements on both databases through the proxy and reports every difference with what reproduces it.

    python -m tests.noninterference.fuzz --minutes 10 --seed 1
    python -m tests.noninterference.fuzz --seed 1 --source generator --statements 2000 --first 100

Sources: the generator of this folder, and sqlsmith where it is installed (``apt-get install sqlsmith``).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from proxy.demo.postgres import EmbeddedPostgres
from tests.noninterference import generator, sqlsmith
from tests.noninterference.attack import MODES, Mode, send
from tests.noninterference.conversation import Answer, Closed, Connection
from tests.noninterference.databases import Pair, pair
from tests.noninterference.vocabulary import Vocabulary, learn

STATEMENT_TIMEOUT = "3000"
"""Milliseconds. What takes longer says nothing: time is not covered."""
_CANCELLED = ("57014", "53200", "54001", "53400")
"""Errors that come from time and memory: cancelled, out of memory, stack depth, configuration limit."""
LEAST_ACCEPTED = 0.3
"""Where fewer statements get through to a result, the run has shown nothing (exit code 1)."""
PROGRESS_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Difference:
    """A statement that tells the databases apart. ``seed`` and ``number`` make it again from ``source``."""

    source: str
    seed: int
    number: int
    mode: Mode
    statement: str
    answers: tuple[Answer, Answer]

    def __str__(self) -> str:
        first, second = (answer.shown() for answer in self.answers)
        place = f"--source {self.source} --seed {self.seed} --first {self.number} --statements 1"
        return f"LEAK {place} ({self.mode})\n{self.statement}\n--- side 0\n{first}\n--- side 1\n{second}\n"


@dataclass(slots=True)
class Tally:
    """What became of the statements of one source."""

    statements: int = 0
    accepted: int = 0
    rows: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """The server's own errors by SQLSTATE."""
    refusals: Counter[str] = field(default_factory=Counter)
    """By SQLSTATE and the beginning of the message."""
    undecided: int = 0
    """Timeouts, and statements whose answer changes from run to run on one database."""
    differences: list[Difference] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def share(self) -> float:
        """Accepted by proxy and server."""
        return self.accepted / max(self.statements, 1)

    def __str__(self) -> str:
        return (
            f"{self.statements} statements in {self.seconds:.0f} s, {self.accepted} accepted ({self.share:.1%},"
            f" {self.rows} rows),"
            f" {sum(self.errors.values())} errors, {sum(self.refusals.values())} refused, {self.undecided} undecided,"
            f" {len(self.differences)} differences"
        )


class Runner:
    """Sends each statement to both databases and compares what comes back."""

    def __init__(self, databases: Pair, *, role: str = "analyst", purpose: str = "marketing") -> None:
        self._databases = databases
        self._role, self._purpose = role, purpose
        self._connections: list[Connection | None] = [None, None]

    def run(self, source: str, seed: int, statements: Iterable[tuple[int, str]], tally: Tally, until: float) -> None:
        """Until ``statements`` end or the clock (``time.monotonic``) says ``until``."""
        began = said = time.monotonic()
        for number, statement in statements:
            self._try(source, seed, number, statement, tally)
            now = time.monotonic()
            tally.seconds += now - began
            began = now
            if now - said > PROGRESS_SECONDS:
                said = now
                print(f"{source} (seed {seed}): {tally}", file=sys.stderr, flush=True)
            if now > until:
                break

    def unread(self, vocabulary: Vocabulary) -> frozenset[str]:
        """Relations that are refused as a whole: statements over them would all end in the same way."""
        names = [table.name for table in vocabulary.tables]
        return frozenset(name for name in names if self._ask(0, f"SELECT * FROM {name}", "simple").refused)

    def close(self) -> None:
        for connection in self._connections:
            if connection is not None:
                with suppress(OSError):
                    connection.close()
        self._connections = [None, None]

    def _try(self, source: str, seed: int, number: int, statement: str, tally: Tally) -> None:
        mode = MODES[number % len(MODES)]
        first, second = self._ask(0, statement, mode), self._ask(1, statement, mode)
        tally.statements += 1
        if any(answer.error is not None and answer.error.get("C") in _CANCELLED for answer in (first, second)):
            tally.undecided += 1
            return
        if first != second and not self._open(source, statement, mode, first, second):
            tally.differences.append(Difference(source, seed, number, mode, statement, (first, second)))
        elif first != second:
            tally.undecided += 1
        if first.error is None:
            tally.accepted += 1
            tally.rows += len(first.rows)
        elif first.refused:
            tally.refusals[f"{first.error['C']} {first.error['M'][:90]}"] += 1
        else:
            tally.errors[first.error["C"]] += 1

    def _open(self, source: str, statement: str, mode: Mode, first: Answer, second: Answer) -> bool:
        """The difference is one that SQL leaves open: it shows on one database too, or (sqlsmith) is one of order."""
        if source == "sqlsmith" and first.unordered() == second.unordered():
            return True
        return any(
            self._ask(side, statement, mode) != before for side, before in ((0, first), (1, second)) for _ in range(3)
        )

    def _ask(self, side: int, statement: str, mode: Mode) -> Answer:
        connection = self._connections[side]
        try:
            if connection is None:
                given = {"consentry.purpose": self._purpose, "statement_timeout": STATEMENT_TIMEOUT}
                connection = self._connections[side] = self._databases.through(side, self._role, **given)
            # What writes is undone, so that both databases stay what they are.
            if statement.lstrip()[:6].upper() in ("SELECT", "WITH", "COPY"):
                return send(connection, statement, mode)
            connection.query("BEGIN")
            answer = send(connection, statement, mode)
            connection.query("ROLLBACK")
            return answer
        except Closed as closed:
            self._connections[side] = None
            return Answer((*closed.messages, ("closed", b"")))


def generated(
    vocabulary: Vocabulary, seed: int, first: int = 0, unread: frozenset[str] = frozenset()
) -> Generator[tuple[int, str]]:
    """The statements of a seed from the ``first`` on, with their numbers. The relations ``unread`` are rare in them."""
    maker = generator.Generator(vocabulary, seed, unread)
    number = 0
    while True:
        statement = maker.statement()
        if number >= first:
            yield number, statement
        number += 1


def main() -> int:
    options = _options()
    with (
        EmbeddedPostgres(version=options.postgres) as postgres,
        tempfile.TemporaryDirectory() as folder,
        pair(postgres, Path(folder), "fuzz", analyze=False) as databases,
    ):
        found = [_run(source, options, postgres, databases) for source in _sources(options.source)]
    if any(tally.differences for tally in found):
        return 2
    return 0 if all(tally.share >= LEAST_ACCEPTED for tally in found) else 1


def _run(source: str, options: argparse.Namespace, postgres: EmbeddedPostgres, databases: Pair) -> Tally:
    tally = Tally()
    runner = Runner(databases)
    vocabulary = learn(postgres.dsn(database=databases.names[0]))
    unread = runner.unread(vocabulary)
    if source == "sqlsmith":
        statements = sqlsmith.statements(postgres, options.seed, options.first, unread)
    else:
        statements = generated(vocabulary, options.seed, options.first, unread)
    until = time.monotonic() + options.minutes * 60 / len(_sources(options.source))
    runner.run(source, options.seed, islice(statements, options.statements), tally, until)
    runner.close()
    print(f"{source} (seed {options.seed}): {tally}")
    for name, counted in (("refused", tally.refusals), ("errors", tally.errors)):
        for what, times in counted.most_common(options.top):
            print(f"  {name} {times:6} {what}")
    for difference in tally.differences:
        print(difference)
    return tally


def _sources(source: str | None) -> list[str]:
    if source is not None:
        return [source]
    if sqlsmith.installed():
        return ["generator", "sqlsmith"]
    print("sqlsmith is not installed, so the generator runs alone (apt-get install sqlsmith)")
    return ["generator"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.noninterference.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long, all sources together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--statements", type=int, default=None, help="stop after so many of each source")
    parser.add_argument("--first", type=int, default=0, help="number of the first statement, to reproduce one")
    parser.add_argument("--source", choices=("generator", "sqlsmith"), default=None)
    parser.add_argument("--postgres", type=int, choices=(16, 18), default=18)
    parser.add_argument("--top", type=int, default=15, help="how many kinds of refusals and errors to list")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
