"""Prepared statements and portals by name, while messages that change them may still be in flight."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Generic, TypeVar

T = TypeVar("T")

NAME_BYTES: Final = 63
"""NAMEDATALEN - 1: PostgreSQL compares no more of a statement's or portal's name (dynahash.c, string_hash)."""


class Unsettled(Enum):
    """What a name stands for is not known before earlier replies have come."""

    UNSETTLED = auto()


@dataclass(slots=True, eq=False)
class Change(Generic[T]):
    """A message in flight makes ``name`` stand for ``value`` (None: for nothing), if it succeeds.

    ``segment`` counts Syncs: after an error the upstream skips the rest of a segment and nothing else.
    """

    name: bytes
    value: T | None
    segment: int


class Names(Generic[T]):
    """What names stand for upstream.

    A message may rely on a change in flight of its own segment: if that fails, the message is skipped. It may not rely
    on one of an earlier segment, which may have failed and left an older thing under the name.
    """

    def __init__(self) -> None:
        self._confirmed: dict[bytes, T] = {}
        self._flying: dict[bytes, deque[Change[T]]] = {}

    @property
    def settled(self) -> bool:
        return not self._flying

    def look_up(self, name: bytes, segment: int) -> T | Unsettled | None:
        flying = self._flying.get(name[:NAME_BYTES]) if self._flying else None
        if flying:
            return flying[-1].value if flying[-1].segment == segment else Unsettled.UNSETTLED
        return self._confirmed.get(name[:NAME_BYTES])

    def confirmed(self) -> dict[bytes, T]:
        return self._confirmed

    def known(self, name: bytes) -> bool:
        """The name stands for something, or a change of it is in flight."""
        return name in self._confirmed or name in self._flying

    def change(self, name: bytes, value: T | None, segment: int) -> Change[T]:
        change = Change(name[:NAME_BYTES], value, segment)
        self._flying.setdefault(change.name, deque()).append(change)
        return change

    def settle(self, change: Change[T]) -> T | None:
        """The change happened. Returns what the name stood for before."""
        self.drop(change)
        before = self._confirmed.pop(change.name, None)
        if change.value is not None:
            self._confirmed[change.name] = change.value
        return before

    def drop(self, change: Change[T]) -> None:
        """The change did not happen."""
        flying = self._flying[change.name]
        flying.remove(change)  # the first of them, as a rule: cheap in a deque
        if not flying:
            del self._flying[change.name]

    def put(self, name: bytes, value: T) -> None:
        """Something made the name outside of this protocol: SQL PREPARE."""
        self._confirmed[name[:NAME_BYTES]] = value

    def remove(self, name: bytes) -> T | None:
        """SQL DEALLOCATE, CLOSE. Returns what the name stood for."""
        return self._confirmed.pop(name[:NAME_BYTES], None)

    def clear(self, keep: bytes | None = None) -> list[T]:
        """Everything that stands is gone but ``keep``. Returns what went."""
        kept = self._confirmed.pop(keep, None) if keep is not None else None
        gone = list(self._confirmed.values())
        self._confirmed.clear()
        if keep is not None and kept is not None:
            self._confirmed[keep] = kept
        return gone
