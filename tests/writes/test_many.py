"""Many people registered in one transaction: time grows as their number does, and there is an end to it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from tests.fix_postgres import Database
from tests.fix_proxy import Proxy
from tests.writes.conftest import POLICY

PEOPLE = 20_000
SCHEMA = """
CREATE TABLE subscribers (id text PRIMARY KEY, full_name text, phone text, id_number text,
    status text NOT NULL DEFAULT 'active');
CREATE TABLE consents (subscriber_id text, purpose text, granted_at timestamptz DEFAULT now(), withdrawn_at timestamptz,
    expires_at timestamptz, is_express bool, notice_version int DEFAULT 2);
CREATE INDEX ON consents (subscriber_id, purpose);
CREATE TABLE calls (id int, subscriber_id text, callee text, cell text, started_at timestamptz DEFAULT now());
GRANT ALL ON ALL TABLES IN SCHEMA public TO signup;
"""
REGISTER = "INSERT INTO subscribers (id, full_name) SELECT n, 'Bo Li' FROM generate_series(1, %s) n"
CONSENT = "INSERT INTO consents (subscriber_id, purpose) SELECT n, 'billing' FROM generate_series(1, %s) n"
CALLS = "INSERT INTO calls (id, subscriber_id, callee) SELECT n, n %% 10 + 1, '139' FROM generate_series(1, %s) n"


@pytest.fixture(scope="module")
def url(
    roles: tuple[str, ...],  # noqa: ARG001 - they must be there
    module_database: Database,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    module_database.execute(SCHEMA)
    folder = tmp_path_factory.mktemp("many")
    with Proxy(folder, "--policy", str(POLICY), "--upstream", module_database.dsn()) as proxy:
        host, _, port = proxy.ready().rpartition(":")
        yield module_database.through(host, int(port), "signup")


@pytest.fixture
def signup(url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(url) as connection:
        yield connection
        connection.rollback()


def _register(signup: psycopg.Connection[tuple[object, ...]], many: int) -> float:
    started = time.perf_counter()
    signup.execute(REGISTER.encode(), (many,))
    signup.execute(CALLS.encode(), (many,))
    signup.execute(CONSENT.encode(), (many,))
    signup.commit()
    took = time.perf_counter() - started
    signup.execute("DELETE FROM subscribers; DELETE FROM consents; DELETE FROM calls")
    signup.commit()
    return took


def test_time_grows_with_the_number(signup: psycopg.Connection[tuple[object, ...]]) -> None:
    _register(signup, 10)  # decided, planned, cached
    few, many = _register(signup, PEOPLE // 10), _register(signup, PEOPLE)
    assert many < 30 * few + 1


def test_one_of_many_does_not_consent(signup: psycopg.Connection[tuple[object, ...]]) -> None:
    signup.execute(REGISTER.encode(), (PEOPLE,))
    signup.execute(CONSENT.encode(), (PEOPLE - 1,))
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="consentry: writing"):
        signup.commit()
    assert signup.execute("SELECT count(*) FROM subscribers").fetchone() == (0,)


def test_copied_in(signup: psycopg.Connection[tuple[object, ...]]) -> None:
    for consenting in (PEOPLE, PEOPLE - 1):
        with signup.cursor() as cursor:
            with cursor.copy("COPY subscribers (id, full_name) FROM STDIN") as copy:
                copy.write("".join(f"{n}\tBo Li\n" for n in range(1, PEOPLE + 1)))
            with cursor.copy("COPY calls (id, subscriber_id, callee, started_at) FROM STDIN") as copy:
                copy.write("".join(f"{n}\t{n}\t139\t2999-01-01\n" for n in range(1, PEOPLE + 1)))
            cursor.execute(CONSENT.encode(), (consenting,))
        if consenting < PEOPLE:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="consentry: writing"):
                signup.commit()
        signup.rollback()


@pytest.mark.parametrize("copied", [False, True])
def test_no_more_can_be_remembered(signup: psycopg.Connection[tuple[object, ...]], copied: bool) -> None:
    """Keys of 70,000 characters: two of them are more than any of the lists holds."""
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="too many people are registered") as raised:
        if copied:
            with signup.cursor().copy("COPY subscribers (id, full_name) FROM STDIN") as copy:
                for number in range(200):
                    copy.write(f"{str(number % 10) * (70_000 + number)}\tBo Li\n")
        else:
            text = "INSERT INTO subscribers (id, full_name) SELECT repeat('x', 70000 + n), 'Bo'"
            signup.execute(text + " FROM generate_series(1, 200) n")
    assert raised.value.diag.message_hint == "COMMIT more often."
    signup.rollback()
    signup.execute(REGISTER.encode(), (10,))
