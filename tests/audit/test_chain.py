"""The chain shows any change of a line, and what a crash leaves of the last one is no crime."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit.chain import Damaged, Head, head_of, seal, unseal, verify

KEY = b"chain key"


@lru_cache
def written(count: int, key: bytes | None = None) -> tuple[bytes, ...]:
    lines = []
    head = Head()
    for number in range(count):
        line, head = seal(f'"event":"result","rows":{number}', "c0ffee", head, key)
        lines.append(line)
    return tuple(lines)


def codes(lines: list[bytes], key: bytes | None = None) -> list[str]:
    return [finding.code for finding in verify(lines, key)]


def test_a_line_is_one_json_object_that_ends_with_its_seal() -> None:
    first, second = written(2)
    assert first.endswith(b"}\n")
    assert list(json.loads(first)) == ["event", "rows", "chain", "seq", "prev", "hash"]
    assert json.loads(first)["prev"] == "0" * 64
    assert json.loads(second)["prev"] == json.loads(first)["hash"]
    assert [json.loads(line)["seq"] for line in (first, second)] == [1, 2]


def test_anybody_can_recompute_a_hash_from_the_bytes_of_the_line() -> None:
    (line,) = written(1)
    body, own = line.rstrip(b"}\n").rsplit(b',"hash":', 1)
    assert hashlib.sha256(body + b"}").hexdigest() == own.decode().strip('"')


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_what_was_written_verifies(count: int, key: bytes | None) -> None:
    assert codes(list(written(count, key)), key) == []


def test_another_key_verifies_nothing() -> None:
    assert set(codes(list(written(3, KEY)), b"another")) == {"damaged-line"}
    assert set(codes(list(written(3, KEY)))) == {"damaged-line"}
    assert set(codes(list(written(3)), KEY)) == {"damaged-line"}


def test_a_torn_last_line_is_a_warning_and_nothing_else() -> None:
    *whole, last = written(4)
    for cut in range(1, len(last)):
        (finding,) = verify([*whole, last[:cut]])
        assert (finding.line, finding.severity, finding.code) == (4, "warning", "torn-line")


def test_another_process_goes_on_with_a_chain_of_its_own() -> None:
    lines = written(3)
    after, _ = seal('"event":"start"', "beef", head_of(lines[-1][:-1], None), None)
    assert codes([*lines, after]) == []
    assert codes([*lines[:-1], after]) == ["broken-chain"]


A, B, C, D = written(4)
REHASHED, _ = seal('"rows":9', "c0ffee", head_of(A[:-1], None), None)

TAMPERED = {
    "first line gone": ([B, C, D], ["broken-chain"]),
    "line gone": ([A, C, D], ["broken-chain"]),
    "line twice": ([A, B, B, C, D], ["broken-chain"]),
    "lines swapped": ([A, C, B, D], ["broken-chain"] * 3),
    "line edited": ([A, B.replace(b'"rows":1', b'"rows":2'), C, D], ["damaged-line"]),
    "line edited and hashed again": ([A, REHASHED, C, D], ["broken-chain"]),
    "spaces in a line": ([A, B.replace(b'"rows":', b'"rows": '), C, D], ["damaged-line"]),
    "empty line": ([A, b"\n", B, C, D], ["damaged-line"]),
    "line that is no object": ([A, b"17\n", B, C, D], ["damaged-line"]),
    "line of somebody else": ([A, b'{"msg":"hello"}\n', B, C, D], ["damaged-line"]),
    "torn line in the middle": ([A, B[:20] + C, D], ["damaged-line"]),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_tampering_is_found(what: str) -> None:
    lines, expected = TAMPERED[what]
    assert codes(lines) == expected


@given(data=st.data(), key=st.sampled_from([None, KEY]))
def test_any_changed_byte_is_found(data: st.DataObject, key: bytes | None) -> None:
    text = bytearray(b"".join(written(5, key)))
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != text[at]))
    findings = list(verify(split(bytes(text)), key))
    assert findings
    if at != len(text) - 1:  # without its newline the last line is a torn one
        assert findings[0].severity == "error"


@given(data=st.data(), key=st.sampled_from([None, KEY]))
def test_any_deletion_insertion_and_move_is_found(data: st.DataObject, key: bytes | None) -> None:
    lines = list(written(9, key))
    first, last = sorted(data.draw(st.lists(st.integers(0, 8), min_size=2, max_size=2, unique=True)))
    kind = data.draw(st.sampled_from(["delete", "insert", "swap"]))
    if kind == "delete":
        del lines[first:last]
    elif kind == "insert":
        lines.insert(first, lines[last])
    else:
        lines[first], lines[last] = lines[last], lines[first]
    assert any(finding.severity == "error" for finding in verify(lines, key))


def split(text: bytes) -> list[bytes]:
    """Lines as a file opened in binary mode gives them: only a newline ends one."""
    *whole, rest = text.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])


@given(st.text(st.characters()))
def test_whatever_names_a_client_gives_itself_the_line_stays_one_line_and_verifies(name: str) -> None:
    line, _ = seal(f'"application":{json.dumps(name, ensure_ascii=False)}', "c0ffee", Head(), None)
    assert line.count(b"\n") == 1
    assert unseal(line[:-1], None)["application"] == name


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"null", b"{}", b'{"seq":1,"prev":"","hash":7}', b"\xff"])
def test_a_damaged_last_line_is_no_head(line: bytes) -> None:
    with pytest.raises(Damaged):
        head_of(line, None)
