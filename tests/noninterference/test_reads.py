"""The definition of safety: two databases that differ only in cells this session may not see, and whose masked cells
look the same, cannot be told apart by any statement, nor by any sequence of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from proxy.demo.postgres import EmbeddedPostgres
from tests.fix_postgres import Database
from tests.fix_proxy import Proxy
from tests.noninterference.rig import Attack, Observation, attacks, build, observe
from tests.noninterference.rows import hidden_values

POLICY = Path(__file__).parents[2] / "policies" / "telecom.yaml"
ATTACKS = attacks()
MARKETING = "-c consentry.purpose=marketing"
UNDECLARED = ""


class Pair(NamedTuple):
    """The two databases, and where the proxy listens."""

    databases: tuple[Database, Database]
    host: str
    port: int

    def through(self, side: int, role: str = "analyst") -> str:
        return self.databases[side].through(self.host, self.port, role)


@pytest.fixture(scope="module")
def pair(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    names = ("secret_a", "secret_b")
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        connection.execute("CREATE ROLE analyst LOGIN; CREATE ROLE billing_app LOGIN")
        for name in names:
            connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy")
    databases = (Database(postgres, names[0]), Database(postgres, names[1]))
    for side, database in enumerate(databases):
        build(database, side)
    arguments = ("--policy", str(POLICY), "--upstream", postgres.dsn())
    with Proxy(tmp_path_factory.mktemp("noninterference"), *arguments) as proxy:
        host, port = proxy.ready().rsplit(":", 1)
        yield Pair(databases, host, int(port))
        assert proxy.stop() == 0, proxy.said
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        for database in databases:
            connection.execute(f"DROP DATABASE {database.name} WITH (FORCE)")
        connection.execute("DROP ROLE analyst; DROP ROLE billing_app")


@pytest.mark.parametrize("options", [MARKETING, UNDECLARED], ids=["marketing", "undeclared"])
@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_the_two_databases_cannot_be_told_apart(pair: Pair, attack: Attack, options: str) -> None:
    seen = [observe(pair.through(side), attack.statements, options) for side in (0, 1)]
    assert seen[0] == seen[1]
    for side in (0, 1):
        shown = repr(seen[side])
        guessed = "".join(attack.statements)
        assert not [value for value in hidden_values(side) if value in shown and value not in guessed]


def test_the_rig_detects(pair: Pair) -> None:
    """The same attempts without consentry tell the databases apart, but for a few that never could."""
    blind = [attack for attack in ATTACKS if not _differ(pair, attack)]
    told = len(ATTACKS) - len(blind)
    assert told / len(ATTACKS) > 0.7, [str(attack) for attack in blind]


def _differ(pair: Pair, attack: Attack) -> bool:
    seen: list[list[Observation]] = []
    for side in (0, 1):
        dsn = pair.databases[side].dsn("analyst")
        seen.append(observe(dsn, attack.statements))
    return seen[0] != seen[1]


def test_what_may_be_seen_is_seen(pair: Pair) -> None:
    """Subscribers 1, 2 and 6 consented; 3 never did, 4 withdrew, 5 is closed."""
    sql = "SELECT id, full_name, phone FROM subscribers ORDER BY id"
    (seen,) = observe(pair.through(0), (sql,), MARKETING)
    assert seen.rows == [
        (1, "王小明", "13800000001"),
        (2, "李雷", "13800000002"),
        (3, "张**", "138****4243"),
        (4, "陈**", "139****2222"),
        (5, "刘**", "137****3333"),
        (6, "赵六", None),
    ]
