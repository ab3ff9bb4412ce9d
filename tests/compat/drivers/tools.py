"""``tools.py HOST PORT RESULTS``: PostgreSQL's own programs: pg_dump and pg_restore, pgbench, vacuumdb and so on.

A dump passes if it is what the direct run dumped, which stands beside the results.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import backslash
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
PIPELINE = """\\startpipeline
SELECT abalance FROM pgbench_accounts WHERE aid = 1;
SELECT 2;
\\endpipeline
SELECT abalance AS a FROM pgbench_accounts WHERE aid = 1 \\gset
SELECT :a \\aset
"""


class Programs:
    """Runs one after another, and keeps what came of each."""

    def __init__(self, results: Path, environment: dict[str, str]) -> None:
        self._results = results
        self._environment = environment
        self.outcomes: dict[str, tuple[str, str]] = {}

    def run(self, *command: str, test: str = "", dump: str = "") -> None:
        """``dump``: the name of what it dumps, to be compared."""
        ran = subprocess.run(command, env=self._environment, capture_output=True, check=False, timeout=600)
        said = ran.stderr.decode(errors="replace")
        passed = not ran.returncode
        if dump:
            place = self._results.with_name(f"tools-{dump}.out")
            text = _KEY.sub(b"", ran.stdout)
            if self._results.name.startswith("tools-direct"):
                place.write_bytes(text)
            elif place.read_bytes() != text:
                passed, said = False, f"{said}\nnot what was dumped directly"
        test = test or " ".join(command)
        self.outcomes[test] = ("passed" if passed else "failed"), said
        if not passed:
            print(test, said)


def dump(programs: Programs, results: Path) -> None:
    for kind, options in DUMPS.items():
        programs.run("pg_dump", *options, dump=f"dump-{kind.replace(' ', '-')}")
    for form in ("custom", "tar", "directory"):
        archive = str(results.with_name(f"{results.stem}.{form}"))
        jobs = ["--jobs=2"] if form == "directory" else []
        programs.run("pg_dump", f"--format={form}", f"--file={archive}", *jobs, test=f"pg_dump {form}")
        programs.run("createdb", f"compat_{form}")
        jobs = ["--jobs=2"] if form != "tar" else []
        restore = ["pg_restore", f"--dbname=compat_{form}", "--exit-on-error", *jobs, archive]
        programs.run(*restore, test=f"pg_restore {form}")
        programs.run("dropdb", f"compat_{form}")
    programs.run("pg_dumpall", "--globals-only")


def bench(programs: Programs, results: Path) -> None:
    for options in ("--scale=1 --foreign-keys", "--init-steps=dtGvpf", "--partitions=3"):
        programs.run("pgbench", "--initialize", "--quiet", *options.split())
    script = results.with_suffix(".sql")
    script.write_text(PIPELINE)
    run = ["pgbench", "--client=4", "--transactions=200", "--no-vacuum"]
    for protocol in ("simple", "extended", "prepared"):
        for builtin in ("tpcb-like", "simple-update", "select-only"):
            programs.run(*run, f"--protocol={protocol}", f"--builtin={builtin}")
        if protocol != "simple":
            programs.run(*run, f"--protocol={protocol}", f"--file={script}", test=f"pgbench pipeline {protocol}")
    programs.run(*run, "--protocol=extended", "--builtin=select-only", "--connect")


def main() -> None:
    host, port, name = sys.argv[1:]
    environment = {**os.environ, "PGHOST": host, "PGPORT": port, "PGUSER": "postgres", "PGPASSWORD": "secret"}
    environment |= {"PGDATABASE": "compat", "LC_ALL": "C.UTF-8"}
    psql.run(backslash.SCHEMA, environment)
    results = Path(name)
    programs = Programs(results, environment)
    dump(programs, results)
    for command in ("vacuumdb --analyze --jobs=2", "reindexdb", "clusterdb", "createuser --superuser compat_tool"):
        programs.run(*command.split())
    programs.run("dropuser", "compat_tool")
    programs.run("pg_isready", test="pg_isready")
    bench(programs, results)
    junit.write(results, programs.outcomes)


if __name__ == "__main__":
    main()
