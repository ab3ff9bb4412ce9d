"""What only this session sees: its temporary objects, and what its open transaction made, altered or dropped.

Names of plain tables are followed by what the client did. Whatever else it does to the catalog is read on its own
connection (``own``), before the next statement that depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from proxy.catalog.model import TEMPORARY, Catalog, Relation

Names = Mapping[tuple[str, str], Relation | None]
"""By schema and name; None is a relation that was dropped. What one looks like is not known here, so OID and columns
are missing.
"""

_NOTHING: Final[Names] = {}
_PLAIN: Final = "rpiIt"
"""Kinds of relations of which the name says enough for a temporary one: tables, their indexes and TOAST."""


class _Seen(NamedTuple):
    """``own``: the session's own catalog, None where there is none. ``outdated``: it has to be read, or read anew.
    ``lasting``: it has, or may have, temporary objects that outlive the transaction and of which more than a name
    counts. ``code``: the open transaction may have made code. ``passing``: tables that end with it.
    """

    names: Names
    own: Catalog | None = None
    outdated: bool = False
    lasting: bool = False
    code: bool = False
    passing: frozenset[tuple[str, str]] = frozenset()


class Overlay:
    """Rolled back with the transaction and its savepoints."""

    def __init__(self) -> None:
        self._seen = _Seen(_NOTHING)
        self._committed = self._seen
        self._savepoints: list[tuple[str, _Seen]] = []

    @property
    def dirty(self) -> bool:
        """The transaction under way changed something."""
        return self._seen.names is not self._committed.names

    @property
    def own(self) -> Catalog | None:
        """What this session sees, where that is read and holds."""
        return None if self._seen.outdated else self._seen.own

    @property
    def named_all(self) -> bool:
        """Nothing is to be read of this session alone: it sees what others see, and names."""
        seen = self._seen
        return seen.own is None and not seen.outdated

    def unread(self, committed: Catalog) -> bool:
        """The session's own catalog has to be read, while others see ``committed``."""
        seen = self._seen
        return seen.outdated or (seen.own is not None and seen.own.committed is not committed)

    @property
    def code(self) -> bool:
        """The open transaction may have made code, and nobody looked what."""
        return self._seen.code and self.own is None

    def relations(self) -> Names:
        """The names to put over the shared catalog; none over the session's own, which has them."""
        return self._seen.names if self.own is None else _NOTHING

    # --- what the client did ------------------------------------------------------------------------------------------

    @property
    def named(self) -> bool:
        """Names of tables tell everything so far."""
        return self._seen.own is None and not self._seen.outdated and not self._seen.lasting

    def create(self, schema: str, name: str, temporary: bool, passing: bool = False) -> None:
        """``passing``: until the end of the transaction."""
        place = TEMPORARY if temporary else schema
        made = Relation(0, place, name, "r", temporary=temporary)
        self._seen = self._seen._replace(names={**self._seen.names, (place, name): made})
        if passing:
            self._seen = self._seen._replace(passing=self._seen.passing | {(place, name)})

    def drop(self, schema: str | None, name: str) -> None:
        """Without a schema a temporary relation goes before any other of that name."""
        names = self._seen.names
        if schema is None:
            places = [place for place, found in names if found == name]
            schema = TEMPORARY if TEMPORARY in places or not places else places[0]
        if schema == TEMPORARY:
            changed = {place: found for place, found in names.items() if place != (schema, name)}
        else:
            changed = {**names, (schema, name): None}
        self._seen = self._seen._replace(names=changed)

    def drop_temporary(self) -> None:
        """DISCARD TEMP, DISCARD ALL."""
        self._seen = _Seen({place: found for place, found in self._seen.names.items() if place[0] != TEMPORARY})

    def change(self, temporary: bool, code: bool) -> None:
        """The catalog changed in a way that names of tables do not tell. ``temporary``: perhaps temporary objects."""
        lasting = self._seen.lasting or temporary or any(place[0] == TEMPORARY for place in self._seen.names)
        self._seen = self._seen._replace(outdated=True, lasting=lasting, code=self._seen.code or code)

    # --- the session's own catalog ------------------------------------------------------------------------------------

    def show(self, own: Catalog, in_block: bool) -> None:
        """The session's own catalog was read, inside of a transaction block or not."""
        temporary = {place: own.relations[oid] for place, oid in own.relation_names.items() if place[0] == TEMPORARY}
        lasting = any(one.kind not in _PLAIN or _runs_code(one) for one in temporary.values())
        names: dict[tuple[str, str], Relation | None] = {
            place: found for place, found in self._seen.names.items() if place[0] != TEMPORARY
        }
        names |= {
            place: Relation(0, *place, "r", temporary=True) for place, one in temporary.items() if one.kind in "rp"
        }
        self._seen = self._seen._replace(
            names=names, own=own if in_block or lasting else None, outdated=False, lasting=lasting
        )
        if not in_block:
            self._committed = self._seen

    def give_up(self) -> None:
        """It cannot be read: names are all that is known until the catalog changes again."""
        self._seen = self._seen._replace(own=None, outdated=False)

    # --- transactions -------------------------------------------------------------------------------------------------

    def savepoint(self, name: str) -> None:
        self._savepoints.append((name, self._seen))

    def release(self, name: str) -> None:
        del self._savepoints[self._find(name) :]

    def rollback_to(self, name: str) -> None:
        position = self._find(name)
        if position < len(self._savepoints):
            self._seen = self._savepoints[position][1]
            del self._savepoints[position + 1 :]

    def end(self, committed: bool) -> None:
        """The transaction is over."""
        self._savepoints.clear()
        if self._seen is self._committed:
            return
        # What the catalog was in the transaction is not what it is outside.
        seen = self._seen if committed else self._committed
        names = seen.names
        if seen.passing:
            names = {place: found for place, found in names.items() if place not in seen.passing}
        self._seen = self._committed = _Seen(names, outdated=seen.lasting, lasting=seen.lasting)

    def forget_committed(self) -> None:
        """The shared catalog shows what was committed of permanent relations. Only outside of a transaction that made
        or dropped some: what an open one did stays."""
        names = self._seen.names
        if not self.dirty and any(place[0] != TEMPORARY for place in names):
            kept = {place: found for place, found in names.items() if place[0] == TEMPORARY}
            unchanged = self._seen is self._committed
            self._committed = self._committed._replace(names=kept)
            self._seen = self._committed if unchanged else self._seen._replace(names=kept)

    def _find(self, name: str) -> int:
        for position in range(len(self._savepoints) - 1, -1, -1):
            if self._savepoints[position][0] == name:
                return position
        return len(self._savepoints)


def _runs_code(relation: Relation) -> bool:
    return any(reach.functions or reach.relations or reach.opaque for reach in relation.reach.values())
