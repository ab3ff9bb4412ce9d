"""Policy files and what is said of them: ``cases/*.yaml``, whose last lines ``#= …`` are the diagnostics, exactly.

A diagnostic of another file begins with that file's name. A file without such lines is clean.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.policy.diagnostic import CODES, Severity
from proxy.policy.loader import Loaded, load

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))
MARK = "#= "


def said(path: Path, loaded: Loaded) -> list[str]:
    """The report as a case file writes it."""
    own = f"{path}:"
    lines = [str(found) for found in loaded.report()]
    return [line.removeprefix(own) if line.startswith(own) else line.rpartition("/")[2] for line in lines]


def expected(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_says_exactly(path: Path) -> None:
    assert said(path, load(path)) == expected(path)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_has_a_policy_unless_there_is_an_error(path: Path) -> None:
    loaded = load(path)
    errors = [found for found in loaded.diagnostics if found.severity is Severity.ERROR]
    assert (loaded.policy is None) == bool(errors)
    assert path.stem.startswith("good-") <= (loaded.policy is not None)


def test_every_code_has_a_case() -> None:
    shown = {found.code for path in CASES for found in load(path).report()}
    assert shown | {"file"} == set(CODES)


def test_an_unenforced_key_is_an_error_where_policies_are_enforced() -> None:
    loaded = load(Path(__file__).parent / "cases" / "good-with-unenforced-keys.yaml")
    assert loaded.policy is not None
    assert {found.severity for found in loaded.unenforced} == {Severity.WARNING}
    assert {found.severity for found in loaded.report(enforce=True)} == {Severity.ERROR}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    assert [str(found) for found in load(missing).report()] == [
        f"{missing}:1:1: error: file: cannot be read: No such file or directory"
    ]


def test_a_file_beyond_the_limit(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_text("#" * (1024 * 1024 + 1))
    assert load(large).report()[0].code == "file"


def test_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"version: 1\nname: caf\xe9\n")
    assert [str(found) for found in load(latin).report()] == [f"{latin}:2:1: error: syntax: the file is not UTF-8"]
