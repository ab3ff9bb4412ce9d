"""``python -m tests.compat [SUITE…]``: 0 if nothing is lost through consentry, else 1."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench.routes import direct
from proxy.demo.postgres import EmbeddedPostgres
from tests.compat.report import HEAD, Comparison, page
from tests.compat.run import outcomes, through
from tests.compat.sources import Unavailable
from tests.compat.suites import SUITES

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="compat", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)} (default: all)")
    parser.add_argument("--into", type=Path, help="a folder that keeps logs and results")
    parser.add_argument("--postgres", type=int, default=18, help="major version of the server: 16, 18, or Debian's")
    options = parser.parse_args()
    found = []
    server = EmbeddedPostgres(version=options.postgres)
    with server as postgres, tempfile.TemporaryDirectory(prefix="consentry-compat-") as temporary:
        folder = options.into or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.suites or SUITES:
            print(f"{name} …", flush=True)
            try:
                with direct(postgres, folder) as route:
                    without = outcomes(SUITES[name], postgres, route, folder)
                with through(postgres, folder) as route:
                    found.append(Comparison(SUITES[name], without, outcomes(SUITES[name], postgres, route, folder)))
            except Unavailable as why:
                print(f"  skipped: {why}")
                continue
            for test in found[-1].lost:
                print(f"  lost: {test}")
    PAGE.write_text(page(PAGE.read_text(), found))
    print(HEAD, *(comparison.row() for comparison in found), sep="\n")
    return 1 if any(comparison.lost or not comparison.direct for comparison in found) else 0


if __name__ == "__main__":
    sys.exit(main())
