"""The masks against a second implementation of their table, over whatever text and numbers Hypothesis thinks of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.masks import Mask, named, render
from tests.masks.conftest import Cells

# Everything that PostgreSQL can store: no NUL, no lone surrogates.
STORABLE = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
LIKELY = st.sampled_from("@@*0aX 张＠１\U0001f468\u200d\u0301")
TEXTS = st.lists(st.text(st.one_of(LIKELY, STORABLE), max_size=25), min_size=1, max_size=40)
FEW = settings(max_examples=60, deadline=None)


def partial(text: str, keep_first: int, keep_last: int, fill: str, shortest: int) -> str:
    if len(text) < shortest:
        return fill
    return text[:keep_first] + fill + (text[-keep_last:] if keep_last else "")


def email(text: str) -> str:
    before, _, domain = text.partition("@")
    if text.count("@") != 1 or len(before) < 2:
        return "****"
    return f"{before[0]}****@{domain}"


REFERENCE = {
    "phone": lambda text: partial(text, 3, 4, "****", 8),
    "id_card": lambda text: partial(text, 1, 1, "****", 15),
    "name": lambda text: partial(text, 1, 0, "**", 2),
    "email": email,
    "bank_card": lambda text: partial(text, 0, 4, "****", 12),
    "address": lambda text: partial(text, 6, 0, "****", 10),
    "redact": lambda _: "[masked]",
}


def shown(cells: Cells, mask: Mask, type_name: str, values: Sequence[object]) -> list[str | None]:
    """What shows of each value, in order."""
    expression = render(mask, "v.cell", cells.column(type_name)).replace("%", "%%")
    sql = f"""
        WITH v AS MATERIALIZED (SELECT cell, n FROM unnest(%s::{type_name}[]) WITH ORDINALITY AS u (cell, n))
        SELECT ({expression})::text FROM v ORDER BY n"""
    return [row[0] for row in cells.connection.execute(sql, [list(values)])]


@FEW
@given(texts=TEXTS)
def test_text(cells: Cells, texts: list[str]) -> None:
    for kind, reference in REFERENCE.items():
        assert shown(cells, named(kind), "text", texts) == [reference(text) for text in texts]


@FEW
@given(texts=TEXTS)
def test_declared_length(cells: Cells, texts: list[str]) -> None:
    """What does not fit is NULL, never cut."""
    for limit in (3, 4, 8, 11, 15):
        stored = [text[:limit] for text in texts]
        for kind, reference in REFERENCE.items():
            expected = [masked if len(masked := reference(text)) <= limit else None for text in stored]
            assert shown(cells, named(kind), f"varchar({limit})", stored) == expected


@FEW
@given(texts=TEXTS)
def test_name_type(cells: Cells, texts: list[str]) -> None:
    """The type ``name`` holds 63 bytes."""
    stored = [text.encode()[:63].decode(errors="ignore") for text in texts]
    for kind, reference in REFERENCE.items():
        expected = [masked if len((masked := reference(text)).encode()) <= 63 else None for text in stored]
        assert shown(cells, named(kind), "name", stored) == expected


@FEW
@given(
    texts=TEXTS,
    keep_first=st.integers(0, 12),
    keep_last=st.integers(0, 12),
    shortest=st.none() | st.integers(0, 20),
)
def test_partial(cells: Cells, texts: list[str], keep_first: int, keep_last: int, shortest: int | None) -> None:
    mask = Mask("partial", keep_first=keep_first, keep_last=keep_last, min_length=shortest)
    kept = keep_first + keep_last
    at_least = kept + 4 if shortest is None else max(shortest, kept)
    expected = [partial(text, keep_first, keep_last, "****", at_least) for text in texts]
    assert shown(cells, mask, "text", texts) == expected


STEPS = st.one_of(st.integers(1, 100), st.sampled_from([1000, 10**9, 2**31, 2**62, 2**63 - 1]))


@FEW
@given(numbers=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), step=STEPS)
def test_whole_numbers(cells: Cells, numbers: list[int], step: int) -> None:
    cut = [number // step * step for number in numbers]
    assert shown(cells, Mask("range", step=step), "int8", numbers) == [
        str(number) if number >= -(2**63) else None for number in cut
    ]


@FEW
@given(numbers=st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=7), min_size=1), step=STEPS)
def test_numerics(cells: Cells, numbers: list[Decimal], step: int) -> None:
    cut = [math.floor(Fraction(number)) // step * step for number in numbers]
    assert shown(cells, Mask("range", step=step), "numeric", numbers) == [str(number) for number in cut]


@FEW
@given(numbers=st.lists(st.floats(), min_size=1), step=STEPS)
def test_floating_point(cells: Cells, numbers: list[float], step: int) -> None:
    def reference(number: float) -> float | None:
        if not math.isfinite(number) or abs(math.floor(number)) > 2**53:
            return None
        cut = math.floor(number) // step * step
        return float(cut) if cut >= -(2**53) else None

    found = shown(cells, Mask("range", step=step), "float8", numbers)
    assert [None if text is None else float(text) for text in found] == [reference(number) for number in numbers]
