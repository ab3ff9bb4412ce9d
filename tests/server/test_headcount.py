"""Clients are counted over all workers."""

from __future__ import annotations

import mmap

import pytest

from proxy.server.headcount import BLOCK_BYTES, Headcount


@pytest.fixture
def memory() -> mmap.mmap:
    return mmap.mmap(-1, 2 * BLOCK_BYTES)


def test_without_limits_nobody_is_counted() -> None:
    headcount = Headcount()
    assert all(headcount.connect() and headcount.enter("r") for _ in range(100))


def test_connections_of_all_workers_together(memory: mmap.mmap) -> None:
    one, two = (Headcount(2, None, memory, worker) for worker in range(2))
    assert one.connect()
    assert two.connect()
    assert not one.connect()
    one.disconnect()
    assert not two.connect()
    two.disconnect()
    one.disconnect()
    assert two.connect()


def test_each_role_has_its_own_places(memory: mmap.mmap) -> None:
    one, two = (Headcount(None, 2, memory, worker) for worker in range(2))
    assert [one.enter("a"), two.enter("a"), one.enter("a"), one.enter("b")] == [True, True, False, True]
    two.leave("a")
    assert [one.enter("a"), two.enter("a")] == [True, False]


def test_a_worker_that_died_has_no_clients(memory: mmap.mmap) -> None:
    one, two = (Headcount(1, None, memory, worker) for worker in range(2))
    assert two.connect()
    Headcount.forget(memory, 1)
    assert one.connect()
    assert memory[BLOCK_BYTES:] == bytes(BLOCK_BYTES)


def test_roles_that_left_make_room() -> None:
    headcount = Headcount(None, 1)
    for number in range(5000):
        assert headcount.enter(f"role {number}")
        headcount.leave(f"role {number}")
    for number in range(4096):
        assert headcount.enter(f"present {number}")
    assert not headcount.enter("more than can be counted")
    headcount.leave("present 0")
    assert headcount.enter("more than can be counted")
    assert not headcount.enter("present 7")
