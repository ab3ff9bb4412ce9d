"""One worker of several: a process that serves, and does what its supervisor says over the channel.

``python -m proxy.cli.worker DESCRIPTOR``: nobody but a supervisor starts it.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import uvloop

from proxy.audit import TURN_BYTES, AuditJournal, Damaged, SharedSink, Turns, join_journal
from proxy.cli import Code
from proxy.cli.channel import Ask, Channel, Charge, Drain, ReadCertificates, Ready, Reload
from proxy.cli.logs import log_to_stderr
from proxy.cli.process import audit_failure, could_not_run, listen_failure
from proxy.cli.service import Service, hash_key
from proxy.server import ConflictCounts, Headcount
from proxy.server.certificates import Unusable
from proxy.server.headcount import BLOCK_BYTES


def main() -> None:
    """Serves until the supervisor says otherwise, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.exit(uvloop.run(_work(socket.socket(fileno=int(sys.argv[1])))))


async def _work(end: socket.socket) -> Code:
    channel = await Channel.over(end)
    charge: Charge | None = await channel.receive()
    if charge is None:
        return Code.COULD_NOT_RUN
    log_to_stderr(worker=charge.number)
    configuration = charge.configuration
    memory = mmap.mmap(charge.memory, 0)
    try:
        journal = _journal(charge, memory)
    except (OSError, Damaged) as error:
        return could_not_run(audit_failure(configuration, error))
    try:
        service = Service(
            configuration,
            charge.policies,
            journal,
            reuse_port=True,
            headcount=Headcount(
                configuration.connections, configuration.connections_per_role, memory, charge.number, charge.workers
            ),
            conflicts=ConflictCounts(memory, charge.workers * BLOCK_BYTES + TURN_BYTES, charge.workers, charge.number),
            listener=None if charge.listener is None else socket.socket(fileno=charge.listener),
        )
    except Unusable as unusable:
        return could_not_run(str(unusable))
    try:
        await _serve(service, channel, charge.number)
    except OSError as error:
        return could_not_run(listen_failure(configuration, error))
    finally:
        await service.close()
    try:
        journal.stop()
    except OSError as error:
        return could_not_run(audit_failure(configuration, error))
    return Code.FINE


def _journal(charge: Charge, memory: mmap.mmap) -> AuditJournal:
    configuration = charge.configuration
    path = None if configuration.audit == "-" or not _is_file(charge.audit) else Path(configuration.audit)
    sink = SharedSink(charge.audit, Turns(memory, charge.memory, charge.workers * BLOCK_BYTES), path)
    return join_journal(
        sink,
        charge.policies,
        hash_key=hash_key(configuration),
        chain_key=configuration.audit_key,
        torn=charge.torn,
        observing=configuration.mode == "observe",
    )


def _is_file(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


async def _serve(service: Service, channel: Channel, number: int) -> None:
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    channel.send(Ready(await service.start()))
    obeying = asyncio.create_task(_obey(service, channel, ending, number))
    try:
        await ending.wait()
        await service.drain()
    finally:
        obeying.cancel()


async def _obey(service: Service, channel: Channel, ending: asyncio.Event, number: int) -> None:
    while True:
        match await channel.receive():
            case Reload(policies):
                service.policies.put(policies)
            case Ask():
                channel.send(service.report(number))
            case ReadCertificates():
                service.read_certificates()
            case Drain(hurry):
                if hurry:
                    service.hurry()
                ending.set()
            case None:
                ending.set()
                return


if __name__ == "__main__":
    main()
