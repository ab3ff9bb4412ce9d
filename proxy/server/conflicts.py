"""How many conflicts with constraints each role had within the last minute: in all workers of an instance together."""

from __future__ import annotations

import hashlib
import mmap
import time
from collections.abc import Callable
from typing import Final

_ENTRIES: Final = 128
"""Roles of one worker. Those that find no place share the last one, and are counted together."""
_SECONDS: Final = 10
_SLOTS: Final = 7
"""Slots of that many seconds: the one that has begun and those of the minute before it."""
_ENTRY: Final = 1 + _SLOTS
_CELLS: Final = _ENTRIES * _ENTRY
CONFLICT_BYTES: Final = 8 * _CELLS
"""Of one worker."""
_COUNT_BITS: Final = 24


class ConflictCounts:
    """Counts in memory that all workers map and where each writes its own block only, so nobody waits for anybody.

    ``memory``: a block of CONFLICT_BYTES for each of ``workers`` from ``offset`` on, by default for this process alone.
    ``worker`` counts from 0. ``clock``: seconds, the same in all processes of the machine. A cell holds the number of a
    slot and what was counted in it.
    """

    def __init__(
        self,
        memory: mmap.mmap | None = None,
        offset: int = 0,
        workers: int = 1,
        worker: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        whole = memoryview(memory if memory is not None else mmap.mmap(-1, CONFLICT_BYTES))
        self._cells = whole[offset : offset + workers * CONFLICT_BYTES].cast("Q")
        self._own = worker * _CELLS
        self._clock = clock

    def add(self, role: str, conflicts: int) -> int:
        """See :meth:`proxy.session.conflicts.ConflictCount.add`."""
        slot = int(self._clock()) // _SECONDS
        cell = self._place(role, slot) + 1 + slot % _SLOTS
        number, count = divmod(self._cells[cell], 1 << _COUNT_BITS)
        count = min((count if number == slot else 0) + conflicts, (1 << _COUNT_BITS) - 1)
        self._cells[cell] = (slot << _COUNT_BITS) + count
        return self.within_minute(role)

    def within_minute(self, role: str) -> int:
        """See :meth:`proxy.session.conflicts.ConflictCount.within_minute`."""
        key, slot = _key(role), int(self._clock()) // _SECONDS
        found = 0
        for block in range(0, len(self._cells), _CELLS):
            last = block + _CELLS - _ENTRY
            places = [place for place in range(block, last, _ENTRY) if self._cells[place] == key] or [last]
            found += sum(self._counted(place, slot) for place in places)
        return found

    def _counted(self, place: int, slot: int) -> int:
        cells = [divmod(self._cells[place + 1 + each], 1 << _COUNT_BITS) for each in range(_SLOTS)]
        return sum(count for number, count in cells if slot - _SLOTS < number <= slot)

    def _place(self, role: str, slot: int) -> int:
        """The entry of a role in the own block: a new one, that of one without conflicts, or the last."""
        key, last = _key(role), self._own + _CELLS - _ENTRY
        free = last
        for place in range(self._own, last, _ENTRY):
            if self._cells[place] == key:
                return place
            if free == last and not self._counted(place, slot):
                free = place
        if free != last:
            self._cells[free] = key
        return free


def _key(role: str) -> int:
    return int.from_bytes(hashlib.blake2b(role.encode(errors="surrogateescape"), digest_size=8).digest(), "big") | 1
