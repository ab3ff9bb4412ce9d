"""One audit file, or standard output, for several processes: each appends whole lines in its turn."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

from proxy.audit.chain import Head, ends_of, head_of
from proxy.audit.sinks import cut_torn, last_line, take_back, write_all

_LAST = Struct("!QQ64s12s")
"""Where the file ends, and number, hash and chain of its last line: what the processes tell each other."""
TURN_BYTES: Final = _LAST.size


@dataclass(frozen=True, slots=True)
class Turns:
    """What the processes share beside the file: ``memory`` (TURN_BYTES at ``offset``, zeros at first), and ``lock``, a
    file descriptor of which the byte at ``offset`` is locked by whoever writes (fcntl(2): a lock of the process)."""

    memory: mmap.mmap
    lock: int
    offset: int = 0


class SharedSink:
    """Appends to ``descriptor``, which is that of a file where ``path`` is given.

    A process that died amid a line leaves it behind: whoever writes next moves it to ``<path>.torn`` first.
    ``beside`` is, within a turn, the hash of the file's last line if another process wrote it.
    """

    def __init__(self, descriptor: int, turns: Turns, path: Path | None) -> None:
        self._descriptor = descriptor
        self._turns = turns
        self._path = path
        self._depth = 0
        self.torn: list[bytes] = []
        self.last_seq = 0
        self.last_hash = ""
        self.last_chain = ""

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else writes meanwhile."""
        self._depth += 1
        if self._depth == 1:
            fcntl.lockf(self._turns.lock, fcntl.LOCK_EX, 1, self._turns.offset)
        try:
            if self._depth == 1:
                self._catch_up()
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                fcntl.lockf(self._turns.lock, fcntl.LOCK_UN, 1, self._turns.offset)

    def beside(self, chain: str) -> str | None:
        """Within a turn: the hash of the last line, if that is of another chain than ``chain``."""
        return self.last_hash if self.last_hash and self.last_chain != chain else None

    def head(self, key: bytes | None) -> Head | None:
        """Within a turn: what a chain that begins now goes on from; None at the very beginning. Of what is no file only
        what these processes wrote counts. Raises :class:`proxy.audit.chain.Damaged`."""
        if self._path is None:
            return Head(self.last_seq, self.last_hash) if self.last_seq else None
        line = last_line(self._descriptor, os.fstat(self._descriptor).st_size)
        return None if line is None else head_of(line, key)

    def write(self, line: bytes) -> None:
        """See :meth:`proxy.audit.sinks.Sink.write`. Only within a turn."""
        if self._path is None:
            write_all(self._descriptor, line)
            self._remember(0, line)
            return
        size = os.fstat(self._descriptor).st_size
        try:
            write_all(self._descriptor, line)
        except OSError as error:
            take_back(self._descriptor, size, error)
            raise
        self._remember(size + len(line), line)

    def close(self) -> None:
        os.close(self._descriptor)

    def _catch_up(self) -> None:
        """Learns what others wrote; sets aside what one of them could not finish."""
        size, self.last_seq, hash_, chain = _LAST.unpack_from(self._turns.memory, self._turns.offset)
        path = self._path
        if path is None or size == os.fstat(self._descriptor).st_size:
            self.last_hash, self.last_chain = hash_.rstrip(b"\0").decode(), chain.rstrip(b"\0").decode()
            return
        torn, end = cut_torn(self._descriptor, path)
        if torn:
            self.torn.append(torn)
        self._remember(end, (last_line(self._descriptor, end) or b"") + b"\n")

    def _remember(self, size: int, line: bytes) -> None:
        self.last_seq, hash_, chain = ends_of(line)
        self.last_hash, self.last_chain = hash_.decode(errors="replace"), chain.decode(errors="replace")
        _LAST.pack_into(self._turns.memory, self._turns.offset, size, self.last_seq, hash_, chain)
