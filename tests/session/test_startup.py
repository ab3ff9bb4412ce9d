"""How a session begins: requests for encryption, logging in with a password, and the probe, against any upstream."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramMechanism

from proxy.journal import SessionFacts
from proxy.session import CheckPlan, ClientEncryption, Close, Connect, Session, StartTls, Surroundings
from proxy.session.startup import PROBE
from proxy.wire import backend, frontend, startup
from proxy.wire.client import MessageLimits
from tests.session.rules import FixedPolicy, MemoryJournal, RulesEngine, StaticCatalogs

HELLO = startup.startup_message({"user": "me", "database": "db"})
READY = backend.message(backend.READY_FOR_QUERY, b"I")
OK = backend.authentication(backend.AUTHENTICATION_OK)
PASSWORD = "péss word"
REQUESTS = {startup.SSL_REQUEST: "SSL", startup.GSSENC_REQUEST: "GSSAPI encryption"}


def session(encryption: ClientEncryption | None = None, *, passwords: bool = False) -> Session:
    clock = itertools.count(step=1e-4)
    surroundings = Surroundings(
        RulesEngine(), MemoryJournal(), FixedPolicy(), StaticCatalogs(), MessageLimits(), lambda: next(clock),
        passwords=passwords,
    )  # fmt: skip
    begun = Session(surroundings, SessionFacts("session", "client"), "token")
    if encryption is not None:
        begun.offer_encryption(encryption)
    return begun


def took(begun: Session) -> tuple[bytes, bytes, list[object]]:
    """What goes to the client, to the upstream and to the owner."""
    box = begun.outbox
    taken = b"".join(box.client), b"".join(box.upstream), list(box.commands)
    box.client, box.upstream, box.commands = [], [], []
    return taken


def error(whole: bytes) -> tuple[str, str]:
    fields = backend.read_fields(whole)
    return fields["C"], fields["M"]


# --- encryption -------------------------------------------------------------------------------------------------------


@given(pieces=st.lists(st.integers(1, 8), min_size=1, max_size=8), behind=st.binary(min_size=1, max_size=300))
def test_nothing_behind_a_request_for_encryption_is_ever_read(pieces: Sequence[int], behind: bytes) -> None:
    """In whatever pieces the request itself came."""
    request = startup.request(startup.SSL_REQUEST)
    begun = session(ClientEncryption(required=False))
    cuts = [min(cut, 7) for cut in itertools.accumulate(pieces)]
    for start, end in itertools.pairwise([0, *cuts]):
        begun.client_data(request[start:end])
    assert took(begun) == (b"", b"", [])
    begun.client_data(request[cuts[-1] :] + behind)
    told, sent, commands = took(begun)
    assert error(told) == ("08P01", "received unencrypted data after SSL request")
    assert (sent, commands) == (b"", [Close("08P01")])
    begun.client_data(HELLO)
    assert took(begun) == (b"", b"", [])


@pytest.mark.parametrize("asked", [[startup.SSL_REQUEST], [startup.GSSENC_REQUEST, startup.SSL_REQUEST]])
def test_what_is_offered_is_begun_once(asked: list[tuple[int, int]]) -> None:
    begun = session(ClientEncryption(required=True))
    for code in asked:
        begun.client_data(startup.request(code))
    assert took(begun) == (b"N" * (len(asked) - 1) + b"S", b"", [StartTls()])
    begun.client_encrypted(None)
    begun.client_data(HELLO)
    assert took(begun) == (b"", b"", [Connect()])


@pytest.mark.parametrize("code", REQUESTS)
def test_inside_tls_nobody_asks_for_encryption(code: tuple[int, int]) -> None:
    begun = session(ClientEncryption(required=True))
    begun.client_data(b"\x16\x03\x01")
    assert took(begun) == (b"", b"", [StartTls(b"\x16\x03\x01", direct=True)])
    begun.client_encrypted(None)
    begun.client_data(startup.request(code))
    assert error(took(begun)[0])[0] == "0A000"


def test_a_handshake_is_no_packet_after_a_refusal() -> None:
    begun = session()
    begun.client_data(startup.request(startup.SSL_REQUEST))
    begun.client_data(b"\x16\x03\x01\x02\x00\x01")
    told, _, commands = took(begun)
    assert told == b"N", "PostgreSQL tells its log alone"
    assert commands == [Close("08P01")]


# --- logging in with a password ---------------------------------------------------------------------------------------


class Upstream:
    """The server's side of SCRAM, by the library's."""

    def __init__(self, password: str = PASSWORD) -> None:
        mechanism = ScramMechanism("SCRAM-SHA-256")
        information = mechanism.make_auth_info(password, iteration_count=4096)
        self.server = mechanism.make_server(lambda _: information)

    @staticmethod
    def offer(*mechanisms: str) -> bytes:
        names = b"".join(name.encode() + b"\0" for name in mechanisms) + b"\0"
        return sasl(backend.AUTHENTICATION_SASL, names)

    def first(self, message: bytes) -> bytes:
        assert message[5:].startswith(b"SCRAM-SHA-256\0")
        self.server.set_client_first(message[5 + len("SCRAM-SHA-256\0") + 4 :].decode())
        return sasl(backend.AUTHENTICATION_SASL_CONTINUE, self.server.get_server_first().encode())

    def last(self, message: bytes) -> bytes:
        self.server.set_client_final(message[5:].decode())
        return sasl(backend.AUTHENTICATION_SASL_FINAL, self.server.get_server_final().encode())


def sasl(code: int, data: bytes) -> bytes:
    return backend.message(backend.AUTHENTICATION, code.to_bytes(4, "big") + data)


def logging_in(*, encrypted: bool = True) -> Session:
    """A session whose upstream has its StartupMessage and says how to go on."""
    begun = session(ClientEncryption(required=False), passwords=True)
    if encrypted:
        begun.client_data(startup.request(startup.SSL_REQUEST))
        begun.client_encrypted(None)
    begun.client_data(HELLO)
    begun.upstream_connected()
    assert took(begun)[1] == HELLO
    return begun


def password(text: bytes) -> bytes:
    return frontend.message(frontend.PASSWORD, text + b"\0")


OFFER = Upstream.offer("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")


def asked(begun: Session) -> bytes:
    """The client gave its password; returns what the upstream gets."""
    begun.upstream_data(OFFER)
    assert took(begun) == (backend.authentication(backend.AUTHENTICATION_CLEARTEXT_PASSWORD), b"", [])
    begun.client_data(password(PASSWORD.encode()))
    told, sent, _ = took(begun)
    assert told == b""
    assert PASSWORD.encode() not in sent
    return sent


def test_the_password_is_proved_to_the_upstream() -> None:
    begun, upstream = logging_in(), Upstream()
    begun.upstream_data(upstream.first(asked(begun)))
    begun.upstream_data(upstream.last(took(begun)[1]))
    assert took(begun) == (b"", b"", [])
    begun.upstream_data(OK + READY)
    assert took(begun) == (OK, frontend.query(PROBE), [])
    assert begun._startup._login is None, "the password is kept"


def test_an_upstream_that_does_not_know_the_password() -> None:
    """Whoever answers in its place cannot make out that the login succeeded."""
    begun, upstream = logging_in(), Upstream()
    begun.upstream_data(upstream.first(asked(begun)))
    took(begun)
    begun.upstream_data(sasl(backend.AUTHENTICATION_SASL_FINAL, b"v=" + b"A" * 43 + b"="))
    assert error(took(begun)[0]) == ("28P01", 'password authentication failed for user "me"')


@pytest.mark.parametrize("when", ["at once", "after the first message", "before the proof"])
def test_an_upstream_that_skips_the_proof(when: str) -> None:
    begun, upstream = logging_in(), Upstream()
    if when == "at once":
        begun.upstream_data(OFFER)
    else:
        first = asked(begun)
        if when == "before the proof":
            begun.upstream_data(upstream.first(first))
    took(begun)
    begun.upstream_data(OK)
    sqlstate, message = error(took(begun)[0])
    assert sqlstate == "XX000"
    assert message.endswith("the upstream changed the method of authentication")


@pytest.mark.parametrize("challenge", [3, 5, 10], ids=["clear text", "MD5", "SASL"])
def test_an_upstream_that_asks_in_another_way_once_it_may_hope_for_the_password(challenge: int) -> None:
    begun = logging_in()
    asked(begun)
    begun.upstream_data(
        sasl(challenge, b"salt" if challenge == 5 else b"SCRAM-SHA-256\0\0" if challenge == 10 else b"")
    )
    told, sent, _ = took(begun)
    assert error(told)[0] == "XX000"
    assert sent == frontend.TERMINATE_MESSAGE


def test_an_upstream_that_wants_the_password_as_it_is() -> None:
    begun = logging_in()
    begun.upstream_data(backend.authentication(backend.AUTHENTICATION_CLEARTEXT_PASSWORD))
    assert error(took(begun)[0])[0] == "28000"


def test_an_upstream_without_scram() -> None:
    begun = logging_in()
    begun.upstream_data(Upstream.offer("OAUTHBEARER"))
    assert error(took(begun)[0]) == ("28000", "consentry: the upstream does not offer SCRAM-SHA-256")


def test_a_client_without_tls_is_not_asked() -> None:
    begun = logging_in(encrypted=False)
    begun.upstream_data(OFFER)
    assert took(begun) == (Upstream.offer("SCRAM-SHA-256"), b"", [])


@pytest.mark.parametrize("text", [b"\xff\xfe", "\U0001f600".encode(), b"\x01"], ids=["not UTF-8", "emoji", "control"])
def test_a_password_that_cannot_be_prepared(text: bytes) -> None:
    begun = logging_in()
    begun.upstream_data(OFFER)
    took(begun)
    begun.client_data(password(text))
    told, sent, _ = took(begun)
    assert error(told) == ("28P01", 'password authentication failed for user "me"')
    assert sent == frontend.TERMINATE_MESSAGE


# --- the probe --------------------------------------------------------------------------------------------------------

CANCELED = backend.error_response(
    {"S": "ERROR", "V": "ERROR", "C": "57014", "M": "canceling statement due to user request"}
)


def probing() -> Session:
    begun = session()
    begun.client_data(HELLO)
    begun.upstream_connected()
    begun.upstream_data(OK + READY)
    took(begun)
    return begun


def test_a_cancel_that_hits_the_probe_is_nothing_to_the_client() -> None:
    """PostgreSQL would have been idle by then, and the cancel without effect."""
    begun = probing()
    for _ in range(3):
        begun.upstream_data(CANCELED + READY)
        assert took(begun) == (b"", frontend.query(PROBE), [])
    begun.upstream_data(CANCELED + READY)
    told, _, commands = took(begun)
    assert error(told) == ("57014", "consentry: the session's settings cannot be read")
    assert not any(isinstance(command, CheckPlan) for command in commands)
    assert commands == [Close("57014")]
