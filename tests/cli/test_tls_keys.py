"""The keys about TLS: what they come to, and a place for every mistake."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from proxy.server.certificates import ClientTls, UpstreamTls
from tests.cli.test_configuration import loaded, mistakes
from tests.fix_tls import Certificates

NEEDED = "upstream: postgresql://db\npolicy: policy.yaml\n"


@pytest.fixture
def folder(tmp_path: Path, certificates: Certificates) -> Path:
    """With ``server.crt``, its ``server.key``, ``ca.crt``, and files that are of no use."""
    shutil.copy(certificates.server.cert, tmp_path / "server.crt")
    shutil.copy(certificates.server.key, tmp_path / "server.key")
    shutil.copy(certificates.stranger.key, tmp_path / "other.key")
    shutil.copy(certificates.trusted.ca, tmp_path / "ca.crt")
    both = certificates.server.cert.read_bytes() + certificates.server.key.read_bytes()
    (tmp_path / "both.pem").write_bytes(both)
    (tmp_path / "nonsense").write_text("nonsense")
    return tmp_path


def test_nothing_said_is_no_tls(folder: Path) -> None:
    configuration = loaded(folder, NEEDED)
    assert (configuration.client_tls, configuration.upstream_tls, configuration.auth) == (None, None, "upstream")


def test_everything_that_can_be_said(folder: Path) -> None:
    configuration = loaded(
        folder,
        NEEDED
        + """
auth: password
tls:
  client:
    mode: require
    cert: server.crt
    key: server.key
    ca: ca.crt
    client_certificates: verify-full
    min_protocol_version: TLSv1.3
  upstream: {mode: verify-full, ca: ca.crt, cert: server.crt, key: server.key, min_protocol_version: TLSv1.3}
""",
    )
    cert, key, ca = folder / "server.crt", folder / "server.key", folder / "ca.crt"
    assert configuration.auth == "password"
    assert configuration.client_tls == ClientTls(cert, key, ca, "verify-full", min_version="TLSv1.3")
    assert configuration.upstream_tls == UpstreamTls("verify-full", ca, cert, key, "TLSv1.3")


def test_what_has_a_default(folder: Path) -> None:
    client = loaded(folder, NEEDED + "tls: {client: {mode: allow, cert: both.pem, ca: ca.crt}}").client_tls
    assert client is not None
    assert (client.key, client.required, client.certificates, client.min_version) == (
        None,
        False,
        "optional",
        "TLSv1.2",
    )
    assert loaded(folder, NEEDED + "tls: {client: {mode: off}}").client_tls is None
    assert loaded(folder, NEEDED + "tls: {upstream: {mode: disable}}").upstream_tls == UpstreamTls("disable")
    assert loaded(folder, NEEDED + "tls: {upstream: {mode: require}}").upstream_tls == UpstreamTls("require")


def test_the_upstreams_url_may_say_it(folder: Path) -> None:
    url = f"postgresql://db?sslmode=verify-ca&sslrootcert={folder}/ca.crt&sslcert={folder}/both.pem"
    expected = UpstreamTls("verify-ca", folder / "ca.crt", folder / "both.pem")
    text = f"policy: policy.yaml\nupstream: {url}\n"
    assert loaded(folder, text).upstream_tls == expected
    assert loaded(folder, NEEDED, {"upstream": url}).upstream_tls == expected
    assert loaded(folder, text + "tls: {upstream: {mode: verify-ca}}").upstream_tls == expected
    named = loaded(folder, "policy: p\nupstream: postgresql://db?sslmode=verify-full\ntls: {upstream: {ca: ca.crt}}")
    assert named.upstream_tls == UpstreamTls("verify-full", folder / "ca.crt")
    system = loaded(folder, "policy: p\nupstream: postgresql://db?sslmode=verify-full&sslrootcert=system")
    assert system.upstream_tls == UpstreamTls("verify-full", Path("system"))


def test_a_unix_socket_has_none(folder: Path) -> None:
    text = (
        "policy: p\nupstream: postgresql:///?host=/run/pg&sslmode=prefer\ntls: {client: {mode: allow, cert: both.pem}}"
    )
    assert loaded(folder, text).upstream_tls is None


CLIENT = "tls: {client: {mode: require, cert: server.crt, key: server.key}, upstream: "
MISTAKES = {
    "no mode": ("tls: {client: {cert: both.pem}}", "3:15: error: missing-key: 'tls.client.mode' is missing"),
    "no certificate": ("tls: {client: {mode: allow}}", "3:15: error: missing-key: 'tls.client.cert' is missing"),
    "another mode": ("tls: {client: {mode: on}}", "3:22: error: bad-value: tls.client.mode: is one of 'off', 'allow'"),
    "an unknown key": ("tls: {client: {certificate: x}}", "3:16: error: unknown-key: 'certificate' is not a key here"),
    "a file that is not there": (
        "tls: {client: {mode: require, cert: none.crt}}",
        "3:37: error: file: tls.client.cert: FOLDER/none.crt cannot be read: No such file",
    ),
    "a certificate that is none": (
        "tls: {client: {mode: require, cert: nonsense, key: server.key}}",
        "3:37: error: file: tls.client.cert: FOLDER/nonsense holds no usable certificate",
    ),
    "a certificate without its key": (
        "tls: {client: {mode: require, cert: server.crt}}",
        "3:37: error: file: tls.client.cert: FOLDER/server.crt holds no usable certificate and key",
    ),
    "a key that is none": (
        "tls: {client: {mode: require, cert: server.crt, key: nonsense}}",
        "3:54: error: file: tls.client.key: FOLDER/nonsense holds no private key",
    ),
    "the key of another certificate": (
        "tls: {client: {mode: require, cert: server.crt, key: other.key}}",
        "3:54: error: file: tls.client.key: FOLDER/other.key is not the private key of FOLDER/server.crt",
    ),
    "authorities that are none": (
        "tls: {client: {mode: require, cert: both.pem, ca: nonsense}}",
        "3:51: error: file: tls.client.ca: FOLDER/nonsense holds no certificate",
    ),
    "certificates of nobody": (
        "tls: {client: {mode: require, cert: both.pem, client_certificates: verify-ca}}",
        "3:68: error: missing-key: 'tls.client.ca' is missing",
    ),
    "certificates that may be done without": (
        "tls: {client: {mode: allow, cert: both.pem, ca: ca.crt, client_certificates: verify-ca}}",
        "3:78: error: bad-value: tls.client.client_certificates: who may do without TLS may do without",
    ),
    "an old version": (
        "tls: {upstream: {mode: require, min_protocol_version: TLSv1}}",
        "3:55: error: bad-value: tls.upstream.min_protocol_version: is one of",
    ),
    "an upstream without a mode": (
        "tls: {upstream: {ca: ca.crt}}",
        "3:17: error: missing-key: 'tls.upstream.mode' is missing",
    ),
    "an upstream that nobody vouches for": (
        "tls: {upstream: {mode: verify-full}}",
        "3:17: error: file: tls.upstream.ca: verify-full needs the certificate authority",
    ),
    "a key without a certificate": (
        "tls: {upstream: {mode: require, key: server.key}}",
        "3:38: error: missing-key: 'tls.upstream.cert' is missing",
    ),
    "authorities that vouch for everybody": (
        "tls: {upstream: {mode: verify-ca, ca: system}}",
        "3:24: error: bad-value: tls.upstream.mode: the system's certificate authorities need verify-full",
    ),
    "TLS on both sides": (CLIENT + "{mode: prefer}}", "3:6: error: bad-value: tls: SCRAM cannot pass"),
    "a password without TLS": ("auth: password", "3:7: error: bad-value: auth: a password is asked for over TLS only"),
    "a catalog that is read without": (
        "tls: {upstream: {mode: require}}\ncatalog: {dsn: postgresql://reader@db/crm}",
        "4:16: error: bad-value: catalog.dsn: say sslmode here too: to the upstream it is require",
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_has_its_place(folder: Path, what: str) -> None:
    text, expected = MISTAKES[what]
    (found,) = mistakes(folder, NEEDED + text)
    assert found.startswith(f"consentry.yaml:{expected.replace('FOLDER', str(folder))}"), found


UPSTREAM_URLS = {
    "?sslmode=allow": "upstream: sslmode is one of disable, prefer, require, verify-ca, verify-full, not allow",
    "?sslmode=verify-full": "upstream: verify-full needs the certificate authority",
    "?sslmode=require&sslrootcert=none.crt": "upstream: none.crt cannot be read: No such file",
    "?sslmode=verify-ca&sslrootcert=system": "upstream: the system's certificate authorities need verify-full",
    "/?host=/run/pg&sslmode=require": "upstream: there is no TLS over a unix socket",
}


@pytest.mark.parametrize("rest", UPSTREAM_URLS)
def test_a_mistake_in_a_url_given_by_a_flag(folder: Path, rest: str) -> None:
    host = "" if rest.startswith("/") else "db"
    (found,) = mistakes(folder, NEEDED, {"upstream": f"postgresql://{host}{rest}"})
    assert found.startswith("--upstream:1:1: error: "), found
    assert UPSTREAM_URLS[rest] in found


def test_what_a_url_contradicts(folder: Path) -> None:
    text = "policy: p\nupstream: postgresql://db?sslmode=disable\ntls: {upstream: {mode: verify-full, ca: ca.crt}}"
    (found,) = mistakes(folder, text)
    assert found == "consentry.yaml:3:24: error: bad-value: tls.upstream.mode: the upstream's URL says sslmode=disable"


def test_an_encrypted_key(folder: Path, certificates: Certificates) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(certificates.server.key.read_bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    (folder / "server.key").write_bytes(key.private_bytes(*form, serialization.BestAvailableEncryption(b"secret")))
    (found,) = mistakes(folder, NEEDED + "tls: {client: {mode: require, cert: server.crt, key: server.key}}")
    assert found.endswith("server.key is encrypted; nobody is there to type its password")
