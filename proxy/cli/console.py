"""The console: one plain page for people, made anew for each look. Who, what and how much, never a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
    clients = sum(len(report.sessions) for report in reports)
    looked = _time(max((report.read_at for report in reports), default=0))
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>consentry</title><style>{_STYLE}</style>",
        f"<h1>consentry</h1><p{' class=bad' if unready else ''}>{escape(unready or 'ready')}; ",
        f"{len(reports)} of {workers} workers, {clients} clients, {looked}</p>",
        *(f"<h2>{escape(title)}</h2>{_table(names, rows(reports))}" for title, names, rows in _TABLES),
    ]
    return "".join(parts)


Rows = Iterator[tuple[object, ...]]


def _workers(reports: Sequence[Report]) -> Rows:
    for report in reports:
        verdicts = report.tally.verdicts
        yield (
            report.worker,
            _time(report.started),
            "yes" if report.accepting else "no",
            len(report.sessions),
            f"{report.resident_bytes >> 20} MB",
            *(verdicts[kind] for kind in ("pass", "allow", "mask", "reject")),
            sum(report.tally.alarms.values()),
            report.served.faults,
        )


def _audit(reports: Sequence[Report]) -> Rows:
    for report in reports:
        tally = report.tally
        yield report.worker, "failing" if tally.failing else "written", sum(tally.events.values()), tally.failures


def _policies(reports: Sequence[Report]) -> Rows:
    for report in reports:
        for seen in report.policies:
            yield report.worker, seen.database, seen.name, seen.digest, report.mode, _time(report.since)


def _catalogs(reports: Sequence[Report]) -> Rows:
    for report in reports:
        for database, age in sorted(report.catalogs.items()):
            yield report.worker, database, f"{age:.1f} s ago"


def _clients(reports: Sequence[Report]) -> Rows:
    found = [(report.worker, seen) for report in reports for seen in report.sessions]
    found.sort(key=lambda one: -one[1].since)
    for worker, seen in found[:MAX_SESSIONS]:
        names = seen.session, seen.client, seen.role, seen.database, seen.application
        yield worker, *names, seen.state, f"{seen.since:.0f} s", f"{seen.quiet:.0f} s"


_TABLES: Final[tuple[tuple[str, tuple[str, ...], Callable[[Sequence[Report]], Rows]], ...]] = (
    (
        "Workers",
        ("worker", "since", "accepts", "clients", "memory", "pass", "allow", "mask", "reject", "alarms", "faults"),
        _workers,
    ),
    ("Audit", ("worker", "state", "events", "not written"), _audit),
    ("Policies in force", ("worker", "database", "policy", "digest", "mode", "since"), _policies),
    ("Catalogs", ("worker", "database", "confirmed"), _catalogs),
    (
        "Clients",
        ("worker", "session", "client", "role", "database", "application", "state", "connected", "quiet"),
        _clients,
    ),
)


def _table(names: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = "".join(f"<th>{escape(name)}" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in row) for row in rows)
    return f"<table><tr>{head}{body}</table>"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
