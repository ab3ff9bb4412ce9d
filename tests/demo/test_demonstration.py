"""The command ``consentry demo``, with everything that it starts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from proxy.demo.scenes import SCENES

DEMO = [sys.executable, "-m", "proxy", "demo", "--subscribers", "400", "--calls", "5000"]


def test_tour() -> None:
    """Every scene, against everything that the command starts."""
    toured = subprocess.run([*DEMO, "--tour"], capture_output=True, text=True, check=False, timeout=100)
    assert toured.returncode == 0, toured.stdout + toured.stderr
    assert f"{len(SCENES)} of {len(SCENES)} scenes" in toured.stdout


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What runs in the background of a shell ignores SIGINT, and so would all that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_demonstration_stays_until_it_is_ended_and_leaves_nothing_behind(end: signal.Signals) -> None:
    demonstration = subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert demonstration.stdout is not None
    lines: list[str] = []
    for line in demonstration.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            break
    assert demonstration.poll() is None, "".join(lines)
    os.kill(demonstration.pid, end)
    rest, _ = demonstration.communicate(timeout=30)
    assert demonstration.returncode == 0, rest
    urls = set(re.findall(r"postgresql://[^\s\"']+", "".join(lines)))
    assert len(urls) >= 5
    for url in urls:
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
