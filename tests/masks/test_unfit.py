"""Which mask may be used for which type; the others are policy errors and hide everything."""

from __future__ import annotations

import pytest

from proxy.masks import KINDS, Mask, named, null, render, unfit
from tests.masks.conftest import Cells

UNFIT = [
    (named("phone"), "int8", "phone is for text"),
    (named("email"), "app.mood", "email is for text"),
    (named("name"), '"char"', "name is for text"),
    (named("address"), "text[]", "address is for text"),
    (named("partial"), "jsonb", "partial is for text"),
    (Mask("partial", keep_first=-1), "text", "a partial mask cannot keep a negative number of characters"),
    (Mask("partial", keep_last=2**31), "text", "a partial mask can keep 1000000 characters at most"),
    (Mask("partial", fill="\0"), "text", "the fill of a partial mask must be text that PostgreSQL can store"),
    (named("year"), "text", "year is for dates and timestamps"),
    (named("month"), "time", "month is for dates and timestamps"),
    (named("month"), "interval", "month is for dates and timestamps"),
    (named("range"), "int4", "range needs a step above 0"),
    (Mask("range", step=0), "int4", "range needs a step above 0"),
    (Mask("range", step=-5), "numeric", "range needs a step above 0"),
    (Mask("range", step=10), "text", "range is for numbers"),
    (Mask("range", step=10), "money", "range is for numbers"),
    (Mask("range", step=10), "oid", "range is for numbers"),
    (Mask("range", step=10), "numeric(3,-3)", "the column rounds to multiples of 1000, which the step is not"),
    (Mask("range", step=2**63), "int8", f"range needs a step of at most {2**63 - 1}"),
    (Mask("constant", value="123456"), "varchar(5)", "the constant is too long for pg_catalog.varchar(5)"),
    (Mask("constant", value="张" * 22), "name", "the constant is too long for pg_catalog.name"),
    (Mask("constant", value="\0"), "text", "PostgreSQL cannot store this text"),
    (Mask("constant", value="one"), "int4", "'one' is no value of type pg_catalog.int4"),
    (Mask("constant", value=True), "int4", "True is no value of type pg_catalog.int4"),
    (Mask("constant", value=1.5), "int4", "1.5 is no value of type pg_catalog.int4"),
    (Mask("constant", value=40000), "int2", "40000 is no value of type pg_catalog.int2"),
    (Mask("constant", value=1000), "numeric(5,2)", "1000 is no value of type pg_catalog.numeric(5,2)"),
    (Mask("constant", value=0.001), "numeric(5,2)", "0.001 is no value of type pg_catalog.numeric(5,2)"),
    (Mask("constant", value="NaN"), "numeric", "'NaN' is no value of type pg_catalog.numeric"),
    (Mask("constant", value=1e39), "float4", "1e+39 is no value of type pg_catalog.float4"),
    (Mask("constant", value=1e-60), "float4", "1e-60 is no value of type pg_catalog.float4"),
    (Mask("constant", value="01/02/2000"), "date", "'01/02/2000' is no value of type pg_catalog.date"),
    (Mask("constant", value="2000-02-30"), "date", "'2000-02-30' is no value of type pg_catalog.date"),
    (Mask("constant", value=0), "timestamp", "0 is no value of type pg_catalog.timestamp"),
    (Mask("constant", value="angry"), "app.mood", "'angry' is no value of the enum app.mood"),
    (Mask("constant", value="yes"), "bool", "'yes' is no value of type pg_catalog.bool"),
    (Mask("constant", value="{}"), "jsonb", "a constant cannot be given for type pg_catalog.jsonb"),
    (named("hash"), "text", "hash is not available in this version"),
    (Mask("rot13"), "text", "there is no mask 'rot13'"),
]


@pytest.mark.parametrize(("mask", "type_name", "why"), UNFIT)
def test_unfit(cells: Cells, mask: Mask, type_name: str, why: str) -> None:
    assert unfit(mask, cells.column(type_name)) == why


@pytest.mark.parametrize(("mask", "type_name", "why"), UNFIT)
def test_what_is_unfit_hides_everything(cells: Cells, mask: Mask, type_name: str, why: str) -> None:
    """The table may have changed since the policy was checked against it."""
    assert why
    assert render(mask, "v.cell", cells.column(type_name)) == null(cells.column(type_name))


def test_named() -> None:
    assert {named(kind).kind for kind in KINDS} == KINDS
    with pytest.raises(ValueError, match="there is no mask 'rot13'"):
        named("rot13")
