"""The benchmark measures what it says: its policy is valid, and its two ways of masking show the same."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest

from bench.pgbench import HERE, Measured, Options, figure, load, pgbench, run, table
from bench.routes import NotMeasured, Route
from proxy.demo.postgres import EmbeddedPostgres
from proxy.policy.loader import load as load_policy


def test_its_policy_can_be_served() -> None:
    loaded = load_policy(HERE / "policy.yaml")
    assert loaded.report(enforce=True) == ()


def test_hand_written_sql_masks_what_the_policy_masks(postgres: EmbeddedPostgres) -> None:
    load(postgres, HERE / "people.sql")
    _, sql = (HERE / "by_hand.sql").read_text().splitlines()
    with psycopg.connect(postgres.dsn()) as connection:
        seen = {
            number: connection.execute(sql.rstrip(";").replace(":id", str(number)).encode()).fetchone()
            for number in (1, 3, 10, 20)
        }
    assert seen == {
        1: (1, "13800007919"),  # consented
        3: (3, "138****3757"),  # never asked
        10: (10, "138****9190"),  # withdrew
        20: (20, "138****8380"),  # closed the account
    }


def test_a_run_of_pgbench_gives_its_figures(postgres: EmbeddedPostgres) -> None:
    run(postgres, "-i", "-q", "-s", "1", port=postgres.port)
    direct = pgbench(postgres, Route("direct", postgres.port), Options(1, 1, 1), ["-S"])
    assert direct.tps > 10
    assert direct.latency > 0
    assert direct.cpu is None
    between = pgbench(postgres, Route("itself", postgres.port, os.getpid()), Options(1, 1, 1), ["-S"])
    assert between.cpu is not None


def test_a_run_that_fails_is_no_figure(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    script = tmp_path / "fails.sql"
    script.write_text("SELECT 1/0;")
    with pytest.raises(NotMeasured, match="division by zero"):
        pgbench(postgres, Route("direct", postgres.port), Options(1, 1, 1), ["-f", str(script)])
    with pytest.raises(NotMeasured, match="printed no"):
        figure(r"tps = ([\d.]+)", "nothing")


def test_the_table_compares() -> None:
    found = [Measured("direct", 1000, 1, None), Measured("PgBouncer", 500, 2, 20), Measured("consentry", 400, 3, 30)]
    columns = [list(column.cells) for column in table("title", found).columns]
    assert columns[0] == ["direct", "PgBouncer", "consentry"]
    assert columns[2] == ["100%", "50%", "40%"]
    assert columns[5] == ["", "1.00", "1.50"]
