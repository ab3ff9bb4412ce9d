"""The pages of the admin address, out of the reports of all workers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from proxy.cli.address import written
from proxy.cli.configuration import Configuration
from proxy.cli.report import Report
from proxy.server import AdminServer, Page
from proxy.server.connect import connect

PAGES: Final = ("/", "/metrics", "/healthz", "/readyz")
UPSTREAM_SECONDS: Final = 2.0
"""How long the upstream may take to accept a connection before it counts as gone."""


class Administration:
    """Serves ``/``, ``/metrics``, ``/healthz`` and ``/readyz``. ``reports`` asks the workers; those that do not answer
    are missing. ``restarts``: how many were started again.
    """

    def __init__(
        self,
        configuration: Configuration,
        reports: Callable[[], Awaitable[Sequence[Report]]],
        restarts: Callable[[], int] = lambda: 0,
    ) -> None:
        self._configuration = configuration
        self._reports = reports
        self._restarts = restarts
        pages = dict(zip(PAGES, (self._console, self._metrics, self._health, self._readiness), strict=True))
        address = configuration.admin
        self._server = None if address is None else AdminServer(address, pages)

    async def start(self) -> None:
        """Listens, where that was configured. Raises OSError."""
        if self._server is not None and self._configuration.admin is not None:
            address = await self._server.start()
            if not self._configuration.admin.port and not address.path:
                print(f"consentry admin on {written(address)}", file=sys.stderr, flush=True)

    async def close(self) -> None:
        if self._server is not None:
            await self._server.close()

    async def _metrics(self) -> Page:
        # Only here: it brings much with it that nobody needs who has no admin address.
        from proxy.cli.metrics import KIND, exposition

        return Page(exposition(await self._reports(), self._restarts()), KIND)

    async def _health(self) -> Page:
        return Page("ok\n")

    async def _readiness(self) -> Page:
        unready = await self._unready(await self._reports())
        return Page("ready\n") if unready is None else Page(f"{unready}\n", status=503)

    async def _console(self) -> Page:
        from proxy.cli.console import page

        reports = await self._reports()
        body = page(reports, self._configuration.workers, await self._unready(reports))
        return Page(body, "text/html; charset=utf-8")

    async def _unready(self, reports: Sequence[Report]) -> str | None:
        """Why no new client should come here."""
        accepting = [report for report in reports if report.accepting]
        if not accepting:
            return "no worker accepts connections"
        if all(report.tally.failing for report in accepting):
            return "the audit cannot be written"
        try:
            async with asyncio.timeout(UPSTREAM_SECONDS):
                transport, _ = await connect(asyncio.Protocol, self._configuration.upstream.address)
        except (OSError, TimeoutError):
            return "the upstream accepts no connections"
        transport.close()
        return None
