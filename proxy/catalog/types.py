"""How a type is written so that it means the same under every search_path, and what lies under domains. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

INTERVAL = 1186
_CHARACTERS = frozenset({1042, 1043})  # bpchar, varchar
_NUMERIC = 1700
_PLAIN = frozenset({1083, 1114, 1184, 1266, 1560, 1562})  # times, timestamps, bits: the modifier is the number itself
_HEADER = 4  # VARHDRSZ

_FIELDS = {  # masks of datetime.h, as intervaltypmodin combines them
    "year": 1 << 2,
    "month": 1 << 1,
    "day": 1 << 3,
    "hour": 1 << 10,
    "minute": 1 << 11,
    "second": 1 << 12,
}
_ANY_FIELD = 0x7FFF
_ANY_PRECISION = 0xFFFF

_SIMPLE = re.compile(r"[a-z_][a-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class TypeRow:
    """One row of pg_type, with its names as SQL, and of pg_range and pg_enum beside it."""

    oid: int
    schema: str
    name: str
    schema_sql: str
    name_sql: str
    kind: str
    category: str
    base: int
    typmod: int
    not_null: bool
    relation: int
    element: int
    is_array: bool
    subtype: int
    outputs: frozenset[int]
    inputs: frozenset[int]
    labels: tuple[str, ...]


class TypeNames:
    """Spells types. ``modifiers`` holds the spelled modifiers of types that extensions bring."""

    def __init__(self, types: Mapping[int, TypeRow], modifiers: Mapping[tuple[int, int], str]) -> None:
        self._types = types
        self._modifiers = modifiers
        self._spelled: dict[tuple[int, int], str] = {}

    def sql(self, oid: int, typmod: int) -> str:
        """The type with its modifier: ``pg_catalog.varchar(20)``, ``app.mood[]``. Raises KeyError for no type."""
        key = (oid, typmod)
        if key not in self._spelled:
            self._spelled[key] = self._spell(oid, typmod)
        return self._spelled[key]

    def _spell(self, oid: int, typmod: int) -> str:
        row = self._types[oid]
        if row.is_array:
            return self.sql(row.element, typmod) + "[]"
        if oid == INTERVAL and typmod >= 0:
            return interval_sql(typmod)
        if row.schema == "pg_catalog" and _SIMPLE.match(row.name) and row.name != "char":
            name = row.name  # in qualified names every keyword may stand after the dot (ColLabel in gram.y)
        else:
            name = row.name_sql
        if typmod < 0:
            return f"{row.schema_sql}.{name}"
        return f"{row.schema_sql}.{name}{modifier_sql(oid, typmod) or self._modifiers.get((oid, typmod), '')}"

    def base(self, oid: int, typmod: int) -> tuple[TypeRow, int, bool]:
        """The type under all domains, its modifier, and whether a domain on the way is NOT NULL (getBaseTypeAndTypmod).

        Raises KeyError for no type.
        """
        row = self._types[oid]
        not_null = False
        while row.kind == "d":
            not_null = not_null or row.not_null
            typmod = row.typmod
            row = self._types[row.base]
        return row, typmod, not_null

    def domains(self, oid: int) -> list[int]:
        """The domains that a type is, from the outermost inwards; none where it is no domain."""
        found = []
        while (row := self._types[oid]).kind == "d":
            found.append(oid)
            oid = row.base
        return found


def modifier_sql(oid: int, typmod: int) -> str:
    """A modifier of one of PostgreSQL's own types, in parentheses; empty for other types."""
    if oid in _CHARACTERS:
        return f"({typmod - _HEADER})"
    if oid in _PLAIN:
        return f"({typmod})"
    if oid == _NUMERIC:
        packed = typmod - _HEADER
        return f"({packed >> 16 & 0xFFFF},{((packed & 0x7FF) ^ 1024) - 1024})"
    return ""


def interval_sql(typmod: int) -> str:
    """An interval with fields or precision: only the keyword form takes them, and no search_path touches it."""
    precision = typmod & _ANY_PRECISION
    fields = [name for name, mask in _FIELDS.items() if typmod >> 16 & mask] if typmod >> 16 != _ANY_FIELD else []
    span = "" if not fields else f" {fields[0]}" if len(fields) == 1 else f" {fields[0]} to {fields[-1]}"
    return f"interval{span}" + ("" if precision == _ANY_PRECISION else f"({precision})")
