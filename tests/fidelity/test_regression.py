"""A few of PostgreSQL's own regression scripts, directly and through the proxy; ``make fidelity`` runs all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fidelity import report
from tests.fidelity.comparison import Outcome
from tests.fidelity.rig import TRUSTED, Rig
from tests.fidelity.sources import Unavailable, scripts

QUICK = ("boolean", "copyselect", "select_distinct_on")


@pytest.fixture(scope="module")
def found() -> dict[str, Path]:
    try:
        return scripts()
    except Unavailable as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_nothing_tells_the_proxy(found: dict[str, Path], tmp_path: Path, *, extended: bool) -> None:
    with Rig(tmp_path, TRUSTED, extended=extended) as rig:
        for name in QUICK:
            rig.play(found[name])
    told = [(one.outcome, one.script, one.line, one.text) for one in rig.tally.noted]
    assert not [one for one in told if one[0] is not Outcome.BY_NATURE]
    assert report.share(rig.tally, report.DATA_STATEMENTS) == 1
    assert sum(counts.total() for counts in rig.tally.counts.values()) > 100
