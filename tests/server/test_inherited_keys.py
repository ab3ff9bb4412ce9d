"""Keys are unique in one table, not in those that inherit from it: no row is shown twice, or by a child's state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.fix_postgres import Database
from tests.fix_proxy import Proxy

SCHEMA = """
CREATE TABLE people (id int PRIMARY KEY, status text);
CREATE TABLE old_people () INHERITS (people);
CREATE TABLE orders (id int PRIMARY KEY, person int, address text);
CREATE TABLE old_orders () INHERITS (orders);
CREATE TABLE gifts (id int PRIMARY KEY, of_order int, gift text);
INSERT INTO people VALUES (1, 'open'), (2, 'closed'), (3, 'open');
INSERT INTO old_people VALUES (2, 'open'), (4, 'open');
INSERT INTO orders VALUES (1, 1, 'Main Street 1'), (2, 2, 'Main Street 2'), (3, 3, 'Main Street 3');
INSERT INTO old_orders VALUES (3, 1, 'Side Street 3'), (4, 4, 'Side Street 4');
INSERT INTO gifts SELECT n, n, 'gift ' || n FROM generate_series(1, 5) n;
"""
POLICY = """
version: 1
name: inherited
subjects:
  person:
    table: public.people
    key: id
    account: {column: status, states: {active: [open], closed: [closed]}}
categories:
  other: {sensitivity: general, mask: redact}
tables:
  public.people: {subject: {kind: person, key: id}}
  public.orders: {subject: {kind: person, key: person}, columns: {address: other}}
  public.gifts:
    subject: {kind: person, via: {table: public.orders, column: of_order, key: id}}
    columns: {gift: other}
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
    folder = tmp_path_factory.mktemp("inherited")
    (folder / "policy.yaml").write_text(POLICY)
    with Proxy(folder, "--policy", str(folder / "policy.yaml"), "--upstream", module_database.dsn()) as proxy:
        host, port = proxy.ready().rsplit(":", 1)
        url = f"postgresql://postgres@{host}:{port}/{module_database.name}"
        with psycopg.connect(url, autocommit=True) as connected:
            yield connected
        assert proxy.stop() == 0, proxy.said


MASKED = "[masked]"


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        # Of two rows of one person, one says that the account is closed.
        ("SELECT id, address FROM ONLY orders", [(1, "Main Street 1"), (2, MASKED), (3, "Main Street 3")]),
        ("SELECT id, address FROM old_orders", [(3, "Side Street 3"), (4, "Side Street 4")]),
        # Of which of two orders number 3 the third gift is, nobody knows; there is no fifth.
        ("SELECT id, gift FROM gifts", [(1, "gift 1"), (2, MASKED), (3, MASKED), (4, "gift 4"), (5, MASKED)]),
        ("SELECT id, gift FROM gifts FOR SHARE", [(1, "gift 1"), (2, MASKED), (3, MASKED), (4, "gift 4"), (5, MASKED)]),
    ],
)
def test_every_row_is_shown_once(
    connection: psycopg.Connection[tuple[Any, ...]], query: str, shown: list[tuple[int, str]]
) -> None:
    assert sorted(connection.execute(query.encode()).fetchall()) == shown
