"""YAML with positions: how scalars are read, and what is refused without harm."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.policy.diagnostic import Position
from proxy.policy.document import locate, parse


@pytest.mark.parametrize(
    ("written", "value"),
    [
        # the core schema of YAML 1.2, not the booleans and base-60 numbers of 1.1
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("FALSE", False),
        ("1:30", "1:30"),
        ("012", 12),
        ("-3", -3),
        ("1.5", 1.5),
        (".inf", ".inf"),
        ("2026-11-01", "2026-11-01"),
        ("~", None),
        ("null", None),
        ("", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("'null'", "null"),
        ("9999999999999999999999", 1e22),
    ],
)
def test_scalars(written: str, value: Any) -> None:
    assert parse(f"key: {written}\n").root == {"key": value}


def test_positions_count_characters_from_one() -> None:
    root = parse('a: 1\n"名前": {b: [x, 張]}\n').root
    assert locate(root, ("a",)) == (1, 4)
    assert locate(root, ("名前",), key=True) == (2, 1)
    assert locate(root, ("名前", "b", 1)) == (2, 15)
    assert locate(root, ("名前", "b", 7)) == (2, 11)
    assert locate(root, ("名前", "c")) == (2, 7)
    assert locate(root, ("z",)) == Position(1, 1)


def test_an_alias_is_the_value_that_was_anchored() -> None:
    assert parse("a: &x {b: 1}\nc: *x\n").root == {"a": {"b": 1}, "c": {"b": 1}}


def test_a_value_cannot_hold_itself() -> None:
    document = parse("a: &x [*x]\n")
    assert document.root == {"a": [None]}
    assert document.problems == [((1, 8), "yaml", "no value before this one is anchored as &x")]


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"#%@,?\n \t\\\0é\u2028\ufeff0."), max_size=60))
def test_any_text_is_a_document_or_a_problem(text: str) -> None:
    document = parse(text)
    for position, code, message in document.problems:
        assert position >= (1, 1)
        assert code
        assert message
