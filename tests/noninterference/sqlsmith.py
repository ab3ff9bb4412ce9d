"""sqlsmith as a source of statements: it looks at a schema, and what it prints is run elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Container, Generator, Iterable

import psycopg

from proxy.demo.postgres import EmbeddedPostgres
from tests.noninterference import databases
from tests.noninterference.shape import OFFSET, Shape, slot

BATCH = 500
"""Statements for each start of sqlsmith: each batch has a seed of its own."""
_SEEDS = 100_000

# Functions that answer otherwise each time or reach outside are taken away from the database that sqlsmith looks at
# (nothing runs there), as are the users' own, which are refused by name anyway.
_DROP = """
DO $$ DECLARE kind text := (SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END
    FROM pg_class WHERE oid = to_regclass('{name}'));
BEGIN IF kind IS NOT NULL THEN EXECUTE format('DROP %s {name} CASCADE', kind); END IF; END $$
"""
_FORGET = """
SET allow_system_table_mods = on;
DELETE FROM pg_proc WHERE provolatile = 'v' OR oid >= 16384
    OR proname ~ '(_to_xml|^xml|^ts_stat|^ts_rewrite|^lo_|stat_get|^txid|^inet_(client|server)|timestamp$|^now$)'
    OR proname ~ '^(mxid|age$|cursor_|pg_backend_pid$)'
    OR proname ~ '^pg_(stat|ls|read|logical|replication|wal|lock|show_all|hba|ident|event|control|prepared|cursor)'
    OR proname ~ '^pg_(last|postmaster|conf|backup|is_in|get_wal|xact|current|safe|export|mcv|available|tablespace)'
    OR proname ~ '^pg_(nextoid|promote|blocking|jit|listening|notification|snapshot|size_bytes|get_(multi|publi|repl))'
    OR EXISTS (SELECT FROM unnest(proargtypes::oid[] || prorettype) u JOIN pg_type t ON t.oid = u
               WHERE t.typname ~ '^any(compat|nonarray|multi|range)');
DELETE FROM pg_operator o WHERE o.oid >= 16384
    OR EXISTS (SELECT FROM pg_type t WHERE t.oid IN (oprleft, oprright, oprresult) AND t.typname ~ '^any')
"""

_SAMPLE = re.compile(r"(tablesample \w+ \([0-9.]+\))")
"""A sample that is drawn anew each time says nothing."""


def installed() -> bool:
    return shutil.which("sqlsmith") is not None


_EXCHANGED = re.compile(
    r"cast\(null as (?:pg_catalog\.)?\"?(?P<null>\w+)\"?\)|(?<=limit 1 offset )(?P<offset>\d+)"
    r"|(?<=[\s(])(?P<number>\d+)(?= as c\d)|(?<=[\s(])(?P<truth>true|false)\b"
)
_MOST_SLOTS = 40


def shape_of(text: str, kinds: Container[str]) -> Shape:
    """A statement of sqlsmith's with slots for its few literals: NULLs of ``kinds``, offsets, numbers and truths."""
    slots: list[tuple[str, str]] = []

    def exchanged(found: re.Match[str]) -> str:
        kind = found["null"] or (OFFSET if found["offset"] else "int4" if found["number"] else "bool")
        if kind not in kinds or len(slots) >= _MOST_SLOTS:
            return found[0]
        slots.append((kind, found[0]))
        return slot(len(slots) - 1)

    return Shape(_EXCHANGED.sub(exchanged, text), tuple(slots))


def statements(
    postgres: EmbeddedPostgres, seed: int, first: int = 0, unread: Iterable[str] = ()
) -> Generator[tuple[int, str]]:
    """Endless, from the ``first`` on, with their numbers. They speak of the schema without the relations ``unread``."""
    names = databases.make(postgres, "sqlsmith", analyze=False)
    try:
        with psycopg.connect(postgres.dsn(database=names[0]), autocommit=True) as connection:
            for name in unread:
                connection.execute(_DROP.format(name=name).encode())
            connection.execute(_FORGET.encode())
        batch = first // BATCH
        while True:
            made = _batch(postgres, names[0], (seed * _SEEDS + batch) % (1 << 31))
            yield from ((number, text) for number, text in enumerate(made, batch * BATCH) if number >= first)
            batch += 1
    finally:
        databases.drop(postgres, names)


def _batch(postgres: EmbeddedPostgres, database: str, seed: int) -> list[str]:
    target = f"host={postgres.host} port={postgres.port} dbname={database} user=analyst"
    run = subprocess.run(
        [
            "sqlsmith",
            f"--target={target}",
            "--dry-run",
            "--exclude-catalog",
            f"--max-queries={BATCH}",
            f"--seed={seed}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(run.stderr[-2000:])
    made = _SAMPLE.sub(r"\1 repeatable (1)", run.stdout).replace("pg_catalog.current_database()", "'name'::name")
    return [text for text in (part.strip() for part in made.split(";\n")) if text]
