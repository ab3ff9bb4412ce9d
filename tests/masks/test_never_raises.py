"""A mask never raises and always has the column's own type, modifier and collation; NULL stays NULL."""

from __future__ import annotations

import pytest
from psycopg.pq.abc import PGresult

from proxy.masks import Mask, named, null, render
from tests.masks.conftest import TYPES, Cells, table

MASKS = (
    *(named(kind) for kind in ("phone", "id_card", "name", "email", "bank_card", "address")),
    *(named(kind) for kind in ("redact", "nullify", "year", "month", "hash", "range", "partial", "constant")),
    Mask("partial", keep_first=3, keep_last=2, min_length=0),
    Mask("partial", keep_first=1, fill=""),
    Mask("range", step=1),
    Mask("range", step=7),
    Mask("range", step=2**63 - 1),
    Mask("constant", value="x"),
    Mask("constant", value=0),
    Mask("constant", value=True),
    Mask("constant", value="2000-01-01"),
    Mask("constant", value="sad"),
)

_TEXTS = ("", " ", "a", "@", "ab@c", "a@b@c", "\t\n", "'\\\"", "张三丰", "\U0001f468\u200d\U0001f469", "x" * 3000)
_NUMBERS = ("0", "1", "-1", "7", "-7")
_MOMENTS = ("infinity", "-infinity", "epoch", "2000-02-29", "0001-01-01 BC", "4713-01-01 BC", "4714-12-01 BC")

EXTREMES: dict[str, tuple[str, ...]] = {
    "text": _TEXTS,
    "varchar": _TEXTS,
    'text COLLATE "C"': _TEXTS,
    "app.note": _TEXTS,
    "app.needed": _TEXTS,
    "name": _TEXTS,
    "varchar(3)": ("", "a", "a@b", "张三丰"),
    "varchar(4)": ("", "ab@c"),
    "varchar(5)": ("", "ab@cd", "张" * 5),
    "varchar(8)": ("12345678", "abcdefg@", "ab@cdefg"),
    "varchar(11)": ("13812344243",),
    "varchar(15)": ("123456789012345", "abcdefghijklmn@", "ab@cdefghijklmn"),
    "char(4)": ("", "ab@c"),
    "char(11)": ("", "13812344243"),
    "app.short": ("", "ab@cd"),
    "app.shorter": ("", "ab@cd"),
    "app.digits": ("1", "1" * 20),
    "app.over_digits": ("1", "1" * 20),
    "app.born": ("infinity", "1990-01-01", "5874897-12-31"),
    "bool": ("true", "false"),
    "int2": (*_NUMBERS, "32767", "-32768"),
    "int4": (*_NUMBERS, "2147483647", "-2147483648"),
    "int8": (*_NUMBERS, "9223372036854775807", "-9223372036854775808"),
    "numeric": (*_NUMBERS, "NaN", "Infinity", "-Infinity", "9" * 131072, "-" + "9" * 131072 + ".9", "-1e-16383"),
    "numeric(5,2)": (*_NUMBERS, "NaN", "999.99", "-999.99", "-0.01"),
    "numeric(3,5)": ("NaN", "0.00999", "-0.00999", "0"),
    "numeric(3,-3)": ("NaN", "999000", "-999000", "0"),
    "float4": (*_NUMBERS, "NaN", "Infinity", "-Infinity", "3.4028235e38", "-3.4028235e38", "1e-45", "-1e-45", "-0"),
    "float8": (
        *_NUMBERS,
        "NaN",
        "Infinity",
        "-Infinity",
        "1.7976931348623157e308",
        "-1.7976931348623157e308",
        "5e-324",
    ),
    "money": ("92233720368547758.07", "-92233720368547758.08"),
    "oid": ("0", "4294967295"),
    "date": (*_MOMENTS, "4714-11-24 BC", "5874897-12-31"),
    "timestamp": (*_MOMENTS, "4714-11-24 BC", "294276-12-31 23:59:59.999999"),
    "timestamp(0)": (*_MOMENTS, "294276-12-31 23:59:59"),
    "timestamptz": (*_MOMENTS, "4714-11-24 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00"),
    "timestamptz(3)": (*_MOMENTS, "294276-12-31 23:59:59.999+00"),
    "time": ("00:00", "24:00"),
    "interval": ("178000000 years", "-178000000 years"),
    "json": ("null", '{"a": [1]}'),
    "bytea": ("", "\\x00ff"),
    '"char"': ("a", ""),
    "text[]": ("{}", "{NULL}", "{a,b}"),
    "int4range": ("empty", "(,)"),
    "app.mood": ("sad", "happy"),
    "app.mood[]": ("{sad}",),
    "app.pair": ("(,)", "(1,a)"),
}

# What sessions do to make generated SQL mean something else, or raise.
HOSTILE = """
CREATE SCHEMA IF NOT EXISTS hostile;
CREATE OR REPLACE FUNCTION hostile.left(varchar, int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'left'; END $$;
CREATE OR REPLACE FUNCTION hostile.length(varchar) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'length'; END $$;
CREATE OR REPLACE FUNCTION hostile.bad(varchar, varchar) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'op'; END $$;
CREATE OPERATOR hostile.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = hostile.bad);
CREATE OPERATOR hostile.|| (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = hostile.bad);
CREATE DOMAIN hostile.text AS pg_catalog.int4;
CREATE DOMAIN hostile.int4 AS pg_catalog.bool;
CREATE DOMAIN hostile.numeric AS pg_catalog.bool;
CREATE DOMAIN hostile.date AS pg_catalog.bool;
SET LOCAL search_path = hostile, pg_catalog;
SET LOCAL TimeZone = 'UTC5';
SET LOCAL DateStyle = 'German, DMY';
SET LOCAL IntervalStyle = 'sql_standard';
SET LOCAL bytea_output = 'escape';
SET LOCAL extra_float_digits = -15;
SET LOCAL lc_monetary = 'C';
SET LOCAL lc_numeric = 'C';
"""


@pytest.mark.parametrize("type_name", TYPES)
def test_type_and_modifier(cells: Cells, type_name: str) -> None:
    raw = _result(cells, f"SELECT cell FROM {table(type_name)}")
    for mask in MASKS:
        shown = _result(cells, _over_table(cells, mask, type_name))
        assert (shown.ftype(0), shown.fmod(0)) == (raw.ftype(0), raw.fmod(0)), mask
        assert shown.get_value(0, 0) is None, f"{mask}: NULL stays NULL"


COLLATED = ("text", "name", "text[]", "app.note", "app.needed", 'text COLLATE "C"', 'varchar(11) COLLATE "POSIX"')


@pytest.mark.parametrize("type_name", COLLATED)
def test_collation(cells: Cells, type_name: str) -> None:
    """Alone, and as a branch beside the raw column."""
    for mask in MASKS:
        shown = render(mask, "t.cell", cells.column(type_name))
        both = f"CASE WHEN pg_catalog.random() OPERATOR(pg_catalog.<) 2 THEN t.cell ELSE {shown} END"
        sql = f"SELECT {shown} AS shown, {both} AS beside, t.cell AS raw FROM {cells.source(type_name)}"
        collations = "pg_collation_for(shown), pg_collation_for(beside), pg_collation_for(raw)"
        row = cells.connection.execute(f"SELECT {collations} FROM ({sql}) AS cells").fetchone()
        assert row is not None
        assert len(set(row)) == 1, mask


@pytest.mark.parametrize("type_name", EXTREMES)
def test_extremes(cells: Cells, type_name: str) -> None:
    """Neither over a table nor where the planner computes constants."""
    expressions = [render(mask, "v.cell", cells.column(type_name)) for mask in MASKS]
    for value in EXTREMES[type_name]:
        for fence in ("MATERIALIZED", "NOT MATERIALIZED"):
            literal = value.replace("'", "''")
            source = f"WITH v AS {fence} (SELECT '{literal}'::{type_name} AS cell)"
            cells.connection.execute(f"{source} SELECT {', '.join(expressions)} FROM v")


@pytest.mark.parametrize("type_name", EXTREMES)
def test_no_session_changes_what_shows(cells: Cells, type_name: str) -> None:
    """Not its search_path, not its time zone, not its styles."""
    with cells.connection.transaction(force_rollback=True):
        for value in EXTREMES[type_name]:
            cells.connection.execute(f"INSERT INTO {table(type_name)} VALUES (%s)", [value])
        friendly = [_values(cells, mask, type_name) for mask in MASKS]
        cells.connection.execute(HOSTILE)
        assert [_values(cells, mask, type_name) for mask in MASKS] == friendly


@pytest.mark.parametrize("type_name", [name for name in TYPES if name.startswith("app.")])
def test_null_of_a_domain_runs_no_check(cells: Cells, type_name: str) -> None:
    assert cells.connection.execute(f"SELECT {null(cells.column(type_name))}").fetchall() == [(None,)]


def _over_table(cells: Cells, mask: Mask, type_name: str) -> str:
    return f"SELECT {render(mask, 't.cell', cells.column(type_name))} FROM {cells.source(type_name)} ORDER BY t.ctid"


def _result(cells: Cells, sql: str) -> PGresult:
    result = cells.connection.execute(sql, binary=True).pgresult
    assert result is not None
    return result


def _values(cells: Cells, mask: Mask, type_name: str) -> list[bytes | None]:
    result = _result(cells, _over_table(cells, mask, type_name))
    return [result.get_value(number, 0) for number in range(result.ntuples)]
