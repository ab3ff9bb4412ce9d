"""Which policy holds where: one for every database, or its own for some of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.policy.model import Policy


@dataclass(frozen=True, slots=True)
class Policies:
    """``everywhere`` holds in each database that ``databases`` does not name; None: nobody may connect to such."""

    everywhere: Policy | None
    databases: Mapping[str, Policy] = field(default_factory=dict)

    def of(self, database: str) -> Policy | None:
        """The policy of ``database``."""
        return self.databases.get(database, self.everywhere)

    @property
    def all(self) -> tuple[Policy, ...]:
        """Each of them, that of everywhere first."""
        first = () if self.everywhere is None else (self.everywhere,)
        return first + tuple(self.databases.values())
