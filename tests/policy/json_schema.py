"""The part of JSON Schema (draft 2020-12) that the policy's schema uses. A keyword it does not know is an error."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}
ANNOTATIONS = {"$schema", "$defs", "title", "description", "default", "examples", "format", "discriminator"}


def accepts(schema: dict[str, Any], value: Any, root: dict[str, Any] | None = None) -> bool:
    """``value`` is valid under ``schema``."""
    root = root or schema
    return all(_keyword(keyword, schema, value, root) for keyword in schema if keyword not in ANNOTATIONS)


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, TYPES[kind])


def _keyword(keyword: str, schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    said = schema[keyword]
    if keyword == "additionalProperties":
        others = value.keys() - schema.get("properties", {}).keys() if isinstance(value, dict) else ()
        return not others if said is False else all(accepts(said, value[key], root) for key in others)
    if keyword in APPLICATORS:
        return APPLICATORS[keyword](said, value, root)
    kinds, holds = ASSERTIONS[keyword]
    return not isinstance(value, kinds) or holds(said, value)


APPLICATORS: dict[str, Callable[[Any, Any, dict[str, Any]], bool]] = {
    "$ref": lambda said, value, root: accepts(root["$defs"][said.removeprefix("#/$defs/")], value, root),
    "anyOf": lambda said, value, root: any(accepts(one, value, root) for one in said),
    "oneOf": lambda said, value, root: sum(accepts(one, value, root) for one in said) == 1,
    "items": lambda said, value, root: not isinstance(value, list) or all(accepts(said, item, root) for item in value),
    "properties": lambda said, value, root: (
        not isinstance(value, dict) or all(accepts(said[key], value[key], root) for key in value.keys() & said.keys())
    ),
    "propertyNames": lambda said, value, root: (
        not isinstance(value, dict) or all(accepts(said, key, root) for key in value)
    ),
}
ASSERTIONS: dict[str, tuple[Any, Callable[[Any, Any], bool]]] = {
    "type": (object, lambda said, value: any(_is(kind, value) for kind in ([said] if isinstance(said, str) else said))),
    "enum": (object, lambda said, value: value in said),
    "const": (object, lambda said, value: bool(value == said)),
    "pattern": (str, lambda said, value: re.search(said, value) is not None),
    "minLength": (str, lambda said, value: len(value) >= said),
    "maxLength": (str, lambda said, value: len(value) <= said),
    "minItems": (list, lambda said, value: len(value) >= said),
    "minProperties": (dict, lambda said, value: len(value) >= said),
    "maxProperties": (dict, lambda said, value: len(value) <= said),
    "minimum": (int | float, lambda said, value: value >= said),
    "maximum": (int | float, lambda said, value: value <= said),
    "required": (dict, lambda said, value: set(said) <= value.keys()),
}
