"""``consentry serve`` as a process before a real PostgreSQL: readiness, signals, exit codes, and its audit."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from proxy.audit import verify
from tests.fix_postgres import Database
from tests.fix_proxy import STARTED, Proxy

POLICY = """
version: 1
name: clinic
subjects:
  patient: {table: public.patients, key: id}
categories:
  telephone_number: {sensitivity: general, mask: phone}
tables:
  public.patients:
    subject: {kind: patient, key: id}
    columns: {phone: telephone_number}
purposes:
  care: {description: To treat, basis: contract, categories: [telephone_number], accounts: any}
  research: {description: To learn, basis: contract, categories: [], accounts: any}
roles:
  postgres: {purposes: [care, research]}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def serving(tmp_path: Path, policy: Path, database: Database) -> Iterator[Proxy]:
    database.execute("CREATE TABLE patients (id int PRIMARY KEY, phone varchar(20));"
                     "INSERT INTO patients VALUES (1, '13812345678')")  # fmt: skip
    with Proxy(tmp_path, "--policy", str(policy), "--upstream", database.dsn()) as proxy:
        yield proxy


def connect(proxy: Proxy, database: Database, **settings: str) -> psycopg.Connection[tuple[Any, ...]]:
    host, _, port = proxy.ready().rpartition(":")
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return psycopg.connect(database.through(host, int(port)), autocommit=True, options=options)


def test_it_says_once_where_it_listens_and_ends_in_order(serving: Proxy) -> None:
    host, _, port = serving.ready().rpartition(":")
    with socket.create_connection((host, int(port)), 5):
        pass
    assert serving.stop() == 0
    assert serving.said == f"consentry ready on {host}:{port}\n"
    assert [event["event"] for event in serving.events() if not event["event"].startswith("session")] == [
        "start",
        "stop",
    ]


def test_the_same_row_by_purpose_and_an_audit_that_tells_of_it(serving: Proxy, database: Database) -> None:
    with connect(serving, database) as connection:
        seen = {}
        for purpose in ("care", "research"):
            connection.execute(f"SET consentry.purpose = '{purpose}'")
            seen[purpose] = connection.execute("SELECT phone FROM patients WHERE id = 1").fetchone()
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="consentry: "):
            connection.execute("SET consentry.purpose = 'advertising'")
    assert seen == {"care": ("13812345678",), "research": ("138****5678",)}
    assert serving.stop() == 0
    told = [event for event in serving.events() if event["event"] == "statement" and event["columns"]]
    assert [(event["purpose"], event["verdict"], event["columns"][0]["decision"]) for event in told] == [
        ("care", "allow", "allow"),
        ("research", "mask", "mask"),
    ]
    results = {event["event_id"]: event["rows"] for event in serving.events() if event["event"] == "result"}
    assert [results[event["event_id"]] for event in told] == [1, 1]
    assert "13812345678" not in serving.audit.read_text()
    with serving.audit.open("rb") as lines:
        assert list(verify(lines)) == []


def test_sighup_puts_another_policy_in_force(serving: Proxy, policy: Path, database: Database) -> None:
    with connect(serving, database, **{"consentry.purpose": "research"}) as connection:
        query = "SELECT phone FROM patients WHERE id = 1"
        assert connection.execute(query).fetchone() == ("138****5678",)
        policy.write_text(POLICY.replace("categories: [], ", "categories: [telephone_number], "))
        serving.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + STARTED
        while serving.events()[-1]["event"] != "reload":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert connection.execute(query).fetchone() == ("13812345678",)


def test_sighup_with_an_invalid_policy_changes_nothing_and_says_so(
    serving: Proxy, policy: Path, database: Database
) -> None:
    with connect(serving, database, **{"consentry.purpose": "research"}) as connection:
        query = "SELECT phone FROM patients WHERE id = 1"
        policy.write_text(POLICY.replace("categories: [], ", "categories: [telephone], "))
        serving.process.send_signal(signal.SIGHUP)
        serving.await_said("the one before stays in force")
        assert f"{policy}:14:" in serving.said
        assert "error: unknown-category: " in serving.said
        assert connection.execute(query).fetchone() == ("138****5678",)
    assert "reload" not in [event["event"] for event in serving.events()]


def test_sigterm_ends_idle_sessions_as_postgresql_does(serving: Proxy, database: Database) -> None:
    with connect(serving, database) as connection:
        connection.execute("SELECT 1")
        assert serving.stop() == 0
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert [event["sqlstate"] for event in serving.events() if event["event"] == "session_end"] == ["57P01"]


# --- what keeps it from running ---------------------------------------------------------------------------------------


def refused(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    proxy = Proxy(folder, *arguments, **environment)
    code = proxy.ended()
    assert proxy.process.stdout is not None
    assert proxy.process.stdout.read() == b""
    proxy.process.stdout.close()
    assert "Traceback" not in proxy.said
    return code, proxy.said


UPSTREAM = "postgresql://127.0.0.1:1"


def test_an_invalid_configuration(tmp_path: Path) -> None:
    file = tmp_path / "consentry.yaml"
    file.write_text("upstream: postgresql://db\npolicy: policy.yaml\naudit: {durability: strict}\nlisten: here\n")
    code, said = refused(tmp_path, "--config", str(file), CONSENTRY_LISTEN="")
    assert code == 3
    assert said == (
        f"{file}:3:21: error: unavailable: audit.durability: not available in this version\n"
        f"{file}:4:9: error: bad-value: listen: an address is HOST:PORT, [IPv6]:PORT or the path of a unix socket\n"
    )


INVALID_POLICIES = {
    "a mistake": (POLICY.replace("basis: contract", "basis: because"), "error: bad-value: "),
    "a key that nothing enforces yet": (
        POLICY + "bulk: [{id: b, rows_per_statement: 9}]\n",
        "error: unenforced: bulk.rows_per_statement is not enforced by this version",
    ),
}


@pytest.mark.parametrize("what", INVALID_POLICIES)
def test_an_invalid_policy(tmp_path: Path, policy: Path, what: str) -> None:
    text, expected = INVALID_POLICIES[what]
    policy.write_text(text)
    code, said = refused(tmp_path, "--policy", str(policy), "--upstream", UPSTREAM)
    assert code == 3
    assert said.startswith(f"{policy}:")
    assert expected in said


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    code, said = refused(tmp_path, "--policy", "/nowhere/policy.yaml", "--upstream", UPSTREAM)
    assert (code, said) == (3, "/nowhere/policy.yaml:1:1: error: file: cannot be read: No such file or directory\n")


def test_an_address_in_use(tmp_path: Path, policy: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        code, said = refused(tmp_path, "--policy", str(policy), "--upstream", UPSTREAM, "--listen", listen)
    assert code == 1
    assert listen in said
    assert "in use" in said


def test_an_audit_that_cannot_be_written(tmp_path: Path, policy: Path) -> None:
    arguments = ("--policy", str(policy), "--upstream", UPSTREAM, "--audit")
    assert refused(tmp_path, *arguments, "/nowhere/a.jsonl") == (
        1,
        "consentry: /nowhere/a.jsonl: No such file or directory\n",
    )
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_text("hello\n")
    code, said = refused(tmp_path, *arguments, str(damaged))
    assert code == 1
    assert said.startswith(f"consentry: {damaged}: the last line is not JSON")


def test_an_audit_that_another_process_writes(tmp_path: Path, policy: Path, serving: Proxy) -> None:
    serving.ready()
    other = tmp_path / "other"
    other.mkdir()
    code, said = refused(other, "--policy", str(policy), "--upstream", UPSTREAM, "--audit", str(serving.audit))
    assert (code, said) == (1, f"consentry: {serving.audit}: another process writes this audit file\n")


# --- more than one policy, and files that change ----------------------------------------------------------------------


def test_a_policy_for_each_database(tmp_path: Path, database: Database) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    database.execute("CREATE TABLE patients (id int PRIMARY KEY, phone varchar(20));"
                     "INSERT INTO patients VALUES (1, '13812345678')")  # fmt: skip
    open_policy = tmp_path / "open.yaml"
    open_policy.write_text(POLICY.replace("categories: [], ", "categories: [telephone_number], "))
    file = tmp_path / "consentry.yaml"
    seen = {}
    for policies in (f"{{{database.name}: open.yaml}}", f"{{{database.name}: policy.yaml, '*': open.yaml}}"):
        file.write_text(f"upstream: {database.dsn()}\npolicies: {policies}\n")
        with Proxy(tmp_path, "--config", str(file)) as proxy:
            with connect(proxy, database, **{"consentry.purpose": "research"}) as connection:
                row = connection.execute("SELECT phone FROM patients").fetchone()
            host, _, port = proxy.ready().rpartition(":")
            try:
                psycopg.connect(f"postgresql://postgres@{host}:{port}/postgres").close()
                elsewhere = "let in"
            except psycopg.OperationalError as error:
                elsewhere = str(error)
            seen[policies] = row, elsewhere
            assert proxy.stop() == 0
            (start,) = (event for event in proxy.events() if event["event"] == "start")
            assert set(start["policies"]) == {database.name}
        proxy.audit.unlink()
    (first, refused_there), (second, let_in) = seen.values()
    assert (first, second) == (("13812345678",), ("138****5678",))
    assert 'consentry: no policy is in force for database "postgres"' in refused_there
    assert let_in == "let in"


def test_a_watched_policy_is_reloaded_when_its_files_change(tmp_path: Path, policy: Path, database: Database) -> None:
    arguments = ("--policy", str(policy), "--upstream", database.dsn(), "--watch")
    with Proxy(tmp_path, *arguments) as proxy:
        proxy.ready()
        for text, expected in ((POLICY + "\n", 1), (POLICY + "mistake: true\n", 1), (POLICY + "\n\n", 2)):
            policy.write_text(text)
            if "mistake" in text:
                proxy.await_said("the one before stays in force")
            deadline = time.monotonic() + STARTED
            while [event["event"] for event in proxy.events()].count("reload") != expected:
                assert time.monotonic() < deadline
                time.sleep(0.02)


def test_a_second_sigterm_ends_at_once(serving: Proxy, database: Database) -> None:
    with closing(connect(serving, database)) as connection:
        connection.pgconn.send_query(b"SELECT pg_sleep(60)")
        time.sleep(0.3)
        serving.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert serving.process.poll() is None
        began = time.monotonic()
        assert serving.stop() == 0
        assert time.monotonic() - began < 5
        result = connection.pgconn.get_result()
        assert result is not None
        assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"57P01"


ISOLATED = {
    "by BEGIN": (["BEGIN ISOLATION LEVEL REPEATABLE READ"], True),
    "by START TRANSACTION": (["START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY"], True),
    "by SET TRANSACTION": (["BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"], True),
    "by a setting": (["SET default_transaction_isolation = 'serializable'", "BEGIN"], True),
    "for the session": (["SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ", "BEGIN"], True),
    "by a setting that was taken back": (
        ["BEGIN", "SET default_transaction_isolation = 'serializable'", "ROLLBACK", "BEGIN"],
        False,
    ),
    "not": (["BEGIN"], False),
    "not, whatever the session has": (
        ["SET default_transaction_isolation = 'serializable'", "BEGIN ISOLATION LEVEL READ COMMITTED"],
        False,
    ),
}


def test_how_old_a_snapshot_may_grow(tmp_path: Path, policy: Path, database: Database) -> None:
    database.execute("CREATE TABLE patients (id int PRIMARY KEY, phone varchar(20));"
                     "INSERT INTO patients VALUES (1, '13812345678')")  # fmt: skip
    (tmp_path / "consentry.yaml").write_text("limits: {snapshot_age: 1 second}\n")
    arguments = ("--config", str(tmp_path / "consentry.yaml"), "--policy", str(policy), "--upstream", database.dsn())
    query = "SELECT phone FROM patients"
    with Proxy(tmp_path, *arguments) as proxy:
        opened = {what: connect(proxy, database, **{"consentry.purpose": "care"}) for what in ISOLATED}
        for what, connection in opened.items():
            for statement in ISOLATED[what][0]:
                connection.execute(statement)
            assert connection.execute(query).fetchone() == ("13812345678",)
        time.sleep(1.1)
        for what, connection in opened.items():
            assert connection.execute("SELECT 1").fetchone() == (1,)
            if ISOLATED[what][1]:
                with pytest.raises(psycopg.Error, match="snapshot too old") as refused:
                    connection.execute(query)
                assert refused.value.sqlstate == "72000", what
                connection.execute("ROLLBACK")
            assert connection.execute(query).fetchone() == ("13812345678",), what
            connection.close()
