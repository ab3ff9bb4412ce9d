"""A mask with its parameters, and the masks that need none but a name."""

from __future__ import annotations

from dataclasses import dataclass

PARTIAL = {
    # kind: (characters kept in front, characters kept behind, fill, shortest value that is not all fill)
    "phone": (3, 4, "****", 8),
    "id_card": (1, 1, "****", 15),
    "name": (1, 0, "**", 2),
    "bank_card": (0, 4, "****", 12),
    "address": (6, 0, "****", 10),
}

KINDS = frozenset(
    {*PARTIAL, "email", "partial", "redact", "nullify", "year", "month", "range", "constant", "hash"},
)


@dataclass(frozen=True, slots=True)
class Mask:
    """One mask with its parameters. ``kind`` is one of :data:`KINDS`; the other fields belong to ``partial``
    (``keep_first``, ``keep_last``, ``fill`` as it is written out, ``min_length``), ``range`` (``step``), ``constant``
    (``value``) and ``hash`` (``length``).
    """

    kind: str
    keep_first: int = 0
    keep_last: int = 0
    fill: str = "****"
    min_length: int | None = None
    step: int | None = None
    value: str | int | float | bool | None = None
    length: int | None = None


def named(kind: str) -> Mask:
    """The mask of this name, without parameters. Raises ValueError for a name that is none."""
    if kind not in KINDS:
        message = f"there is no mask {kind!r}"
        raise ValueError(message)
    return Mask(kind)
