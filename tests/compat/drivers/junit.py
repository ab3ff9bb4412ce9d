"""JUnit's XML, as pytest writes it, for what is no pytest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree


def write(results: Path, outcomes: Mapping[str, tuple[str, str]]) -> None:
    """By the test's name: ``passed``, ``failed`` or ``skipped``, and what it said."""
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(root, "testsuite")
    for name, (outcome, said) in outcomes.items():
        case = ElementTree.SubElement(suite, "testcase", classname="", name=name)
        if outcome != "passed":
            ElementTree.SubElement(case, "failure" if outcome == "failed" else "skipped").text = _printable(said)
    ElementTree.ElementTree(root).write(results, encoding="utf-8")


def _printable(text: str) -> str:
    return "".join(character for character in text[-4000:] if character.isprintable() or character in "\n\t")
