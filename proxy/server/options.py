"""What a server is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.server.certificates import Tls
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
    server drains. ``startup_timeout``: seconds a client has to log in. ``idle_timeout``: seconds that a session may do
    nothing outside a transaction. ``snapshot_age``: seconds that the snapshot of a transaction may be old when it reads
    personal information. ``connections``, ``connections_per_role``: clients at most. None: no limit.
    ``reuse_port``: other processes listen on the same port. ``alone``: no other worker serves.
    ``observe``: change and refuse nothing.
    """

    listen: tuple[Address, ...]
    upstream: Address
    grace_seconds: float = 30.0
    startup_timeout: float = 60.0
    idle_timeout: float | None = None
    snapshot_age: float | None = None
    connections: int | None = None
    connections_per_role: int | None = None
    limits: MessageLimits = field(default_factory=MessageLimits)
    reuse_port: bool = False
    alone: bool = True
    observe: bool = False
    tls: Tls = field(default_factory=Tls)
    passwords: bool = False
    """Who connects by TLS is asked for the password; consentry logs in with it."""
