"""Several processes write one file: each has its chain, whole lines, and what one leaves torn is set aside."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.audit import TURN_BYTES, AuditJournal, Damaged, SharedSink, Turns, join_journal, verify
from proxy.journal import SessionFacts
from proxy.policy.in_force import Policies
from proxy.policy.model import Contact, Policy

POLICIES = Policies(Policy("p", "d", Contact(), {}, {}, {}, {}, {}))
KEY = b"k" * 16


@pytest.fixture
def turns() -> Iterator[Turns]:
    with tempfile.TemporaryFile() as shared:
        shared.truncate(TURN_BYTES)
        yield Turns(mmap.mmap(shared.fileno(), 0), shared.fileno())


def joined(path: Path, turns: Turns) -> AuditJournal:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    return join_journal(SharedSink(descriptor, turns, path), POLICIES, hash_key=KEY)


def findings(lines: list[bytes]) -> list[tuple[int, str]]:
    return [(finding.line, finding.code) for finding in verify(lines)]


def read(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def written(path: Path, turns: Turns) -> list[bytes]:
    """Two writers, a and b, whose lines stand as a b a a b b a a b."""
    a = joined(path, turns)
    b = joined(path, turns)
    for number, writer in enumerate((a, a, b, b, a)):
        writer.session_start(SessionFacts(f"s{number}", "c"))
    a.stop()
    b.stop()
    return read(path)


def test_each_goes_on_from_its_own_line(written: list[bytes]) -> None:
    assert findings(written) == []
    events = [json.loads(line) for line in written]
    first, second = events[0]["chain"], events[1]["chain"]
    assert [event["chain"] for event in events] == [first, second, *[first] * 2, *[second] * 2, *[first] * 2, second]
    assert [event["seq"] for event in events] == [1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert ["beside" in event for event in events] == [False, True, True, False, True, False, True, False, True]


TAMPERED = {
    "a line of one chain is gone": [0, 1, 2, 4, 5, 6, 7, 8],
    "the end of one chain is gone": [0, 1, 2, 3, 4, 5, 6, 8],
    "the beginning of one chain is gone": [0, 2, 3, 4, 5, 6, 7, 8],
    "one chain is gone": [0, 2, 3, 6, 7],
    "the first line is gone": [1, 2, 3, 4, 5, 6, 7, 8],
    "neighbours of two chains changed places": [0, 1, 2, 4, 3, 5, 6, 7, 8],
    "a line was repeated": [0, 1, 2, 3, 4, 5, 6, 7, 7, 8],
}


@pytest.mark.parametrize("what", TAMPERED)
def test_tampering_is_found(written: list[bytes], what: str) -> None:
    assert {code for _, code in findings([written[place] for place in TAMPERED[what]])} == {"broken-chain"}


def test_what_a_writer_left_of_a_line_is_set_aside(path: Path, turns: Turns) -> None:
    a = joined(path, turns)
    with path.open("ab") as dying:
        dying.write(b'{"half')
    a.session_start(SessionFacts("s", "c"))
    assert [json.loads(line)["event"] for line in read(path)] == ["start", "torn_line", "session_start"]
    assert findings(read(path)) == []
    assert path.with_name("audit.jsonl.torn").read_bytes() == b'{"half\n'


def test_a_writer_that_died_before_it_could_tell_of_its_line(path: Path, turns: Turns) -> None:
    a = joined(path, turns)
    forgotten = turns.memory[:]
    joined(path, turns)
    turns.memory[:] = forgotten
    a.session_start(SessionFacts("s", "c"))
    assert findings(read(path)) == []


def test_nobody_goes_on_after_a_damaged_line(path: Path, turns: Turns) -> None:
    path.write_bytes(b"hello\n")
    with pytest.raises(Damaged):
        joined(path, turns)


_WRITER = """
import mmap, os, sys
from pathlib import Path
from tests.audit.test_shared import joined
from proxy.audit import Turns
from proxy.journal import SessionFacts
memory = os.open(sys.argv[2], os.O_RDWR)
journal = joined(Path(sys.argv[1]), Turns(mmap.mmap(memory, 0), memory))
for number in range(300):
    journal.session_start(SessionFacts(str(number), "c" * (number * 37 % 5000)))
journal.stop()
"""


def test_processes_at_once(path: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    memory.write_bytes(bytes(TURN_BYTES))
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), str(memory)]) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    lines = read(path)
    assert len(lines) == 3 * 302
    assert findings(lines) == []


def test_a_pipe(turns: Turns) -> None:
    reading, writing = os.pipe()
    a, b = (join_journal(SharedSink(os.dup(writing), turns, None), POLICIES, hash_key=KEY) for _ in range(2))
    for writer in (a, b, b, a):
        writer.session_start(SessionFacts("s", "c"))
    a.stop()
    b.stop()
    os.close(writing)
    with os.fdopen(reading, "rb") as lines:
        written = list(lines)
    assert len(written) == 8
    assert findings(written) == []
    assert findings(written[:4] + written[5:]) != []
