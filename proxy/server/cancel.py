"""CancelRequest (manual, 55.2.8): its key is the upstream's own, so any instance can hand it on without state."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, cast

from proxy.server.certificates import Tls
from proxy.server.connect import connect
from proxy.server.options import Address

SECONDS: Final = 60.0
"""PostgreSQL's authentication_timeout. The client waits until its next statement is safe from the cancel."""

_log = logging.getLogger(__name__)


class _Forwarding(asyncio.Protocol):
    """Sends one packet; the upstream answers nothing and closes."""

    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.WriteTransport", transport).write(self._packet)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.closed.done():
            self.closed.set_result(None)


async def forward(packet: bytes, upstream: Address, tls: Tls) -> None:
    """Hands ``packet`` to the upstream and waits until it has been dealt with. A failure is logged: the protocol has
    no answer for it."""
    try:
        async with asyncio.timeout(SECONDS):
            transport, forwarding = await connect(lambda: _Forwarding(packet), upstream, tls)
            try:
                await forwarding.closed
            finally:
                transport.close()
    except (OSError, TimeoutError) as error:
        _log.warning("cancel request could not be handed on: %s", error)
