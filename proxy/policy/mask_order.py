"""Which of two masks shows less. Pure.

"At most as much" means: for every value, no character, digit or date part shows through the first mask that the second
one hides. ``nullify`` shows least, then what shows nothing of the value (``redact``, ``constant``); the masks that keep
characters at both ends compare by what they keep; ``year`` is coarser than ``month``, a range than its divisors. Masks
that do not compare both give way to one that shows at most as much as either.
"""

from __future__ import annotations

from typing import NamedTuple

from proxy.masks import Mask
from proxy.masks.mask import PARTIAL

NULLIFY = Mask("nullify")
REDACT = Mask("redact")


class Ends(NamedTuple):
    """What a mask keeps of a text of at least ``min_length`` characters; of a shorter one nothing."""

    first: int
    last: int
    min_length: int


_SHOW_NOTHING = frozenset({"redact", "constant"})


def ends(mask: Mask) -> Ends | None:
    """What ``mask`` keeps at both ends, or None where it does not work that way."""
    if mask.kind == "partial":
        least = mask.keep_first + mask.keep_last + 4 if mask.min_length is None else mask.min_length
        return Ends(mask.keep_first, mask.keep_last, least)
    if mask.kind in PARTIAL:
        first, last, _, least = PARTIAL[mask.kind]
        return Ends(first, last, least)
    return None


def shows(mask: Mask) -> bool:
    """Something of the value shows through ``mask``."""
    return mask.kind not in _SHOW_NOTHING and mask != NULLIFY


def at_most(one: Mask, other: Mask) -> bool:
    """``one`` shows at most as much as ``other``."""
    if one in (other, NULLIFY):
        return True
    if other == NULLIFY or one.kind in _SHOW_NOTHING:
        return other != NULLIFY
    mine, theirs = ends(one), ends(other)
    if mine and theirs:
        return mine.first <= theirs.first and mine.last <= theirs.last and mine.min_length >= theirs.min_length
    if (one.kind, other.kind) == ("year", "month"):
        return True
    if one.kind == other.kind == "range" and one.step and other.step:
        return one.step % other.step == 0
    if one.kind == other.kind == "hash" and one.length and other.length:
        return one.length <= other.length
    return False


def meet(one: Mask, other: Mask) -> Mask:
    """A mask that shows at most as much as either."""
    if at_most(one, other):
        return one
    if at_most(other, one):
        return other
    mine, theirs = ends(one), ends(other)
    if mine and theirs:
        first, last = min(mine.first, theirs.first), min(mine.last, theirs.last)
        return Mask("partial", first, last, min_length=max(mine.min_length, theirs.min_length))
    return REDACT
