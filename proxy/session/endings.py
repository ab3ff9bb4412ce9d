"""Checks of what a statement wrote outside of a transaction block, made when it is done (:attr:`Verdict.ending`).

They run in its own transaction, before that commits: behind a simple query's own statements in the same message, and
behind an Execute before the client's Sync. The client hears that the statement completed only when they have passed.
"""

from __future__ import annotations

from proxy.session import hidden
from proxy.session.replies import Reply
from proxy.session.transaction import Left
from proxy.verdict import Verdict
from proxy.wire import frontend


def ended(verdict: Verdict) -> bytes:
    """The text of a simple query with its checks."""
    return b"\n;".join((verdict.text, *(check.sql.encode() for check in verdict.ending)))


def sent_behind(reply: Reply, name: bytes) -> list[hidden.Sent]:
    """The messages that make the checks behind an Execute, of which ``reply`` is the reply."""
    sent: list[hidden.Sent] = []
    if reply.verdict is not None:
        for number, check in enumerate(reply.ending):
            left = Left(check, reply.verdict.secret, reply.verdict.statements[0], at_commit=False)
            sent += hidden.executed(name + b"%d" % number, check.sql.encode(), left)
        for _, made in sent:
            made.run = reply.run
        sent[-1][1].releases = reply
    return sent


def under_way(reply: Reply) -> bool:
    """What the upstream answers now is about a check behind a simple query's own statements."""
    if not reply.ending or reply.kind != frontend.QUERY:
        return False
    return reply.verdict is None or reply.completed >= len(reply.verdict.statements)


def left_by(reply: Reply) -> Left | None:
    """The check that is being made, if it is one."""
    verdict = reply.verdict
    if verdict is None or not under_way(reply):
        return reply.left
    number = reply.completed - len(verdict.statements)
    if number >= len(reply.ending):
        return None
    check = reply.ending[number]
    statement = next(one for one in verdict.statements if check in one.ending)
    return Left(check, verdict.secret, statement, at_commit=False)
