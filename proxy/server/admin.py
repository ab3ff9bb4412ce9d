"""The admin address: HTTP/1.1, GET and HEAD of a few pages, a connection each. Not for the open network."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from proxy.server.options import Address

SECONDS: Final = 10.0
"""How long one request may take, from its first byte to the last of its answer."""

MAX_HEAD: Final = 8 * 1024
MAX_AT_ONCE: Final = 32

_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}
_HEADERS: Final = (
    "Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
)


@dataclass(frozen=True, slots=True)
class Page:
    """An answer. ``kind`` is its media type."""

    body: str
    kind: str = "text/plain; charset=utf-8"
    status: int = 200


class AdminServer:
    """Answers requests for the paths of ``pages``."""

    def __init__(self, address: Address, pages: Mapping[str, Callable[[], Awaitable[Page]]]) -> None:
        self._address = address
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._busy = 0

    async def start(self) -> Address:
        """Listens, and says where. Raises OSError."""
        if self._address.path:
            self._server = await asyncio.start_unix_server(self._serve, self._address.path, limit=MAX_HEAD)
            return self._address
        host = self._address.host or None
        self._server = await asyncio.start_server(self._serve, host, self._address.port, limit=MAX_HEAD)
        return Address(self._address.host, self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._busy += 1
        try:
            if self._busy <= MAX_AT_ONCE:
                with contextlib.suppress(TimeoutError, ConnectionError):
                    async with asyncio.timeout(SECONDS):
                        writer.write(await self._answer(reader))
                        await writer.drain()
        finally:
            self._busy -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, version = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            return _response(Page("bad request\n", status=400))
        if not version.startswith("HTTP/1."):
            return _response(Page("bad request\n", status=400))
        if method not in ("GET", "HEAD"):
            return _response(Page("only GET\n", status=405))
        page = self._pages.get(target.partition("?")[0])
        found = Page("not found\n", status=404) if page is None else await page()
        return _response(found, with_body=method == "GET")


def _response(page: Page, *, with_body: bool = True) -> bytes:
    body = page.body.encode()
    head = f"HTTP/1.1 {page.status} {_REASONS[page.status]}\r\n{_HEADERS}"
    head += f"Content-Type: {page.kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + (body if with_body else b"")
