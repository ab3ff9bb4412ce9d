"""What is wrong with a policy file, where, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """A policy with an error is not used; a warning is advice."""

    ERROR = "error"
    WARNING = "warning"


CODES: dict[str, str] = {
    "file": "a file cannot be read, or is larger than 1 MiB",
    "syntax": "the text is not YAML in UTF-8",
    "yaml": "YAML that a policy does not use: tags, merge keys, several documents, keys that are not text",
    "limit": "nesting or aliases beyond what a policy can need",
    "duplicate-key": "a key stands twice in one mapping",
    "unknown-key": "a key that the format does not have",
    "missing-key": "a key that the format demands is not there",
    "wrong-type": "a value of another type than the key takes",
    "bad-value": "a value that the key does not admit",
    "conflict": "keys that cannot stand together, or a pair of which one is missing",
    "duplicate-name": "one name is given to two things",
    "redefined": "a file defines again what a file that it extends has defined",
    "extends": "a pack or file to extend does not exist, or extends itself",
    "unknown-category": "a category that neither the file nor what it extends defines",
    "unknown-purpose": "a purpose that the policy does not define",
    "unknown-role": "a role that the policy does not name; in a selector a warning, since it may still log in",
    "unknown-mask": "a mask that is neither built in nor named under masks",
    "unknown-subject": "a kind of subject that the policy does not define",
    "unknown-table": "a via table that has no subject under tables, so conditions about a subject fail (a warning)",
    "unknown-state": "an account state that no subject kind defines",
    "not-granted": "a default purpose that its role does not have",
    "basis": "a legal basis that a pack does not admit",
    "pack-requires": "something that a pack demands is missing: contact, account, consent, description, notice fields",
    "loosens": "a file would loosen what a file that it extends has set",
    "two-masks": "one role could see two partial masks of one column, which together show more than either",
    "unenforced": "a key whose enforcement does not exist yet; enforce mode refuses to serve such a policy",
}
"""Every code that a diagnostic of a file can have (verify.py adds those of a database). Codes are stable: tools may
match on them.
"""


class Position(NamedTuple):
    """A place in a file; both count from 1, columns in characters."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One finding. ``str()`` gives ``path:line:column: error|warning: code: message``."""

    path: str
    line: int
    column: int
    severity: Severity
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.severity}: {self.code}: {self.message}"

    def as_dict(self) -> dict[str, str | int]:
        """The same as JSON takes it."""
        return {
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "severity": str(self.severity),
            "code": self.code,
            "message": self.message,
        }


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """``; did you mean 'basis'?`` where one of ``candidates`` is close to ``word``, else nothing."""
    close = difflib.get_close_matches(word, sorted(candidates), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
