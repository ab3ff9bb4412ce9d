"""Which events the journal writes, with which fields, and what happens when it cannot write."""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.audit import AuditJournal, Damaged, open_journal, verify
from proxy.audit.sinks import FileSink, StreamSink
from proxy.errors import Refusal
from proxy.journal import Journal, SessionFacts
from proxy.policy.in_force import Policies
from proxy.policy.model import Contact, Policy
from proxy.verdict import ColumnUse, StatementVerdict

POLICY = Policy("telecom", "d" * 64, Contact(), {}, {}, {}, {}, {})
KEY = b"hash key"
FACTS = SessionFacts("s1", "127.0.0.1:40000", "billing_app", "crm", "psql", "张三")
STATEMENT = StatementVerdict(
    kind="mask",
    tag="SELECT",
    normalized="SELECT phone FROM subscribers WHERE id = ?",
    fingerprint="50fde20626009aba",
    purpose="billing",
    columns=(
        ColumnUse("public.subscribers.phone", "telephone_number", "general", "read", "mask", ("consent",), None),
    ),
    subjects=(("subscriber", "17"), ("subscriber", "18"), ("employee", "17")),
)  # fmt: skip
WHO = {
    "session": "s1",
    "client": "127.0.0.1:40000",
    "role": "billing_app",
    "database": "crm",
    "application": "psql",
    "actor": "张三",
}
SEAL = ["chain", "seq", "prev", "hash"]


class Lines:
    """A sink that keeps lines, or fails as a full disk does."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.full = False

    def write(self, line: bytes) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.lines.append(line)

    def close(self) -> None:
        self.full = True

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def sink() -> Lines:
    return Lines()


@pytest.fixture
def journal(sink: Lines) -> AuditJournal:
    return AuditJournal(sink, hash_key=KEY, clock=lambda: 1_790_000_000.25)


def test_it_is_the_journal_that_sessions_write_to(journal: AuditJournal) -> None:
    as_sessions_see_it: Journal = journal
    assert as_sessions_see_it.new_event_id() != as_sessions_see_it.new_event_id()


def test_a_statement_is_who_why_what_and_the_decision_of_each_column(journal: AuditJournal, sink: Lines) -> None:
    journal.statement(FACTS, "e1", STATEMENT, POLICY, None)
    (event,) = sink.events()
    assert event == {
        "ts": "2026-09-21T14:13:20.250000Z",
        "event": "statement",
        "event_id": "e1",
        **WHO,
        "purpose": "billing",
        "statement": "SELECT phone FROM subscribers WHERE id = ?",
        "fingerprint": "50fde20626009aba",
        "verdict": "mask",
        "columns": [
            {
                "column": "public.subscribers.phone",
                "category": "telephone_number",
                "sensitivity": "general",
                "use": "read",
                "decision": "mask",
                "reasons": ["consent"],
                "rule": None,
            }
        ],
        "subjects": [
            {"kind": "subscriber", "keys": [keyed("subscriber", "17"), keyed("subscriber", "18")]},
            {"kind": "employee", "keys": [keyed("employee", "17")]},
        ],
        "sqlstate": None,
        "policy": {"name": "telecom", "digest": "d" * 64},
        **{field: event[field] for field in SEAL},
    }


def keyed(kind: str, key: str) -> str:
    return hmac.new(KEY, f"{kind}\0{key}".encode(), hashlib.sha256).hexdigest()


def test_a_refused_statement_is_a_reject_whatever_it_was_alone(journal: AuditJournal, sink: Lines) -> None:
    journal.statement(FACTS, "e1", STATEMENT, POLICY, None)
    journal.statement(FACTS, "e2", STATEMENT, POLICY, Refusal("42501", "consentry: no"))
    journal.statement(FACTS, "e3", STATEMENT, POLICY, None)
    assert [(event["verdict"], event["sqlstate"]) for event in sink.events()] == [
        ("mask", None),
        ("reject", "42501"),
        ("mask", None),
    ]


def test_the_same_statement_under_another_policy_names_that_one(journal: AuditJournal, sink: Lines) -> None:
    other = Policy("telecom", "e" * 64, Contact(), {}, {}, {}, {}, {})
    journal.statement(FACTS, "e1", STATEMENT, POLICY, None)
    journal.statement(FACTS, "e2", STATEMENT, other, None)
    assert [event["policy"]["digest"][0] for event in sink.events()] == ["d", "e"]


RESULTS = [
    ((3, 1.23456, None), {"rows": 3, "duration_ms": 1.235, "sqlstate": None}),
    ((0, 0.0, None), {"rows": 0, "duration_ms": 0.0, "sqlstate": None}),
    ((None, 12000.0, None), {"rows": None, "duration_ms": 12000.0, "sqlstate": None}),
    ((None, 0.5, "23505"), {"rows": None, "duration_ms": 0.5, "sqlstate": "23505"}),
]


@pytest.mark.parametrize(("given", "expected"), RESULTS)
def test_a_result_says_how_it_ended(
    journal: AuditJournal, sink: Lines, given: tuple[int | None, float, str | None], expected: dict[str, Any]
) -> None:
    journal.result(FACTS, "e1", *given)
    (event,) = sink.events()
    assert list(event) == ["ts", "event", "event_id", *WHO, *expected, *SEAL]
    assert event["event"] == "result"
    assert {field: event[field] for field in expected} == expected


def test_the_life_of_a_session(journal: AuditJournal, sink: Lines) -> None:
    facts = SessionFacts("s2", "[::1]:40001")
    journal.session_start(facts)
    facts.role = "analyst"
    journal.purpose_change(facts, "marketing")
    journal.purpose_change(facts, None)
    journal.session_end(facts, "57P01")
    started, declared, withdrawn, ended = sink.events()
    assert [event["event"] for event in sink.events()] == ["session_start", "purpose", "purpose", "session_end"]
    assert (started["role"], declared["role"]) == (None, "analyst")
    assert (declared["purpose"], withdrawn["purpose"], ended["sqlstate"]) == ("marketing", None, "57P01")


def test_reload_and_stop(journal: AuditJournal, sink: Lines) -> None:
    journal.reload(Policies(POLICY))
    journal.stop()
    assert [event["event"] for event in sink.events()] == ["reload", "stop"]
    assert list(verify(sink.lines)) == []


def test_a_failing_sink_raises_and_the_chain_goes_on_unbroken_when_it_recovers(
    journal: AuditJournal, sink: Lines
) -> None:
    journal.statement(FACTS, "e1", STATEMENT, POLICY, None)
    sink.full = True
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            journal.statement(FACTS, "e2", STATEMENT, POLICY, None)
    sink.full = False
    journal.statement(FACTS, "e3", STATEMENT, POLICY, None)
    assert [event["event_id"] for event in sink.events()] == ["e1", "e3"]
    assert list(verify(sink.lines)) == []


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def opened(path: Path, chain_key: bytes | None = None) -> AuditJournal:
    return open_journal(str(path), Policies(POLICY), hash_key=KEY, chain_key=chain_key)


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def findings(path: Path, key: bytes | None = None) -> list[str]:
    with path.open("rb") as lines:
        return [finding.code for finding in verify(lines, key)]


def test_each_line_is_in_the_file_when_the_call_returns(path: Path) -> None:
    journal = opened(path)
    journal.statement(FACTS, "e1", STATEMENT, POLICY, None)
    assert [event["event"] for event in events(path)] == ["start", "statement"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    journal.stop()


@pytest.mark.parametrize("chain_key", [None, b"chain key"])
def test_the_next_start_goes_on_where_the_last_one_ended(path: Path, chain_key: bytes | None) -> None:
    for _ in range(3):
        journal = opened(path, chain_key)
        journal.session_start(FACTS)
        journal.stop()
    assert [event["event"] for event in events(path)] == ["start", "session_start", "stop"] * 3
    assert [event["seq"] for event in events(path)] == list(range(1, 10))
    assert len({event["chain"] for event in events(path)}) == 3
    assert findings(path, chain_key) == []


def test_a_last_line_longer_than_a_block_is_found(path: Path) -> None:
    journal = opened(path)
    journal.purpose_change(FACTS, "x" * 300_000)
    journal.stop()
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size - len(path.read_bytes().split(b"\n")[-2]) - 1)
    opened(path).stop()
    assert findings(path) == []


def test_a_torn_last_line_is_set_aside_and_reported(path: Path) -> None:
    journal = opened(path)
    journal.session_start(FACTS)
    journal.stop()
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    torn = path.read_bytes().split(b"\n")[-1]
    opened(path).stop()
    assert [event["event"] for event in events(path)] == ["start", "session_start", "torn_line", "start", "stop"]
    assert events(path)[2]["torn"] == {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}
    assert findings(path) == []
    aside = path.with_name("audit.jsonl.torn")
    assert aside.read_bytes() == torn + b"\n"
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600


def test_a_file_that_holds_nothing_but_a_torn_line_begins_anew(path: Path) -> None:
    path.write_bytes(b'{"ts":"20')
    opened(path).stop()
    assert [event["event"] for event in events(path)] == ["torn_line", "start", "stop"]
    assert findings(path) == []


DAMAGED_ENDS = {
    "no audit at all": (b"", b"hello\n"),
    "an edited last line": (b'"event":"stop"', b'"event":"stop!"'),
    "an empty last line": (b"}\n$", b"}\n\n"),
}


@pytest.mark.parametrize("what", DAMAGED_ENDS)
def test_no_chain_goes_on_from_a_damaged_line(path: Path, what: str) -> None:
    opened(path).stop()
    found, put = DAMAGED_ENDS[what]
    text = path.read_bytes() + b"$"
    path.write_bytes((put if not found else text.replace(found, put)).removesuffix(b"$"))
    before = path.read_bytes()
    with pytest.raises(Damaged):
        opened(path)
    assert path.read_bytes() == before


def test_no_chain_goes_on_under_another_key(path: Path) -> None:
    opened(path, b"one").stop()
    with pytest.raises(Damaged, match="another key"):
        opened(path, b"two")


def test_a_file_has_one_writer(path: Path) -> None:
    journal = opened(path)
    with pytest.raises(BlockingIOError):
        opened(path)
    journal.stop()
    opened(path).stop()


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Files may grow to ``size`` only: what a full disk does, for this process. The test's own output may be a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_line_that_only_fits_in_part_is_taken_back(path: Path) -> None:
    journal = opened(path)
    with small_files(1000), pytest.raises(OSError, match="too large"):
        for _ in range(9):
            journal.session_start(FACTS)
    assert 600 < path.stat().st_size < 1000
    assert path.read_bytes().endswith(b"}\n")
    assert findings(path) == []


def test_a_stream_that_failed_stays_failed() -> None:
    reader, writer = os.pipe()
    sink = StreamSink(writer)
    sink.write(b"whole\n")
    assert os.read(reader, 100) == b"whole\n"
    os.close(reader)
    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            sink.write(b"lost\n")
    os.close(writer)


def test_a_stream_takes_lines_larger_than_its_buffer() -> None:
    reader, writer = os.pipe()
    line = b"x" * 1_000_000 + b"\n"
    writing = threading.Thread(target=StreamSink(writer).write, args=(line,))
    writing.start()
    read = b""
    while len(read) < len(line):
        read += os.read(reader, 1 << 16)
    writing.join()
    assert read == line
    os.close(reader)
    os.close(writer)


def test_what_is_no_regular_file_is_a_stream(tmp_path: Path) -> None:
    assert isinstance(FileSink.open(Path(os.devnull)), StreamSink)
    with pytest.raises(IsADirectoryError):
        opened(tmp_path)


def test_a_dash_is_standard_output() -> None:
    program = (
        "from proxy.audit import open_journal; from proxy.policy.model import *;"
        "from proxy.policy.in_force import Policies;"
        "open_journal('-', Policies(Policy('p','d',Contact(),{},{},{},{},{})), hash_key=b'k').stop()"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    lines = ran.stdout.splitlines(keepends=True)
    assert [json.loads(line)["event"] for line in lines] == ["start", "stop"]
    assert list(verify(lines)) == []


def test_a_start_that_is_refused_says_why(journal: AuditJournal, sink: Lines) -> None:
    journal.refused_start(FACTS, "e1", "42501", "consentry: purpose not granted", "billing")
    (event,) = sink.events()
    assert (event["event"], event["event_id"], event["session"]) == ("refusal", "e1", FACTS.session)
    assert (event["verdict"], event["sqlstate"], event["purpose"]) == ("reject", "42501", "billing")
    assert event["reason"] == "consentry: purpose not granted"


# --- what may wait for the next event ---------------------------------------------------------------------------------


@pytest.fixture
def patient(journal: AuditJournal) -> AuditJournal:
    journal.patient = True
    return journal


def kinds(sink: Lines) -> list[list[str]]:
    """The events of each write."""
    return [[json.loads(line)["event"] for line in written.splitlines()] for written in sink.lines]


def test_a_result_that_may_wait_is_written_with_the_next_event(patient: AuditJournal, sink: Lines) -> None:
    for number in (1, 2):
        patient.statement(FACTS, f"e{number}", STATEMENT, POLICY, None)
        patient.result(FACTS, f"e{number}", 1, 0.5, None, soon=True)
    assert kinds(sink) == [["statement"], ["result", "statement"]]
    patient.flush()
    patient.flush()
    assert kinds(sink)[2:] == [["result"]]
    assert list(verify(b"".join(sink.lines).splitlines(keepends=True))) == []


def test_what_waits_survives_a_sink_that_fails_and_refuses_what_comes_then(patient: AuditJournal, sink: Lines) -> None:
    patient.result(FACTS, "e1", 1, 0.5, None, soon=True)
    sink.full = True
    with pytest.raises(OSError, match="No space left"):
        patient.statement(FACTS, "e2", STATEMENT, POLICY, None)
    patient.flush()
    assert patient.tally.failing
    sink.full = False
    patient.statement(FACTS, "e3", STATEMENT, POLICY, None)
    assert [event["event_id"] for line in sink.lines for event in map(json.loads, line.splitlines())] == ["e1", "e3"]
    assert not patient.tally.failing


def test_the_end_of_the_process_leaves_nothing_waiting(patient: AuditJournal, sink: Lines) -> None:
    patient.result(FACTS, "e1", 1, 0.5, None, soon=True)
    patient.stop()
    assert kinds(sink) == [["result", "stop"]]
    patient.flush()
    assert len(sink.lines) == 1
