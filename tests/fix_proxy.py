"""The product as its users run it: ``consentry serve`` as a process of its own, which ends with the test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

STARTED = 60.0
"""Seconds within which it is ready, or has stopped."""


class Proxy:
    """A ``consentry serve`` in a folder of its own."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.audit = folder / "audit.jsonl"
        self._errors = folder / "stderr"
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("CONSENTRY_", "PG"))}
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "proxy", "serve", *arguments],
                env=plain | {"CONSENTRY_LISTEN": "127.0.0.1:0", "CONSENTRY_AUDIT": str(self.audit)} | environment,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    @property
    def said(self) -> str:
        return self._errors.read_text()

    def ready(self) -> str:
        """Where it listens, once it says so."""
        self.await_said("consentry ready on ")
        (line,) = (line for line in self.said.splitlines() if line.startswith("consentry ready on "))
        return line.removeprefix("consentry ready on ")

    def await_said(self, text: str) -> None:
        deadline = time.monotonic() + STARTED
        while text not in self.said or not self.said.endswith("\n"):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.audit.read_bytes().splitlines()]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(STARTED)

    def ended(self) -> int:
        """The exit code of one that ends by itself."""
        return self.process.wait(STARTED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
