"""Rows that are checked behave as if the table had a constraint: each conversation is held twice, with the server
itself, where ``checked`` has one, and through the proxy, where it has none and the statements carry the check.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.wire import backend, frontend
from proxy.wire.copy_binary import SIGNATURE
from proxy.wire.frontend import PORTAL, STATEMENT, SYNC_MESSAGE
from tests.fix_postgres import Database
from tests.server.conftest import RunningServer
from tests.server.raw import RawClient, pipeline, simple
from tests.session.row_checks import SECRET

CONSTRAINED = """
    CREATE SCHEMA constrained;
    CREATE TABLE constrained.checked (n int CHECK (n <> 0), s text);
    CREATE FUNCTION constrained.partner() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.n < 0 AND NOT EXISTS (SELECT FROM constrained.checked WHERE n = -NEW.n)
            AND EXISTS (SELECT FROM constrained.checked WHERE n = NEW.n) THEN
            RAISE 'row refused at commit' USING ERRCODE = '42501';
        END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER partner AFTER INSERT OR UPDATE ON constrained.checked
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION constrained.partner();
"""

COPY_DONE = frontend.message(frontend.COPY_DONE, b"")
COPY_FAIL = frontend.message(frontend.COPY_FAIL, b"changed my mind\0")
COUNT = simple("SELECT count(*) FROM checked")


def prepared(text: str, name: str = "", types: bytes = b"\0\0") -> bytes:
    return frontend.parse(name.encode(), text.encode(), types)


def run(name: str = "", limit: int = 0, formats: list[int] | None = None, parameters: list[str] | None = None) -> bytes:
    values = [value.encode() for value in parameters or []]
    rest = b"\0\0" + len(values).to_bytes(2, "big")
    rest += b"".join(len(value).to_bytes(4, "big") + value for value in values)
    rest += len(formats or []).to_bytes(2, "big") + b"".join(one.to_bytes(2, "big") for one in formats or [])
    return frontend.bind(b"", name.encode(), rest) + frontend.execute(b"", limit)


def described(text: str, *arguments: str) -> bytes:
    """Everything a driver may ask of a statement before it runs it."""
    bind = run("d", parameters=list(arguments)).removesuffix(frontend.execute(b""))
    return (
        prepared(text, "d")
        + frontend.describe(STATEMENT, b"d")
        + bind
        + frontend.describe(PORTAL, b"")
        + frontend.execute(b"")
        + SYNC_MESSAGE
        + frontend.close(STATEMENT, b"d")
        + SYNC_MESSAGE
    )


def data(text: str) -> bytes:
    return frontend.message(frontend.COPY_DATA, text.encode())


def binary(rows: list[tuple[int, bytes]]) -> bytes:
    body = SIGNATURE + bytes(8)
    for number, text in rows:
        body += b"\0\2\0\0\0\4" + number.to_bytes(4, "big") + len(text).to_bytes(4, "big") + text
    return frontend.message(frontend.COPY_DATA, body + b"\xff\xff")


CONVERSATIONS: dict[str, bytes] = {
    "a row": simple("INSERT INTO checked VALUES (1)") + COUNT,
    "many rows": simple("INSERT INTO checked SELECT generate_series(1, 3000)") + COUNT,
    "a row that is refused": simple("INSERT INTO checked VALUES (0)") + COUNT,
    "a refused row refuses its statement": simple("INSERT INTO checked VALUES (1), (0), (2)") + COUNT,
    "RETURNING": simple("INSERT INTO checked VALUES (1, 'a'), (2, NULL) RETURNING n, s") + COUNT,
    "RETURNING many": simple(
        "INSERT INTO checked SELECT i, repeat('x', i) FROM generate_series(1, 2000) i RETURNING s"
    ),
    "RETURNING a long one": simple("INSERT INTO checked VALUES (1, repeat('x', 3000000)) RETURNING s, n"),
    "RETURNING, refused": simple("INSERT INTO checked VALUES (1), (0) RETURNING n") + COUNT,
    "UPDATE and DELETE, one refused": simple("INSERT INTO checked VALUES (1), (2)")
    + simple("UPDATE checked SET n = n + 1 RETURNING n")
    + simple("UPDATE checked SET n = n - 2")
    + COUNT
    + simple("DELETE FROM checked"),
    "several in one message": simple(
        "INSERT INTO checked VALUES (1); SELECT 1; INSERT INTO checked VALUES (2) RETURNING n; SELECT 2; SELECT 3"
    )
    + COUNT,
    "several in one message, one refused": simple("INSERT INTO checked VALUES (1); INSERT INTO checked VALUES (0)")
    + COUNT,
    "described": described("INSERT INTO checked VALUES ($1, $2)", "1", "a") + COUNT,
    "described with RETURNING": described("INSERT INTO checked VALUES ($1, $2) RETURNING n, s", "1", "a") + COUNT,
    "described and refused": described("INSERT INTO checked VALUES ($1, $2) RETURNING n, s", "0", "a") + COUNT,
    "in a pipeline": pipeline("SELECT 1", "INSERT INTO checked VALUES (1)", "SELECT 2") + COUNT,
    "refused in a pipeline": pipeline("SELECT 1", "INSERT INTO checked VALUES (0)", "SELECT 2") + COUNT,
    "run again and again, and refused": prepared("INSERT INTO checked VALUES ($1) RETURNING n", "s")
    + run("s", parameters=["1"])
    + run("s", parameters=["2"])
    + SYNC_MESSAGE
    + run("s", parameters=["0"])
    + run("s", parameters=["3"])
    + SYNC_MESSAGE
    + COUNT,
    "prepared outside of a block, run within one": prepared("INSERT INTO checked VALUES ($1) RETURNING n", "s")
    + run("s", parameters=["1"])
    + SYNC_MESSAGE
    + simple("BEGIN")
    + run("s", parameters=["2"])
    + SYNC_MESSAGE
    + simple("COMMIT")
    + run("s", parameters=["3"])
    + SYNC_MESSAGE
    + COUNT,
    "a row limit is no matter of what returns no rows": prepared("INSERT INTO checked VALUES (1), (2), (3)")
    + run(limit=2)
    + SYNC_MESSAGE
    + COUNT,
    "a row limit": simple("BEGIN")
    + prepared("INSERT INTO checked VALUES (1), (2), (3) RETURNING n")
    + run(limit=2)
    + frontend.execute(b"", 1)
    + frontend.execute(b"", 1)
    + SYNC_MESSAGE
    + simple("COMMIT")
    + COUNT,
    "a portal that is run twice": prepared("INSERT INTO checked VALUES (1)")
    + run()
    + frontend.execute(b"")
    + SYNC_MESSAGE
    + COUNT,
    "a portal with RETURNING that is run twice": prepared("INSERT INTO checked VALUES (1) RETURNING n")
    + run()
    + frontend.execute(b"")
    + SYNC_MESSAGE
    + COUNT,
    "binary results": prepared("INSERT INTO checked VALUES (1, 'a') RETURNING n, s")
    + run(formats=[1])
    + run(formats=[1, 0])
    + run(formats=[1, 1])
    + SYNC_MESSAGE,
    "binary results of one column": prepared("INSERT INTO checked VALUES (1, 'a') RETURNING n")
    + run(formats=[1])
    + SYNC_MESSAGE,
    "formats of no results": prepared("INSERT INTO checked VALUES (1)")
    + run(formats=[1])
    + run(formats=[1, 1, 0])
    + SYNC_MESSAGE,
    "a long value": prepared("INSERT INTO checked VALUES (1, $1) RETURNING n, s", types=b"\0\1\0\0\0\x19")
    + run(formats=[1, 0], parameters=["x" * 200_000])
    + SYNC_MESSAGE
    + COUNT,
    "a long value and no result": prepared("INSERT INTO checked VALUES (1, $1)", types=b"\0\1\0\0\0\x19")
    + run(parameters=["x" * 200_000])
    + SYNC_MESSAGE
    + COUNT,
    "SQL EXECUTE, and refused": simple("PREPARE i AS INSERT INTO checked VALUES ($1)")
    + simple("PREPARE r AS INSERT INTO checked VALUES ($1, 'a') RETURNING n, s")
    + simple("EXECUTE i (1)")
    + simple("EXECUTE r (2)")
    + simple("EXECUTE i (0)")
    + pipeline("EXECUTE r (3)")
    + COUNT,
    # what is left to COMMIT
    "left to COMMIT": simple("BEGIN")
    + simple("INSERT INTO checked VALUES (-1)")
    + simple("INSERT INTO checked VALUES (1)")
    + simple("COMMIT")
    + COUNT,
    "refused at COMMIT": simple("BEGIN")
    + simple("INSERT INTO checked VALUES (-1) RETURNING n")
    + simple("COMMIT")
    + COUNT
    + simple("BEGIN")
    + simple("COMMIT"),
    "refused at COMMIT AND CHAIN": simple("BEGIN; INSERT INTO checked VALUES (-1)")
    + simple("COMMIT AND CHAIN")
    + COUNT,
    "left to COMMIT AND CHAIN, and refused then": simple("BEGIN; INSERT INTO checked VALUES (-1), (1)")
    + simple("COMMIT AND CHAIN")
    + simple("INSERT INTO checked VALUES (-2)")
    + simple("END")
    + COUNT,
    "refused at PREPARE TRANSACTION": simple("BEGIN; INSERT INTO checked VALUES (-1)")
    + simple("PREPARE TRANSACTION 'p'")
    + COUNT,
    "rolled back to a savepoint": simple("BEGIN; INSERT INTO checked VALUES (1); SAVEPOINT s")
    + simple("INSERT INTO checked VALUES (-2)")
    + simple("ROLLBACK TO s")
    + simple("COMMIT")
    + COUNT,
    "within a savepoint, and refused": simple("BEGIN; SAVEPOINT s")
    + simple("INSERT INTO checked VALUES (-2)")
    + simple("RELEASE s")
    + simple("COMMIT")
    + COUNT,
    "rolled back": simple("BEGIN")
    + simple("INSERT INTO checked VALUES (-2)")
    + simple("ROLLBACK")
    + simple("BEGIN")
    + simple("COMMIT")
    + COUNT,
    "in a transaction that fails": simple("BEGIN")
    + simple("INSERT INTO checked VALUES (-1)")
    + simple("SELECT 1/0")
    + simple("COMMIT")
    + COUNT,
    "within a block what is refused at once is refused at once": simple("BEGIN; SAVEPOINT s")
    + simple("INSERT INTO checked VALUES (0)")
    + simple("ROLLBACK TO s")
    + simple("COMMIT"),
    "a pipelined transaction": pipeline(
        "BEGIN", "INSERT INTO checked VALUES (-1)", "INSERT INTO checked VALUES (1)", "COMMIT", "SELECT 2"
    )
    + COUNT,
    "a pipelined transaction, refused": pipeline("BEGIN", "INSERT INTO checked VALUES (-1)", "COMMIT", "SELECT 2")
    + pipeline("SELECT 3")
    + COUNT,
    "a transaction in pipelines, refused": pipeline("BEGIN", "INSERT INTO checked VALUES (-1)")
    + pipeline("COMMIT")
    + pipeline("SELECT 3")
    + COUNT,
    "a pipelined transaction that fails": pipeline("BEGIN", "INSERT INTO checked VALUES (-1)", "SELECT 1/0", "COMMIT")
    + simple("COMMIT")
    + COUNT,
    "an unnamed statement outlives a transaction that is refused": simple("BEGIN; INSERT INTO checked VALUES (-1)")
    + prepared("COMMIT", "c")
    + prepared("SELECT 5")
    + run("c")
    + SYNC_MESSAGE
    + run()
    + SYNC_MESSAGE,
    "a query drops the unnamed statement even if it is refused": simple("BEGIN; INSERT INTO checked VALUES (-1)")
    + prepared("SELECT 5")
    + SYNC_MESSAGE
    + simple("COMMIT")
    + run()
    + SYNC_MESSAGE,
    "a simple COMMIT behind an extended query without Sync, refused": simple("BEGIN")
    + prepared("INSERT INTO checked VALUES (-1)")
    + run()
    + simple("COMMIT")
    + SYNC_MESSAGE,
    "queries that do not wait, one refused": simple("BEGIN; INSERT INTO checked VALUES (-1)")
    + simple("INSERT INTO checked VALUES (2)")
    + simple("COMMIT")
    + simple("SELECT 1")
    + frontend.describe(STATEMENT, b"")
    + SYNC_MESSAGE
    + COUNT,
    "a transaction in one message": simple(
        "BEGIN; INSERT INTO checked VALUES (-1) RETURNING n; INSERT INTO checked VALUES (1); COMMIT; SELECT 2"
    )
    + COUNT,
    "a transaction in one message, refused": simple("BEGIN; INSERT INTO checked VALUES (-1); COMMIT; SELECT 2") + COUNT,
    "two transactions in one message, the second refused": simple(
        "BEGIN; INSERT INTO checked VALUES (-1), (1); COMMIT; SELECT 1; BEGIN; INSERT INTO checked VALUES (-2); COMMIT"
    )
    + COUNT,
    "an error behind a COMMIT in one message": simple(
        "BEGIN; INSERT INTO checked VALUES (-1), (1); COMMIT; SELECT 1/0; SELECT 2"
    )
    + COUNT,
    "an error before a COMMIT in one message": simple(
        "BEGIN; INSERT INTO checked VALUES (-1), (1); SELECT 1/0; COMMIT; SELECT 2"
    )
    + simple("ROLLBACK")
    + COUNT,
    "a message that begins with COMMIT, refused": simple("BEGIN; INSERT INTO checked VALUES (-1)")
    + simple("COMMIT; SELECT 1")
    + COUNT,
    "a message that commits what another began, refused": simple("BEGIN; INSERT INTO checked VALUES (-1)")
    + simple("SELECT 1; COMMIT; SELECT 2")
    + COUNT,
}

LOADS: dict[str, bytes] = {
    "COPY": simple("COPY checked FROM STDIN") + data("1\ta\n2\t\\N\n") + COPY_DONE + COUNT,
    "COPY, refused": simple("COPY checked FROM STDIN") + data("1\ta\n0\tb\n") + COPY_DONE + COUNT,
    "COPY of nothing": simple("COPY checked FROM STDIN") + COPY_DONE + COUNT,
    "COPY in small pieces": simple("COPY checked FROM STDIN")
    + b"".join(data(piece) for piece in "1\ta\n2\tb\n3\tc\n")
    + COPY_DONE
    + COUNT,
    "COPY of many": simple("COPY checked FROM STDIN")
    + data("".join(f"{n}\ta\n" for n in range(1, 60_000)))
    + COPY_DONE
    + COUNT,
    "COPY of many, the last refused": simple("COPY checked FROM STDIN")
    + data("".join(f"{n}\ta\n" for n in range(40_000, -1, -1)))
    + COPY_DONE
    + COUNT,
    "COPY of some columns": simple("COPY checked (n) FROM STDIN") + data("1\n2\n") + COPY_DONE + COUNT,
    "COPY of NULL": simple("COPY checked FROM STDIN") + data("\\N\ta\n") + COPY_DONE + COUNT,
    "COPY of CSV": simple("COPY checked FROM STDIN (format csv, header)")
    + data('n,s\n1,"a\nb"\n2,c\n')
    + COPY_DONE
    + COUNT,
    "COPY of CSV, refused": simple("COPY checked FROM STDIN (format csv)") + data('"0",a\n') + COPY_DONE + COUNT,
    "COPY of binary data": simple("COPY checked FROM STDIN (format binary)")
    + binary([(1, b"a"), (2, b"b")])
    + COPY_DONE
    + COUNT,
    "COPY of binary data, refused": simple("COPY checked FROM STDIN (format binary)")
    + binary([(1, b"a"), (0, b"b")])
    + COPY_DONE
    + COUNT,
    "COPY of what the server does not take": simple("COPY checked FROM STDIN") + data("x\ty\n") + COPY_DONE + COUNT,
    "COPY of rows that are too short": simple("COPY checked FROM STDIN") + data("1\n2\n") + COPY_DONE + COUNT,
    "COPY that the client gives up": simple("COPY checked FROM STDIN") + data("1\ta\n") + COPY_FAIL + COUNT,
    "COPY that does not begin": simple("BEGIN READ ONLY")
    + simple("COPY checked FROM STDIN")
    + simple("ROLLBACK")
    + COUNT,
    "COPY in a block": simple("BEGIN")
    + simple("COPY checked FROM STDIN")
    + data("1\ta\n")
    + COPY_DONE
    + COUNT
    + simple("COMMIT")
    + COUNT,
    "COPY in a block, refused": simple("BEGIN; SAVEPOINT s")
    + simple("COPY checked FROM STDIN")
    + data("0\ta\n")
    + COPY_DONE
    + simple("SELECT 1")
    + simple("ROLLBACK TO s")
    + COUNT
    + simple("COMMIT"),
    "COPY in a block, refused at COMMIT": simple("BEGIN")
    + simple("COPY checked FROM STDIN")
    + data("-1\ta\n-2\tb\n1\tc\n")
    + COPY_DONE
    + simple("COMMIT")
    + COUNT,
    "extended COPY": prepared("COPY checked FROM STDIN")
    + run()
    + data("1\ta\n")
    + COPY_DONE
    + SYNC_MESSAGE
    + pipeline("SELECT 1")
    + COUNT,
    "extended COPY, refused": prepared("COPY checked FROM STDIN")
    + run()
    + data("0\ta\n")
    + COPY_DONE
    + SYNC_MESSAGE
    + pipeline("SELECT 1")
    + COUNT,
    "extended COPY amid others, refused": prepared("INSERT INTO checked VALUES (5)")
    + run()
    + prepared("COPY checked FROM STDIN")
    + run()
    + data("0\ta\n")
    + COPY_DONE
    + prepared("SELECT 1")
    + run()
    + SYNC_MESSAGE
    + COUNT,
    "extended COPY with Sync ahead of its data": prepared("COPY checked FROM STDIN")
    + run()
    + SYNC_MESSAGE
    + data("1\ta\n")
    + COPY_DONE
    + SYNC_MESSAGE
    + COUNT,
    "COPY that drops the unnamed statement": prepared("SELECT 5")
    + SYNC_MESSAGE
    + simple("COPY checked FROM STDIN")
    + data("1\ta\n")
    + COPY_DONE
    + run()
    + SYNC_MESSAGE
    + COUNT,
    "one COPY behind another, refused": (simple("COPY checked FROM STDIN") + data("1\ta\n") + COPY_DONE)
    + (simple("COPY checked FROM STDIN") + data("0\ta\n") + COPY_DONE)
    + (simple("COPY checked FROM STDIN") + data("2\ta\n") + COPY_DONE)
    + COUNT,
}


@pytest.fixture(scope="module")
def tables(module_database: Database) -> Database:
    module_database.execute(CONSTRAINED)
    module_database.execute("CREATE TABLE checked (n int, s text)")
    return module_database


@pytest.fixture
def empty(tables: Database) -> Iterator[Database]:
    yield tables
    tables.execute("TRUNCATE checked, constrained.checked")


def without_table(description: bytes) -> bytes:
    """A RowDescription without the OIDs of the tables that its columns come from."""
    offset = 7
    for _ in range(int.from_bytes(description[5:7], "big")):
        offset = description.index(0, offset) + 1
        description = description[:offset] + bytes(4) + description[offset + 4 :]
        offset += 18
    return description


def conversation(client: RawClient, messages: bytes) -> list[bytes | str]:
    """Every message that comes back until the upstream has closed the connection; an error by its SQLSTATE."""
    client.send(messages + frontend.TERMINATE_MESSAGE)
    said: list[bytes | str] = []
    while (message := client.read_message())[0]:
        kind, whole = message
        assert SECRET.encode() not in whole
        if kind == backend.ERROR_RESPONSE:
            code = backend.read_fields(whole)["C"]
            said.append("refused" if code in ("42501", "23514") else f"error {code}")
        elif kind == backend.ROW_DESCRIPTION:
            said.append(without_table(whole))
        elif kind != backend.PARAMETER_STATUS:
            said.append(whole)
    return said


@pytest.mark.parametrize("case", CONVERSATIONS | LOADS)
def test_conversations(server: RunningServer, empty: Database, case: str) -> None:
    messages = (CONVERSATIONS | LOADS)[case]
    with RawClient(empty.postgres.host, empty.postgres.port, empty.name, search_path="constrained") as direct:
        expected = conversation(direct, messages)
    with RawClient("127.0.0.1", server.port, empty.name) as through:
        assert conversation(through, messages) == expected
    assert ("refused" in expected) == ("refused" in case)
