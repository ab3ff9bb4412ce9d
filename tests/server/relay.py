"""A relay that breaks connections: it stands before a server and does to the bytes what bad networks do."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(slots=True)
class Way:
    """What happens to the bytes of one direction. ``cut``: the connection breaks when so many have passed. ``piece``:
    as many are written at a time, and ``delay`` seconds lie between. ``stalled``: nobody reads them.
    """

    cut: int | None = None
    piece: int | None = None
    delay: float = 0.0
    stalled: bool = False
    passed: int = 0


class Relay:
    """Listens on ``port``, in a thread of its own. ``up`` and ``down``: from and to those who connect; the same for all
    connections since the last ``spare``. With ``reset`` broken connections end with RST, else with FIN.
    """

    def __init__(self, host: str, port: int, *, reset: bool = True) -> None:
        self.up, self.down = Way(), Way()
        self.reset = reset
        self.port = 0
        self._target = host, port
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.break_all()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def spare(self) -> None:
        """What is done from now on concerns later connections only."""
        self.up, self.down = Way(), Way()
        self._pairs.clear()

    def break_all(self) -> None:
        """Every connection that passes here breaks now."""
        asyncio.run_coroutine_threadsafe(self._break_all(), self._loop).result(10)

    async def _break_all(self) -> None:
        for pair in list(self._pairs):
            self._break(pair)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._pass_on, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_reader, to_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        pair, up, down = (writer, to_writer), self.up, self.down
        self._pairs.add(pair)
        with suppress(OSError):
            await asyncio.gather(self._copy(reader, to_writer, up, pair), self._copy(to_reader, writer, down, pair))
        self._break(pair)

    async def _copy(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        way: Way,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        while True:
            while way.stalled:  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.02)
            data = await reader.read(1 << 16)
            if not data:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            for start in range(0, len(data), way.piece or len(data)):
                part = data[start : start + (way.piece or len(data))]
                if way.cut is not None and way.passed + len(part) >= way.cut:
                    writer.write(part[: way.cut - way.passed])
                    with suppress(OSError):
                        await writer.drain()
                    self._break(pair)
                    return
                way.passed += len(part)
                writer.write(part)
                await writer.drain()
                if way.delay:
                    await asyncio.sleep(way.delay)

    def _break(self, pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self._pairs.discard(pair)
        for writer in pair:
            connection = writer.get_extra_info("socket")
            if self.reset and connection is not None and not writer.transport.is_closing():
                with suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()
