"""A parameter whose value has a say in the verdict: what runs is the text with a literal in its place."""

from __future__ import annotations

from typing import Final

from proxy.errors import ProtocolViolation
from proxy.verdict import Verdict
from proxy.wire import frontend

_TEXTS: Final = frozenset({0, 25, 1043})
"""To be inferred, text, varchar: in both formats the value is its own bytes."""

LONGEST: Final = 4096
"""Bytes of such a value. Names of schemas and roles are meant."""


def in_place(
    whole: bytes | None, names: frontend.Bind, text: bytes, types: bytes | None, verdict: Verdict
) -> bytes | None:
    """The client's ``text`` with the value of a whole Bind for its ``$1``; None where that cannot be, or need not.

    ``types`` are those that the Parse declared; None where there was none.
    """
    start, end = verdict.by_value
    if whole is None or not end or types is None:
        return None
    declared = frontend.read_types(types)
    try:
        parameters = frontend.read_parameters(whole, names)
    except ProtocolViolation:  # it is the upstream that refuses it
        return None
    if len(parameters) != 1 or (declared and (len(declared) != 1 or declared[0] not in _TEXTS)):
        return None
    value = parameters[0][1]
    if value is None or len(value) > LONGEST or b"\0" in value:
        return None
    # standard_conforming_strings is on: nothing but the quote has a meaning in it.
    return text[:start] + b"'" + value.replace(b"'", b"''") + b"'" + text[end:]
