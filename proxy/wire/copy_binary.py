"""Fields of COPY data in binary format (manual, COPY, Binary Format). Pure."""

from __future__ import annotations

from struct import Struct
from typing import Final

from proxy.wire.copy_text import MAX_ROW, UnusualCopyData

SIGNATURE: Final = b"PGCOPY\n\xff\r\n\x00"

_COUNT = Struct("!h")
_LENGTH = Struct("!i")
_HEADER_BYTES: Final = len(SIGNATURE) + 8


class CopyBinary:
    """As :class:`proxy.wire.copy_text.CopyText`; a field that is NULL is None here."""

    def __init__(self, columns: int) -> None:
        self.rows = 0
        self._columns = columns
        self._tail = b""
        self._wanted = _HEADER_BYTES
        self._begun = False
        self._ended = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """The fields of the rows that ``data`` completes. Raises UnusualCopyData."""
        if self._ended:
            return []
        if self._tail:
            data = self._tail + data
        position = 0
        fields: list[bytes | None] = []
        if len(data) >= self._wanted and not self._begun:
            position = self._begin(data)
        if len(data) >= self._wanted and self._begun:
            position = self._rows(data, position, fields)
        self._tail = data[position:]
        if len(self._tail) > MAX_ROW * 2:
            raise UnusualCopyData(f"a row of more than {MAX_ROW} bytes")
        self.rows += len(fields) // self._columns
        return fields

    def finish(self) -> list[bytes | None]:
        """No row is without its end here. Raises UnusualCopyData if something is left."""
        if self._tail and not self._ended:
            raise UnusualCopyData("a row without an end")
        return []

    def _begin(self, data: bytes) -> int:
        """Reads the header. Returns the offset behind it, 0 if it is not all there."""
        if not data.startswith(SIGNATURE) or data[11:15] != bytes(4):
            raise UnusualCopyData("another header than that of PostgreSQL's binary format")
        (extension,) = _LENGTH.unpack_from(data, 15)
        if not 0 <= extension <= MAX_ROW:
            raise UnusualCopyData("another header than that of PostgreSQL's binary format")
        self._wanted = _HEADER_BYTES + extension
        if len(data) < self._wanted:
            return 0
        self._begun, begun = True, self._wanted
        self._wanted = 0
        return begun

    def _rows(self, data: bytes, position: int, fields: list[bytes | None]) -> int:
        """Reads whole rows into ``fields``. Returns the offset behind them."""
        end = len(data)
        unpack, append = _LENGTH.unpack_from, fields.append
        numbers = range(self._columns)
        while end - position >= 2:
            (count,) = _COUNT.unpack_from(data, position)
            if count != self._columns:
                if count != -1:
                    raise UnusualCopyData("rows of different lengths")
                self._ended = True
                return end
            offset = position + 2
            for _ in numbers:
                if end - offset < 4:
                    break
                (length,) = unpack(data, offset)
                offset += 4
                if length < 0:
                    append(None)
                    continue
                after = offset + length
                if after > end:
                    self._wanted = 2 * end if length > 64 * 1024 else 0
                    break
                append(data[offset:after])
                offset = after
            else:
                position = offset
                self._wanted = 0
                continue
            break
        del fields[len(fields) - len(fields) % self._columns :]
        # What is wanted is counted from where the tail begins.
        self._wanted = max(self._wanted - position, 0)
        return position
