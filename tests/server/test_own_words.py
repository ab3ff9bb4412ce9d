"""Errors that the upstream words itself: whatever is wrong with a text that consentry cannot let pass anyway."""

from __future__ import annotations

import pytest

from proxy.wire import frontend
from tests.fix_postgres import Database
from tests.server.raw import RawClient, extended
from tests.server.test_own_catalog import clinic as clinic
from tests.server.test_own_catalog import server as server
from tests.server.test_witnesses import WatchedServer

TEXTS = {
    "a word": "SELEC 1",
    "the end of the input": "drop table",
    "a quote without end": "SELECT 'a",
    "behind characters of several bytes": "SELECT 'ä€𝄞' FRM x",
    "Unicode escapes": r"SELECT U&'wrong: \+0061'",
    "what libpg_query calls a syntax error": "ALTER TABLE wards ALTER CONSTRAINT k NOT VALID",
    "a partitioning strategy": "CREATE TABLE p (a int) PARTITION BY MAGIC (a)",
    "two statements": "SELECT 1; SELEC 2",
    "a relation": "SELECT 1 FROM nowhere",
    "a schema": "SELECT 1 FROM nosuch.nowhere",
    "a function": "SELECT nosuch(1, 'x', now())",
    "a database": "SELECT 1 FROM elsewhere.public.wards",
    "nothing": "",
}
SINCE = {"a partitioning strategy": 16}
"""The major version of PostgreSQL whose grammar finds the error; older ones come upon it when the statement runs."""


@pytest.mark.parametrize("protocol", ["simple", "extended"])
@pytest.mark.parametrize("block", ["", "BEGIN", "BEGIN; SELECT 1/0"])
def test_told_as_by_the_upstream(server: WatchedServer, clinic: Database, protocol: str, block: str) -> None:
    with (
        RawClient("127.0.0.1", server.port, clinic.name) as proxied,
        RawClient(clinic.postgres.host, clinic.postgres.port, clinic.name) as direct,
    ):
        for name, text in TEXTS.items():
            if clinic.postgres.version < SINCE.get(name, 0):
                continue
            asked = frontend.query(text.encode()) if protocol == "simple" else extended(text) + frontend.SYNC_MESSAGE
            told = []
            for client in (proxied, direct):
                if block:
                    client.query(block)
                client.send(asked)
                told.append(whole(client))
                client.query("ROLLBACK")
            assert told[0] == told[1], name


def whole(client: RawClient) -> list[tuple[int, bytes]]:
    """All messages to the next ReadyForQuery, byte for byte."""
    messages: list[tuple[int, bytes]] = []
    while not messages or messages[-1][0] != ord("Z"):
        messages.append(client.read_message())
    return messages
