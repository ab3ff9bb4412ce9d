"""Questions of our own to the upstream on the client's connection, between two messages of the client's.

Each is a Parse, Bind, Describe, Execute and Close of a private name, with a Sync. So it must not be asked while an
answer to the client is under way, nor in an implicit transaction, which the Sync would end. A long question takes the
upstream as much time to plan as to answer, so it stays prepared for the next time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from proxy.session.outbox import Outbox
from proxy.session.reasons import StateLost
from proxy.wire import backend, frontend

_INT16 = Struct("!H")
_INT32 = Struct("!i")
_SILENT: Final = frozenset(
    {
        backend.PARSE_COMPLETE,
        backend.BIND_COMPLETE,
        backend.CLOSE_COMPLETE,
        backend.NO_DATA,
        backend.COMMAND_COMPLETE,
        backend.EMPTY_QUERY_RESPONSE,
        backend.NOTICE_RESPONSE,
    }
)
_LONG: Final = 2048
"""Characters of a question that is worth to be kept."""
_KEPT: Final = 8
"""Questions."""
_OURS: Final = frozenset({"search_path"})
"""Settings that questions change for themselves and that the upstream reports to the client (PostgreSQL 18)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``columns``: name and type OID of each; ``rows`` in text format; ``error``: why there are none, with ``sqlstate``
    if it was the upstream that said so.
    """

    columns: Sequence[tuple[str, int]] = ()
    rows: Sequence[Sequence[bytes | None]] = ()
    error: str = ""
    sqlstate: str = ""


@dataclass(slots=True)
class Inquiry:
    """Asks one question after another. ``private`` begins the names that it makes upstream."""

    outbox: Outbox
    private: bytes
    status: int = backend.IDLE
    _kept: dict[str, bytes] = field(default_factory=dict)
    _number: int = 0
    _answered: Callable[[Answer], None] | None = None
    _columns: list[tuple[str, int]] = field(default_factory=list)
    _rows: list[list[bytes | None]] = field(default_factory=list)
    _error: tuple[str, str] = ("", "")

    @property
    def pending(self) -> bool:
        """An answer is under way: whatever the upstream says belongs to it."""
        return self._answered is not None

    def ask(self, text: str, parameters: Sequence[str], answered: Callable[[Answer], None]) -> None:
        """Sends a question; ``answered`` is called when the upstream is ready for the next."""
        if self._answered is not None:
            raise StateLost("a question was asked before the last was answered")
        self._answered = answered
        self._columns, self._rows, self._error = [], [], ("", "")
        portal = self.private + b"inquiry"
        kept = self._kept.get(text)
        name = kept or self._name(text, portal)
        # A question that failed did not come to the Close of what it had made.
        messages = [
            frontend.close(frontend.PORTAL, portal),
            frontend.bind(portal, name, _in_text(parameters)),
            frontend.describe(frontend.PORTAL, portal),
            frontend.execute(portal),
            frontend.close(frontend.PORTAL, portal),
        ]
        if kept is None:
            messages[:0] = [frontend.close(frontend.STATEMENT, name), frontend.parse(name, text.encode())]
        if name == portal:
            messages.append(frontend.close(frontend.STATEMENT, name))
        self.outbox.upstream += [*messages, frontend.SYNC_MESSAGE]

    def _name(self, text: str, portal: bytes) -> bytes:
        """What the statement is called: as the portal, unless it is kept."""
        if len(text) < _LONG or len(self._kept) >= _KEPT:
            return portal
        self._number += 1
        name = self._kept[text] = b"%s %d" % (portal, self._number)
        return name

    def forget(self) -> None:
        """Every prepared statement of the connection is gone."""
        self._kept.clear()

    def judge(self, kind: int, whole: bytes) -> bytes | None:
        """What the client gets for a message of the upstream's: nothing, but what would have come without us too."""
        match kind:
            case backend.ROW_DESCRIPTION:
                self._columns = backend.read_columns(whole)
            case backend.DATA_ROW:
                self._rows.append(backend.read_row(whole))
            case backend.ERROR_RESPONSE:
                fields = backend.read_fields(whole)
                if not self._error[0]:
                    self._error = fields.get("M") or "an error", fields.get("C", "")
                return None if fields.get("V", fields.get("S")) in ("FATAL", "PANIC") else b""
            case backend.READY_FOR_QUERY:
                self.status = whole[5]
                self._finish(Answer(self._columns, self._rows, *self._error))
            case backend.PARAMETER_STATUS:
                return b"" if backend.read_parameter(whole)[0] in _OURS else None
            case _ if kind not in _SILENT:
                raise StateLost(f"unexpected message {chr(kind)} from the upstream")
        return b""

    def abandon(self) -> None:
        """The session is over: nobody will answer."""
        self._finish(Answer(error="the session is over"))

    def _finish(self, answer: Answer) -> None:
        answered, self._answered = self._answered, None
        if answer.error:
            self._kept.clear()  # who knows what became of them
        if answered is not None:
            answered(answer)


def _in_text(parameters: Sequence[str]) -> bytes:
    """What follows the names in a Bind: parameters in text format, and results as well."""
    values = [value.encode() for value in parameters]
    cells = [_INT32.pack(len(value)) + value for value in values]
    return b"\0\0" + _INT16.pack(len(values)) + b"".join(cells) + b"\0\0"
