"""The image is small, does not run as root, and knows its health without other programs."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IGNORED_BY_DEFAULT = "*"


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) in order; comments dropped, continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text())
    lines = text.replace("\\\n", " ").splitlines()
    return [(name, arguments) for name, _, arguments in (line.strip().partition(" ") for line in lines) if name]


def last_stage() -> list[tuple[str, str]]:
    steps = instructions()
    start = max(index for index, (name, _) in enumerate(steps) if name == "FROM")
    return steps[start:]


def argument(name: str) -> str:
    (value,) = [arguments for step, arguments in last_stage() if step == name]
    return value


def test_is_small_by_two_stages_on_a_slim_image() -> None:
    bases = [arguments for name, arguments in instructions() if name == "FROM"]
    assert len(bases) == 2
    assert all("-slim" in base for base in bases)
    assert not [step for step in last_stage() if step[0] == "RUN"], "the last stage installs nothing"


def test_does_not_run_as_root() -> None:
    uid, gid = argument("USER").split(":")
    assert int(uid) > 0
    assert int(gid) > 0


def test_runs_the_command_without_a_shell() -> None:
    assert json.loads(argument("ENTRYPOINT")) == ["consentry"]
    assert json.loads(argument("CMD")) == ["serve"]


def test_copies_only_what_exists_and_is_not_ignored() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == IGNORED_BY_DEFAULT
    admitted = {line[1:] for line in lines if line.startswith("!")}
    for name, arguments in instructions():
        if name == "COPY" and "--from" not in arguments:
            for source in shlex.split(arguments)[:-1]:
                assert (ROOT / source).exists(), source
                assert source in admitted, source


@pytest.mark.parametrize(
    ("answer", "healthy"),
    [(b"N", True), (b"S", True), (b"", False), (b"E", False)],
    ids=["no TLS", "TLS", "closed", "error"],
)
def test_health_check_asks_the_listener(answer: bytes, healthy: bool) -> None:
    _, _, command = argument("HEALTHCHECK").partition("CMD ")
    program, *arguments = json.loads(command)
    assert program == "python"
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def listen() -> None:
            client, _ = listener.accept()
            with client:
                asked.append(client.recv(8))
                client.sendall(answer)

        thread = threading.Thread(target=listen)
        thread.start()
        environment = {"CONSENTRY_LISTEN": f"0.0.0.0:{listener.getsockname()[1]}"}
        checked = subprocess.run([sys.executable, *arguments], env=environment, check=False)
        thread.join()
    assert asked == [bytes.fromhex("0000000804d2162f")], "SSLRequest, protocol section 55.7"
    assert (checked.returncode == 0) is healthy


def test_health_check_fails_when_nobody_listens() -> None:
    _, _, command = argument("HEALTHCHECK").partition("CMD ")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    environment = {"CONSENTRY_LISTEN": f"0.0.0.0:{port}"}
    checked = subprocess.run(
        [sys.executable, *json.loads(command)[1:]], env=environment, check=False, capture_output=True
    )
    assert checked.returncode != 0
