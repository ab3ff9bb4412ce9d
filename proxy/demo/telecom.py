"""The sample database of a telecom operator: subscribers, their consents, calls and invoices.

Equal seeds and dates give equal rows. Who the first subscribers are, and what they agreed to, is in
:mod:`proxy.demo.cast`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time
from importlib.resources import files
from itertools import islice
from random import Random

import psycopg
from rich.progress import Progress

from proxy.demo import records

SEED = 2013
ROLES = ("billing_app", "analyst", "partner", "support", "self_care_app", "signup_app", "migrator")
CHUNK = 2000

CONSENT_COLUMNS = "subscriber_id, purpose, granted_at, withdrawn_at, expires_at, is_express, notice_version"


def load(
    dsn: str,
    *,
    subscribers: int = 20_000,
    calls: int = 500_000,
    seed: int = SEED,
    today: date | None = None,
    progress: Progress | None = None,
) -> None:
    """Fills an empty database: tables, rows, indexes, roles and their rights. Needs a superuser's `dsn`.

    The history ends with the day before `today`, UTC's by default.
    """
    progress = progress or Progress(disable=True)
    today = today or datetime.now(UTC).date()
    now = datetime.combine(today, time.min, UTC)
    registry = records.subscribers(Random(seed), subscribers, now)  # noqa: S311 - sample data, not secrets
    invoices, invoice_lines = records.invoice_lines(Random(seed + 1), registry, today)  # noqa: S311 - the same
    tables: list[tuple[str, Iterable[str], int]] = [
        ("plans", records.plan_lines(), len(records.PLANS)),
        ("subscribers", records.subscriber_lines(registry), subscribers),
        (f"consents ({CONSENT_COLUMNS})", records.consent_lines(Random(seed + 2), registry, now), subscribers),  # noqa: S311 - the same
        ("invoices", invoices, len(invoices)),
        ("invoice_lines", invoice_lines, len(invoice_lines)),
        ("calls", records.call_lines(Random(seed + 3), registry, calls, today), calls),  # noqa: S311 - the same
    ]
    with psycopg.connect(dsn) as connection:
        connection.execute(_script("telecom.sql"))
        for table, lines, total in tables:
            _copy(connection, table, lines, total, progress)
        finish = progress.add_task("indexes and statistics", total=None)
        connection.execute(_script("telecom_after.sql"))
        progress.update(finish, total=1, completed=1)


def _copy(connection: psycopg.Connection, table: str, lines: Iterable[str], total: int, progress: Progress) -> None:
    """COPY in chunks; the progress bar counts lines (for consents, which are several a subscriber, roughly)."""
    task = progress.add_task(table.partition(" ")[0], total=total)
    with connection.cursor() as cursor, cursor.copy(f"COPY public.{table} FROM STDIN".encode()) as copy:
        for chunk in _chunks(lines):
            copy.write("".join(chunk))
            progress.advance(task, len(chunk))
    progress.update(task, total=total, completed=total)


def _chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(lines)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def _script(name: str) -> bytes:
    return (files("proxy.demo") / name).read_bytes()
