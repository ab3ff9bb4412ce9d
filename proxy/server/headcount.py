"""How many clients are connected, and how many of each role: in all workers of an instance together."""

from __future__ import annotations

import hashlib
import mmap
from collections import Counter
from collections.abc import Iterator
from typing import Final

_CELLS: Final = 1 + 2 * 4096
"""Of one worker: how many entries are in use, then a key and a count each."""
BLOCK_BYTES: Final = 8 * _CELLS
_EVERYBODY: Final = ""


class Headcount:
    """Counts in memory that all workers map and where each writes its own block only, so nobody waits for anybody.

    ``connections`` and ``per_role`` are the limits, None for any number. Who enters is counted before the others are
    looked at: two that come at once for one place may both be refused, and never both be let in.
    ``memory``: a block of BLOCK_BYTES for each of ``workers`` (what follows is somebody else's), by default for this
    process alone. ``worker`` counts from 0.
    """

    def __init__(
        self,
        connections: int | None = None,
        per_role: int | None = None,
        memory: mmap.mmap | None = None,
        worker: int = 0,
        workers: int | None = None,
    ) -> None:
        self.connections = connections
        self.per_role = per_role
        self._memory = memory if memory is not None else mmap.mmap(-1, BLOCK_BYTES)
        blocks = len(self._memory) // BLOCK_BYTES if workers is None else workers
        self._cells = memoryview(self._memory)[: blocks * BLOCK_BYTES].cast("Q")
        self._own = worker * _CELLS
        self._present: Counter[str] = Counter()
        self._places: dict[str, int] = {}

    def connect(self) -> bool:
        """A client connects: False if there are as many as there may be. It counts either way until ``disconnect``."""
        self._change(_EVERYBODY, 1, self.connections is not None)
        return self.connections is None or self._count(_EVERYBODY) <= self.connections

    def disconnect(self) -> None:
        self._change(_EVERYBODY, -1, self.connections is not None)

    def enter(self, role: str) -> bool:
        """A session of ``role`` begins: False, and it does not count, if the role has as many as it may have."""
        if not self._change(role, 1, self.per_role is not None):
            return False
        if self.per_role is None or self._count(role) <= self.per_role:
            return True
        self.leave(role)
        return False

    def leave(self, role: str) -> None:
        self._change(role, -1, self.per_role is not None)

    @staticmethod
    def forget(memory: mmap.mmap, worker: int) -> None:
        """A worker is gone, and its clients with it."""
        memory[worker * BLOCK_BYTES : (worker + 1) * BLOCK_BYTES] = bytes(BLOCK_BYTES)

    def _change(self, who: str, by: int, limited: bool) -> bool:
        """False where more are present than can be counted."""
        if not limited:
            return True
        place = self._places.get(who)
        if place is None:
            place = self._new_place(who)
            if place is None:
                return False
            self._places[who] = place
        self._present[who] += by
        self._cells[place + 1] = self._present[who]
        if not self._present[who]:
            del self._present[who]
        return True

    def _new_place(self, who: str) -> int | None:
        """An entry for somebody new; that of somebody gone where none is free, None where nobody is gone."""
        used = self._cells[self._own]
        if used < (_CELLS - 1) // 2:
            place = self._own + 1 + 2 * used
            self._cells[place] = _key(who)
            self._cells[self._own] = used + 1
            return place
        gone = next((name for name in self._places if name not in self._present), None)
        if gone is None:
            return None
        place = self._places.pop(gone)
        self._cells[place] = _key(who)
        return place

    def _count(self, who: str) -> int:
        key = _key(who)
        return sum(self._cells[place + 1] for place in self._all_places() if self._cells[place] == key)

    def _all_places(self) -> Iterator[int]:
        cells = self._cells
        for block in range(0, len(cells), _CELLS):
            yield from range(block + 1, block + 1 + 2 * cells[block], 2)


def _key(who: str) -> int:
    return int.from_bytes(hashlib.blake2b(who.encode(errors="surrogateescape"), digest_size=8).digest(), "big")
