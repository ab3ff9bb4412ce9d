"""What became of one statement: the same directly and through the proxy, refused, or different."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from tests.fidelity.peer import Column, Observation, Result


class Outcome(StrEnum):
    IDENTICAL = "identical"
    BY_NATURE = "by nature"
    """Two servers without a proxy answer differently, too: times, process ids, random values, costs."""
    WORDED = "worded"
    """The same error at the same place, with other details: consentry said it instead of the upstream."""
    REFUSED = "refused"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Compared:
    script: str
    line: int
    text: str
    kind: str
    outcome: Outcome
    reason: str = ""
    direct: Observation | None = None
    proxied: Observation | None = None


_NATURAL = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"pg_(toast_)?temp_\d+", r"pg_\1temp_N"),
        (r"pg_toast_\d+", "pg_toast_N"),
        (r"cost=\d+\.\d+\.\.\d+\.\d+", "cost=N"),
        (r"actual time=\d+\.\d+\.\.\d+\.\d+", "time=N"),
        (r"(Memory|Buffers|Storage|Time|Disk): .*", r"\1: N"),
        (r'("(?:Cost|[A-Za-z ]*Time|[A-Za-z ]*Blocks|[A-Za-z ]*Memory[A-Za-z ]*)": )[\d.]+', r"\1N"),
        (r"\b(oid|OID) \d{5,}", "OID N"),
        (r"build-(direct|control|proxied)", "build"),
        (r"\bPID \d+|process \d+|transaction \d+", "process N"),
    )
)


def same(one: Observation, other: Observation) -> bool:
    """Nothing that a client can see tells the two apart."""
    return one == other or _blurred(one) == _blurred(other)


_COUNTING = re.compile(r"\bpg_stat_(io|database)\b")
"""Views that count what all connections do: consentry's own, that reads the catalog, among them."""
_NUMBERS = re.compile(rb"\d+")


def only_counts_differ(text: str, one: Observation, other: Observation) -> bool:
    """The statement reads counters of the whole server, and the two differ in nothing but numbers."""
    if not _COUNTING.search(text) or len(one.results) != len(other.results):
        return False
    return all(
        (mine.status, mine.tag, mine.columns) == (theirs.status, theirs.tag, theirs.columns)
        and [[_NUMBERS.sub(b"N", cell or b"") for cell in row] for row in mine.rows]
        == [[_NUMBERS.sub(b"N", cell or b"") for cell in row] for row in theirs.rows]
        for mine, theirs in zip(one.results, other.results, strict=True)
    )


def same_error(one: Observation, other: Observation) -> bool:
    """Both fail with the same SQLSTATE, message and position, and are in the same state afterwards."""
    told = [
        None if seen.error is None else [seen.error.get(field) for field in _TOLD] + [seen.transaction]
        for seen in (one, other)
    ]
    return told[0] is not None and told[0] == told[1]


_TOLD = ("SQLSTATE", "MESSAGE_PRIMARY", "STATEMENT_POSITION")


def _blurred(observation: Observation) -> str:
    text = repr(
        [
            ([_named(column) for column in result.columns], _rows(result), result.status, result.tag, result.error)
            for result in observation.results
        ]
        + [observation.notices, observation.notifications, observation.transaction]
    )
    for pattern, replacement in _NATURAL:
        text = pattern.sub(replacement, text)
    return text


_USER_OID = 16384
"""OIDs from here on are given as objects are made, and to some that failed to be made."""
_IDENTIFYING = frozenset({26, 28, 29, 1028, 3220, 5069})
"""oid, xid, cid, oid[], pg_lsn, xid8."""


def _named(column: Column) -> Column:
    return column._replace(type_oid=min(column.type_oid, _USER_OID))


def _rows(result: Result) -> list[tuple[bytes | None, ...]]:
    """Without the numbers of objects and transactions that users made."""
    hidden = [column.type_oid in _IDENTIFYING for column in result.columns]
    if not any(hidden):
        return result.rows
    return [
        tuple(b"N" if hide and value else value for hide, value in zip(hidden, row, strict=True)) for row in result.rows
    ]


def reason(refusal: str) -> str:
    """A refusal without the names in it, so that refusals of one kind are counted as one."""
    text = re.sub(r'"[^"]*"', '"…"', refusal)
    text = re.sub(r"\b(function|operator|type) [^,]*?( is not trusted)", r"\1 …\2", text)
    text = re.sub(r"\b[\w$-]+\.[\w$-]+\b", "…", text)
    return text.splitlines()[0] if text else refusal


_KINDS = {
    "QUERY": frozenset("SELECT VALUES TABLE WITH INSERT UPDATE DELETE MERGE COPY EXPLAIN PREPARE EXECUTE".split()),
    "SESSION": frozenset(
        "BEGIN START COMMIT END ROLLBACK ABORT SAVEPOINT RELEASE SET RESET SHOW DISCARD LISTEN NOTIFY UNLISTEN DECLARE"
        " FETCH MOVE CLOSE DEALLOCATE LOCK TRUNCATE ANALYZE ANALYSE VACUUM CHECKPOINT".split()
    ),
    "CODE": frozenset({"DO", "CALL", "LOAD"}),
}
_LEADING = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*([A-Za-z]+)?", re.DOTALL)


def kind(text: str) -> str:
    """The statement's first word, where statements of its kind are common; ``utility``, ``DDL`` and so on else."""
    found = _LEADING.match(text)
    word = (found[1] or "" if found else "").upper()
    if word in _KINDS["QUERY"]:
        return word
    if word in _KINDS["SESSION"]:
        return "utility"
    return "DO, CALL" if word in _KINDS["CODE"] else "DDL"


@dataclass(slots=True)
class Tally:
    """Counts over many statements, and every statement that was not identical."""

    counts: dict[str, Counter[Outcome]] = field(default_factory=dict)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    noted: list[Compared] = field(default_factory=list)

    def add(self, compared: Compared) -> None:
        self.counts.setdefault(compared.kind, Counter())[compared.outcome] += 1
        if compared.outcome is Outcome.REFUSED:
            self.reasons[(compared.reason, compared.kind)] += 1
        if compared.outcome is not Outcome.IDENTICAL:
            self.noted.append(compared)
