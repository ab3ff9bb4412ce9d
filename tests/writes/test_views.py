"""Writes through views that show one table: checked as the table's own are."""

from __future__ import annotations

import pytest

from tests.fix_postgres import Database
from tests.writes.conftest import Connect
from tests.writes.test_writes import Case, check

CASES = {
    "through a view": Case("billing", "UPDATE contacts SET phone = '139' WHERE id = 1 RETURNING phone", "UPDATE 1 139"),
    "through a view, of who has withdrawn": Case(
        "billing", "UPDATE contacts SET phone = '139' WHERE id = 3", "42501 writing public.contacts.phone"
    ),
    "through a view, by what shows": Case(
        "billing", "UPDATE contacts SET phone = NULL WHERE phone = '13800000003'", "UPDATE 0"
    ),
    "deleted through a view": Case("billing", "DELETE FROM contacts WHERE name = 'Anna 1'", "DELETE 1"),
    "through a view that shows nothing of it": Case("billing", "UPDATE tariffs SET plan = 'full'", "UPDATE 8"),
    "a subject's key through a view": Case("billing", "UPDATE contacts SET id = 9 WHERE id = 8", "42501 "),
    "merged through a view": Case(
        "billing",
        "MERGE INTO contacts c USING (VALUES (1), (9)) v (i) ON c.id = v.i"
        " WHEN MATCHED THEN UPDATE SET phone = '139' RETURNING merge_action(), phone",
        "MERGE 1 UPDATE,139",
        since=17,
    ),
    "merged through a view, of who has withdrawn": Case(
        "billing",
        "MERGE INTO contacts c USING (VALUES (1), (3)) v (i) ON c.id = v.i WHEN MATCHED THEN UPDATE SET name = 'Bo'",
        "42501 consent",
        since=17,
    ),
    "merged through a view, by what shows": Case(
        "billing",
        "MERGE INTO contacts c USING (VALUES ('13800000003')) v (p) ON c.phone = v.p WHEN MATCHED THEN DELETE",
        "MERGE 0",
        since=17,
    ),
    "a new call, merged through a view": Case(
        "billing",
        "MERGE INTO dials d USING (VALUES (10, 3)) v (i, who) ON d.id = v.i"
        " WHEN NOT MATCHED THEN INSERT (id, who, callee) VALUES (v.i, v.who, '139')",
        "42501 consent",
        since=17,
    ),
    "a subject through a view": Case("registrar", "INSERT INTO contacts (id, name) VALUES (10, 'Bo')", "INSERT 0 1"),
    "a call through a view": Case("billing", "INSERT INTO dials (id, who, callee) VALUES (10, 1, '139')", "INSERT 0 1"),
    "a call of who has withdrawn through a view": Case(
        "billing", "INSERT INTO dials (id, who, callee) VALUES (10, 3, '139')", "42501 "
    ),
    "consent through a view": Case("billing", "INSERT INTO agreed VALUES (3, 'billing')", "42501 manages"),
    "consent taken through a view": Case("billing", "DELETE FROM agreed", "0A000 "),
}


@pytest.mark.parametrize(("name", "extended"), [(name, bool(index % 2)) for index, name in enumerate(CASES)])
def test_what_may_be_written_through_views(connect: Connect, direct: Database, name: str, *, extended: bool) -> None:
    check(connect, direct, CASES[name], extended=extended)
