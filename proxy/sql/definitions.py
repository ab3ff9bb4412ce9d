"""What the expressions in a definition (of an index, a constraint, a policy) speak of."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.sql.grammar import Node
from proxy.sql.tree import of_type, strings


def into_clause(kind: str, node: Node) -> Node | None:
    """The IntoClause of a SELECT INTO: it stands in the leftmost arm of a set operation (analyze.c,
    transformOptionalSelectInto)."""
    if kind != "SelectStmt":
        return None
    while "larg" in node and "intoClause" not in node:
        node = node["larg"]
    into: Node | None = node.get("intoClause")
    return into


EVERY = "*"
"""Stands for every column: the expression takes a whole row, or one cannot tell."""


def mentioned(*expressions: object) -> frozenset[str]:
    """Every name in the expressions that may be a column's, or that of a relation as a whole row."""
    found: set[str] = set()
    for reference in of_type(list(expressions), "ColumnRef"):
        found.update(strings(reference.get("fields")))
        if any("A_Star" in field for field in reference.get("fields", ())):
            found.add(EVERY)
    return frozenset(found)


def elements(items: Iterable[Node]) -> frozenset[str]:
    """The columns that the elements of an index, an exclusion or extended statistics name, plainly or in expressions.

    The elements are IndexElem, StatsElem or String nodes.
    """
    found: set[str] = set()
    for item in items:
        for inner in item.values():
            if "sval" in inner:
                found.add(inner["sval"])
            elif "name" in inner:
                found.add(inner["name"])
            else:
                found |= mentioned(inner)
    return frozenset(found)


def constraints(definition: Node) -> list[Node]:
    """The Constraint nodes of a ColumnDef."""
    return [item["Constraint"] for item in definition.get("constraints", ())]
