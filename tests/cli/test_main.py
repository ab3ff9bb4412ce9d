"""The command line as a process: what it prints where, and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.audit.chain import Head, seal


def consentry(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CONSENTRY_")}
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        env=plain | (environment or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def audit_file(path: Path, lines: int = 3, key: bytes | None = None) -> Path:
    head = Head()
    with path.open("wb") as file:
        for _ in range(lines):
            line, head = seal('"event":"start"', "c0ffee", head, key)
            file.write(line)
    return path


def test_without_a_command_it_helps() -> None:
    for arguments in ((), ("--help",)):
        ran = consentry(*arguments)
        assert ran.returncode == 0
        for command in ("serve", "demo", "check", "schema", "audit"):
            assert f"  {command} " in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nonesuch",), "No such command 'nonesuch'"),
        (("serve", "--nonesuch"), "No such option"),
        (("serve", "--workers", "many"), "--workers"),
        (("audit",), "Missing command"),
        (("audit", "verify"), "Missing argument"),
        (("audit", "verify", "x", "--output", "xml"), "xml"),
    ],
)
def test_a_mistyped_command_line_is_invalid(arguments: tuple[str, ...], said: str) -> None:
    ran = consentry(*arguments)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_verify_is_silent_about_a_whole_file(tmp_path: Path) -> None:
    ran = consentry("audit", "verify", str(audit_file(tmp_path / "audit.jsonl")))
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_verify_says_which_line_was_tampered_with(tmp_path: Path) -> None:
    path = audit_file(tmp_path / "audit.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"event":"start"', b'"event":"stop"', 1))
    ran = consentry("audit", "verify", str(path))
    assert ran.returncode == 2
    assert ran.stdout.startswith(f"{path}:1:1: error: damaged-line: ")
    assert ran.stdout.count("\n") == 1


def test_verify_as_json(tmp_path: Path) -> None:
    path = audit_file(tmp_path / "audit.jsonl")
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    ran = consentry("audit", "verify", str(path), "--output", "json")
    assert ran.returncode == 2
    assert json.loads(ran.stdout) == {
        "lines": 2,
        "findings": [
            {
                "line": 1,
                "severity": "error",
                "code": "broken-chain",
                "message": "events 1 to 1 are missing before it",
            }
        ],
    }


def test_verify_reports_a_torn_line_and_accepts_it(tmp_path: Path) -> None:
    path = audit_file(tmp_path / "audit.jsonl")
    path.write_bytes(path.read_bytes()[:-9])
    ran = consentry("audit", "verify", str(path))
    assert ran.returncode == 0
    assert ran.stdout.startswith(f"{path}:3:1: warning: torn-line: ")


def test_verify_takes_the_key_from_a_file_or_the_environment(tmp_path: Path) -> None:
    path = audit_file(tmp_path / "audit.jsonl", key=b"sixteen bytes ok")
    (tmp_path / "key").write_bytes(b"sixteen bytes ok\n")
    assert consentry("audit", "verify", str(path)).returncode == 2
    assert consentry("audit", "verify", str(path), "--key", str(tmp_path / "key")).returncode == 0
    environment = {"CONSENTRY_AUDIT_KEY": "sixteen bytes ok"}
    assert consentry("audit", "verify", str(path), environment=environment).returncode == 0


def test_verify_of_a_file_that_is_not_there_could_not_run() -> None:
    ran = consentry("audit", "verify", "/nowhere/audit.jsonl")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "consentry: /nowhere/audit.jsonl: No such file or directory\n"
