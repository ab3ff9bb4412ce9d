"""The JSON Schema says what the loader says, as far as shape goes; the reference documents every key and code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from proxy.policy import packs
from proxy.policy.diagnostic import CODES
from proxy.policy.document import parse
from proxy.policy.masking import BUILT_IN, WITH_PARAMETERS
from proxy.policy.schema import json_schema
from tests.policy.json_schema import accepts
from tests.policy.test_cases import CASES

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
SHAPE = {"unknown-key", "missing-key", "wrong-type"}


def document(path: Path) -> Any:
    return parse(path.read_text(encoding="utf-8")).root


@pytest.mark.parametrize("name", packs.names())
def test_accepts_the_shipped_files(name: str) -> None:
    path = packs.path(name)
    assert path is not None
    assert accepts(json_schema(), document(path))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_agrees_with_the_loader_about_shape(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    mistakes = re.findall(r"^#= \d+:\d+: error: (\S+):", text, re.MULTILINE)
    if any(code in SHAPE for code in mistakes) and "yaml" not in mistakes:
        assert not accepts(json_schema(), document(path))
    if not mistakes:
        assert accepts(json_schema(), document(path))


def keys() -> list[str]:
    schema = json_schema()
    forms = [schema, *schema["$defs"].values()]
    return sorted({key for form in forms for key in form.get("properties", {})})


def described() -> list[tuple[str, str]]:
    schema = json_schema()
    forms = {"policy": schema, **schema["$defs"]}
    return [
        (f"{name}.{key}", form["properties"][key].get("description", ""))
        for name, form in forms.items()
        for key in form.get("properties", {})
    ]


@pytest.mark.parametrize("key", keys())
def test_the_reference_has_every_key(key: str) -> None:
    assert re.search(rf"`(?:[\w.<>\[\]'*]+\.)?{key}`", REFERENCE), f"docs/policy.md does not say what `{key}` is"


@pytest.mark.parametrize(("key", "description"), described())
def test_every_key_is_described_to_editors(key: str, description: str) -> None:
    assert description, f"{key} has no description"


@pytest.mark.parametrize("code", CODES)
def test_the_reference_has_every_code(code: str) -> None:
    assert f"| `{code}` |" in REFERENCE


def test_the_reference_has_no_code_that_does_not_exist() -> None:
    section = REFERENCE.partition("## Diagnostics")[2]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)) == set(CODES)


@pytest.mark.parametrize("mask", sorted(BUILT_IN | WITH_PARAMETERS))
def test_the_reference_has_every_mask(mask: str) -> None:
    section = REFERENCE.partition("## Masks")[2].partition("\n## ")[0]
    assert re.search(rf"^\| `{mask}[`:]", section, re.MULTILINE)
