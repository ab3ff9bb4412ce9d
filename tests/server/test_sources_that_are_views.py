"""A registry or an account source may be a view: then the tables behind it are for managing roles too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.fix_postgres import Database
from tests.fix_proxy import Proxy

SCHEMA = """
CREATE TABLE all_people (number int PRIMARY KEY, state text, note text);
CREATE VIEW people AS SELECT number AS id, state AS status, note FROM all_people;
CREATE TABLE rooms (id int PRIMARY KEY, person int, secret text);
CREATE TABLE members (id int PRIMARY KEY, email text);
CREATE TABLE account_log (member int, state text, at timestamptz);
CREATE VIEW accounts AS SELECT DISTINCT ON (member) member, state FROM account_log ORDER BY member, at DESC;
INSERT INTO all_people VALUES (1, 'open'), (2, 'closed');
INSERT INTO rooms VALUES (1, 1, 'one'), (2, 2, 'two'), (3, 3, 'three');
INSERT INTO members VALUES (1, 'ann@example.com'), (2, 'bob@example.com');
INSERT INTO account_log VALUES (1, 'open', '2020-01-01'), (2, 'open', '2020-01-01'), (2, 'closed', '2021-01-01');
"""
POLICY = """
version: 1
name: views
subjects:
  person:
    table: public.people
    key: id
    account: {column: status, states: {active: [open], closed: [closed]}}
  member:
    table: public.members
    key: id
    account: {table: public.accounts, subject: member, column: state, states: {active: [open], closed: [closed]}}
categories:
  other: {sensitivity: general, mask: redact}
tables:
  public.rooms: {subject: {kind: person, key: person}, columns: {secret: other}}
  public.members: {subject: {kind: member, key: id}, columns: {email: other}}
purposes:
  care: {description: To care, basis: contract, categories: [other]}
roles:
  postgres: {purposes: [care], default_purpose: care}
"""


@pytest.fixture(scope="module")
def connection(
    module_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    module_database.execute(SCHEMA)
    folder = tmp_path_factory.mktemp("views")
    (folder / "policy.yaml").write_text(POLICY)
    with Proxy(folder, "--policy", str(folder / "policy.yaml"), "--upstream", module_database.dsn()) as proxy:
        host, port = proxy.ready().rsplit(":", 1)
        with psycopg.connect(module_database.through(host, int(port)), autocommit=True) as connected:
            yield connected
        assert proxy.stop() == 0, proxy.said


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE all_people SET state = 'open' WHERE number = 2",
        "UPDATE people SET status = 'open' WHERE id = 2",
        "UPDATE all_people SET number = 3 WHERE number = 1",
        "INSERT INTO all_people VALUES (3, 'open')",
        "INSERT INTO people VALUES (3, 'open')",
        "WITH d AS (DELETE FROM people WHERE id = 2 RETURNING id) INSERT INTO people SELECT id, 'open' FROM d",
        "INSERT INTO account_log VALUES (2, 'open', now())",
        "DELETE FROM account_log WHERE state = 'closed'",
    ],
)
def test_nobody_else_changes_what_decides(connection: psycopg.Connection[tuple[Any, ...]], statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="by a role that manages"):
        connection.execute(statement.encode())
    shown = connection.execute("SELECT secret FROM rooms UNION ALL SELECT email FROM members").fetchall()
    assert sorted(text for (text,) in shown) == ["[masked]", "[masked]", "[masked]", "ann@example.com", "one"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE all_people SET note = 'x' WHERE number = 2",
        "UPDATE people SET note = 'x', status = status WHERE id = 2",
        "INSERT INTO all_people VALUES (30, 'open')",
        "DELETE FROM all_people WHERE number = 30",
    ],
)
def test_the_rest_is_free(connection: psycopg.Connection[tuple[Any, ...]], statement: str) -> None:
    assert connection.execute(statement.encode()).rowcount == 1
