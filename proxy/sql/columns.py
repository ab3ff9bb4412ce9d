"""Which columns of a relation a SELECT may need. An over-approximation: no column that is needed is ever missing.

A relation in the FROM of a SELECT can be referred to anywhere below that SELECT (also from subqueries in it) and
nowhere else, so the references below the SELECT decide. A reference is ascribed to the relation unless its qualifier
can only be another item of FROM.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.sql.grammar import Node
from proxy.sql.relations import RelationName
from proxy.sql.tree import constant, constant_location, nodes, of_type, strings

SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})


@dataclass(frozen=True, slots=True)
class ColumnNeeds:
    """What the text asks of one relation. ``every``: ``*``, a whole row, NATURAL, or a column alias list.

    ``star``: some ``*`` may be this relation's. ``natural``: it may stand in a NATURAL join. ``joined``: ``*`` or a
    whole row of a join, whose columns are renamed.
    ``whole_rows``: select-list items that are the row itself, as (ResTarget, ColumnRef) nodes. ``passed_rows``:
    ColumnRef nodes of rows that are passed to functions whose result is of the row's type. ``qualified``: ColumnRef
    nodes of ``schema.table.column`` form. ``system``: system columns that may be this relation's.
    """

    names: frozenset[str]
    every: bool
    star: bool
    natural: bool
    joined: int | None
    whole_rows: tuple[tuple[Node, Node], ...]
    passed_rows: tuple[Node, ...]
    qualified: tuple[Node, ...]
    system: frozenset[str]


class Levels:
    """SELECTs of one statement, each walked once however many relations stand in its FROM."""

    def __init__(self) -> None:
        self._telling: dict[int, list[tuple[str, Node]]] = {}

    def below(self, level: Node) -> list[tuple[str, Node]]:
        """The nodes below ``level`` that tell of columns or aliases. The statement's tree must stay alive."""
        found = self._telling.get(id(level))
        if found is None:
            found = self._telling[id(level)] = [
                (key, node)
                for key, node in nodes(level)
                if key in _TELLING or "relname" in node or ("alias" in node and key.startswith("Range"))
            ]
        return found


_TELLING = frozenset({"ColumnRef", "ResTarget", "JoinExpr", "A_Indirection", "FuncCall"})

_OF_THE_ROW = {
    (name,)
    for name in (
        "array_agg",
        "any_value",
        "first_value",
        "last_value",
        "nth_value",
        "lag",
        "lead",
        "json_populate_record",
        "json_populate_recordset",
        "jsonb_populate_record",
        "jsonb_populate_recordset",
    )
}
"""Functions whose result is of the type of a row that they are passed, or an array of it."""


def needs(relation: RelationName, levels: Levels) -> ColumnNeeds:
    """What is asked of ``relation`` below the SELECT in whose FROM it stands."""
    assert relation.level is not None, "only relations in a FROM are asked for columns"  # noqa: S101 - programming error
    scan = _Scan(relation, levels.below(relation.level))
    scan.run()
    others = scan.others_rows()
    return ColumnNeeds(
        names=frozenset(scan.names),
        every=scan.every,
        star=scan.star,
        natural=scan.natural,
        joined=scan.joined,
        whole_rows=tuple((item, row) for item, row in scan.whole_rows if id(row) not in others),
        passed_rows=tuple(row for call, row in scan.passed_rows if call not in scan.expanded and id(row) not in others),
        qualified=tuple(scan.qualified),
        system=frozenset(scan.names & SYSTEM_COLUMNS),
    )


class _Scan:
    def __init__(self, relation: RelationName, below: list[tuple[str, Node]]) -> None:
        self.relation = relation
        self.below = below
        self.names: set[str] = set()
        self.every = relation.renames_columns
        self.star = self.natural = False
        self.joined: int | None = None
        self.whole_rows: list[tuple[Node, Node]] = []
        self.passed_rows: list[tuple[int, Node]] = []
        self.expanded: set[int] = set()
        """Calls by the id() of their node whose result is taken apart: PostgreSQL writes them again for each column."""
        self.qualified: list[Node] = []
        self.others, self.joins = _aliases(relation, below)

    def others_rows(self) -> frozenset[int]:
        """References, by id, within an inner SELECT in whose FROM something else bears the relation's name."""
        if not (self.whole_rows or self.passed_rows):
            return frozenset()
        name = self.relation.visible_name
        inner = (select for _, select in nodes(self.relation.level) if "limitOption" in select)
        hiding = (one for one in inner if one is not self.relation.level and _bears(one.get("fromClause"), name))
        return frozenset(id(reference) for select in hiding for reference in of_type(select, "ColumnRef"))

    def run(self) -> None:
        for key, node in self.below:
            if key == "ColumnRef":
                self._reference(node)
            elif key == "ResTarget":
                self._item(node)
            elif key == "JoinExpr":
                self.natural |= bool(node.get("isNatural"))
                self.every |= self.natural or "colnames" in node.get("alias", {})
                self.names.update(strings(node.get("usingClause")))
            elif key == "A_Indirection":
                self.names.update(strings(node.get("indirection")))
                self.expanded.add(id(node.get("arg", {}).get("FuncCall")))
                self.every |= any("A_Star" in item for item in node.get("indirection", ()))
            elif key == "FuncCall":
                # column(row) is another way to write row.column
                self.names.add((strings(node.get("funcname")) or ("",))[-1])
                self._call(node)

    def _item(self, item: Node) -> None:
        """A select-list item that is nothing but the row: its type would show that the row is not the table's own."""
        reference = item.get("val", {}).get("ColumnRef") if isinstance(item.get("val"), dict) else None
        if reference is None or len(reference.get("fields", ())) != 1:
            return
        if strings(reference["fields"]) == (self.relation.visible_name,):
            self.whole_rows.append((item, reference))

    def _call(self, node: Node) -> None:
        if strings(node.get("funcname"))[-1:] not in _OF_THE_ROW or ("agg_distinct" in node and "agg_order" in node):
            return  # with DISTINCT, what it is ordered by must be what it is passed
        for argument in node.get("args", ()):
            reference = argument.get("ColumnRef", {}) if isinstance(argument, dict) else {}
            if len(reference.get("fields", ())) == 1 and strings(reference["fields"]) == (self.relation.visible_name,):
                self.passed_rows.append((id(node), reference))

    def _reference(self, node: Node) -> None:
        fields = node.get("fields", [])
        parts = strings(fields)
        star = "A_Star" in fields[-1]
        qualifier = parts[-1] if star and parts else parts[-2] if len(parts) > 1 else None
        if not star and len(parts) == 1 and parts[0] == self.relation.visible_name:
            self.every = True
        if (qualifier if star else parts[0] if len(parts) == 1 else None) in self.joins:
            self.every, self.joined = True, int(node.get("location", 0))
        if not self._may_be_mine(qualifier):
            return
        if len(parts) - (not star) > 1:
            self.qualified.append(node)
        if star:
            self.every = self.star = True
            return
        self.names.update(parts[-2:])

    def _may_be_mine(self, qualifier: str | None) -> bool:
        if qualifier is None or qualifier == self.relation.visible_name or qualifier in self.joins:
            return True
        return qualifier not in self.others


def _bears(items: object, name: str) -> bool:
    """Something in a FROM, at whatever depth, is called ``name``."""
    for _, node in nodes(items):
        alias = node.get("alias")
        called = alias.get("aliasname") if isinstance(alias, dict) else node.get("relname")
        if called == name:
            return True
    return False


def _aliases(relation: RelationName, below: list[tuple[str, Node]]) -> tuple[set[str], set[str]]:
    """Names of the other FROM items, and names of joins (which pass this relation's columns on)."""
    others: set[str] = set()
    joins: set[str] = set()
    for key, node in below:
        if key == "JoinExpr":
            joins |= {node[field]["aliasname"] for field in ("alias", "join_using_alias") if field in node}
        elif "relname" in node and node is not relation.node:
            others.add(node.get("alias", {}).get("aliasname") or node["relname"])
        elif key.startswith("Range") and "alias" in node:
            others.add(node["alias"]["aliasname"])
    return others - joins - {relation.visible_name}, joins


def subject_keys(level: object, column: str) -> frozenset[tuple[str, int]]:
    """Constants that a statement compares with ``column`` by ``=`` or IN, with their byte offsets, and parameters
    (:func:`subject_key`): the subjects that it names.
    """
    found: set[tuple[str, int]] = set()
    for node in of_type(level, "A_Expr"):
        if node.get("kind") not in ("AEXPR_OP", "AEXPR_IN") or strings(node.get("name"))[-1:] != ("=",):
            continue
        left, right = node.get("lexpr"), node.get("rexpr")
        if not _is_column(left, column):
            left, right = right, left
        if not _is_column(left, column):
            continue
        items = right["List"].get("items", []) if isinstance(right, dict) and "List" in right else [right]
        found |= {key for key in map(subject_key, items) if key is not None}
    return frozenset(found)


def subject_key(node: object) -> tuple[str, int] | None:
    """A constant with its byte offset; parameter ``$n`` as ``('', -n)``; None for anything else."""
    value = constant(node)
    if value is not None:
        return value, constant_location(node)
    while isinstance(node, dict) and "TypeCast" in node:
        node = node["TypeCast"].get("arg")
    number = node["ParamRef"].get("number", 0) if isinstance(node, dict) and "ParamRef" in node else 0
    return ("", -number) if number else None


def _is_column(node: object, column: str) -> bool:
    return isinstance(node, dict) and "ColumnRef" in node and strings(node["ColumnRef"].get("fields"))[-1:] == (column,)
