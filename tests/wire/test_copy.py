"""COPY data is read as PostgreSQL reads it: what a real server makes of each stream is what is found in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.copying import CopyFormat
from proxy.wire.copy_binary import CopyBinary
from proxy.wire.copy_text import CopyText, UnusualCopyData
from tests.fix_postgres import Database

Rows = list[tuple[str | None, ...]]
Server = psycopg.Connection[tuple[Any, ...]]

STREAMS: dict[str, tuple[str, CopyFormat, bytes]] = {
    "plain": ("", CopyFormat("text", 2), b"a\tb\nc\td\n"),
    "no last newline": ("", CopyFormat("text", 2), b"a\tb\nc\td"),
    "NULL and empty": ("", CopyFormat("text", 2), b"\\N\tb\n\t\\N\n\\N\t\\N\n"),
    "escapes": ("", CopyFormat("text", 2), b"a\\tb\\\\\\n\t\\x41\\101\\q\\N1\n\\b\\f\\r\\v\tx\\\ty\n"),
    "an escaped newline": ("", CopyFormat("text", 2), b"a\\\nb\tc\n\\\\\td\n"),
    "an escaped dot": ("", CopyFormat("text", 2), b"a\\\\.b\tc\n"),
    "a mark at the end": ("", CopyFormat("text", 2), b"a\tb\n\\.\n"),
    "a mark, and more": ("", CopyFormat("text", 2), b"a\tb\n\\.\nc\td\n"),
    "lines that end with CRLF": ("", CopyFormat("text", 2), b"a\tb\r\nc\td\r\n"),
    "CRLF and escapes": ("", CopyFormat("text", 2), b"a\\tx\tb\r\nc\t\\N\r\n"),
    "an empty table's worth": ("", CopyFormat("text", 2), b""),
    "another delimiter and NULL": (
        "DELIMITER '|', NULL ''",
        CopyFormat("text", 2, delimiter=b"|", null=b""),
        b"a|\n|b\nc\\||\\N\n",
    ),
    "a header": ("HEADER", CopyFormat("text", 2, header=True), b"x\ny\tz\n"),
    "CSV": ("FORMAT csv", CopyFormat("csv", 2, b",", b""), b"a,b\nc,\n,d\n"),
    "CSV with CRLF": ("FORMAT csv", CopyFormat("csv", 2, b",", b""), b'a,b\r\n"c",\r\n"d\r\ne",f'),
    "CSV quotes": (
        "FORMAT csv",
        CopyFormat("csv", 2, b",", b""),
        b'"a,b","c ""d"" e"\n"",""\nx"y,z"w,"p"q"r"\n"line\nbreak",\\N\n',
    ),
    "CSV header": ("FORMAT csv, HEADER", CopyFormat("csv", 2, b",", b"", header=True), b'"a\n",b,c\n1,2\n'),
    "CSV of other marks": (
        "FORMAT csv, DELIMITER ';', QUOTE '''', ESCAPE '\\', NULL 'none'",
        CopyFormat("csv", 2, b";", b"none", b"'", b"\\"),
        b"'a\\'b;';none\n'none';'\\\\'\n'\\x\\\\\\'';'\\'\\\\\\\\'\n",
    ),
    "CSV NULL that is quoted": ("FORMAT csv, NULL 'n'", CopyFormat("csv", 2, b",", b"n"), b'n,"n"\n'),
}


def found(form: CopyFormat, data: bytes, cuts: list[int]) -> Rows:
    reader = CopyText(form)
    fields: list[bytes] = []
    for start, end in itertools.pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]):
        fields += reader.feed(data[start:end])
    fields += reader.finish()
    values = [None if field == form.null else reader.value(field).decode() for field in fields]
    rows = [tuple(values[at : at + form.columns]) for at in range(0, len(values), form.columns)]
    assert len(rows) == reader.rows
    return rows


@pytest.mark.parametrize("case", STREAMS)
def test_streams_are_read_as_the_server_reads_them(server: Server, case: str) -> None:
    options, form, data = STREAMS[case]
    stored = load(server, options, data)
    assert stored is not None
    for cuts in ([], *([at] for at in range(len(data))), list(range(len(data)))):
        assert found(form, data, cuts) == stored


FORMS = [
    ("", CopyFormat("text", 2)),
    ("NULL 'b'", CopyFormat("text", 2, null=b"b")),
    ("FORMAT csv", CopyFormat("csv", 2, b",", b"")),
    ("FORMAT csv, ESCAPE '\\', NULL 'a'", CopyFormat("csv", 2, b",", b"a", escape=b"\\")),
]


@pytest.fixture(scope="module")
def server(module_database: Database) -> Iterator[Server]:
    with module_database.connect() as connection:
        connection.execute("CREATE TEMP TABLE loaded (a text, b text)")
        yield connection


def load(server: Server, options: str, data: bytes) -> Rows | None:
    """What the server stores; None if it refuses the data."""
    try:
        with server.cursor().copy(f"COPY loaded FROM STDIN {f'({options})' if options else ''}".encode()) as copy:
            copy.write(data)
    except psycopg.Error:
        return None
    stored = server.execute("SELECT a, b FROM loaded").fetchall()
    server.execute("DELETE FROM loaded")
    return stored


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    form=st.sampled_from(FORMS),
    pieces=st.lists(st.sampled_from(['"', "\\", "\n", "\r\n", "\r", "\t", ",", "a", "b", "N", ".", "\\.", "x4"])),
    cuts=st.lists(st.integers(0, 60), max_size=3),
)
def test_what_the_server_takes_is_read_alike_or_refused(
    server: Server, form: tuple[str, CopyFormat], pieces: list[str], cuts: list[int]
) -> None:
    options, how = form
    separator = "\t" if how.kind == "text" else ","
    data = f"a{separator}b\n{''.join(pieces)}{separator}a\n".encode()
    stored = load(server, options, data)
    try:
        read = found(how, data, cuts)
    except UnusualCopyData:
        return
    if stored is not None and len(stored) == len(read):
        assert read == stored
    elif stored is not None:
        assert len(stored) != len(read)


def test_binary_data(server: Server) -> None:
    query = "SELECT i, NULLIF(i % 3, 0), repeat('x', i * 10) FROM generate_series(1, 200) i"
    with server.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT binary)".encode()) as copy:
        data = b"".join(map(bytes, copy))
    for step in (1, 7, 1000, len(data)):
        reader = CopyBinary(3)
        fields = [field for at in range(0, len(data), step) for field in reader.feed(data[at : at + step])]
        assert reader.finish() == []
        assert reader.rows == 200
        assert fields[:6] == [b"\0\0\0\1", b"\0\0\0\1", b"x" * 10, b"\0\0\0\2", b"\0\0\0\2", b"x" * 20]
        assert fields[7] is None
        assert fields[-1] == b"x" * 2000


@pytest.mark.parametrize(
    "data",
    [b"PGCOPX\n\xff\r\n\x00" + bytes(8), b"PGCOPY\n\xff\r\n\x00" + b"\0\1\0\0" + bytes(4)],
    ids=["another signature", "flags"],
)
def test_binary_data_of_another_kind(data: bytes) -> None:
    with pytest.raises(UnusualCopyData):
        CopyBinary(1).feed(data)
