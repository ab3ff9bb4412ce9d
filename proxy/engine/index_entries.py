"""How long what an index holds may become: the server refuses an entry that is too long, and says how long it was."""

from __future__ import annotations

from typing import Final

from proxy.catalog.model import Column

ALONE: Final = 600
"""Characters of at most 4 bytes that surely fit into an index entry, of which a page must hold three."""
BESIDE_OTHERS: Final = 128
"""Characters that leave room for others in the entry."""
_SHORT_CATEGORIES = frozenset("BDNTE")
_SHORT_TYPES = frozenset({2950, 869, 650, 829, 774})
"""uuid, inet, cidr, macaddr, macaddr8."""


def may_be_long(column: Column | None, longest: int = ALONE) -> bool:
    """A value of the column may be longer than ``longest`` characters, or of any length."""
    if column is None:
        return False
    if column.base_type in (1042, 1043):
        modifier = column.typmod if column.typmod > 0 else column.base_typmod
        return not 0 < modifier - 4 <= longest
    if column.base_type == 1700:
        return column.typmod < 0 and column.base_typmod < 0
    return not (column.is_enum or column.type_category in _SHORT_CATEGORIES or column.base_type in _SHORT_TYPES)
