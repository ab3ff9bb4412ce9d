"""What random statements are made of: relations, functions and operators, learnt from the server's own catalog."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import psycopg

LITERALS: dict[str, tuple[str, ...]] = {
    "int4": ("0", "1", "2", "5", "7", "10", "19", "(-1)", "(-3)", "100", "2147483647"),
    "int8": ("0::int8", "1::int8", "99::int8", "(-5)::int8", "500::int8", "9223372036854775807::int8"),
    "int2": ("0::int2", "1::int2", "170::int2", "(-1)::int2"),
    "numeric": ("0.0", "1.5", "1000.0", "1999.99", "(-0.01)", "'NaN'::numeric", "100::numeric"),
    "float8": ("0::float8", "1.5::float8", "70.5::float8", "(-5)::float8"),
    "text": ("'A1'::text", "'Ada Lovelace'::text", "'a'::text", "''::text", "'12'::text", "'[masked]'::text",
             "'138%'::text", "'_%'::text", "'east'::text", "'1990-01-01'::text", "'****'::text"),
    "varchar": ("'13811114243'::varchar", "'ab'::varchar", "'1****2'::varchar"),
    "bpchar": ("'A'::bpchar", "'C-000001'::bpchar"),
    "bool": ("true", "false", "NULL::bool"),
    "date": ("DATE '1970-01-01'", "DATE '1970-12-31'", "DATE '1990-03-07'", "DATE '2025-01-01'", "DATE 'infinity'"),
    "timestamp": ("TIMESTAMP '2025-01-01 00:00'", "TIMESTAMP '1970-01-01'"),
    "timestamptz": ("TIMESTAMPTZ '2025-03-01 00:00+00'", "TIMESTAMPTZ '2025-03-31 12:00+00'"),
    "interval": ("INTERVAL '1 day'", "INTERVAL '1 month 2 hours'", "INTERVAL '0'"),
    "time": ("TIME '12:00'", "TIME '00:00'"),
    "uuid": ("'00000000-0000-0000-0000-000000000000'::uuid", "'77777777-7777-7777-7777-777777777777'::uuid"),
    "jsonb": ("'{\"a\": 1}'::jsonb", "'[1, \"x\"]'::jsonb", "'null'::jsonb"),
    "json": ("'{\"a\": 1}'::json", "'[]'::json"),
    "_text": ("ARRAY['a', 'red']", "'{}'::text[]", "ARRAY[NULL, 'x']"),
    "_int4": ("ARRAY[1, 2]", "'{}'::int4[]"),
    "bytea": ("'\\x00ff'::bytea", "'\\x'::bytea"),
    "inet": ("'10.0.0.1'::inet", "'::1'::inet"),
    "macaddr": ("'08:00:2b:01:02:03'::macaddr",),
    "money": ("1.5::money",),
    "varbit": ("B'101'::varbit",),
    "tstzrange": ("'[2025-01-01,2025-01-05)'::tstzrange", "'empty'::tstzrange"),
    "tsvector": ("'x y'::tsvector",),
    "mood": ("'low'::mood", "'mid'::mood", "'high'::mood"),
}  # fmt: skip
"""Of each type that expressions are made of."""

_INTO = {"name": "text", "float4": "float8"}
_UNORDERED = frozenset({"json", "point", "box"})

# Not deterministic, too slow, too large, or about the server and not about values.
_UNUSED = """
    repeat lpad rpad pg_sleep random setseed generate_series factorial pg_column_size pg_size_pretty
    hashinet pg_node_tree pg_ndistinct has_ row_security satisfies enum_in array_in pg_lsn pg_get pg_char
    to_tsvector to_tsquery websearch phraseto plainto jsonb_path_exists_tz width_bucket pg_snapshot xid oid reg
    array_fill binary_upgrade pg_input numeric_support range_merge _typanalyze inter_ query numnode
    json_populate json_to jsonb_populate jsonb_to array_send array_out record format get_bit set_b bit convert
    shobj obj_ col_ amvalid macaddr8 tsvector_update tsquery multirange pg_replication pg_read pg_ls pg_stat
    ts_debug ts_parse ts_token texticregex bpchariclike unicode xml_is tstzrange daterange to_ascii timezone
    array_to_json textcmp text_pattern_cmp namecmp textnamecmp nametextcmp bpcharcmp bpchar_pattern_cmp byteacmp
    uuid_cmp bitcmp network_cmp jsonb_cmp
""".split()


@dataclass(frozen=True, slots=True)
class Call:
    """A function or operator: its name (as SQL), argument types and result type."""

    name: str
    arguments: tuple[str, ...]
    operator: bool = False

    def sql(self, arguments: list[str]) -> str:
        if not self.operator:
            return f"{self.name}({', '.join(arguments)})"
        left, right = arguments
        return f"({left} {self.name} {right})"


@dataclass(frozen=True, slots=True)
class Table:
    """A relation and its columns: name and type (of the type under a domain)."""

    name: str
    columns: tuple[tuple[str, str], ...]
    key: str | None
    """Its primary key, if that is one column."""


@dataclass(slots=True)
class Vocabulary:
    """Everything sorted, so that a seed gives the same statements on every run."""

    tables: list[Table] = field(default_factory=list)
    calls: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    """By result type."""


def known(name: str) -> str:
    """The type that stands for this one in expressions."""
    return _INTO.get(name, name)


def ordered(name: str) -> bool:
    return known(name) in LITERALS and name not in _UNORDERED


_COLUMNS = """
SELECT n.nspname || '.' || c.relname, a.attname, coalesce(b.typname, t.typname), k.conkey[1] = a.attnum
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd'
LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p' AND cardinality(k.conkey) = 1
WHERE n.nspname IN ('public', 'clinic') AND c.relkind IN ('r', 'p', 'v', 'm') ORDER BY n.nspname, c.relname, a.attnum
"""
_FUNCTIONS = """
SELECT proname, ARRAY(SELECT typname FROM unnest(proargtypes) WITH ORDINALITY u(o, i) JOIN pg_type t ON t.oid = o
                      ORDER BY i)::text[], r.typname
FROM pg_proc p JOIN pg_type r ON r.oid = prorettype
WHERE pronamespace = 11 AND prokind = 'f' AND provolatile = 'i' AND NOT proretset AND provariadic = 0
  AND pronargs BETWEEN 1 AND 3  AND p.oid < 10000 AND prosrc !~ '_(in|out|recv|send|support|sel|joinsel)$'
ORDER BY 1, 2, 3
"""
_OPERATORS = """
SELECT oprname, l.typname, r.typname, t.typname FROM pg_operator
JOIN pg_type l ON l.oid = oprleft JOIN pg_type r ON r.oid = oprright JOIN pg_type t ON t.oid = oprresult
WHERE oprnamespace = 11 AND oprcode <> 0 ORDER BY 1, 2, 3
"""


def learn(dsn: str, *, avoided: frozenset[str] = frozenset()) -> Vocabulary:
    """Reads the catalog of a database; ``avoided`` names relations that statements should not speak of."""
    found = Vocabulary()
    with psycopg.connect(dsn) as connection:
        columns: dict[str, list[tuple[str, str]]] = defaultdict(list)
        keys: dict[str, str] = {}
        for table, column, kind, key in connection.execute(_COLUMNS):
            if table.partition(".")[2] not in avoided:
                columns[table].append((column, kind))
                if key:
                    keys[table] = column
        found.tables = [Table(name, tuple(own), keys.get(name)) for name, own in columns.items()]
        for name, arguments, result in connection.execute(_FUNCTIONS):
            _add(found, Call(f'pg_catalog."{name}"', tuple(arguments)), name, result)
        for name, left, right, result in connection.execute(_OPERATORS):
            _add(found, Call(name, (left, right), operator=True), "", result)
    return found


def _add(found: Vocabulary, call: Call, name: str, result: str) -> None:
    typed = known(result) in LITERALS and all(argument in LITERALS for argument in call.arguments)
    if typed and not any(part in name for part in _UNUSED):
        found.calls[known(result)].append(call)
