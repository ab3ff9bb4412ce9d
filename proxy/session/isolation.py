"""How long the statements of a transaction have been seeing one snapshot (manual, 13.2)."""

from __future__ import annotations

from typing import Final

from proxy.session.events import Clock
from proxy.verdict import Begin, DiscardAll, Effect, Isolate, ResetAll

_STEADY: Final = frozenset({"repeatable read", "serializable"})
"""Levels under which a transaction sees one snapshot from its first statement to its end."""


class Isolation:
    """Follows the isolation level of transaction blocks. ``default``: default_transaction_isolation at the start."""

    def __init__(self, default: str, clock: Clock) -> None:
        self._clock = clock
        self._default = self._committed = self._start = default
        self._level = self._last = self._aside = ""
        self._begun = 0.0
        # SET LOCAL and savepoints may bring back a default that was left.
        self._ever = default == "serializable"

    @property
    def snapshot_age(self) -> float:
        """Seconds, in a block; 0 where each statement sees what is new.

        The first statement takes the snapshot; that the block began before is on the safe side.
        """
        return self._clock() - self._begun if self._level in _STEADY else 0.0

    @property
    def serializable(self) -> bool:
        """The transaction, this one or the next, may be so: others notice by conflicts what it searched."""
        return self._ever or "serializable" in (self._level, self._aside)

    def follow(self, effect: Effect, in_block: bool) -> None:
        """A statement with ``effect`` completed."""
        match effect:
            case Begin() if not in_block:
                self._level, self._begun = self._default, self._clock()
            case Isolate(level, session=True):
                self._default = self._start if level is None else level
                self._ever = self._ever or level == "serializable"
            case Isolate(level) if in_block:
                self._level = self._default if level is None else level
            case Isolate(str(level)):
                self._aside = level  # of an implicit transaction
            case ResetAll() | DiscardAll():
                self._default = self._start

    def end(self, committed: bool) -> None:
        """The transaction is over, and what it set of the session holds or does not."""
        if committed:
            self._committed = self._default
        else:
            self._default = self._committed
        self._last, self._level, self._aside = self._level, "", ""

    def chain(self) -> None:
        """Another began with the end of the last, under the same level (AND CHAIN)."""
        self._level, self._begun = self._last, self._clock()
