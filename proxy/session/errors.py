"""ErrorResponse and NoticeResponse as the client may see them (manual, 55.8)."""

from __future__ import annotations

from proxy.errors import Refusal
from proxy.verdict import Verdict
from proxy.wire import backend
from proxy.wire.backend import Fields

_QUOTING = ("D", "W", "q", "p")
"""DETAIL, CONTEXT, internal query and its position: they speak of a text that the client never sent."""


def scrubbed(fields: Fields, verdict: Verdict) -> Fields:
    """What the upstream says of a rewritten statement: positions are the client's, nothing quotes base rows."""
    kept = {code: value for code, value in fields.items() if code not in _QUOTING}
    position = kept.get("P", "")
    if position.isdigit():
        kept["P"] = str(verdict.client_position(int(position)))
    return kept


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
