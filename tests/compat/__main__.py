"""``python -m tests.compat [SUITE…]``: 0 if nothing is lost through consentry, else 1."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench.routes import direct
from proxy.demo.postgres import EmbeddedPostgres, PostgresUnavailable
from tests.compat.report import HEAD, Comparison, page
from tests.compat.run import outcomes, through
from tests.compat.sources import Unavailable
from tests.compat.suites import SUITES, Suite

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="compat", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)} (default: all)")
    parser.add_argument("--into", type=Path, help="a folder that keeps logs and results")
    parser.add_argument("--postgres", type=int, help="major version of the server (default: what each suite needs)")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="consentry-compat-") as temporary:
        folder = options.into or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.suites or SUITES:
            print(f"{name} …", flush=True)
            try:
                found.append(compared(SUITES[name], options.postgres or SUITES[name].postgres, folder))
            except (Unavailable, PostgresUnavailable) as why:
                print(f"  skipped: {why}")
                continue
            for test in found[-1].lost:
                print(f"  lost: {test}")
            PAGE.write_text(page(PAGE.read_text(), found))
    print(HEAD, *(comparison.row() for comparison in found), sep="\n")
    return 1 if any(comparison.lost or not comparison.direct for comparison in found) else 0


def compared(suite: Suite, version: int, folder: Path) -> Comparison:
    """Runs it twice. Raises Unavailable, and PostgresUnavailable where there is no server of that version."""
    with EmbeddedPostgres(version=version) as postgres:
        with direct(postgres, folder) as route:
            without = outcomes(suite, postgres, route, folder)
        with through(postgres, folder) as route:
            return Comparison(suite, without, outcomes(suite, postgres, route, folder))


if __name__ == "__main__":
    sys.exit(main())
