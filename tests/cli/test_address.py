"""How addresses and the upstream's URL are written."""

from __future__ import annotations

import pytest

from proxy.cli.address import Upstream, read_listen, read_upstream, written
from proxy.server.options import Address

LISTEN = {
    "127.0.0.1:6432": Address("127.0.0.1", 6432),
    "localhost:0": Address("localhost", 0),
    "[::1]:6432": Address("::1", 6432),
    ":6432": Address("", 6432),
    "/run/consentry/.s.PGSQL.6432": Address(path="/run/consentry/.s.PGSQL.6432"),
}


@pytest.mark.parametrize("text", LISTEN)
def test_an_address(text: str) -> None:
    assert read_listen(text) == LISTEN[text]
    assert written(LISTEN[text]) == text


@pytest.mark.parametrize(
    "text", ["", "6432", "localhost", "::1:6432", "h:65536", "h:-1", "h:6432x", "http://h:1", "h:٣"]
)
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"address is HOST:PORT|port is a number"):
        read_listen(text)


UPSTREAMS = {
    "postgresql://db:5433": Upstream(Address("db", 5433)),
    "postgres://db": Upstream(Address("db", 5432)),
    "postgresql://db:": Upstream(Address("db", 5432)),
    "postgresql://reader@db/crm": Upstream(Address("db", 5432), "reader"),
    "postgresql://re%40d:p%3A%2F@[::1]:1/crm": Upstream(Address("::1", 1), "re@d", "p:/"),
    "postgresql://db?sslmode=prefer&user=u": Upstream(Address("db", 5432), "u", sslmode="prefer"),
    "postgresql://db?sslmode=verify-full&sslrootcert=ca&sslcert=c&sslkey=k": Upstream(
        Address("db", 5432), None, None, "verify-full", "ca", "c", "k"
    ),
    "postgresql:///crm?host=/run/postgresql": Upstream(Address(path="/run/postgresql/.s.PGSQL.5432")),
    "postgresql:///?host=/srv/pg&port=7": Upstream(Address(path="/srv/pg/.s.PGSQL.7")),
    "postgresql://u@%2FTmp:7/crm": Upstream(Address(path="/Tmp/.s.PGSQL.7"), "u"),
}


@pytest.mark.parametrize("text", UPSTREAMS)
def test_an_upstream(text: str) -> None:
    assert read_upstream(text) == UPSTREAMS[text]


NO_UPSTREAMS = {
    "db:5432": "a URL such as",
    "mysql://db": "a URL such as",
    "postgresql://": "names no host",
    "postgresql:///crm": "names no host",
    "postgresql://a:1,b:2": "one server",
    "postgresql://db:port": "one server",
    "postgresql://db:99999": "up to 65535",
    "postgresql://db?sslmode=allow": "sslmode is one of disable, prefer",
    "postgresql://u:secret@db?options=-csearch_path%3Dx": "not options",
}


@pytest.mark.parametrize("text", NO_UPSTREAMS)
def test_no_upstream_and_no_password_in_the_message(text: str) -> None:
    with pytest.raises(ValueError, match=NO_UPSTREAMS[text]) as error:
        read_upstream(text)
    assert "secret" not in str(error.value)
