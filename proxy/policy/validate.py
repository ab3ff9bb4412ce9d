"""A document against the file format: every mistake of shape, with its place, and what is left without them.

pydantic stops where a value is wrong. To check the rest of the file as well (what names refer to, what a pack demands),
wrong values are reported, taken out, and the remainder is validated again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from proxy.policy.diagnostic import Position, did_you_mean
from proxy.policy.document import Map, Problem, Seq, locate
from proxy.policy.form import CONFLICT, TAG
from proxy.policy.schema import PolicyForm

Path = tuple[str | int, ...]

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_SENTENCES = {
    "string_too_short": "may not be empty",
    "string_too_long": "is longer than {max_length} character",
    "too_short": "may not be an empty list",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """``form`` is what is valid of the file; ``tree`` the same with positions; ``written`` all that was there."""

    form: PolicyForm
    tree: Map
    written: Map
    problems: tuple[Problem, ...]


def validate(root: Any, here: Position) -> Shape:
    """Validates one file. ``form`` holds what is right; an empty policy where nothing is."""
    written = root if isinstance(root, Map) else Map()
    problems: list[Problem] = []
    if not isinstance(root, Map):
        problems.append((here, "wrong-type", f"a policy is a mapping, found {describe(root)}"))
    tree, first = _copy(written), True
    while True:
        unknown: list[tuple[Position, str, list[str]]] = []
        try:
            form = PolicyForm.model_validate(tree, context=unknown)
            break
        except ValidationError as error:
            errors = error.errors(include_url=False)
        paths = [(_path(tree, details["loc"]), details) for details in errors]
        if first and isinstance(root, Map):
            # Everything is looked at in the first round; what a later one misses is what was taken out.
            problems += ((at, "unknown-key", _unknown(key, known)) for at, key, known in unknown)
            problems += (_problem(tree, path, found) for path, found in paths if found["type"] != "extra_forbidden")
        first = False
        _prune(tree, [_culprit(path, details) for path, details in paths])
    return Shape(form, tree, written, tuple(dict.fromkeys(problems)))


def describe(value: Any) -> str:
    """What kind of value was written, for people."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, str):
        return f"text ('{value[:40]}')"
    if isinstance(value, int | float):
        return f"the number {value}"
    return "a list" if isinstance(value, list) else "a mapping"


def _copy(value: Any) -> Any:
    """A deep copy that keeps positions. Aliased values become separate ones; the parser has bounded their number."""
    if isinstance(value, Map):
        copy = Map()
        copy.update((key, _copy(item)) for key, item in value.items())
        copy.here, copy.key_at, copy.value_at = value.here, dict(value.key_at), dict(value.value_at)
        return copy
    if isinstance(value, Seq):
        items = Seq()
        items.extend(_copy(item) for item in value)
        items.here, items.item_at = value.here, list(value.item_at)
        return items
    return value


def _path(tree: Map, loc: Sequence[str | int]) -> Path:
    """pydantic's place without the tags of unions; a key's own place ends in ``[key]``."""
    path: list[str | int] = []
    node: Any = tree
    for index, step in enumerate(loc):
        if isinstance(step, str) and step.startswith(TAG) and not (isinstance(node, Map) and step in node):
            continue
        if step == "[key]" and index == len(loc) - 1:
            path.append("[key]")
            continue
        path.append(step)
        node = _child(node, step)
    return tuple(path)


def _problem(tree: Map, path: Path, details: ErrorDetails) -> Problem:
    kind, context = details["type"], details.get("ctx", {})
    if path and path[-1] == "[key]":
        words = "a name may not be empty" if kind == "string_too_short" else _reason(details)
        return locate(tree, path[:-1], key=True), "bad-value", words
    where = ".".join(str(step) for step in path)
    if kind == CONFLICT:
        return locate(tree, _culprit(path, details), key=True), "conflict", str(context["reason"])
    if kind == "missing":
        owner = ".".join(str(step) for step in path[:-1]) or "the policy"
        return locate(tree, path[:-1], key=True), "missing-key", f"'{path[-1]}' is missing in {owner}"
    position, found = locate(tree, path), describe(details["input"])
    if kind in _EXPECTED:
        expected = _EXPECTED[kind]
        # One side of a union that takes text as well (a category, a mask, `any`).
        if any(str(step).startswith(TAG) for step in details["loc"][-1:]):
            expected = f"text or {expected}"
        return position, "wrong-type", f"{where} takes {expected}, found {found}"
    if kind == "literal_error":
        admitted = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        meant = did_you_mean(str(details["input"]), admitted)
        code = "bad-value" if isinstance(details["input"], str) or not admitted else "wrong-type"
        of = "is one of " if len(admitted) > 1 else "is "
        otherwise = " or a list" if str(details["loc"][-1]).startswith(TAG) else ""
        return position, code, f"{where} {of}{context.get('expected')}{otherwise}, found {found}{meant}"
    return position, "bad-value", f"{where}: {_reason(details)}"


def _reason(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind in _SENTENCES:
        return _SENTENCES[kind].format(**context)
    return details["msg"]


def _unknown(key: str, known: list[str]) -> str:
    return f"'{key}' is not a key here{did_you_mean(key, known) or '; the keys are ' + ', '.join(known)}"


def _culprit(path: Path, details: ErrorDetails) -> Path:
    """What has to go: the value itself, or the mapping that lacks a key."""
    if details["type"] == CONFLICT and details["ctx"]["key"]:
        return (*path, details["ctx"]["key"])
    return path[:-1] if details["type"] == "missing" or path[-1:] == ("[key]",) else path


def _prune(tree: Map, paths: Iterable[Path]) -> None:
    # Later items of a list first, so that the places of earlier ones stay right.
    for path in sorted({path for path in paths if path}, key=_order, reverse=True):
        node: Any = tree
        for step in path[:-1]:
            node = _child(node, step)
        _remove(node, path[-1])
    if tree.get("version") != 1:
        # The only key that a file must have.
        tree["version"] = 1
        tree.key_at["version"] = tree.value_at["version"] = tree.here


def _order(path: Path) -> list[tuple[bool, str | int]]:
    return [(isinstance(step, int), step) for step in path]


def _child(node: Any, step: str | int) -> Any:
    if isinstance(node, Map) and isinstance(step, str):
        return node.get(step)
    if isinstance(node, Seq) and isinstance(step, int) and step < len(node):
        return node[step]
    return None


def _remove(node: Any, step: str | int) -> None:
    if isinstance(node, Map) and isinstance(step, str) and step in node:
        del node[step], node.key_at[step], node.value_at[step]
    elif isinstance(node, Seq) and isinstance(step, int) and step < len(node):
        del node[step], node.item_at[step]
