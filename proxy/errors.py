"""What consentry says no with.

A :class:`Refusal` is data: the session turns it into an ErrorResponse (protocol section 55.8), the command line prints
it. :class:`Refused` carries one through code that cannot go on. :class:`ProtocolViolation` means that bytes on the wire
are not protocol 3; the connection ends with it.
"""

from __future__ import annotations

from dataclasses import dataclass

INSUFFICIENT_PRIVILEGE = "42501"
FEATURE_NOT_SUPPORTED = "0A000"
PROTOCOL_VIOLATION = "08P01"
PROGRAM_LIMIT_EXCEEDED = "54000"
ADMIN_SHUTDOWN = "57P01"
QUERY_CANCELED = "57014"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a statement or session may not go on. Holds no data of the database, ever.

    ``message`` begins with ``consentry: `` unless it imitates an error of PostgreSQL's own (``42P01``).
    ``position`` counts characters of the client's text from 1, as PostgreSQL's field ``P`` does; 0 means none.
    """

    sqlstate: str
    message: str
    detail: str = ""
    hint: str = ""
    position: int = 0


class Refused(Exception):
    """Carries a :class:`Refusal` out of an analysis that cannot go on."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class ProtocolViolation(Exception):
    """Bytes that are not protocol 3. Ends the connection with a FATAL of ``sqlstate``; ``silent``: without a word."""

    def __init__(self, message: str, sqlstate: str = PROTOCOL_VIOLATION, *, silent: bool = False) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.silent = silent
