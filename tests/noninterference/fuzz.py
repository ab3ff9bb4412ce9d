"""Runs random statements on both databases through the proxy and reports every difference with what reproduces it.

    python -m tests.noninterference.fuzz --minutes 10 --seed 1
    python -m tests.noninterference.fuzz --source sqlsmith --state /tmp/sqlsmith.json --minutes 600
    python -m tests.noninterference.fuzz --seed 1 --source generator --first 100 --shapes 1

Sources: the generator of this folder, and sqlsmith where it is installed (``apt-get install sqlsmith``). Each makes
shapes, which are sent with many vectors of values (see ``runner.py``). With ``--state`` a run goes on where the one
before ended.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Generator
from itertools import islice
from pathlib import Path

from proxy.demo.postgres import EmbeddedPostgres
from tests.fix_postgres import SERVERS
from tests.noninterference import generator, sqlsmith
from tests.noninterference.databases import Pair, pair
from tests.noninterference.runner import VECTORS, Numbered, Runner, Tally
from tests.noninterference.shape import Values, learn_values
from tests.noninterference.vocabulary import Vocabulary, learn

LEAST_ACCEPTED = 0.3
"""Where fewer statements get through to a result, the run has shown nothing (exit code 1)."""
SAVED_SECONDS = 20.0


class State:
    """Where a run stands, in a file if it has one: seed, next number, and what became of the statements."""

    def __init__(self, path: Path | None, seed: int, first: int) -> None:
        self._path = path
        kept = json.loads(path.read_text()) if path is not None and path.exists() else {}
        self.seed: int = kept.get("seed", seed)
        self.next: int = kept.get("next", first)
        self.tally = Tally.of(kept["tally"]) if kept else Tally()
        self._saved = time.monotonic()

    def after(self, number: int) -> None:
        """The shape ``number`` was run."""
        self.next = number + 1
        if time.monotonic() - self._saved > SAVED_SECONDS:
            self.save()

    def save(self) -> None:
        self._saved = time.monotonic()
        if self._path is not None:
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps({"seed": self.seed, "next": self.next, "tally": self.tally.kept()}, indent=1))
            new.replace(self._path)


def generated(
    vocabulary: Vocabulary, seed: int, first: int = 0, unread: frozenset[str] = frozenset()
) -> Generator[Numbered]:
    """The shapes of a seed from the ``first`` on, with their numbers. The relations ``unread`` are rare in them."""
    maker = generator.Generator(vocabulary, seed, unread)
    number = 0
    while True:
        shape = maker.shape()
        if number >= first:
            yield number, shape
        number += 1


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # servers and databases end with it
    with (
        # It would analyze one database before the other: until then other plans let other rows fail first.
        EmbeddedPostgres(version=options.postgres, settings={"autovacuum": "off"}) as postgres,
        tempfile.TemporaryDirectory() as folder,
        pair(postgres, Path(folder), "fuzz", analyze=False) as databases,
    ):
        values = learn_values(*(postgres.dsn(database=name) for name in databases.names))
        found = [_run(source, options, postgres, databases, values) for source in _sources(options.source)]
        said = databases.proxy.said.splitlines()
        print(f"the proxy said {len(said)} lines", *said[1:20], sep="\n  ")
    if any(tally.found for tally in found):
        return 2
    return 0 if all(tally.share >= LEAST_ACCEPTED for tally in found) else 1


def _run(
    source: str, options: argparse.Namespace, postgres: EmbeddedPostgres, databases: Pair, values: Values
) -> Tally:
    state = State(options.state, options.seed, options.first)
    tally = state.tally
    runner = Runner(databases, values, vectors=options.vectors, report=_say)
    vocabulary = learn(postgres.dsn(database=databases.names[0]))
    unread = runner.unread(vocabulary)
    if source == "sqlsmith":
        made = sqlsmith.statements(postgres, state.seed, state.next, unread)
        shapes = ((number, sqlsmith.shape_of(text, values)) for number, text in made)
    else:
        shapes = generated(vocabulary, state.seed, state.next, unread)
    until = time.monotonic() + options.minutes * 60 / len(_sources(options.source))
    try:
        runner.run(source, state.seed, islice(shapes, options.shapes), tally, until, state.after)
    finally:
        shapes.close()
        if source == "sqlsmith":
            made.close()  # its databases hold objects of the roles that are dropped next
        runner.close()
        state.save()
    print(f"{source} (seed {state.seed}): {tally}")
    for name, counted in (("refused", tally.refusals), ("errors", tally.errors)):
        for what, times in counted.most_common(options.top):
            print(f"  {name} {times:6} {what}")
    return tally


def _say(what: object) -> None:
    print(what, flush=True)


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
    parser.add_argument("--shapes", type=int, default=None, help="stop after so many of each source")
    parser.add_argument("--first", type=int, default=0, help="number of the first shape, to reproduce one")
    parser.add_argument("--vectors", type=int, default=VECTORS, help="of values for each shape")
    parser.add_argument("--state", type=Path, default=None, help="file to go on from (with --source)")
    parser.add_argument("--source", choices=("generator", "sqlsmith"), default=None)
    parser.add_argument("--postgres", type=int, default=18, help=SERVERS)
    parser.add_argument("--top", type=int, default=15, help="how many kinds of refusals and errors to list")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
