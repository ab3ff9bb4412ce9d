"""Counts of what was written, for whoever watches the process. Numbers and names of kinds, never a value."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds of the classes of ``durations``; one class more holds what took longer."""


@dataclass(slots=True)
class Tally:
    """``verdicts`` of statements, ``refusals`` by SQLSTATE, ``errors`` of statements by class of SQLSTATE (a client
    can RAISE any), ``alarms`` by witness, ``conflicts`` within and beyond (``exceeded``) what the policy allows.
    ``failing``: the last write failed.
    """

    events: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    alarms: Counter[str] = field(default_factory=Counter)
    conflicts: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    seconds: float = 0.0
    durations: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    failures: int = 0
    failing: bool = False

    def result(self, rows: int | None, seconds: float, sqlstate: str | None) -> None:
        """A statement is over."""
        self.rows += rows or 0
        self.seconds += seconds
        self.durations[bisect_left(BUCKETS, seconds)] += 1
        if sqlstate is not None:
            self.errors[sqlstate[:2]] += 1

    def failed(self) -> None:
        """An event could not be written."""
        self.failures += 1
        self.failing = True
