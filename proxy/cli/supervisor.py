"""``consentry serve --workers N``: processes that share one address, and one that keeps them running.

The supervisor serves nobody. It holds the address, reads the policy for all, and starts a worker again that died.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO, Final

import structlog

import proxy
from proxy.audit import TURN_BYTES, Damaged, FileSink, StreamSink, check_last_line
from proxy.cli import Code
from proxy.cli.administration import Administration
from proxy.cli.channel import Ask, Channel, Charge, Drain, ReadCertificates, Ready, Reload
from proxy.cli.configuration import Configuration
from proxy.cli.policy_files import PolicyFiles, Reloads
from proxy.cli.process import admin_failure, audit_failure, could_not_run, listen_failure, say_ready
from proxy.cli.report import Report
from proxy.cli.service import hash_key, server_options
from proxy.policy.in_force import Policies
from proxy.server import Headcount
from proxy.server.conflicts import CONFLICT_BYTES
from proxy.server.headcount import BLOCK_BYTES
from proxy.server.listening import Reservation, reserve

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0
"""Seconds before a worker that died is started again: doubled each time, until one lives for LONGEST_PAUSE."""
REPORT_SECONDS: Final = 2.0
_MARGIN_SECONDS: Final = 10.0
"""How long after the grace period a worker may take to end before it is killed."""

_log = structlog.get_logger(__name__)


class WorkerFailed(Exception):
    """A worker could not begin to serve; it said why itself."""


def run(configuration: Configuration, files: PolicyFiles, policies: Policies) -> Code:
    """Serves with ``configuration.workers`` processes until SIGTERM or SIGINT."""
    with ExitStack() as held:
        try:
            audit = StreamSink(os.dup(1)) if configuration.audit == "-" else FileSink.open(Path(configuration.audit))
            if isinstance(audit, FileSink):
                check_last_line(audit, configuration.audit_key)
        except (OSError, Damaged) as error:
            return could_not_run(audit_failure(configuration, error))
        held.callback(os.close, audit.descriptor)
        try:
            reservation = reserve(configuration.listen)
        except OSError as error:
            return could_not_run(listen_failure(configuration, error))
        held.callback(reservation.close)
        memory = held.enter_context(tempfile.TemporaryFile())
        memory.truncate(configuration.workers * (BLOCK_BYTES + CONFLICT_BYTES) + TURN_BYTES)
        configuration = replace(configuration, listen=reservation.address, hash_key=hash_key(configuration))
        supervisor = Supervisor(configuration, policies, reservation, memory, audit)
        try:
            asyncio.run(supervisor.supervise(files))
        except WorkerFailed:
            return Code.COULD_NOT_RUN
        except OSError as error:
            return could_not_run(admin_failure(configuration, error))
    return Code.FINE


class Supervisor:
    """Keeps the workers of one instance."""

    def __init__(
        self,
        configuration: Configuration,
        policies: Policies,
        reservation: Reservation,
        memory: IO[bytes],
        audit: FileSink | StreamSink,
    ) -> None:
        self._configuration = configuration
        self._policies = policies
        self._reservation = reservation
        self._shared = memory.fileno()
        self._memory = mmap.mmap(self._shared, 0)
        self._audit = audit
        self._workers: dict[int, Channel] = {}
        self._ready = [asyncio.Event() for _ in range(configuration.workers)]
        self._ending = asyncio.Event()
        self._restarts = 0
        self._asked: dict[int, asyncio.Future[Report]] = {}
        self._hurry = False

    async def supervise(self, files: PolicyFiles) -> None:
        """Until everything is over. Raises WorkerFailed where they cannot even begin."""
        loop = asyncio.get_running_loop()
        reloads = Reloads(files, self._reload, watch=self._configuration.watch)
        loop.add_signal_handler(signal.SIGTERM, self._end)
        loop.add_signal_handler(signal.SIGINT, self._end)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._read_again(reloads))
        administration = Administration(self._configuration, self.reports, lambda: self._restarts)
        await administration.start()
        reloading = asyncio.create_task(reloads.run())
        keeping = [asyncio.create_task(self._keep(number)) for number in range(self._configuration.workers)]
        announcing = asyncio.create_task(self._announce())
        try:
            await asyncio.gather(*keeping)
        except WorkerFailed:
            self._end()
            await asyncio.gather(*keeping, return_exceptions=True)
            raise
        finally:
            announcing.cancel()
            reloading.cancel()
            await administration.close()

    async def reports(self) -> list[Report]:
        """What the workers say of themselves. One that does not answer in time is left out."""
        loop = asyncio.get_running_loop()
        for number, channel in self._workers.items():
            if number not in self._asked:
                self._asked[number] = loop.create_future()
                channel.send(Ask())
        asked = list(self._asked.values())
        if asked:
            await asyncio.wait(asked, timeout=REPORT_SECONDS)
        return sorted((one.result() for one in asked if one.done()), key=lambda report: report.worker)

    async def _announce(self) -> None:
        for ready in self._ready:
            await ready.wait()
        say_ready(self._reservation.address)

    def _reload(self, policies: Policies) -> None:
        self._policies = policies
        for channel in self._workers.values():
            channel.send(Reload(policies))

    def _read_again(self, reloads: Reloads) -> None:
        reloads.request()
        for channel in self._workers.values():
            channel.send(ReadCertificates())

    def _end(self) -> None:
        self._hurry = self._ending.is_set()
        self._ending.set()
        for channel in self._workers.values():
            channel.send(Drain(self._hurry))

    async def _keep(self, number: int) -> None:
        """Has worker ``number`` running until the end."""
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while not self._ending.is_set():
            began = loop.time()
            code = await self._run(number)
            Headcount.forget(self._memory, number)
            if self._ending.is_set():
                return
            if not self._ready[number].is_set():
                raise WorkerFailed
            if loop.time() - began > LONGEST_PAUSE or code == Code.FINE:
                pause = FIRST_PAUSE
            self._restarts += 1
            _log.error("a worker ended and is started again", worker=number, code=code, seconds=pause)
            try:
                async with asyncio.timeout(pause):
                    await self._ending.wait()
            except TimeoutError:
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _run(self, number: int) -> int:
        """One life of a worker; its exit code, or minus the signal that killed it."""
        ours, theirs = socket.socketpair()
        listener = self._reservation.shared
        passed = [theirs.fileno(), self._shared, self._audit.descriptor]
        passed += [] if listener is None else [listener.fileno()]
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "proxy.cli.worker", str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                pass_fds=passed,
                env=os.environ | {"PYTHONPATH": _search_path()},
                start_new_session=True,  # Ctrl-C reaches the supervisor, which tells the others
            )
        channel = await Channel.over(ours)
        self._workers[number] = channel
        channel.send(self._charge(number))
        if self._ending.is_set():
            channel.send(Drain(self._hurry))
        listening = asyncio.create_task(self._listen(number, channel))
        killing = asyncio.create_task(self._kill_late(process))
        try:
            return await process.wait()
        finally:
            listening.cancel()
            self._asked.pop(number, None)
            killing.cancel()
            del self._workers[number]
            channel.close()
            if process.returncode is None:
                process.kill()

    def _charge(self, number: int) -> Charge:
        torn = self._audit.torn if isinstance(self._audit, FileSink) and number == 0 else b""
        if torn and isinstance(self._audit, FileSink):
            self._audit.torn = b""
        listener = self._reservation.shared
        return Charge(
            configuration=self._configuration,
            policies=self._policies,
            number=number,
            workers=self._configuration.workers,
            memory=self._shared,
            audit=self._audit.descriptor,
            listener=None if listener is None else listener.fileno(),
            torn=torn,
        )

    async def _listen(self, number: int, channel: Channel) -> None:
        while (message := await channel.receive()) is not None:
            if isinstance(message, Ready):
                self._ready[number].set()
            elif isinstance(message, Report):
                asked = self._asked.pop(number, None)
                if asked is not None and not asked.done():
                    asked.set_result(message)

    async def _kill_late(self, process: asyncio.subprocess.Process) -> None:
        await self._ending.wait()
        await asyncio.sleep(server_options(self._configuration).grace_seconds + _MARGIN_SECONDS)
        process.kill()


def _search_path() -> str:
    """Where workers find this very package, whatever stands in the working directory."""
    own = str(Path(proxy.__file__).parent.parent)
    return os.pathsep.join(filter(None, (own, os.environ.get("PYTHONPATH"))))
