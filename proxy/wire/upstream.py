"""Message boundaries in the upstream's bytes: what nobody has to look at passes whole, in as few slices as can be."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from proxy.errors import ProtocolViolation
from proxy.wire import backend

MAX_JUDGED: Final = 64 * 1024 * 1024
"""Bytes of a message that must be read whole (an error, a notice, a row description), at most."""

_HEADER = Struct("!BI")

_PASSING = frozenset({backend.DATA_ROW, backend.COPY_DATA})
"""Rows pass unread, in pieces where they are larger than a read."""

_JUDGED = frozenset(
    {
        backend.AUTHENTICATION,
        backend.BACKEND_KEY_DATA,
        backend.NEGOTIATE_PROTOCOL_VERSION,
        backend.PARAMETER_STATUS,
        backend.READY_FOR_QUERY,
        backend.PARSE_COMPLETE,
        backend.BIND_COMPLETE,
        backend.CLOSE_COMPLETE,
        backend.COMMAND_COMPLETE,
        backend.EMPTY_QUERY_RESPONSE,
        backend.PORTAL_SUSPENDED,
        backend.ROW_DESCRIPTION,
        backend.PARAMETER_DESCRIPTION,
        backend.NO_DATA,
        backend.COPY_IN_RESPONSE,
        backend.COPY_OUT_RESPONSE,
        backend.COPY_BOTH_RESPONSE,
        backend.COPY_DONE,
        backend.ERROR_RESPONSE,
        backend.NOTICE_RESPONSE,
        backend.NOTIFICATION_RESPONSE,
        backend.FUNCTION_CALL_RESPONSE,
    }
)

Judge = Callable[[int, bytes], bytes | None]
"""Given type byte and whole message: None passes it as it is, other bytes go in its place (``b""``: nothing)."""


class UpstreamMessages:
    """Scans what the upstream sends. ``read_rows`` has DataRow judged too (the session's own query at its start)."""

    def __init__(self) -> None:
        self.read_rows = False
        self._tail: list[bytes] = []
        self._tail_size = 0
        self._needed = 0
        self._passing = 0

    @property
    def at_boundary(self) -> bool:
        """All that was handed out so far are whole messages: one of our own may follow."""
        return self._passing == 0

    def scan(self, data: bytes, judge: Judge, passed: list[bytes]) -> None:
        """Appends to ``passed`` what the client gets for ``data``, in order: one slice where nothing was replaced.

        What ``judge`` raises goes through, when all that came before that message has been appended.
        """
        if self._tail_size:
            self._tail.append(data)
            self._tail_size += len(data)
            if self._tail_size < self._needed:
                return
            data = b"".join(self._tail)
            self._tail, self._tail_size = [], 0
        end = len(data)
        start = 0
        position = min(self._passing, end)
        self._passing -= position
        try:
            while end - position >= 5:
                kind, length = _HEADER.unpack_from(data, position)
                after = position + length + 1
                if kind in _PASSING and not self.read_rows:
                    self._passing = self._beyond(length, after - end)
                    position = after if after < end else end
                    continue
                self._check(kind, length)
                if after > end:
                    self._needed = length + 1
                    break
                replaced = judge(kind, data[position:after])
                if replaced is not None:
                    if start < position:
                        passed.append(data[start:position])
                    passed.append(replaced)
                    start = after
                position = after
            else:
                self._needed = 5
        finally:
            if start < position:
                passed.append(data[start:position])
        if position < end:
            self._tail, self._tail_size = [data[position:]], end - position

    @staticmethod
    def _beyond(length: int, beyond: int) -> int:
        if length < 4:
            raise ProtocolViolation("invalid message length from the upstream")
        return max(beyond, 0)

    def _check(self, kind: int, length: int) -> None:
        if kind not in _JUDGED and kind not in _PASSING:
            raise ProtocolViolation(f"invalid message type {kind} from the upstream")
        if not 4 <= length <= MAX_JUDGED:
            raise ProtocolViolation("invalid message length from the upstream")
