"""``make fidelity``: PostgreSQL's regression scripts directly and through the proxy.

``python -m tests.fidelity [--minutes N] [--only NAME,…] [--closed] [--extended] [--into FOLDER]``
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fidelity import report
from tests.fidelity.comparison import Tally
from tests.fidelity.rig import CLOSED, TRUSTED, Rig, passable
from tests.fidelity.sources import LEFT_OUT, Unavailable, cache, scripts


def main() -> int:
    """0 if nothing came out different; 1 otherwise."""
    options = _options()
    try:
        found = scripts()
    except Unavailable as missing:
        print(f"skipped: {missing}")
        return 0
    options.into.mkdir(parents=True, exist_ok=True)
    titles = {"closed": CLOSED} if options.closed else {"trusted": TRUSTED}
    different = 0
    for title, role in titles.items():
        name = f"{title}-extended" if options.extended else title
        different += _run(name, role, found, options)
    return 1 if different else 0


def _run(title: str, role: dict[str, bool], found: dict[str, Path], options: argparse.Namespace) -> int:
    deadline = time.monotonic() + options.minutes * 60
    wanted = options.only.split(",") if options.only else [name for name in found if name not in LEFT_OUT]
    played, tally, text = 0, Tally(), "nothing was played"
    with tempfile.TemporaryDirectory() as place:
        passable(Path(place))
        with Rig(Path(place), role) as rig:
            rig.prepare(found["test_setup"])
            for name in wanted:
                if time.monotonic() > deadline:
                    break
                started = time.monotonic()
                before = len(tally.noted)
                rig.play(found[name], tally, extended=options.extended)
                played += 1
                news = tally.noted[before:]
                told = f"{sum(one.outcome == 'different' for one in news)} different, "
                told += f"{sum(one.outcome == 'refused' for one in news)} refused"
                print(f"{name}: {told}, {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
                text = report.table(f"{title}: {played} of {len(wanted)} scripts", tally)
                (options.into / f"{title}.txt").write_text(text + "\n", "utf-8")
                report.write(tally, options.into / f"{title}.jsonl")
    print(text)
    return sum(one.outcome == "different" for one in tally.noted)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fidelity")
    parser.add_argument("--minutes", type=float, default=60, help="begin no further script after so long")
    parser.add_argument("--only", default="", help="scripts by name, with commas")
    parser.add_argument("--closed", action="store_true", help="the closed world of statements holds")
    parser.add_argument("--extended", action="store_true", help="extended query protocol")
    parser.add_argument("--into", type=Path, default=cache() / "report", help="where figures and details go")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
