"""Why a session ends, or a message is refused, for reasons of the protocol rather than of the policy."""

from __future__ import annotations

from typing import Final

from proxy.errors import (
    ADMIN_SHUTDOWN,
    FEATURE_NOT_SUPPORTED,
    INSUFFICIENT_PRIVILEGE,
    PROGRAM_LIMIT_EXCEEDED,
    Refusal,
)

CONNECTION_FAILURE: Final = "08006"
INTERNAL_ERROR: Final = "XX000"
TOO_MANY_CONNECTIONS: Final = "53300"
IDLE_SESSION_TIMEOUT: Final = "57P05"
UNDEFINED_TABLE: Final = "42P01"
UNDEFINED_STATEMENT: Final = "26000"
UNDEFINED_PORTAL: Final = "34000"


class SessionOver(Exception):
    """Ends the session with a FATAL error of this SQLSTATE."""

    def __init__(self, sqlstate: str, message: str, detail: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.detail = detail
        self.hint = hint

    @property
    def of_policy(self) -> bool:
        """It is consentry that refuses, and not for a failure of its own."""
        return self.sqlstate in (INSUFFICIENT_PRIVILEGE, FEATURE_NOT_SUPPORTED) and str(self).startswith("consentry:")

    @classmethod
    def refused(cls, refusal: Refusal) -> SessionOver:
        return cls(refusal.sqlstate, refusal.message, refusal.detail, refusal.hint)

    @classmethod
    def shutdown(cls) -> SessionOver:
        return cls(ADMIN_SHUTDOWN, "terminating connection due to administrator command")

    @classmethod
    def idle(cls) -> SessionOver:
        return cls(IDLE_SESSION_TIMEOUT, "terminating connection due to idle-session timeout")


def no_policy(database: str) -> SessionOver:
    """What is in a database without a policy is nobody's to see."""
    return SessionOver(
        INSUFFICIENT_PRIVILEGE,
        f'consentry: no policy is in force for database "{database}"',
        hint="Name the database in the configuration's policies, or give them a '*'.",
    )


def too_many_of_role(role: str) -> SessionOver:
    """PostgreSQL's own words (InitializeSessionUserId)."""
    return SessionOver(TOO_MANY_CONNECTIONS, f'too many connections for role "{role}"')


class HiddenOrigin(Exception):
    """For the log: a result was about to show these columns, which the decision on its statement hides."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        super().__init__(f"a result comes from hidden columns: {', '.join(columns)}")


class StateLost(SessionOver):
    """The upstream answered what it cannot have answered: nothing that was thought of this session holds any more."""

    def __init__(self, message: str) -> None:
        super().__init__(INTERNAL_ERROR, f"consentry: the state of the session is lost: {message}")


DECIDING_FAILED: Final = Refusal(INSUFFICIENT_PRIVILEGE, "consentry: the statement could not be decided")
AUDIT_FAILED: Final = Refusal(INSUFFICIENT_PRIVILEGE, "consentry: the audit cannot be written")
SNAPSHOT_TOO_OLD: Final = Refusal(
    "72000",
    "consentry: snapshot too old",
    detail="The transaction sees personal information as it was when it began, and consent that was withdrawn since.",
    hint="End the transaction and begin another.",
)
LOCK_NOT_AVAILABLE: Final = "55P03"
_OTHER_CODE: Final = "Statements that were judged before it would come to run other code than was judged."
CHANGE_TOO_LONG: Final = Refusal(
    LOCK_NOT_AVAILABLE,
    "consentry: the change of the schema took too long",
    detail=f"{_OTHER_CODE} So other sessions wait for it, and it for locks, perhaps theirs.",
    hint="Try again, when what it changes is less in use.",
)
STATEMENTS_UNDER_WAY: Final = Refusal(
    LOCK_NOT_AVAILABLE,
    "consentry: the schema cannot be changed now: statements of other sessions are under way",
    detail=_OTHER_CODE,
    hint="Try again, when what it changes is less in use.",
)
CHANGE_OF_CODE: Final = Refusal(
    FEATURE_NOT_SUPPORTED,
    "consentry: this change of the schema is not available where several workers serve",
    detail=_OTHER_CODE + " Sessions of other workers could not be waited for.",
    hint="Make it on a direct connection, or through a consentry of one worker.",
)
FUNCTION_CALL: Final = Refusal(INSUFFICIENT_PRIVILEGE, "consentry: the function call message is refused")
DECISION_CHANGED: Final = Refusal(
    INSUFFICIENT_PRIVILEGE,
    "consentry: the decision on this statement changed since it was bound",
    hint="Bind it again.",
)
FETCHED_WITH_EFFECTS: Final = Refusal(
    INSUFFICIENT_PRIVILEGE,
    "consentry: FETCH cannot run a bound statement that changes the session, reads another cursor or is checked",
    hint="Run it by an Execute message, as drivers do.",
)
PREPARED_BY_SQL: Final = Refusal(
    INSUFFICIENT_PRIVILEGE,
    "consentry: a statement prepared by PREPARE may be bound only while the policy has nothing to say of it",
    hint="Prepare it by a Parse message, as drivers do.",
)
FAILED_TRANSACTION: Final = Refusal(
    "25P02", "current transaction is aborted, commands ignored until end of transaction block"
)


def unexplained(relations: tuple[str, ...]) -> Refusal:
    """The upstream's plan reads what nobody decided on."""
    return Refusal(
        FEATURE_NOT_SUPPORTED,
        "consentry: the server would read the statement otherwise than it was decided",
        detail=f"It would also read {', '.join(relations)}.",
        hint="This is a defect of consentry: please report the statement. Written more plainly it may pass.",
    )


def too_long(limit: int) -> Refusal:
    return Refusal(PROGRAM_LIMIT_EXCEEDED, f"consentry: the statement is longer than {limit} bytes")


def no_statement(name: bytes) -> Refusal:
    """PostgreSQL's own words (exec_bind_message)."""
    if not name:
        return Refusal(UNDEFINED_STATEMENT, "unnamed prepared statement does not exist")
    return Refusal(UNDEFINED_STATEMENT, f'prepared statement "{name.decode("utf-8", "replace")}" does not exist')


def no_portal(name: bytes) -> Refusal:
    """PostgreSQL's own words (exec_execute_message)."""
    return Refusal(UNDEFINED_PORTAL, f'portal "{name.decode("utf-8", "replace")}" does not exist')


def ran_before(name: bytes) -> Refusal:
    """PostgreSQL's own words (MarkPortalActive)."""
    return Refusal("55000", f'portal "{name.decode("utf-8", "replace")}" cannot be run')


def not_utf8(text: bytes) -> Refusal | None:
    """PostgreSQL's own error for text in another encoding (mbutils.c, report_invalid_encoding), None if it is UTF-8."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as invalid:
        lead = text[invalid.start]
        expected = 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4 if lead < 0xF8 else 1
        quoted = " ".join(f"0x{byte:02x}" for byte in text[invalid.start : invalid.start + expected])
        return Refusal("22021", f'invalid byte sequence for encoding "UTF8": {quoted}')
    return None
