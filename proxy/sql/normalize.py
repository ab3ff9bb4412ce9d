"""A statement without its literals and comments: what the audit may keep of a text."""

from __future__ import annotations

import hashlib

from proxy.sql.grammar import Token

_LITERALS = frozenset({"SCONST", "USCONST", "ICONST", "FCONST", "BCONST", "XCONST"})


def normalize(query: bytes, tokens: list[Token]) -> str:
    """``?`` for each literal, one space for white space and comments; everything else as the client wrote it."""
    parts: list[str] = []
    end = -1
    for token in tokens:
        if token.comment:
            continue
        if parts and token.start > end:
            parts.append(" ")
        parts.append("?" if token.kind in _LITERALS else query[token.start : token.end].decode("utf-8"))
        end = token.end
    return "".join(parts)


def fingerprint(normalized: str) -> str:
    """A name for all statements that differ in literals, comments and white space only: 16 hex digits."""
    return hashlib.sha256(normalized.encode()).hexdigest()[:16]
