"""The settings of a session that decisions depend on, with PostgreSQL's own transaction semantics (guc.c). Pure.

Tracked names: ``consentry.purpose``, ``consentry.actor``, ``consentry.subject``, ``consentry.notify``,
``search_path``, ``role``, ``session_authorization``. A setting that is not set is absent (and an empty
``consentry.*`` is none).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from proxy.verdict import Effect


class Settings:
    """A stack of transaction levels over the session's start values. To be written by the session's author."""

    def __init__(self, start: Mapping[str, str]) -> None:
        raise NotImplementedError

    @property
    def dirty(self) -> bool:
        """Something was set in the transaction under way."""
        raise NotImplementedError

    def current(self) -> dict[str, str]:
        """The values now in force."""
        raise NotImplementedError

    def apply(self, effect: Effect, in_block: bool) -> None:
        """A statement with ``effect`` completed; ``in_block``: inside an explicit transaction block."""
        raise NotImplementedError

    def copy(self) -> Self:
        raise NotImplementedError
