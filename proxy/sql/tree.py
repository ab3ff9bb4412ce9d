"""Walking libpg_query's parse trees without recursion, so that no nesting can exhaust the stack."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.sql.grammar import LOCATIONS, Node


def nodes(root: object) -> Iterator[tuple[str, Node]]:
    """Every dict below ``root`` with the key that it stands under: a node type (``ColumnRef``) or a field's name.

    Order is unspecified.
    """
    stack: list[tuple[str, object]] = [("", root)]
    while stack:
        key, value = stack.pop()
        if isinstance(value, dict):
            yield key, value
            stack.extend(value.items())
        elif isinstance(value, list):
            stack.extend((key, item) for item in value)


class Index:
    """The nodes below ``root`` by the key that they stand under, found in one walk. Constants are passed over."""

    def __init__(self, root: object) -> None:
        self._nodes: dict[str, list[Node]] = {}
        self.types: list[Node] = []
        """Every TypeName: they stand wrapped in lists and bare in fields."""
        stack: list[tuple[str, object]] = [("", root)]
        while stack:
            key, value = stack.pop()
            if isinstance(value, dict):
                self._nodes.setdefault(key, []).append(value)
                if "names" in value and "typemod" in value:
                    self.types.append(value)
                stack.extend(item for item in value.items() if item[0] not in _LEAVES)
            elif isinstance(value, list):
                stack.extend((key, item) for item in value)

    def of_type(self, key: str) -> list[Node]:
        """Every node that stands under ``key``."""
        return self._nodes.get(key, [])


_LEAVES = frozenset({"A_Const", "String", "location"})


def of_type(root: object, node_type: str) -> Iterator[Node]:
    """Every node of ``node_type`` below ``root``."""
    return (node for key, node in nodes(root) if key == node_type)


def strings(items: object) -> tuple[str, ...]:
    """A List of String nodes (a qualified name) as text; parts that are no String are left out."""
    if not isinstance(items, list):
        return ()
    return tuple(item["String"].get("sval", "") for item in items if "String" in item)


def constant(node: object) -> str | None:
    """The text of a string, number or boolean constant, also under a cast; None if ``node`` is anything else."""
    while isinstance(node, dict) and "TypeCast" in node:
        node = node["TypeCast"].get("arg")
    if not isinstance(node, dict) or "A_Const" not in node:
        return None
    const = node["A_Const"]
    if "sval" in const:
        return str(const["sval"].get("sval", ""))
    if "ival" in const:
        return str(const["ival"].get("ival", 0))
    if "fval" in const:
        return str(const["fval"].get("fval", ""))
    if "boolval" in const:
        return "true" if const["boolval"].get("boolval") else "false"
    return None


def literal_of(node: object) -> str | None:
    """The text of a constant that stands bare: a cast may make it another (``'x.y'::varchar(1)``)."""
    return constant(node) if isinstance(node, dict) and "A_Const" in node else None


def constant_location(node: object) -> int:
    """The byte offset of the constant that :func:`constant` reads; -1 if there is none."""
    while isinstance(node, dict) and "TypeCast" in node:
        node = node["TypeCast"].get("arg")
    return int(node["A_Const"].get("location", -1)) if isinstance(node, dict) and "A_Const" in node else -1


def without_locations(root: object) -> object:
    """A copy of ``root`` without any offset into the text: what two texts that mean the same have in common."""
    if isinstance(root, dict):
        return {key: without_locations(value) for key, value in root.items() if key not in LOCATIONS}
    if isinstance(root, list):
        return [without_locations(item) for item in root]
    return root
