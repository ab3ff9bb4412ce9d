"""The catalogs that ``serve`` hands to sessions: each is held against the policy when it is first read."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from proxy.catalog.catalogs import Catalogs
from proxy.catalog.model import Catalog
from proxy.catalog.own import OwnCatalog
from proxy.policy.model import Policy
from proxy.policy.verify import verify

_log = structlog.get_logger(__name__)


class CheckedCatalogs:
    """A catalog source (:class:`proxy.session.circumstances.CatalogSource`) that logs what a database says against the
    policy: once for each database and policy, errors and warnings.

    A mask that does not fit its column shows NULL, so the session may go on.
    """

    def __init__(self, catalogs: Catalogs, policy: Callable[[str], Policy | None]) -> None:
        self._catalogs = catalogs
        self._policy = policy
        self._checked: set[tuple[str, str]] = set()

    async def catalog(self, database: str) -> Catalog:
        """See :meth:`proxy.catalog.catalogs.Catalogs.catalog`."""
        catalog = await self._catalogs.catalog(database)
        policy = self._policy(database)
        if policy is not None and (database, policy.digest) not in self._checked:
            self._checked.add((database, policy.digest))
            for finding in verify(policy, catalog):
                _log.warning(finding.message, code=finding.code, severity=str(finding.severity), database=database)
        return catalog

    def release(self, database: str) -> None:
        """See :meth:`proxy.catalog.catalogs.Catalogs.release`."""
        self._catalogs.release(database)

    async def reload(self, database: str) -> Catalog:
        """See :meth:`proxy.catalog.catalogs.Catalogs.reload`."""
        return await self._catalogs.reload(database)

    def current(self, database: str) -> Catalog:
        """See :meth:`proxy.catalog.catalogs.Catalogs.current`."""
        return self._catalogs.current(database)

    def own(self, database: str) -> OwnCatalog:
        """See :meth:`proxy.catalog.catalogs.Catalogs.own`."""
        return self._catalogs.own(database)
