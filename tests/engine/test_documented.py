"""What the closed world leaves out stands in the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.sql.statements import KINDS, Family

LIMITATIONS = Path("docs/limitations.md").read_text("utf-8")


@pytest.mark.parametrize("tag", sorted({tag for family, tag in KINDS.values() if family is Family.CODE}))
def test_statements_that_run_code_are_listed(tag: str) -> None:
    assert tag in LIMITATIONS
