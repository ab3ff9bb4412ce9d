"""What the demonstration runs on: an embedded PostgreSQL with the sample data, and consentry in front of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from proxy.demo import telecom
from proxy.demo.postgres import EmbeddedPostgres

DATABASE = "telecom"
POLICY = Path(__file__).parent.parent / "policy" / "packs" / "telecom.yaml"
READY = "consentry ready on "
READY_SECONDS = 30.0


class DemonstrationFailed(RuntimeError):
    """The servers could not be started; the message says why, with what the proxy had to say."""


class Servers:
    """A context manager: inside it both servers run, afterwards nothing of them is left.

    `listen` is where consentry listens, port 0 for any. `host` and `port` say where it does,
    and `database` which one has the sample data.
    """

    def __init__(self, console: Console, *, listen: str = "127.0.0.1:0", subscribers: int, calls: int) -> None:
        self.console = console
        self.postgres = EmbeddedPostgres(settings={"wal_level": "minimal", "max_wal_senders": "0"})
        self.host, self.port, self.database = "", 0, DATABASE
        self._listen = listen
        self._sizes = (subscribers, calls)
        self._folder = Path()
        self._proxy: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="consentry-demo-"))
        try:
            self.postgres.start()
            self._fill()
            self._start_proxy()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def audit(self) -> Path:
        """The file that consentry writes its audit to."""
        return self._folder / "audit.jsonl"

    @property
    def log(self) -> str:
        """What consentry has said on stderr."""
        return (self._folder / "consentry.log").read_text(errors="replace")

    def direct_dsn(self) -> str:
        """The database itself, as its superuser: who connects here sees everything."""
        return self.postgres.dsn(database=self.database)

    def dsn(self, role: str, **settings: str) -> str:
        """The database through consentry, as `role`, with settings such as `consentry.purpose` for the session."""
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        query = f"?options={quote(options, safe='')}" if options else ""
        return f"postgresql://{role}@{self.host}:{self.port}/{self.database}{query}"

    def wait(self) -> int:
        """Until consentry ends by itself; its exit code."""
        return 0 if self._proxy is None else self._proxy.wait()

    def _fill(self) -> None:
        with psycopg.connect(self.postgres.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {self.database}".encode())
        bars = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*bars, console=self.console) as progress:
            subscribers, calls = self._sizes
            telecom.load(self.direct_dsn(), subscribers=subscribers, calls=calls, progress=progress)

    def _start_proxy(self) -> None:
        command = [sys.executable, "-m", "proxy", "serve", "--listen", self._listen]
        command += ["--upstream", self.postgres.dsn().rpartition("/")[0]]
        command += ["--policy", str(POLICY), "--audit", str(self.audit)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "CONSENTRY_"))}
        with (self._folder / "consentry.log").open("wb") as log:
            # A session of its own, so that Ctrl-C reaches this process alone and the servers end in good order.
            self._proxy = subprocess.Popen(command, env=environment, stderr=log, start_new_session=True)  # noqa: S603 - our own command
        self._await_ready(time.monotonic() + READY_SECONDS)

    def _await_ready(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            ready = next((line for line in self.log.splitlines(keepends=True) if line.startswith(READY)), "")
            if ready.endswith("\n"):
                self.host, _, port = ready.removeprefix(READY).strip().rpartition(":")
                self.port = int(port)
                return
            if self._proxy is None or self._proxy.poll() is not None:
                break
            time.sleep(0.05)
        raise DemonstrationFailed(f"consentry did not start:\n{self.log.strip()}")

    def _stop(self) -> None:
        if self._proxy is not None and self._proxy.poll() is None:
            self._proxy.terminate()
            try:
                self._proxy.wait(15)
            except subprocess.TimeoutExpired:
                self._proxy.kill()
                self._proxy.wait()
        self.postgres.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
