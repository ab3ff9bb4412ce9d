"""The keys of the configuration about TLS, and what they come to together with the upstream's URL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from proxy.cli.address import Upstream
from proxy.policy.form import Form
from proxy.policy.values import Text
from proxy.server.certificates import SYSTEM, Checked, ClientTls, Tls, Unusable, UpstreamMode, UpstreamTls, Version


class ClientTlsKeys(Form):
    """TLS towards clients."""

    mode: Literal["off", "allow", "require"] = "off"
    """Whether clients may have TLS, or must."""
    cert: Text | None = None
    """Consentry's certificate, and the chain above it."""
    key: Text | None = None
    """Its private key."""
    ca: Text | None = None
    """The certificate authorities that clients' certificates are checked against."""
    client_certificates: Checked | None = None
    """Whether clients may show a certificate, or must, and whether it must name the role."""
    min_protocol_version: Version = "TLSv1.2"
    """The oldest version of TLS that is spoken."""


class UpstreamTlsKeys(Form):
    """TLS towards the upstream."""

    mode: UpstreamMode | None = None
    """Whether there is TLS, and what of the upstream's certificate is checked."""
    ca: Text | None = None
    """The certificate authorities that the upstream's certificate is checked against."""
    cert: Text | None = None
    """The certificate that is shown to the upstream."""
    key: Text | None = None
    """Its private key."""
    min_protocol_version: Version = "TLSv1.2"
    """The oldest version of TLS that is spoken."""


class TlsKeys(Form):
    """TLS on either side, each on its own."""

    client: ClientTlsKeys = ClientTlsKeys()
    """TLS towards clients."""
    upstream: UpstreamTlsKeys = UpstreamTlsKeys()
    """TLS towards the upstream."""


Auth = Literal["upstream", "password"]

Report = Callable[[str, str, str], None]
"""Takes a key, a code and what is wrong there."""


class TlsReading:
    """Puts the keys together and reports what cannot be, each mistake at the key that is to blame.

    ``path`` gives the place of a file that a key names.
    """

    def __init__(self, keys: TlsKeys, upstream: Upstream, path: Callable[[str, str], Path], report: Report) -> None:
        self._keys = keys
        self._upstream = upstream
        self._path = path
        self._report = report

    def read(self, auth: Auth, catalog_dsn: str | None) -> tuple[ClientTls | None, UpstreamTls | None]:
        """Both sides; None where there is no TLS. What was reported is not to be used."""
        client, upstream = self._client(), self._to_upstream()
        if upstream is not None and upstream.mode not in ("disable", "prefer") and catalog_dsn is not None:
            self._check_catalog(catalog_dsn, upstream.mode)
        encrypted = upstream is not None and upstream.mode != "disable"
        if client is not None and encrypted and auth != "password":
            self._report(
                "tls",
                "bad-value",
                "tls: SCRAM cannot pass from TLS on one side to TLS on the other; say 'auth: password' too",
            )
        if auth == "password" and self._keys.client.mode == "off":
            self._report("auth", "bad-value", "auth: a password is asked for over TLS only, and tls.client.mode is off")
        return client, upstream

    def _client(self) -> ClientTls | None:
        keys = self._keys.client
        if keys.mode == "off":
            if keys.model_fields_set - {"mode"} and "mode" not in keys.model_fields_set:
                self._report("tls.client", "missing-key", "'tls.client.mode' is missing")
            return None
        if keys.cert is None:
            self._report("tls.client", "missing-key", "'tls.client.cert' is missing")
            return None
        checked = keys.client_certificates or ("off" if keys.ca is None else "optional")
        if checked != "off" and keys.ca is None:
            self._report("tls.client.client_certificates", "missing-key", "'tls.client.ca' is missing")
        if checked in ("verify-ca", "verify-full") and keys.mode != "require":
            reason = "who may do without TLS may do without a certificate; say 'mode: require'"
            self._report("tls.client.client_certificates", "bad-value", f"tls.client.client_certificates: {reason}")
        tls = ClientTls(
            cert=self._path("tls.client.cert", keys.cert),
            key=self._file("tls.client.key", keys.key),
            ca=self._file("tls.client.ca", keys.ca),
            certificates=checked,
            required=keys.mode == "require",
            min_version=keys.min_protocol_version,
        )
        self._try("tls.client", lambda: Tls(client=tls))
        return tls

    def _to_upstream(self) -> UpstreamTls | None:
        keys, url = self._keys.upstream, self._upstream
        mode = keys.mode or url.sslmode
        if keys.mode and url.sslmode and keys.mode != url.sslmode:
            reason = f"the upstream's URL says sslmode={url.sslmode}"
            self._report("tls.upstream.mode", "bad-value", f"tls.upstream.mode: {reason}")
        if mode is None and keys.model_fields_set:
            self._report("tls.upstream", "missing-key", "'tls.upstream.mode' is missing")
        if mode is None or mode == "disable":
            return None if mode is None else UpstreamTls(mode)
        place = "tls.upstream.mode" if keys.mode else "upstream"
        if url.address.path:
            if mode != "prefer":
                self._report(place, "bad-value", f"{place}: there is no TLS over a unix socket")
            return None
        ca = self._one("ca", keys.ca, url.sslrootcert)
        if ca is not None and str(ca) == SYSTEM and mode != "verify-full":
            # As libpq has it: anybody can have a certificate of these authorities, for a host of his own.
            self._report(place, "bad-value", f"{place}: the system's certificate authorities need verify-full")
        cert, key = self._one("cert", keys.cert, url.sslcert), self._one("key", keys.key, url.sslkey)
        if key is not None and cert is None:
            self._report(
                "tls.upstream.key" if keys.key else "upstream", "missing-key", "'tls.upstream.cert' is missing"
            )
        tls = UpstreamTls(mode=mode, ca=ca, cert=cert, key=key, min_version=keys.min_protocol_version)
        self._try("tls.upstream", lambda: Tls(upstream=tls), in_url=not keys.model_fields_set)
        return tls

    def _check_catalog(self, dsn: str, mode: str) -> None:
        """A connection with a URL of its own has its own TLS; nobody should have less of it unawares."""
        try:
            url = urlsplit(dsn)
        except ValueError:
            return  # whoever connects says so
        options = dict(parse_qsl(url.query))
        local = (url.hostname is None and not options.get("host")) or options.get("host", "").startswith("/")
        if "sslmode" not in options and not local:
            reason = f"say sslmode here too: to the upstream it is {mode}"
            self._report("catalog.dsn", "bad-value", f"catalog.dsn: {reason}")

    def _one(self, name: str, key: str | None, of_url: str | None) -> Path | None:
        if key is not None and of_url is not None:
            where = f"tls.upstream.{name}"
            self._report(where, "bad-value", f"{where}: the upstream's URL names another file")
        return self._file(f"tls.upstream.{name}", key) if key is not None else self._file("upstream", of_url)

    def _file(self, key: str, value: str | None) -> Path | None:
        return None if value is None else Path(SYSTEM) if value == SYSTEM else self._path(key, value)

    def _try(self, section: str, read: Callable[[], object], *, in_url: bool = False) -> None:
        """Whether the files can be used is found out by using them."""
        try:
            read()
        except Unusable as unusable:
            key = "upstream" if in_url else f"{section}.{unusable.key}"
            self._report(key, "file", f"{key}: {unusable.reason}")
