"""Settings follow PostgreSQL's own transaction semantics: the server is asked what it thinks after every message."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.demo.postgres import EmbeddedPostgres
from proxy.session.transaction import Transaction
from proxy.settings import Settings, boolean
from proxy.verdict import Begin, Commit, ResetAll, RollbackTo, Savepoint, SetSetting
from tests.server.raw import RawClient, pipeline
from tests.session.rules import effects, split

NAMES = ("consentry.purpose", "consentry.actor")

name = st.sampled_from(NAMES)
savepoint = st.sampled_from(["s", "t"])
value = st.sampled_from(["a", "b", "c"])
local = st.sampled_from(["", "LOCAL "])

statement = st.one_of(
    st.builds("SET {}{} = '{}'".format, local, name, value),
    st.builds("SET {}{} = '{}'".format, local, name, value),
    st.builds("SET {}{} TO DEFAULT".format, local, name),
    st.builds("RESET {}".format, name),
    st.builds("SELECT set_config('{}', '{}', {})".format, name, value, st.sampled_from(["true", "false"])),
    st.builds("SAVEPOINT {}".format, savepoint),
    st.builds("RELEASE {}".format, savepoint),
    st.builds("ROLLBACK TO {}".format, savepoint),
    st.builds("SET {}ROLE {}".format, local, st.sampled_from(["settings_role", "none"])),
    st.sampled_from(
        [
            "BEGIN",
            "BEGIN",
            "COMMIT",
            "ROLLBACK",
            "COMMIT AND CHAIN",
            "ROLLBACK AND CHAIN",
            "RESET ALL",
            "DISCARD ALL",
            "SELECT 1",
            "SELECT 1/0",
            "RESET ROLE",
            "SET SESSION AUTHORIZATION settings_role",
            "SET LOCAL SESSION AUTHORIZATION settings_role",
            "RESET SESSION AUTHORIZATION",
        ]
    ),
)
message = st.tuples(st.booleans(), st.lists(statement, min_size=1, max_size=5))


@pytest.fixture(scope="module")
def role(postgres: EmbeddedPostgres) -> Iterator[str]:
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        connection.execute("CREATE ROLE settings_role")
        yield "settings_role"
        connection.execute("DROP ROLE settings_role")


def follow(transaction: Transaction, statements: list[str], replies: list[str]) -> None:
    """Does what a session does when these replies to the statements arrive."""
    waiting = iter(statements)
    for reply in replies:
        match reply[0]:
            case "C":
                transaction.complete(effects(next(waiting)), reply[2:].encode())
            case "E":
                transaction.fail()
            case "Z":
                transaction.ready(ord(reply[2]))


def asked(client: RawClient) -> dict[str, str]:
    """What the server says of the settings; an empty one is none."""
    tracked = (*NAMES, "role", "session_authorization")
    columns = ", ".join(f"coalesce(current_setting('{name}', true), '')" for name in tracked)
    row = next(line for line in client.query(f"SELECT {columns}") if line.startswith("D"))
    return {name: text for name, text in zip(tracked, row[2:].split("|"), strict=True) if text not in ("", "none")}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=st.lists(message, min_size=1, max_size=8))
def test_any_sequence_leaves_what_postgresql_has(
    postgres: EmbeddedPostgres,
    role: str,  # noqa: ARG001 - it must exist
    messages: list[tuple[bool, list[str]]],
) -> None:
    start = {"consentry.purpose": "start", "session_authorization": "postgres"}
    transaction = Transaction(start)
    with RawClient(postgres.host, postgres.port, "postgres", consentry__purpose="start") as client:
        for is_pipeline, statements in messages:
            replies = client.ask(pipeline(*statements)) if is_pipeline else client.query("; ".join(statements))
            follow(transaction, statements, replies)
            if replies[-1] != "Z E":
                assert transaction.settings.current() == asked(client), (statements, replies)


CASES = {
    "SET in a block goes with its ROLLBACK": ("BEGIN; SET consentry.purpose = 'a'; ROLLBACK", "start"),
    "SET LOCAL ends with its block": ("BEGIN; SET LOCAL consentry.purpose = 'a'; COMMIT", "start"),
    "SET under a SET LOCAL survives": (
        "BEGIN; SET consentry.purpose = 'a'; SET LOCAL consentry.purpose = 'b'; COMMIT",
        "a",
    ),
    "SET after SET LOCAL survives": (
        "BEGIN; SET LOCAL consentry.purpose = 'b'; SET consentry.purpose = 'a'; COMMIT",
        "a",
    ),
    "a released savepoint keeps its SET": (
        "BEGIN; SAVEPOINT s; SET consentry.purpose = 'a'; RELEASE s; COMMIT",
        "a",
    ),
    "a rolled back savepoint does not": (
        "BEGIN; SET consentry.purpose = 'a'; SAVEPOINT s; SET consentry.purpose = 'b'; ROLLBACK TO s; COMMIT",
        "a",
    ),
    "RESET goes back to the start": ("SET consentry.purpose = 'a'; RESET consentry.purpose", "start"),
    "an empty purpose is none": ("SET consentry.purpose = ''", None),
}


@pytest.mark.parametrize("case", CASES)
def test_cases(case: str) -> None:
    text, expected = CASES[case]
    transaction = Transaction({"consentry.purpose": "start"})
    for part in split(text):
        transaction.complete(effects(part), part.encode())
    transaction.ready(ord("I"))
    assert transaction.settings.current().get("consentry.purpose") == expected
    assert not transaction.dirty


def test_the_source_of_a_value() -> None:
    followed = Settings({"consentry.purpose": "start"})
    assert followed.source("consentry.purpose") == "startup"
    followed.apply(SetSetting("consentry.purpose", "a"), in_block=False)
    assert followed.source("consentry.purpose") == "setting"
    followed.apply(ResetAll(), in_block=False)
    assert followed.source("consentry.purpose") == "startup"
    assert followed.source("consentry.actor") is None


def test_a_copy_goes_its_own_way() -> None:
    followed = Settings({})
    for effect in (Begin(), SetSetting("consentry.purpose", "a"), Savepoint("s")):
        followed.apply(effect, in_block=True)
    twin = followed.copy()
    twin.apply(SetSetting("consentry.purpose", "b"), in_block=True)
    assert (followed.current(), twin.current()) == ({"consentry.purpose": "a"}, {"consentry.purpose": "b"})
    twin.apply(RollbackTo("s"), in_block=True)
    assert twin.current() == {"consentry.purpose": "a"}
    twin.apply(Commit(), in_block=True)
    assert followed.dirty and not twin.dirty


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(text, True) for text in ("on", "ON", "t", "tr", "true", "True", "y", "yes", "1")],
        *[(text, False) for text in ("off", "of", "f", "false", "n", "no", "0")],
        *[(text, None) for text in ("", "o", "2", "maybe", "truely", " on", "onn")],
    ],
)
def test_booleans_are_spelled_as_postgresql_spells_them(text: str, value: bool | None) -> None:
    assert boolean(text) is value
