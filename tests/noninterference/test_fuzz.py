"""A few random statements each run; ``make fuzz`` takes the time that it is given."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

import pytest

from proxy.demo.postgres import EmbeddedPostgres
from tests.noninterference import sqlsmith
from tests.noninterference.conversation import Connection
from tests.noninterference.databases import SEARCH_PATH, Pair, pair
from tests.noninterference.fuzz import generated
from tests.noninterference.runner import Runner, Tally
from tests.noninterference.shape import Values, learn_values
from tests.noninterference.vocabulary import Vocabulary, learn

SEED = 20
SECONDS = 20.0
"""No more than this, whatever number of statements it makes on the machine at hand."""
VECTORS = 24
LEAST_ACCEPTED = 0.7


@pytest.fixture(scope="module")
def databases(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(postgres, tmp_path_factory.mktemp("fuzz"), "fuzz", analyze=False) as made:
        yield made


@pytest.fixture(scope="module")
def vocabulary(postgres: EmbeddedPostgres, databases: Pair) -> Vocabulary:
    return learn(postgres.dsn(database=databases.names[0]))


@pytest.fixture(scope="module")
def values(postgres: EmbeddedPostgres, databases: Pair) -> Values:
    return learn_values(*(postgres.dsn(database=name) for name in databases.names))


def test_a_seed_gives_the_same_statements(vocabulary: Vocabulary) -> None:
    first, again, later = (list(islice(generated(vocabulary, 3, start), 20)) for start in (0, 0, 10))
    assert first == again
    assert first[10:] == later[:10]


def test_random_statements_do_not_tell_the_databases_apart(
    databases: Pair, vocabulary: Vocabulary, values: Values
) -> None:
    tally = Tally()
    runner = Runner(databases, values, vectors=VECTORS)
    shapes = generated(vocabulary, SEED, 0, runner.unread(vocabulary))
    runner.run("generator", SEED, shapes, tally, time.monotonic() + SECONDS)
    runner.close()
    assert not tally.differences, "\n".join(map(str, tally.differences[:5]))
    assert tally.share >= LEAST_ACCEPTED, str(tally)
    assert tally.rows > tally.statements


def test_random_statements_would_tell_them_apart(databases: Pair, vocabulary: Vocabulary) -> None:
    """The same statements without consentry."""
    given = {"search_path": SEARCH_PATH, "statement_timeout": "3000"}
    sides = [Connection(databases.direct_port, name, "analyst", given) for name in databases.names]
    told = 0
    for _, shape in islice(generated(vocabulary, SEED), 300):
        first, second = (side.query(shape.plain) for side in sides)
        told += first != second
    for side in sides:
        side.close()
    assert told > 30, told


@pytest.mark.skipif(not sqlsmith.installed(), reason="sqlsmith is not installed")
def test_statements_of_sqlsmith_do_not_tell_the_databases_apart(
    postgres: EmbeddedPostgres, databases: Pair, vocabulary: Vocabulary, values: Values
) -> None:
    tally = Tally()
    runner = Runner(databases, values, vectors=VECTORS)
    statements = sqlsmith.statements(postgres, SEED, 0, runner.unread(vocabulary))
    shapes = ((number, sqlsmith.shape_of(text, values)) for number, text in islice(statements, 100))
    runner.run("sqlsmith", SEED, shapes, tally, time.monotonic() + 5)
    runner.close()
    statements.close()
    assert not tally.differences, "\n".join(map(str, tally.differences[:5]))
