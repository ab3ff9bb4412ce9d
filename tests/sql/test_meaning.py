"""A tree without offsets is the tree but for its offsets, whatever stands in strings and names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sql.grammar import meaning, parse
from proxy.sql.quote import identifier
from proxy.sql.tree import without_locations

TEXTS = [
    "",
    "SELECT 1",
    "SELECT a, $1::int FROM s.t AS x WHERE a IN (1, 2) AND b = ANY ('{1}') ORDER BY 1; INSERT INTO t VALUES (ARRAY[1])",
    """SELECT '"location":5,', ',"stmt_len":7', "location" FROM "x""location"":7," """,
    r"""SELECT E'\\"location\\":5', e'\"location\":6', '\"list_start\":7,'""",
    "SELECT 'location', \"stmt_location\" FROM location",
]


def _expected(text: str) -> list[object]:
    return [without_locations({statement.kind: statement.node}) for statement in parse(text.encode())]


@pytest.mark.parametrize("text", TEXTS)
def test_only_offsets_are_left_out(text: str) -> None:
    assert meaning(text.encode()) == _expected(text)


@given(st.lists(st.sampled_from(['"', "\\", ":", ",", "location", "stmt_len", "5", "é", "{", "}", " "])).map("".join))
def test_strings_and_names_are_kept(part: str) -> None:
    text = f"SELECT '{part}', {identifier(part or 'x')}, $q${part}$q$ FROM t"
    assert meaning(text.encode()) == _expected(text)
