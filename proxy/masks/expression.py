"""SQL that means the same in every session: all names qualified, no setting asked, results of one exact type."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.catalog.model import Column

# OIDs of pg_type.dat: they are part of the wire protocol and never change.
BOOL, INT8, INT2, INT4 = 16, 20, 21, 23
FLOAT4, FLOAT8, NUMERIC = 700, 701, 1700
NAME, TEXT, BPCHAR, VARCHAR = 19, 25, 1042, 1043
DATE, TIME, TIMESTAMP, TIMESTAMPTZ, UUID = 1082, 1083, 1114, 1184, 2950

NAME_BYTES = 63
"""A cast to ``name`` silently cuts what is longer (NAMEDATALEN - 1)."""

_TYPMOD_HEADER = 4  # VARHDRSZ: what varchar, bpchar and numeric add to a modifier

Branch = tuple[str, str]
"""A condition and the value where it is true."""


def literal(text: str) -> str:
    """A string constant that reads the same whatever ``standard_conforming_strings`` says."""
    quoted = text.replace("'", "''")
    return f"'{quoted}'" if "\\" not in text else "E'" + quoted.replace("\\", "\\\\") + "'"


def cast(value: str, type_sql: str) -> str:
    return f"({value})::{type_sql}"


def call(function: str, *arguments: str) -> str:
    return f"pg_catalog.{function}({', '.join(arguments)})"


def operate(left: str, operator: str, right: str) -> str:
    return f"({left} OPERATOR(pg_catalog.{operator}) {right})"


def concatenate(*parts: str) -> str:
    result = parts[0]
    for part in parts[1:]:
        result = operate(result, "||", part)
    return result


def base_sql(column: Column) -> str:
    """The type under all domains, with its modifier."""
    return column.base_sql or column.type_sql


def base_typmod(column: Column) -> int:
    return column.base_typmod if column.is_domain else column.typmod


def is_text(column: Column) -> bool:
    """Text, varchar, char, name, citext, and domains over them.

    Not ``"char"``, which holds one byte, and not what users put into category ``S``: its input function may raise.
    """
    if column.base_type in (TEXT, VARCHAR, BPCHAR, NAME):
        return True
    own = base_sql(column).rpartition(".")[2]
    return column.type_category == "S" and own == "citext"


def character_limit(column: Column) -> int | None:
    """How many characters the declared type holds; None: any number (``name`` is limited in bytes)."""
    typmod = base_typmod(column)
    return typmod - _TYPMOD_HEADER if column.base_type in (VARCHAR, BPCHAR) and typmod >= _TYPMOD_HEADER else None


def numeric_limits(column: Column) -> tuple[int, int] | None:
    """Precision and scale of a numeric with a modifier (make_numeric_typmod); the scale may be negative."""
    typmod = base_typmod(column) - _TYPMOD_HEADER
    if column.base_type != NUMERIC or typmod < 0:
        return None
    return typmod >> 16 & 0xFFFF, ((typmod & 0x7FF) ^ 1024) - 1024


def null(column: Column) -> str:
    """NULL of exactly the column's type, which never raises."""
    typed = _typed_null(column)
    return f"({typed} COLLATE {column.collation})" if column.collation else typed


def _typed_null(column: Column) -> str:
    """A domain checks NULL as it is cast, and NOT NULL or a CHECK may refuse it; a scalar subquery without rows yields
    NULL of the domain's type and casts nothing (CREATE DOMAIN, Notes).
    """
    typed = f"NULL::{column.type_sql}"
    return f"(SELECT {typed} WHERE false)" if column.is_domain else f"({typed})"


def choose(branches: Sequence[Branch], column: Column, *, collated: bool = False) -> str:
    """The value of the first branch whose condition is true, cast to the column's type; else NULL.

    A branch must fit the declared length and must not be NULL. Where a domain has a CHECK, no value can be shown
    without running it, so the cell is NULL. ``collated``: the branches carry an explicit collation for their functions.
    """
    if not branches or (column.is_domain and column.domain_checked):
        return null(column)
    whens = " ".join(f"WHEN {condition} THEN {cast(value, column.type_sql)}" for condition, value in branches)
    chosen = f"(CASE {whens} ELSE {_typed_null(column)} END)"
    if column.collation is None and not collated:
        return chosen
    collation = column.collation or 'pg_catalog."default"'
    return f"({chosen} COLLATE {collation})"
