"""``tools.py HOST PORT RESULTS``: PostgreSQL's own programs: pg_dump and pg_restore, pgbench, vacuumdb and so on.

A dump passes if it is what the direct run dumped, which stands beside the results.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import junit
import psql

# Newer versions guard a script against other programs' output by a random key.
_KEY = re.compile(rb"^\\(un)?restrict .*$", re.MULTILINE)
DUMPS = {
    "plain": [],
    "inserts": ["--inserts", "--rows-per-insert=3"],
    "column inserts": ["--column-inserts"],
    "schema": ["--schema-only"],
    "data": ["--data-only"],
    "clean": ["--clean", "--if-exists", "--create"],
    "serializable": ["--serializable-deferrable"],
    "with large objects": ["--large-objects"],
}
BENCH = [
    *([f"--protocol={protocol}", *script] for protocol in ("simple", "extended", "prepared") for script in (
        ["--builtin=tpcb-like"], ["--builtin=simple-update"], ["--builtin=select-only"])),
    ["--protocol=extended", "--builtin=select-only", "--connect"],
]  # fmt: skip


def main() -> None:
    host, port, name = sys.argv[1:]
    results = Path(name)
    direct = results.name.startswith("tools-direct")
    environment = {**os.environ, "PGHOST": host, "PGPORT": port, "PGUSER": "postgres", "PGPASSWORD": "secret"}
    environment |= {"PGDATABASE": "compat", "LC_ALL": "C.UTF-8"}
    psql.run(psql.SCHEMA, environment)
    outcomes: dict[str, tuple[str, str]] = {}

    def note(test: str, command: list[str], *, kept: str = "") -> None:
        ran = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=600)
        said = ran.stderr.decode(errors="replace")
        outcome = "failed" if ran.returncode else "passed"
        if kept:
            place = results.with_name(f"tools-{kept}.out")
            text = _KEY.sub(b"", ran.stdout)
            if direct:
                place.write_bytes(text)
            elif place.read_bytes() != text:
                outcome, said = "failed", f"{said}\nnot what was dumped directly"
        outcomes[test] = outcome, said
        if outcome == "failed":
            print(test, said)

    for kind, options in DUMPS.items():
        note(f"pg_dump {kind}", ["pg_dump", *options], kept=f"dump-{kind.replace(' ', '-')}")
    for form in ("custom", "tar", "directory"):
        archive = str(results.with_name(f"{results.stem}.{form}"))
        jobs = ["--jobs=2"] if form == "directory" else []
        note(f"pg_dump {form}", ["pg_dump", f"--format={form}", f"--file={archive}", *jobs])
        note(f"createdb for {form}", ["createdb", f"compat_{form}"])
        jobs = ["--jobs=2"] if form != "tar" else []
        note(f"pg_restore {form}", ["pg_restore", f"--dbname=compat_{form}", "--exit-on-error", *jobs, archive])
        note(f"dropdb after {form}", ["dropdb", f"compat_{form}"])
    note("pg_dumpall globals", ["pg_dumpall", "--globals-only"])
    note("vacuumdb", ["vacuumdb", "--analyze", "--jobs=2"])
    note("reindexdb", ["reindexdb"])
    note("clusterdb", ["clusterdb"])
    note("createuser", ["createuser", "--superuser", "compat_tool"])
    note("dropuser", ["dropuser", "compat_tool"])
    note("pg_isready", ["pg_isready"])
    note("pgbench initialize", ["pgbench", "--initialize", "--scale=1", "--quiet", "--foreign-keys"])
    note("pgbench initialize at the server", ["pgbench", "--initialize", "--init-steps=dtGvpf", "--quiet"])
    note("pgbench partitions", ["pgbench", "--initialize", "--partitions=3", "--quiet"])
    for options in BENCH:
        note(f"pgbench {' '.join(options)}", ["pgbench", "--client=4", "--transactions=200", "--no-vacuum", *options])
    pipeline = results.with_suffix(".sql")
    pipeline.write_text(
        "\\startpipeline\nSELECT abalance FROM pgbench_accounts WHERE aid = 1;\nSELECT 2;\n\\endpipeline\n"
        "SELECT abalance AS a FROM pgbench_accounts WHERE aid = 1 \\gset\nSELECT :a \\aset\n"
    )
    for protocol in ("extended", "prepared"):
        note(
            f"pgbench pipeline {protocol}",
            [
                "pgbench",
                "--client=4",
                "--transactions=200",
                "--no-vacuum",
                f"--protocol={protocol}",
                f"--file={pipeline}",
            ],
        )
    junit.write(results, outcomes)


if __name__ == "__main__":
    main()
