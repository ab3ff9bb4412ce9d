"""A refusal behaves like an error of PostgreSQL's own in the same place: each conversation is held twice, with
the server itself, where REFUSE is a missing table, and through the proxy, where it is refused.
"""

from __future__ import annotations

import pytest

from proxy.wire import backend, frontend
from proxy.wire.frontend import FLUSH_MESSAGE, PORTAL, STATEMENT, SYNC_MESSAGE
from tests.fix_postgres import Database
from tests.server.conftest import RunningServer
from tests.server.raw import RawClient, extended, pipeline, simple

REFUSED = 'SELECT * FROM "REFUSE"'


def prepared(name: str, text: str) -> bytes:
    return frontend.parse(name.encode(), text.encode())


def run(name: str = "", portal: str = "", limit: int = 0) -> bytes:
    return frontend.bind(portal.encode(), name.encode()) + frontend.execute(portal.encode(), limit)


def copy_data(text: str) -> bytes:
    return frontend.message(frontend.COPY_DATA, text.encode())


COPY_DONE = frontend.message(frontend.COPY_DONE, b"")
COPY_FAIL = frontend.message(frontend.COPY_FAIL, b"changed my mind\0")

CONVERSATIONS: dict[str, bytes] = {
    "alone": simple(REFUSED),
    "in a transaction, which is aborted": simple("BEGIN") + simple(REFUSED) + simple("SELECT 1") + simple("COMMIT"),
    "in an aborted transaction": simple("BEGIN") + simple("SELECT 1/0") + simple(REFUSED) + simple("ROLLBACK"),
    "after a savepoint": simple("BEGIN; SAVEPOINT s")
    + simple(REFUSED)
    + simple("ROLLBACK TO s")
    + simple("SELECT 1")
    + simple("COMMIT"),
    "prepared": pipeline(REFUSED) + simple("SELECT 1"),
    "in a pipeline, whose rest is skipped": pipeline("SELECT 1", REFUSED, "SELECT 2") + pipeline("SELECT 3"),
    "behind another error": pipeline("SELECT 1/0", REFUSED) + pipeline("SELECT 3"),
    "in a pipelined transaction": pipeline("BEGIN", "SELECT 1", REFUSED, "COMMIT") + simple("ROLLBACK"),
    "two in a row": pipeline(REFUSED) + pipeline(REFUSED) + simple(REFUSED) + simple("SELECT 1"),
    "in an aborted pipelined transaction": pipeline("BEGIN", "SELECT 1/0") + pipeline(REFUSED) + simple("ROLLBACK"),
    "named, and then bound": prepared("s", REFUSED) + SYNC_MESSAGE + run("s") + SYNC_MESSAGE,
    "a simple query behind an extended error": extended(REFUSED)
    + simple("SELECT 1")
    + SYNC_MESSAGE
    + simple("SELECT 2"),
    # what has nothing to do with refusals must be as it is, too
    "a statement that is not there": run("nowhere") + SYNC_MESSAGE + run() + SYNC_MESSAGE,
    "a portal that is not there": frontend.execute(b"nowhere") + SYNC_MESSAGE + frontend.execute(b"") + SYNC_MESSAGE,
    "a name used twice": prepared("s", "SELECT 1")
    + prepared("s", "SELECT 2")
    + SYNC_MESSAGE
    + run("s")
    + SYNC_MESSAGE
    + frontend.close(STATEMENT, b"s")
    + prepared("s", "SELECT 3")
    + run("s")
    + SYNC_MESSAGE,
    "long names are the same at 63 bytes": prepared("n" * 63 + "a", "SELECT 1")
    + SYNC_MESSAGE
    + run("n" * 63 + "b")
    + SYNC_MESSAGE,
    "the unnamed statement after a simple query": prepared("", "SELECT 1")
    + SYNC_MESSAGE
    + simple("SELECT 2")
    + run()
    + SYNC_MESSAGE,
    "the unnamed statement after an error in Parse": prepared("", "SELECT 1")
    + SYNC_MESSAGE
    + prepared("", "SELEC")
    + SYNC_MESSAGE
    + run()
    + SYNC_MESSAGE,
    "the unnamed statement after a skipped Parse": prepared("", "SELECT 1")
    + SYNC_MESSAGE
    + run("nowhere")
    + prepared("", "SELECT 2")
    + SYNC_MESSAGE
    + run()
    + SYNC_MESSAGE,
    "a portal in slices": simple("BEGIN")
    + prepared("", "SELECT generate_series(1, 5)")
    + run(portal="p", limit=2)
    + frontend.execute(b"p", 2)
    + frontend.describe(PORTAL, b"p")
    + frontend.execute(b"p")
    + frontend.close(PORTAL, b"p")
    + SYNC_MESSAGE
    + frontend.execute(b"p")
    + SYNC_MESSAGE
    + simple("ROLLBACK"),
    "SQL PREPARE and protocol names are one": simple("PREPARE q AS SELECT 7")
    + run("q")
    + SYNC_MESSAGE
    + prepared("r", "SELECT 8")
    + SYNC_MESSAGE
    + simple("EXECUTE r")
    + simple("DEALLOCATE q")
    + run("q")
    + SYNC_MESSAGE
    + simple("DEALLOCATE ALL")
    + run("r")
    + SYNC_MESSAGE,
    "EXECUTE of what is in flight": prepared("r", "SELECT 8") + extended("EXECUTE r") + SYNC_MESSAGE,
    "DISCARD ALL": prepared("r", "SELECT 8") + SYNC_MESSAGE + simple("DISCARD ALL") + run("r") + SYNC_MESSAGE,
    "empty and comment-only queries": simple("") + simple("-- nothing") + pipeline("") + simple(";;"),
    "several statements": simple("SELECT 1; SELECT 2; SELECT 1/0; SELECT 3"),
    "syntax errors": simple("SELEC 1") + pipeline("SELEC 1"),
    "transactions by SQL": simple("BEGIN; SELECT 1; COMMIT; SELECT 2") + simple("COMMIT") + simple("ROLLBACK"),
    "a notice amid rows": simple("DO $$ BEGIN RAISE NOTICE 'hello'; END $$"),
    "COPY in": simple("CREATE TEMP TABLE c (n int)")
    + simple("COPY c FROM STDIN")
    + copy_data("1\n")
    + copy_data("2\n")
    + COPY_DONE
    + simple("SELECT sum(n) FROM c"),
    "COPY in that fails": simple("CREATE TEMP TABLE c (n int)")
    + simple("COPY c FROM STDIN")
    + copy_data("x\n")
    + COPY_DONE
    + simple("SELECT count(*) FROM c"),
    "COPY in that the client ends": simple("CREATE TEMP TABLE c (n int)")
    + simple("COPY c FROM STDIN")
    + COPY_FAIL
    + simple("SELECT 1"),
    "COPY in by the extended protocol, with a Sync ahead": simple("CREATE TEMP TABLE c (n int)")
    + extended("COPY c FROM STDIN")
    + SYNC_MESSAGE
    + copy_data("1\n")
    + COPY_DONE
    + SYNC_MESSAGE
    + simple("SELECT count(*) FROM c"),
    "COPY in by the extended protocol that fails": simple("CREATE TEMP TABLE c (n int)")
    + extended("COPY c FROM STDIN")
    + SYNC_MESSAGE
    + copy_data("x\n")
    + COPY_DONE
    + SYNC_MESSAGE
    + simple("SELECT count(*) FROM c"),
    "COPY in that fails before a Sync": simple("CREATE TEMP TABLE c (n int)")
    + extended("COPY c FROM STDIN")
    + copy_data("x\n")
    + SYNC_MESSAGE,
    "COPY in that fails before a Sync, and more": simple("CREATE TEMP TABLE c (n int)")
    + extended("COPY c FROM STDIN")
    + SYNC_MESSAGE
    + copy_data("x\n")
    + COPY_DONE
    + SYNC_MESSAGE
    + pipeline("SELECT 1", "SELECT 2")
    + simple("SELECT count(*) FROM c"),
    "COPY in that fails before it begins": simple("CREATE TEMP TABLE c (n int)")
    + extended("COPY c (nothing) FROM STDIN")
    + SYNC_MESSAGE
    + simple("SELECT 1; COPY c (nothing) FROM STDIN; SELECT 2")
    + pipeline("SELECT 3"),
    "COPY in whose trigger fails before it reads": simple("CREATE TEMP TABLE c (n int)")
    + simple("CREATE FUNCTION pg_temp.no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no'; END$$")
    + simple("CREATE TRIGGER t BEFORE INSERT ON c EXECUTE  FUNCTION pg_temp.no()")
    + extended("COPY c FROM STDIN")
    + SYNC_MESSAGE
    + pipeline("SELECT 1"),
    "COPY in within a failed transaction": simple("BEGIN; SELECT 1/0")
    + extended("COPY c FROM STDIN")
    + SYNC_MESSAGE
    + simple("ROLLBACK")
    + simple("SELECT 1"),
    "COPY out": simple("COPY (SELECT generate_series(1, 3)) TO STDOUT") + pipeline("COPY (SELECT 1) TO STDOUT"),
    "two COPY in one query": simple("CREATE TEMP TABLE c (n int)")
    + simple("COPY c FROM STDIN; COPY c FROM STDIN; SELECT count(*) FROM c")
    + copy_data("1\n")
    + COPY_DONE
    + copy_data("2\n")
    + COPY_DONE,
    "Flush and Close of nothing": FLUSH_MESSAGE
    + frontend.close(STATEMENT, b"nowhere")
    + frontend.close(PORTAL, b"nowhere")
    + SYNC_MESSAGE,
    "Describe of nothing": frontend.describe(STATEMENT, b"nowhere") + SYNC_MESSAGE,
    "Describe of a statement": prepared("d", "SELECT $1::int AS a") + frontend.describe(STATEMENT, b"d") + SYNC_MESSAGE,
    "an error at the end of a transaction": simple(
        "CREATE TEMP TABLE k (n int UNIQUE DEFERRABLE INITIALLY DEFERRED); BEGIN; INSERT INTO k VALUES (1), (1)"
    )
    + simple("COMMIT")
    + simple("SELECT 1"),
    "an error at Sync": simple("CREATE TEMP TABLE k (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    + pipeline("INSERT INTO k VALUES (1), (1)")
    + simple("SELECT 1"),
    "settings in a pipeline": pipeline("SET consentry.purpose = 'a'", "SELECT 1/0")
    + simple("SELECT current_setting('consentry.purpose', true) IS NOT DISTINCT FROM 'a'"),
}


def conversation(client: RawClient, messages: bytes) -> list[str]:
    """Everything that comes back until the upstream has closed the connection."""
    client.send(messages + frontend.TERMINATE_MESSAGE)
    lines: list[str] = []
    while (line := client.read()) != "closed":
        if line.startswith(("E ERROR 42501 consentry: refused", "E ERROR 42P01")):
            line = "E refused"
        if not line.startswith("S "):
            lines.append(line)
    return lines


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_conversations(server: RunningServer, module_database: Database, case: str) -> None:
    postgres, name = module_database.postgres, module_database.name
    with RawClient(postgres.host, postgres.port, name) as direct:
        expected = conversation(direct, CONVERSATIONS[case])
    with RawClient("127.0.0.1", server.port, name) as through:
        assert conversation(through, CONVERSATIONS[case]) == expected


def test_the_same_message_by_message(server: RunningServer, module_database: Database) -> None:
    """Bytes that arrive one at a time make no difference, and neither does waiting for each answer."""
    with RawClient("127.0.0.1", server.port, module_database.name) as client:
        for byte in pipeline("SELECT 1", REFUSED, "SELECT 2"):
            client.send(bytes((byte,)))
        lines = client.read_until_ready()
    assert [line for line in lines if line[0] not in "12"] == [
        "T",
        "D 1",
        "C SELECT 1",
        "E ERROR 42501 consentry: refused",
        "Z I",
    ]


def test_the_refusal_itself(server: RunningServer, module_database: Database) -> None:
    with RawClient("127.0.0.1", server.port, module_database.name) as client:
        client.send(simple(REFUSED))
        kind, whole = client.read_message()
    assert kind == backend.ERROR_RESPONSE
    assert backend.read_fields(whole) == {
        "S": "ERROR",
        "V": "ERROR",
        "C": "42501",
        "M": "consentry: refused",
        "D": "because of the word\naudit event e1",
        "H": "Leave it out.",
        "P": "16",
    }
