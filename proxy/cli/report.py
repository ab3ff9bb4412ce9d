"""What a process says of itself when it is asked: counts, states and names, never a value of the database."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from proxy.audit.tally import Tally
from proxy.policy.in_force import Policies
from proxy.server import Served, SessionSeen


@dataclass(frozen=True, slots=True)
class PolicySeen:
    """A policy in force: ``database`` is ``*`` for that of every other."""

    database: str
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Report:
    """One worker. ``accepting``: new clients are served. ``catalogs``: by database, seconds since it was
    last confirmed. ``since`` (of the policies) and ``started`` are seconds since 1970.
    """

    worker: int
    started: float
    accepting: bool
    served: Served
    sessions: tuple[SessionSeen, ...]
    policies: tuple[PolicySeen, ...]
    since: float
    catalogs: dict[str, float]
    tally: Tally
    mode: str = "enforce"
    cpu_seconds: float = 0.0
    resident_bytes: int = 0
    read_at: float = field(default_factory=time.time)


def policies_seen(policies: Policies) -> tuple[PolicySeen, ...]:
    named = [] if policies.everywhere is None else [("*", policies.everywhere)]
    return tuple(
        PolicySeen(database, policy.name, policy.digest) for database, policy in (*named, *policies.databases.items())
    )


def cpu_seconds() -> float:
    """Of this process, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_bytes() -> int:
    """Memory of this process now; at its highest where the system does not say (macOS)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return pages * resource.getpagesize()
