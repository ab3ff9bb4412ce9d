"""Client messages: the parts that the session must read, and those that it sends itself (manual, 55.7)."""

from __future__ import annotations

from struct import Struct, error, unpack_from
from typing import Final, NamedTuple

from proxy.errors import ProtocolViolation

QUERY: Final = ord("Q")
PARSE: Final = ord("P")
BIND: Final = ord("B")
DESCRIBE: Final = ord("D")
EXECUTE: Final = ord("E")
CLOSE: Final = ord("C")
SYNC: Final = ord("S")
FLUSH: Final = ord("H")
TERMINATE: Final = ord("X")
FUNCTION_CALL: Final = ord("F")
COPY_DATA: Final = ord("d")
COPY_DONE: Final = ord("c")
COPY_FAIL: Final = ord("f")
PASSWORD: Final = ord("p")
"""Also SASLInitialResponse, SASLResponse and GSSResponse."""

FLUSH_MESSAGE: Final = b"H\x00\x00\x00\x04"
SYNC_MESSAGE: Final = b"S\x00\x00\x00\x04"
TERMINATE_MESSAGE: Final = b"X\x00\x00\x00\x04"

STATEMENT: Final = b"S"
PORTAL: Final = b"P"

_HEADER = Struct("!BI")
_INT16 = Struct("!H")
_INT32 = Struct("!i")


class Parse(NamedTuple):
    """``types`` is what follows the query as it came: the number of parameter types, and their OIDs."""

    name: bytes
    query: bytes
    types: bytes


class Bind(NamedTuple):
    """The names that a Bind begins with. ``rest`` is the offset in the message of what follows them."""

    portal: bytes
    statement: bytes
    rest: int


class Target(NamedTuple):
    """What a Describe or Close names: ``kind`` is ``S`` (statement) or ``P`` (portal)."""

    kind: bytes
    name: bytes


class Execute(NamedTuple):
    """``limit``: rows at most, 0 for all."""

    portal: bytes
    limit: int


def message(kind: int, body: bytes) -> bytes:
    """A whole message: type byte, length, body."""
    return _HEADER.pack(kind, len(body) + 4) + body


def query(text: bytes) -> bytes:
    return message(QUERY, text + b"\0")


def parse(name: bytes, text: bytes, types: bytes = b"\0\0") -> bytes:
    return message(PARSE, b"%b\0%b\0%b" % (name, text, types))


def bind(portal: bytes, statement: bytes, rest: bytes = b"\0\0\0\0\0\0") -> bytes:
    return message(BIND, b"%b\0%b\0%b" % (portal, statement, rest))


def execute(portal: bytes, limit: int = 0) -> bytes:
    return message(EXECUTE, portal + b"\0" + _INT32.pack(limit))


def describe(kind: bytes, name: bytes) -> bytes:
    return message(DESCRIBE, kind + name + b"\0")


def close(kind: bytes, name: bytes) -> bytes:
    return message(CLOSE, kind + name + b"\0")


def sasl_initial_response(mechanism: bytes, data: bytes) -> bytes:
    return message(PASSWORD, mechanism + b"\0" + _INT32.pack(len(data)) + data)


def sasl_response(data: bytes) -> bytes:
    return message(PASSWORD, data)


def renamed_bind(head: bytes, names: Bind, statement: bytes, length: int) -> bytes:
    """``head`` (the first bytes of a Bind of ``length``, names included) with another statement's name."""
    grown = length + len(statement) - len(names.statement)
    return _HEADER.pack(BIND, grown) + b"%b\0%b\0" % (names.portal, statement) + head[names.rest :]


def bind_without_parameters(whole: bytes, names: Bind, statement: bytes) -> bytes:
    """A whole Bind of another statement, which has no parameters, for a result in the same formats."""
    return bind(names.portal, statement, bytes(4) + whole[_after_parameters(whole, names) :])


def with_result_formats(whole: bytes, more: int) -> bytes:
    """A whole Bind for a result of ``more`` columns than the client knows, or of none that it knows (``more`` 0).

    No format or one holds for all columns; where there is one for each, the others are text.
    """
    offset = _after_parameters(whole, read_bind(whole))
    try:
        (formats,) = _INT16.unpack_from(whole, offset)
    except error as malformed:
        raise ProtocolViolation("invalid message format") from malformed
    if formats <= 1 or len(whole) != offset + 2 + 2 * formats:
        return whole
    kept = whole[offset + 2 :] + bytes(2 * more) if more else b""
    return message(BIND, whole[5:offset] + _INT16.pack(len(kept) // 2) + kept)


def _after_parameters(whole: bytes, names: Bind) -> int:
    """Where the formats of the result begin in a whole Bind."""
    try:
        offset = names.rest + 2 + 2 * _INT16.unpack_from(whole, names.rest)[0]
        (parameters,) = _INT16.unpack_from(whole, offset)
        offset += 2
        for _ in range(parameters):
            offset += 4 + max(int(_INT32.unpack_from(whole, offset)[0]), 0)
    except error as malformed:
        raise ProtocolViolation("invalid message format") from malformed
    return int(offset)


def read_query(whole: bytes) -> bytes:
    """The text of a Query. A NUL inside it would hide the rest of the text from every C parser."""
    if whole.find(b"\0", 5) != len(whole) - 1:
        raise ProtocolViolation("invalid message format")
    return whole[5:-1]


def read_parse(whole: bytes) -> Parse:
    name, after_name = _string(whole, 5)
    text, after_text = _string(whole, after_name)
    types = whole[after_text:]
    if len(types) < 2 or len(types) != 2 + 4 * _INT16.unpack_from(types)[0]:
        raise ProtocolViolation("invalid message format")
    return Parse(name, text, types)


def read_types(types: bytes) -> tuple[int, ...]:
    """The OIDs that a Parse declares, 0 for what is to be inferred."""
    return unpack_from(f"!{(len(types) - 2) // 4}I", types, 2)


def read_bind(head: bytes) -> Bind:
    """Reads the names; ``head`` may be the beginning of a message that has not arrived whole."""
    portal, after_portal = _string(head, 5)
    statement, rest = _string(head, after_portal)
    return Bind(portal, statement, rest)


def read_parameters(whole: bytes, names: Bind) -> list[tuple[int, bytes | None]]:
    """The format (0 text, 1 binary) and the value of each parameter of a Bind. Raises ProtocolViolation."""
    try:
        count = _INT16.unpack_from(whole, names.rest)[0]
        formats = unpack_from(f"!{count}H", whole, names.rest + 2)
        offset = names.rest + 2 + 2 * count
        values: list[bytes | None] = []
        for _ in range(_INT16.unpack_from(whole, offset)[0]):
            (size,) = _INT32.unpack_from(whole, offset + 2)
            offset += 4
            values.append(None if size < 0 else whole[offset + 2 : offset + 2 + size])
            offset += max(size, 0)
    except error as malformed:
        raise ProtocolViolation("invalid message format") from malformed
    if count > 1:
        return list(zip(formats, values, strict=False))
    return [(formats[0] if count else 0, value) for value in values]


def read_target(whole: bytes) -> Target:
    """The body of a Describe or Close."""
    kind = whole[5:6]
    name, end = _string(whole, 6)
    if kind not in (STATEMENT, PORTAL) or end != len(whole):
        raise ProtocolViolation("invalid message format")
    return Target(kind, name)


def read_execute(whole: bytes) -> Execute:
    portal, end = _string(whole, 5)
    if len(whole) - end != 4:
        raise ProtocolViolation("invalid message format")
    return Execute(portal, _INT32.unpack_from(whole, end)[0])


def read_password(whole: bytes) -> bytes:
    """The password of a PasswordMessage."""
    password, end = _string(whole, 5)
    if end != len(whole):
        raise ProtocolViolation("invalid password packet size")
    return password


def require_empty(whole: bytes) -> None:
    """Sync, Flush, Terminate and CopyDone have no body."""
    if len(whole) != 5:
        raise ProtocolViolation("invalid message format")


def _string(whole: bytes, start: int) -> tuple[bytes, int]:
    end = whole.find(b"\0", start)
    if end < 0:
        raise ProtocolViolation("invalid string in message")
    return whole[start:end], end + 1
