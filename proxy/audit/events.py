"""The events of the audit as JSON: which fields each has, in the order in which they are written. Pure.

No value of the database enters them: a statement comes with ``?`` for every literal, the people it names as keyed
hashes. Names that clients give themselves (application, actor, identifiers) are logged as they are.

Each function gives the inside of a JSON object (:data:`Fields`), so that what many events share is encoded once.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NewType

from proxy.errors import Refusal
from proxy.policy.in_force import Policies
from proxy.policy.model import Policy
from proxy.verdict import ColumnUse, StatementVerdict

Fields = NewType("Fields", str)
"""Some fields of an event as compact JSON, without the braces: ``"rows":1,"sqlstate":null``."""

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def fields(values: Mapping[str, Any]) -> Fields:
    """``values`` as JSON, in their order. Raises ValueError on NaN and infinities, which JSON lacks."""
    return Fields(encode(values)[1:-1])


@lru_cache(maxsize=4096)
def session(session: str, client: str, role: str, database: str, application: str, actor: str) -> Fields:
    """Who it was: what every event of a session carries. What is not known is null."""
    return fields(
        {
            "session": session,
            "client": client,
            "role": role or None,
            "database": database or None,
            "application": application or None,
            "actor": actor or None,
        }
    )


def statement(statement: StatementVerdict, policy: Policy, refusal: Refusal | None, hash_key: bytes) -> Fields:
    """What was decided. A statement that is refused for its neighbour's sake is a ``reject`` too."""
    return fields(
        {
            "purpose": statement.purpose,
            "statement": statement.normalized,
            "fingerprint": statement.fingerprint,
            "verdict": statement.kind if refusal is None else "reject",
            **({"unverified": True} if statement.unverified else {}),
            "columns": [_column(use) for use in statement.columns],
            "subjects": _subjects(statement.subjects, hash_key),
            "sqlstate": None if refusal is None else refusal.sqlstate,
            "policy": _policy(policy),
        }
    )


def naming(
    statement_fields: Fields, statement: StatementVerdict, subjects: tuple[tuple[str, str], ...], hash_key: bytes
) -> Fields:
    """The fields of a statement with more subjects than its text names. No text can hold what is replaced: in JSON its
    quotes are escaped."""
    before = _subjects_field(statement.subjects, hash_key)
    return Fields(statement_fields.replace(before, _subjects_field(statement.subjects + subjects, hash_key), 1))


def _subjects_field(named: tuple[tuple[str, str], ...], hash_key: bytes) -> Fields:
    """``subjects`` as :func:`statement` writes it. By hand: the people of each execution are others."""
    kinds: dict[str, list[str]] = {}
    for kind, key in dict.fromkeys(named):
        kinds.setdefault(kind, []).append(f'"{subject_hash(kind, key, hash_key)}"')
    of_kinds = [f'{{"kind":{encode(kind)},"keys":[{",".join(keys)}]}}' for kind, keys in kinds.items()]
    return Fields(f'"subjects":[{",".join(of_kinds)}]')


def result(rows: int | None, duration_ms: float, sqlstate: str | None) -> Fields:
    """How a statement ended. ``rows`` is null where its command tag has no count."""
    count = "null" if rows is None else rows
    state = "null" if sqlstate is None else encode(sqlstate)
    return Fields(f'"rows":{count},"duration_ms":{duration_ms:.3f},"sqlstate":{state}')


def _column(use: ColumnUse) -> dict[str, Any]:
    return {
        "column": use.column,
        "category": use.category,
        "sensitivity": use.sensitivity,
        "use": use.use,
        "decision": use.decision,
        "reasons": use.reasons,
        "rule": use.rule,
    }


def _subjects(named: tuple[tuple[str, str], ...], hash_key: bytes) -> list[dict[str, Any]]:
    """The people that a statement names, by kind, each as :func:`subject_hash`."""
    kinds: dict[str, list[str]] = {}
    for kind, key in named:
        kinds.setdefault(kind, []).append(subject_hash(kind, key, hash_key))
    return [{"kind": kind, "keys": keys} for kind, keys in kinds.items()]


def subject_hash(kind: str, key: str, hash_key: bytes) -> str:
    """How a person is written in the audit: HMAC-SHA-256 over kind, a NUL and the key as text; the same for the same
    person as long as the hash key stays.
    """
    return hmac.digest(hash_key, f"{kind}\0{key}".encode(errors="backslashreplace"), "sha256").hex()


def policies(policies: Policies) -> Fields:
    """Which policy decides from now on, by name and digest of its files; those of single databases by their names."""
    own = {database: _policy(policy) for database, policy in policies.databases.items()}
    return fields({"policy": _policy(policies.everywhere)} | ({"policies": own} if own else {}))


def _policy(policy: Policy | None) -> dict[str, str] | None:
    return None if policy is None else {"name": policy.name, "digest": policy.digest}
