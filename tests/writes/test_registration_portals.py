"""Portals by which a subject is registered: however their rows are asked for, what is left to COMMIT is asked there."""

from __future__ import annotations

import pytest

from proxy.wire.frontend import SYNC_MESSAGE, bind, execute, parse
from tests.fix_postgres import Database
from tests.server.raw import RawClient, simple

ROWS = "INSERT INTO subscribers (id, phone) VALUES (10, '139'), (11, '136') RETURNING id"
WITH = f"WITH s AS ({ROWS}) SELECT id FROM s"
BOTH = f"WITH s AS ({ROWS}), c AS (INSERT INTO consents SELECT id, 'names' FROM s) SELECT id FROM s"
CONSENT = "INSERT INTO consents (subscriber_id, purpose) SELECT n, 'billing' FROM generate_series(10, 11) n"


def bound(text: str, name: str = "") -> bytes:
    return parse(b"", text.encode()) + bind(name.encode(), b"")


def ended(answers: list[str]) -> str:
    """The last of ``answers`` before ReadyForQuery."""
    return answers[-2]


@pytest.mark.parametrize("text", [ROWS, WITH])
@pytest.mark.parametrize("consents", [True, False])
def test_one_row_of_a_portal(direct: Database, address: tuple[str, int], text: str, consents: bool) -> None:
    with RawClient(*address, direct.name, "signup") as client:
        client.query("BEGIN")
        assert ended(client.ask(bound(text) + execute(b"", 1) + SYNC_MESSAGE)) == "s"
        if consents:
            client.query(CONSENT)
        commit = ended(client.query("COMMIT"))
    assert commit == "C COMMIT" if consents else commit.startswith("E ERROR 42501 consentry: writing public.sub")
    assert direct.execute("SELECT count(*) FROM subscribers WHERE id > 8") == [(2 if consents else 0,)]


def test_one_row_and_commit_in_one_pipeline(direct: Database, address: tuple[str, int]) -> None:
    whole = (
        b"".join(bound(text) + execute(b"", limit) for text, limit in (("BEGIN", 0), (ROWS, 1), ("COMMIT", 0)))
        + SYNC_MESSAGE
    )
    with RawClient(*address, direct.name, "signup") as client:
        answers = client.ask(whole)
    assert ended(answers).startswith("E ERROR 42501 consentry: writing public.subscribers")
    assert direct.execute("SELECT id FROM subscribers WHERE id > 8") == []


@pytest.mark.parametrize("text", [WITH, BOTH])
@pytest.mark.parametrize("block", [True, False])
def test_fetching_of_a_portal(direct: Database, address: tuple[str, int], text: str, block: bool) -> None:
    """A FETCH of it is refused: nothing of what comes after an Execute would come after that."""
    portal = bound(text, "p")
    with RawClient(*address, direct.name, "signup") as client:
        if block:
            answers = client.ask(simple("BEGIN") + portal + SYNC_MESSAGE + simple("FETCH ALL FROM p"), 3)
        else:
            answers = client.ask(portal + bound("FETCH ALL FROM p") + execute(b"") + SYNC_MESSAGE)
        assert ended(answers).startswith("E ERROR 42501 consentry: ")
        assert ended(client.query("COMMIT")) in ("C COMMIT", "C ROLLBACK")
    assert direct.execute("SELECT id FROM subscribers WHERE id > 8") == []


def test_what_is_to_be_checked_is_not_reset_before(direct: Database, address: tuple[str, int]) -> None:
    with RawClient(*address, direct.name, "signup") as client:
        assert ended(client.query(f"{BOTH}; RESET ALL")).startswith("E ERROR 0A000 consentry: ")
        assert ended(client.query(f"RESET ALL; {BOTH}")).startswith("E ERROR 0A000 consentry: ")
        assert ended(client.query(f"{BOTH}; SELECT 1")).startswith("E ERROR 42501 consentry: writing public.subscr")
    assert direct.execute("SELECT id FROM subscribers WHERE id > 8") == []


def test_what_a_deferred_constraint_quotes(direct: Database, address: tuple[str, int]) -> None:
    """The values of a key that nobody sees whole, also where only one row of the statement was asked for."""
    direct.execute("ALTER TABLE subscribers ADD CONSTRAINT k UNIQUE (plan, id_number) DEFERRABLE INITIALLY DEFERRED")
    try:
        direct.execute("UPDATE subscribers SET plan = 'p' || id, id_number = 'hidden' WHERE id IN (3, 8)")
        with RawClient(*address, direct.name, "billing") as client:
            client.query("BEGIN")
            update = "UPDATE subscribers SET plan = 'same' WHERE id IN (3, 8) RETURNING id"
            assert ended(client.ask(bound(update) + execute(b"", 1) + SYNC_MESSAGE)) == "s"
            client.send(simple("COMMIT"))
            told = client.socket.recv(65536)
        assert b"23505" in told and b"hidden" not in told
    finally:
        direct.execute("ALTER TABLE subscribers DROP CONSTRAINT k")
