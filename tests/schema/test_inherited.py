"""What a column inherits its classification from: what it is generated from, tables above it and below it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.fix_postgres import Database
from tests.fix_proxy import Proxy

SCHEMA = """
CREATE TABLE people (
    id int PRIMARY KEY, name text, phone varchar(30), born date, city text,
    digits text GENERATED ALWAYS AS (replace(phone, '-', '')) STORED,
    size int GENERATED ALWAYS AS (length(phone)) STORED,
    label text GENERATED ALWAYS AS (name || ' ' || phone) STORED,
    town text GENERATED ALWAYS AS (upper(city)) STORED,
    year int GENERATED ALWAYS AS (extract(year FROM born)::int) STORED,
    fixed text GENERATED ALWAYS AS ('x') STORED);
CREATE TABLE consents (person int, purpose text);
CREATE VIEW book AS SELECT id, digits, town, label FROM people;
INSERT INTO people (id, name, phone, born, city) VALUES
    (1, 'Ann Archer', '138-0000-4243', '1980-05-05', 'Leeds'), (2, 'Bob Baker', '139-1111-2222', '1990-06-06', 'York');
INSERT INTO consents VALUES (1, 'sales');
CREATE TABLE notes (id int, person int, phone text, body text, place text);
CREATE TABLE old_notes (reason text) INHERITS (notes);
CREATE TABLE new_notes () INHERITS (notes);
INSERT INTO notes VALUES (1, 1, '13800004243', 'tea', 'Hull');
INSERT INTO old_notes VALUES (2, 1, '13800004243', 'milk', 'Hull', 'gone');
INSERT INTO new_notes VALUES (3, 1, '13800004243', 'mint', 'Hull');
CREATE TABLE apart (id int, owner int, phone text);
CREATE TABLE apart_child (other int) INHERITS (apart);
INSERT INTO apart_child VALUES (1, 1, '13800004243', 1);
"""

POLICY = """
version: 1
name: inherited
subjects:
  person:
    table: public.people
    key: id
    consent: {table: public.consents, subject: person, purpose: purpose}
categories:
  name: {sensitivity: general, mask: name}
  phone: {sensitivity: general, mask: phone}
  birth: {sensitivity: sensitive, mask: year}
  age: {sensitivity: general, mask: {range: {step: 10}}}
  other: {sensitivity: general, mask: redact}
tables:
  public.people:
    subject: {kind: person, key: id}
    columns: {name: name, phone: phone, born: birth, year: age}
  public.notes: {subject: {kind: person, key: person}, columns: {phone: phone}}
  public.old_notes: {subject: {kind: person, key: person}, columns: {phone: other, body: other, reason: other}}
  public.apart: {subject: {kind: person, key: owner}, columns: {phone: phone}}
  public.apart_child: {subject: {kind: person, key: other}, columns: {phone: phone}}
purposes:
  sales: {description: Sell, basis: consent, categories: [name, phone, other]}
  audit: {description: Look, basis: legal_obligation, accounts: any, categories: ['*']}
roles:
  postgres: {purposes: [sales, audit], ddl: true}
"""


@pytest.fixture(scope="module")
def through(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    module_database.execute(SCHEMA)
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "policy.yaml").write_text(POLICY)
    with Proxy(folder, "--policy", str(folder / "policy.yaml"), "--upstream", module_database.dsn()) as proxy:
        host, port = proxy.ready().rsplit(":", 1)
        with psycopg.connect(module_database.through(host, int(port)), autocommit=True) as connection:
            yield connection


def ask(connection: Any, text: str, purpose: str = "") -> list[tuple[Any, ...]]:
    connection.execute(f"SET consentry.purpose = '{purpose}'")
    return list(connection.execute(text).fetchall())


SEEN = {
    "the mask of its source": ("SELECT digits FROM people ORDER BY id", "", ["138****4243", "139****2222"]),
    "nothing, of another type": ("SELECT size FROM people ORDER BY id", "", [None, None]),
    "at most what either shows": ("SELECT label FROM people ORDER BY id", "", ["A****", "B****"]),
    "all, of what is open": ("SELECT town FROM people ORDER BY id", "", ["LEEDS", "YORK"]),
    "all, of nothing": ("SELECT fixed FROM people ORDER BY id", "", ["x", "x"]),
    "what the policy says of itself": ("SELECT year FROM people ORDER BY id", "", [1980, 1990]),
    "where a consent is in force": (
        "SELECT digits FROM people ORDER BY id",
        "sales",
        ["13800004243", "139****2222"],
    ),
    "of two, where it is for both": (
        "SELECT label FROM people ORDER BY id",
        "sales",
        ["Ann Archer 138-0000-4243", "B****"],
    ),
    "for who may see all": ("SELECT size FROM people ORDER BY id", "audit", [13, 13]),
    "in a predicate": ("SELECT id FROM people WHERE digits = '13911112222'", "sales", []),
    "by a view": ("SELECT digits FROM book ORDER BY id", "sales", ["13800004243", "139****2222"]),
    "in a whole row": ("SELECT (p).digits FROM people p ORDER BY id", "", ["138****4243", "139****2222"]),
    "a table above": ("SELECT phone FROM notes ORDER BY id", "", ["[masked]"] * 3),
    "only a table above": ("SELECT phone FROM ONLY notes", "", ["[masked]"]),
    "a column of a table above": ("SELECT body FROM notes ORDER BY id", "", ["[masked]"] * 3),
    "a table below": ("SELECT phone FROM old_notes", "", ["[masked]"]),
    "its own column": ("SELECT reason FROM old_notes", "", ["[masked]"]),
    "a table beside": ("SELECT phone FROM new_notes", "", ["138****4243"]),
    "a column of a table beside": ("SELECT body FROM new_notes", "", ["mint"]),
    "open of all": ("SELECT place FROM notes ORDER BY id", "", ["Hull"] * 3),
    "consent, of both": ("SELECT phone FROM notes ORDER BY id", "sales", ["13800004243"] * 3),
    "of different subjects": ("SELECT phone FROM apart", "sales", ["138****4243"]),
    "of different subjects, without conditions": ("SELECT phone FROM apart", "audit", ["13800004243"]),
}


@pytest.mark.parametrize("title", SEEN)
def test_what_is_seen(title: str, through: Any) -> None:
    text, purpose, seen = SEEN[title]
    assert [value for (value,) in ask(through, text, purpose)] == seen


def test_returning_shows_no_more(through: Any) -> None:
    rows = ask(through, "UPDATE people SET city = 'Bath' WHERE id = 2 RETURNING digits, size, town", "sales")
    assert rows == [("139****2222", None, "BATH")]
    assert ask(through, "INSERT INTO people VALUES (7, NULL, NULL, NULL, 'Hull') RETURNING town") == [("HULL",)]
    assert ask(through, "DELETE FROM people WHERE id = 7 RETURNING digits") == [(None,)]


REFUSED = [
    "CREATE TABLE copied AS SELECT digits FROM people",
    "INSERT INTO apart (id, owner) SELECT size, 1 FROM people",
    "ALTER TABLE people ALTER COLUMN digits DROP EXPRESSION",
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_hidden_goes_nowhere(text: str, through: Any) -> None:
    through.execute("SET consentry.purpose = 'sales'")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        through.execute(text)


def test_a_generated_column_may_be_called_anything(through: Any) -> None:
    through.execute("SET consentry.purpose = ''")
    through.execute("ALTER TABLE people RENAME COLUMN digits TO number")
    assert through.execute("SELECT number FROM people ORDER BY id").fetchall() == [("138****4243",), ("139****2222",)]
    through.execute("ALTER TABLE people RENAME COLUMN number TO digits")


OWN = {
    "SELECT current_query()": "current_query",
    "SELECT current_query(), phone FROM people WHERE id = 1": "current_query",
    "SELECT id, pg_catalog.current_query ( )::varchar, phone FROM people WHERE id = 1": "current_query",
    "SELECT CASE WHEN id = 1 THEN current_query() END, 'it''s', E'\\\\x' FROM people, people p2(x) LIMIT 1": "case",
    "UPDATE people SET city = 'Leeds' WHERE id = 1 RETURNING current_query(), phone": "current_query",
    "SELECT (SELECT current_query()) AS q, phone FROM people WHERE current_query() LIKE '%hon%' AND id = 1": "q",
}


@pytest.mark.parametrize("text", OWN)
@pytest.mark.parametrize("binary", [False, True])
def test_the_text_of_the_client_s_own(text: str, binary: bool, through: Any) -> None:
    through.execute("SET consentry.purpose = ''")
    with through.cursor(binary=binary) as cursor:
        cursor.execute(text.encode(), prepare=binary)
        names = [column.name for column in cursor.description]
        place = names.index(OWN[text])
        assert {row[place] for row in cursor.fetchall()} <= {text, None}
        assert cursor.description[place].type_code in (25, 1043)


ROWS = [
    "SELECT array_agg(p) FROM people p",
    "SELECT array_agg(p ORDER BY p.id DESC) FILTER (WHERE id < 9) FROM public.people p",
    'SELECT jsonb_populate_record(p, \'{"city": "Hull"}\') FROM people p ORDER BY id',
    "SELECT first_value(p) OVER (ORDER BY id), lag(p, 1) OVER (ORDER BY id) FROM people p",
    "SELECT array_agg(DISTINCT people) FROM people",
]


@pytest.mark.parametrize("text", ROWS)
def test_rows_are_of_the_table_s_type(text: str, through: Any, module_database: Database) -> None:
    through.execute("SET consentry.purpose = ''")
    with module_database.connect() as direct:
        wanted = [column.type_code for column in direct.execute(text.encode()).description or ()]
        found = through.execute(text.encode())
        assert [column.type_code for column in found.description] == wanted
        assert "4243" in str(rows := found.fetchall()) and "0000" not in str(rows)
