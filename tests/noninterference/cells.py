"""Every cell of a database as its owner sees it: for what statements leave behind, and for undoing that.

Two sides differ from the start in hidden cells. Whatever is done to both alike by somebody who may not see these, the
same cells differ afterwards and no others: rows come and go alike, and what is written is equal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

Row = tuple[str | None, ...]
Key = tuple[str | int | None, ...]

_RELATIONS = """
SELECT n.nspname || '.' || c.relname, format('%I.%I', n.nspname, c.relname), c.relkind::text,
    coalesce(array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attnum > 0), '{}'),
    coalesce(array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attnum = ANY (k.conkey)), '{}'),
    coalesce(array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attgenerated = ''), '{}')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE c.oid >= 16384 AND n.nspname !~ '^pg_' AND c.relkind IN ('r', 'p', 'm', 'S') AND NOT c.relispartition
GROUP BY 1, 2, 3 ORDER BY 1
"""
# Whatever is made, dropped or altered changes a row here.
_OBJECTS = """
SELECT md5(string_agg(x, ',')) FROM (
    SELECT array_agg((c.oid, relname, relkind, relowner, relacl, relrowsecurity, relnatts) ORDER BY oid)::text
        FROM pg_class c WHERE oid >= 16384 AND relpersistence <> 't'
    UNION ALL SELECT array_agg((attrelid, attnum, attname, atttypid, attnotnull, a.atthasdef, attisdropped)
        ORDER BY attrelid, attnum)::text FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
        WHERE attrelid >= 16384 AND relpersistence <> 't'
    UNION ALL SELECT array_agg(oid || xmin::text ORDER BY oid)::text FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT array_agg(oid || xmin::text ORDER BY oid)::text FROM pg_rewrite WHERE oid >= 16384
    UNION ALL SELECT array_agg(oid || tgenabled::text ORDER BY oid)::text FROM pg_trigger
    UNION ALL SELECT array_agg(oid || conname::text ORDER BY oid)::text FROM pg_constraint WHERE oid >= 16384
    UNION ALL SELECT array_agg(oid || typname::text || typnamespace::text ORDER BY oid)::text FROM pg_type
        WHERE oid >= 16384 AND typnamespace IN (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp')
    UNION ALL SELECT array_agg(oid || oprname::text ORDER BY oid)::text FROM pg_operator WHERE oid >= 16384
    UNION ALL SELECT array_agg(oid || castcontext::text ORDER BY oid)::text FROM pg_cast WHERE oid >= 16384
    UNION ALL SELECT array_agg(oid || xmin::text ORDER BY oid)::text FROM pg_policy
    UNION ALL SELECT array_agg(adrelid || adbin::text ORDER BY oid)::text FROM pg_attrdef
    UNION ALL SELECT array_agg(oid || nspname::text || nspowner || coalesce(nspacl::text, '') ORDER BY oid)::text
        FROM pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_(toast_)?temp'
) x(x)
"""
_OF_SEQUENCE = ("last_value", "is_called")


@dataclass(frozen=True, slots=True)
class Relation:
    """A table (a partitioned one with its partitions), a materialized view or a sequence."""

    name: str
    sql: str
    """Its name as SQL."""
    kind: str
    columns: tuple[str, ...]
    key: tuple[int, ...]
    """Which of the columns are its primary key."""
    stored: tuple[str, ...]
    """The columns that are not generated."""


@dataclass(frozen=True, slots=True)
class Cells:
    """All rows of a database by relation, and what tells of changes to anything but rows."""

    relations: dict[str, Relation]
    rows: dict[str, list[Row]]
    objects: str

    def keyed(self, name: str, hidden: frozenset[int] = frozenset()) -> dict[Key, Row]:
        """The rows of a relation by their key; without one by all cells that are not ``hidden``, and by number among
        equals.
        """
        key = self.relations[name].key
        found: dict[Key, Row] = {}
        seen: dict[Key, int] = defaultdict(int)
        for row in self.rows[name]:
            at = tuple(row[i] for i in key) or tuple(cell for i, cell in enumerate(row) if i not in hidden)
            seen[at] += 1
            found[at if key else (*at, seen[at])] = row
        return found


def read(connection: psycopg.Connection[Any]) -> Cells:
    """All cells as text. The connection must be one of the owner, in autocommit mode."""
    relations = {}
    for name, sql, kind, *columns in connection.execute(_RELATIONS):
        shown, key, stored = (_OF_SEQUENCE, (), _OF_SEQUENCE) if kind == "S" else columns
        places = tuple(shown.index(column) for column in key)
        relations[name] = Relation(name, sql, kind, tuple(shown), places, tuple(stored))
    rows: dict[str, list[Row]] = {name: [] for name in relations}
    parts = (_all_rows(one) for one in relations.values())
    for name, cells in connection.execute(f"{' UNION ALL '.join(parts)} ORDER BY 1, 2".encode()):
        rows[name].append(tuple(cells))
    (objects,) = connection.execute(_OBJECTS.encode()).fetchone() or ("",)
    return Cells(relations, rows, objects)


def _all_rows(one: Relation) -> str:
    columns = ", ".join(f"{_quoted(column)}::text" for column in one.columns)
    return f"SELECT {_literal(one.name)}, ARRAY[{columns}]::text[] FROM {_only(one)}"


def _only(one: Relation) -> str:
    """Its own rows and not those of children, which are relations for themselves."""
    return one.sql if one.kind == "p" else f"ONLY {one.sql}"


@dataclass(frozen=True, slots=True)
class Hidden:
    """The cells in which two sides differed at the start: relation → row → columns; and columns as a whole."""

    cells: dict[str, dict[Key, frozenset[int]]]
    columns: dict[str, frozenset[int]]


def differing(first: Cells, second: Cells) -> Hidden:
    """What is hidden: all in which the sides differ before anything is done. Raises ValueError: whole rows do."""
    cells: dict[str, dict[Key, frozenset[int]]] = {}
    columns: dict[str, frozenset[int]] = {}
    for name, one in first.relations.items():
        # Without a key, the columns that differ at all are found by position first.
        width = len(one.columns)
        columns[name] = frozenset(i for i in range(width) if _column(first, name, i) != _column(second, name, i))
        left, right = first.keyed(name, columns[name]), second.keyed(name, columns[name])
        if left.keys() != right.keys():
            raise ValueError(f"{name} has other rows on either side from the start")
        cells[name] = {
            key: frozenset(i for i, (a, b) in enumerate(zip(row, right[key], strict=True)) if a != b)
            for key, row in left.items()
        }
    return Hidden(cells, columns)


def _column(cells: Cells, name: str, index: int) -> list[str]:
    return sorted(repr(row[index]) for row in cells.rows[name])


def told_apart(first: Cells, second: Cells, hidden: Hidden) -> list[str]:
    """In what two sides differ though it is not hidden, for people to read. Empty if in nothing."""
    found = []
    if first.relations != second.relations:
        found.append(f"relations: {sorted(first.relations.keys() ^ second.relations.keys())}")
    for name in first.relations.keys() & second.relations.keys():
        columns = hidden.columns.get(name, frozenset())
        left, right = first.keyed(name, columns), second.keyed(name, columns)
        found += [f"{name} {key}: on one side alone" for key in left.keys() ^ right.keys()]
        for key in left.keys() & right.keys():
            usual = hidden.cells.get(name, {}).get(key, frozenset())
            found += (
                f"{name}.{column} of {key}: {left[key][i]!r} and {right[key][i]!r}"
                for i, column in enumerate(first.relations[name].columns)
                if left[key][i] != right[key][i] and i not in usual
            )
    return sorted(found)


def overwritten(before: Cells, after: Cells, hidden: Hidden) -> list[str]:
    """Hidden cells that are not what they were, in rows that are still there."""
    found = []
    for name, rows in hidden.cells.items():
        if name not in after.relations or after.relations[name].columns != before.relations[name].columns:
            continue
        old, new = before.keyed(name, hidden.columns[name]), after.keyed(name, hidden.columns[name])
        found += [
            f"{name}.{before.relations[name].columns[i]} of {key}: {old[key][i]!r} became {new[key][i]!r}"
            for key, columns in rows.items()
            if key in new
            for i in columns
            if old[key][i] != new[key][i]
        ]
    return sorted(found)


def restore(connection: psycopg.Connection[Any], kept: Cells, now: Cells) -> bool:
    """Puts back what ``kept`` has in place of ``now``. False where more than rows changed: make the database anew."""
    changed = [one for name, one in kept.relations.items() if kept.rows[name] != now.rows.get(name)]
    if kept.objects != now.objects or any(one.kind == "m" for one in changed):
        return False
    if changed:
        connection.execute("SET session_replication_role = replica")
        for statement in _undoing(kept, changed):
            connection.execute(statement.encode())
        connection.execute("RESET session_replication_role")
    return True


def _undoing(kept: Cells, changed: list[Relation]) -> Iterator[str]:
    for one in changed:
        rows = kept.rows[one.name]
        if one.kind == "S":
            ((value, called),) = rows
            yield f"SELECT setval('{one.sql}', {value}, {called})"
            continue
        yield f"DELETE FROM {_only(one)}"
        places = [one.columns.index(column) for column in one.stored]
        values = ", ".join(f"({', '.join(_literal(row[i]) for i in places)})" for row in rows)
        if values:
            columns = ", ".join(map(_quoted, one.stored))
            # Literals in the VALUES of an INSERT take the types of its columns.
            yield f"INSERT INTO {one.sql} ({columns}) OVERRIDING SYSTEM VALUE VALUES {values}"


def _literal(cell: str | None) -> str:
    if cell is None:
        return "NULL"
    return "E'" + cell.replace("\\", "\\\\").replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_NEW = """
SET client_min_messages = error;
DO $$ DECLARE command text; BEGIN FOR command IN
    SELECT format('DROP EXTENSION %I CASCADE', extname) FROM pg_extension WHERE oid > {newest}
    UNION ALL SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace
        WHERE oid > {newest} AND nspname !~ '^pg_'
    UNION ALL SELECT format('DROP %s %s CASCADE', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
            WHEN 'S' THEN 'SEQUENCE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, oid::regclass) FROM pg_class
        WHERE oid > {newest} AND relkind IN ('r', 'p', 'v', 'm', 'S', 'c') AND relpersistence <> 't'
    UNION ALL SELECT format('DROP ROUTINE %s CASCADE', oid::regprocedure) FROM pg_proc WHERE oid > {newest}
    UNION ALL SELECT format('DROP OPERATOR %s CASCADE', oid::regoperator) FROM pg_operator WHERE oid > {newest}
    UNION ALL SELECT format('DROP CAST (%s AS %s)', castsource::regtype, casttarget::regtype) FROM pg_cast
        WHERE oid > {newest}
    UNION ALL SELECT format('DROP TYPE %s CASCADE', oid::regtype) FROM pg_type
        WHERE oid > {newest} AND typtype IN ('d', 'e', 'r')
LOOP
    BEGIN EXECUTE command; EXCEPTION WHEN OTHERS THEN NULL; END; -- gone with another
END LOOP; END $$;
RESET client_min_messages
"""


def drop_new(connection: psycopg.Connection[Any], newest: int) -> None:
    """Drops what was made since ``newest`` was the highest OID."""
    connection.execute(_NEW.format(newest=newest).encode())
