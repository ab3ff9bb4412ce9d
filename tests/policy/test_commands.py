"""``consentry check`` and ``consentry schema``, as they are run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CASES = Path(__file__).parent / "cases"


def consentry(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "proxy", *arguments], capture_output=True, text=True, check=False)


def test_check_is_silent_when_clean() -> None:
    done = consentry("check", str(CASES / "good-whole.yaml"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_prints_every_mistake_and_ends_with_3() -> None:
    path = CASES / "duplicate-keys.yaml"
    done = consentry("check", str(path))
    assert done.returncode == 3
    assert done.stdout.splitlines() == [
        f"{path}:4:3: error: duplicate-key: 'name' already stands in line 3",
        f"{path}:8:5: error: duplicate-key: 'columns' already stands in line 7",
        f"{path}:9:1: error: duplicate-key: 'version' already stands in line 1",
    ]


def test_warnings_do_not_fail() -> None:
    done = consentry("check", str(CASES / "two-masks.yaml"))
    assert done.returncode == 0
    assert ": warning: two-masks: " in done.stdout


def test_check_as_json() -> None:
    path = CASES / "a-list.yaml"
    done = consentry("check", str(path), "--output", "json")
    assert done.returncode == 3
    assert json.loads(done.stdout) == {
        "valid": False,
        "diagnostics": [
            {
                "path": str(path),
                "line": 1,
                "column": 1,
                "severity": "error",
                "code": "wrong-type",
                "message": "a policy is a mapping, found a list",
            }
        ],
    }


def test_check_as_json_when_clean() -> None:
    done = consentry("check", str(CASES / "good-minimal.yaml"), "--output", "json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"valid": True, "diagnostics": []})


def test_a_file_that_cannot_be_read_is_not_an_invalid_policy() -> None:
    done = consentry("check", "/nonexistent/policy.yaml")
    assert done.returncode == 1
    assert done.stdout == "/nonexistent/policy.yaml:1:1: error: file: cannot be read: No such file or directory\n"


def test_schema_prints_json_schema() -> None:
    done = consentry("schema")
    assert done.returncode == 0
    assert json.loads(done.stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
