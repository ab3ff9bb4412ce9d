"""The catalogs that ``serve`` hands to sessions: each is held against the policy when it is first read."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from proxy.catalog.catalogs import Catalogs
from proxy.catalog.model import Catalog
from proxy.catalog.own import OwnCatalog
from proxy.engine.standing import Standing, left, standing
from proxy.policy.model import Policy
from proxy.policy.verify import verify

_log = structlog.get_logger(__name__)


class CheckedCatalogs:
    """A catalog source (:class:`proxy.session.circumstances.CatalogSource`) that logs what a database says against the
    policy: once for each database and policy, errors and warnings; and whenever what the policy protects is renamed,
    moved or dropped there, since the policy goes by names.

    A mask that does not fit its column shows NULL, so the session may go on.
    """

    def __init__(self, catalogs: Catalogs, policy: Callable[[str], Policy | None]) -> None:
        self._catalogs = catalogs
        self._policy = policy
        self._checked: set[tuple[str, str]] = set()
        self._newest: dict[str, Catalog] = {}
        self._standing: dict[str, Standing] = {}

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
        catalog = self._catalogs.current(database)
        if catalog is not self._newest.get(database):
            self._follow(database, catalog)
        return catalog

    def _follow(self, database: str, catalog: Catalog) -> None:
        """Logs what left its place since the catalog before this one."""
        policy = self._policy(database)
        if policy is None:
            return
        for was, now in left(self._standing.get(database, {}), catalog):
            _log.error("what the policy protects is not where it was", was=was, now=now, database=database)
        self._newest[database] = catalog
        self._standing[database] = standing(policy, catalog)

    def own(self, database: str) -> OwnCatalog:
        """See :meth:`proxy.catalog.catalogs.Catalogs.own`."""
        return self._catalogs.own(database)
