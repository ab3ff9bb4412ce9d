"""The sample people are invented, of the right shape, and the same for everybody who starts from the same seed."""

from __future__ import annotations

import re
from datetime import date
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.demo.people import MOBILE_PREFIXES, Person, check_digit, id_number, people
from proxy.demo.places import DISTRICTS, District

TODAY = date(2026, 11, 1)


@pytest.fixture(scope="module")
def sample() -> list[Person]:
    return list(islice(people(Random(7), TODAY), 2000))


@pytest.mark.parametrize(
    ("number", "source"),
    [
        ("11010519491231002X", "the first example of GB 11643"),
        ("440524188001010014", "the second"),
    ],
)
def test_check_digit(number: str, source: str) -> None:
    assert check_digit(number[:17]) == number[17], source


@given(
    st.sampled_from(DISTRICTS), st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.integers(0, 999), st.integers(0, 16)
)
def test_check_digit_finds_every_single_wrong_digit(home: District, born: date, serial: int, position: int) -> None:
    number = id_number(home.code, born, serial)
    for digit in set("0123456789") - {number[position]}:
        assert check_digit(number[:position] + digit + number[position + 1 : 17]) != number[17]


def test_everybody_is_an_adult_with_a_complete_and_consistent_record(sample: list[Person]) -> None:
    for person in sample:
        assert person.id_number[6:14] == f"{person.birth_date:%Y%m%d}"
        assert person.id_number[17] == check_digit(person.id_number[:17])
        assert person.id_number[:6] in {district.code for district in DISTRICTS}
        assert re.fullmatch(r"1\d{10}", person.phone)
        assert person.phone[:3] in MOBILE_PREFIXES
        assert any(person.address.startswith(district.name) for district in DISTRICTS)
        assert re.fullmatch(r"[\w.]+@example\.(com|org|net)", person.email)
        assert 18 <= (TODAY - person.birth_date).days / 365.2425 <= 85
        assert 2 <= len(person.full_name) <= 4


def test_numbers_are_unique(sample: list[Person]) -> None:
    assert len({person.phone for person in sample}) == len(sample)
    assert len({person.account_number for person in sample}) == len(sample)


def test_equal_seeds_give_equal_people(sample: list[Person]) -> None:
    assert list(islice(people(Random(7), TODAY), 100)) == sample[:100]
    assert list(islice(people(Random(8), TODAY), 100)) != sample[:100]
