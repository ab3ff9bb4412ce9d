"""``consentry serve`` in one process: follows signals, ends in order."""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop

from proxy.audit import AuditJournal, Damaged, open_journal
from proxy.cli import Code
from proxy.cli.address import written
from proxy.cli.administration import Administration
from proxy.cli.configuration import Configuration
from proxy.cli.policy_files import PolicyFiles, Reloads
from proxy.cli.report import Report
from proxy.cli.service import Service, hash_key
from proxy.policy.in_force import Policies
from proxy.server import Address
from proxy.server.certificates import Unusable


class CouldNotListen(Exception):
    """Says on which address, and why."""


def run(configuration: Configuration, files: PolicyFiles, policies: Policies) -> Code:
    """Serves until SIGTERM or SIGINT. ``policies`` is what ``files`` said."""
    key = hash_key(configuration)
    try:
        journal = open_journal(
            configuration.audit,
            policies,
            hash_key=key,
            chain_key=configuration.audit_key,
            observing=configuration.mode == "observe",
        )
    except (OSError, Damaged) as error:
        return could_not_run(audit_failure(configuration, error))
    try:
        uvloop.run(_serve(configuration, files, policies, journal))
    except CouldNotListen as error:
        return could_not_run(str(error))
    except Unusable as unusable:
        return could_not_run(str(unusable))
    except OSError as error:
        return could_not_run(listen_failure(configuration, error))
    try:
        journal.stop()
    except OSError as error:
        return could_not_run(audit_failure(configuration, error))
    return Code.FINE


async def _serve(configuration: Configuration, files: PolicyFiles, policies: Policies, journal: AuditJournal) -> None:
    service = Service(configuration, policies, journal)
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    reloads = Reloads(files, service.policies.put, watch=configuration.watch)

    def end() -> None:
        if ended.is_set():
            service.hurry()
        ended.set()

    def reload() -> None:
        reloads.request()
        service.read_certificates()

    loop.add_signal_handler(signal.SIGTERM, end)
    loop.add_signal_handler(signal.SIGINT, end)
    loop.add_signal_handler(signal.SIGHUP, reload)

    async def reports() -> list[Report]:
        return [service.report()]

    administration = Administration(configuration, reports)
    try:
        await administration.start()
    except OSError as error:
        raise CouldNotListen(admin_failure(configuration, error)) from error
    reloading = asyncio.create_task(reloads.run())
    try:
        say_ready(await service.start())
        await ended.wait()
        await service.drain()
    finally:
        reloading.cancel()
        await administration.close()
        await service.close()


def say_ready(address: Address) -> None:
    """The line that scripts wait for."""
    print(f"consentry ready on {written(address)}", file=sys.stderr, flush=True)


def audit_failure(configuration: Configuration, error: OSError | Damaged) -> str:
    """Why the audit cannot be written."""
    if isinstance(error, Damaged):
        return f"{configuration.audit}: the last line {error}; move the file away to begin another"
    if isinstance(error, BlockingIOError):
        return f"{configuration.audit}: another process writes this audit file"
    return f"{configuration.audit}: {error.strerror}"


def listen_failure(configuration: Configuration, error: OSError) -> str:
    """Why nobody can connect."""
    return f"{written(configuration.listen)}: {error.strerror or error}"


def admin_failure(configuration: Configuration, error: OSError) -> str:
    """Why nobody can look."""
    where = "" if configuration.admin is None else written(configuration.admin)
    return f"{where}: {error.strerror or error}"


def could_not_run(message: str) -> Code:
    """Says why, on standard error."""
    print(f"consentry: {message}", file=sys.stderr, flush=True)
    return Code.COULD_NOT_RUN
