"""Relations that only this session sees, and those that only others still see: temporary ones, and what its open
transaction made or dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.catalog.model import Relation

TEMPORARY: Final = "pg_temp"

Names = Mapping[tuple[str, str], Relation | None]
"""By schema and name; None is a relation that was dropped. What one looks like is not known here, so OID and columns
are missing.
"""


class Overlay:
    """Rolled back with the transaction and its savepoints."""

    def __init__(self) -> None:
        self._names: Names = {}
        self._committed: Names = {}
        self._savepoints: list[tuple[str, Names]] = []

    @property
    def dirty(self) -> bool:
        """The transaction under way changed something."""
        return self._names is not self._committed

    def relations(self) -> Names:
        return self._names

    def create(self, schema: str, name: str, temporary: bool) -> None:
        place = TEMPORARY if temporary else schema
        self._names = {**self._names, (place, name): Relation(0, place, name, "r", temporary=temporary)}

    def drop(self, schema: str | None, name: str) -> None:
        """Without a schema a temporary relation goes before any other of that name."""
        if schema is None:
            places = [place for place, found in self._names if found == name]
            schema = TEMPORARY if TEMPORARY in places or not places else places[0]
        if schema == TEMPORARY:
            self._names = {place: found for place, found in self._names.items() if place != (schema, name)}
        else:
            self._names = {**self._names, (schema, name): None}

    def drop_temporary(self) -> None:
        """DISCARD TEMP, DISCARD ALL."""
        self._names = {place: found for place, found in self._names.items() if place[0] != TEMPORARY}

    def savepoint(self, name: str) -> None:
        self._savepoints.append((name, self._names))

    def release(self, name: str) -> None:
        del self._savepoints[self._find(name) :]

    def rollback_to(self, name: str) -> None:
        position = self._find(name)
        if position < len(self._savepoints):
            self._names = self._savepoints[position][1]
            del self._savepoints[position + 1 :]

    def end(self, committed: bool) -> None:
        """The transaction is over."""
        if committed:
            self._committed = self._names
        else:
            self._names = self._committed
        self._savepoints.clear()

    def forget_committed(self) -> None:
        """The shared catalog shows what was committed of permanent relations. Only outside of a transaction that made
        or dropped some: what an open one did stays."""
        if not self.dirty and any(place[0] != TEMPORARY for place in self._names):
            self._names = {place: found for place, found in self._names.items() if place[0] == TEMPORARY}
            self._committed = self._names

    def _find(self, name: str) -> int:
        for position in range(len(self._savepoints) - 1, -1, -1):
            if self._savepoints[position][0] == name:
                return position
        return len(self._savepoints)
