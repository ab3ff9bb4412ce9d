"""Upstream messages: the parts that the session must read, and those that it sends itself (manual, 55.7, 55.8)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct, error, unpack_from
from typing import Final

from proxy.errors import ProtocolViolation

AUTHENTICATION: Final = ord("R")
BACKEND_KEY_DATA: Final = ord("K")
NEGOTIATE_PROTOCOL_VERSION: Final = ord("v")
PARAMETER_STATUS: Final = ord("S")
READY_FOR_QUERY: Final = ord("Z")
PARSE_COMPLETE: Final = ord("1")
BIND_COMPLETE: Final = ord("2")
CLOSE_COMPLETE: Final = ord("3")
COMMAND_COMPLETE: Final = ord("C")
EMPTY_QUERY_RESPONSE: Final = ord("I")
PORTAL_SUSPENDED: Final = ord("s")
ROW_DESCRIPTION: Final = ord("T")
PARAMETER_DESCRIPTION: Final = ord("t")
NO_DATA: Final = ord("n")
DATA_ROW: Final = ord("D")
COPY_IN_RESPONSE: Final = ord("G")
COPY_OUT_RESPONSE: Final = ord("H")
COPY_BOTH_RESPONSE: Final = ord("W")
COPY_DATA: Final = ord("d")
COPY_DONE: Final = ord("c")
ERROR_RESPONSE: Final = ord("E")
NOTICE_RESPONSE: Final = ord("N")
NOTIFICATION_RESPONSE: Final = ord("A")
FUNCTION_CALL_RESPONSE: Final = ord("V")

AUTHENTICATION_OK: Final = 0
AUTHENTICATION_CLEARTEXT_PASSWORD: Final = 3
AUTHENTICATION_SASL: Final = 10
AUTHENTICATION_SASL_CONTINUE: Final = 11
AUTHENTICATION_SASL_FINAL: Final = 12

IDLE: Final = ord("I")
IN_TRANSACTION: Final = ord("T")
FAILED_TRANSACTION: Final = ord("E")

_HEADER = Struct("!BI")
_INT16 = Struct("!H")
_INT32 = Struct("!i")
_ORIGIN = Struct("!Ih")
_COLUMN_BYTES: Final = 18
"""Of a column in a RowDescription, behind its name: table OID, attribute number, type OID, size, modifier, format."""
_REMEMBERED_BYTES: Final = 4096

Fields = dict[str, str]
"""The fields of an ErrorResponse or NoticeResponse by their code (manual, 55.8): ``S`` severity, ``C`` SQLSTATE, …"""


def message(kind: int, body: bytes) -> bytes:
    """A whole message: type byte, length, body."""
    return _HEADER.pack(kind, len(body) + 4) + body


def error_response(fields: Mapping[str, str]) -> bytes:
    return message(ERROR_RESPONSE, _fields(fields))


def notice_response(fields: Mapping[str, str]) -> bytes:
    return message(NOTICE_RESPONSE, _fields(fields))


def fatal(sqlstate: str, text: str, detail: str = "", hint: str = "") -> bytes:
    """The ErrorResponse that ends a session."""
    return error_response({"S": "FATAL", "V": "FATAL", "C": sqlstate, "M": text, "D": detail, "H": hint})


def _fields(fields: Mapping[str, str]) -> bytes:
    parts = [f"{code}{value}".replace("\0", "").encode() + b"\0" for code, value in fields.items() if value]
    return b"".join(parts) + b"\0"


def read_fields(whole: bytes) -> Fields:
    """The fields of an ErrorResponse or NoticeResponse. What is not UTF-8 (errors before login may be) is replaced."""
    fields: Fields = {}
    for part in whole[5:].split(b"\0"):
        if part:
            fields[chr(part[0])] = part[1:].decode("utf-8", "replace")
    return fields


def read_tag(whole: bytes) -> bytes:
    """The command tag of a CommandComplete: ``SELECT 5``."""
    return whole[5:-1]


def tag_rows(tag: bytes) -> int | None:
    """The number of rows in a command tag; None where this command has none."""
    count = tag.rpartition(b" ")[2]
    return int(count) if count.isdigit() else None


def read_parameter(whole: bytes) -> tuple[str, str]:
    """Name and value of a ParameterStatus."""
    parts = whole[5:].split(b"\0")
    if len(parts) != 3:
        raise ProtocolViolation("malformed ParameterStatus from the upstream")
    return parts[0].decode("utf-8", "replace"), parts[1].decode("utf-8", "replace")


def read_channel(whole: bytes) -> str:
    """The channel of a NotificationResponse, which begins with the number of the process that notified."""
    return whole[9:].partition(b"\0")[0].decode("utf-8", "replace")


def read_authentication(whole: bytes) -> int:
    """The code that says which Authentication message this is."""
    if len(whole) < 9:
        raise ProtocolViolation("malformed Authentication message from the upstream")
    code: int = _INT32.unpack_from(whole, 5)[0]
    return code


def authentication(code: int) -> bytes:
    """An Authentication message without anything but its code."""
    return message(AUTHENTICATION, _INT32.pack(code))


def read_mechanisms(whole: bytes) -> list[bytes]:
    """The names that an AuthenticationSASL offers."""
    return [name for name in whole[9:].split(b"\0") if name]


def read_sasl(whole: bytes) -> bytes:
    """What an AuthenticationSASLContinue or AuthenticationSASLFinal carries."""
    return whole[9:]


def without_channel_binding(whole: bytes) -> bytes:
    """AuthenticationSASL without the mechanisms that bind to a TLS channel: two legs are two channels (RFC 5802, 6)."""
    offered = read_mechanisms(whole)
    kept = [name for name in offered if not name.endswith(b"-PLUS")]
    if kept == offered:
        return whole
    return message(AUTHENTICATION, whole[5:9] + b"".join(name + b"\0" for name in kept) + b"\0")


def read_origins(whole: bytes) -> frozenset[tuple[int, int]]:
    """Where the columns of a RowDescription come from: OID of the table and number of the column, of each that comes
    from one."""
    return _read_short_origins(whole) if len(whole) <= _REMEMBERED_BYTES else _read_origins(whole)


def _read_origins(whole: bytes) -> frozenset[tuple[int, int]]:
    origins: set[tuple[int, int]] = set()
    offset = 7
    try:
        for _ in range(_INT16.unpack_from(whole, 5)[0]):
            offset = whole.index(0, offset) + 1
            table, number = _ORIGIN.unpack_from(whole, offset)
            offset += _COLUMN_BYTES
            if table:
                origins.add((table, number))
    except (error, ValueError) as malformed:
        raise ProtocolViolation("malformed RowDescription from the upstream") from malformed
    if offset != len(whole):
        raise ProtocolViolation("malformed RowDescription from the upstream")
    return frozenset(origins)


_read_short_origins = lru_cache(maxsize=4096)(_read_origins)


def read_types(whole: bytes) -> tuple[int, ...]:
    """The OIDs of a ParameterDescription.

    PostgreSQL prepares texts of any number of parameters, and of the count sends the low 16 bits (postgres.c,
    exec_describe_statement_message).
    """
    count, rest = divmod(len(whole) - 7, 4)
    if rest or _INT16.unpack_from(whole, 5)[0] != count & 0xFFFF:
        raise ProtocolViolation("malformed ParameterDescription from the upstream")
    return unpack_from(f"!{count}I", whole, 7)


def without_last_column(whole: bytes) -> bytes:
    """A RowDescription of one column less."""
    count = _INT16.unpack_from(whole, 5)[0]
    offset = 7
    try:
        for _ in range(count - 1):
            offset = whole.index(0, offset) + 1 + _COLUMN_BYTES
    except ValueError as malformed:
        raise ProtocolViolation("malformed RowDescription from the upstream") from malformed
    return message(ROW_DESCRIPTION, _INT16.pack(count - 1) + whole[7:offset])


def read_columns(whole: bytes) -> list[tuple[str, int]]:
    """Name and type OID of each column of a RowDescription."""
    columns: list[tuple[str, int]] = []
    offset = 7
    try:
        for _ in range(_INT16.unpack_from(whole, 5)[0]):
            end = whole.index(0, offset)
            columns.append((whole[offset:end].decode(), _INT32.unpack_from(whole, end + 7)[0]))
            offset = end + 1 + _COLUMN_BYTES
    except (error, ValueError) as malformed:
        raise ProtocolViolation("malformed RowDescription from the upstream") from malformed
    return columns


def read_row(whole: bytes) -> list[bytes | None]:
    """The columns of a DataRow."""
    values: list[bytes | None] = []
    offset = 7
    try:
        for _ in range(_INT16.unpack_from(whole, 5)[0]):
            length = _INT32.unpack_from(whole, offset)[0]
            offset += 4
            values.append(None if length < 0 else whole[offset : offset + length])
            offset += max(length, 0)
    except error as malformed:
        raise ProtocolViolation("malformed DataRow from the upstream") from malformed
    return values
