"""A connection to the upstream, over TCP or a unix socket, with TLS where it is wanted (manual, 55.2.10)."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from proxy.server.certificates import Tls
from proxy.server.options import Address
from proxy.server.tls import TlsTransport
from proxy.wire import startup

P = TypeVar("P", bound=asyncio.Protocol)

_log = logging.getLogger(__name__)


class NoTls(ConnectionError):
    """The upstream does not speak TLS, or not so that this side would accept it."""


async def connect(protocol: Callable[[], P], address: Address, tls: Tls | None = None) -> tuple[asyncio.Transport, P]:
    """Raises OSError. TLS is for TCP only: with a unix socket there is no network in between."""
    loop = asyncio.get_running_loop()
    if address.path:
        return await loop.create_unix_connection(protocol, address.path)
    if tls is not None and tls.upstream is not None and tls.upstream_keys is not None:
        optional = tls.upstream_keys.mode == "prefer"
        try:
            return await _encrypted(protocol, address, tls.upstream, optional=optional)
        except NoTls:
            if not optional:
                raise
    transport, made = await loop.create_connection(protocol, address.host or "localhost", address.port)
    keep_alive(transport)
    return transport, made


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """A peer that vanished without a word is found out, as PostgreSQL does by its tcp_keepalives."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


async def _encrypted(
    protocol: Callable[[], P], address: Address, context: ssl.SSLContext, *, optional: bool
) -> tuple[asyncio.Transport, P]:
    """``optional``: an upstream that says no is spoken to in plain text."""
    host = address.host or "localhost"
    loop = asyncio.get_running_loop()
    transport, negotiation = await loop.create_connection(
        lambda: _Negotiation(protocol, host, context, optional=optional), host, address.port
    )
    try:
        keep_alive(transport)
        return await negotiation.made
    except BaseException:
        transport.abort()
        raise


class _Negotiation(asyncio.Protocol, Generic[P]):
    """Asks for TLS, and hands the connection over when it is there.

    Not a byte that came in plain text gets through to ``protocol`` (CVE-2021-23222): an answer is one byte long, and
    what follows it is the handshake's from the same moment on.
    """

    def __init__(self, protocol: Callable[[], P], host: str, context: ssl.SSLContext, *, optional: bool) -> None:
        self.made: asyncio.Future[tuple[asyncio.Transport, P]] = asyncio.get_running_loop().create_future()
        self._protocol = protocol
        self._host = host
        self._context = context
        self._optional = optional
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses of asyncio's
        self._transport.write(startup.request(startup.SSL_REQUEST))

    def data_received(self, data: bytes) -> None:
        if data == b"S":
            self._handshake()
        elif data == b"N" and self._optional:
            self._hand_over(self._transport, self._protocol())
        elif data == b"N":
            self._fail(NoTls("the upstream does not speak TLS"))
        else:
            # An error message at this point may be anybody's (CVE-2024-10977): it is neither believed nor shown.
            self._fail(NoTls("the upstream did not answer the request for TLS as it must"))

    def _handshake(self) -> None:
        made = self._protocol()
        tls = TlsTransport(
            self._transport,
            made,
            self._context,
            server_hostname=self._host,
            established=lambda tls: self._hand_over(tls, made),
            failed=self._tls_failed,
        )
        tls.begin()

    def _hand_over(self, transport: asyncio.Transport, made: P) -> None:
        if transport is self._transport:
            transport.set_protocol(made)
        made.connection_made(transport)
        if not self.made.done():
            self.made.set_result((transport, made))

    def _fail(self, error: OSError) -> None:
        self._transport.close()
        if not self.made.done():
            self.made.set_exception(error)
            self.made.exception()  # nobody asks for it where connecting was given up meanwhile

    def _tls_failed(self, error: Exception) -> None:
        if self.made.done():  # TLS 1.3: an upstream may reject a certificate when the handshake is over for this side
            _log.warning("TLS with the upstream failed: %s", error)
        else:
            self._fail(NoTls(f"TLS with the upstream failed: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(NoTls(f"the upstream closed the connection: {exc or 'it was asked for TLS'}"))
