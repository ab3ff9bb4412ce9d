"""Texts that are refused for now may be prepared and described, and what then stands upstream can never run them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.wire import frontend
from proxy.wire.frontend import PORTAL, STATEMENT, SYNC_MESSAGE, bind, close, describe, execute
from tests.fix_postgres import Database
from tests.server.conftest import RunningServer
from tests.server.raw import RawClient, simple
from tests.server.test_decisions import GUARDED, REFUSAL, prepare, run

DIRECT = "SELECT 'GUARDED', $1::int"
OPEN = simple("SET consentry.purpose = 'p'")

CONVERSATIONS = {
    "prepared and described": prepare("s", DIRECT) + describe(STATEMENT, b"s") + SYNC_MESSAGE,
    "prepared and described later": prepare("s", DIRECT) + SYNC_MESSAGE + describe(STATEMENT, b"s") + SYNC_MESSAGE,
    "the unnamed one": prepare("", DIRECT) + describe(STATEMENT, b"") + SYNC_MESSAGE,
    "with a type": frontend.parse(b"s", b"SELECT 'GUARDED', $1", b"\0\1\0\0\0\x17") + describe(STATEMENT, b"s"),
    "a name that is taken": prepare("s", "SELECT 1") + SYNC_MESSAGE + prepare("s", DIRECT) + SYNC_MESSAGE + run("s"),
    "taking its name": prepare("s", DIRECT) + SYNC_MESSAGE + prepare("s", "SELECT 1") + SYNC_MESSAGE,
    "both refused": prepare("s", DIRECT) + SYNC_MESSAGE + prepare("s", DIRECT) + SYNC_MESSAGE,
    "its name again": prepare("s", DIRECT) + close(STATEMENT, b"s") + prepare("s", "SELECT 1") + run("s"),
    "deallocated": prepare("s", DIRECT) + SYNC_MESSAGE + simple("DEALLOCATE s") + prepare("s", "SELECT 1") + run("s"),
    "an error of its own": prepare("s", "SELECT 'GUARDED', nothing") + describe(STATEMENT, b"s") + SYNC_MESSAGE,
    "an error leaves the name free": prepare("s", "SELECT 'GUARDED' +") + SYNC_MESSAGE + prepare("s", "SELECT 1"),
    "an error drops the unnamed one": prepare("", "SELECT 1")
    + SYNC_MESSAGE
    + prepare("", "SELECT 'GUARDED', nothing")
    + SYNC_MESSAGE
    + run(""),
    "replacing the unnamed one": prepare("", DIRECT) + prepare("", "SELECT 1") + run("") + SYNC_MESSAGE,
    "run when it is open": prepare("s", GUARDED) + SYNC_MESSAGE + OPEN + run("s") + describe(STATEMENT, b"s"),
    "the unnamed one run when it is open": prepare("", "SELECT 1")
    + prepare("", GUARDED)
    + SYNC_MESSAGE
    + prepare("t", "SET consentry.purpose = 'p'")
    + run("t")
    + bind(b"p", b"")
    + describe(PORTAL, b"p")
    + execute(b"p")
    + SYNC_MESSAGE,
    "in a transaction that failed": prepare("", "SELECT 1")
    + SYNC_MESSAGE
    + simple("BEGIN; SELECT 1/0")
    + prepare("", DIRECT)
    + SYNC_MESSAGE
    + prepare("s", DIRECT)
    + SYNC_MESSAGE
    + simple("ROLLBACK")
    + run(""),
    "DISCARD ALL": prepare("s", GUARDED) + SYNC_MESSAGE + simple("DISCARD ALL") + describe(STATEMENT, b"s"),
    "DISCARD ALL and the unnamed one": prepare("", GUARDED)
    + SYNC_MESSAGE
    + simple("DEALLOCATE ALL")
    + prepare("", GUARDED)
    + describe(STATEMENT, b""),
}


def conversation(client: RawClient, messages: bytes) -> list[str]:
    client.send(messages + SYNC_MESSAGE + frontend.TERMINATE_MESSAGE)
    lines = []
    while (line := client.read()) != "closed":
        lines.append(line)
    return lines


@pytest.fixture
def client(server: RunningServer, module_database: Database) -> Iterator[RawClient]:
    with RawClient("127.0.0.1", server.port, module_database.name) as connected:
        yield connected


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_a_client_notices_nothing(client: RawClient, module_database: Database, case: str) -> None:
    postgres, name = module_database.postgres, module_database.name
    with RawClient(postgres.host, postgres.port, name) as direct:
        assert conversation(client, CONVERSATIONS[case]) == conversation(direct, CONVERSATIONS[case])


@pytest.mark.parametrize("name", ["s", ""])
def test_the_upstream_has_nothing_that_could_run(client: RawClient, name: str) -> None:
    client.ask(prepare(name, GUARDED) + SYNC_MESSAGE)
    listed = client.query("SELECT name, statement FROM pg_prepared_statements")
    shown = [line[2:].split("|") for line in listed if line.startswith("D ")]
    assert {one: text for one, text in shown if not one.startswith("consentry ")} == (
        {"s": 'FETCH FROM "consentry: withheld"'} if name else {}
    )
    assert [line for line in client.ask(run(name) + SYNC_MESSAGE) if line.startswith("E")] in (
        [REFUSAL],
        ["E ERROR 26000 unnamed prepared statement does not exist"],
    )
