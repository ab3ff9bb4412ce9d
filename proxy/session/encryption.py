"""TLS between client and consentry, as far as the session is concerned: what is offered, and what it is good for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from proxy.session.reasons import SessionOver

INVALID_AUTHORIZATION: Final = "28000"


@dataclass(frozen=True, slots=True)
class ClientEncryption:
    """What is asked of a client where TLS is offered at all.

    ``required``: nobody logs in without TLS. ``certificate``: whether one is demanded (``verify-ca``) and must name the
    role (``verify-full``), as pg_hba.conf's ``clientcert`` says it (manual, 20.12).
    """

    required: bool
    certificate: Literal["off", "optional", "verify-ca", "verify-full"] = "off"

    def check(self, role: str, *, encrypted: bool, certificate: str | None) -> None:
        """``certificate``: the common name in the one that the client showed. Raises SessionOver."""
        if self.required and not encrypted:
            raise SessionOver(
                INVALID_AUTHORIZATION,
                "consentry: connections must be encrypted",
                hint="Connect with sslmode=require, or better verify-full.",
            )
        if not encrypted or self.certificate not in ("verify-ca", "verify-full"):
            return
        if certificate is None:  # PostgreSQL's own words (ClientAuthentication, CheckCertAuth)
            raise SessionOver(INVALID_AUTHORIZATION, "connection requires a valid client certificate")
        if self.certificate == "verify-full" and certificate != role:
            raise SessionOver(INVALID_AUTHORIZATION, f'certificate authentication failed for user "{role}"')


def unencrypted_data(request: str) -> SessionOver:
    """Bytes came behind a request for encryption, before it was answered: anybody may have put them there
    (CVE-2021-23214). PostgreSQL's own words (ProcessStartupPacket)."""
    return SessionOver(
        "08P01",
        f"received unencrypted data after {request} request",
        detail=("This could be either a client-software bug or evidence of an attempted man-in-the-middle attack."),
    )
