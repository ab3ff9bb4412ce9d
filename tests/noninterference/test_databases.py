"""The two databases are what they should be: different where it is hidden, and alike in every masked image."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from proxy.demo.postgres import EmbeddedPostgres
from tests.noninterference.conversation import Connection
from tests.noninterference.databases import POLICY, Pair, pair

TABLES: dict[str, dict[str, object]] = {
    name: table["columns"] for name, table in yaml.safe_load(POLICY.read_text())["tables"].items() if "columns" in table
}


@pytest.fixture(scope="module")
def databases(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(postgres, tmp_path_factory.mktemp("databases"), "sides", analyze=False) as made:
        yield made


@pytest.mark.parametrize("table", TABLES)
def test_every_classified_column_differs_and_nothing_else_does(databases: Pair, table: str) -> None:
    with databases.direct(0, "director") as left, databases.direct(1, "director") as right:
        _compare((left, right), table)


def _compare(sides: tuple[Connection, Connection], table: str) -> None:
    for column in TABLES[table]:
        first, second = (side.query(f"SELECT ({column})::text FROM {table}") for side in sides)
        assert first.error is None, first.shown()
        assert first != second, column
    hidden = ", ".join(f"'{column}'" for column in TABLES[table])
    open_columns = (
        "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE NOT attisdropped AND attnum > 0"
    )
    rows = sides[0].query(
        f"{open_columns} AND attrelid = '{table}'::regclass AND attname NOT IN ({hidden}) AND attgenerated = ''"
    )
    ((names,),) = rows.values()
    only = "ONLY " if table == "clinic.persons" else ""  # its child has a classification of its own
    first, second = (side.query(f"SELECT {names} FROM {only}{table} ORDER BY 1") for side in sides)
    assert first.error is None
    assert first == second
