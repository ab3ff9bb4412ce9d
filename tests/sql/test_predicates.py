"""Which comparisons of a WHERE clause are certainly about a relation of the FROM beside it."""

from __future__ import annotations

import pytest

from proxy.sql.facts import facts
from proxy.sql.predicates import comparisons

CASES = {
    "SELECT FROM people WHERE phone = '1' AND id > 2": ["id >", "phone ="],
    "SELECT FROM people p WHERE p.phone IN ('1', '2') OR p.id = 1": [],
    "SELECT FROM people p JOIN calls c USING (id) WHERE p.phone = '1'": ["phone ="],
    "SELECT FROM people p JOIN calls c USING (id) WHERE phone = '1'": [],
    "SELECT FROM (people p JOIN calls c USING (id)) AS j WHERE p.phone = '1'": [],
    "SELECT FROM people o, LATERAL (SELECT FROM (calls c JOIN people p ON true) AS j WHERE p.phone = '1') s": [],
    "SELECT FROM (people p JOIN calls c USING (id) AS u) WHERE p.phone = '1'": ["phone ="],
    "SELECT FROM people p, people WHERE p.phone = '1'": ["phone ="],
}


@pytest.mark.parametrize("text", CASES)
def test_comparisons(text: str) -> None:
    [statement] = facts(text.encode())
    own = next(
        name for name in statement.relations if name.visible_name == ("people" if "FROM people W" in text else "p")
    )
    assert sorted(f"{one.column} {one.operator}" for one in comparisons(statement, own)) == CASES[text]
