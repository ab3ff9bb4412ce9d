"""Where the shipped packs and the sample policy are found.

They live in the folder ``policies`` of the repository. ``proxy/policy/packs`` is a link to it, which a wheel holds as
package data, so both an installed consentry and a checkout read them from beside this module.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "packs"


def is_name(reference: str) -> bool:
    """An entry of ``extends`` is a pack's name, unless it looks like a path."""
    return "/" not in reference and not reference.endswith((".yaml", ".yml"))


def names() -> tuple[str, ...]:
    """The names of all shipped files."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def path(name: str) -> Path | None:
    """The file of a shipped pack or sample (``cn-miit-2013``, ``telecom``), or None."""
    return FOLDER / f"{name}.yaml" if name in names() else None
