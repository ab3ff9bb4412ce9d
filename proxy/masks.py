"""Masks: what shows of a hidden value (SPEC 5.4), as SQL that cannot raise and names nothing by search_path."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mask:
    """One mask with its parameters. ``kind`` is a name of SPEC 5.4's table."""

    kind: str
    keep_first: int = 0
    keep_last: int = 0
    fill: str = "****"
    min_length: int | None = None
    step: int | None = None
    value: str | int | float | bool | None = None
    length: int | None = None
