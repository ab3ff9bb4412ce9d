"""The figures of a run as a table, and every statement that was not identical as a file."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tests.fidelity.comparison import Compared, Outcome, Tally
from tests.fidelity.peer import Observation

DATA_STATEMENTS = frozenset(
    {"SELECT", "VALUES", "TABLE", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "EXPLAIN", "utility"}
)
"""Kinds of which at least 99% must behave the same."""


def share(tally: Tally, kinds: frozenset[str]) -> float:
    """The part of the statements of ``kinds`` that behaved as without a proxy. 1 where there are none.

    An error that is merely worded otherwise counts as alike; the table shows how many there were.
    """
    counted = sum((counts for kind, counts in tally.counts.items() if kind in kinds), Counter[Outcome]())
    alike = counted.total() - counted[Outcome.REFUSED] - counted[Outcome.DIFFERENT]
    return alike / counted.total() if counted else 1.0


def table(title: str, tally: Tally) -> str:
    """Counts a kind, what was refused and why, what was left out."""
    lines = [title, f"  {'':12}" + "".join(f"{outcome:>12}" for outcome in Outcome) + f"{'total':>12}"]
    total = sum(tally.counts.values(), Counter[Outcome]())
    for kind, counts in [*sorted(tally.counts.items()), ("all", total)]:
        cells = "".join(f"{counts[outcome]:>12}" for outcome in Outcome)
        lines.append(f"  {kind:12}{cells}{counts.total():>12}")
    everything = frozenset(tally.counts)
    lines.append(
        f"  alike: {share(tally, DATA_STATEMENTS):.3%} of data and utility, {share(tally, everything):.3%} of all"
    )
    if tally.reasons:
        lines.append("  refused:")
        lines += [f"  {number:6} {kind:10} {reason}" for (reason, kind), number in tally.reasons.most_common()]
    if tally.skipped:
        skipped = ", ".join(f"{command} {number}" for command, number in tally.skipped.most_common())
        lines.append(f"  left out, psql's own: {skipped}")
    return "\n".join(lines)


def write(tally: Tally, path: Path) -> None:
    """One JSON object a line for each statement that was not identical."""
    with path.open("w", encoding="utf-8") as file:
        for compared in tally.noted:
            file.write(json.dumps(_told(compared), ensure_ascii=False, default=str) + "\n")


def _told(compared: Compared) -> dict[str, Any]:
    return {
        "at": f"{compared.script}.sql:{compared.line}",
        "outcome": compared.outcome,
        "kind": compared.kind,
        "text": compared.text,
        "reason": compared.reason,
        "direct": _shown(compared.direct),
        "proxied": _shown(compared.proxied),
    }


def _shown(observation: Observation | None) -> Any:
    if observation is None:
        return None
    return {
        "transaction": observation.transaction,
        "results": [
            {
                "status": result.status,
                "tag": result.tag,
                "columns": result.columns,
                "rows": result.rows[:50],
                "error": result.error,
            }
            for result in observation.results
        ],
        "notices": observation.notices,
    }
