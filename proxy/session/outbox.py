"""What a session wants done: bytes for both sides, and the rare commands that only an event loop can carry out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Connect:
    """Connect to the upstream, then call ``upstream_connected`` or ``upstream_lost``."""


@dataclass(frozen=True, slots=True)
class StartTls:
    """From now on the client's connection is TLS, then call ``client_encrypted``.

    ``direct``: the client did not ask before (PostgreSQL 17), and ``received`` is how its handshake begins.
    """

    received: bytes = b""
    direct: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """Hand this CancelRequest to the upstream on a connection of its own, then close the client's."""

    packet: bytes


@dataclass(frozen=True, slots=True)
class CancelOwn:
    """Have the upstream cancel what it does for this session, by this CancelRequest."""

    packet: bytes


@dataclass(frozen=True, slots=True)
class LoadCatalog:
    """Call ``catalog_ready`` with the catalog of ``database``, loading it if need be; or ``catalog_failed``.

    ``anew``: one that was read after this moment.
    """

    database: str
    anew: bool = False


@dataclass(frozen=True, slots=True)
class ReadOwnCatalog:
    """Read what the session alone sees of ``database``, by its ``ask``; then call ``own_catalog_read`` with it, or with
    None. ``savepoint``: a name for one in the open transaction, None where there is none. ``steady``: others changed
    nothing since the transaction began.
    """

    database: str
    savepoint: str | None
    steady: bool


@dataclass(frozen=True, slots=True)
class ConfirmCatalog:
    """Read the catalog of ``database`` anew, then call ``catalog_confirmed``: what the upstream answered waits."""

    database: str


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """Have the upstream plan what ``verdict`` sends for ``query``, apart from the session, then call ``plan_checked``
    with what was found."""

    database: str
    query: bytes
    verdict: Verdict
    types: bytes


@dataclass(frozen=True, slots=True)
class Decide:
    """Call ``make``, which takes long, apart from all else, then ``decided`` with what it returns, or with None."""

    make: Callable[[], Verdict]


@dataclass(frozen=True, slots=True)
class Close:
    """Close both connections when everything has been written. ``sqlstate`` says why, None for an orderly end."""

    sqlstate: str | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Something raised that should not have; the session went on, refusing. For the log."""

    error: BaseException


Command = (
    Connect
    | StartTls
    | Cancel
    | CancelOwn
    | LoadCatalog
    | ReadOwnCatalog
    | ConfirmCatalog
    | CheckPlan
    | Decide
    | Close
    | Fault
)


@dataclass(slots=True)
class Outbox:
    """Filled by the session, emptied by its owner after every call: client and upstream bytes first, then commands."""

    client: list[bytes] = field(default_factory=list)
    upstream: list[bytes] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
