"""The comparison itself: what counts as lost."""

from __future__ import annotations

from pathlib import Path

from tests.compat.report import Comparison
from tests.compat.run import Outcome, read
from tests.compat.suites import SUITES, Suite

XML = """<testsuites><testsuite>
<testcase classname="a" name="passes"/><testcase classname="a" name="fails"><failure/></testcase>
<testcase classname="a" name="breaks"><error/></testcase><testcase classname="a" name="skipped"><skipped/></testcase>
<testcase classname="a" name="passes in part"><failure/></testcase><testcase classname="a" name="passes in part"/>
</testsuite></testsuites>"""


def test_results_are_read(tmp_path: Path) -> None:
    (tmp_path / "results.xml").write_text(XML)
    assert read(tmp_path / "results.xml") == {
        "a::passes": "passed",
        "a::fails": "failed",
        "a::breaks": "failed",
        "a::skipped": "skipped",
        "a::passes in part": "failed",
    }
    assert read(tmp_path / "nothing.xml") == {}


def test_what_passes_directly_only_is_lost() -> None:
    suite = Suite("s", "s==1", (), lambda _: [], lambda _: {}, unavoidable={"known": "no proxy could"})
    direct: dict[str, Outcome] = dict.fromkeys(("both", "lost", "gone", "known"), "passed") | {"neither": "failed"}
    through: dict[str, Outcome] = dict.fromkeys(("lost", "known", "neither"), "failed") | {"both": "passed"}
    comparison = Comparison(suite, direct, through)
    assert comparison.lost == ["gone", "lost"]
    assert comparison.excused == ["known"]
    assert comparison.row() == "| s 1 | 4 | 1 | 1 | 2 | 1 |"


def test_every_suite_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text()
    assert [name for name in SUITES if f"| {name} |" not in page] == []
