"""Which relations a statement names: every RangeVar, but for those that mean a WITH query in scope.

PostgreSQL looks an unqualified name in FROM up among the WITH queries first (parse_relation.c, scanNameSpaceForCTE):
of the statement itself, then of each statement around it. Without RECURSIVE a WITH query sees only those before it.
The target of INSERT, UPDATE, DELETE and MERGE is never a WITH query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from proxy.sql.grammar import Node

_TARGET_OF = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
_JOINED_BY = {"UpdateStmt": "fromClause", "DeleteStmt": "usingClause", "MergeStmt": "sourceRelation"}
"""What a data-modifying statement joins to its target."""


@dataclass(frozen=True, slots=True, eq=False)
class RelationName:
    """A relation as the text names it. ``level`` is the SELECT in whose FROM it stands, or the UPDATE, DELETE or MERGE
    that joins it to its target (None elsewhere).

    ``place``: ``from``; ``target`` of a data-modifying statement; ``into`` (the table
    that SELECT INTO or CREATE TABLE AS makes); ``other``.
    """

    node: Node
    catalog: str | None
    schema: str | None
    name: str
    alias: str | None
    place: str
    level: Node | None
    sample: Node | None = None
    """The RangeTableSample node that it stands in."""

    @property
    def visible_name(self) -> str:
        """The name that columns are qualified with."""
        return self.alias or self.name

    @property
    def only(self) -> bool:
        return not self.node.get("inh", False)

    @property
    def renames_columns(self) -> bool:
        """It has a column alias list: ``s(a, b)``."""
        return bool(self.node.get("alias", {}).get("colnames"))

    @property
    def location(self) -> int:
        """Byte offset of the name (not of ONLY)."""
        return int(self.node.get("location", 0))


class _Visit(NamedTuple):  # of which there are as many as nodes in a tree: quick to make
    key: str
    value: object
    owner: str
    queries: frozenset[str]
    level: Node | None
    place: str
    sample: Node | None = None


def relations(statement: Node, kind: str) -> list[RelationName]:
    """Every relation named below a statement's node, in the order of the text."""
    if kind == "ConstraintsSetStmt":
        return []  # what stands in RangeVars there are names of constraints
    found: list[RelationName] = []
    stack = [_Visit(kind, statement, "", frozenset(), None, "other")]
    while stack:
        visit = stack.pop()
        if isinstance(visit.value, list):
            stack.extend(
                _Visit(visit.key, item, visit.owner, visit.queries, visit.level, visit.place) for item in visit.value
            )
        elif isinstance(visit.value, dict):
            if "relname" in visit.value:
                name = _relation_name(visit)
                if name is not None:
                    found.append(name)
            else:
                stack.extend(_children(visit, visit.value))
    found.sort(key=lambda name: name.location)
    return found


def _relation_name(visit: _Visit) -> RelationName | None:
    node = visit.value
    assert isinstance(node, dict)  # noqa: S101 - the caller saw it; this is for the type checker
    schema = node.get("schemaname")
    name = node["relname"]
    place = visit.place
    if visit.key == "relation" and visit.owner in _TARGET_OF:
        place = "target"
    elif (visit.owner in ("into", "intoClause") and visit.key == "rel") or visit.owner in ("base", "base_stmt"):
        place = "into"
    if place != "target" and place != "into" and schema is None and name in visit.queries:
        return None
    alias = node.get("alias", {}).get("aliasname")
    return RelationName(node, node.get("catalogname"), schema, name, alias, place, visit.level, visit.sample)


def _children(visit: _Visit, node: Node) -> list[_Visit]:
    """Visits of a node's fields, with WITH queries in scope and the SELECT level they belong to."""
    children: list[_Visit] = []
    queries = visit.queries
    level, place = visit.level, visit.place
    owner = visit.key
    sample = node if owner == "RangeTableSample" else None if owner != "relation" else visit.sample
    if "limitOption" in node:  # a SelectStmt, wrapped or as an arm of a set operation
        level, place = node, "other"
    if "withClause" in node:
        queries = _with_queries(node["withClause"], visit, level, children)
    for key, value in node.items():
        if key in ("withClause", "lockedRels"):  # lockedRels are aliases
            continue
        if isinstance(value, dict | list):
            joined = _JOINED_BY.get(owner) == key
            inner = "from" if joined or key == "fromClause" else place
            children.append(_Visit(key, value, owner, queries, node if joined else level, inner, sample))
    return children


def _with_queries(clause: Node, visit: _Visit, level: Node | None, children: list[_Visit]) -> frozenset[str]:
    """Adds a visit for each WITH query and returns the names in scope of the statement that they belong to."""
    bodies = [item["CommonTableExpr"] for item in clause.get("ctes", ())]
    names = [body["ctename"] for body in bodies]
    every = visit.queries | frozenset(names)
    for index, body in enumerate(bodies):
        scope = every if clause.get("recursive") else visit.queries | frozenset(names[:index])
        children.append(_Visit("CommonTableExpr", body, "withClause", scope, level, "other"))
    return every
