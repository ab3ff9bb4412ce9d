"""A small PostgreSQL for fuzzing: it answers every message as the server would, and remembers nothing but names and
the transaction's state (postgres.c). Its statements are told by their first word.

``SELECT`` gives two rows, ``FAIL`` an error; BEGIN, COMMIT, ROLLBACK, SET, PREPARE, DEALLOCATE, and COPY FROM
STDIN and TO STDOUT do what they say. A relation whose name begins with "consentry: " does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.errors import ProtocolViolation
from proxy.session.startup import PROBE
from proxy.wire import backend, frontend
from tests.session.rules import split

ROWS = 2
_ROW = backend.message(backend.DATA_ROW, b"\0\1\0\0\0\1x")
_DESCRIPTION = backend.message(backend.ROW_DESCRIPTION, b"\0\1c\0" + bytes(18))
_COPY_OUT = backend.message(backend.COPY_OUT_RESPONSE, b"\0\0\1\0\0")
_COPY_IN = backend.message(backend.COPY_IN_RESPONSE, b"\0\0\1\0\0")
_IDENTITY = [b"me", b"me", b"db", b"UTF8", b"on", b"public", b"none", b"", b"", b"", b"", b"read committed", b"f"]


class Failed(Exception):
    """An error of this SQLSTATE."""


@dataclass(slots=True)
class _Portal:
    text: str
    sent: int = 0
    begun: bool = False
    over: bool = False


@dataclass(slots=True)
class UpstreamModel:
    """Feed it what the session sends; ``answers`` is what comes back. ``closed``: it has ended the connection."""

    answers: bytearray = field(default_factory=bytearray)
    closed: bool = False
    _greeted: bool = False
    _buffer: bytes = b""
    _status: bytes = b"I"
    _skipping: bool = False
    _copying: bool = False
    _after_copy: list[str] | None = None
    _statements: dict[bytes, str] = field(default_factory=dict)
    _portals: dict[bytes, _Portal] = field(default_factory=dict)

    def receive(self, data: bytes) -> None:
        self._buffer += data
        while not self.closed and self._next():
            pass

    def _next(self) -> bool:
        buffer = self._buffer
        if not self._greeted:
            if len(buffer) < 4 or len(buffer) < int.from_bytes(buffer[:4], "big"):
                return False
            self._buffer = buffer[int.from_bytes(buffer[:4], "big") :]
            self._greeted = True
            self._answer(backend.AUTHENTICATION, bytes(4))
            self._answer(backend.PARAMETER_STATUS, b"client_encoding\0UTF8\0")
            self._answer(backend.BACKEND_KEY_DATA, bytes(8))
            self._ready()
            return True
        if len(buffer) < 5 or len(buffer) < 1 + int.from_bytes(buffer[1:5], "big"):
            return False
        size = 1 + int.from_bytes(buffer[1:5], "big")
        whole, self._buffer = buffer[:size], buffer[size:]
        self._message(whole[0], whole)
        return True

    def _message(self, kind: int, whole: bytes) -> None:
        if self._copying:
            self._copy(kind)
        elif kind == frontend.TERMINATE:
            self.closed = True
        elif kind == frontend.SYNC:
            self._skipping = False
            if self._status == b"I":
                self._end_transaction()
            self._ready()
        elif self._skipping or kind in (frontend.COPY_DATA, frontend.COPY_DONE, frontend.COPY_FAIL, frontend.FLUSH):
            pass
        elif kind == frontend.QUERY:
            self._query(frontend.read_query(whole).decode())
        else:
            try:
                self._extended(kind, whole)
            except (Failed, ProtocolViolation) as failed:
                self._error(str(failed) if isinstance(failed, Failed) else "08P01")
                self._skipping = True

    # --- simple query -------------------------------------------------------------------------------------------------

    def _query(self, text: str) -> None:
        self._statements.pop(b"", None)
        self._portals.pop(b"", None)
        if text == PROBE.decode():
            row = b"".join(len(value).to_bytes(4, "big") + value for value in _IDENTITY)
            self._answer(backend.ROW_DESCRIPTION, b"\0\0")
            self._answer(backend.DATA_ROW, len(_IDENTITY).to_bytes(2, "big") + row)
            self._answer(backend.COMMAND_COMPLETE, b"SELECT 1\0")
            self._ready()
            return
        statements = split(text)
        if not statements:
            self._answer(backend.EMPTY_QUERY_RESPONSE, b"")
        self._run_all(statements)

    def _run_all(self, statements: list[str]) -> None:
        while statements:
            try:
                self._run(statements.pop(0), _Portal(""), described=True)
            except Failed as failed:
                self._error(str(failed))
                break
            if self._copying:
                self._after_copy = statements
                return
        if self._status == b"I":
            self._end_transaction()
        self._ready()

    # --- extended query -----------------------------------------------------------------------------------------------

    def _extended(self, kind: int, whole: bytes) -> None:
        match kind:
            case frontend.PARSE:
                self._parse(frontend.read_parse(whole))
            case frontend.BIND:
                self._bind(frontend.read_bind(whole), whole)
            case frontend.DESCRIBE:
                self._describe(frontend.read_target(whole))
            case frontend.EXECUTE:
                name, limit = frontend.read_execute(whole)
                portal = self._portals.get(name)
                if portal is None:
                    raise Failed("34000")
                self._allowed(portal.text)
                self._run(portal.text, portal, limit)
            case frontend.CLOSE:
                target = frontend.read_target(whole)
                names = self._statements if target.kind == frontend.STATEMENT else self._portals
                names.pop(target.name, None)
                self._answer(backend.CLOSE_COMPLETE, b"")
            case _:
                self.closed = True

    def _parse(self, parse: frontend.Parse) -> None:
        if not parse.name:
            self._statements.pop(b"", None)
        text = parse.query.decode()
        if len(split(text)) > 1:
            raise Failed("42601")
        self._allowed(text)
        if "consentry: " in text:
            raise Failed("42P01")
        if parse.name in self._statements:
            raise Failed("42P05")
        self._statements[parse.name] = text
        self._answer(backend.PARSE_COMPLETE, b"")

    def _bind(self, bind: frontend.Bind, whole: bytes) -> None:
        text = self._statements.get(bind.statement)
        if text is None:
            raise Failed("26000")
        self._allowed(text)
        if whole[bind.rest :] != bytes(6):
            raise Failed("08P01")
        if bind.portal and bind.portal in self._portals:
            raise Failed("42P03")
        self._portals[bind.portal] = _Portal(text)
        self._answer(backend.BIND_COMPLETE, b"")

    def _describe(self, target: frontend.Target) -> None:
        if target.kind == frontend.STATEMENT:
            text = self._statements.get(target.name)
            if text is None:
                raise Failed("26000")
            self._answer(backend.PARAMETER_DESCRIPTION, b"\0\0")
        else:
            portal = self._portals.get(target.name)
            if portal is None:
                raise Failed("34000")
            text = portal.text
        if text.upper().startswith("SELECT"):
            self.answers += _DESCRIPTION
        else:
            self._answer(backend.NO_DATA, b"")

    # --- statements ---------------------------------------------------------------------------------------------------

    def _allowed(self, text: str) -> None:
        if self._status == b"E" and not text.upper().startswith(("COMMIT", "ROLLBACK")):
            raise Failed("25P02")

    def _run(self, text: str, portal: _Portal, limit: int = 0, *, described: bool = False) -> None:
        self._allowed(text)
        if "consentry: " in text:
            raise Failed("42P01")
        word = text.upper().split(" ")[0] if text.strip() else ""
        if word == "SELECT":
            self._select(portal, limit, described=described)
            return
        if portal.over:
            raise Failed("55000")
        portal.over = True
        match word:
            case "":
                self._answer(backend.EMPTY_QUERY_RESPONSE, b"")
            case "FAIL":
                raise Failed("22012")
            case "COPY" if "STDIN" in text:
                self._copying = True
                self.answers += _COPY_IN
            case "COPY":
                self.answers += _COPY_OUT
                self._answer(backend.COPY_DATA, b"x\n")
                self._answer(backend.COPY_DONE, b"")
                self._complete("COPY 1")
            case _:
                self._utility(word, text)

    def _select(self, portal: _Portal, limit: int, *, described: bool) -> None:
        if described:
            self.answers += _DESCRIPTION
        left = ROWS - portal.sent
        rows = left if limit <= 0 else min(limit, left)
        self.answers += _ROW * rows
        portal.sent += rows
        # The server learns that there are no more rows when it asks for one that is not there.
        if 0 < limit <= rows:
            self._answer(backend.PORTAL_SUSPENDED, b"")
        else:
            self._complete(f"SELECT {rows}")

    def _utility(self, word: str, text: str) -> None:
        match word:
            case "BEGIN":
                self._status = b"T"
            case "COMMIT" | "ROLLBACK":
                tag = "ROLLBACK" if self._status == b"E" else word
                self._end_transaction()
                self._status = b"I"
                self._complete(tag)
                return
            case "PREPARE":
                name, _, body = text.removeprefix("PREPARE ").partition(" AS ")
                if name.encode() in self._statements:
                    raise Failed("42P05")
                self._statements[name.encode()] = body
            case "DEALLOCATE" if text.endswith("ALL"):
                self._statements = {name: one for name, one in self._statements.items() if not name}
                word = "DEALLOCATE ALL"
            case "DEALLOCATE":
                if self._statements.pop(text.split(" ")[1].encode(), None) is None:
                    raise Failed("26000")
        self._complete(word)

    def _copy(self, kind: int) -> None:
        """A COPY FROM STDIN is under way (copyfromparse.c)."""
        if kind in (frontend.COPY_DATA, frontend.FLUSH, frontend.SYNC):
            return
        self._copying = False
        if kind == frontend.COPY_DONE:
            self._complete("COPY 1")
            if self._after_copy is not None:
                rest, self._after_copy = self._after_copy, None
                self._run_all(rest)
            return
        self._error("57014" if kind == frontend.COPY_FAIL else "08P01")
        if kind != frontend.COPY_FAIL:
            self.closed = True
        elif self._after_copy is not None:
            self._after_copy = None
            self._ready()
        else:
            self._skipping = True

    # --- answers ------------------------------------------------------------------------------------------------------

    def _end_transaction(self) -> None:
        self._portals.clear()

    def _answer(self, kind: int, body: bytes) -> None:
        self.answers += backend.message(kind, body)

    def _complete(self, tag: str) -> None:
        self._answer(backend.COMMAND_COMPLETE, tag.encode() + b"\0")

    def _ready(self) -> None:
        self._answer(backend.READY_FOR_QUERY, self._status)

    def _error(self, sqlstate: str) -> None:
        self.answers += backend.error_response({"S": "ERROR", "V": "ERROR", "C": sqlstate, "M": sqlstate})
        if self._status == b"T":
            self._status = b"E"
        if self._status == b"I":
            self._end_transaction()
