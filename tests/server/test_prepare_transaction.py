"""PREPARE TRANSACTION in and outside of blocks: what settings are afterwards is what the session believes.

PostgreSQL up to 17 answers it outside of a block with the tag ROLLBACK, and commits.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.demo.postgres import EmbeddedPostgres
from proxy.server import Address, ServerOptions
from tests.server.conftest import RunningServer
from tests.server.raw import RawClient, pipeline, simple
from tests.server.test_decisions import GUARDED, rows

DECLARE = "SET consentry.purpose = 'p'"
PREPARE = "PREPARE TRANSACTION 'x'"

CASES: dict[str, tuple[bytes, ...]] = {
    "in a pipeline": (pipeline(DECLARE, PREPARE),),
    "in a pipeline that fails before it": (pipeline(DECLARE, "SELECT 1/0", PREPARE),),
    "in a pipeline that fails behind it": (pipeline(DECLARE, PREPARE, "SELECT 1/0"),),
    "with another setting behind it": (pipeline(DECLARE, PREPARE, "SET consentry.purpose = ''", "SELECT 1/0"),),
    "local, in a pipeline": (pipeline("SET LOCAL consentry.purpose = 'p'", PREPARE),),
    "among several statements": (simple(f"{DECLARE}; {PREPARE}"),),
    "among several statements that fail behind it": (simple(f"{DECLARE}; {PREPARE}; SELECT 1/0"),),
    "alone": (simple(DECLARE), simple(PREPARE)),
    "in a block": (simple(f"BEGIN; {DECLARE}"), simple(PREPARE)),
    "in a block that failed": (simple(f"BEGIN; {DECLARE}"), simple("SELECT 1/0"), simple(PREPARE)),
    "in a block within a pipeline": (pipeline("BEGIN", DECLARE, PREPARE),),
    "behind a block within a pipeline": (pipeline("BEGIN", DECLARE, "ROLLBACK", PREPARE),),
}


@pytest.fixture(scope="module", params=[16, 18])
def upstream(request: pytest.FixtureRequest, postgres: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    if request.param == postgres.version:
        yield postgres
    else:
        with EmbeddedPostgres(version=request.param) as other:
            yield other


@pytest.fixture(scope="module")
def server(upstream: EmbeddedPostgres) -> Iterator[RunningServer]:
    address = Address(upstream.host, upstream.port)
    running = RunningServer(ServerOptions((Address("127.0.0.1", 0),), address, grace_seconds=0.0))
    yield running
    running.stop()
    assert running.faults == []


@pytest.mark.parametrize("case", CASES)
def test_the_session_believes_what_is(server: RunningServer, case: str) -> None:
    with RawClient("127.0.0.1", server.port, "postgres") as client:
        for messages in CASES[case]:
            client.ask(messages)
        [stands] = rows(client.query("SELECT current_setting('consentry.purpose', true)"))
        guarded = rows(client.query(GUARDED))
        assert guarded == (["GUARDED"] if stands == "p" else ["E ERROR 42501 consentry: no purpose"])
        client.query("ROLLBACK PREPARED 'x'")
