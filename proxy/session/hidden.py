"""Statements that the session runs on its own in the client's connection, in messages whose answers no client sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.errors import Refusal
from proxy.session.dialogue import Dialogue
from proxy.session.events import Run
from proxy.session.reasons import UNDEFINED_STATEMENT
from proxy.session.replies import Reply
from proxy.session.transaction import Left
from proxy.verdict import Verdict
from proxy.wire import frontend

Sent = tuple[bytes, Reply]


def prepared(name: bytes, text: bytes, types: bytes = b"\0\0") -> list[Sent]:
    """Messages that prepare ``text`` under ``name``, whatever that stood for before."""
    return [
        (frontend.close(frontend.STATEMENT, name), Reply(frontend.CLOSE, hidden=True)),
        (frontend.parse(name, text, types), Reply(frontend.PARSE, hidden=True)),
    ]


def run(name: bytes, left: Left | None = None, parameters: Sequence[bytes] = ()) -> list[Sent]:
    """Messages that run what is prepared under ``name``, with ``parameters`` in binary format. ``left``: the check that
    it makes."""
    rest = b"\0\1\0\1" + len(parameters).to_bytes(2, "big")
    rest += b"".join(len(value).to_bytes(4, "big") + value for value in parameters) + b"\0\0"
    return [
        (frontend.bind(name, name, rest), Reply(frontend.BIND, hidden=True, left=left)),
        (frontend.execute(name), Reply(frontend.EXECUTE, hidden=True, left=left)),
        (frontend.close(frontend.PORTAL, name), Reply(frontend.CLOSE, hidden=True)),
    ]


def released(name: bytes) -> list[Sent]:
    """Messages that let go of what is prepared under ``name``."""
    return [(frontend.close(frontend.STATEMENT, name), Reply(frontend.CLOSE, hidden=True))]


FIRST_COMMAND: Final = b"SELECT 1;"
"""A Parse of two commands fails when both were read, and before one is analysed (exec_parse_message)."""


def told(dialogue: Dialogue, verdict: Verdict, refusal: Refusal, run: Run | None, types: bytes) -> list[Sent]:
    """Messages that run nothing and fail: by the upstream's own error in the refused text, or else as ``refusal``."""
    text, missing = verdict.text, Reply(frontend.BIND, run=run, refused=refusal, expected=UNDEFINED_STATEMENT)
    if verdict.told_by == "grammar":
        reply = Reply(frontend.PARSE, run=run, refused=refusal, told=len(FIRST_COMMAND))
        return [(frontend.parse(dialogue.missing, FIRST_COMMAND + text, types), reply)]
    name = dialogue.private + b"told"
    return [
        (frontend.close(frontend.STATEMENT, name), Reply(frontend.CLOSE, hidden=True)),
        (frontend.parse(name, text, types), Reply(frontend.PARSE, hidden=True, told=0)),
        (frontend.bind(b"", dialogue.missing), missing),
    ]


def executed(name: bytes, text: bytes, left: Left | None = None) -> list[Sent]:
    """Messages that prepare ``text``, run it and let go of it. ``left``: the check that it makes."""
    return [*prepared(name, text), *run(name, left), *released(name)]
