"""What a server is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.wire.client import MessageLimits


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address, or the path of a unix socket. An empty host stands for every interface."""

    host: str = ""
    port: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """``listen``: where clients connect (port 0 picks one). ``grace_seconds``: how long statements may go on when the
    server drains. ``startup_timeout``: seconds a client has to log in. ``connections``: clients at most, None for any
    number.
    """

    listen: tuple[Address, ...]
    upstream: Address
    grace_seconds: float = 30.0
    startup_timeout: float = 60.0
    connections: int | None = None
    limits: MessageLimits = field(default_factory=MessageLimits)
