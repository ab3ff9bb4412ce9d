"""The local time of conditions is PostgreSQL's own, in every zone, and no setting of a session moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from proxy.demo.postgres import EmbeddedPostgres
from proxy.engine.clock import NOW, local_now

ZONES = ("UTC", "Asia/Shanghai", "Asia/Kolkata", "EST", "Europe/Berlin", "America/New_York", "Africa/Casablanca",
         "Australia/Lord_Howe")  # fmt: skip
START = datetime(datetime.now(UTC).year, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("zone", ZONES)
def test_it_is_the_time_that_the_server_would_tell(postgres: EmbeddedPostgres, zone: str) -> None:
    told = local_now(zone)
    assert told is not None
    moments = [START + timedelta(hours=hours) for hours in range(1, 6 * 365 * 24, 31)]
    with psycopg.connect(postgres.dsn()) as connection:
        query = f"SELECT m FROM unnest(%s::timestamptz[]) m WHERE {told.replace(NOW, 'm')} <> timezone(%s, m)"
        assert connection.execute(query.encode(), [moments, zone]).fetchall() == []


@pytest.mark.parametrize("zone", ZONES)
def test_no_setting_moves_it(postgres: EmbeddedPostgres, zone: str) -> None:
    told = local_now(zone)
    query = f"SELECT {told} - timezone(make_interval(), {NOW})".encode()
    found = set()
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        for setting in (
            f"timezone = '<{zone}>+150'",
            f"timezone = '{zone}-100'",
            "timezone_abbreviations = 'Australia'",
        ):
            connection.execute(f"RESET timezone; SET {setting}".encode())
            found.update(connection.execute(query).fetchall())
    assert len(found) == 1


def test_an_unknown_zone_has_no_time() -> None:
    assert local_now("No/Where") is None
