"""Sockets that several workers listen on: one address, and one port also where the system picks it."""

from __future__ import annotations

import errno
import socket
import stat
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from proxy.server.options import Address

_ATTEMPTS: Final = 20


class Reservation:
    """Keeps an address for workers that come and go. Close it when the last is gone.

    A TCP port is bound and not listened on: each worker binds it again (SO_REUSEPORT), and the kernel spreads clients
    over those that listen. A unix socket is one for all (``shared``), since it cannot be bound twice.
    """

    def __init__(self, address: Address, bound: list[socket.socket]) -> None:
        self.address = address
        self._bound = bound

    @property
    def shared(self) -> socket.socket | None:
        return self._bound[0] if self.address.path else None

    def close(self) -> None:
        for one in self._bound:
            one.close()
        if self.address.path:
            Path(self.address.path).unlink(missing_ok=True)


def reserve(address: Address) -> Reservation:
    """Takes ``address`` for workers. Raises OSError where it is in use, or is nobody's."""
    if address.path:
        return Reservation(address, [unix_socket(address.path)])
    for attempt in range(_ATTEMPTS):
        try:
            bound = _bind(address)
        except OSError as error:
            # A port that was free for one family may be taken for the other.
            if address.port or error.errno != errno.EADDRINUSE or attempt == _ATTEMPTS - 1:
                raise
        else:
            return Reservation(Address(address.host, bound[0].getsockname()[1]), bound)
    raise AssertionError  # the last attempt returned or raised


def unix_socket(path: str) -> socket.socket:
    """A unix socket at ``path``, in place of one that nobody closed. Raises OSError where somebody listens.

    Who may connect is the upstream's decision, by its authentication, as with PostgreSQL's own socket.
    """
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(Path(path).stat().st_mode) and not _answers(path):
            Path(path).unlink()
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(path)
        Path(path).chmod(0o777)
    except BaseException:
        bound.close()
        raise
    return bound


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def _bind(address: Address) -> list[socket.socket]:
    """One socket for each of the host's addresses, all on one port."""
    infos = socket.getaddrinfo(address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    port = address.port
    with ExitStack() as undo:
        bound = []
        for family, kind, protocol, _, where in dict.fromkeys(infos):
            # Without SO_REUSEPORT first: nobody else may have the port, not even another proxy of ours.
            with _socket(family, kind, protocol) as probe:
                probe.bind((where[0], port, *where[2:]))
                port = probe.getsockname()[1]
            one = undo.enter_context(_socket(family, kind, protocol))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((where[0], port, *where[2:]))
            bound.append(one)
        undo.pop_all()
    return bound


def _socket(family: int, kind: int, protocol: int) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made
