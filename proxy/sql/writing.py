"""What a statement writes: each data-modifying part of it, with the columns that it sets and to what. Facts alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from proxy.sql.grammar import Node
from proxy.sql.relations import RelationName
from proxy.sql.tree import nodes, strings

MODIFYING = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})


class Given(Enum):
    """What is known of a value before it is evaluated."""

    NULL = "null"
    DEFAULT = "default"
    CONSTANT = "constant"
    """A literal that is not NULL, also under a cast."""
    PARAMETER = "parameter"
    EXPRESSION = "expression"
    """Anything else; it may turn out NULL."""


EMPTYING = frozenset({Given.NULL, Given.DEFAULT})


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """A column that is set. ``column`` None: by its position (``position``, from 0) in the table.

    ``values`` are the nodes of what it is set to, one for each row of VALUES. ``select``: it is column ``position`` of
    that query's result instead. ``item``: the ResTarget, where it stands in a SET. ``part``: only an element or a field
    of the column is set. ``several``: it is set together with others by what is no row, ``(a, b) = (SELECT …)``.
    ``again``: the tree has a row that is written out once for each column; these are the copies of this value.
    """

    column: str | None
    position: int
    values: tuple[Node, ...] = ()
    select: Node | None = None
    item: Node | None = None
    part: bool = False
    several: bool = False
    again: tuple[Node, ...] = ()
    subscripts: tuple[Node, ...] = ()
    """Of the element or part that is set: what they are computed from is stored, too, as a key or a bound."""

    @property
    def copies(self) -> tuple[Node, ...]:
        """The value that a SET gives, as often as the tree has it."""
        return self.again or self.values[:1]

    @property
    def given(self) -> frozenset[Given]:
        """What the values are, over all rows."""
        if self.part or self.several or not self.values:
            return frozenset({Given.EXPRESSION})
        return frozenset(given(value) for value in self.values)


@dataclass(frozen=True, slots=True, eq=False)
class Action:
    """What is done to a row. ``conflict``: the DO UPDATE of ON CONFLICT."""

    event: Literal["insert", "update", "delete"]
    assignments: tuple[Assignment, ...] = ()
    conflict: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Modification:
    """One INSERT, UPDATE, DELETE or MERGE. ``query``: the CommonTableExpr whose body it is, None outside WITH."""

    kind: str
    node: Node
    target: RelationName
    query: Node | None
    actions: tuple[Action, ...]

    @property
    def returning(self) -> list[Node]:
        """The items of its RETURNING, as ResTarget nodes."""
        return [item["ResTarget"] for item in self.node.get("returningClause", {}).get("exprs", ())]

    @property
    def returns(self) -> bool:
        return "returningClause" in self.node

    @property
    def conflicts(self) -> bool:
        """It has an ON CONFLICT … DO UPDATE."""
        return any(action.conflict for action in self.actions)

    def does(self, event: str) -> bool:
        return any(action.event == event for action in self.actions)


def modifications(statement: Node, kind: str, relations: tuple[RelationName, ...]) -> list[Modification]:
    """Every data-modifying part of a statement, those of its WITH queries included."""
    targets = {id(name.node): name for name in relations if name.place == "target"}
    found: list[tuple[str, Node, Node | None]] = [(kind, statement, None)] if kind in MODIFYING else []
    for key, node in nodes(statement):
        for inner_kind in MODIFYING & node.keys():
            inner = node[inner_kind]
            if isinstance(inner, dict) and "relation" in inner:
                found.append((inner_kind, inner, node if key == "ctequery" else None))
    bodies = {id(node["ctequery"]): node for _, node in nodes(statement) if isinstance(node.get("ctequery"), dict)}
    return [
        Modification(
            kind,
            node,
            targets[id(node["relation"])],
            None if wrapper is None else bodies[id(wrapper)],
            tuple(_actions(kind, node)),
        )
        for kind, node, wrapper in found
    ]


def given(value: Node) -> Given:
    """What is known of one value."""
    while "TypeCast" in value:
        value = value["TypeCast"]["arg"]
    if "SetToDefault" in value:
        return Given.DEFAULT
    if "A_Const" in value:
        return Given.NULL if value["A_Const"].get("isnull") else Given.CONSTANT
    return Given.PARAMETER if "ParamRef" in value else Given.EXPRESSION


def _actions(kind: str, node: Node) -> Iterator[Action]:
    if kind == "InsertStmt":
        yield Action("insert", tuple(_inserted(node)))
        conflict = node.get("onConflictClause", {})
        if conflict.get("action") == "ONCONFLICT_UPDATE":
            yield Action("update", tuple(_set(conflict.get("targetList", ()))), conflict=True)
    elif kind == "UpdateStmt":
        yield Action("update", tuple(_set(node.get("targetList", ()))))
    elif kind == "DeleteStmt":
        yield Action("delete")
    else:
        for clause in node.get("mergeWhenClauses", ()):
            yield from _merged(clause["MergeWhenClause"])


def _merged(clause: Node) -> Iterator[Action]:
    match clause.get("commandType"):
        case "CMD_INSERT":
            columns = [item["ResTarget"] for item in clause.get("targetList", ())]
            yield Action("insert", tuple(_row(columns, [clause.get("values", ())])))
        case "CMD_UPDATE":
            yield Action("update", tuple(_set(clause.get("targetList", ()))))
        case "CMD_DELETE":
            yield Action("delete")


def _inserted(node: Node) -> Iterator[Assignment]:
    columns = [item["ResTarget"] for item in node.get("cols", ())]
    select = node.get("selectStmt", {}).get("SelectStmt")
    if select is None:
        return  # DEFAULT VALUES
    plain = not {"withClause", "sortClause", "limitCount", "limitOffset"} & select.keys()
    if "valuesLists" in select and plain:
        yield from _row(columns, [row["List"].get("items", ()) for row in select["valuesLists"]])
    elif columns:
        for position, item in enumerate(columns):
            yield Assignment(item["name"], position, select=select, part="indirection" in item, subscripts=_steps(item))
    else:
        yield Assignment(None, -1, select=select)


def _row(columns: list[Node], rows: list[list[Node]]) -> Iterator[Assignment]:
    """The columns of an INSERT, each with its value in every row. Stars in a row leave it open which is which."""
    width = max((len(row) for row in rows), default=0)
    stars = any("A_Star" in field for row in rows for item in row for field in _fields(item))
    for position in range(len(columns) if columns else width):
        name = columns[position].get("name") if columns else None
        part = bool(columns) and "indirection" in columns[position]
        steps = _steps(columns[position]) if columns else ()
        if stars or any(len(row) != width for row in rows):
            everything: Node = {"List": {"items": [item for row in rows for item in row]}}
            yield Assignment(name, position, (everything,), part=part, subscripts=steps)
        elif position < width:
            yield Assignment(name, position, tuple(row[position] for row in rows), part=part, subscripts=steps)
    if stars and not columns:
        yield Assignment(None, -1, ({"List": {"items": [item for row in rows for item in row]}},))


def _steps(item: Node) -> tuple[Node, ...]:
    return tuple(item.get("indirection", ()))


def _fields(item: Node) -> list[Node]:
    found = item.get("ColumnRef", {}).get("fields") or item.get("A_Indirection", {}).get("indirection") or []
    return [field for field in found if isinstance(field, dict)]


def _set(items: list[Node]) -> Iterator[Assignment]:
    for position, wrapped in enumerate(items):
        item = wrapped["ResTarget"]
        several = "MultiAssignRef" in item["val"]
        value, again = _single(items, position) if several else (item["val"], ())
        yield Assignment(
            item["name"],
            position,
            (value,),
            item=item,
            part="indirection" in item,
            several=several and value is item["val"],
            again=again,
            subscripts=_steps(item),
        )


def _single(items: list[Node], position: int) -> tuple[Node, tuple[Node, ...]]:
    """The part of ``(a, b) = (x, y)`` that one column gets, where the row is written out, and each copy of it."""
    value = items[position]["ResTarget"]["val"]
    part = value["MultiAssignRef"]
    row = _items_of_row(value)
    number = part.get("colno", 1) - 1
    stars = any("A_Star" in field for item in row for field in _fields(item))
    if stars or not number < len(row) == part.get("ncolumns"):
        return value, ()
    together = items[position - number : position - number + len(row)]
    return row[number], tuple(_items_of_row(item["ResTarget"]["val"])[number] for item in together)


def _items_of_row(value: Node) -> list[Node]:
    found: list[Node] = value["MultiAssignRef"].get("source", {}).get("RowExpr", {}).get("args", [])
    return found


def names_set(action: Action) -> frozenset[str]:
    """The columns that a SET names."""
    return frozenset(one.column for one in action.assignments if one.column is not None)


def parameter(value: Node) -> int | None:
    """The number of the parameter that a value is, also under casts."""
    while "TypeCast" in value:
        value = value["TypeCast"]["arg"]
    return int(value["ParamRef"]["number"]) if "ParamRef" in value else None


def type_name(value: Node) -> tuple[str, ...] | None:
    """The type that a parameter is first cast to, None where it stands bare; empty where it is no plain name."""
    found: tuple[str, ...] | None = None
    while "TypeCast" in value:
        named = value["TypeCast"]["typeName"]
        plain = "arrayBounds" not in named and not named.get("setof") and not named.get("pct_type")
        found = strings(named.get("names")) if plain else ()
        value = value["TypeCast"]["arg"]
    return found
