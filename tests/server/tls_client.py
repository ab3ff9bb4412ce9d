"""Clients that speak TLS by hand, and say more than a driver would."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any, Self

import pytest

from proxy.wire import startup
from tests.fix_tls import Certificates
from tests.server.conftest import RunningServer
from tests.server.raw import RawClient


def client_context(certificates: Certificates, *alpn: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates.trusted.ca)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def encrypted(server: RunningServer, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Asks for TLS and makes the handshake."""
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    plain.sendall(startup.request(startup.SSL_REQUEST))
    assert plain.recv(1) == b"S"
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


class ByHand:
    """Direct TLS over a socket of one's own, which sends ``piece`` bytes at a time."""

    def __init__(self, server: RunningServer, context: ssl.SSLContext, piece: int = 1 << 16) -> None:
        self._piece = piece
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._complete(self._tls.do_handshake)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def stop_sending(self) -> None:
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()
        self._socket.shutdown(socket.SHUT_WR)

    def read_until(self, text: bytes) -> None:
        """Raises EOFError when the other side has said that there is no more."""
        received = b""
        while text not in received:
            data = self._complete(lambda: self._tls.read(1 << 14))
            if not data:
                raise EOFError
            received += data

    def _complete(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._socket.recv(1 << 16)
                assert data, "the stream was cut off"
                self._incoming.write(data)
            except ssl.SSLZeroReturnError:
                return b""
            finally:
                self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        for start in range(0, len(data), self._piece):
            self._socket.sendall(data[start : start + self._piece])


class TlsClient(RawClient):
    """A RawClient inside TLS."""

    def __init__(self, connection: ssl.SSLSocket, database: str, user: str = "postgres") -> None:
        self.socket = connection
        self.key = self._buffer = b""
        self.send(startup.startup_message({"user": user, "database": database}))
        self.greeting = self.read_until_ready()
