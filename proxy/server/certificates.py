"""Certificates and what they are used for: TLS towards clients, TLS towards the upstream, each with its files."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

ALPN: Final = "postgresql"
"""The protocol's name inside TLS (manual, 55.2.10)."""

SYSTEM: Final = "system"
"""In place of a file: the certificate authorities that the operating system trusts, as libpq's sslrootcert has it."""

Version = Literal["TLSv1.2", "TLSv1.3"]
Checked = Literal["off", "optional", "verify-ca", "verify-full"]
UpstreamMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]

_VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


class Unusable(Exception):
    """A file cannot be used. ``key`` says which of ``cert``, ``key`` and ``ca`` names it."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ClientTls:
    """TLS towards clients: ``cert`` is consentry's own chain, ``ca`` what their certificates are checked against.

    ``certificates``: ``optional`` checks one that is shown, ``verify-ca`` wants one, ``verify-full`` one whose common
    name is the role (pg_hba.conf's ``clientcert``, manual 20.12). ``required``: no client without TLS, but on a unix
    socket.
    """

    cert: Path
    key: Path | None = None
    ca: Path | None = None
    certificates: Checked = "off"
    required: bool = True
    min_version: Version = "TLSv1.2"

    def context(self) -> ssl.SSLContext:
        """Reads the files. Raises Unusable."""
        context = _context(ssl.PROTOCOL_TLS_SERVER, self.min_version)
        # As PostgreSQL has it (be-secure-openssl.c): every connection shows its certificate anew.
        context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.num_tickets = 0
        _load_own(context, self.cert, self.key)
        if self.ca is not None and self.certificates != "off":
            _load_authorities(context, self.ca)
            # Who shows none is told so in PostgreSQL's own words, and may still cancel a statement.
            context.verify_mode = ssl.CERT_OPTIONAL
        return context


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """TLS towards the upstream. The modes are libpq's (manual 32.19.3); with ``ca``, ``require`` is as good as
    ``verify-ca`` there, and so it is here. ``cert`` is shown to an upstream that asks."""

    mode: UpstreamMode
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    min_version: Version = "TLSv1.2"

    def context(self) -> ssl.SSLContext:
        """Reads the files. Raises Unusable."""
        context = _context(ssl.PROTOCOL_TLS_CLIENT, self.min_version)
        context.check_hostname = self.mode == "verify-full"
        if self.mode == "prefer" or (self.mode == "require" and self.ca is None):
            context.verify_mode = ssl.CERT_NONE
        elif self.ca is None:
            raise Unusable("ca", f"{self.mode} needs the certificate authority that the upstream's certificate is of")
        elif str(self.ca) == SYSTEM:
            context.load_default_certs()
        else:
            _load_authorities(context, self.ca)
        if self.cert is not None:
            _load_own(context, self.cert, self.key)
        return context


class Tls:
    """The TLS of both sides as it is in force for new connections; None where there is none."""

    def __init__(self, client: ClientTls | None = None, upstream: UpstreamTls | None = None) -> None:
        """Raises Unusable."""
        self.client_keys = client
        self.upstream_keys = None if upstream is None or upstream.mode == "disable" else upstream
        self.client: ssl.SSLContext | None = None
        self.upstream: ssl.SSLContext | None = None
        self.reload()

    def reload(self) -> None:
        """Reads the files again. Connections that are there go on. Raises Unusable: then nothing changed."""
        client = None if self.client_keys is None else self.client_keys.context()
        upstream = None if self.upstream_keys is None else self.upstream_keys.context()
        self.client, self.upstream = client, upstream

    def upstream_in_force(self) -> ssl.SSLContext:
        """A context that follows every reload."""
        context = _InForce(ssl.PROTOCOL_TLS_CLIENT)
        context._tls = self
        return context


class _InForce(ssl.SSLContext):
    """For libraries that keep a context: connects by the one towards the upstream that is in force when they do."""

    _tls: Tls

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        if self._tls.upstream is None:
            raise ssl.SSLError("there is no TLS towards the upstream")
        return self._tls.upstream.wrap_bio(*arguments, **options)


def _context(purpose: int, min_version: Version) -> ssl.SSLContext:
    context = ssl.SSLContext(purpose)
    context.minimum_version = _VERSIONS[min_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([ALPN])
    return context


def _load_own(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    """A certificate, the chain above it, and its private key, which may stand in the same file."""
    _readable("cert", cert)
    where = "cert"
    if key is not None:
        where = "key"
        if b"PRIVATE KEY-----" not in _readable("key", key):
            raise Unusable("key", f"{key} holds no private key in PEM form")
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except _Encrypted:
        raise Unusable(where, f"{key or cert} is encrypted; nobody is there to type its password") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Unusable(where, f"{key or cert} is not the private key of {cert}") from None
        raise Unusable("cert", f"{cert} holds no usable certificate and key in PEM form") from None


def _load_authorities(context: ssl.SSLContext, ca: Path) -> None:
    _readable("ca", ca)
    try:
        context.load_verify_locations(cafile=ca)
    except ssl.SSLError:
        raise Unusable("ca", f"{ca} holds no certificate in PEM form") from None


def _readable(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unusable(key, f"{path} cannot be read: {error.strerror}") from None


class _Encrypted(Exception):
    """A private key wants a password."""


def _no_password() -> str:
    raise _Encrypted
