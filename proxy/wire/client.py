"""Typed messages of a client, cut out of its bytes in whatever pieces these arrive."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from struct import Struct
from typing import Final, NamedTuple, NoReturn

from proxy.errors import ProtocolViolation
from proxy.wire import frontend

SMALL_MESSAGE: Final = 10_000
"""PQ_SMALL_MESSAGE_LIMIT: what PostgreSQL allows to messages that carry nothing but names."""

STREAMED_ABOVE: Final = 64 * 1024
"""A Bind longer than this is handed out when its names have arrived; the rest of it passes in pieces."""

_HEADER = Struct("!BI")
_LARGE = frozenset({frontend.BIND, frontend.FUNCTION_CALL, frontend.COPY_DATA})
_STATEMENTS = frozenset({frontend.QUERY, frontend.PARSE})
_APART = _STATEMENTS | {frontend.FUNCTION_CALL, frontend.COPY_DATA}
_SMALL = frozenset(
    {
        frontend.DESCRIBE,
        frontend.EXECUTE,
        frontend.CLOSE,
        frontend.SYNC,
        frontend.FLUSH,
        frontend.TERMINATE,
        frontend.COPY_DONE,
        frontend.COPY_FAIL,
        frontend.PASSWORD,
    }
)


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """Bytes at most: of a Query or Parse (beyond: 54000 for that statement), of any other message (beyond: 08P01)."""

    statement: int = 16 * 1024 * 1024
    message: int = 1024 * 1024 * 1024


class Form(Enum):
    """How a frame stands for its message."""

    WHOLE = auto()
    HEAD = auto()
    """The beginning; call one of :class:`ClientMessages`'s ``pass_rest``, ``skip_rest`` and ``gather``."""
    PIECE = auto()
    """Bytes to pass on as they are: CopyData, or more of a message whose head was passed."""
    OVERSIZE = auto()
    """A statement beyond the limit, or a FunctionCall, which nobody reads: nothing of it is kept."""


class Frame(NamedTuple):
    """``kind`` is the type byte; ``length`` the length field of the message."""

    kind: int
    form: Form
    data: bytes
    length: int


class ClientMessages:
    """Feed it bytes, take frames. Holds at most one incomplete message, and never one beyond its limit."""

    def __init__(self, limits: MessageLimits) -> None:
        self._limits = limits
        self._longest = (
            dict.fromkeys(_SMALL, SMALL_MESSAGE)
            | dict.fromkeys(_LARGE, limits.message)
            | dict.fromkeys(_STATEMENTS, limits.message)
        )
        self._buffer = b""
        self._offset = 0
        self._chunks: list[bytes] = []
        self._size = 0
        self._needed = 0
        self._remaining = 0
        self._skipping = False
        self._headed = 0
        self._gathering = False

    def feed(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)

    @property
    def pending(self) -> int:
        """Bytes that were fed and not yet taken."""
        return self._size

    @property
    def incomplete(self) -> bool:
        """What is pending is the beginning of one message; the rest must be read before anything can be done."""
        return self._size < self._needed

    @property
    def torn(self) -> bool:
        """What was taken ends within a message, so that nothing else can follow before the rest of it."""
        return self._remaining > 0

    def next_kind(self, beyond: tuple[int, ...]) -> int | None:
        """The type byte of the first message to come that is none of ``beyond``, which are messages without a body."""
        self._join()
        position = self._offset
        while position < len(self._buffer) and self._buffer[position] in beyond:
            position += 5
        return self._buffer[position] if position < len(self._buffer) else None

    def unread(self) -> bytes:
        """Takes all that was fed and not yet taken, as it came."""
        self._join()
        return self._cut(self._size)

    def pass_rest(self) -> None:
        """The rest of the message of the last HEAD comes as PIECE frames."""
        self._skipping = False

    def gather(self) -> None:
        """The message of the last HEAD, just taken, is handed out again when it is there whole."""
        self._offset -= self._headed
        self._size += self._headed
        self._needed = self._headed + self._remaining
        self._remaining = 0
        self._gathering = True

    def skip_rest(self) -> None:
        """The rest of the message of the last HEAD is dropped as it arrives."""
        self._skipping = True

    def take(self) -> Frame | None:
        """The next frame, or None until more bytes come. Raises ProtocolViolation."""
        while self._size:
            if self._remaining:
                piece = self._take_remaining()
                if piece is not None:
                    return piece
                continue
            if self._size < self._needed:
                return None
            if self._chunks:
                self._join()
            self._needed = 0
            if self._size < 5:
                return None
            return self._frame(*_HEADER.unpack_from(self._buffer, self._offset))
        return None

    def _frame(self, kind: int, length: int) -> Frame | None:
        if not 4 <= length <= self._longest.get(kind, 0):
            self._refuse(kind)
        whole = length + 1
        if kind in _APART and self._is_apart(kind, length):
            if kind == frontend.COPY_DATA:
                return self._copy_data()
            self._remaining, self._skipping = whole, True
            return Frame(kind, Form.OVERSIZE, b"", length)
        if self._size >= whole:
            self._gathering = False
            start = self._offset
            end = self._offset = start + whole
            self._size -= whole
            return Frame(kind, Form.WHOLE, self._buffer[start:end], length)
        if kind == frontend.BIND and whole > STREAMED_ABOVE and not self._gathering:
            return self._head(length)
        self._needed = whole
        return None

    def _is_apart(self, kind: int, length: int) -> bool:
        """The message is not handed out as a whole."""
        return kind not in _STATEMENTS or length > self._limits.statement

    def _refuse(self, kind: int) -> NoReturn:
        if kind not in self._longest:
            raise ProtocolViolation(f"invalid frontend message type {kind}")
        raise ProtocolViolation("invalid message length")

    def _head(self, length: int) -> Frame | None:
        """A long Bind as soon as both names are there."""
        first = self._buffer.find(b"\0", self._offset + 5)
        if first < 0 or self._buffer.find(b"\0", first + 1) < 0:
            if self._size > STREAMED_ABOVE:
                raise ProtocolViolation("invalid string in message")
            self._needed = self._size + 1
            return None
        size = self._size
        self._headed = size
        self._remaining = length + 1 - size
        self._skipping = False
        return Frame(frontend.BIND, Form.HEAD, self._cut(size), length)

    def _copy_data(self) -> Frame:
        """One frame for all the CopyData at hand; the last may be incomplete."""
        buffer, start, end = self._buffer, self._offset, len(self._buffer)
        position = start
        while position + 5 <= end:
            kind, length = _HEADER.unpack_from(buffer, position)
            if kind != frontend.COPY_DATA:
                break
            if not 4 <= length <= self._limits.message:
                self._refuse(kind)
            position += length + 1
        self._remaining = max(position - end, 0)
        self._skipping = False
        return Frame(frontend.COPY_DATA, Form.PIECE, self._cut(min(position, end) - start), 0)

    def _take_remaining(self) -> Frame | None:
        self._join()
        data = self._cut(min(self._remaining, self._size))
        self._remaining -= len(data)
        return None if self._skipping else Frame(frontend.COPY_DATA, Form.PIECE, data, 0)

    def _join(self) -> None:
        if self._chunks:
            if self._offset < len(self._buffer):
                self._chunks.insert(0, self._buffer[self._offset :])
            self._buffer = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._offset = 0
            self._chunks = []

    def _cut(self, size: int) -> bytes:
        start = self._offset
        self._offset = start + size
        self._size -= size
        return self._buffer[start : self._offset]
