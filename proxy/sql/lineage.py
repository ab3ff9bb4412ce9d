"""Where the columns of a view come from, read from its definition as PostgreSQL prints it (pg_get_viewdef).

PostgreSQL prints definitions with every relation named in full, ``*`` written out, and columns qualified wherever there
is more than one item in FROM.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.errors import Refused
from proxy.sql.grammar import Node, parse
from proxy.sql.relations import RelationName, relations
from proxy.sql.tree import nodes, of_type, strings

_BEYOND_OUTPUT = (
    "distinctClause groupClause havingClause windowClause valuesLists withClause intoClause lockingClause larg rarg"
).split()
"""Clauses of a SELECT that do more with the rows of FROM than to filter, order and show them."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A column of the relation that stands at ``item`` in :attr:`Lineage.items`."""

    item: int
    column: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a view does with the columns of the relations that it names.

    ``items``: every relation of a plain view's FROM, in the order of the text. ``outputs``: for each column of the view
    its origin, None where it is an expression. ``used``: origins that stand anywhere but as a plain output; item -1 is
    an item that the text does not tell. ``plain`` False: one cannot tell; then ``names`` holds every column name in it.
    """

    items: tuple[RelationName, ...]
    names: frozenset[str]
    plain: bool = False
    outputs: tuple[Origin | None, ...] = ()
    used: frozenset[Origin] = frozenset()


def lineage(definition: str) -> Lineage | None:
    """Reads a definition; None where it cannot be read."""
    try:
        statements = parse(definition.encode())
    except Refused:
        return None
    if len(statements) != 1 or statements[0].kind != "SelectStmt":
        return None
    node = statements[0].node
    items = tuple(relations(node, "SelectStmt"))
    names = _names(node)
    plain = not any(clause in node for clause in _BEYOND_OUTPUT) and all(
        item.level is node and item.place == "from" and not item.renames_columns for item in items
    )
    if not plain or _beyond(node):
        return Lineage(items, names)
    aliases = {item.visible_name: index for index, item in enumerate(items)}
    if len(aliases) != len(items):
        return Lineage(items, names)
    plain_outputs: set[int] = set()
    outputs: list[Origin | None] = []
    for target in node.get("targetList", ()):
        reference = target["ResTarget"].get("val", {}).get("ColumnRef")
        origin = None if reference is None else _origin(reference, aliases)
        if origin is not None and origin.item >= 0:
            plain_outputs.add(id(reference))
            outputs.append(origin)
        else:
            outputs.append(None)
    used = {
        _origin(reference, aliases) for reference in of_type(node, "ColumnRef") if id(reference) not in plain_outputs
    }
    used |= {Origin(-1, name) for join in of_type(node, "JoinExpr") for name in strings(join.get("usingClause"))}
    return Lineage(items, names, plain=True, outputs=tuple(outputs), used=frozenset(used))


def _beyond(node: Node) -> bool:
    """Subqueries, set-returning FROM items, aggregates, windows, whole rows: more than a plain view has."""
    for key, inner in nodes(node):
        if key in ("SubLink", "RangeSubselect", "RangeFunction", "RangeTableFunc", "JsonTable", "A_Star"):
            return True
        if key == "FuncCall" and {"agg_star", "agg_order", "agg_filter", "agg_distinct", "over"} & inner.keys():
            return True
        if key == "JoinExpr" and ("alias" in inner or inner.get("isNatural")):
            return True
    return False


def _origin(reference: Node, aliases: dict[str, int]) -> Origin:
    parts = strings(reference.get("fields"))
    if len(parts) == 1:
        return Origin(0 if len(aliases) == 1 else -1, parts[0])
    return Origin(aliases.get(parts[-2], -1), parts[-1])


def _names(node: Node) -> frozenset[str]:
    found: set[str] = set()
    for key, inner in nodes(node):
        if key == "ColumnRef":
            found.update(strings(inner.get("fields")))
            if any("A_Star" in field for field in inner.get("fields", ())):
                found.add("*")
        elif key == "A_Indirection":
            found.update(strings(inner.get("indirection")))
        elif key == "JoinExpr":
            found.update(strings(inner.get("usingClause")))
            if inner.get("isNatural") or "alias" in inner or "join_using_alias" in inner:
                found.add("*")
        if inner.get("colnames"):  # an alias that renames columns: any name may mean any of them
            found.add("*")
    return frozenset(found)
