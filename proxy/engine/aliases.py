"""Names for what secured relations read: no client can guess them.

The plan witness (:mod:`proxy.engine.witness`) knows our scans by them, so a client that could name a table alike could
hide one that we missed. They are the same for the life of the process: equal texts must give equal statements.
"""

from __future__ import annotations

import secrets
from typing import Final

TOKEN: Final = f"_{secrets.token_hex(6)}"
"""Ends each of the names. Never shown to a client."""


def alias(stem: str) -> str:
    """``t`` as a name that nobody can guess. PostgreSQL puts ``_1`` behind it for each child of a table."""
    return stem + TOKEN


def is_ours(name: str) -> bool:
    """A name in a plan is one of ours, or made of one."""
    return TOKEN in name


def readable(text: str) -> str:
    """Generated SQL as people may see it."""
    return text.replace(TOKEN, "")
