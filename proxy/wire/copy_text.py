"""Fields of COPY data in text and CSV format, as PostgreSQL reads them (copyfromparse.c). Pure, and fast: whole chunks
are split at once where nothing in them is quoted or escaped.

A row that PostgreSQL refuses fails the whole COPY, so no more is asked here than that every row which it accepts is
read as it reads it. What it reads in an unusual way is refused: :class:`UnusualCopyData`.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.copying import CopyFormat

MAX_ROW: Final = 64 * 1024 * 1024
"""Bytes of a row, at most: one is held until its end has come."""

_SIMPLE = {
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
}
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|x[0-9A-Fa-f]{1,2}|.)", re.DOTALL)
_END_MARK = re.compile(rb"(?<!\\)(?:\\\\)*\\\.")


class UnusualCopyData(Exception):
    """The data has a form that is not read here. The message says which; it holds nothing of the data."""


class CopyText:
    """Feed it data, get fields: those of whole rows, one behind the other, raw as they were written.

    ``rows`` counts them. A field is NULL if it equals ``null``; :meth:`value` says what any other means.
    """

    def __init__(self, form: CopyFormat) -> None:
        self.null: bytes | None = form.null
        self.rows = 0
        self._form = form
        self._tail = b""
        self._wanted = 0
        self._header = form.header
        self._line_end: bytes | None = None
        self._ended = False
        delimiter, quote, escape = (re.escape(one) for one in (form.delimiter, form.quote, form.escape))
        if form.kind == "csv":
            inner = b"[^%b]|%b%b" % (quote, quote, quote)
            if form.escape != form.quote:
                inner = b"[^%b%b]|%b[%b%b]|%b(?![%b%b])" % (quote, escape, escape, quote, escape, escape, quote, escape)
            field = b"(?:[^%b%b\\r\\n]|%b(?:%b)*+%b)*+" % (quote, delimiter, quote, inner, quote)
        else:
            field = b"(?:[^\\\\%b\\r\\n]|\\\\.)*+" % delimiter
        self._field = re.compile(b"(%b)(%b|\\r?\\n)|(.+)" % (field, delimiter), re.DOTALL)
        self._line = re.compile(b"(?:%b%b)*%b\\r?\\n" % (field, delimiter, field), re.DOTALL)
        self._quoted = re.compile(b"%b((?:%b)*+)%b" % (quote, inner, quote), re.DOTALL) if form.kind == "csv" else None
        plain = b"[^%b%b%b\\r\\n]*+" % (quote, escape, delimiter)
        self._simple = re.compile(b"(?:(?:%b%b%b|%b)(?:%b|\\r?\\n))*+" % (quote, plain, quote, plain, delimiter))
        self._hiding = (b"\\\n", b"\\\r", b"\\.", b"\\" + form.delimiter)
        self._escaped = re.compile(b"%b([%b%b])" % (escape, quote, escape))

    def feed(self, data: bytes) -> list[bytes]:
        """The fields of the rows that ``data`` completes. Raises UnusualCopyData."""
        if self._ended:
            return []
        data = self._tail + data if self._tail else data
        if len(data) < self._wanted:
            self._tail = data
            return []
        if len(data) > MAX_ROW * 2:
            raise UnusualCopyData(f"a row of more than {MAX_ROW} bytes")
        if self._header:
            line = self._line.match(data)
            if line is None:
                return self._keep(data)
            self._end_line(data[: line.end()], last=True)
            self._header = False
            data = data[line.end() :]
        fields, read = self._plain(data) if self._is_plain(data) else self._special(data)
        self._keep(data[read:])
        if len(fields) % self._form.columns:
            raise UnusualCopyData("rows of different lengths")
        self.rows += len(fields) // self._form.columns
        return fields

    def finish(self) -> list[bytes]:
        """The fields of a last row that no newline ends."""
        self._wanted = 0
        if not self._tail or self._ended:
            return []
        fields = self.feed(b"\r\n" if self._line_end == b"\r\n" else b"\n")
        if self._tail and not self._ended:
            raise UnusualCopyData("a row without an end")
        return fields

    def value(self, field: bytes) -> bytes:
        """What a field that is not NULL means."""
        if self._quoted is None:
            return _ESCAPE.sub(_unescaped, field) if b"\\" in field else field
        if self._form.quote not in field:
            return field
        return self._quoted.sub(lambda found: self._escaped.sub(rb"\1", found[1]), field)

    def _keep(self, tail: bytes) -> list[bytes]:
        """A row that has only begun is looked at again when there is twice as much of it."""
        self._tail = tail
        self._wanted = 2 * len(tail) if len(tail) > 64 * 1024 else 0
        return []

    def _is_plain(self, data: bytes) -> bool:
        """Every delimiter and newline separates."""
        if self._form.kind == "csv":
            if b"\\." in data and self._form.mark_ends:
                return False
            if self._form.quote not in data:
                return True
            simple = self._simple.match(data)
            return simple is not None and simple.end() > data.rfind(b"\n")
        return b"\\" not in data or not any(hidden in data for hidden in self._hiding)

    def _plain(self, data: bytes) -> tuple[list[bytes], int]:
        end = data.rfind(b"\n") + 1
        if not end:
            return [], 0
        lines = data[:end]
        self._end_line(lines, last=False)
        if self._line_end == b"\r\n":
            lines = lines.replace(b"\r\n", b"\n")
        fields = lines.replace(b"\n", self._form.delimiter).split(self._form.delimiter)
        fields.pop()
        return fields, end

    def _end_line(self, lines: bytes, *, last: bool) -> None:
        """All lines must end alike, as for PostgreSQL."""
        if self._line_end is None:
            end = lines.rfind(b"\n") if last else lines.find(b"\n")
            self._line_end = b"\r\n" if lines[end - 1 : end] == b"\r" else b"\n"
        returns = lines.count(b"\r")
        if last or (not returns and self._line_end == b"\n"):
            return
        if self._line_end == b"\n" or not returns == lines.count(b"\r\n") == lines.count(b"\n"):
            raise UnusualCopyData("carriage returns that end no line, or some lines only")

    def _special(self, data: bytes) -> tuple[list[bytes], int]:
        """With quotes or backslashes: field by field, up to the end of the last whole row."""
        if self._form.kind == "text" or self._form.mark_ends:
            data = self._up_to_mark(data)
        # What is no whole field is the last thing found, with all behind it.
        found = self._field.findall(data)
        rest = len(found.pop()[2]) if found and found[-1][2] else 0
        separators = [separator for _, separator, _ in found]
        size, delimiter = self._form.columns, self._form.delimiter
        rows = len(found) - separators.count(delimiter)
        if not rows:
            return [], len(data) if self._ended else 0
        ends = separators[size - 1 : rows * size : size]
        if self._line_end is None:
            self._line_end = ends[0] if ends else b""
        if ends.count(self._line_end) != rows or separators[: rows * size].count(delimiter) != rows * (size - 1):
            raise UnusualCopyData("rows of different lengths, or lines that end in different ways")
        fields = [field for field, _, _ in found]
        rest += sum(map(len, fields[rows * size :])) + sum(map(len, separators[rows * size :]))
        del fields[rows * size :]
        return fields, len(data) if self._ended else len(data) - rest

    def _up_to_mark(self, data: bytes) -> bytes:
        """``data`` up to the line ``\\.``, which ends it. Anything else that looks like one is refused."""
        found = re.search(rb"\\\.", data) if self._form.kind == "csv" else _END_MARK.search(data)
        if found is None:
            return data
        mark = found.end() - 2
        if self._form.kind == "csv" or data[mark - 1 : mark] not in (b"", b"\n"):
            raise UnusualCopyData("a mark of its end amid the data")
        self._ended = True
        return data[:mark]


def _unescaped(found: re.Match[bytes]) -> bytes:
    code = found[1]
    if code[:1].isdigit() and code[:1] < b"8":
        return bytes((int(code, 8) & 0xFF,))
    if len(code) > 1:
        return bytes((int(code[1:], 16),))
    return _SIMPLE.get(code, code)
