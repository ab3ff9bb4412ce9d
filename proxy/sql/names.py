"""Which functions, operators and types a statement names, whatever they turn out to mean."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.sql.grammar import Node
from proxy.sql.tree import Index, strings

_BETWEEN = frozenset({"AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN", "AEXPR_BETWEEN_SYM", "AEXPR_NOT_BETWEEN_SYM"})


@dataclass(frozen=True, slots=True, eq=False)
class FunctionName:
    """A call by name. ``schema`` None: looked up by search_path. ``arguments`` None: ``f(*)`` or VARIADIC."""

    schema: str | None
    name: str
    arguments: int | None
    node: Node

    @property
    def location(self) -> int:
        return int(self.node.get("location", 0))

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True, slots=True)
class QualifiedName:
    """An operator or type by name; ``schema`` None: looked up by search_path."""

    schema: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


def split(parts: tuple[str, ...]) -> QualifiedName:
    """The last two parts of a dotted name (a database's name before them says nothing more)."""
    return QualifiedName(parts[-2] if len(parts) > 1 else None, parts[-1] if parts else "")


def functions(index: Index) -> list[FunctionName]:
    """Every function, aggregate, window function or procedure that is called by name."""
    found = []
    for node in index.of_type("FuncCall"):
        name = split(strings(node.get("funcname")))
        # An ordered-set aggregate takes its WITHIN GROUP columns as further arguments.
        within = len(node.get("agg_order", ())) if node.get("agg_within_group") else 0
        count = None if node.get("func_variadic") else len(node.get("args", ())) + within
        found.append(FunctionName(name.schema, name.name, count, node))
    return found


def attributes(index: Index) -> frozenset[str]:
    """Every name that stands behind a dot: ``a.b``. If it is no column of ``a``, PostgreSQL takes it for a
    function of the row (parse_func.c, ParseFuncOrColumn).
    """
    found: set[str] = set()
    for node in index.of_type("ColumnRef"):
        found.update(strings(node.get("fields"))[1:])
    return frozenset(found)


def fields(index: Index) -> frozenset[str]:
    """Every name that stands behind a dot after a value: ``(a).b``, ``a.b.c``. It may be a function of any value."""
    found: set[str] = set()
    for node in index.of_type("ColumnRef"):
        found.update(strings(node.get("fields"))[2:])
    for node in index.of_type("A_Indirection"):
        found.update(strings(node.get("indirection")))
    return frozenset(found)


def operators(index: Index) -> frozenset[QualifiedName]:
    """Every operator that is applied, also those that a keyword stands for (BETWEEN, LIKE, IN, USING, CASE x WHEN)."""
    found = {QualifiedName(None, "=")} if _compares(index) else set()
    for node in index.of_type("A_Expr"):
        if node.get("kind") in _BETWEEN:
            found |= {QualifiedName(None, "<="), QualifiedName(None, ">=")}
        else:
            found.add(split(strings(node.get("name"))))
    for key, field in (("SubLink", "operName"), ("SortBy", "useOp")):
        found |= {split(strings(node[field])) for node in index.of_type(key) if field in node}
    return frozenset(found)


def _compares(index: Index) -> bool:
    """It looks up the operator ``=`` that stands nowhere in it (parse_clause.c, transformJoinUsingClause; gram.y)."""
    return (
        any("arg" in node for node in index.of_type("CaseExpr"))
        or any(node.get("subLinkType") == "ANY_SUBLINK" and "operName" not in node for node in index.of_type("SubLink"))
        or any(node.get("isNatural") or "usingClause" in node for node in index.of_type("JoinExpr"))
        # What is generated for keys that stay what they are is a CASE x WHEN.
        or any(index.of_type(kind) for kind in ("UpdateStmt", "MergeStmt", "onConflictClause"))
    )


def types(index: Index) -> frozenset[QualifiedName]:
    """Every type that is named: casts, column definitions, parameters of PREPARE."""
    named = (strings(node["names"]) for node in index.types)
    return frozenset(split(parts) for parts in named if parts)


def result_name(value: Node) -> tuple[str, Node | None]:
    """The ColumnRef or FuncCall after which PostgreSQL names a result column without AS, and that name
    (parse_target.c, FigureColnameInternal); None where it is named after anything else.
    """
    while True:
        if "ColumnRef" in value:
            name = strings(value["ColumnRef"].get("fields"))
            return (name[-1], value["ColumnRef"]) if name else ("", None)
        [(kind, node)] = value.items()
        if kind == "FuncCall":
            return (strings(node.get("funcname")) or ("",))[-1], node
        if kind in ("TypeCast", "CollateClause"):
            value = node.get("arg", {"": {}})
        elif kind == "A_Indirection" and not strings(node.get("indirection")):
            value = node["arg"]
        elif kind == "CaseExpr" and "defresult" in node:
            value = node["defresult"]
        elif kind == "SubLink" and node.get("subLinkType") == "EXPR_SUBLINK":
            targets = node["subselect"].get("SelectStmt", {}).get("targetList", ())
            if not targets or "name" in targets[0]["ResTarget"]:
                return "", None
            value = targets[0]["ResTarget"]["val"]
        else:
            return "", None
