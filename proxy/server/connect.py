"""A connection to the upstream, over TCP or a unix socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TypeVar

from proxy.server.options import Address

P = TypeVar("P", bound=asyncio.Protocol)


async def connect(protocol: Callable[[], P], address: Address) -> tuple[asyncio.Transport, P]:
    """Raises OSError."""
    loop = asyncio.get_running_loop()
    if address.path:
        return await loop.create_unix_connection(protocol, address.path)
    transport, made = await loop.create_connection(protocol, address.host or "localhost", address.port)
    keep_alive(transport)
    return transport, made


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """A peer that vanished without a word is found out, as PostgreSQL does by its tcp_keepalives."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
