"""What a supervisor and its workers tell each other, over a pair of connected sockets."""

from __future__ import annotations

import asyncio
import copyreg
import pickle
import socket
from dataclasses import dataclass
from struct import Struct
from types import MappingProxyType
from typing import Any, Final, Self

from proxy.cli.configuration import Configuration
from proxy.policy.in_force import Policies
from proxy.server import Address

_LENGTH: Final = Struct("!I")


@dataclass(frozen=True, slots=True)
class Charge:
    """To a new worker: what it serves, and what it shares with the others.

    File descriptors: ``memory`` holds a headcount's block for each of ``workers``, the audit's turns and the counts of
    conflicts, ``audit`` is the audit's, ``listener`` a unix socket (None: listen on the configuration's port).
    ``torn``: what a crash left of the audit's last line.
    """

    configuration: Configuration
    policies: Policies
    number: int
    workers: int
    memory: int
    audit: int
    listener: int | None
    torn: bytes


@dataclass(frozen=True, slots=True)
class Ready:
    """From a worker: it accepts connections at ``address``."""

    address: Address


@dataclass(frozen=True, slots=True)
class Reload:
    """To a worker: these policies decide from now on."""

    policies: Policies


@dataclass(frozen=True, slots=True)
class Ask:
    """To a worker: send a :class:`proxy.cli.report.Report`."""


@dataclass(frozen=True, slots=True)
class ReadCertificates:
    """To a worker: read the files of certificates and keys again."""


@dataclass(frozen=True, slots=True)
class Drain:
    """To a worker: stop accepting, let statements finish, end. At once with ``hurry``."""

    hurry: bool = False


class Channel:
    """One end. Both ends are processes of one instance, under one user."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Self:
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: Any) -> None:
        """Nobody reads it if the other process is gone."""
        body = pickle.dumps(message)
        self._writer.write(_LENGTH.pack(len(body)) + body)

    async def receive(self) -> Any:
        """The next message; None when the other process is gone."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            return pickle.loads(await self._reader.readexactly(length))  # noqa: S301 - our own process wrote it
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def close(self) -> None:
        self._writer.close()


def _rebuilt(items: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(items)


# Policies are frozen, their mappings too, and pickle knows nothing of those.
copyreg.pickle(MappingProxyType, lambda mapping: (_rebuilt, (dict(mapping),)))
