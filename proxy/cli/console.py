"""The console: one plain page for people, made anew for each look. Who, what and how much, never a value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from proxy.cli.report import Report

MAX_SESSIONS: Final = 500
"""Sessions listed, the oldest first; the metrics count all."""

_STYLE: Final = (
    "body{font:14px sans-serif;margin:2em;color:#222}table{border-collapse:collapse;margin:0 0 2em}"
    "th,td{border:1px solid #ccc;padding:.2em .6em;text-align:left}th{background:#eee}.bad{background:#fdd}"
)


def page(reports: Sequence[Report], workers: int, unready: str | None) -> str:
    """The page. ``unready`` says why no new client should come; ``workers`` how many there should be."""
    sessions = [(report.worker, session) for report in reports for session in report.sessions]
    sessions.sort(key=lambda found: -found[1].since)
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>consentry</title><style>{_STYLE}</style>",
        "<h1>consentry</h1>",
        f"<p{' class=bad' if unready else ''}>{escape(unready or 'ready')}; {len(reports)} of {workers} workers, ",
        f"{len(sessions)} clients, {_time(max((report.read_at for report in reports), default=0))}</p>",
        "<h2>Workers</h2>",
        _table(
            ("worker", "since", "accepts", "clients", "memory", "pass", "allow", "mask", "reject", "alarms", "faults"),
            (_worker(report) for report in reports),
        ),
        "<h2>Audit</h2>",
        _table(
            ("worker", "state", "events", "not written"),
            (
                (
                    report.worker,
                    "failing" if report.tally.failing else "written",
                    sum(report.tally.events.values()),
                    report.tally.failures,
                )
                for report in reports
            ),
        ),
        "<h2>Policies in force</h2>",
        _table(
            ("worker", "database", "policy", "digest", "mode", "since"),
            (
                (report.worker, seen.database, seen.name, seen.digest, report.mode, _time(report.since))
                for report in reports
                for seen in report.policies
            ),
        ),
        "<h2>Catalogs</h2>",
        _table(
            ("worker", "database", "confirmed"),
            (
                (report.worker, database, f"{age:.1f} s ago")
                for report in reports
                for database, age in sorted(report.catalogs.items())
            ),
        ),
        "<h2>Clients</h2>",
        _table(
            ("worker", "session", "client", "role", "database", "application", "state", "connected", "quiet"),
            (
                (
                    worker,
                    seen.session,
                    seen.client,
                    seen.role,
                    seen.database,
                    seen.application,
                    seen.state,
                    f"{seen.since:.0f} s",
                    f"{seen.quiet:.0f} s",
                )
                for worker, seen in sessions[:MAX_SESSIONS]
            ),
        ),
    ]
    return "".join(parts)


def _worker(report: Report) -> tuple[object, ...]:
    verdicts = report.tally.verdicts
    return (
        report.worker,
        _time(report.started),
        "yes" if report.accepting else "no",
        len(report.sessions),
        f"{report.resident_bytes >> 20} MB",
        *(verdicts[kind] for kind in ("pass", "allow", "mask", "reject")),
        sum(report.tally.alarms.values()),
        report.served.faults,
    )


def _table(names: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{escape(name)}" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in row) for row in rows)
    return f"<table><tr>{head}{body}</table>"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
