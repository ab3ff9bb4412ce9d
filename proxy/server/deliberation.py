"""Decisions on long texts, in a thread of its own: everybody else's statements go on meanwhile."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Final

from proxy.verdict import Verdict

SWITCH_SECONDS: Final = 0.001
"""How long the event loop waits for the interpreter at most, once it has something to do: Python's own 5 ms would be
felt by every statement of every session while one is decided."""

_log = logging.getLogger(__name__)

_Ask = tuple[Callable[[], Verdict], asyncio.AbstractEventLoop, asyncio.Future[Verdict | None]]


class Deliberation:
    """One after the other: who sends much waits for others who do, and nobody else does."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[_Ask] = SimpleQueue()
        self._thread: Thread | None = None

    async def verdict(self, make: Callable[[], Verdict]) -> Verdict | None:
        """What ``make`` gives; None if it raises."""
        if self._thread is None:
            sys.setswitchinterval(SWITCH_SECONDS)
            # A daemon: the process may end while it thinks.
            self._thread = Thread(target=self._work, name="deliberation", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Verdict | None] = loop.create_future()
        self._asked.put((make, loop, future))
        return await future

    def _work(self) -> None:
        while True:
            make, loop, future = self._asked.get()
            if future.cancelled():
                continue
            verdict = None
            try:
                verdict = make()
            except Exception:  # the session decides again, and refuses where that raises too
                _log.exception("deciding on a long text failed")
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, future, verdict)


def _settle(future: asyncio.Future[Verdict | None], verdict: Verdict | None) -> None:
    if not future.done():
        future.set_result(verdict)
