"""The options of COPY FROM that say how its data is written (manual, COPY)."""

from __future__ import annotations

from typing import Final, Literal

from proxy.copying import CopyFormat
from proxy.sql.grammar import Node
from proxy.sql.tree import strings

_PLAIN: Final = frozenset({"format", "delimiter", "null", "header", "quote", "escape", "encoding", "freeze"})
_HARMLESS: Final = frozenset({"force_null", "log_verbosity"})
"""Beside those that are read: what they change is no row, nor whose it is, unless it :func:`forces_null` where that is
said. (Any other value that FORCE_NULL makes NULL is checked as if it were none.)"""
_UNFIT: Final = frozenset(b"\\.\r\n\0")
_FALSE: Final = frozenset({"false", "off", "0"})


class UnreadableCopy(Exception):
    """The data cannot be read beside the server with this option. The message names it."""


def copy_format(node: Node, columns: int, *, mark_ends: bool) -> CopyFormat:
    """How the data of a COPY FROM with ``columns`` columns is written. Raises UnreadableCopy."""
    given = {str(one["DefElem"]["defname"]): one["DefElem"].get("arg") for one in node.get("options", ())}
    for name in given.keys() - _PLAIN - _HARMLESS:
        if name != "on_error" or _text(given[name]) != "stop":
            raise UnreadableCopy(name.upper())
    if (_text(given.get("encoding")) or "utf8").lower().replace("-", "") not in ("utf8", "unicode"):
        raise UnreadableCopy("ENCODING")
    kind = _kind(_text(given.get("format")) or "text")
    csv = kind == "csv"
    quote = _character(given, "quote", b'"')
    form = CopyFormat(
        kind=kind,
        columns=columns,
        delimiter=_character(given, "delimiter", b"," if csv else b"\t"),
        null=_bytes(given, "null", b"" if csv else b"\\N"),
        quote=quote,
        escape=_character(given, "escape", quote),
        header="header" in given and (_text(given["header"]) or "true").lower() not in _FALSE,
        mark_ends=mark_ends and csv,
    )
    if not csv and form.delimiter.isalnum():
        raise UnreadableCopy("DELIMITER")
    if form.quote in form.null and csv:
        raise UnreadableCopy("NULL")
    return form


def forces_null(node: Node, column: str) -> bool:
    """FORCE_NULL makes a quoted value of ``column`` NULL, if it reads as NULL is written."""
    given = [
        one["DefElem"].get("arg", {}) for one in node.get("options", ()) if one["DefElem"]["defname"] == "force_null"
    ]
    return any("List" not in one or column in strings(one["List"].get("items")) for one in given)


def _kind(name: str) -> Literal["text", "csv", "binary"]:
    match name.lower():
        case "text":
            return "text"
        case "csv":
            return "csv"
        case "binary":
            return "binary"
        case _:
            raise UnreadableCopy("FORMAT")


def _character(given: dict[str, Node | None], name: str, default: bytes) -> bytes:
    character = _bytes(given, name, default)
    if len(character) != 1 or character[0] in _UNFIT - ({ord("\\")} if name == "escape" else set()):
        raise UnreadableCopy(name.upper())
    return character


def _bytes(given: dict[str, Node | None], name: str, default: bytes) -> bytes:
    text = _text(given.get(name))
    return default if text is None else text.encode()


def _text(argument: Node | None) -> str | None:
    """The value of an option, as text; None where it has none, or a list."""
    if argument is None:
        return None
    if "String" in argument:
        return str(argument["String"].get("sval", ""))
    if "Boolean" in argument:
        return "true" if argument["Boolean"].get("boolval") else "false"
    if "Integer" in argument:
        return str(argument["Integer"].get("ival", 0))
    return None
