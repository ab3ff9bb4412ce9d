"""A client that speaks protocol 3 by hand and keeps every byte that comes back, for comparing two conversations.

Written apart from the product's own reading of the protocol, so that both would have to err in the same way.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

SECONDS = 10.0
TEXT, BINARY = 0, 1

Message = tuple[str, bytes]
"""The type of a backend message and its body."""

_ERRORS = ("E", "N")
_AUDIT_EVENT = re.compile(rb"\s*audit event [^\x00\n]*")
# Source file, line and routine of the server (protocol section 55.8).
# Detail and context may quote stored values.
_SCRUBBED = re.compile(rb"(?<=\x00)[DW][^\x00]*\x00")
# What VACUUM and ANALYZE say of time and of the machine.
_EFFORT = re.compile(
    rb"(avg read rate|system usage|buffer usage|WAL usage|I/O timings|delay time|memory usage):[^\n\x00]*"
)
_TEMPORARY = re.compile(rb"pg_temp_[0-9]+")
_SOURCE = re.compile(rb"(?<=\x00)[FLR][^\x00]*\x00")


class Closed(ConnectionError):
    """The other side closed the connection. ``messages`` came before."""

    def __init__(self, messages: list[Message]) -> None:
        super().__init__("the connection was closed")
        self.messages = messages


def message(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return kind + struct.pack("!i", len(body) + 4) + body


def text(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape") + b"\0"


def query(sql: str) -> bytes:
    return message(b"Q", text(sql))


def parse(name: str, sql: str, types: Sequence[int] = ()) -> bytes:
    return message(b"P", text(name), text(sql), struct.pack("!h", len(types)), *(struct.pack("!I", t) for t in types))


def bind(portal: str, statement: str, parameters: Sequence[str | bytes | None] = (), results: int = TEXT) -> bytes:
    """``parameters`` that are bytes are sent in binary format."""
    formats = [BINARY if isinstance(value, bytes) else TEXT for value in parameters]
    values = [value.encode() if isinstance(value, str) else value for value in parameters]
    return message(
        b"B",
        text(portal),
        text(statement),
        struct.pack(f"!h{len(formats)}h", len(formats), *formats),
        struct.pack("!h", len(values)),
        *(b"\xff\xff\xff\xff" if value is None else struct.pack("!i", len(value)) + value for value in values),
        struct.pack("!hh", 1, results),
    )


def describe(kind: str, name: str) -> bytes:
    return message(b"D", kind.encode(), text(name))


def execute(portal: str, rows: int = 0) -> bytes:
    return message(b"E", text(portal), struct.pack("!i", rows))


def close(kind: str, name: str) -> bytes:
    return message(b"C", kind.encode(), text(name))


FLUSH = message(b"H")
SYNC = message(b"S")


def extended(sql: str, results: int = TEXT) -> bytes:
    """What a driver sends for a statement without parameters."""
    return parse("", sql) + bind("", "", (), results) + describe("P", "") + execute("") + SYNC


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything that came back for what was sent, up to ReadyForQuery. Equal answers cannot be told apart.

    The number of the audit event and the place in the server's source are left out: neither tells of data.
    """

    messages: tuple[Message, ...]

    @property
    def error(self) -> dict[str, str] | None:
        """The fields of the first ErrorResponse by their letters."""
        return next((fields(body) for kind, body in self.messages if kind == "E"), None)

    @property
    def refused(self) -> bool:
        """consentry, and not the server, has said no."""
        return self.error is not None and self.error.get("M", "").startswith("consentry:")

    @property
    def rows(self) -> list[bytes]:
        return [body for kind, body in self.messages if kind == "D"]

    def unordered(self) -> Answer:
        """With its rows sorted: for statements that leave their order open."""
        rows = iter(sorted(self.rows))
        return Answer(tuple((kind, next(rows)) if kind == "D" else (kind, body) for kind, body in self.messages))

    def comparable(self) -> Answer:
        """Without what secured relations lack: the origin of columns, and what errors say of values and of places."""
        return Answer(tuple((kind, _comparable(kind, body)) for kind, body in self.messages))

    def values(self) -> list[list[str | None]]:
        """Of all rows, as text."""
        return [
            [None if value is None else value.decode("utf-8", "replace") for value in row(body)] for body in self.rows
        ]

    def shown(self) -> str:
        """For people who look at a difference."""
        lines = []
        for kind, body in self.messages:
            if kind == "D":
                lines.append(
                    "D " + " | ".join("NULL" if v is None else v.decode("utf-8", "backslashreplace") for v in row(body))
                )
            elif kind in _ERRORS:
                lines.append(f"{kind} {fields(body)}")
            elif kind not in "123nZts":
                lines.append(f"{kind} {body!r}")
        return "\n".join(lines)


def _comparable(kind: str, body: bytes) -> bytes:
    if kind == "T":
        return _with_origin(body, lambda *_: (0, 0))
    return _SCRUBBED.sub(b"", b"\0" + body)[1:] if kind in _ERRORS else body


def _with_origin(description: bytes, change: Callable[[int, int], tuple[int, int]]) -> bytes:
    """A RowDescription whose columns come from what ``change`` makes of their table's OID and attribute number."""
    parts, at = [description[:2]], 2
    while at < len(description):
        end = description.index(0, at) + 1
        origin = struct.pack("!IH", *change(*struct.unpack_from("!IH", description, end)))
        parts += [description[at:end], origin, description[end + 6 : end + 18]]
        at = end + 18
    return b"".join(parts)


def _with_types(description: bytes, change: Callable[[int], int]) -> bytes:
    """A RowDescription with what ``change`` makes of the OIDs of its types."""
    changed, at = bytearray(description), 2
    while at < len(description):
        at = description.index(0, at) + 19
        struct.pack_into("!I", changed, at - 12, change(*struct.unpack_from("!I", changed, at - 12)))
    return bytes(changed)


def fields(body: bytes) -> dict[str, str]:
    return {part[:1].decode(): part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}


def row(body: bytes) -> list[bytes | None]:
    values: list[bytes | None] = []
    at = 2
    for _ in range(struct.unpack_from("!h", body)[0]):
        (size,) = struct.unpack_from("!i", body, at)
        at += 4
        values.append(None if size < 0 else body[at : at + size])
        at += max(size, 0)
    return values


class Connection:
    """Logged in, and ready for queries."""

    def __init__(
        self, port: int, database: str, user: str, parameters: Mapping[str, str], newest: int = 0xFFFFFFFF
    ) -> None:
        """``newest``: OIDs above it belong to what the conversations make themselves, and are left out."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._database = database.encode()
        self._newest = newest
        given = {"user": user, "database": database, "client_encoding": "UTF8", **parameters}
        body = struct.pack("!i", 196608) + b"".join(text(k) + text(v) for k, v in given.items()) + b"\0"
        self._socket.sendall(struct.pack("!i", len(body) + 4) + body)
        self.greeting = self._receive(1)

    def ask(self, data: bytes, ready: int = 1, rows: bytes | None = None, *, prompted: bool = True) -> Answer:
        """Sends ``data`` and reads up to the ``ready``-th ReadyForQuery. Raises Closed.

        ``rows`` are copied in where the server asks for some; without them it is told that there are none. Nothing
        is where it is not ``prompted``: ``data`` says all.
        """
        self.send(data)
        if not prompted:
            return self._receive(ready)
        copied = message(b"f", text("nothing to copy")) if rows is None else message(b"d", rows) + message(b"c")
        # A Sync that comes while the server waits for rows is lost on it (protocol section 54.2.6).
        return self._receive(ready, copied + (SYNC if data.endswith(SYNC) else b""))

    def send(self, data: bytes) -> None:
        """For what is answered later; see :meth:`answer`."""
        self._socket.sendall(data)

    def answer(self) -> Answer:
        """What comes up to the next ReadyForQuery."""
        return self._receive(1)

    def query(self, sql: str) -> Answer:
        return self.ask(query(sql))

    def close(self) -> None:
        self._socket.close()

    @property
    def patience(self) -> float | None:
        """Seconds without a byte after which TimeoutError is raised."""
        return self._socket.gettimeout()

    @patience.setter
    def patience(self, seconds: float) -> None:
        self._socket.settimeout(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self, ready: int, copied: bytes = b"") -> Answer:
        messages: list[Message] = []
        while ready:
            kind, body = self._message(messages)
            if kind == "G" and copied:
                self._socket.sendall(copied)
            elif kind == "Z":
                ready -= 1
            elif kind in ("S", "K", "R"):
                continue
            elif kind in _ERRORS:
                body = self._blurred(body)
            elif kind == "T":
                body = _with_origin(body, lambda oid, number: (0, 0) if oid > self._newest else (oid, number))
                body = _with_types(body, lambda oid: 0 if oid > self._newest else oid)
            messages.append((kind, body))
        return Answer(tuple(messages))

    def _blurred(self, body: bytes) -> bytes:
        body = _EFFORT.sub(b"", _AUDIT_EVENT.sub(b"", body)).replace(self._database, b"database")
        body = _TEMPORARY.sub(b"pg_temp_0", body).replace(b"\0D\0", b"\0")
        return _SOURCE.sub(b"", b"\0" + body)[1:]

    def _message(self, before: list[Message]) -> Message:
        self._fill(5, before)
        (size,) = struct.unpack_from("!i", self._buffer, 1)
        self._fill(size + 1, before)
        kind, body = chr(self._buffer[0]), bytes(self._buffer[5 : size + 1])
        del self._buffer[: size + 1]
        return kind, body

    def _fill(self, size: int, before: list[Message]) -> None:
        while len(self._buffer) < size:
            try:
                data = self._socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed(before)
            self._buffer += data
