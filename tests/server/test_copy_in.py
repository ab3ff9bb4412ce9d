"""What is sent behind a COPY FROM STDIN waits until the upstream asks for its data, or fails: no reply is mistaken for
another one's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.wire import frontend
from proxy.wire.frontend import SYNC_MESSAGE
from tests.fix_postgres import Database
from tests.server.conftest import RunningServer
from tests.server.raw import RawClient, extended, simple
from tests.server.test_decisions import GUARDED, prepare, run

BAD = frontend.message(frontend.COPY_DATA, b"x\n")
DONE = frontend.message(frontend.COPY_DONE, b"")


@pytest.fixture
def client(server: RunningServer, module_database: Database) -> Iterator[RawClient]:
    with RawClient("127.0.0.1", server.port, module_database.name) as connected:
        connected.query("CREATE TEMP TABLE t (n int)")
        yield connected


def everything(client: RawClient, data: bytes) -> list[str]:
    """What comes back until the stream ends."""
    client.send(data + frontend.TERMINATE_MESSAGE)
    lines = []
    while (line := client.read()) != "closed":
        lines.append(line)
    return lines


COPIES = {
    "a simple query": simple("COPY t FROM STDIN"),
    "an extended query": extended("COPY t FROM STDIN"),
    "the second of two": simple("COPY t FROM STDIN; COPY t FROM STDIN") + DONE,
    "behind a query that fails": simple("SELECT 1/0; COPY t FROM STDIN"),
}


@pytest.mark.parametrize("case", COPIES)
def test_a_sync_amid_data_that_fails_shifts_no_replies(client: RawClient, case: str) -> None:
    """Of every later statement it is known which reply is its own: none of what is refused runs under another's."""
    fails = simple("SELECT 1/0 FROM pg_sleep(0.1)")
    raw, harmless = prepare("s", GUARDED), prepare("s", "SELECT 'harmless'")
    shifted = COPIES[case] + BAD + SYNC_MESSAGE + DONE + fails + raw + run("s") + SYNC_MESSAGE
    shifted += harmless + run("s") + SYNC_MESSAGE + simple("SELECT 1 FROM pg_sleep(0.1)") + fails
    seen = everything(client, shifted + (run("s") + SYNC_MESSAGE) * 5)
    assert "D GUARDED" not in seen
    assert not [line for line in seen if "refused" in line]


def test_a_purpose_set_behind_a_copy_that_fails(client: RawClient) -> None:
    """The SET is seen, whatever was sent amid the data before it."""
    sent = simple("COPY t FROM STDIN") + BAD + SYNC_MESSAGE + DONE
    sent += simple("SELECT pg_sleep(0.1); SET consentry.purpose = ''") + simple(f"SELECT 1; {GUARDED}") * 3
    client.query("SET consentry.purpose = 'p'")
    assert "D GUARDED" not in everything(client, sent)
