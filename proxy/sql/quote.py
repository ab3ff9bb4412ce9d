"""Identifiers and literals as SQL that means the same under every setting."""

from __future__ import annotations


def identifier(name: str) -> str:
    """``name`` as a quoted identifier (PostgreSQL manual 4.1.1): never folded, never a keyword."""
    return '"' + name.replace('"', '""') + '"'


def qualified(schema: str, name: str) -> str:
    """``schema.name``, both quoted: independent of ``search_path``."""
    return f"{identifier(schema)}.{identifier(name)}"


def literal(value: str) -> str:
    """``value`` as a string constant of type text, whatever ``standard_conforming_strings`` says of backslashes.

    Raises ValueError for NUL, which no PostgreSQL text can hold.
    """
    if "\0" in value:
        raise ValueError("a NUL character has no place in SQL text")
    if "\\" in value:
        return "E'" + value.replace("\\", "\\\\").replace("'", "''") + "'::pg_catalog.text"
    return "'" + value.replace("'", "''") + "'::pg_catalog.text"
