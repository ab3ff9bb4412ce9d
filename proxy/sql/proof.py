"""The proof that a spliced text means what was intended: its tree is the old one but for the intended replacements.

Whatever the edits did to the text (a comment that swallows them, an alias that binds elsewhere, an operator that
changes its arms), PostgreSQL's grammar would show it here, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from proxy.errors import FEATURE_NOT_SUPPORTED, Refusal, Refused
from proxy.sql.grammar import LOCATIONS, Node, Statement, meaning
from proxy.sql.tree import without_locations

Replacements = Mapping[int, object]
"""``id()`` of a node or list of the old tree -> what stands in its place in the new one, without locations.

For a node that stands wrapped (``{"RangeVar": {…}}``) the key is the ``id()`` of the inner dict, and the replacement
stands for the wrapper. A list is not replaced but added to: :class:`Inserted`.
"""


@dataclass(frozen=True, slots=True)
class Inserted:
    """``nodes`` stand in a list after its item number ``after`` (from 0)."""

    after: int
    nodes: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Around:
    """The node stays, with its own replacements made, inside what ``make`` puts around it (or adds to it)."""

    make: Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class Expanded:
    """Several items of a list stand in the place of one."""

    nodes: tuple[object, ...]


def prove(statements: list[Statement], replacements: Replacements, text: bytes) -> None:
    """Raises Refused (0A000) unless ``text`` parses to ``statements`` with each replacement in its place."""
    try:
        expected: list[Any] = [_expected({statement.kind: statement.node}, replacements) for statement in statements]
        found: list[Node] = meaning(text)
    except (RecursionError, Refused):
        found, expected = [], [None]
    if found != expected:
        raise Refused(
            Refusal(
                FEATURE_NOT_SUPPORTED,
                "consentry: the statement cannot be secured without changing its meaning",
                hint="Please report the statement; written more plainly it may pass.",
            )
        )


def _expected(root: object, replacements: Replacements) -> object:
    if isinstance(root, list):
        added = replacements.get(id(root))
        items: list[object] = []
        for index, item in enumerate(root):
            found = _expected(item, replacements)
            items += found.nodes if isinstance(found, Expanded) else [found]
            if isinstance(added, Inserted) and added.after == index:
                items += added.nodes
        return items
    if not isinstance(root, dict):
        return root
    if len(root) == 1:
        [(key, inner)] = root.items()
        # Node types are capitalised; a field that happens to be the only one is no wrapper.
        if key[0].isupper() and isinstance(inner, dict) and id(inner) in replacements:
            replacement = replacements[id(inner)]
            if isinstance(replacement, Around):
                return replacement.make({key: _fields(inner, replacements)})
            return replacement
    bare = replacements.get(id(root))
    if isinstance(bare, dict):  # a field that holds its node unwrapped, as the target of INSERT does
        [node] = bare.values()
        return node
    return _fields(root, replacements)


def _fields(node: Node, replacements: Replacements) -> Node:
    return {key: _expected(value, replacements) for key, value in node.items() if key not in LOCATIONS}


def subselect(fragment: str, alias: Node) -> Node:
    """The node of ``fragment AS alias`` in a FROM; ``alias`` is an Alias node."""
    return {"RangeSubselect": {"subquery": select(fragment), "alias": without_locations(alias)}}


def select(fragment: str) -> object:
    """The tree of a parenthesised SELECT, which must be exactly one."""
    return _item(f"SELECT FROM {fragment} AS x", "fromClause")["RangeSubselect"]["subquery"]


def target(expression: str) -> Any:
    """The ResTarget node of one item of a select list."""
    return _item(f"SELECT {expression}", "targetList")


HOLE = "$65535"
"""What stands for the client's own node in the text of an :class:`Around`."""


def around(text: str) -> Around:
    """An expression with one :data:`HOLE`, in which the client's stands."""
    pattern = target(text)["ResTarget"]["val"]

    def fill(node: object, client: object) -> object:
        if isinstance(node, list):
            return [fill(item, client) for item in node]
        if not isinstance(node, dict):
            return node
        if node == {"ParamRef": {"number": 65535}}:
            return client
        return {key: fill(value, client) for key, value in node.items()}

    return Around(lambda client: fill(pattern, client))


@lru_cache(maxsize=4096)
def _item(text: str, clause: str) -> Any:
    """The only item of a clause of ``text``. Shared between callers, who do not change it."""
    [statement] = meaning(text.encode())
    [node] = statement.values()
    [item] = node[clause]
    return item
