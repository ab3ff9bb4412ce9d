"""The rows of one COPY FROM STDIN: whose they are, read out of the data on its way to the upstream.

What is kept is each subject once, in a file where there are many: memory stays bounded, whatever is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from struct import Struct
from typing import IO, Final
from uuid import UUID

from proxy.copying import CopyCheck, CopyGroup
from proxy.wire.copy_binary import CopyBinary
from proxy.wire.copy_text import CopyText, UnusualCopyData

BATCH: Final = 8192
"""Rows that one check is about."""
_REMEMBERED: Final = 200_000
"""Subjects that are known to have been seen. Beyond, they are kept once for each chunk of data that they stand in."""
_CHUNK: Final = 64 * 1024
"""Bytes of data that are read at once."""

_HEADER = Struct("!BI")
_LENGTH = Struct("!i")
_FRAME = Struct("!II")
_ARRAY = Struct("!5I")
_TEXT: Final = 25
_INTEGERS: Final = frozenset({20, 21, 23})
_CHARACTERS: Final = frozenset({25, 1043})
_UUID: Final = 2950

Values = tuple[bytes | None, ...]
Spool = Callable[[], IO[bytes]]


@dataclass(slots=True, eq=False)
class _Subjects:
    """The rows of one group, each that differs once: ``seen`` raw, the others written into ``spool``."""

    group: CopyGroup
    spool: IO[bytes]
    seen: set[Values] = field(default_factory=set)
    pending: list[Values] = field(default_factory=list)

    def add(self, found: set[Values], meaning: Callable[[bytes | None, int], bytes | None]) -> None:
        new = found - self.seen
        if len(self.seen) < _REMEMBERED:
            self.seen |= new
        types = self.group.types
        self.pending += [tuple(map(meaning, values, types)) for values in new]
        while len(self.pending) >= BATCH:
            self._write(self.pending[:BATCH])
            del self.pending[:BATCH]

    def _write(self, rows: list[Values]) -> None:
        for values in zip(*rows, strict=True):
            array = b"".join(
                b"\xff\xff\xff\xff" if value is None else _LENGTH.pack(len(value)) + value for value in values
            )
            self.spool.write(_FRAME.pack(len(values), len(array)))
            self.spool.write(array)

    def batches(self) -> Iterator[list[bytes]]:
        """The parameters of each check to make: arrays of text, in binary format (array_recv)."""
        if self.pending:
            self._write(self.pending)
            self.pending.clear()
        self.seen.clear()
        self.spool.seek(0)
        while frame := self.spool.read(_FRAME.size):
            parameters = []
            for _ in self.group.values:
                count, size = _FRAME.unpack(frame)
                parameters.append(_ARRAY.pack(1, 1, _TEXT, count, 1) + self.spool.read(size))
                if len(parameters) < len(self.group.values):
                    frame = self.spool.read(_FRAME.size)
            yield parameters


class CopiedRows:
    """Feed it what the client sends after the upstream asked for data; then ask what is to be checked.

    ``rejected``: the number of a check that some row fails for certain. ``unusual``: why the data could not be read.
    """

    def __init__(self, check: CopyCheck, open_spool: Spool) -> None:
        form = check.form
        self.rejected: int | None = None
        self.unusual = ""
        self._check = check
        self._reader = CopyBinary(form.columns) if form.kind == "binary" else CopyText(form)
        self._null = None if form.kind == "binary" else form.null
        self._subjects = [_Subjects(group, open_spool()) for group in check.groups if group.sql]
        self._refusing = [group for group in check.groups if not group.sql]
        self._chunks: list[bytes] = []
        self._size = 0
        self._remaining = 0

    def feed(self, piece: bytes) -> None:
        """More of the client's messages: CopyData, whole or in part."""
        position, end = min(self._remaining, len(piece)), len(piece)
        self._remaining -= position
        if position:
            self._chunks.append(piece[:position])
        self._size += position
        while position < end:
            _, length = _HEADER.unpack_from(piece, position)
            after = position + length + 1
            self._chunks.append(piece[position + 5 : after])
            self._size += length - 4
            position = after
        self._remaining += max(position - end, 0)
        self._size -= max(position - end, 0)
        if self._size >= _CHUNK:
            self._read()

    def finish(self) -> None:
        """The client has sent all of it."""
        self._read()
        if not self.unusual:
            self._reading(self._reader.finish)

    def stored(self, rows: int | None) -> None:
        """The upstream says that it stored ``rows``; if that cannot be, the data was not read as it reads it."""
        read = self._reader.rows
        if rows is None or rows > read or (rows != read and not self._check.filtered):
            self.unusual = self.unusual or "rows that the server reads otherwise"

    def batches(self) -> Iterator[tuple[CopyGroup, list[bytes]]]:
        """Each check to make, with its parameters."""
        for subjects in self._subjects:
            for parameters in subjects.batches():
                yield subjects.group, parameters

    def close(self) -> None:
        """Nothing of it is needed any more."""
        for subjects in self._subjects:
            subjects.spool.close()

    def _read(self) -> None:
        data = b"".join(self._chunks)
        self._chunks, self._size = [], 0
        if not self.unusual:
            self._reading(lambda: self._reader.feed(data))

    def _reading(self, read: Callable[[], list[bytes] | list[bytes | None]]) -> None:
        try:
            fields = read()
            for group in self._refusing:
                if self._written(group, fields) is not None:
                    self.rejected = group.number
            for subjects in self._subjects:
                found = self._written(subjects.group, fields)
                if found is not None:
                    subjects.add(found, self._meaning)
        except UnusualCopyData as unusual:
            self.unusual = str(unusual)

    def _written(self, group: CopyGroup, fields: list[bytes] | list[bytes | None]) -> set[Values] | None:
        """The values of the rows in which a column of ``group`` is not NULL; None if there is no such row."""
        if not fields:
            return None
        size, null = self._check.form.columns, self._null
        cells = [fields[number::size] for number in group.fields]
        values: Iterable[Values] = zip(*(fields[number::size] for number in group.values), strict=True)
        if not group.values:
            values = ((),) * (len(fields) // size)
        if any(null not in column for column in cells):
            return set(values)
        return {one for one, *row in zip(values, *cells, strict=True) if any(cell != null for cell in row)} or None

    def _meaning(self, value: bytes | None, type_oid: int) -> bytes | None:
        """A field as its type's input function would read it; None for NULL."""
        if value is None or value == self._null:
            return None
        if isinstance(self._reader, CopyText):
            return self._reader.value(value)
        if type_oid in _INTEGERS:
            return b"%d" % int.from_bytes(value, "big", signed=True)
        if type_oid == _UUID:
            return str(UUID(bytes=value)).encode()
        if type_oid in _CHARACTERS:
            return value
        raise UnusualCopyData("a subject's key of a type that is not read in binary format")
