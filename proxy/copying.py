"""How the rows of a COPY FROM STDIN are checked: what the engine says of it, and the session reads its data by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class CopyFormat:
    """The options of a COPY FROM that say how its data is written. ``columns``: how many fields a row has.

    ``header``: the first line is none. ``mark_ends``: in CSV, too, a line ``\\.`` ends the data (before PostgreSQL 18).
    """

    kind: Literal["text", "csv", "binary"]
    columns: int
    delimiter: bytes = b"\t"
    null: bytes = b"\\N"
    quote: bytes = b'"'
    escape: bytes = b'"'
    header: bool = False
    mark_ends: bool = False


COPY_BINARY_TYPES: Final = frozenset({20, 21, 23, 25, 1043, 2950})
"""Types (by OID) whose values are read in binary format: int8, int2, int4, text, varchar, uuid."""


@dataclass(frozen=True, slots=True)
class CopyGroup:
    """Columns of a COPY FROM whose writing asks the same of a row. ``fields`` are their numbers in a row (from 0).

    Of each row in which one of them is not NULL, the fields ``values`` (of types ``types``, by OID) go into ``sql``:
    one SELECT over as many parameters of type text[], an element for each row. It fails with ``<secret>:<number>`` in
    its error where one of the rows may not be written. Without ``sql`` none may.
    """

    fields: tuple[int, ...]
    number: int
    sql: str = ""
    values: tuple[int, ...] = ()
    types: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CopyCheck:
    """How the rows of a COPY FROM STDIN are checked: by their data, once they are stored. ``filtered``: it has a WHERE,
    so that fewer may be stored than there are."""

    form: CopyFormat
    groups: tuple[CopyGroup, ...]
    filtered: bool = False
