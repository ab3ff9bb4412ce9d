"""What a live database says beside its catalog: indexes, and what the roles of a policy may read."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import asyncpg

from proxy.policy.model import Name, Policy
from proxy.policy.survey import Surroundings, read_tables

_LEADING: Final = """
SELECT n.nspname, c.relname, a.attname
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
WHERE i.indisvalid AND i.indpred IS NULL AND n.nspname <> 'pg_catalog' AND n.nspname !~ '^pg_toast'
"""
_READABLE: Final = """
SELECT r.rolname, n.nspname, c.relname, a.attname,
    pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE') AS usage,
    pg_catalog.has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT') AS may
FROM pg_catalog.pg_roles r,
    ROWS FROM (pg_catalog.unnest($2::pg_catalog.text[]), pg_catalog.unnest($3::pg_catalog.text[]))
        AS asked (schema, relation)
JOIN pg_catalog.pg_namespace n ON n.nspname = asked.schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = asked.relation
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE r.rolname = ANY ($1)
"""


async def surroundings_of(dsn: str, policy: Policy) -> Surroundings:
    """Asks the database that ``dsn`` names. Raises OSError or asyncpg.PostgresError."""
    tables = sorted(read_tables(policy))
    connection = await asyncpg.connect(dsn)
    try:
        leading: defaultdict[Name, set[str]] = defaultdict(set)
        for schema, relation, column in await connection.fetch(_LEADING):
            leading[Name(schema, relation)].add(column)
        usages: dict[tuple[str, Name], bool] = {}
        columns: defaultdict[tuple[str, Name], set[str]] = defaultdict(set)
        asked = (list(policy.roles), [name.schema for name in tables], [name.relation for name in tables])
        for role, schema, relation, column, usage, may in await connection.fetch(_READABLE, *asked):
            key = (role, Name(schema, relation))
            usages[key] = usage
            columns[key] |= {column} if may else set()
    finally:
        await connection.close()
    return Surroundings(
        {name: frozenset(found) for name, found in leading.items()},
        {key: (usage, frozenset(columns[key])) for key, usage in usages.items()},
    )
