"""A statement whose literals can be exchanged: what leaks for one value may not for another.

A shape is sent many times, with other values: those of both databases (hidden ones too, as lucky guesses), and the
ends of each type. As parameters of one prepared statement, or written into the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

import psycopg

from tests.noninterference.vocabulary import LITERALS, known

Value = str | None
Values = dict[str, tuple[Value, ...]]
"""By type: what its literals may be, as text."""

OFFSET = "offset"
"""Not a type: a small number of rows to pass over."""
_SLOT = re.compile("\x01([0-9]+)\x02")
_MOST_VALUES = 60
"""Of each type, drawn from the rows of both databases."""

# Of types that no column has, for statements that hold NULLs of them.
_MORE: Values = {
    OFFSET: tuple(map(str, range(12))),
    "circle": ("<(1,1),2>",), "tsquery": ("x & y", "x | !z"), "polygon": ("((0,0),(1,1),(2,0))",),
    "lseg": ("((0,0),(1,1))",), "name": ("A1", "pg_class"), "tid": ("(0,1)", "(0,5)"), "path": ("((0,0),(1,1))",),
    "macaddr8": ("08:00:2b:01:02:03:04:05",), "timetz": ("12:00:00+00",), "xid8": ("700",), "pg_lsn": ("0/0",),
    "line": ("{1,2,3}",), "oid": ("1259", "2"), "float4": ("0", "-1.5", "NaN"), "xid": ("3",), "cidr": ("10.0.0.0/8",),
    "bit": ("1", "0"),
}  # fmt: skip


def slot(index: int) -> str:
    """What stands for literal number ``index`` (from 0) until it is known."""
    return f"\x01{index}\x02"


def has_slot(text: str) -> bool:
    return "\x01" in text


def shape_of(text: str, slots: list[tuple[str, str]]) -> Shape:
    """The shape of a text in which some of ``slots`` stand, by their numbers."""
    used = list(dict.fromkeys(int(number) for number in _SLOT.findall(text)))
    places = {number: place for place, number in enumerate(used)}
    return Shape(_SLOT.sub(lambda found: slot(places[int(found[1])]), text), tuple(slots[number] for number in used))


@dataclass(frozen=True, slots=True)
class Shape:
    """``text`` with slots, and of each slot its type and the literal that it was made with."""

    text: str
    slots: tuple[tuple[str, str], ...] = ()

    @property
    def plain(self) -> str:
        """As it was made."""
        return _SLOT.sub(lambda found: self.slots[int(found[1])][1], self.text)

    @property
    def parameterized(self) -> str:
        """With a parameter for each slot."""
        return _SLOT.sub(lambda found: f"${int(found[1]) + 1}::{_sql(self.slots[int(found[1])][0])}", self.text)

    def written(self, vector: tuple[Value, ...]) -> str:
        """With the values of ``vector`` as literals."""
        return _SLOT.sub(lambda found: _literal(vector[int(found[1])], self.slots[int(found[1])][0]), self.text)

    def vector(self, values: Values, random: Random, *, nulls: bool = True) -> tuple[Value, ...]:
        """One value for each slot; NULL only if ``nulls``, since a text with NULL is another text."""
        chosen = tuple(random.choice(values[kind]) for kind, _ in self.slots)
        if nulls or None not in chosen:
            return chosen
        return tuple(
            values[kind][0] if value is None else value for value, (kind, _) in zip(chosen, self.slots, strict=True)
        )


def _sql(kind: str) -> str:
    if kind == OFFSET:
        return "int8"
    return f"{kind[1:]}[]" if kind.startswith("_") else '"bit"' if kind == "bit" else kind


def _literal(value: Value, kind: str) -> str:
    return f"NULL::{_sql(kind)}" if value is None else "'" + value.replace("'", "''") + "'::" + _sql(kind)


_COLUMNS = """
SELECT format('%I.%I', n.nspname, c.relname), quote_ident(a.attname), coalesce(b.typname, t.typname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd'
WHERE n.nspname IN ('public', 'clinic') AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1, 2
"""


def learn_values(*dsns: str) -> Values:
    """The values that stand in the databases, hidden or not, beside those that statements are made of anyway."""
    found: dict[str, set[Value]] = {kind: set(values) for kind, values in _MORE.items()}
    for dsn in dsns:
        with psycopg.connect(dsn, options="-c search_path=public,clinic") as connection:
            for kind, literals in LITERALS.items():
                for literal in literals:
                    row = connection.execute(f"SELECT ({literal})::text".encode()).fetchone()
                    found.setdefault(kind, {None}).update(row or ())
            for table, column, kind in connection.execute(_COLUMNS).fetchall():
                if known(kind) in found:
                    rows = connection.execute(f"SELECT DISTINCT {column}::text FROM {table}".encode()).fetchall()
                    found[known(kind)] |= {value for (value,) in rows if value is None or len(value) < 100}
    drawn = Random(0)
    ordered = {kind: sorted(values, key=lambda value: (value is None, value)) for kind, values in found.items()}
    return {
        kind: tuple(values if len(values) <= _MOST_VALUES else sorted(drawn.sample(values, _MOST_VALUES), key=str))
        for kind, values in sorted(ordered.items())
    }
