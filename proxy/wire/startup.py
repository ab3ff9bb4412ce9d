"""What a client sends before its first typed message: packets of a length and a code (manual, 55.2.1, 55.7)."""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Final, NamedTuple

from proxy.errors import ProtocolViolation

MAX_STARTUP_BYTES: Final = 10_000
"""MAX_STARTUP_PACKET_LENGTH of PostgreSQL, without the length itself."""

CANCEL_REQUEST: Final = (1234, 5678)
SSL_REQUEST: Final = (1234, 5679)
GSSENC_REQUEST: Final = (1234, 5680)

TLS_HANDSHAKE: Final = 0x16
"""First byte of a TLS ClientHello: direct TLS of PostgreSQL 17 and later. No packet of ours can begin with it."""

TLS_HANDSHAKE_FAILURE: Final = bytes((21, 3, 1, 0, 2, 2, 40))
"""A TLS record with the fatal alert handshake_failure (RFC 8446, 6.2)."""

_PACKET = Struct("!IHH")


class Packet(NamedTuple):
    """One packet. ``version`` is (major, minor) of the protocol, or one of the request codes above."""

    version: tuple[int, int]
    whole: bytes


def next_packet(buffer: bytes) -> Packet | None:
    """The packet at the start of ``buffer``; None while it has not arrived whole."""
    if len(buffer) < 4:
        return None
    length = int.from_bytes(buffer[:4], "big")
    if not 8 <= length <= MAX_STARTUP_BYTES + 4:
        # PostgreSQL says so to its log alone (ProcessStartupPacket): whoever sends this may not speak the protocol.
        raise ProtocolViolation("invalid length of startup packet", silent=True)
    if len(buffer) < length:
        return None
    _, major, minor = _PACKET.unpack_from(buffer)
    return Packet((major, minor), buffer[:length])


def startup_message(parameters: Mapping[str, str], version: tuple[int, int] = (3, 0)) -> bytes:
    pairs = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items()) + b"\0"
    return _PACKET.pack(len(pairs) + 8, *version) + pairs


def request(code: tuple[int, int], body: bytes = b"") -> bytes:
    """An SSLRequest, GSSENCRequest or CancelRequest."""
    return _PACKET.pack(len(body) + 8, *code) + body


def read_parameters(packet: Packet) -> dict[str, str]:
    """The parameters of a StartupMessage.

    PostgreSQL takes the last of two with one name, setting names in any case, and some of the first one's effects with
    it; no driver sends such, so two are a violation rather than a riddle.
    """
    body = packet.whole[8:]
    if not body.endswith(b"\0"):
        raise ProtocolViolation("invalid startup packet layout: expected terminator as last byte")
    parts = body[:-1].split(b"\0")
    if parts.pop() != b"" or len(parts) % 2:
        raise ProtocolViolation("invalid startup packet layout: expected terminator as last byte")
    parameters: dict[str, str] = {}
    seen: set[str] = set()
    for name, value in zip(parts[::2], parts[1::2], strict=True):
        try:
            key, text = name.decode(), value.decode()
        except UnicodeDecodeError as invalid:
            raise ProtocolViolation("startup packet is not UTF-8") from invalid
        if not key or key.lower() in seen:
            raise ProtocolViolation("invalid startup packet layout: empty or repeated parameter name")
        seen.add(key.lower())
        parameters[key] = text
    return parameters
