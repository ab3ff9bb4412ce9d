"""``pgx.py HOST PORT RESULTS``: pgx's own tests, in a copy of its module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import junit

# The stress test runs for as long as it is told to; the benchmarks are none.
PACKAGES = (".", "./pgconn/...", "./pgxpool/...", "./stdlib/...", "./pgtype/...", "./tracelog/...")


def main() -> None:
    host, port, results = sys.argv[1:]
    url = f"postgres://postgres:secret@{host}:{port}/compat?sslmode=disable"
    ran = subprocess.run(
        ["go", "test", "-json", "-count=1", "-p=1", "-timeout=20m", *PACKAGES],
        env={**os.environ, "PGX_TEST_DATABASE": url, "PGX_TEST_TCP_CONN_STRING": url, "GOFLAGS": "-mod=mod"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    outcomes: dict[str, tuple[str, str]] = {}
    said: dict[str, list[str]] = defaultdict(list)
    for line in ran.stdout.splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        # What has no test is a package's: where it panics, the rest of its tests have no outcome.
        name = f"{event.get('Package', 'build')}::{event.get('Test', '')}"
        if event.get("Action") == "output":
            said[name].append(event["Output"])
        elif "Test" not in event:
            if event.get("Action") == "fail":
                print(name, "".join(said[name]))
        elif event["Action"] in ("pass", "fail", "skip"):
            outcome = {"pass": "passed", "fail": "failed", "skip": "skipped"}[event["Action"]]
            outcomes[name] = outcome, "".join(said[name])
            if outcome == "failed":
                print(name, "".join(said[name]))
    junit.write(Path(results), outcomes)


if __name__ == "__main__":
    main()
