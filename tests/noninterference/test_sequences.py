"""After any sequence of statements the two databases still differ in hidden cells alone: no hidden value has reached a
cell that the session may see, and none was destroyed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from zlib import crc32

import pytest

from proxy.demo.postgres import EmbeddedPostgres
from tests.noninterference import cells
from tests.noninterference.attack import Mode
from tests.noninterference.cells import Cells
from tests.noninterference.conversation import Answer, Connection
from tests.noninterference.scratch import Scratch, scratch
from tests.noninterference.sequence import Connect, Sequence, play, sequences

SEQUENCES = sequences()
ALL = os.environ.get("NONINTERFERENCE") == "all"
MOST_BLIND = 0.35
"""Share of the sequences that would not show without consentry either."""


@pytest.fixture(scope="module")
def databases(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scratch]:
    with scratch(postgres, tmp_path_factory.mktemp("sequences"), "changed") as made:
        yield made


def _connect(databases: Scratch, way: Callable[..., Connection], side: int) -> Connect:
    def connect(role: str, purpose: str | None, direct: bool) -> Connection:
        chosen = databases.pair.direct if direct else way
        return chosen(side, role, **({} if purpose is None else {"consentry.purpose": purpose}))

    return connect


def _shown(answers: list[Answer]) -> list[str]:
    return [answer.shown() for answer in answers]


def _marked(request: pytest.FixtureRequest, sequence: Sequence) -> None:
    if sequence.xfail is not None:
        request.node.add_marker(pytest.mark.xfail(reason=sequence.xfail, strict=False))


@pytest.mark.parametrize("sequence", SEQUENCES, ids=str)
def test_what_is_hidden_stays_hidden_and_stays_what_it_is(
    postgres: EmbeddedPostgres, databases: Scratch, sequence: Sequence, request: pytest.FixtureRequest
) -> None:
    _marked(request, sequence)
    for mode in _modes(sequence):
        found, after, more = _both(databases, sequence, databases.pair.through, mode)
        assert _shown(found[0]) == _shown(found[1]), mode
        assert found[0] == found[1], mode
        assert not cells.told_apart(*after, databases.hidden), mode
        assert more[0] == more[1], mode
        if not sequence.overwrites:
            lost = [cells.overwritten(databases.before[side], after[side], databases.hidden) for side in (0, 1)]
            assert lost == [[], []], mode
        if sequence.answers is not None and sequence.since <= postgres.version:
            states = tuple((answer.error or {}).get("C", "") for answer in found[0])
            assert states == sequence.answers, _shown(found[0])


def _modes(sequence: Sequence) -> tuple[Mode, ...]:
    """All of them if ``NONINTERFERENCE=all``; else each sequence has its turn in one."""
    turn = crc32(str(sequence).encode()) % len(sequence.modes)
    return sequence.modes if ALL else sequence.modes[turn : turn + 1]


def _both(
    databases: Scratch, sequence: Sequence, way: Callable[..., Connection], mode: Mode
) -> tuple[list[list[Answer]], tuple[Cells, Cells], list[list[object]]]:
    """What comes back on either side, what the sides hold then, and what else is asked."""
    pauses = way != databases.pair.direct  # and so somebody whose catalog must follow
    found = [play(sequence, _connect(databases, way, side), sequence.role, mode, pauses=pauses) for side in (0, 1)]
    after = databases.cells()
    more: list[list[object]] = [[databases.ask(side, sql) for sql in sequence.afterwards] for side in (0, 1)]
    databases.restore(after, tell=pauses)
    return found, after, more


@pytest.mark.parametrize("sequence", SEQUENCES, ids=str)
def test_whoever_may_see_does_what_there_is_to_do(
    postgres: EmbeddedPostgres, databases: Scratch, sequence: Sequence, request: pytest.FixtureRequest
) -> None:
    """The must-work twin: for `director` no condition applies, so all is as it would be without consentry."""
    _marked(request, sequence)
    if postgres.version < sequence.since:
        pytest.skip(f"uses what came with PostgreSQL {sequence.since}")
    if sequence.twin == "refused" and not ALL and crc32(str(sequence).encode()) % 4:
        pytest.skip("has its turn where NONINTERFERENCE=all")
    through, held = _director(databases, sequence, databases.pair.through)
    if sequence.twin == "refused":
        assert any(answer.refused for answer in through), _shown(through)
    elif sequence.twin == "less":
        assert not any(answer.refused for answer in through), _shown(through)
    elif sequence.twin == "same":
        direct, direct_held = _director(databases, sequence, databases.pair.direct)
        assert _shown([a.comparable() for a in through]) == _shown([a.comparable() for a in direct])
        assert [answer.comparable() for answer in through] == [answer.comparable() for answer in direct]
        assert held.rows == direct_held.rows


def _director(databases: Scratch, sequence: Sequence, way: Callable[..., Connection]) -> tuple[list[Answer], Cells]:
    answers = play(sequence, _connect(databases, way, 0), "director", "simple")
    after = databases.cells()
    databases.restore(after)
    return answers, after[0]


@pytest.mark.timeout(400)
def test_the_rig_detects(postgres: EmbeddedPostgres, databases: Scratch) -> None:
    """Without consentry every sequence that is not blind tells the databases apart, or destroys what is hidden. A third
    of them has its turn, all do where NONINTERFERENCE=all."""
    missed = []
    for sequence in SEQUENCES:
        if sequence.blind or sequence.since > postgres.version or not (ALL or crc32(str(sequence).encode()) % 3 == 0):
            continue
        found, after, more = _both(databases, sequence, databases.pair.direct, "simple")
        told = found[0] != found[1] or more[0] != more[1] or cells.told_apart(*after, databases.hidden)
        lost = not sequence.overwrites and any(
            cells.overwritten(databases.before[side], after[side], databases.hidden) for side in (0, 1)
        )
        if not told and not lost:
            missed.append(str(sequence))
    assert not missed
    assert sum(sequence.blind for sequence in SEQUENCES) / len(SEQUENCES) <= MOST_BLIND


def test_what_was_changed_is_put_back(databases: Scratch) -> None:
    """Rows by undoing them, anything else by making the databases anew."""
    for change in (
        "UPDATE clinic.patients SET name = 'x', salary = 5; DELETE FROM clinic.births; TRUNCATE clinic.stays",
        "SELECT nextval('clinic.numbering'); INSERT INTO clinic.guesses (word) VALUES ('y')",
        "CREATE TABLE clinic.more (a int); INSERT INTO clinic.more VALUES (1)",
        "UPDATE clinic.contacts SET phone = '1'; REFRESH MATERIALIZED VIEW clinic.patient_copy",
    ):
        for side in (0, 1):
            with databases.pair.direct(side, "postgres") as owner:
                assert owner.query(change).error is None
        after = databases.cells()
        assert after != databases.before
        databases.restore(after)
        restored = databases.cells()
        assert [side.rows for side in restored] == [side.rows for side in databases.before]
        assert [side.objects for side in restored] == [side.objects for side in databases.before]
