"""What a server says of itself to whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Served:
    """Counts since the start. ``turned_away``: more than may be connected at once. ``faults``: errors in sessions that
    should not have been, each of which is in the log.
    """

    connections: int = 0
    turned_away: int = 0
    cancels: int = 0
    upstream_failures: int = 0
    faults: int = 0


@dataclass(frozen=True, slots=True)
class SessionSeen:
    """One session. ``state``: as :attr:`proxy.session.Session.state`; ``since`` and ``quiet`` are seconds since it
    began and since bytes last came from either side."""

    session: str
    client: str
    role: str
    database: str
    application: str
    state: str
    since: float
    quiet: float
