"""Client messages are framed the same in any chunking; what is not protocol 3 is a violation, not a crash."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProtocolViolation
from proxy.wire import frontend
from proxy.wire.client import STREAMED_ABOVE, ClientMessages, Form, Frame, MessageLimits

LIMITS = MessageLimits(statement=200, message=1 << 20)


def take_all(messages: ClientMessages, skip_binds: bool = False) -> list[Frame]:
    frames: list[Frame] = []
    while (frame := messages.take()) is not None:
        if frame.form is Form.HEAD and skip_binds:
            messages.skip_rest()
        frames.append(frame)
    return frames


def described(frames: list[Frame]) -> list[tuple[str, str, bytes]]:
    """Frames as (kind, form, data), pieces and heads joined to what they make up."""
    lines: list[tuple[str, str, bytes]] = []
    for frame in frames:
        form = "streamed" if frame.form in (Form.HEAD, Form.PIECE) else frame.form.name.lower()
        kind = chr(frame.kind)
        if form == "streamed" and frame.form is Form.PIECE and lines and lines[-1][1] == "streamed":
            lines[-1] = (lines[-1][0], form, lines[-1][2] + frame.data)
        else:
            lines.append((kind, form, frame.data))
    return lines


BIG_BIND = frontend.bind(b"portal", b"statement", b"\0\0\0\1" + b"\0\1\0\0" + b"x" * 65536 + b"\0\0")

CONVERSATION = b"".join(
    (
        frontend.query(b"SELECT 1"),
        frontend.parse(b"s", b"SELECT $1"),
        frontend.bind(b"", b"s"),
        frontend.execute(b""),
        frontend.SYNC_MESSAGE,
        frontend.query(b"x" * 300),
        frontend.message(frontend.FUNCTION_CALL, b"f" * 50),
        BIG_BIND,
        frontend.message(frontend.COPY_DATA, b"1\n"),
        frontend.message(frontend.COPY_DATA, b"2\n"),
        frontend.message(frontend.COPY_DONE, b""),
        frontend.TERMINATE_MESSAGE,
    )
)
EXPECTED = [
    ("Q", "whole", frontend.query(b"SELECT 1")),
    ("P", "whole", frontend.parse(b"s", b"SELECT $1")),
    ("B", "whole", frontend.bind(b"", b"s")),
    ("E", "whole", frontend.execute(b"")),
    ("S", "whole", frontend.SYNC_MESSAGE),
    ("Q", "oversize", b""),
    ("F", "oversize", b""),
    ("B", "streamed", BIG_BIND + b"d\0\0\0\x061\n" + b"d\0\0\0\x062\n"),
    ("c", "whole", frontend.message(frontend.COPY_DONE, b"")),
    ("X", "whole", frontend.TERMINATE_MESSAGE),
]


@given(cuts=st.lists(st.integers(0, len(CONVERSATION)), max_size=30))
def test_any_chunking_gives_the_same_frames(cuts: list[int]) -> None:
    messages = ClientMessages(LIMITS)
    frames: list[Frame] = []
    edges = [0, *sorted(cuts), len(CONVERSATION)]
    for start, end in itertools.pairwise(edges):
        messages.feed(CONVERSATION[start:end])
        frames += take_all(messages)
    # A Bind that happens to arrive at once needs no streaming; everything else is the same.
    lines = [(kind, form, data) for kind, form, data in described(frames)]
    assert b"".join(data for *_, data in lines) == b"".join(data for *_, data in EXPECTED)
    assert [kind for kind, *_ in lines if kind != "d"] == [kind for kind, *_ in EXPECTED]
    assert messages.pending == 0


def test_byte_by_byte() -> None:
    messages = ClientMessages(LIMITS)
    frames: list[Frame] = []
    for offset in range(len(CONVERSATION)):
        messages.feed(CONVERSATION[offset : offset + 1])
        frames += take_all(messages)
    assert described(frames) == EXPECTED


def test_a_large_bind_is_handed_out_with_its_names_and_can_be_skipped() -> None:
    messages = ClientMessages(LIMITS)
    messages.feed(BIG_BIND[:30])
    (head,) = take_all(messages, skip_binds=True)
    assert head.form is Form.HEAD
    assert frontend.read_bind(head.data)[:2] == (b"portal", b"statement")
    messages.feed(BIG_BIND[30:] + frontend.SYNC_MESSAGE)
    assert described(take_all(messages)) == [("S", "whole", frontend.SYNC_MESSAGE)]


def test_a_large_bind_can_be_gathered() -> None:
    messages = ClientMessages(LIMITS)
    messages.feed(frontend.SYNC_MESSAGE + BIG_BIND[:30])
    assert messages.take() is not None
    head = messages.take()
    assert head is not None
    assert head.form is Form.HEAD
    messages.gather()
    assert messages.take() is None
    assert messages.incomplete
    messages.feed(BIG_BIND[30:-1])
    assert messages.take() is None
    messages.feed(BIG_BIND[-1:] + BIG_BIND[:-1])
    assert described(take_all(messages))[0] == ("B", "whole", BIG_BIND)
    assert messages.pending == 0


def test_an_oversize_statement_is_never_held() -> None:
    messages = ClientMessages(MessageLimits(statement=100))
    messages.feed(frontend.query(b"x" * 10_000_000)[:5])
    assert described(take_all(messages)) == [("Q", "oversize", b"")]
    for _ in range(100):
        messages.feed(b"x" * 100_000)
        assert take_all(messages) == []
        assert messages.pending == 0
    messages.feed(b"\0" + frontend.SYNC_MESSAGE)
    assert described(take_all(messages)) == [("S", "whole", frontend.SYNC_MESSAGE)]


VIOLATIONS = {
    "an unknown type": b"?\0\0\0\4",
    "a length below its own size": b"Q\0\0\0\3",
    "a Sync that is too long": b"S\0\1\0\0",
    "a message beyond every limit": b"B\x7f\xff\xff\xff",
    "CopyData with a broken length": b"d\0\0\0\0",
    "a large Bind without names": b"B\0\x0f\0\0" + b"x" * (STREAMED_ABOVE + 1),
}


@pytest.mark.parametrize("case", VIOLATIONS)
def test_violations(case: str) -> None:
    messages = ClientMessages(LIMITS)
    messages.feed(VIOLATIONS[case])
    with pytest.raises(ProtocolViolation):
        take_all(messages)


@given(garbage=st.binary(max_size=400), size=st.integers(1, 50))
def test_garbage_is_frames_or_a_violation(garbage: bytes, size: int) -> None:
    messages = ClientMessages(LIMITS)
    try:
        for start in range(0, len(garbage), size):
            messages.feed(garbage[start : start + size])
            take_all(messages)
    except ProtocolViolation as violation:
        assert violation.sqlstate == "08P01"
