"""``psql.py HOST PORT RESULTS``: what every backslash command of psql prints that asks the server something.

It passes if it prints what it printed in the direct run, whose output stands beside the results.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import backslash
import junit


def main() -> None:
    host, port, name = sys.argv[1:]
    results = Path(name)
    environment = {**os.environ, "PGHOST": host, "PGPORT": port, "PGUSER": "postgres", "PGPASSWORD": "secret"}
    environment |= {"PGDATABASE": "compat", "PGOPTIONS": "-c search_path=shop,public", "LC_ALL": "C.UTF-8"}
    direct = results.with_name("psql-direct.json")
    said: dict[str, str] = {}
    if not results.name.startswith("psql-direct") and not direct.is_file():
        raise SystemExit("the direct run comes first")
    expected = {} if results.name.startswith("psql-direct") else json.loads(direct.read_text())
    run(backslash.SCHEMA, environment)
    outcomes = {}
    for command in backslash.commands():
        told = run(command, environment)
        said[command] = re.sub(r'port "?\d+"?|with PID \d+', "", told)
        same = not expected or said[command] == expected[command]
        outcomes[command] = ("passed" if same else "failed"), said[command]
        if not same:
            print(f"=== {command}\n--- direct\n{expected[command]}--- through\n{said[command]}")
    if not expected:
        direct.write_text(json.dumps(said))
    junit.write(results, outcomes)


def run(script: str, environment: dict[str, str]) -> str:
    """Standard output and errors of one psql that reads ``script``."""
    ran = subprocess.run(
        ["psql", "-X", "-a", "--pset=pager=off"],
        input=script + "\n",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        timeout=120,
    )
    return ran.stdout


if __name__ == "__main__":
    main()
