"""Which relation names there are, and what becomes of a prepared statement when they change.

PostgreSQL analyses a prepared statement again when a relation in it changes or search_path does, but not when a new
relation takes over a name in it (manual, PREPARE, Notes). A decision made today on a text would then be one on other
relations than those that the statement still reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.session.overlay import Names


@dataclass(frozen=True, slots=True, eq=False)
class Naming:
    """One state of all names: of the session's overlay and of the shared catalog."""

    overlay: Names
    catalog: Mapping[tuple[str, str], int]

    def same(self, overlay: Names, catalog: Mapping[tuple[str, str], int]) -> bool:
        """Nothing was created, dropped or renamed."""
        return self.overlay is overlay and (self.catalog is catalog or self.catalog == catalog)


class Shadows:
    """Tells which texts may mean other relations than they did. Remembers the last comparison: all statements of a
    session ask for the same one.
    """

    def __init__(self) -> None:
        self._between: tuple[Naming, Naming] | None = None
        self._changed: tuple[bytes, ...] = ()

    def concern(self, text: bytes, then: Naming, now: Naming) -> bool:
        """A name that came or went between ``then`` and ``now`` may stand in ``text``."""
        if then is now:
            return False
        if self._between is None or self._between[0] is not then or self._between[1] is not now:
            self._between = (then, now)
            self._changed = _changed(then, now)
        if not self._changed:
            return False
        folded = text.lower()
        # An identifier with Unicode escapes may spell any name.
        return b"u&" in folded or any(name in folded for name in self._changed)


def _changed(then: Naming, now: Naming) -> tuple[bytes, ...]:
    names = then.catalog.keys() ^ now.catalog.keys()
    for place in then.overlay.keys() | now.overlay.keys():
        # Absent, there, dropped: three different things.
        if _state(then.overlay, place) != _state(now.overlay, place):
            names.add(place)
    return tuple({name.replace('"', '""').lower().encode() for _, name in names})


def _state(overlay: Names, place: tuple[str, str]) -> tuple[bool, bool]:
    return place in overlay, overlay.get(place) is None
