"""The proof that a spliced text means what was intended: its tree is the old one but for the secured relations.

Whatever the edits did to the text (a comment that swallows them, an alias that binds elsewhere, an operator that
changes its arms), PostgreSQL's grammar would show it here, before anything is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from proxy.errors import FEATURE_NOT_SUPPORTED, Refusal, Refused
from proxy.sql.grammar import Node, Statement, parse
from proxy.sql.relations import RelationName
from proxy.sql.tree import LOCATIONS, without_locations


def prove(statements: list[Statement], secured: Mapping[int, tuple[RelationName, str]], text: bytes) -> None:
    """Raises Refused (0A000) unless ``text`` parses to ``statements`` with each secured relation in its place.

    ``secured`` maps ``id()`` of a RangeVar node to its relation and the fragment that replaced it.
    """
    try:
        expected = [_expected({statement.kind: statement.node}, secured) for statement in statements]
        found = [without_locations({statement.kind: statement.node}) for statement in parse(text)]
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


def _expected(root: object, secured: Mapping[int, tuple[RelationName, str]]) -> object:
    if isinstance(root, list):
        return [_expected(item, secured) for item in root]
    if not isinstance(root, dict):
        return root
    name = root.get("RangeVar")
    if name is not None and id(name) in secured:
        return _subselect(*secured[id(name)])
    return {key: _expected(value, secured) for key, value in root.items() if key not in LOCATIONS}


def _subselect(relation: RelationName, fragment: str) -> Node:
    """The node that stands where the relation stood: the fragment, under the relation's visible name."""
    alias = relation.node.get("alias") or {"aliasname": relation.name}
    return {"RangeSubselect": {"subquery": _fragment(fragment), "alias": without_locations(alias)}}


@lru_cache(maxsize=4096)
def _fragment(fragment: str) -> object:
    """The tree of one fragment, which must be exactly one parenthesised SELECT."""
    [statement] = parse(f"SELECT FROM {fragment} AS x".encode())
    [item] = statement.node["fromClause"]
    return without_locations(item["RangeSubselect"]["subquery"])
