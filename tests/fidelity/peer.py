"""One connection, and everything that a client can observe on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from psycopg import pq
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, TransactionStatus

STATEMENT_SECONDS = 60.0
"""After so long a statement is cancelled."""

_LIKE_PG_REGRESS = "-c TimeZone=America/Los_Angeles -c DateStyle=Postgres,MDY -c IntervalStyle=postgres_verbose"


class Lost(Exception):
    """The connection ended."""


class Column(NamedTuple):
    name: bytes
    type_oid: int
    modifier: int
    size: int
    format: int


@dataclass(slots=True)
class Result:
    """One of the results of a message."""

    status: str
    tag: bytes | None = None
    columns: list[Column] = field(default_factory=list)
    rows: list[tuple[bytes | None, ...]] = field(default_factory=list)
    error: dict[str, str] | None = None


@dataclass(slots=True)
class Observation:
    """Everything that came back of one message. ``transaction`` is the state that ReadyForQuery told."""

    results: list[Result] = field(default_factory=list)
    notices: list[dict[str, str]] = field(default_factory=list)
    notifications: list[tuple[bytes, bytes]] = field(default_factory=list)
    transaction: str = ""

    @property
    def error(self) -> dict[str, str] | None:
        return next((result.error for result in self.results if result.error is not None), None)

    @property
    def refusal(self) -> str | None:
        """The message of consentry's own refusal."""
        message = "" if self.error is None else self.error.get("MESSAGE_PRIMARY", "")
        return message.removeprefix("consentry: ") if message.startswith("consentry: ") else None


class Peer:
    """A client's connection. ``send`` returns at once; ``receive`` waits for everything that comes of it."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._observation = Observation()
        self._connection = self._opened(None)

    def connect(self, user: str | None = None) -> str | None:
        """Connects anew. Returns the error's text where that fails; the connection of before is closed anyway."""
        self._connection.finish()
        self._connection = self._opened(user)
        return None if self.alive else self._connection.get_error_message()

    def _opened(self, user: str | None) -> pq.abc.PGconn:
        more = "" if user is None else f" user='{user}'"
        info = f"{self._conninfo}{more} application_name=pg_regress client_encoding=UTF8 options='{_LIKE_PG_REGRESS}'"
        connection: pq.abc.PGconn = pq.PGconn.connect(info.encode())
        connection.notice_handler = self._noticed
        return connection

    @property
    def alive(self) -> bool:
        return self._connection.status == ConnStatus.OK

    def close(self) -> None:
        self._connection.finish()

    def send(self, sql: str, bound: list[str] | None, *, extended: bool) -> None:
        """Sends one message, or Parse, Bind, Describe, Execute and Sync where ``extended`` or parameters are bound."""
        self._observation = Observation()
        if not self.alive:
            raise Lost
        if bound is None and not extended:
            self._connection.send_query(sql.encode())
        else:
            self._connection.send_query_params(sql.encode(), [value.encode() for value in bound or ()])

    def receive(self, data: Callable[[], bytes]) -> Observation:
        """``data`` gives what a COPY FROM STDIN is to get."""
        watch = threading.Timer(STATEMENT_SECONDS, self._cancel)
        watch.start()
        try:
            for result in self._results():
                self._observation.results.append(self._observed(result, data))
        finally:
            watch.cancel()
        observation = self._observation
        if not self.alive:
            observation.transaction = "lost"
            return observation
        self._connection.consume_input()
        while (notification := self._connection.notifies()) is not None:
            observation.notifications.append((notification.relname, notification.extra))
        observation.transaction = TransactionStatus(self._connection.transaction_status).name
        return observation

    def _results(self) -> Iterator[pq.abc.PGresult]:
        while (result := self._connection.get_result()) is not None:
            yield result

    def _observed(self, result: pq.abc.PGresult, data: Callable[[], bytes]) -> Result:
        status = ExecStatus(result.status)
        seen = Result(status.name, result.command_status)
        if status == ExecStatus.COPY_IN:
            self._connection.put_copy_data(data())
            self._connection.put_copy_end()
        elif status == ExecStatus.COPY_OUT:
            while (got := self._connection.get_copy_data(0))[0] > 0:
                seen.rows.append((bytes(got[1]),))
        elif status in (ExecStatus.FATAL_ERROR, ExecStatus.NONFATAL_ERROR):
            seen.error = _fields(result)
        seen.columns = [
            Column(
                result.fname(number) or b"",
                result.ftype(number),
                result.fmod(number),
                result.fsize(number),
                result.fformat(number),
            )
            for number in range(result.nfields)
        ]
        seen.rows += [
            tuple(result.get_value(row, number) for number in range(result.nfields)) for row in range(result.ntuples)
        ]
        return seen

    def _noticed(self, result: pq.abc.PGresult) -> None:
        self._observation.notices.append(_fields(result))

    def _cancel(self) -> None:
        self._connection.get_cancel().cancel()


def _fields(result: pq.abc.PGresult) -> dict[str, str]:
    found = {field.name: result.error_field(field) for field in DiagnosticField}
    fields = {name: value.decode("utf-8", "replace") for name, value in found.items() if value is not None}
    return fields or {"MESSAGE_PRIMARY": result.get_error_message()}
