"""A client that speaks protocol 3 by hand: it says exactly what it is told, and shows exactly what came back."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from proxy.wire import backend, frontend, startup

SECONDS = 20.0


def pipeline(*statements: str | bytes) -> bytes:
    """Parse, Bind, Describe, Execute of each statement, and one Sync: what drivers send."""
    return b"".join(map(extended, statements)) + frontend.SYNC_MESSAGE


def extended(statement: str | bytes) -> bytes:
    text = statement if isinstance(statement, bytes) else statement.encode()
    return (
        frontend.parse(b"", text)
        + frontend.bind(b"", b"")
        + frontend.describe(frontend.PORTAL, b"")
        + frontend.execute(b"")
    )


def simple(statement: str) -> bytes:
    return frontend.query(statement.encode())


def shown(kind: int, whole: bytes) -> str:
    """One upstream message as a line."""
    letter = chr(kind)
    if kind in (backend.ERROR_RESPONSE, backend.NOTICE_RESPONSE):
        fields = backend.read_fields(whole)
        return f"{letter} {fields.get('V')} {fields.get('C')} {fields.get('M')}"
    if kind == backend.COMMAND_COMPLETE:
        return f"{letter} {backend.read_tag(whole).decode()}"
    if kind == backend.READY_FOR_QUERY:
        return f"{letter} {chr(whole[5])}"
    if kind == backend.DATA_ROW:
        return f"{letter} {'|'.join('NULL' if v is None else v.decode() for v in backend.read_row(whole))}"
    if kind == backend.PARAMETER_STATUS:
        return f"{letter} {'='.join(backend.read_parameter(whole))}"
    return letter


class RawClient:
    """A logged-in connection. ``greeting`` is what came before it was ready, ``key`` what a CancelRequest says."""

    def __init__(self, host: str, port: int, database: str, user: str = "postgres", **parameters: str) -> None:
        self.socket = socket.create_connection((host, port), timeout=SECONDS)
        self.key = self._buffer = b""
        names = {"user": user, "database": database, **{k.replace("__", "."): v for k, v in parameters.items()}}
        self.send(startup.startup_message(names))
        self.greeting = self.read_until_ready()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, data: bytes, ready: int = 1) -> list[str]:
        """Sends ``data``; returns what comes back up to the ``ready``-th ReadyForQuery."""
        self.send(data)
        return [line for _ in range(ready) for line in self.read_until_ready()]

    def query(self, statement: str) -> list[str]:
        return self.ask(simple(statement))

    def read_until_ready(self) -> list[str]:
        """Also returns at the end of the stream, which shows as ``closed``."""
        lines: list[str] = []
        while not lines or not lines[-1].startswith(("Z", "closed")):
            lines.append(self.read())
        return lines

    def read_lines(self, count: int) -> list[str]:
        return [self.read() for _ in range(count)]

    def read(self) -> str:
        kind, whole = self.read_message()
        return shown(kind, whole) if kind else "closed"

    def read_message(self) -> tuple[int, bytes]:
        header = self._take(5)
        if len(header) < 5:
            return 0, b""
        body = self._take(int.from_bytes(header[1:], "big") - 4)
        if header[0] == backend.BACKEND_KEY_DATA:
            self.key = body
        return header[0], header + body

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                return b""
            self._buffer += data
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


def without_rows(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if line[0] not in "TDn"]
