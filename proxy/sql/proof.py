"""The proof that a spliced text means what was intended: its tree is the old one but for the intended replacements.

Whatever the edits did to the text (a comment that swallows them, an alias that binds elsewhere, an operator that
changes its arms), PostgreSQL's grammar would show it here, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        items = [_expected(item, replacements) for item in root]
        added = replacements.get(id(root))
        if isinstance(added, Inserted):
            items[added.after + 1 : added.after + 1] = added.nodes
        return items
    if not isinstance(root, dict):
        return root
    if len(root) == 1:
        [(key, inner)] = root.items()
        # Node types are capitalised; a field that happens to be the only one is no wrapper.
        if key[0].isupper() and isinstance(inner, dict) and id(inner) in replacements:
            return replacements[id(inner)]
    bare = replacements.get(id(root))
    if isinstance(bare, dict):  # a field that holds its node unwrapped, as the target of INSERT does
        [node] = bare.values()
        return node
    return {key: _expected(value, replacements) for key, value in root.items() if key not in LOCATIONS}


def subselect(fragment: str, alias: Node) -> Node:
    """The node of ``fragment AS alias`` in a FROM; ``alias`` is an Alias node."""
    return {"RangeSubselect": {"subquery": select(fragment), "alias": without_locations(alias)}}


def select(fragment: str) -> object:
    """The tree of a parenthesised SELECT, which must be exactly one."""
    return _item(f"SELECT FROM {fragment} AS x", "fromClause")["RangeSubselect"]["subquery"]


def target(expression: str) -> Any:
    """The ResTarget node of one item of a select list."""
    return _item(f"SELECT {expression}", "targetList")


@lru_cache(maxsize=4096)
def _item(text: str, clause: str) -> Any:
    """The only item of a clause of ``text``. Shared between callers, who do not change it."""
    [statement] = meaning(text.encode())
    [node] = statement.values()
    [item] = node[clause]
    return item
