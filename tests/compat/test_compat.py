"""The comparison itself: what counts as lost."""

from __future__ import annotations

from pathlib import Path

from tests.compat.report import BEGIN, END, HEAD, Comparison, page
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
    suite = Suite("s", "s==1", "all", (), lambda _: [], lambda _: {}, unavoidable={"^known$": "no proxy could"})
    direct: dict[str, Outcome] = dict.fromkeys(("both", "lost", "gone", "known"), "passed") | {"neither": "failed"}
    through: dict[str, Outcome] = dict.fromkeys(("lost", "known", "neither"), "failed") | {"both": "passed"}
    comparison = Comparison(suite, direct, through)
    assert comparison.lost == ["gone", "lost"]
    assert comparison.excused == ["known"]
    assert comparison.row() == "| s | 1 | all | 4 | 1 | 2 | 1 |"


def test_the_page_keeps_rows_of_other_suites() -> None:
    first, second = list(SUITES.values())[:2]
    text = page(f"x\n{BEGIN}{END}\ny", [Comparison(second, {"a": "passed"}, {"a": "passed"})])
    text = page(text, [Comparison(first, {"a": "passed", "b": "passed"}, {"a": "passed"})])
    assert text == (
        f"x\n{BEGIN}{HEAD}\n"
        f"| {first.name} | {first.source.partition('==')[2]} | {first.covers} | 2 | 1 | 1 | 0 |\n"
        f"| {second.name} | {second.source.partition('==')[2]} | {second.covers} | 1 | 1 | 0 | 0 |\n{END}\ny"
    )


def test_the_page_is_what_a_run_would_write() -> None:
    text = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text()
    assert page(text, []) == text
    assert {why for suite in SUITES.values() for why in suite.unavoidable.values() if why not in text} == set()
