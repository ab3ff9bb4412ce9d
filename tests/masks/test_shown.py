"""What shows of a value, on a real server: the table of masks, boundaries included."""

from __future__ import annotations

import pytest

from proxy.masks import Mask, named, unfit
from tests.masks.conftest import Cells

FILL = "****"
MAN = "\U0001f468"  # one character outside the basic plane, two UTF-16 units, four bytes

TEXT = [
    # phone: first 3, last 4, under 8 characters all fill
    ("phone", "text", "13812344243", "138****4243"),
    ("phone", "text", "12345678", "123****5678"),
    ("phone", "text", "1234567", FILL),
    ("phone", "text", "", FILL),
    ("phone", "text", "１３８１２３４４２４３", "１３８****４２４３"),
    ("phone", "text", MAN * 8, MAN * 3 + FILL + MAN * 4),
    ("phone", "text", MAN * 7, FILL),
    ("phone", "varchar(11)", "13812344243", "138****4243"),
    ("phone", "char(11)", "13812344243", "138****4243"),
    ("phone", "char(20)", "13812344243", "138****4243"),
    ("phone", "char(20)", "1234567", FILL),
    ("phone", "varchar(8)", "12345678", None),
    ("phone", "varchar(8)", "1234567", FILL),
    ("phone", "varchar(3)", "123", None),
    ("phone", "char(4)", "123", FILL),
    ("phone", "name", "13812344243", "138****4243"),
    ("phone", "app.note", "13812344243", "138****4243"),
    ("phone", "app.short", "12345", FILL),
    ("phone", "app.shorter", "12345", FILL),
    ("phone", "app.needed", "13812344243", "138****4243"),
    ("phone", "app.digits", "13812344243", None),
    ("phone", "app.over_digits", "13812344243", None),
    ("phone", 'varchar(11) COLLATE "POSIX"', "13812344243", "138****4243"),
    # id_card: first 1, last 1, under 15 characters all fill
    ("id_card", "text", "11010519491231002X", "1****X"),
    ("id_card", "text", "123456789012345", "1****5"),
    ("id_card", "text", "12345678901234", FILL),
    # name: first character, then two stars
    ("name", "text", "张", "**"),
    ("name", "text", "张三", "张**"),
    ("name", "text", "欧阳娜娜", "欧**"),
    ("name", "text", "", "**"),
    ("name", "text", MAN + "三", MAN + "**"),
    ("name", "varchar(3)", "张三丰", "张**"),
    ("name", "text", "a\u0301b", "a**"),
    # email: first character, fill, from the @ on; one @ with two characters before it, or all fill
    ("email", "text", "dan@example.com", "d****@example.com"),
    ("email", "text", "ab@x", "a****@x"),
    ("email", "text", "ab@", "a****@"),
    ("email", "text", "a@example.com", FILL),
    ("email", "text", "@example.com", FILL),
    ("email", "text", "a@b@example.com", FILL),
    ("email", "text", "ab@c@", FILL),
    ("email", "text", "example.com", FILL),
    ("email", "text", "dan＠example.com", FILL),
    ("email", "text", "张三@例子.中国", "张****@例子.中国"),
    ("email", "varchar(8)", "ab@c.com", None),
    ("email", "varchar(8)", "abcdef@x", "a****@x"),
    ("email", "varchar(4)", "ab@x", None),
    ("email", "varchar(3)", "a@b", None),
    ("email", "char(20)", "dan@example.com", "d****@example.com"),
    ("email", "name", "dan@example.com", "d****@example.com"),
    ("email", "name", "ab@" + "x" * 60, None),
    ("email", "name", "abcdef@" + "x" * 56, "a****@" + "x" * 56),
    ("email", 'text COLLATE "C"', "dan@example.com", "d****@example.com"),
    # bank_card: last 4, under 12 characters all fill
    ("bank_card", "text", "6222021234567890", "****7890"),
    ("bank_card", "text", "123456789012", "****9012"),
    ("bank_card", "text", "12345678901", FILL),
    # address: first 6, under 10 characters all fill
    ("address", "text", "北京市海淀区中关村大街", "北京市海淀区****"),
    ("address", "text", "北京市海淀区中关村大", "北京市海淀区****"),
    ("address", "text", "北京市海淀区中关村", FILL),
    # redact: one word for everything, where it fits
    ("redact", "text", "anything", "[masked]"),
    ("redact", "text", "", "[masked]"),
    ("redact", "varchar(8)", "anything", "[masked]"),
    ("redact", "varchar(5)", "a", None),
    ("redact", "app.shorter", "a", None),
    ("redact", "app.digits", "1", None),
    ("redact", "char(11)", "a", "[masked]"),
    ("redact", "name", "a", "[masked]"),
    ("redact", "app.needed", "a", "[masked]"),
    ("redact", "int4", "1", None),
    ("redact", '"char"', "a", None),
    ("redact", "app.mood", "sad", None),
    ("redact", "app.born", "2000-01-01", None),
    ("redact", "jsonb", "{}", None),
    ("redact", "app.pair", "(1,a)", None),
    ("nullify", "text", "a", None),
    ("nullify", "app.needed", "a", None),
    ("nullify", "app.digits", "1", None),
    ("nullify", "app.born", "2000-01-01", None),
    ("nullify", "interval day to second(3)", "1 day", None),
]


@pytest.mark.parametrize(("kind", "type_name", "value", "expected"), TEXT)
def test_text(cells: Cells, kind: str, type_name: str, value: str, expected: str | None) -> None:
    assert unfit(named(kind), cells.column(type_name)) is None
    assert cells.shown(named(kind), type_name, value) == expected


PARTIAL = [
    # keep_first, keep_last, fill, min_length, type, value, expected
    (0, 4, "****", None, "text", "12345678", "****5678"),
    (0, 4, "****", None, "text", "1234567", FILL),
    (2, 2, "****", 5, "text", "12345", "12****45"),
    (2, 2, "****", 5, "text", "1234", FILL),
    (2, 2, "****", 0, "text", "123", FILL),  # would show whole
    (0, 0, "****", None, "text", "12345678", FILL),
    (1, 0, "''\\%", None, "text", "12345", "1''\\%"),
    (2, 3, "****", 8, "varchar(8)", "12345678", None),
    (2, 2, "****", None, "varchar(8)", "12345678", "12****78"),
    (15, 0, "****", None, "name", MAN * 15, FILL),
    (15, 0, "****", None, "name", "a" * 30, "a" * 15 + FILL),
    (14, 1, "****", 15, "name", MAN * 15, None),
]


@pytest.mark.parametrize(("first", "last", "fill", "shortest", "type_name", "value", "expected"), PARTIAL)
def test_partial(
    cells: Cells,
    first: int,
    last: int,
    fill: str,
    shortest: int | None,
    type_name: str,
    value: str,
    expected: str | None,
) -> None:
    mask = Mask("partial", keep_first=first, keep_last=last, fill=fill, min_length=shortest)
    assert unfit(mask, cells.column(type_name)) is None
    assert cells.shown(mask, type_name, value) == expected


MOMENTS = [
    ("year", "date", "1990-07-31", "1990-01-01"),
    ("month", "date", "1990-07-31", "1990-07-01"),
    ("year", "date", "1990-01-01", "1990-01-01"),
    ("month", "date", "2000-02-29", "2000-02-01"),
    ("year", "date", "5874897-12-31", "5874897-01-01"),
    ("month", "date", "5874897-12-31", "5874897-12-01"),
    ("year", "date", "0044-03-15 BC", "0044-01-01 BC"),
    ("month", "date", "0001-12-31 BC", "0001-12-01 BC"),
    ("year", "date", "4713-06-01 BC", "4713-01-01 BC"),
    ("year", "date", "4714-12-31 BC", None),
    ("month", "date", "4714-12-31 BC", "4714-12-01 BC"),
    ("month", "date", "4714-11-24 BC", None),
    ("year", "date", "infinity", "infinity"),
    ("month", "date", "-infinity", "-infinity"),
    ("year", "app.born", "1990-07-31", None),  # the domain checks, so no value can be made
    ("year", "timestamp", "1990-07-31 23:59:59.999999", "1990-01-01 00:00:00"),
    ("month", "timestamp", "1990-07-31 23:59:59.999999", "1990-07-01 00:00:00"),
    ("month", "timestamp(0)", "1990-07-31 23:59:58", "1990-07-01 00:00:00"),
    ("year", "timestamp", "294276-12-31 23:59:59.999999", "294276-01-01 00:00:00"),
    ("year", "timestamp", "4714-11-24 00:00:00 BC", None),
    ("month", "timestamp", "4714-11-24 00:00:00 BC", None),
    ("month", "timestamp", "4714-12-24 00:00:00 BC", "4714-12-01 00:00:00 BC"),
    ("year", "timestamp", "-infinity", "-infinity"),
    ("year", "timestamptz", "2000-01-01 00:00:00+00", "2000-01-01 00:00:00+00"),
    ("year", "timestamptz", "2000-01-01 07:59:59+08", "1999-01-01 00:00:00+00"),
    ("month", "timestamptz", "2000-02-29 23:00:00-05", "2000-03-01 00:00:00+00"),
    ("month", "timestamptz(3)", "2000-02-29 23:00:00.123-05", "2000-03-01 00:00:00+00"),
    ("year", "timestamptz", "294276-12-31 23:59:59.999999+00", "294276-01-01 00:00:00+00"),
    ("year", "timestamptz", "4714-11-24 00:00:00+00 BC", None),
    ("month", "timestamptz", "infinity", "infinity"),
]


@pytest.mark.parametrize(("kind", "type_name", "value", "expected"), MOMENTS)
def test_moments(cells: Cells, kind: str, type_name: str, value: str, expected: str | None) -> None:
    assert unfit(named(kind), cells.column(type_name)) is None
    cells.connection.execute("SET TimeZone = 'UTC'")
    assert cells.shown(named(kind), type_name, value) == expected


RANGES = [
    (10, "int4", "37", "30"),
    (10, "int4", "40", "40"),
    (10, "int4", "0", "0"),
    (10, "int4", "-1", "-10"),
    (10, "int4", "-10", "-10"),
    (10, "int4", "2147483647", "2147483640"),
    (10, "int4", "-2147483640", "-2147483640"),
    (10, "int4", "-2147483648", None),
    (10, "int2", "-32768", None),
    (2**62, "int2", "32767", "0"),
    (2**62, "int2", "-1", None),
    (2**63 - 1, "int8", "-1", str(-(2**63 - 1))),
    (2**63 - 1, "int8", "-9223372036854775808", None),
    (1, "int8", "-9223372036854775808", "-9223372036854775808"),
    (7, "int8", "9223372036854775807", "9223372036854775807"),
    (1000, "int8", "9223372036854775807", "9223372036854775000"),
    (10, "numeric", "37.999", "30"),
    (10, "numeric", "-0.0001", "-10"),
    (10, "numeric", "1e-20", "0"),
    (1000000, "numeric", "999999999999999999999999.9", "999999999999999999000000"),
    (10, "numeric", "NaN", None),
    (10, "numeric", "Infinity", None),
    (10, "numeric", "-Infinity", None),
    (10, "numeric", "-" + "9" * 131072, None),
    (100, "numeric(5,2)", "999.99", "900.00"),
    (1000, "numeric(5,2)", "999.99", "0.00"),
    (1000, "numeric(5,2)", "-999.99", None),
    (100, "numeric(5,2)", "-900.01", None),
    (100, "numeric(5,2)", "NaN", None),
    (1, "numeric(3,5)", "0.00999", "0.00000"),
    (1, "numeric(3,5)", "-0.00999", None),
    (5000, "numeric(3,-3)", "-999000", None),
    (5000, "numeric(3,-3)", "999000", "995000"),
    (10, "float8", "37.5", "30"),
    (10, "float8", "-1e-300", "-10"),
    (10, "float8", "5e-324", "0"),
    (10, "float8", "-0", "0"),
    (7, "float8", "9007199254740992", "9.007199254740988e+15"),
    (7, "float8", "9007199254740994", None),
    (7, "float8", "-9007199254740992", None),
    (10, "float8", "1.7976931348623157e308", None),
    (10, "float8", "NaN", None),
    (10, "float8", "-Infinity", None),
    (10, "float4", "999.9999", "990"),
    (10, "float4", "1e-45", "0"),
    (10, "float4", "16777216", "1.677721e+07"),
    (10, "float4", "3.4028235e38", None),
    (10, "float4", "Infinity", None),
]


@pytest.mark.parametrize(("step", "type_name", "value", "expected"), RANGES)
def test_ranges(cells: Cells, step: int, type_name: str, value: str, expected: str | None) -> None:
    mask = Mask("range", step=step)
    assert unfit(mask, cells.column(type_name)) is None
    assert cells.shown(mask, type_name, value) == expected


NIL = "00000000-0000-0000-0000-000000000000"

CONSTANTS = [
    ("hidden", "text", "a", "hidden"),
    ("it's \\ %", "text", "a", "it's \\ %"),
    (True, "text", "a", "true"),
    (0, "varchar(3)", "a", "0"),
    ("none", "char(11)", "a", "none"),
    ("none", "app.digits", "1", None),
    (False, "bool", "t", "false"),
    (18, "int4", "99", "18"),
    ("18", "int2", "99", "18"),
    (-1.5, "numeric(5,2)", "3", "-1.50"),
    (1e20, "numeric", "3", "100000000000000000000"),
    (0.1, "float4", "3", "0.1"),
    (1e308, "float8", "3", "1e+308"),
    ("1970-01-01", "date", "2000-01-01", "1970-01-01"),
    ("1970-01-01T12:00:00", "timestamp", "2000-01-01", "1970-01-01 12:00:00"),
    ("1970-01-01 08:00:00+08:00", "timestamptz", "2000-01-01", "1970-01-01 00:00:00+00"),
    ("00:00", "time", "12:00", "00:00:00"),
    (NIL, "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", NIL),
    ("sad", "app.mood", "happy", "sad"),
    (None, "int4", "1", None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "type_name", "raw", "expected"), CONSTANTS)
def test_constants(cells: Cells, value: str | float | None, type_name: str, raw: str, expected: str | None) -> None:
    mask = Mask("constant", value=value)
    assert unfit(mask, cells.column(type_name)) is None
    cells.connection.execute("SET TimeZone = 'UTC'")
    assert cells.shown(mask, type_name, raw) == expected
