"""Where consentry listens and where PostgreSQL is, out of the text of a flag, variable or key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from proxy.server.certificates import UpstreamMode
from proxy.server.options import Address

DEFAULT_PORT = 5432
_HOST = r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>[^\[\]:/,\s]*))"
_HOST_PORT = re.compile(_HOST + r":(?P<port>[0-9]{1,5})")
_AUTHORITY = re.compile(_HOST + r"(?::(?P<port>[0-9]{0,5}))?")
_FILES = ("sslrootcert", "sslcert", "sslkey")
_SSL = ("sslmode", *_FILES)
_SOCKET = ".s.PGSQL.{}"


@dataclass(frozen=True, slots=True)
class Upstream:
    """The PostgreSQL server. Of what is None its URL says nothing; user and password are for the catalog's reader."""

    address: Address
    user: str | None = None
    password: str | None = None
    sslmode: UpstreamMode | None = None
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None


def written(address: Address) -> str:
    """An address as the flag takes it: ``127.0.0.1:6432``, ``[::1]:6432``, ``/run/consentry/.s.PGSQL.6432``."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return address.path or f"{host}:{address.port}"


def read_listen(text: str) -> Address:
    """``HOST:PORT``, or the absolute path of a unix socket. Raises ValueError."""
    if text.startswith("/"):
        return Address(path=text)
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise ValueError("an address is HOST:PORT, [IPv6]:PORT or the path of a unix socket")
    return Address(match["six"] or match["host"] or "", _port(match["port"]))


def read_upstream(text: str) -> Upstream:
    """A URL as libpq takes it (manual 32.1.1.2), with one host. Raises ValueError, which never quotes the password."""
    url = urlsplit(text)
    if url.scheme not in {"postgresql", "postgres"}:
        raise ValueError("the upstream is a URL such as postgresql://db.internal:5432")
    options = dict(parse_qsl(url.query, keep_blank_values=True))
    _check(options)
    user, login, password = url.netloc.rpartition("@")[0].partition(":")
    where = url.netloc.rpartition("@")[2]
    host, port = _host_and_port(where, options)
    unix = host.startswith("/")
    address = Address(path=f"{host}/{_SOCKET.format(port)}") if unix else Address(host, port)
    return Upstream(
        address,
        unquote(user) or options.get("user"),
        unquote(password) if login else None,
        cast("UpstreamMode | None", options.get("sslmode")),
        *(options.get(name) or None for name in _FILES),
    )


def _check(options: Mapping[str, str]) -> None:
    unknown = sorted(set(options) - {"host", "port", "user", "sslmode", *_FILES})
    if unknown:
        raise ValueError(f"the upstream's URL may say host, port, user and {', '.join(_SSL)}, not {unknown[0]}")
    if options.get("sslmode", "disable") not in get_args(UpstreamMode):
        raise ValueError(f"sslmode is one of {', '.join(get_args(UpstreamMode))}, not {options['sslmode']}")


def _host_and_port(where: str, options: Mapping[str, str]) -> tuple[str, int]:
    match = _AUTHORITY.fullmatch(where)
    if match is None:
        raise ValueError("the upstream's URL names one server as HOST:PORT")
    host = options.get("host") or match["six"] or unquote(match["host"])
    if not host:
        raise ValueError("the upstream's URL names no host")
    port = options.get("port") or match["port"]
    return host, _port(port) if port else DEFAULT_PORT


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ValueError("a port is a number up to 65535")
    return int(text)
