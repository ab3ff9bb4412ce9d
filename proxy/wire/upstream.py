"""Message boundaries in the upstream's bytes: what nobody has to look at passes whole, in as few slices as can be."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto
from struct import Struct
from typing import Final, NoReturn

from proxy.errors import ProtocolViolation
from proxy.wire import backend

MAX_JUDGED: Final = 64 * 1024 * 1024
"""Bytes of a message that must be read whole (an error, a notice, a row description), at most."""

_HEADER = Struct("!BI")
_ROW = Struct("!BIH")
_COLUMNS = Struct("!H")
_NULL: Final = b"\xff\xff\xff\xff"
_GATHERED: Final = 64 * 1024
"""Bytes of a row that is cut when it is there whole; a longer one is cut on its way."""

_NULL_ROWS = re.compile(rb"(?:D\x00\x00\x00\x0a\x00\x01\xff\xff\xff\xff)+")
"""DataRows of one column that is NULL, as many as stand together."""

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

_KNOWN = _JUDGED | _PASSING

Judge = Callable[[int, bytes], bytes | None]
"""Given type byte and whole message: None passes it as it is, other bytes go in its place (``b""``: nothing)."""


class Rows(Enum):
    """What the client gets of the DataRows up to the next message of another kind."""

    PASS = auto()
    DROP = auto()
    CUT = auto()
    """All but their last column, which must be NULL."""


def _all_pass() -> Rows:
    return Rows.PASS


class UpstreamMessages:
    """Scans what the upstream sends. ``read_rows`` has DataRow and CopyData judged too (until
    a session has started: there are none but those of its own query).

    ``ask_rows`` is called before the first DataRow behind any other message.
    """

    def __init__(self) -> None:
        self.read_rows = False
        self.ask_rows: Callable[[], Rows] = _all_pass
        self._rows: Rows | None = None
        self._dropping = 0
        self._cutting = 0
        self._tail: list[bytes] = []
        self._tail_size = 0
        self._needed = 0
        self._passing = 0

    @property
    def at_boundary(self) -> bool:
        """All that was handed out so far are whole messages: one of our own may follow."""
        return self._passing == 0 and self._cutting == 0

    def scan(self, data: bytes, judge: Judge, passed: list[bytes]) -> None:  # noqa: C901 - a call for each row costs
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
        start, position = self._begin(data, passed)
        self._needed, whole = 5, Rows.PASS
        try:
            while end - position >= self._needed:
                kind, length = _HEADER.unpack_from(data, position)
                after = position + length + 1
                if kind in _PASSING and not self.read_rows:
                    if kind == backend.DATA_ROW and (self._rows or self._asked()) is not whole:
                        if start < position:
                            passed.append(data[start:position])
                        start = position = self._changed_row(data, position, after, passed)
                        continue
                    if length < 4 or after > end:
                        self._passing = self._beyond(length, after - end)
                    position = after if after < end else end
                    continue
                if kind not in _KNOWN or not 4 <= length <= MAX_JUDGED:
                    self._refuse(kind)
                self._rows = None
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
        finally:
            if start < position:
                passed.append(data[start:position])
        if position < end:
            self._tail, self._tail_size = [data[position:]], end - position

    def _begin(self, data: bytes, passed: list[bytes]) -> tuple[int, int]:
        """Goes on with a row that began in earlier data. Returns what is still to be passed: from, to."""
        position = min(self._passing, len(data))
        self._passing -= position
        if not self._dropping and not self._cutting:
            return 0, position
        if position:
            passed.append(data[:position])
        position = self._left_out(data, position)
        return position, position

    def _asked(self) -> Rows:
        self._rows = self.ask_rows()
        return self._rows

    def _changed_row(self, data: bytes, position: int, after: int, passed: list[bytes]) -> int:
        """Drops or cuts the DataRow at ``position`` that ends before ``after``. Returns where to go on: at the same
        place, with ``_needed`` raised, if not enough of it is there."""
        end = len(data)
        if self._rows is Rows.DROP:
            null_rows = _NULL_ROWS.match(data, position)
            if null_rows is not None:
                return null_rows.end()
            self._dropping = self._beyond(after - position - 1, after - end)
            return min(after, end)
        size = after - position
        if end - position < min(size, _GATHERED):
            self._needed = min(size, _GATHERED)
            return position
        columns = _COLUMNS.unpack_from(data, position + 5)[0] if size >= 11 else 0
        if columns == 0 or (after <= end and data[after - 4 : after] != _NULL):
            raise ProtocolViolation("a row from the upstream does not end as it must")
        self._needed = 5
        passed.append(_ROW.pack(backend.DATA_ROW, size - 5, columns - 1))
        passed.append(data[position + 7 : min(after - 4, end)])
        if after <= end:
            return after
        self._passing, self._cutting = max(after - 4 - end, 0), 4
        return self._left_out(data, min(after - 4, end))

    def _left_out(self, data: bytes, position: int) -> int:
        """Skips what is left to drop, or the end of a row that is cut once all before it has passed."""
        if self._dropping:
            skipped = min(self._dropping, len(data) - position)
            self._dropping -= skipped
        elif self._passing:
            skipped = 0
        else:
            skipped = min(self._cutting, len(data) - position)
            self._cutting -= skipped
            if data[position : position + skipped] != _NULL[:skipped]:
                raise ProtocolViolation("a row from the upstream does not end as it must")
        return position + skipped

    @staticmethod
    def _beyond(length: int, beyond: int) -> int:
        if length < 4:
            raise ProtocolViolation("invalid message length from the upstream")
        return max(beyond, 0)

    @staticmethod
    def _refuse(kind: int) -> NoReturn:
        if kind not in _KNOWN:
            raise ProtocolViolation(f"invalid message type {kind} from the upstream")
        raise ProtocolViolation("invalid message length from the upstream")
