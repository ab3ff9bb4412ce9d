"""TLS on a connection that is already there (RFC 8446, 5246): below it speaks to the socket's transport as a protocol,
above it is a transport itself.

asyncio's own ``start_tls`` would lose what was read together with a direct ClientHello, and closes a connection whose
other side merely ended its half; PostgreSQL still answers it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

RECORD: Final = 16 * 1024
"""Plain bytes that a TLS record holds at most."""

_FAILURES: Final = OSError
"""What Python makes of OpenSSL's errors: ssl.SSLError, and for some (SSL_ERROR_SYSCALL) its bare base class."""


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """Plain bytes for ``above``, encrypted ones for ``below``.

    ``established`` is called when the handshake is over; ``failed``, at most once, when it comes to nothing or a record
    cannot be decrypted: the connection is then closed. What ``above`` writes during the handshake is dropped: it could
    not be kept from others.

    Towards a client, ``above`` has spoken on the connection before, and hears of its end in any case; towards a server
    it knows of nothing before ``established``.
    """

    def __init__(
        self,
        below: asyncio.Transport,
        above: asyncio.Protocol,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        established: Callable[[TlsTransport], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """``server_hostname``: of the server, when this side is the client."""
        super().__init__()
        self._below = below
        self._above = above
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._server_side = context.protocol is ssl.PROTOCOL_TLS_SERVER
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=self._server_side, server_hostname=server_hostname
        )
        self._established = established
        self._on_failure: Callable[[Exception], None] | None = failed
        self._ready = False
        self._ended = False
        self._open_after_end = False

    def begin(self, received: bytes = b"") -> None:
        """Takes the connection over. ``received``: what was read of the handshake already."""
        self._below.set_protocol(self)
        if received:
            self.data_received(received)
        else:
            self._shake()

    # --- as a protocol ------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._incoming.write(data)
        if self._ready or self._shake():
            self._decrypt()

    def _shake(self) -> bool:
        """One step of the handshake; True when it is over."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return False
        except _FAILURES as error:
            self._fail(error)
            return False
        self._send()
        self._ready = True
        self._established(self)
        return not self._below.is_closing()

    def _decrypt(self) -> None:
        """All that has arrived whole, as one piece: nothing stays in here when reading is paused."""
        pieces: list[bytes] = []
        tls, incoming = self._tls, self._incoming
        failure: OSError | None = None
        try:
            while incoming.pending or tls.pending():
                piece = tls.read(RECORD)
                if not piece:
                    self._ended = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ended = True
        except _FAILURES as error:
            failure = error
        if pieces:
            self._above.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if failure is not None:
            self._fail(failure)
            return
        self._send()
        if self._ended:
            self._end()

    def _end(self) -> None:
        """The other side sends no more."""
        self._open_after_end = bool(self._above.eof_received())
        if not self._open_after_end:
            self.close()

    def eof_received(self) -> bool:
        if not self._ready:
            self._fail(ConnectionResetError("the connection was closed during the TLS handshake"))
        elif not self._ended:
            self._ended = True
            self._end()
        return self._open_after_end

    def pause_writing(self) -> None:
        self._above.pause_writing()

    def resume_writing(self) -> None:
        self._above.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ready:
            self._failed(exc or ConnectionResetError("the connection was closed during the TLS handshake"))
        if self._ready or self._server_side:
            self._above.connection_lost(exc)

    def _fail(self, error: Exception) -> None:
        """Sends the alert that says why, and closes."""
        self._ended = True
        self._send()
        self._below.close()
        self._failed(error)

    def _failed(self, error: Exception) -> None:
        on_failure, self._on_failure = self._on_failure, None
        if on_failure is not None:
            on_failure(error)

    def _send(self) -> None:
        if self._outgoing.pending and not self._below.is_closing():
            self._below.write(self._outgoing.read())

    # --- as a transport -----------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if not self._ready or self._below.is_closing():
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._tls.write(rest) :]
        except _FAILURES as error:
            self._fail(error)
            return
        self._below.write(self._outgoing.read())

    def close(self) -> None:
        """Says so (close_notify) and closes when everything has been written."""
        if self._ready and not self._below.is_closing():
            with contextlib.suppress(_FAILURES):  # the other side's own close_notify is not waited for
                self._tls.unwrap()
            self._send()
        self._below.close()

    def abort(self) -> None:
        self._below.abort()

    def is_closing(self) -> bool:
        return self._below.is_closing()

    def pause_reading(self) -> None:
        self._below.pause_reading()

    def resume_reading(self) -> None:
        self._below.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._below.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._below.get_extra_info(name, default)

    # --- what the handshake agreed on ---------------------------------------------------------------------------------

    @property
    def alpn(self) -> str | None:
        """The application protocol that both sides named."""
        return self._tls.selected_alpn_protocol()

    @property
    def peer_name(self) -> str | None:
        """The common name of the other side's certificate, ``""`` if it has none; None without a certificate that was
        checked."""
        certificate = self._tls.getpeercert()
        if not certificate:
            return None
        subject = cast("tuple[tuple[tuple[str, str], ...], ...]", certificate.get("subject", ()))
        name = next((value for part in subject for key, value in part if key == "commonName"), "")
        return "" if "\0" in name else name
