"""Where audit lines go. A sink takes a line whole or raises: what cannot be written down may not happen."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from pathlib import Path
from typing import Protocol, Self

_BLOCK = 1 << 16


class Sink(Protocol):
    """Takes whole lines, in order."""

    def write(self, line: bytes) -> None:
        """Returns when the operating system has all of ``line`` (or lines), else raises OSError and holds none."""
        ...

    def close(self) -> None: ...


class StreamSink:
    """A file descriptor that cannot be read back: standard output, a pipe, a terminal, /dev/null.

    A line that got there in part cannot be taken back, so after a failure every further write fails too.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._failed: OSError | None = None

    @property
    def descriptor(self) -> int:
        return self._descriptor

    def write(self, line: bytes) -> None:
        if self._failed is not None:
            raise self._failed
        try:
            write_all(self._descriptor, line)
        except OSError as error:
            self._failed = error
            raise

    def close(self) -> None:
        """Leaves the descriptor to whoever opened it."""


class FileSink:
    """A regular file that only ever grows, with one writer at a time (flock).

    ``last_line`` is the last complete line found when it was opened (None in a new file) and ``torn`` what followed it:
    the start of a line that a crash cut off, moved to ``<path>.torn`` so that the file is whole lines again.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._failed: OSError | None = None
        self.torn, self._size = cut_torn(descriptor, path)
        self.last_line = last_line(descriptor, self._size)

    @classmethod
    def open(cls, path: Path) -> Self | StreamSink:
        """Opens ``path`` for appending, made with mode 0600 if new. Raises OSError (BlockingIOError: has a writer)."""
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return StreamSink(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return cls(descriptor, path)
        except OSError:
            os.close(descriptor)
            raise

    @property
    def descriptor(self) -> int:
        return self._descriptor

    def write(self, line: bytes) -> None:
        if self._failed is not None:
            raise self._failed
        try:
            write_all(self._descriptor, line)
        except OSError as error:
            try:
                take_back(self._descriptor, self._size, error)
            except NotTakenBack as worse:
                self._failed = worse
                raise
            raise
        self._size += len(line)

    def close(self) -> None:
        os.close(self._descriptor)


def torn_reference(torn: bytes) -> dict[str, str | int]:
    """What the audit says of a line that was set aside."""
    return {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}


class NotTakenBack(OSError):
    """A line was written in part, and nothing can be done about it."""


def take_back(descriptor: int, size: int, error: OSError) -> None:
    """A full disk takes lines in part; without this the next line would follow half a one. Raises NotTakenBack."""
    try:
        os.ftruncate(descriptor, size)
    except OSError as worse:
        raise NotTakenBack(*worse.args) from error


def cut_torn(descriptor: int, path: Path) -> tuple[bytes, int]:
    """What follows the last complete line, which goes to ``<path>.torn``; and where the file ends then."""
    size = os.fstat(descriptor).st_size
    end = _line_start(descriptor, size)
    torn = _read(descriptor, end, size)
    if torn:
        _set_aside(path, torn)
        os.ftruncate(descriptor, end)
    return torn, end


def last_line(descriptor: int, end: int) -> bytes | None:
    """The last line of a file of complete lines that ends at ``end``, without its newline; None if it is empty."""
    return _read(descriptor, _line_start(descriptor, end - 1), end - 1) if end else None


def write_all(descriptor: int, line: bytes) -> None:
    """One write(2); more only where the system took a part (a signal, a nearly full disk or pipe)."""
    written = os.write(descriptor, line)
    while written < len(line):
        written += os.write(descriptor, line[written:])


def _line_start(descriptor: int, end: int) -> int:
    """The offset after the last newline before ``end``; 0 if there is none."""
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = _read(descriptor, start, end).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _read(descriptor: int, start: int, end: int) -> bytes:
    """The bytes from ``start`` to ``end``."""
    parts = []
    while start < end:
        part = os.pread(descriptor, end - start, start)
        if not part:
            raise OSError("the audit file shrank while it was read")
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _set_aside(path: Path, torn: bytes) -> None:
    """Keeps a torn line as evidence, on disk before it leaves the file."""
    with path.with_name(path.name + ".torn").open("ab") as aside:
        os.fchmod(aside.fileno(), 0o600)
        aside.write(torn + b"\n")
        aside.flush()
        os.fsync(aside.fileno())
