"""Relations that only this session sees: temporary ones, and permanent ones before the shared catalog shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proxy.catalog.model import Relation

TEMPORARY: Final = "pg_temp"

Name = tuple[str, str]


class Overlay:
    """Names by (schema, relation), rolled back with the transaction and its savepoints.

    What a relation looks like is not known here, so every entry stands for None: it exists, and that is all.
    """

    def __init__(self) -> None:
        self._names: frozenset[Name] = frozenset()
        self._committed: frozenset[Name] = frozenset()
        self._savepoints: list[tuple[str, frozenset[Name]]] = []

    @property
    def dirty(self) -> bool:
        """The transaction under way changed something."""
        return self._names != self._committed

    def relations(self) -> Mapping[Name, Relation | None]:
        return dict.fromkeys(sorted(self._names))

    def create(self, schema: str, name: str) -> None:
        self._names |= {(schema, name)}

    def drop(self, schema: str | None, name: str) -> None:
        """Without a schema a temporary relation goes before any other of that name."""
        if schema is None:
            candidates = {found for found in self._names if found[1] == name}
            temporary = (TEMPORARY, name)
            self._names -= {temporary} if temporary in candidates else candidates
        else:
            self._names -= {(schema, name)}

    def drop_temporary(self) -> None:
        """DISCARD TEMP, DISCARD ALL."""
        self._names = frozenset(found for found in self._names if found[0] != TEMPORARY)

    def savepoint(self, name: str) -> None:
        self._savepoints.append((name, self._names))

    def release(self, name: str) -> None:
        del self._savepoints[self._find(name) :]

    def rollback_to(self, name: str) -> None:
        position = self._find(name)
        self._names = self._savepoints[position][1] if position < len(self._savepoints) else self._names
        del self._savepoints[position + 1 :]

    def end(self, committed: bool) -> None:
        """The transaction is over."""
        if committed:
            self._committed = self._names
        else:
            self._names = self._committed
        self._savepoints.clear()

    def forget_committed(self) -> None:
        """The shared catalog shows the permanent relations that were committed."""
        shown = frozenset(found for found in self._committed if found[0] != TEMPORARY)
        self._committed -= shown
        self._names -= shown

    def _find(self, name: str) -> int:
        for position in range(len(self._savepoints) - 1, -1, -1):
            if self._savepoints[position][0] == name:
                return position
        return len(self._savepoints)
