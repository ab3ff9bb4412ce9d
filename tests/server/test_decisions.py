"""Decisions follow the session: what is judged is what runs, in the state in which it runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.wire import backend, frontend
from proxy.wire.frontend import STATEMENT, SYNC_MESSAGE
from tests.fix_postgres import Database
from tests.server.conftest import RunningServer
from tests.server.raw import RawClient, extended, pipeline, simple

GUARDED = "SELECT 'GUARDED'"
SECRET = "SELECT 'SECRET'"
REFUSAL = "E ERROR 42501 consentry: no purpose"


@pytest.fixture
def client(server: RunningServer, module_database: Database) -> Iterator[RawClient]:
    with RawClient("127.0.0.1", server.port, module_database.name) as connected:
        yield connected


def rows(lines: list[str]) -> list[str]:
    """Rows and errors, without what stands between them."""
    return [line[2:] if line.startswith("D ") else line for line in lines if line[0] in "DE" and len(line) > 1]


def prepare(name: str, text: str) -> bytes:
    return frontend.parse(name.encode(), text.encode())


def run(name: str, portal: str = "") -> bytes:
    return frontend.bind(portal.encode(), name.encode()) + frontend.execute(portal.encode())


CASES: dict[str, tuple[list[bytes], list[str]]] = {
    "a purpose opens, RESET closes": (
        [simple(GUARDED), simple("SET consentry.purpose = 'p'"), simple(GUARDED), simple("RESET ALL"), simple(GUARDED)],
        [REFUSAL, "GUARDED", REFUSAL],
    ),
    "a rolled back purpose never was": (
        [simple("BEGIN; SET consentry.purpose = 'p'"), simple(GUARDED), simple("ROLLBACK"), simple(GUARDED)],
        ["GUARDED", REFUSAL],
    ),
    "SET LOCAL ends with COMMIT": (
        [
            simple("BEGIN"),
            simple("SET LOCAL consentry.purpose = 'p'"),
            simple(GUARDED),
            simple("COMMIT"),
            simple(GUARDED),
        ],
        ["GUARDED", REFUSAL],
    ),
    "ROLLBACK TO takes a purpose back": (
        [
            simple("BEGIN; SAVEPOINT s"),
            simple("SET consentry.purpose = 'p'"),
            simple(GUARDED),
            simple("ROLLBACK TO s"),
            simple(GUARDED),
        ],
        ["GUARDED", REFUSAL],
    ),
    "all of that in one pipeline": (
        [pipeline("BEGIN", "SET LOCAL consentry.purpose = 'p'", GUARDED, "COMMIT", GUARDED)],
        ["GUARDED", REFUSAL],
    ),
    "an error takes back what its pipeline set": (
        [pipeline("SET consentry.purpose = 'p'", GUARDED, "SELECT 1/0"), pipeline(GUARDED)],
        ["GUARDED", "E ERROR 22012 division by zero", REFUSAL],
    ),
    "SET LOCAL in a pipeline ends at Sync": (
        [pipeline("SET LOCAL consentry.purpose = 'p'", GUARDED), pipeline(GUARDED)],
        ["GUARDED", REFUSAL],
    ),
    "a COMMIT that fails takes back": (
        [
            simple("CREATE TEMP TABLE k (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"),
            simple("BEGIN; SET consentry.purpose = 'p'; INSERT INTO k VALUES (1), (1)"),
            simple("COMMIT"),
            simple(GUARDED),
        ],
        ['E ERROR 23505 duplicate key value violates unique constraint "k_n_key"', REFUSAL],
    ),
    "set_config behind a row limit has had its effect": (
        [
            simple("BEGIN"),
            frontend.parse(b"", b"SELECT set_config('consentry.purpose', 'p', false)")
            + frontend.bind(b"", b"")
            + frontend.execute(b"", 1)
            + SYNC_MESSAGE,
            simple(GUARDED),
            simple("ROLLBACK"),
        ],
        ["p", "GUARDED"],
    ),
    "prepared before the purpose, run after it": (
        [
            prepare("g", GUARDED) + SYNC_MESSAGE,
            run("g") + SYNC_MESSAGE,
            simple("SET consentry.purpose = 'p'"),
            run("g") + SYNC_MESSAGE,
        ],
        [REFUSAL, "GUARDED"],
    ),
    "prepared masked, run raw, run masked": (
        [
            prepare("m", SECRET) + SYNC_MESSAGE,
            run("m") + SYNC_MESSAGE,
            simple("SET consentry.purpose = 'all'"),
            run("m") + run("m") + SYNC_MESSAGE,
            simple("RESET consentry.purpose"),
            run("m") + SYNC_MESSAGE,
        ],
        ["MASKED", "SECRET", "SECRET", "MASKED"],
    ),
    "prepared raw, run masked, closed, prepared again": (
        [
            simple("SET consentry.purpose = 'all'"),
            prepare("m", SECRET) + run("m") + SYNC_MESSAGE,
            simple("RESET consentry.purpose"),
            run("m") + SYNC_MESSAGE,
            frontend.close(STATEMENT, b"m") + prepare("m", "SELECT 2") + run("m") + SYNC_MESSAGE,
        ],
        ["SECRET", "MASKED", "2"],
    ),
    "a decision that changes between Bind and Execute": (
        [
            simple("SET consentry.purpose = 'all'"),
            simple("BEGIN"),
            prepare("m", SECRET) + frontend.bind(b"p", b"m") + SYNC_MESSAGE,
            simple("SET consentry.purpose = 'less'"),
            frontend.execute(b"p") + SYNC_MESSAGE,
            simple("ROLLBACK"),
        ],
        ["E ERROR 42501 consentry: the decision on this statement changed since it was bound"],
    ),
    "SQL EXECUTE of what may not run so": (
        [prepare("m", SECRET) + SYNC_MESSAGE, simple("EXECUTE m"), simple("EXECUTE nothing")],
        ["E ERROR 42501 consentry: not prepared, or masked"] * 2,
    ),
    "a name whose second Parse fails keeps its first text": (
        [
            simple("SET consentry.purpose = 'all'"),
            prepare("m", SECRET) + SYNC_MESSAGE + prepare("m", "SELECT 2") + SYNC_MESSAGE + run("m") + SYNC_MESSAGE,
        ],
        ['E ERROR 42P05 prepared statement "m" already exists', "SECRET"],
    ),
    "a name whose Close is skipped keeps its first text": (
        [
            prepare("m", "SELECT 1") + SYNC_MESSAGE,
            run("nowhere")
            + frontend.close(STATEMENT, b"m")
            + prepare("m", GUARDED)
            + SYNC_MESSAGE
            + run("m")
            + SYNC_MESSAGE,
        ],
        ['E ERROR 26000 prepared statement "nowhere" does not exist', "1"],
    ),
    "invalid UTF-8 is PostgreSQL's own error": (
        [frontend.query(b"SELECT '\xff'"), simple("SELECT 1")],
        ['E ERROR 22021 invalid byte sequence for encoding "UTF8": 0xff', "1"],
    ),
    "an engine that raises refuses": (
        [simple("SELECT 'BROKEN'"), simple("SELECT 1")],
        ["E ERROR 42501 consentry: the statement could not be decided", "1"],
    ),
    "the function call message is refused": (
        [frontend.message(frontend.FUNCTION_CALL, bytes(10)), simple("SELECT 1")],
        ["E ERROR 42501 consentry: the function call message is refused", "1"],
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("at_once", [False, True], ids=["waiting", "at once"])
def test_cases(client: RawClient, case: str, at_once: bool) -> None:
    """Each conversation both message by message and sent at once: replies in flight make no difference."""
    messages, expected = CASES[case]
    if at_once:
        client.send(b"".join(messages) + frontend.TERMINATE_MESSAGE)
        lines = []
        while (line := client.read()) != "closed":
            lines.append(line)
    else:
        lines = []
        for message in messages:
            lines += client.ask(message, message.count(SYNC_MESSAGE) or 1)
    assert rows(lines) == expected


def test_a_new_relation_takes_over_a_name_in_a_prepared_statement(client: RawClient) -> None:
    """What a driver prepared means the new one; PostgreSQL would go on reading the old one, on which nobody decided."""
    client.query("CREATE TABLE IF NOT EXISTS shadowed (n int); DELETE FROM shadowed; INSERT INTO shadowed VALUES (1)")
    client.ask(prepare("s", "SELECT n FROM shadowed") + SYNC_MESSAGE)
    client.query("PREPARE by_sql AS SELECT n FROM shadowed")
    assert rows(client.ask(run("s") + SYNC_MESSAGE)) == ["1"]
    client.query("CREATE TEMP TABLE unrelated (n int)")
    assert rows(client.query("EXECUTE by_sql")) == ["1"]
    client.query("CREATE TEMP TABLE shadowed (n int); INSERT INTO shadowed VALUES (2)")
    assert rows(client.ask(run("s") + SYNC_MESSAGE)) == ["2"]
    assert rows(client.ask(run("s") + SYNC_MESSAGE)) == ["2"]
    # As PostgreSQL does. The engine knows that the name is stale (Context.prepared_stale), and judges by what was read.
    assert rows(client.query("EXECUTE by_sql")) == ["1"]
    assert rows(client.ask(run("by_sql") + SYNC_MESSAGE))[0].startswith("E ERROR 42501")
    client.query("SET consentry.purpose = 'p'")
    client.query("CREATE TABLE IF NOT EXISTS pg_temp.other AS SELECT 1")
    assert rows(client.ask(run("s") + SYNC_MESSAGE)) == ["2"]
    client.query("DROP TABLE shadowed")
    assert rows(client.ask(run("s") + SYNC_MESSAGE)) == ["1"]


def test_a_portal_whose_names_were_taken_over(client: RawClient) -> None:
    client.query("CREATE TABLE IF NOT EXISTS covered (n int); INSERT INTO covered VALUES (1), (2), (3)")
    client.query("BEGIN")
    client.ask(
        prepare("", "SELECT n FROM covered") + frontend.bind(b"p", b"") + frontend.execute(b"p", 1) + SYNC_MESSAGE
    )
    client.query("CREATE TEMP TABLE covered (n int)")
    assert rows(client.ask(frontend.execute(b"p", 1) + SYNC_MESSAGE)) == ["2"]
    client.query("SET LOCAL consentry.purpose = 'other'")
    assert rows(client.ask(frontend.execute(b"p", 1) + SYNC_MESSAGE)) == ["3"]  # decided when it began
    client.query("ROLLBACK")


def test_positions_are_the_clients(client: RawClient) -> None:
    client.send(simple("SELECT 'SECRET', missing"))
    kind, whole = client.read_message()
    assert (chr(kind), backend.read_fields(whole)["P"]) == ("E", "18")


def test_a_rewritten_statement_tells_nothing_of_its_rows(client: RawClient) -> None:
    client.query("CREATE TEMP TABLE c (n int CHECK (n > 0))")
    (line,) = [line for line in client.query("INSERT INTO c SELECT -1 WHERE 'SECRET' <> ''") if line[0] == "E"]
    assert line.startswith('E ERROR 23514 new row for relation "c" violates check constraint')
    client.send(simple("INSERT INTO c SELECT -1 WHERE 'SECRET' <> ''"))
    kind, whole = client.read_message()
    fields = backend.read_fields(whole)
    assert (kind, fields["n"], fields["t"]) == (backend.ERROR_RESPONSE, "c_n_check", "c")
    assert not {"D", "W", "q"} & set(fields)


def test_a_notice_says_that_cells_are_masked(client: RawClient) -> None:
    client.query("SET consentry.notify = on")
    notice = "N NOTICE 00000 consentry: this result holds masked cells"
    assert client.query(SECRET) == ["T", "D MASKED", notice, "C SELECT 1", "Z I"]
    assert client.query("SELECT 1") == ["T", "D 1", "C SELECT 1", "Z I"]


def test_the_audit(client: RawClient, server: RunningServer) -> None:
    client.query("SET consentry.actor = 'me'")
    server.journal.events.clear()
    client.query("SELECT 1; SELECT generate_series(1, 3)")
    client.query("SELECT 'REFUSE'")
    client.query("SELECT 1/0")
    client.query("SET consentry.purpose = 'p'")
    client.ask(frontend.TERMINATE_MESSAGE)
    assert told(server) == [
        ("statement", "#0", "SELECT 1", "pass", "me"),
        ("statement", "#1", "SELECT generate_series(1, 3)", "pass", "me"),
        ("result", "#0", 1, None),
        ("result", "#1", 3, None),
        ("statement", "#2", "?", "42501", "me"),
        ("result", "#2", None, "42501"),
        ("statement", "#3", "SELECT 1/0", "pass", "me"),
        ("result", "#3", None, "22012"),
        ("statement", "#4", "SET consentry.purpose = 'p'", "pass", "me"),
        ("result", "#4", None, None),
        ("purpose_change", "p"),
        ("session_end", None),
    ]


def test_the_audit_of_a_pipeline(client: RawClient, server: RunningServer) -> None:
    server.journal.events.clear()
    client.ask(pipeline("SELECT generate_series(1, 4)", "SELECT 1/0", "SELECT 2"))
    assert sorted(told(server)) == [
        ("result", "#0", 4, None),
        ("result", "#1", None, "22012"),
        # Never ran: the upstream skipped it.
        ("result", "#2", None, "22012"),
        ("statement", "#0", "SELECT generate_series(1, 4)", "pass", ""),
        ("statement", "#1", "SELECT 1/0", "pass", ""),
        ("statement", "#2", "SELECT 2", "pass", ""),
    ]


def test_the_audit_of_a_portal_in_slices(client: RawClient, server: RunningServer) -> None:
    client.query("BEGIN")
    server.journal.events.clear()
    text = prepare("", "SELECT generate_series(1, 5)") + frontend.bind(b"p", b"")
    client.ask(text + frontend.execute(b"p", 2) + frontend.execute(b"p", 2) + frontend.execute(b"p", 2) + SYNC_MESSAGE)
    client.ask(
        prepare("", "SELECT generate_series(1, 5)")
        + frontend.bind(b"r", b"")
        + frontend.execute(b"r", 3)
        + SYNC_MESSAGE
    )
    client.query("ROLLBACK")
    assert [event for event in told(server) if event[0] == "result"] == [
        ("result", "#0", 5, None),
        ("result", "#2", None, None),
        # The portal went with its transaction.
        ("result", "#1", 3, None),
    ]


def told(server: RunningServer) -> list[tuple[object, ...]]:
    """The events with their ids numbered."""
    numbered = {event: f"#{place}" for place, event in enumerate(server_events(server))}
    return [tuple(numbered.get(str(part), part) for part in event) for event in server.journal.events]


def server_events(server: RunningServer) -> list[str]:
    return [str(event[1]) for event in server.journal.events if event[0] == "statement"]


def test_a_failing_audit_refuses_statements(client: RawClient, server: RunningServer) -> None:
    server.journal.failing = "statement"
    refusal = "E ERROR 42501 consentry: the audit cannot be written"
    assert client.query("SELECT 1") == [refusal, "Z I"]
    assert rows(client.ask(pipeline("SELECT 1"))) == [refusal]
    server.journal.failing = ""
    assert rows(client.query("SELECT 1")) == ["1"]


def test_a_result_that_cannot_be_audited_ends_the_session(client: RawClient, server: RunningServer) -> None:
    server.journal.failing = "result"
    assert client.query("SELECT 1")[-2:] == ["E FATAL 42501 consentry: the audit cannot be written", "closed"]


def test_ddl_is_seen_by_the_next_statement(client: RawClient, server: RunningServer) -> None:
    client.query("CREATE TABLE seen (id int)")
    client.query("SELECT 1")
    assert server.catalogs.reloads == 1
    client.query("BEGIN; DROP TABLE seen; CREATE TABLE other (id int)")
    client.query("SELECT 1")
    assert server.catalogs.reloads == 1
    assert dict(server.engine.contexts[-1].overlay).keys() == {("public", "other")}
    client.query("ROLLBACK")
    client.query("SELECT 1")
    assert server.catalogs.reloads == 1
    assert not server.engine.contexts[-1].overlay
    client.query("CREATE TEMP TABLE kept (id int)")
    client.query("SELECT 1")
    assert dict(server.engine.contexts[-1].overlay).keys() == {("pg_temp", "kept")}
    client.query("DISCARD ALL")
    client.query("SELECT 1")
    assert not server.engine.contexts[-1].overlay


def test_statements_larger_than_the_limit(client: RawClient) -> None:
    client.send(frontend.query(b"SELECT '" + b"x" * (17 << 20) + b"'") + extended("SELECT 1") + SYNC_MESSAGE)
    assert client.read_until_ready() == ["E ERROR 54000 consentry: the statement is longer than 16777216 bytes", "Z I"]
    assert rows(client.read_until_ready()) == ["1"]


def test_large_parameters_pass(client: RawClient) -> None:
    value = b"x" * (20 << 20)
    bind = frontend.bind(b"", b"", b"\0\0\0\1" + len(value).to_bytes(4, "big") + value + b"\0\0")
    text = frontend.parse(b"", b"SELECT length($1::text)")
    client.send(text + bind + frontend.execute(b"") + SYNC_MESSAGE)
    assert rows(client.read_until_ready()) == [str(len(value))]
    client.send(
        frontend.parse(b"", GUARDED.encode()) + bind + frontend.execute(b"") + SYNC_MESSAGE + simple("SELECT 1")
    )
    assert rows(client.read_until_ready()) == [REFUSAL]
    assert rows(client.read_until_ready()) == ["1"]
