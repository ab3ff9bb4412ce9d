"""``node_postgres.py HOST PORT RESULTS``: node-postgres's integration tests, a process a file, in text and binary."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import junit

FILE_SECONDS = 120
_PASSED = re.compile(r"^  (.+?) (?:✔|✓)", re.MULTILINE)
_FAILED = re.compile(r"^  (.+?) FAILED!", re.MULTILINE)


def main() -> None:
    host, port, results = sys.argv[1:]
    url = f"postgres://postgres:secret@{host}:{port}/compat"
    environment = {
        **os.environ,
        "PGHOST": host,
        "PGPORT": port,
        "PGUSER": "postgres",
        "PGPASSWORD": "secret",
        "PGDATABASE": "compat",
        "TEST_TIMEOUT": "20000",
    }
    outcomes: dict[str, tuple[str, str]] = {}
    for file in sorted(Path("test/integration").rglob("*-tests.js")):
        for form in ("text", "binary"):
            try:
                ran = subprocess.run(
                    ["node", str(file), url, *(["binary"] if form == "binary" else [])],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    check=False,
                    timeout=FILE_SECONDS,
                )
                code, said = ran.returncode, ran.stdout
            except subprocess.TimeoutExpired as expired:
                code, said = 1, (expired.stdout or b"").decode(errors="replace") + "\nit did not end"
            name = f"{file.relative_to('test')} ({form})"
            outcomes[name] = ("failed" if code else "passed"), said
            outcomes |= {f"{name}::{test}": ("passed", "") for test in _PASSED.findall(said)}
            outcomes |= {f"{name}::{test}": ("failed", said) for test in _FAILED.findall(said)}
            if code:
                print(name, said)
    junit.write(Path(results), outcomes)


if __name__ == "__main__":
    main()
