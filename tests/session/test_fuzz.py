"""A little of the fuzzing of framing and session at every run of the tests; ``make fuzz-wire`` does much of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.session import Session
from proxy.session.answers import Answers
from proxy.session.replies import Replies
from proxy.wire.upstream import UpstreamMessages
from tests.session.fuzz import KINDS, Found, run


@pytest.mark.parametrize("kind", KINDS)
def test_conversations_that_were_never_held_before(kind: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 1 << 40))
    def play(seed: int) -> None:
        run(seed, kind)

    play()


@pytest.mark.parametrize("kind", KINDS)
def test_conversations_that_are_always_the_same(kind: str) -> None:
    assert sum(run(seed, kind) for seed in range(60)) > 0


BLUNDERS = {
    "an error skips nothing": (Replies, "skip", lambda _: []),
    "what failed is expected to have happened": (Answers, "_drop", lambda _, *__, **___: None),
    "the catalog is waited for in vain": (Session, "catalog_ready", lambda _: None),
    "upstream messages are passed unread": (UpstreamMessages, "scan", lambda _, data, __, passed: passed.append(data)),
}


@pytest.mark.parametrize("blunder", BLUNDERS)
def test_it_finds_blunders(monkeypatch: pytest.MonkeyPatch, blunder: str) -> None:
    where, name, replacement = BLUNDERS[blunder]
    monkeypatch.setattr(where, name, replacement)
    with pytest.raises(Found):
        for seed in range(200):
            run(seed, "in order")
