"""Policies for tests, written as their authors would write them."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from proxy.policy.loader import load
from proxy.policy.model import Policy


@cache
def policy_of(text: str) -> Policy:
    """The policy of ``text``; fails with its diagnostics where it has an error."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.yaml"
        path.write_text(text, encoding="utf-8")
        loaded = load(path)
    assert loaded.policy is not None, "\n".join(map(str, loaded.diagnostics))
    return loaded.policy
