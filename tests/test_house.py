"""The house is kept: what may stand where, how large it may be, and that the repository speaks of the product alone."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAX_FILE = 500
MAX_FUNCTION = 60

TOP_LEVEL = {
    ".ci",
    ".dockerignore",
    ".gitignore",
    ".pre-commit-config.yaml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    "bench",
    "deploy",
    "docs",
    "policies",
    "proxy",
    "pyproject.toml",
    "tests",
}

# Names that say nothing about what a thing is for.
MEANINGLESS = re.compile(r"(^|_)(utils?|helpers?|misc|common|managers?)$")

FORBIDDEN = {
    "unfinished work": r"\b(TODO|FIXME|XXX)\b",
    "a document outside the repository": r"\b(SPEC|DESIGN)\b",
    "a path of somebody's machine": r"/(work/(main|shared)|root|home/\w+)/",
    "a package registry": r"(index|find)-(url|links)\b|files\.pythonhosted",
}


def tracked_files() -> list[Path]:
    """What git tracks; in a source archive without git, what is there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git working tree")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def python_files() -> list[Path]:
    return [path for path in tracked_files() if path.suffix == ".py"]


def text_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_top_level_holds_what_it_should_and_nothing_else() -> None:
    present = {path.relative_to(ROOT).parts[0] for path in tracked_files()}
    assert present - TOP_LEVEL == set()


def test_no_file_is_long() -> None:
    long = {
        str(path.relative_to(ROOT)): len(text_lines(path))
        for path in tracked_files()
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".sql"}
    }
    assert {name: lines for name, lines in long.items() if lines > MAX_FILE} == {}


def test_functions_fit_a_screen() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in python_files()
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in long.items() if lines > MAX_FUNCTION} == {}


def test_modules_and_classes_say_what_they_are() -> None:
    assert [path for path in python_files() if MEANINGLESS.search(path.stem)] == []
    classes = chain.from_iterable(
        (node.name for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.ClassDef))
        for path in python_files()
    )
    assert [name for name in classes if re.search(r"(Utils?|Helpers?|Managers?)$", name)] == []


def test_every_module_has_a_docstring() -> None:
    assert [
        str(path.relative_to(ROOT))
        for path in python_files()
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_bytes()))
    ] == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_repository_speaks_of_the_product_alone(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])

    def found() -> Iterator[str]:
        for path in tracked_files():
            if path in {ROOT / "LICENSE", Path(__file__)}:
                continue
            for number, line in enumerate(text_lines(path), 1):
                if pattern.search(line):
                    yield f"{path.relative_to(ROOT)}:{number}: {line.strip()}"

    assert list(found()) == []


def test_lint_exceptions_carry_their_reason() -> None:
    bare = re.compile(r"#\s*(noqa|type: ignore)(:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*|\[[\w, -]+\])?\s*$")
    assert [
        f"{path.relative_to(ROOT)}:{number}"
        for path in python_files()
        for number, line in enumerate(text_lines(path), 1)
        if bare.search(line)
    ] == []


def test_ci_runs_the_tests() -> None:
    run = ROOT / ".ci" / "run"
    assert run.stat().st_mode & 0o111 == 0o111
    assert "make test" in run.read_text()


def test_the_wheel_installs_one_top_level_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["project"]["name"] == "consentry"
    assert settings["tool"]["setuptools"]["packages"]["find"]["include"] == ["proxy*"]


def test_the_command_is_also_a_module() -> None:
    answered = subprocess.run(
        [sys.executable, "-m", "proxy", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "serve" in answered.stdout
