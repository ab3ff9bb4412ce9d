"""Checks of written rows that a statement carries in its RETURNING: what of its answers is theirs, and what their
failure means (:attr:`proxy.verdict.StatementVerdict.checked`).

A check fails by a cast that PostgreSQL's own error quotes, so that no function has to be installed upstream. Nothing of
that error may reach the client: it holds the key of a subject.
"""

from __future__ import annotations

from typing import Final

from proxy.errors import INSUFFICIENT_PRIVILEGE, PROGRAM_LIMIT_EXCEEDED, Refusal
from proxy.session import endings
from proxy.session.replies import Reply
from proxy.session.transaction import Left
from proxy.verdict import TOO_MANY_LEFT, Commit, StatementVerdict, Verdict
from proxy.wire import backend, frontend
from proxy.wire.backend import Fields
from proxy.wire.upstream import Rows

_UNNAMED: Final = Refusal(INSUFFICIENT_PRIVILEGE, "consentry: a row of personal information may not be written so")
"""A check failed, and which is not to be made out: no allowance either way."""

_TOO_MANY_LEFT: Final = Refusal(
    PROGRAM_LIMIT_EXCEEDED,
    "consentry: too many people are registered in one transaction",
    detail="Their consent is asked for at COMMIT, and no more of them can be remembered until then.",
    hint="COMMIT more often.",
)

NO_DATA_MESSAGE: Final = backend.message(backend.NO_DATA, b"")


def running(reply: Reply) -> StatementVerdict | None:
    """The statement that the next answers to ``reply`` are of."""
    verdict = reply.verdict
    if verdict is None or reply.completed >= len(verdict.statements):
        return None
    return verdict.statements[reply.completed]


def constraints_due(reply: Reply) -> bool:
    """What fails now may be a constraint that earlier statements of the transaction deferred to this one."""
    statement = running(reply)
    if statement is None:
        return True
    return statement.tag == "SET CONSTRAINTS" or any(isinstance(effect, Commit) for effect in statement.effects)


def rows(reply: Reply | None) -> Rows:
    """What the client gets of the rows that come now."""
    if reply is None:
        return Rows.PASS
    if reply.hidden or endings.under_way(reply):
        return Rows.DROP
    if reply.verdict is None or reply.verdict.plain:
        return Rows.PASS
    statement = running(reply)
    if statement is None or not statement.checked:
        return Rows.PASS
    return Rows.DROP if statement.checked == "rows" else Rows.CUT


def described(whole: bytes, reply: Reply) -> bytes | None:
    """A RowDescription as the client sees it; None: as it is."""
    if reply.verdict is None or reply.verdict.plain:
        return None
    statement = running(reply)
    if statement is None or not statement.checked:
        return None
    if statement.checked == "column":
        return backend.without_last_column(whole)
    return NO_DATA_MESSAGE if reply.kind == frontend.DESCRIBE else b""


def bound(whole: bytes, verdict: Verdict | None) -> bytes:
    """A Bind whose result formats fit the columns that the upstream knows of."""
    checked = verdict.statements[0].checked if verdict is not None and verdict.statements else ""
    return frontend.with_result_formats(whole, more=int(checked == "column")) if checked else whole


def drops_rows(verdict: Verdict) -> bool:
    """The client asked for no rows: no row limit holds for those that come."""
    return bool(verdict.statements) and verdict.statements[0].checked == "rows"


def cuts_rows(verdict: Verdict) -> bool:
    """Each row has a column more than the client asked for."""
    return bool(verdict.statements) and verdict.statements[0].checked == "column"


def failed(fields: Fields, verdict: Verdict | None) -> Refusal | None:
    """What the upstream's error means, if a check that ``verdict`` put into its text made it."""
    if verdict is None or not verdict.secret:
        return None
    _, token, after = fields.get("M", "").partition(f"{verdict.secret}:")
    if not token:
        return None
    number = after.partition(":")[0]
    if number == TOO_MANY_LEFT:
        return _TOO_MANY_LEFT
    return meaning(verdict, int(number) if number.isascii() and number.isdigit() else -1)


def meaning(verdict: Verdict, number: int) -> Refusal:
    """What it means that check ``number`` failed."""
    return verdict.checks[number] if 0 <= number < len(verdict.checks) else _UNNAMED


def left_failed(fields: Fields, left: Left) -> Refusal | None:
    """What the upstream's error means, if it is that of the check that was left to COMMIT."""
    _, token, after = fields.get("M", "").partition(left.secret)
    if not token:
        return None
    return _TOO_MANY_LEFT if after.startswith(f":{TOO_MANY_LEFT}:") else left.check.refusal
