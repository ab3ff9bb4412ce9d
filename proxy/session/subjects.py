"""Whom a bound statement names: the values of its parameters, as the audit knows keys of subjects."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from proxy.errors import ProtocolViolation
from proxy.session.statements import Statement
from proxy.verdict import Verdict
from proxy.wire import frontend

_INTEGERS: Final = frozenset({20, 21, 23})  # int8, int2, int4
_TEXTS: Final = frozenset({18, 19, 25, 1042, 1043})  # char, name, text, bpchar, varchar
_UUID: Final = 2950


def bound(whole: bytes, names: frontend.Bind, statement: Statement, verdict: Verdict) -> tuple[tuple[str, str], ...]:
    """(kind, key as text) of each subject that the parameters of a whole Bind message name, as far as the types of
    these are known."""
    if len(verdict.statements) != 1 or not verdict.statements[0].bound_subjects:
        return ()
    try:
        parameters = frontend.read_parameters(whole, names)
    except ProtocolViolation:  # it is the upstream that refuses it
        return ()
    declared = () if statement.types is None else frontend.read_types(statement.types)
    found = []
    for kind, number in verdict.statements[0].bound_subjects:
        if number <= len(parameters):
            oid = _at(declared, number) or _at(statement.described, number)
            key = _as_text(*parameters[number - 1], oid)
            if key is not None:
                found.append((kind, key))
    return tuple(dict.fromkeys(found))


def _at(types: tuple[int, ...], number: int) -> int:
    return types[number - 1] if number <= len(types) else 0


def _as_text(form: int, value: bytes | None, oid: int) -> str | None:
    """A value as PostgreSQL would write it; None for NULL, and for a type that is not read here."""
    if value is None:
        return None
    if form == 0 or oid in _TEXTS:
        text = value.decode("utf-8", "replace")
        return str(int(text)) if oid in _INTEGERS and text.isdecimal() and len(text) < 20 else text
    if oid in _INTEGERS:
        return str(int.from_bytes(value, "big", signed=True))
    return str(UUID(bytes=value)) if oid == _UUID and len(value) == 16 else None
