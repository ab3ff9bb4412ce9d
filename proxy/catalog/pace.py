"""Long work that does not keep the other threads waiting."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

_WORK = 0.001  # seconds; an interpreter takes the lock from another thread only after five times as long
_REST = 0.0001  # seconds; without a real pause the thread that waits would not wake up in time to get the lock

_Thing = TypeVar("_Thing")


def unhurried(things: Iterable[_Thing]) -> Iterator[_Thing]:
    """Yields ``things``, and between them lets other threads work every millisecond."""
    rested = time.perf_counter()
    for thing in things:
        yield thing
        if time.perf_counter() - rested > _WORK:
            time.sleep(_REST)
            rested = time.perf_counter()


@contextmanager
def lasting() -> Iterator[None]:
    """What is made meanwhile lasts, so the garbage collector need not look at it.

    It would do so again and again while many objects are made, and at each of its full collections afterwards, with
    every thread waiting: a tenth of a second for a thousand tables. Reference counts still free what is used no more.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if enabled:
            gc.enable()
