"""Logging in upstream in the client's place, with the password that it gave over its TLS (manual, 55.3).

SCRAM cannot pass between two TLS connections: a client that speaks TLS signs that it saw no channel binding offered,
and an upstream that speaks TLS knows that it offered one (RFC 5802, 6).
"""

from __future__ import annotations

from typing import Final

from scramp import ScramClient, ScramException

from proxy.session.encryption import INVALID_AUTHORIZATION
from proxy.session.reasons import SessionOver
from proxy.wire import backend, frontend

MECHANISM: Final = "SCRAM-SHA-256"
_UNUSED_NAME: Final = "consentry"
"""The role is in the StartupMessage; PostgreSQL ignores the name in here, and libpq sends none."""
INVALID_PASSWORD: Final = "28P01"  # noqa: S105 - an SQLSTATE


class PasswordLogin:
    """One exchange of SCRAM-SHA-256 (RFC 7677). The password goes with it when the login is over.

    Methods raise SessionOver: for an upstream that does not know the password's verifier, too.
    """

    def __init__(self, role: str, offered: list[bytes]) -> None:
        if MECHANISM.encode() not in offered:
            raise SessionOver(INVALID_AUTHORIZATION, f"consentry: the upstream does not offer {MECHANISM}")
        self.verified = False
        self._role = role
        self._scram: ScramClient | None = None

    def begin(self, password_message: bytes) -> bytes:
        """The client's PasswordMessage; returns a SASLInitialResponse."""
        try:
            password = frontend.read_password(password_message).decode()
            self._scram = ScramClient([MECHANISM], _UNUSED_NAME, password)
            return frontend.sasl_initial_response(MECHANISM.encode(), self._scram.get_client_first().encode())
        except (UnicodeDecodeError, ScramException):
            # Without its cause: that one speaks of the password's characters.
            raise self._failed() from None

    def answer(self, challenge: bytes) -> bytes:
        """The upstream's AuthenticationSASLContinue; returns a SASLResponse."""
        try:
            scram = self._begun()
            scram.set_server_first(backend.read_sasl(challenge).decode())
            return frontend.sasl_response(scram.get_client_final().encode())
        except (UnicodeDecodeError, ScramException) as error:
            raise self._failed() from error

    def finish(self, outcome: bytes) -> None:
        """The upstream's AuthenticationSASLFinal proves that it knows the password's verifier, or the login fails."""
        try:
            self._begun().set_server_final(backend.read_sasl(outcome).decode())
        except (UnicodeDecodeError, ScramException) as error:
            raise self._failed() from error
        self._scram = None
        self.verified = True

    def _begun(self) -> ScramClient:
        if self._scram is None:
            raise self._failed()
        return self._scram

    def _failed(self) -> SessionOver:
        return SessionOver(INVALID_PASSWORD, f'password authentication failed for user "{self._role}"')
