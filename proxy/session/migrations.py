"""Changes of the schema that sessions are about to commit: until the shared catalog shows them, what is answered to
other sessions may have been decided upon names and functions that are others by now.
"""

from __future__ import annotations

from typing import Final

from proxy.verdict import ChangeCatalog, CreateRelation, DropRelation, Effect

ABANDONED_SECONDS: Final = 10.0
"""How long the upstream may still commit what a client asked for that went away."""


class Migrations:
    """Shared by all sessions of a server. Who announces something is known by any object of its own."""

    def __init__(self) -> None:
        self._announced: dict[str, dict[object, float]] = {}

    def announce(self, database: str, who: object) -> None:
        """``who`` is about to send what commits a change of the schema."""
        self._announced.setdefault(database, {})[who] = float("inf")

    def withdraw(self, database: str, who: object) -> None:
        """The shared catalog shows it, or nothing was committed."""
        found = self._announced.get(database)
        if found is not None and found.pop(who, None) is not None and not found:
            del self._announced[database]

    def abandon(self, database: str, who: object, now: float) -> None:
        """``who`` is gone, and the upstream may or may not commit."""
        found = self._announced.get(database)
        if found is not None and who in found:
            found[who] = now + ABANDONED_SECONDS

    def others(self, database: str, who: object, now: float) -> bool:
        """Somebody else may just have changed the schema."""
        found = self._announced.get(database)
        if found is None:
            return False
        for gone in [one for one, until in found.items() if until < now]:
            self.withdraw(database, gone)
        return any(one is not who for one in found)


def concerns_others(effects: tuple[Effect, ...]) -> bool:
    """A statement with ``effects`` changes what other sessions see; one that makes temporary tables alone does not."""
    if not any(isinstance(effect, ChangeCatalog) for effect in effects):
        return False
    if any(isinstance(effect, DropRelation) for effect in effects):
        return True
    created = [effect for effect in effects if isinstance(effect, CreateRelation)]
    return not created or not all(effect.temporary for effect in created)
