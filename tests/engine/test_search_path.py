"""search_path is split, cut and looked through as PostgreSQL does (varlena.c, namespace.c)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.engine.search_path import split_identifiers
from proxy.errors import Refused
from tests.engine.telecom import context, engine


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("a, b", ["a", "b"]),
        (' "$user" ,Public', ["$user", "public"]),
        ('"A""b", c', ['A"b', "c"]),
        ("\u00a0a", ["\u00a0a"]),
        ("a\u3000, b", ["a\u3000", "b"]),
        ("a\x1f", ["a\x1f"]),
        ("É", ["É"]),
        ("x" * 70, ["x" * 63]),
        ("é" * 40, ["é" * 31]),
    ],
)
def test_split(text: str, names: list[str]) -> None:
    assert split_identifiers(text) == names


@pytest.mark.parametrize("text", ["a,", ",a", 'a "b"', '"a', "a b", "a\vb", 'a"b'])
def test_malformed(text: str) -> None:
    with pytest.raises(Refused):
        split_identifiers(text)


def test_a_name_that_two_relations_bear_goes_with_its_schema() -> None:
    """The server passes over schemas without USAGE; what the name would mean then is not what was judged."""
    session = context("analyst", "marketing", search_path="app, public")
    verdict = engine().decisions(session).authorize(b"SELECT phone FROM subscribers")
    assert verdict.text == b'SELECT phone FROM "app".subscribers'
    other = replace(session, settings={**session.settings, "search_path": "public"})
    assert b'FROM "public"."subscribers" AS' in engine().decisions(other).authorize(b"TABLE subscribers").text
