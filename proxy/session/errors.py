"""ErrorResponse and NoticeResponse as the client may see them (manual, 55.8)."""

from __future__ import annotations

from proxy.errors import Refusal
from proxy.verdict import Verdict
from proxy.wire import backend
from proxy.wire.backend import Fields

_QUOTING = ("D", "W", "q", "p")
"""DETAIL, CONTEXT, internal query and its position: they speak of a text that the client never sent."""

_OF_ANY = ("S", "V", "C", "M")


def as_shown(fields: Fields, verdict: Verdict, before: int = 0) -> Fields:
    """What the upstream says of a text that is not quite the client's: positions are the client's, and nothing quotes
    base rows where the text runs over secured relations. ``before``: characters of the text that were not sent with
    the part of it that this is about."""
    kept = unquoted(fields) if verdict.secured else dict(fields)
    if verdict.secret:
        kept = {code: value.replace(verdict.secret, "") for code, value in kept.items()}
    position = kept.get("P", "")
    if position.isdigit():
        kept["P"] = str(verdict.client_position(int(position) + before))
    return kept


def unquoted(fields: Fields) -> Fields:
    """What the upstream says without what may quote base rows."""
    return {code: value for code, value in fields.items() if code not in _QUOTING}


def as_told(fields: Fields, before: int) -> Fields:
    """What the upstream says of the client's text that came behind so many characters of ours."""
    position = fields.get("P", "")
    return {**fields, "P": str(int(position) - before)} if position.isdigit() else fields


def of_hidden(fields: Fields) -> Fields:
    """What the upstream says of a statement that the client knows nothing of: nothing of its text, nor of its data."""
    return {code: value for code, value in fields.items() if code in _OF_ANY}


def of_refusal(refusal: Refusal, upstream: Fields) -> bytes:
    """The refusal in the place of the error that the upstream gave to the message sent instead."""
    return backend.error_response(
        {
            "S": upstream.get("S", "ERROR"),
            "V": upstream.get("V", "ERROR"),
            "C": refusal.sqlstate,
            "M": refusal.message,
            "D": refusal.detail,
            "H": refusal.hint,
            "P": str(refusal.position) if refusal.position else "",
        }
    )


MASKED_NOTICE = backend.notice_response(
    {
        "S": "NOTICE",
        "V": "NOTICE",
        "C": "00000",
        "M": "consentry: this result holds masked cells",
        "H": "The audit names the columns and why.",
    }
)
