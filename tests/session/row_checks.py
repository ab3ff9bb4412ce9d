"""How the small engine of the tests checks rows: those of the table ``checked (n int)``.

A row may be written if ``n`` is positive. Inside a block a negative ``n`` may be written as well, if at COMMIT there is
a row of ``-n`` beside it. 0 may not be written at all. The forms are those of the real engine: a CASE behind RETURNING
that is NULL, or fails by a cast; what is left to COMMIT stands in a setting that is rolled back as the rows are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from proxy.copying import CopyCheck, CopyFormat, CopyGroup
from proxy.errors import Refusal
from proxy.verdict import Begin, Commit, DeferredCheck, Prepare, Rollback, StatementVerdict, Verdict

SECRET = "_s3cret"
REFUSAL = Refusal("42501", "consentry: row refused", "Columns: checked.n.", "Write a positive one.")
AT_COMMIT = Refusal("42501", "consentry: row refused at commit", "Columns: checked.n.", "Write its positive.")

_LEFT = f"pg_catalog.current_setting('consentry.d{SECRET}', true)"
DEFERRED = DeferredCheck(
    "d",
    "SELECT pg_catalog.count(CASE WHEN EXISTS (SELECT FROM checked c WHERE c.n = -k::int) THEN NULL"
    f" ELSE CAST(pg_catalog.concat('{SECRET}:d:', k) AS pg_catalog.int4) END)"
    f" FROM pg_catalog.regexp_split_to_table({_LEFT}, ',') k WHERE k <> ''",
    AT_COMMIT,
)
_WRITES = re.compile(r"(?:PREPARE .* AS )?(?:INSERT INTO|UPDATE|DELETE FROM) checked\b", re.IGNORECASE | re.DOTALL)
_COPIES = re.compile(r"COPY checked(?: \((n)\))? FROM STDIN(?: \((.*)\))?", re.IGNORECASE)
_LEAVES = (
    f" WHEN n < 0 THEN CASE WHEN pg_catalog.set_config('consentry.d{SECRET}',"
    f" pg_catalog.concat({_LEFT}, n::text, ','), true) IS NULL THEN 0 END"
)


def with_checks(verdict: Verdict, parts: list[str], prepared: Mapping[str, str]) -> Verdict:
    """The verdict on a text whose statements are ``parts``, with the checks of what they write."""
    runs = [_run(part, prepared) for part in parts]
    commits = any(isinstance(effect, Commit) for one in verdict.statements[1:] for effect in one.effects)
    if not commits and not any(_WRITES.match(run) or _COPIES.match(run) for run in runs):
        return verdict
    return replace(_checked(verdict, parts, runs), within_block=_checked(verdict, parts, runs, in_block=True))


def _run(part: str, prepared: Mapping[str, str]) -> str:
    execute = re.match(r"EXECUTE (\w+)", part, re.IGNORECASE)
    return prepared.get(execute[1].lower(), "") if execute else part


def _checked(verdict: Verdict, parts: list[str], runs: list[str], *, in_block: bool = False) -> Verdict:
    text, statements = verdict.text.decode(), []
    edits: list[tuple[int, int, int]] = []
    commits: list[tuple[int, int]] = []
    offset = 0
    for index, (part, run, decided) in enumerate(zip(parts, runs, verdict.statements, strict=True)):
        offset = text.index(part, offset)
        for effect in decided.effects:
            if isinstance(effect, Commit) and index:
                commits.append((index, offset))
            in_block = isinstance(effect, Begin) or (in_block and not isinstance(effect, Commit | Rollback))
        offset += len(part)
        statement = decided
        if _WRITES.match(run):
            statement, check = _statement(decided, run, in_block=in_block)
            if run is part:
                text = text[:offset] + check + text[offset:]
                edits.append((offset, len(check), 0))
                offset += len(check)
        statements.append(_copying(statement, run, in_block=in_block))
    return replace(
        verdict,
        text=text.encode() if edits else verdict.text,
        statements=tuple(statements),
        edits=tuple(edits),
        secured=verdict.secured or bool(edits),
        secret=SECRET,
        checks=(REFUSAL,),
        commits=tuple(commits),
    )


def _statement(statement: StatementVerdict, run: str, *, in_block: bool) -> tuple[StatementVerdict, str]:
    checked: Literal["rows", "column"] = "column" if "RETURNING" in run else "rows"
    check = ", " if checked == "column" else " RETURNING "
    check += f"CASE WHEN n > 0 THEN NULL{_LEAVES if in_block else ''}"
    check += f" ELSE CAST(pg_catalog.concat('{SECRET}:0:', n::text) AS pg_catalog.int4) END AS h{SECRET}"
    deferred = (DEFERRED,) if in_block else ()
    effects = tuple(
        replace(effect, sent=effect.text + check) if isinstance(effect, Prepare) else effect
        for effect in statement.effects
    )
    if effects:
        return replace(statement, effects=effects), check
    return replace(statement, checked=checked, deferred=deferred), check


def _copying(statement: StatementVerdict, run: str, *, in_block: bool) -> StatementVerdict:
    copy = _COPIES.match(run)
    if copy is None:
        return statement
    options = copy[2] or ""
    columns = 1 if copy[1] else 2
    form = CopyFormat("text", columns, header="header" in options)
    if "csv" in options:
        form = CopyFormat("csv", columns, b",", b"", header="header" in options)
    elif "binary" in options:
        form = CopyFormat("binary", columns)
    sql = (
        f"SELECT pg_catalog.count(CASE WHEN n > 0 THEN NULL{_LEAVES if in_block else ''}"
        f" ELSE CAST(pg_catalog.concat('{SECRET}:0:', n::text) AS pg_catalog.int4) END)"
        " FROM (SELECT DISTINCT k::int AS n FROM pg_catalog.unnest($1) AS k) AS keys"
    )
    check = CopyCheck(form, (CopyGroup((0,), 0, sql, (0,), (23,)),))
    return replace(statement, copying=check, deferred=(DEFERRED,) if in_block else ())
