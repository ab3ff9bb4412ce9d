"""Conflicts with constraints are counted for a minute, in all workers together."""

from __future__ import annotations

import mmap

from proxy.server.conflicts import CONFLICT_BYTES, ConflictCounts


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_they_are_forgotten_after_a_minute() -> None:
    clock = _Clock()
    counts = ConflictCounts(clock=clock)
    assert counts.add("app", 2) == 2
    for passed, more, expected in ((9, 0, 2), (30, 1, 3), (59, 0, 3), (71, 0, 1), (101, 0, 0), (170, 5, 5)):
        clock.now = 1000.0 + passed
        assert (counts.add("app", more) if more else counts.within_minute("app")) == expected, passed
    assert counts.within_minute("other") == 0


def test_all_workers_see_them() -> None:
    offset = 4
    memory = mmap.mmap(-1, offset + 3 * CONFLICT_BYTES)
    workers = [ConflictCounts(memory, offset, 3, number, clock=_Clock()) for number in range(3)]
    for number, worker in enumerate(workers, 1):
        assert worker.add("app", 1) == number
    assert [worker.within_minute("app") for worker in workers] == [3, 3, 3]
    assert bytes(memory[:offset]) == bytes(offset)


def test_more_roles_than_there_is_room_for() -> None:
    """Those without a place count together: never fewer than there were."""
    clock = _Clock()
    counts = ConflictCounts(clock=clock)
    for number in range(200):
        counts.add(f"role {number}", 1)
    assert [counts.within_minute(f"role {number}") >= 1 for number in range(200)] == [True] * 200
    assert counts.within_minute("role 3") == 1
    clock.now += 100
    assert counts.add("role 199", 1) == 1
