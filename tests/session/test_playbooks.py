"""What a session does, message by message. See :mod:`tests.session.playbook` for how to read them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.session.naming import Naming, Shadows
from proxy.session.overlay import Overlay
from proxy.session.requests import FRAMES_AT_ONCE, MAX_IN_FLIGHT
from tests.session.playbook import Stage, client_message, play

FAILING = 'SELECT FROM pg_catalog."consentry: refused"'

PLAYBOOKS = {
    "what nobody objects to passes as it came": """
        client> Q SELECT 1
        >upstream Q SELECT 1
        upstream> T
        upstream> C SELECT 1
        upstream> Z I
        >client T
        >client C SELECT 1
        >client Z I
        """,
    "a refused query fails upstream, and the client gets the refusal": f"""
        client> Q REFUSE
        >upstream Q {FAILING}
        upstream> E 42P01 relation does not exist
        upstream> Z I
        >client E 42501 consentry: refused
        >client Z I
        """,
    "an error that is not the expected one is the upstream's own": f"""
        client> Q REFUSE
        >upstream Q {FAILING}
        upstream> E 25P02 current transaction is aborted
        upstream> Z I
        >client E 25P02 current transaction is aborted
        >client Z I
        """,
    "a refusal that does not fail ends the session": f"""
        client> Q REFUSE
        >upstream Q {FAILING}
        upstream> C SELECT 0
        >upstream X
        >client E FATAL XX000 consentry: the state of the session is lost: what was refused did not fail
        >owner Close
        """,
    "a query waits for the one before it": f"""
        client> Q SELECT 1
        client> Q REFUSE
        >upstream Q SELECT 1
        upstream> C SELECT 1
        upstream> Z I
        >upstream Q {FAILING}
        >client C SELECT 1
        >client Z I
        upstream> E 42P01 no
        upstream> Z I
        >client E 42501 consentry: refused
        >client Z I
        """,
    "what depends on a SET waits for it": """
        client> Q SET consentry.purpose = 'p'
        client> Q SELECT 'GUARDED'
        >upstream Q SET consentry.purpose = 'p'
        upstream> C SET
        >client C SET
        upstream> Z I
        >upstream Q SELECT 'GUARDED'
        >client Z I
        """,
    "waiting inside a pipeline asks the upstream to answer": """
        client> P '' SET consentry.purpose = 'p'
        client> B '' ''
        client> E ''
        client> P '' SELECT 'GUARDED'
        client> S
        >upstream P '' SET consentry.purpose = 'p'
        >upstream B '' ''
        >upstream E ''
        >upstream H
        upstream> 1
        upstream> 2
        >client 1
        >client 2
        upstream> C SET
        >upstream P '' SELECT 'GUARDED'
        >upstream S
        >client C SET
        """,
    "a pipeline without effects does not wait": """
        client> P '' SELECT 1
        client> B '' ''
        client> E ''
        client> P '' SELECT 2
        client> B '' ''
        client> E ''
        client> S
        >upstream P '' SELECT 1
        >upstream B '' ''
        >upstream E ''
        >upstream P '' SELECT 2
        >upstream B '' ''
        >upstream E ''
        >upstream S
        """,
    "a changed decision is prepared anew behind the client's back": """
        client> P s SELECT 'SECRET'
        client> S
        >upstream P s SELECT 'MASKED'
        >upstream S
        upstream> 1
        upstream> Z I
        >client 1
        >client Z I
        client> Q SET consentry.purpose = 'all'
        >upstream Q SET consentry.purpose = 'all'
        upstream> C SET
        upstream> Z I
        >client C SET
        >client Z I
        client> B '' s
        client> E ''
        client> S
        >upstream P private 1 SELECT 'SECRET'
        >upstream B '' private 1
        >upstream E ''
        >upstream S
        upstream> 1
        upstream> 2
        upstream> C SELECT 1
        upstream> Z I
        >client 2
        >client C SELECT 1
        >client Z I
        client> C S s
        client> S
        >upstream C S s
        >upstream C S private 1
        >upstream S
        upstream> 3
        upstream> 3
        upstream> Z I
        >client 3
        >client Z I
        """,
    "a refusal at Bind leaves the client's names alone": """
        client> P s SELECT 'GUARDED'
        client> B '' s
        client> E ''
        client> S
        >upstream P private 1 SELECT 'GUARDED'
        >upstream P s FETCH FROM "consentry: withheld"
        >upstream B '' private refused
        >upstream E private refused
        >upstream S
        """,
    "a name in flight of another segment is waited for": """
        client> P s SELECT 1
        client> S
        client> B '' s
        >upstream P s SELECT 1
        >upstream S
        upstream> 1
        >upstream B '' s
        >client 1
        """,
    "DDL waits for the catalog": """
        client> Q CREATE TABLE t (id int)
        client> Q SELECT 1
        >upstream Q CREATE TABLE t (id int)
        upstream> C CREATE TABLE
        upstream> Z I
        >client C CREATE TABLE
        >client Z I
        >owner LoadCatalog
        owner> ready
        >upstream Q SELECT 1
        """,
    "after an error the rest of the pipeline is not decided at all": """
        client> P '' SELECT 1/0
        client> B '' ''
        client> E ''
        client> H
        >upstream P '' SELECT 1/0
        >upstream B '' ''
        >upstream E ''
        >upstream H
        upstream> 1
        upstream> 2
        upstream> E 22012 division by zero
        >client 1
        >client 2
        >client E 22012 division by zero
        client> P '' SELECT 'BROKEN'
        client> S
        >upstream S
        upstream> Z I
        >client Z I
        """,
    "asynchronous messages pass at any time": """
        upstream> A note
        upstream> S application_name=me
        upstream> N 00000 hello
        >client A note
        >client S application_name\0me\0
        >client N 00000 hello
        """,
    "a decision that takes long is made elsewhere": """
        client> Q SELECT 'LONG'
        >owner Decide
        client> Q SELECT 2
        owner> decided
        >upstream Q SELECT 'LONG'
        upstream> C SELECT 1
        upstream> Z I
        >upstream Q SELECT 2
        >client C SELECT 1
        >client Z I
        """,
    "a Parse waits for it, and what comes behind": """
        client> P s SELECT 'LONG'
        client> B '' s
        client> E ''
        client> S
        >owner Decide
        owner> decided
        >upstream P s SELECT 'LONG'
        >upstream B '' s
        >upstream E ''
        >upstream S
        """,
    "it is made here where that fails": """
        client> Q SELECT 'LONG'
        >owner Decide
        owner> failed
        >upstream Q SELECT 'LONG'
        """,
    "it is made again where the session stands otherwise by then": """
        client> Q SELECT 'LONG'
        >owner Decide
        owner> ready
        owner> decided
        >owner Decide
        owner> decided
        >upstream Q SELECT 'LONG'
        """,
    "a refusal is made elsewhere, too": """
        client> Q SELECT 'GUARDED', 'LONG'
        >owner Decide
        owner> decided
        >upstream Q SELECT FROM pg_catalog."consentry: refused"
        """,
    "what is notified on a channel that is not trusted is not heard": """
        upstream> A secrets
        upstream> A note
        >client A note
        """,
    "a setting that changes how text is read ends the session": """
        upstream> S standard_conforming_strings=off
        >upstream X
        >client E FATAL 42501 consentry: standard_conforming_strings must stay on
        >owner Close
        """,
    "what the upstream cannot have answered ends the session": """
        client> Q SELECT 1
        >upstream Q SELECT 1
        upstream> 1
        >upstream X
        >client E FATAL XX000 consentry: the state of the session is lost: unexpected message 1 from the upstream
        >owner Close
        """,
    "more statements than were decided end the session": """
        client> Q SELECT 1
        >upstream Q SELECT 1
        upstream> C SELECT 1
        upstream> C SELECT 1
        >upstream X
        >client C SELECT 1
        >client E FATAL XX000 consentry: the state of the session is lost: more statements completed than were decided
        >owner Close
        """,
    "a block that nobody saw beginning ends the session": """
        client> Q SELECT 1
        >upstream Q SELECT 1
        upstream> C SELECT 1
        upstream> Z T
        >upstream X
        >client C SELECT 1
        >client E FATAL XX000 consentry: the state of the session is lost: a transaction block began unseen
        >owner Close
        """,
}


@pytest.mark.parametrize("case", PLAYBOOKS)
def test_playbooks(case: str) -> None:
    play(PLAYBOOKS[case])


UNHURRIED = [
    case for case in PLAYBOOKS if "wait" not in case and not case.endswith(("ends the session", "end the session"))
]


@pytest.mark.parametrize("case", UNHURRIED)
def test_playbooks_byte_by_byte(case: str) -> None:
    """Chunking makes no difference, but where a message that waits, or the end, comes between."""
    play(PLAYBOOKS[case], piece=1)


line = st.sampled_from(
    [
        *("Q SELECT 1", "Q REFUSE", "Q SET consentry.purpose = 'p'", "P s SELECT 'SECRET'", "P '' SELECT 'GUARDED'"),
        *("B '' s", "B p ''", "E ''", "E p 3", "D S s", "D P ''", "C S s", "C P p", "S", "H", "d data", "c", "F call"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(lines=st.lists(line, max_size=25), cuts=st.lists(st.integers(0, 600), max_size=8))
def test_any_chunking_of_a_client_gives_the_same(lines: list[str], cuts: list[int]) -> None:
    data = b"".join(map(client_message, lines))
    whole, pieces = Stage(), Stage()
    whole.session.client_data(data)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in zip(edges, edges[1:], strict=False):  # noqa: RUF007 - pairs of edges read best so
        pieces.session.client_data(data[start:end])
    assert b"".join(pieces.session.outbox.upstream) == b"".join(whole.session.outbox.upstream)
    assert not any(type(command).__name__ == "Fault" for command in whole.session.outbox.commands)


@settings(max_examples=150, deadline=None)
@given(client=st.binary(max_size=200), upstream=st.binary(max_size=200))
def test_garbage_from_either_side_ends_the_session_and_raises_nothing(client: bytes, upstream: bytes) -> None:
    stage = Stage()
    stage.session.client_data(client)
    stage.session.upstream_data(upstream)
    stage.session.upstream_lost()
    faults = [command for command in stage.session.outbox.commands if type(command).__name__ == "Fault"]
    assert faults == []
    assert stage.session.ended


def test_a_failing_journal_at_the_end_is_reported() -> None:
    stage = Stage()
    stage.journal.failing = "session_end"
    stage.session.client_closed()
    assert stage.taken() == [">upstream X", ">owner Close", ">owner Fault"]


def test_which_texts_a_new_name_concerns() -> None:
    overlay = Overlay()
    before = Naming(overlay.relations(), {("public", "People"): 1})
    overlay.create("", "phone book", temporary=True)
    shadowed = Naming(overlay.relations(), {("public", "People"): 1})
    renamed = Naming(before.overlay, {("public", "Persons"): 1})
    shadows = Shadows()
    assert not shadows.concern(b'SELECT FROM "Phone Book"', before, before)
    assert shadows.concern(b'SELECT FROM "Phone Book"', before, shadowed)
    assert shadows.concern(rb'SELECT FROM U&"\0070hone book"', before, shadowed)
    assert not shadows.concern(b"SELECT FROM people", before, shadowed)
    assert shadows.concern(b"SELECT FROM PEOPLE", before, renamed)
    assert shadows.concern(b"SELECT FROM persons", before, renamed)


@pytest.mark.parametrize("message", ["S", "C S nothing", "D S nothing"])
def test_a_flood_of_messages_waits_for_its_turn(message: str) -> None:
    """Other sessions are served between, and no more is kept than is in flight and read."""
    stage = Stage()
    stage.session.client_data(client_message(message) * 100_000)
    sent = len(stage.taken())
    assert sent <= FRAMES_AT_ONCE
    while stage.session.unfinished:
        stage.session.go_on()
        sent += len([line for line in stage.taken() if line != ">upstream H"])
    assert sent == MAX_IN_FLIGHT
    assert stage.session.backlogged
