"""``pgjdbc.py HOST PORT RESULTS``: the session of ``Session.java``, by the driver's jar of this folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import junit


def main() -> None:
    host, port, results = sys.argv[1:]
    [jar] = Path().glob("postgresql-*.jar")
    source = Path(__file__).with_name("Session.java")
    ran = subprocess.run(
        ["java", "-Xmx256m", "--class-path", str(jar), str(source), host, port],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    outcomes = {}
    for line in ran.stdout.splitlines():
        name, _, came = line.partition("\t")
        outcome, _, said = came.partition(" ")
        outcomes[name] = outcome, said
        if outcome != "passed":
            print(name, said)
    junit.write(Path(results), outcomes)


if __name__ == "__main__":
    main()
