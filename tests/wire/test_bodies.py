"""Bodies of client and upstream messages, read and built."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ProtocolViolation
from proxy.wire import backend, frontend, startup

name = st.binary(max_size=70).map(lambda raw: raw.replace(b"\0", b""))

MALFORMED: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "a Query with a NUL inside": (frontend.read_query, frontend.query(b"SELECT 1\0; SELECT 2")),
    "a Query without an end": (frontend.read_query, frontend.message(frontend.QUERY, b"SELECT 1")),
    "a Query without a body": (frontend.read_query, frontend.message(frontend.QUERY, b"")),
    "a Parse with fewer types than it says": (frontend.read_parse, frontend.parse(b"", b"SELECT 1", b"\0\1")),
    "a Parse with more": (frontend.read_parse, frontend.parse(b"", b"SELECT 1", b"\0\0\0\0\0\1")),
    "a Parse without types": (frontend.read_parse, frontend.parse(b"", b"SELECT 1", b"")),
    "a Parse with a NUL inside": (frontend.read_parse, frontend.parse(b"", b"SELECT 1\0SELECT 2")),
    "a Bind with one name": (frontend.read_bind, frontend.message(frontend.BIND, b"portal\0")),
    "a Describe of nothing": (frontend.read_target, frontend.message(frontend.DESCRIBE, b"")),
    "a Describe of something else": (frontend.read_target, frontend.describe(b"X", b"name")),
    "a Close with more behind": (frontend.read_target, frontend.message(frontend.CLOSE, b"Sname\0more")),
    "an Execute without a limit": (frontend.read_execute, frontend.message(frontend.EXECUTE, b"name\0")),
    "a Sync with a body": (frontend.require_empty, frontend.message(frontend.SYNC, b"x")),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(case: str) -> None:
    read, whole = MALFORMED[case]
    with pytest.raises(ProtocolViolation):
        read(whole)


columns = st.lists(st.tuples(name.filter(bool), st.integers(0, 2**32 - 1), st.integers(-32768, 32767)), max_size=8)


@given(columns)
def test_origins_are_those_of_the_columns_that_come_from_a_table(columns: list[tuple[bytes, int, int]]) -> None:
    body = len(columns).to_bytes(2, "big")
    for column, table, number in columns:
        place = table.to_bytes(4, "big") + number.to_bytes(2, "big", signed=True)
        body += column + b"\0" + place + bytes(12)
    whole = backend.message(backend.ROW_DESCRIPTION, body)
    assert backend.read_origins(whole) == {(table, number) for _, table, number in columns if table}
    if columns:
        for malformed in (body[:-1], body + b"\0"):
            with pytest.raises(ProtocolViolation):
                backend.read_origins(backend.message(backend.ROW_DESCRIPTION, malformed))


@pytest.mark.parametrize("count", [0, 1, 65535, 65536, 65537])
def test_types_of_parameters(count: int) -> None:
    """PostgreSQL prepares more parameters than can be counted in 16 bits, and sends what is left of the count."""
    body = (count % 65536).to_bytes(2, "big") + b"\0\0\0\x17" * count
    assert backend.read_types(backend.message(backend.PARAMETER_DESCRIPTION, body)) == (23,) * count
    for malformed in (body + b"\0", body + b"\0\0\0\x17", body[:-1]):
        with pytest.raises(ProtocolViolation):
            backend.read_types(backend.message(backend.PARAMETER_DESCRIPTION, malformed))


@given(portal=name, statement=name, other=name, rest=st.binary(max_size=50))
def test_a_bind_keeps_all_but_the_statements_name(portal: bytes, statement: bytes, other: bytes, rest: bytes) -> None:
    whole = frontend.bind(portal, statement, rest)
    names = frontend.read_bind(whole)
    assert names[:2] == (portal, statement)
    assert frontend.renamed_bind(whole, names, other, len(whole) - 1) == frontend.bind(portal, other, rest)


@given(statement=name, text=name, types=st.lists(st.integers(0, 2**32 - 1), max_size=5))
def test_a_parse_is_read_as_it_was_built(statement: bytes, text: bytes, types: list[int]) -> None:
    declared = len(types).to_bytes(2, "big") + b"".join(oid.to_bytes(4, "big") for oid in types)
    assert frontend.read_parse(frontend.parse(statement, text, declared)) == (statement, text, declared)


TAGS = {b"SELECT 5": 5, b"INSERT 0 3": 3, b"COPY 7": 7, b"CREATE TABLE": None, b"": None, b"MERGE 0": 0}


@pytest.mark.parametrize("tag", TAGS)
def test_rows_of_a_command_tag(tag: bytes) -> None:
    assert backend.tag_rows(tag) == TAGS[tag]


def test_fields_of_an_error() -> None:
    fields = {"S": "FEHLER", "V": "ERROR", "C": "42P01", "M": "Tabelle »x« fehlt", "P": "15"}
    assert backend.read_fields(backend.error_response({**fields, "D": ""})) == fields


def test_channel_binding_is_not_offered() -> None:
    def offer(*names: bytes) -> bytes:
        body = b"\0\0\0\x0a" + b"".join(name + b"\0" for name in names) + b"\0"
        return backend.message(backend.AUTHENTICATION, body)

    both = offer(b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256")
    assert backend.without_channel_binding(both) == offer(b"SCRAM-SHA-256")
    assert backend.without_channel_binding(offer(b"SCRAM-SHA-256")) == offer(b"SCRAM-SHA-256")


STARTUPS = {
    "one parameter": (b"user\0me\0\0", {"user": "me"}),
    "an empty value": (b"user\0me\0options\0\0\0", {"user": "me", "options": ""}),
    "no terminator": (b"user\0me\0", None),
    "a name without a value": (b"user\0\0", None),
    "a name twice": (b"user\0me\0user\0you\0\0", None),
    "a setting twice in another case": (b"search_path\0a\0Search_Path\0b\0\0", None),
    "not UTF-8": (b"user\0\xff\0\0", None),
    "nothing": (b"", None),
}


@pytest.mark.parametrize("case", STARTUPS)
def test_startup_parameters(case: str) -> None:
    body, expected = STARTUPS[case]
    whole = (len(body) + 8).to_bytes(4, "big") + b"\0\3\0\0" + body
    packet = startup.next_packet(whole)
    assert packet is not None and packet.version == (3, 0)
    if expected is None:
        with pytest.raises(ProtocolViolation):
            startup.read_parameters(packet)
    else:
        assert startup.read_parameters(packet) == expected


@pytest.mark.parametrize("length", [0, 7, 10_005, 2**31])
def test_a_startup_packet_of_impossible_length(length: int) -> None:
    with pytest.raises(ProtocolViolation):
        startup.next_packet(length.to_bytes(4, "big") + b"\0\3\0\0")


@pytest.mark.parametrize(
    ("formats", "more", "sent"),
    [
        ([], 1, []),
        ([1], 1, [1]),
        ([1, 1], 1, [1, 1, 0]),
        ([0, 1, 1], 1, [0, 1, 1, 0]),
        ([], 0, []),
        ([1], 0, [1]),
        ([1, 1], 0, []),
    ],
)
def test_result_formats_for_columns_that_the_client_does_not_know(
    formats: list[int], more: int, sent: list[int]
) -> None:
    def bind(results: list[int]) -> bytes:
        numbers = (len(results), *results)
        parameters = b"\0\1\0\1" + b"\0\3" + b"\0\0\0\2ab" + b"\xff\xff\xff\xff" + bytes(4)
        return frontend.bind(b"p", b"s", parameters + b"".join(number.to_bytes(2, "big") for number in numbers))

    assert frontend.with_result_formats(bind(formats), more) == bind(sent)
    with pytest.raises(ProtocolViolation):
        frontend.with_result_formats(frontend.bind(b"p", b"s", b"\0\0\0\1"), more)
