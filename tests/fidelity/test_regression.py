"""A few of PostgreSQL's own regression scripts, directly and through the proxy; ``make fidelity`` runs all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fidelity import report
from tests.fidelity.comparison import Outcome, Tally
from tests.fidelity.rig import TRUSTED, Rig
from tests.fidelity.sources import Unavailable, scripts


@pytest.fixture(scope="module")
def found() -> dict[str, Path]:
    try:
        return scripts()
    except Unavailable as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def rig(found: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:  # noqa: ARG001 - skips first
    with Rig(tmp_path_factory.mktemp("regression"), TRUSTED) as rig:
        yield rig


@pytest.mark.parametrize(("extended", "names"), [(False, ("boolean", "copyselect")), (True, ("varchar", "int2"))])
def test_nothing_tells_the_proxy(rig: Rig, found: dict[str, Path], extended: bool, names: tuple[str, ...]) -> None:
    tally = Tally()
    for name in names:
        rig.play(found[name], tally, extended=extended)
    told = [(one.outcome, one.script, one.line, one.text) for one in tally.noted]
    assert not [one for one in told if one[0] in (Outcome.REFUSED, Outcome.DIFFERENT)]
    assert report.share(tally, report.DATA_STATEMENTS) == 1
    assert sum(counts.total() for counts in tally.counts.values()) > 50
