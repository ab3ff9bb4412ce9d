"""Simple predicates of a SELECT: a column compared with values that its text holds, as a conjunct of its WHERE.

A row that fails such a conjunct is not in the result, whatever joins stand in FROM: so it may also be asked of a
relation before it is joined. Anything that is not certainly about the relation is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from proxy.sql.facts import Facts
from proxy.sql.grammar import Node, Token
from proxy.sql.relations import RelationName
from proxy.sql.tree import nodes, strings

_FLIPPED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_LONGEST_LIST = 1000


@dataclass(frozen=True, slots=True)
class Value:
    """A literal or parameter: its token in the client's text, and the built-in type that it is cast to, '' if none."""

    start: int
    end: int
    kind: str
    cast: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """``column`` compared with ``values``. ``operator``: ``=``, ``<``, ``<=``, ``>``, ``>=``, ``IN``, ``BETWEEN``,
    ``ANY`` (the value is an array) or ``LIKE``.
    """

    column: str
    operator: str
    values: tuple[Value, ...]


def comparisons(facts: Facts, relation: RelationName) -> tuple[Comparison, ...]:
    """The conjuncts of the WHERE clause beside the FROM in which ``relation`` stands that are about its columns."""
    level = relation.level
    if level is None or "limitOption" not in level or relation.renames_columns or "whereClause" not in level:
        return ()
    sole = _sole(level, relation)
    if not sole and (_visible_names(level)[relation.visible_name] != 1 or hidden_by_alias(level, relation)):
        return ()
    tokens = {token.start: token for token in facts.tokens}
    reader = _Reader(tokens, Counter(facts.query[one.start : one.end] for one in facts.tokens if one.kind == "PARAM"))
    found = []
    for conjunct in _conjuncts(level["whereClause"]):
        column, operator, operands = _taken_apart(conjunct)
        name = _own_column(column, relation, sole)
        values = tuple(reader.value(facts.query, operand) for operand in operands[:_LONGEST_LIST])
        whole = len(operands) <= _LONGEST_LIST and bool(values)
        known = tuple(value for value in values if value is not None)
        if name is not None and whole and len(known) == len(values):
            found.append(Comparison(name, operator, known))
    return tuple(found)


def _sole(level: Node, relation: RelationName) -> bool:
    """``relation`` is all that stands in the FROM."""
    items = level.get("fromClause", [])
    if len(items) != 1:
        return False
    inner = items[0].get("RangeTableSample", {}).get("relation", items[0])
    return inner.get("RangeVar") is relation.node


def _visible_names(level: Node) -> Counter[str]:
    """How often each name stands for an item of FROM, at any depth."""
    names: Counter[str] = Counter()
    for _, node in nodes(level.get("fromClause", [])):
        if "relname" in node:
            names[node.get("alias", {}).get("aliasname") or node["relname"]] += 1
        elif "alias" in node:
            names[node["alias"]["aliasname"]] += 1
    return names


def hidden_by_alias(level: Node, relation: RelationName) -> bool:
    """``relation`` stands in a join that has an alias: its name means nothing outside of that, or something else."""
    return any(
        inner is relation.node
        for _, join in nodes(level.get("fromClause", []))
        if "jointype" in join and "alias" in join
        for _, inner in nodes([join.get("larg"), join.get("rarg")])
    )


def _conjuncts(where: Node) -> Iterator[Node]:
    pending = [where]
    while pending:
        node = pending.pop()
        if node.get("BoolExpr", {}).get("boolop") == "AND_EXPR":
            pending.extend(node["BoolExpr"]["args"])
        else:
            yield node


def _taken_apart(conjunct: Node) -> tuple[object, str, list[Node]]:
    """The side that may be a column, the operator, and the other operands; no operands where it is no comparison."""
    node = conjunct.get("A_Expr", {})
    names = strings(node.get("name"))
    left, right = node.get("lexpr", {}), node.get("rexpr", {})
    match node.get("kind"), names:
        case "AEXPR_OP", (operator,) if operator in _FLIPPED:
            if "ColumnRef" in left:
                return left, operator, [right]
            return right, _FLIPPED[operator], [left]
        case "AEXPR_IN", ("=",):
            return left, "IN", right.get("List", {}).get("items", [])
        case "AEXPR_BETWEEN", _:
            return left, "BETWEEN", right.get("List", {}).get("items", [])
        case "AEXPR_OP_ANY", ("=",):
            return left, "ANY", [right]
        case "AEXPR_LIKE", ("~~",):
            return left, "LIKE", [right]
    return None, "", []


def _own_column(node: object, relation: RelationName, sole: bool) -> str | None:
    """The column of ``relation`` that ``node`` certainly is."""
    if not isinstance(node, dict) or "ColumnRef" not in node:
        return None
    fields = node["ColumnRef"].get("fields", [])
    parts = strings(fields)
    if len(parts) != len(fields):
        return None
    if len(parts) == 1:
        return parts[0] if sole else None
    return parts[1] if len(parts) == 2 and parts[0] == relation.visible_name else None


class _Reader:
    """Reads values. ``parameters``: how often each stands in the statement. One that stands twice takes its type from
    the place that PostgreSQL reads first, and a copy of it would be another place.
    """

    def __init__(self, tokens: dict[int, Token], parameters: Counter[bytes]) -> None:
        self._tokens = tokens
        self._parameters = parameters

    def value(self, query: bytes, node: Node) -> Value | None:
        cast = ""
        if "TypeCast" in node:
            inner = node["TypeCast"]
            cast = _built_in(inner["typeName"])
            node = inner.get("arg", {})
            if not cast:
                return None
        for kind in ("A_Const", "ParamRef"):
            token = self._tokens.get(node.get(kind, {}).get("location", -1))
            if token is None or token.kind not in ("SCONST", "ICONST", "FCONST", "PARAM"):
                continue
            if token.kind == "PARAM" and self._parameters[query[token.start : token.end]] != 1:
                return None
            return Value(token.start, token.end, token.kind, cast)
        return None


def _built_in(type_name: Node) -> str:
    """The name of a type that could be a built-in one, with ``[]`` for an array; '' for what has a modifier."""
    names = strings(type_name.get("names"))
    bounds = type_name.get("arrayBounds", [])
    if type_name.get("typmods") or len(bounds) > 1 or len(names) not in (1, 2):
        return ""
    if len(names) == 2 and names[0] != "pg_catalog":
        return ""
    return names[-1] + ("[]" if bounds else "")


def plain_prefix(query: bytes, value: Value) -> bool:
    """A LIKE pattern that is a literal prefix: it cannot raise, and an index can find it."""
    text = query[value.start : value.end]
    inner = text[1:-2]
    return (
        text[:1] == b"'"
        and text[-2:] == b"%'"
        and len(inner) > 0
        and not any(mark in inner for mark in (b"%", b"_", b"\\", b"\n"))
    )
