"""Changes of the schema that sessions are about to commit: until the shared catalog shows them, what is answered to
other sessions may have been decided upon names and functions that are others by now.

Some of them would have statements that were judged before run other code than was judged. Such a change takes effect
while nothing of other sessions is between its judgement and its end: it claims the database, waits for what is under
way, and what comes meanwhile waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from proxy.verdict import ChangeCatalog, CreateRelation, DropRelation, Effect

ABANDONED_SECONDS: Final = 10.0
"""How long the upstream may still commit what a client asked for that went away."""
CANCELLED_SECONDS: Final = 3.0
"""The same where the upstream was told to cancel it."""


class Party(Protocol):
    """A session that takes part. Hashable by identity."""

    @property
    def busy(self) -> bool:
        """A statement that was judged has not been answered to its end."""
        ...

    @property
    def settling(self) -> bool:
        """What it announced is done, and the shared catalog is being read anew."""
        ...


class Migrations:
    """Shared by all sessions of a server."""

    def __init__(self) -> None:
        self._announced: dict[str, dict[Party, float]] = {}
        self._claims: dict[str, dict[Party, float]] = {}
        self._parties: dict[str, set[Party]] = {}

    def join(self, database: str, who: Party) -> None:
        """``who`` runs statements from now on."""
        self._parties.setdefault(database, set()).add(who)

    def leave(self, database: str, who: Party) -> None:
        """``who`` is gone."""
        found = self._parties.get(database)
        if found is not None:
            found.discard(who)
            if not found:
                del self._parties[database]

    def announce(self, database: str, who: Party) -> None:
        """``who`` is about to send what commits a change of the schema."""
        self._announced.setdefault(database, {})[who] = float("inf")

    def withdraw(self, database: str, who: Party) -> None:
        """The shared catalog shows it, or nothing was committed."""
        for kept in (self._announced, self._claims):
            found = kept.get(database)
            if found is not None and found.pop(who, None) is not None and not found:
                del kept[database]

    def abandon(self, database: str, who: Party, now: float) -> None:
        """``who`` is gone, and the upstream may or may not commit."""
        for kept, seconds in ((self._announced, ABANDONED_SECONDS), (self._claims, CANCELLED_SECONDS)):
            found = kept.get(database)
            if found is not None and who in found:
                found[who] = now + seconds

    def under_way(self, database: str) -> bool:
        """Somebody may just have changed the schema."""
        return database in self._announced

    def others(self, database: str, who: Party, now: float) -> bool:
        """Somebody else may just have changed the schema."""
        return _others(self._announced, database, who, now)

    def claim(self, database: str, who: Party, now: float) -> bool:
        """Nothing of other sessions may begin until ``who`` withdraws. False while another has claimed that."""
        if _others(self._claims, database, who, now):
            return False
        self._claims.setdefault(database, {})[who] = float("inf")
        return True

    def alone(self, database: str, who: Party) -> bool:
        """Nothing of other sessions is under way."""
        return not any(one.busy for one in self._parties.get(database, ()) if one is not who)

    def holds(self, database: str, who: Party, clock: Callable[[], float]) -> bool:
        """What ``who`` would decide now has to wait: for a claim, or for the catalog that shows what was committed."""
        if not self._announced and not self._claims:
            return False
        now = clock()
        if _others(self._claims, database, who, now):
            return True
        announced = _others(self._announced, database, who, now)
        return announced and any(one is not who and one.settling for one in self._announced[database])


def _others(kept: dict[str, dict[Party, float]], database: str, who: Party, now: float) -> bool:
    found = kept.get(database)
    if found is None:
        return False
    for gone in [one for one, until in found.items() if until < now]:
        del found[gone]
    if not found:
        del kept[database]
    return any(one is not who for one in found)


def concerns_others(effects: tuple[Effect, ...]) -> bool:
    """A statement with ``effects`` changes what other sessions see; one that makes temporary tables alone does not."""
    if not any(isinstance(effect, ChangeCatalog) for effect in effects):
        return False
    if any(isinstance(effect, DropRelation) for effect in effects):
        return True
    created = [effect for effect in effects if isinstance(effect, CreateRelation)]
    return not created or not all(effect.temporary for effect in created)


def redirects(effects: tuple[Effect, ...]) -> bool:
    """After a statement with ``effects``, those that were judged before would run other code than was judged."""
    return any(isinstance(effect, ChangeCatalog) and effect.redirects for effect in effects)
