"""COPY FROM STDIN of many rows into a classified table, directly and through consentry, in the same run.

``python -m bench.loads``: every row is checked on the way through consentry, and all may be written.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

import psycopg
from rich.console import Console
from rich.table import Table

from bench.pgbench import HERE, load
from bench.routes import Route, consentry, direct
from proxy.demo.postgres import HOST, SUPERUSER, EmbeddedPostgres, server_version

PEOPLE = [number for number in range(1, 100_001) if number % 3 and number % 10]
"""Those in ``people.sql`` who have consented, and whose account is open."""
COPY = "COPY calls (id, person_id, callee, started_at, seconds, note) FROM STDIN"
PIECE = 64 * 1024
_BINARY = Struct("!hiiii i12s iq ii i")
_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class Format:
    """``quoted``: every field of CSV stands in quotes."""

    name: str
    options: str
    separator: str = "\t"
    quoted: bool = False


FORMATS = {
    "text": Format("text", ""),
    "csv": Format("csv", " (FORMAT csv)", ","),
    "quoted": Format("quoted CSV", " (FORMAT csv)", ",", quoted=True),
    "binary": Format("binary", " (FORMAT binary)"),
}


def main() -> None:
    """Loads and prints one line for each format and way."""
    parser = argparse.ArgumentParser(prog="bench.loads", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of each load (%(default)s)")
    parser.add_argument("--subjects", type=int, default=20_000, help="people whom they are about (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="loads of each, of which the best counts (%(default)s)")
    parser.add_argument("--formats", nargs="+", default=["text", "csv"], choices=FORMATS, help="(%(default)s)")
    options = parser.parse_args()
    console = Console()
    with EmbeddedPostgres() as postgres, tempfile.TemporaryDirectory(prefix="consentry-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        console.print(f"PostgreSQL {server_version()}, Python {platform.python_version()}, {os.cpu_count()} cores")
        load(postgres, HERE / "people.sql")
        table = Table(title=f"COPY of {options.rows:,} rows about {options.subjects:,} people", title_justify="left")
        for heading in ("format", "directly s", "through consentry s", "speed", "CPU of consentry s", "its memory MiB"):
            table.add_column(heading, justify="left" if heading == "format" else "right")
        for key in options.formats:
            form = FORMATS[key]
            data = b"".join(rows(form, options.rows, options.subjects))
            with direct(postgres, folder) as plain, consentry(postgres, folder) as through:
                # One after the other, so that both meet the same weather.
                both = [
                    (timed(postgres, plain, form, data), timed(postgres, through, form, data))
                    for _ in range(options.rounds)
                ]
                cpu = through.cpu_seconds() / options.rounds
                peak = peak_memory(through)
            straight, checked = (min(times) for times in zip(*both, strict=True))
            table.add_row(
                form.name, f"{straight:.2f}", f"{checked:.2f}", f"{straight / checked:.0%}", f"{cpu:.2f}", f"{peak:.0f}"
            )
        console.print(table)


def rows(form: Format, count: int, subjects: int) -> Iterator[bytes]:
    """The data, in parts."""
    if form.name == "binary":
        yield b"PGCOPY\n\xff\r\n\x00" + bytes(8)
    step = 10_000
    for start in range(0, count, step):
        numbers = range(start, min(start + step, count))
        if form.name == "binary":
            yield b"".join(_binary(number, PEOPLE[number % subjects]) for number in numbers)
        else:
            lines = (_line(form, number, PEOPLE[number % subjects]) for number in numbers)
            yield "".join(lines).encode()
    if form.name == "binary":
        yield b"\xff\xff"


def _line(form: Format, number: int, person: int) -> str:
    fields = [
        str(number),
        str(person),
        f"1{number * 7919 % 10**10:011d}",
        f"2026-{number % 12 + 1:02d}-{number % 28 + 1:02d} {number % 24:02d}:{number % 60:02d}:00+00",
        str(number % 3600),
        f"cell {number % 500}",
    ]
    return form.separator.join(f'"{field}"' if form.quoted else field for field in fields) + "\n"


def _binary(number: int, person: int) -> bytes:
    callee = b"1%011d" % (number * 7919 % 10**10)
    moment = (9500 + number % 300) * _SECONDS * 1_000_000
    return _BINARY.pack(6, 4, number, 4, person, 12, callee, 8, moment, 4, number % 3600, -1)


def timed(postgres: EmbeddedPostgres, route: Route, form: Format, data: bytes) -> float:
    """Seconds of one load into the empty table."""
    with psycopg.connect(postgres.dsn(), autocommit=True) as other:
        other.execute("TRUNCATE calls")
        other.execute("CHECKPOINT")
    with psycopg.connect(f"postgresql://{SUPERUSER}@{HOST}:{route.port}/postgres", autocommit=True) as connection:
        start = time.perf_counter()
        with connection.cursor() as cursor, cursor.copy(f"{COPY}{form.options}".encode()) as copy:
            for at in range(0, len(data), PIECE):
                copy.write(data[at : at + PIECE])
        return time.perf_counter() - start


def peak_memory(route: Route) -> float:
    """MiB that the process in between held at most (proc(5), status: VmHWM)."""
    lines = Path(f"/proc/{route.pid}/status").read_text().splitlines()
    [line] = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
