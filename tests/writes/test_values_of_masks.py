"""Masks of dates and numbers look like values: they are not stored in the place of those that they stand for."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.fix_postgres import Database
from tests.fix_proxy import Proxy

SCHEMA = """
CREATE DOMAIN wage AS numeric(10, 2);
CREATE TABLE people (id int PRIMARY KEY, born date, seen timestamptz, wage wage, steps int, vip bool, nick varchar(5),
    tag char(3), name text);
GRANT ALL ON people TO clerk;
"""
ROWS = """
TRUNCATE people;
INSERT INTO people VALUES (1, '1980-05-06', '2024-05-06 10:00+00', 1234.5, 77, true, 'nick', 'ab', 'Ann')
"""
POLICY = """
version: 1
name: people
subjects: {person: {table: public.people, key: id}}
categories:
  born: {sensitivity: general, mask: year}
  seen: {sensitivity: general, mask: month}
  wage: {sensitivity: general, mask: {range: {step: 1000}}}
  steps: {sensitivity: general, mask: {range: {step: 10}}}
  vip: {sensitivity: general, mask: {constant: {value: false}}}
  name: {sensitivity: general, mask: name}
tables:
  public.people:
    subject: {kind: person, key: id}
    columns: {born: born, seen: seen, wage: wage, steps: steps, vip: vip, nick: name, tag: name}
purposes: {law: {basis: legal_obligation, categories: ['*'], accounts: any}}
roles: {clerk: {purposes: [law], default_purpose: law}}
rules: [{id: masked, categories: ['*'], uses: [read], effect: mask}]
"""
REFUSED = "42501 consentry: the mask of public.people."

CASES: dict[str, tuple[str, str]] = {
    "a year": ("born = '1980-01-01'", REFUSED + "born"),
    "another year": ("born = '1981-01-01'", "UPDATE 1"),
    "a day of it": ("born = '1980-01-02'", "UPDATE 1"),
    "a month": ("seen = '2024-05-01 02:00+02'", REFUSED + "seen"),
    "a step": ("wage = 1000", REFUSED + "wage"),
    "another step": ("wage = 2000", "UPDATE 1"),
    "a step of integers": ("steps = 70", REFUSED + "steps"),
    "a value within it": ("steps = 71", "UPDATE 1"),
    "a constant": ("vip = false", REFUSED + "vip"),
    "a row of them": ("(steps, name) = (70, 'x')", REFUSED + "steps"),
    "a row without them": ("(steps, name, born) = ROW (71, 'x', DATE '1990-01-01')", "UPDATE 1"),
    "a row, and a value before it": ("name = 'x, y', (name, steps) = ('z', 70)", "42601 multiple assignments"),
    "a row in brackets": ("tag = 'cd', (steps, name) = ((70), ('x' || (1)::text))", REFUSED + "steps"),
    "several of them": ("steps = 71, wage = 1000", REFUSED + "wage"),
    "a text that is too long": ("nick = 'longer than five'", "22001 value too long"),
    "a character too long": ("tag = 'abcd'", "22001 value too long"),
    "NULL": ("steps = NULL", "42501 consentry: public.people.steps may not be emptied"),
}


@pytest.fixture(scope="module")
def clerk(
    roles: tuple[str, ...],  # noqa: ARG001 - they must be there
    module_database: Database,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    module_database.execute(SCHEMA)
    folder = tmp_path_factory.mktemp("values")
    (folder / "policy.yaml").write_text(POLICY)
    with Proxy(folder, "--policy", str(folder / "policy.yaml"), "--upstream", module_database.dsn()) as proxy:
        host, _, port = proxy.ready().rpartition(":")
        with psycopg.connect(module_database.through(host, int(port), "clerk"), autocommit=True) as connection:
            yield connection


def _answer(clerk: psycopg.Connection[tuple[object, ...]], sql: str, parameters: tuple[object, ...] = ()) -> str:
    try:
        return clerk.execute(sql.encode(), parameters or None).statusmessage or ""
    except psycopg.Error as error:
        return f"{error.sqlstate} {error.diag.message_primary}"


@pytest.mark.parametrize("name", CASES)
def test_literals(clerk: psycopg.Connection[tuple[object, ...]], module_database: Database, name: str) -> None:
    module_database.execute(ROWS)
    assignment, expected = CASES[name]
    assert _answer(clerk, f"UPDATE people SET {assignment} WHERE id = 1").startswith(expected)


def test_what_was_loaded(clerk: psycopg.Connection[tuple[object, ...]], module_database: Database) -> None:
    """An ORM that saves an object whole writes each of its cells as a parameter."""
    module_database.execute(ROWS)
    columns = ("born", "seen", "wage", "steps", "vip")
    [loaded] = clerk.execute(f"SELECT {', '.join(columns)} FROM people".encode()).fetchall()
    for column, value in zip(columns, loaded, strict=True):
        update = f"UPDATE people SET name = 'x', {column} = %s WHERE id = 1"
        assert _answer(clerk, update, (value,)).startswith(REFUSED + column)
        assert _answer(clerk, f"UPDATE people SET (name, {column}) = ('x', %s)", (value,)).startswith(REFUSED + column)
    assert _answer(clerk, "UPDATE people SET name = %s, steps = %s", ("x", 71)) == "UPDATE 1"
    assert module_database.execute("SELECT wage, steps FROM people") == [(1234.5, 71)]
