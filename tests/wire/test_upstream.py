"""Upstream bytes pass whole but for what is replaced, in any chunking."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProtocolViolation
from proxy.wire import backend
from proxy.wire.upstream import Rows, UpstreamMessages

NOTICE = backend.notice_response({"M": "something"})
READY = backend.message(backend.READY_FOR_QUERY, b"I")
STREAM = b"".join(
    (
        backend.message(backend.ROW_DESCRIPTION, b"\0\0"),
        backend.message(backend.DATA_ROW, b"x" * 3000),
        backend.message(backend.DATA_ROW, b""),
        NOTICE,
        backend.message(backend.DATA_ROW, b"y" * 5),
        backend.message(backend.COMMAND_COMPLETE, b"SELECT 3\0"),
        READY,
    )
)


def replace_notices(kind: int, whole: bytes) -> bytes | None:
    assert kind != backend.DATA_ROW
    if kind == backend.NOTICE_RESPONSE:
        return b""
    return b"ready" if whole == READY else None


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_any_chunking_gives_the_same_bytes(cuts: list[int]) -> None:
    messages = UpstreamMessages()
    passed: list[bytes] = []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(edges):
        messages.scan(STREAM[start:end], replace_notices, passed)
    assert b"".join(passed) == STREAM.replace(NOTICE, b"").replace(READY, b"ready")
    assert messages.at_boundary


def test_what_is_not_replaced_passes_as_the_object_that_came() -> None:
    passed: list[bytes] = []
    UpstreamMessages().scan(STREAM, lambda *_: None, passed)
    assert len(passed) == 1
    assert passed[0] is STREAM


def test_a_large_row_passes_in_pieces_and_nothing_may_be_put_amid_it() -> None:
    messages = UpstreamMessages()
    row = backend.message(backend.DATA_ROW, b"x" * 1_000_000)
    passed: list[bytes] = []
    messages.scan(row[:600_000], replace_notices, passed)
    assert passed == [row[:600_000]]
    assert not messages.at_boundary
    messages.scan(row[600_000:], replace_notices, passed)
    assert b"".join(passed) == row
    assert messages.at_boundary


def test_what_the_judge_raises_lets_pass_what_came_before() -> None:
    def judge(kind: int, _: bytes) -> bytes | None:
        if kind == backend.NOTICE_RESPONSE:
            raise RuntimeError
        return None

    passed: list[bytes] = []
    with pytest.raises(RuntimeError):
        UpstreamMessages().scan(STREAM, judge, passed)
    assert b"".join(passed) == STREAM[: STREAM.index(NOTICE)]


@given(garbage=st.binary(max_size=300), size=st.integers(1, 50))
def test_garbage_passes_or_is_a_violation(garbage: bytes, size: int) -> None:
    messages = UpstreamMessages()
    try:
        for start in range(0, len(garbage), size):
            messages.scan(garbage[start : start + size], lambda *_: None, [])
    except ProtocolViolation as violation:
        assert violation.sqlstate == "08P01"


def row(*values: bytes | None) -> bytes:
    cells = [b"\xff" * 4 if value is None else len(value).to_bytes(4, "big") + value for value in values]
    return backend.message(backend.DATA_ROW, len(values).to_bytes(2, "big") + b"".join(cells))


DESCRIPTION = backend.message(backend.ROW_DESCRIPTION, b"\0\0")
COMPLETE = backend.message(backend.COMMAND_COMPLETE, b"INSERT 0 3\0")
LONG = b"z" * 200_000


@pytest.mark.parametrize(
    ("rows", "before", "after"),
    [
        (Rows.DROP, row(None) * 3, b""),
        (Rows.DROP, row(None) + row(b"1") + row(LONG) + row(None), b""),
        (Rows.CUT, row(b"1", None) + row(None, None) + row(None), row(b"1") + row(None) + row()),
        (Rows.CUT, row(b"1", LONG, None) * 2 + row(b"2", None), row(b"1", LONG) * 2 + row(b"2")),
        (Rows.PASS, row(b"1", None), row(b"1", None)),
    ],
    ids=["null rows dropped", "any rows dropped", "cut", "long rows cut", "passed"],
)
@given(cuts=st.lists(st.integers(0, 500_000), max_size=8))
def test_rows_of_checks_are_dropped_or_cut_in_any_chunking(
    rows: Rows, before: bytes, after: bytes, cuts: list[int]
) -> None:
    asked = iter([rows, Rows.PASS])
    messages = UpstreamMessages()
    messages.ask_rows = lambda: next(asked)
    stream = DESCRIPTION + before + COMPLETE + DESCRIPTION + row(b"1") + COMPLETE
    passed: list[bytes] = []
    for start, end in itertools.pairwise([0, *sorted({min(cut, len(stream)) for cut in cuts}), len(stream)]):
        messages.scan(stream[start:end], lambda *_: None, passed)
    assert b"".join(passed) == DESCRIPTION + after + COMPLETE + DESCRIPTION + row(b"1") + COMPLETE
    assert messages.at_boundary


@pytest.mark.parametrize("last", [row(b"1", b"2"), row(LONG, b"2"), backend.message(backend.DATA_ROW, b"\0\0")])
def test_a_row_that_does_not_end_as_it_must_is_not_cut(last: bytes) -> None:
    messages = UpstreamMessages()
    messages.ask_rows = lambda: Rows.CUT
    with pytest.raises(ProtocolViolation):
        messages.scan(last, lambda *_: None, [])


def test_a_long_row_is_cut_on_its_way() -> None:
    messages = UpstreamMessages()
    messages.ask_rows = lambda: Rows.CUT
    whole, cut = row(LONG, None), row(LONG)
    passed: list[bytes] = []
    messages.scan(whole[:100_000], lambda *_: None, passed)
    assert b"".join(passed) == cut[:100_000]
    assert not messages.at_boundary
    messages.scan(whole[100_000:-1], lambda *_: None, passed)
    assert not messages.at_boundary
    messages.scan(whole[-1:], lambda *_: None, passed)
    assert b"".join(passed) == cut
    assert messages.at_boundary
