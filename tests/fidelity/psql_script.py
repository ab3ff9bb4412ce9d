"""Reads a psql script as psql does (psqlscan.l): statements, backslash commands, variables and COPY data.

Only the structure is read here. Variables are put in when a statement is rendered, since their values depend on what
the server answered before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

SENDING = frozenset({"g", "gx", "gset", "gexec", "gdesc", "crosstabview", "watch"})
"""Backslash commands that send what was written before them."""

_VARIABLE = re.compile(r""":(?:\{\?(?P<known>\w+)\}|'(?P<literal>\w+)'|"(?P<name>\w+)"|(?P<raw>\w+))""")
_DOLLAR = re.compile(r"\$(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?\$")
_WORD = re.compile(r"[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*")
_META = re.compile(r"\\(?P<name>[a-zA-Z_]+[+S]*|[!?.])(?P<arguments>[^\n\\]*)")
_ROUTINE = re.compile(r"\s*create\s+(or\s+replace\s+)?(function|procedure)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Statement:
    """What psql would send at once. ``sent_by`` is ``;`` or the name of the backslash command that sends it."""

    line: int
    text: str
    sent_by: str
    argument: str
    bound: str | None

    def render(self, variables: Mapping[str, str]) -> str:
        """The text with psql's variables in it; a name that is no variable stays as it stands."""
        return interpolate(self.text, variables)


@dataclass(frozen=True, slots=True)
class Meta:
    """A backslash command that sends nothing."""

    line: int
    name: str
    arguments: str


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """``:name``, ``:'name'``, ``:"name"`` and ``:{?name}`` outside of quotes and comments."""
    pieces: list[str] = []
    at = 0
    while at < len(text):
        after = _opaque(text, at)
        if after > at:
            pieces.append(text[at:after])
            at = after
        elif text.startswith("::", at):
            pieces.append("::")
            at += 2
        elif text[at] == ":" and (found := _VARIABLE.match(text, at)):
            pieces.append(_value(found, variables))
            at = found.end()
        else:
            pieces.append(text[at])
            at += 1
    return "".join(pieces)


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name = found[found.lastgroup or "raw"]
    if found.lastgroup == "known":
        return "TRUE" if name in variables else "FALSE"
    value = variables.get(name)
    if value is None:
        return found.group()
    if found.lastgroup == "literal":
        quoted = value.replace("'", "''")
        return f" E'{quoted}'".replace("\\", "\\\\") if "\\" in value else f"'{quoted}'"
    return '"' + value.replace('"', '""') + '"' if found.lastgroup == "name" else value


def _opaque(text: str, at: int) -> int:
    """Where the quote or comment that begins at ``at`` ends; ``at`` if none begins there."""
    match text[at]:
        case "'":
            return _quoted(text, at + 1, escapes=_escapes(text, at))
        case '"':
            end = text.find('"', at + 1)
            return len(text) if end < 0 else end + 1
        case "$" if (found := _DOLLAR.match(text, at)) and not (at and (text[at - 1].isalnum() or text[at - 1] == "_")):
            end = text.find(found.group(), found.end())
            return len(text) if end < 0 else end + len(found.group())
        case "-" if text.startswith("--", at):
            end = text.find("\n", at)
            return len(text) if end < 0 else end
        case "/" if text.startswith("/*", at):
            return _comment(text, at)
        case _:
            return at


def _escapes(text: str, at: int) -> bool:
    return at > 0 and text[at - 1] in "eE" and not (at > 1 and (text[at - 2].isalnum() or text[at - 2] in "_$"))


def _quoted(text: str, at: int, *, escapes: bool) -> int:
    while at < len(text):
        if escapes and text[at] == "\\":
            at += 2
        elif text[at] == "'":
            return at + 1
        else:
            at += 1
    return len(text)


def _comment(text: str, at: int) -> int:
    depth = 0
    while at < len(text):
        if text.startswith("/*", at):
            depth, at = depth + 1, at + 2
        elif text.startswith("*/", at):
            depth, at = depth - 1, at + 2
            if not depth:
                return at
        else:
            at += 1
    return len(text)


class Script:
    """One script. ``next`` gives what comes next; ``data`` the COPY data that stands at this place."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._bound: str | None = None
        self._clear()

    def _clear(self) -> None:
        self._pieces: list[str] = []
        self._parentheses = 0
        self._blocks = 0
        self._line = 0
        self._bound = None

    def next(self) -> Statement | Meta | None:
        """None at the end of the script."""
        text = self._text
        while self._at < len(text):
            at = self._at
            char = text[at]
            after = _opaque(text, at)
            if after > at:
                self._take(after)
            elif char == "\\":
                if (found := self._backslash()) is not None:
                    return found
            elif char == ";" and not self._parentheses and not self._blocks:
                self._at += 1
                if (sent := self._sent(";", "")) is not None:
                    return sent
            elif word := _WORD.match(text, at):
                self._count_blocks(word.group().lower())
                self._take(word.end())
            else:
                self._parentheses = max(0, self._parentheses + (char == "(") - (char == ")"))
                self._take(at + 1)
        return self._sent(";", "")

    def data(self) -> list[str]:
        """The lines up to ``\\.``, which is taken too."""
        start = self._text.find("\n", self._at) + 1
        lines = []
        while start < len(self._text):
            end = self._text.find("\n", start)
            end = len(self._text) if end < 0 else end
            line = self._text[start:end]
            start = end + 1
            if line == "\\.":
                break
            lines.append(line)
        self._at = min(start, len(self._text))
        return lines

    def clear(self) -> None:
        """Forgets what was written of the next statement (``\\r``)."""
        self._clear()

    def _take(self, until: int) -> None:
        piece = self._text[self._at : until]
        if not self._line and piece.strip() and not piece.startswith(("--", "/*")):
            self._line = self._text.count("\n", 0, self._at) + 1
        self._pieces.append(piece)
        self._at = until

    def _sent(self, by: str, argument: str) -> Statement | None:
        text, line, bound = "".join(self._pieces).strip(), self._line, self._bound
        self._clear()
        return Statement(line, text, by, argument.strip(), bound) if line else None

    def _count_blocks(self, word: str) -> None:
        """BEGIN ATOMIC … END of a function's body holds semicolons."""
        opens = word == "begin" and _ROUTINE.match(self._visible())
        if opens or (word == "case" and self._blocks):
            self._blocks += 1
        elif word == "end" and self._blocks:
            self._blocks -= 1

    def _visible(self) -> str:
        return "".join(piece for piece in self._pieces if not piece.startswith(("--", "/*")))

    def _backslash(self) -> Statement | Meta | None:
        if self._text.startswith("\\;", self._at):
            self._pieces.append(";")
            self._at += 2
            return None
        found = _META.match(self._text, self._at)
        if found is None:
            self._take(self._at + 1)
            return None
        self._at = found.end()
        name, arguments = found["name"], found["arguments"]
        if name == "bind":
            self._bound = arguments
            return None
        if name in SENDING:
            return self._sent(name, arguments)
        if name == "r":
            self._clear()
        # A backslash in the arguments of a command that sends nothing belongs to them.
        end = self._text.find("\n", self._at)
        end = len(self._text) if end < 0 else end
        rest, self._at = self._text[self._at : end], end
        return Meta(self._text.count("\n", 0, found.start()) + 1, name, arguments + rest)
