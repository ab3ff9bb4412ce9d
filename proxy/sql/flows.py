"""Which columns flow into which outputs of a query, and into an expression: what is copied where a value is stored.

Predicates choose rows and say nothing of a value: WHERE, HAVING, ON, FILTER, ORDER BY, GROUP BY, PARTITION BY, LIMIT,
EXISTS and IN (SELECT …) do not count. Everything else that stands in an expression does, conditions of CASE and
comparisons too. An over-approximation: what cannot be told flows everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from proxy.errors import Refusal, Refused
from proxy.sql.grammar import Node
from proxy.sql.relations import RelationName
from proxy.sql.scopes import EMPTY, NOTHING, Item, Joined, Output, Outputs, Scope, Source, Sources, unknown
from proxy.sql.tree import strings

ColumnsOf = Callable[[RelationName], Sequence[str] | None]
"""The columns of a relation in their order, as ``*`` shows them; None where they are not known."""

_MODIFYING = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
_TESTS = frozenset({"EXISTS_SUBLINK", "ANY_SUBLINK", "ALL_SUBLINK"})

_SELECTS = 20_000
"""How many SELECTs are walked, each turn of each recursive WITH query counted: nested ones multiply their turns."""


class _TooManyTurnsError(Exception):
    """The statement costs more to follow than it is worth: everything flows everywhere."""


class Flows:
    """The flows of one statement. ``kind`` and ``node`` are the statement's, ``relations`` all that it names.

    Raises Refused (54001) for what is nested too deeply.
    """

    def __init__(self, kind: str, node: Node, relations: Sequence[RelationName], columns: ColumnsOf) -> None:
        self._relations = {id(name.node): name for name in relations}
        self._columns = columns
        self._references: dict[int, Sources] = {}
        self._queries: dict[int, Outputs] = {}
        self._everything = NOTHING.union(*(self._row(name).every for name in relations))
        self._selects = 0
        try:
            self._visit(kind, node, Scope())
        except _TooManyTurnsError:
            self._references.clear()
            self._queries.clear()
        except RecursionError:
            raise Refused(
                Refusal(
                    "54001",
                    "consentry: the statement is nested too deeply to be analysed",
                    hint="Write it with fewer nested subqueries.",
                )
            ) from None

    def query(self, select: Node) -> Outputs:
        """The result columns of a SelectStmt that stands anywhere in the statement, each with what flows into it."""
        return self._queries.get(id(select)) or unknown(self._everything)

    def reference(self, node: Node) -> Sources:
        """What a ColumnRef that stands anywhere in the statement may mean."""
        return self._references.get(id(node), self._everything)

    def of(self, expression: object) -> Sources:
        """What flows into an expression that stands anywhere in the statement."""
        found: set[Source] = set()
        stack: list[tuple[str, object]] = [("", expression)]
        while stack:
            key, value = stack.pop()
            if isinstance(value, list):
                stack.extend((key, item) for item in value)
            elif isinstance(value, dict):
                if key == "ColumnRef":
                    found |= self._references.get(id(value), self._everything)
                elif key == "MultiAssignRef":
                    found |= self._part(value)
                elif "limitOption" in value:
                    found |= self.query(value).every
                elif key in _MODIFYING:
                    found |= self._everything
                else:
                    stack.extend(_flowing_fields(key, value))
        return frozenset(found)

    def _part(self, assigned: Node) -> Sources:
        """One column of ``SET (a, b) = …``."""
        source, number = assigned.get("source", {}), assigned.get("colno", 1) - 1
        if "SubLink" in source:
            return self.query(source["SubLink"]["subselect"]["SelectStmt"]).at(number)
        row = source.get("RowExpr", {}).get("args", ())
        stars = any("A_Star" in field for item in row for field in item.get("ColumnRef", {}).get("fields", ()))
        return self.of(row[number]) if number < len(row) and not stars else self.of(source)

    # --- the walk: every reference is resolved in the scope in which it stands ------------------------------------

    def _visit(self, key: str, value: object, scope: Scope) -> None:
        stack: list[tuple[str, object]] = [(key, value)]
        while stack:
            key, value = stack.pop()
            if isinstance(value, list):
                stack.extend((key, item) for item in value)
            elif isinstance(value, dict):
                if key == "ColumnRef":
                    meant = scope.resolve(value)
                    known = self._references.get(id(value), NOTHING)
                    self._references[id(value)] = known | (self._everything if meant is None else meant)
                elif "limitOption" in value:
                    self._select(value, scope)
                elif key in _MODIFYING:
                    self._modify(key, value, scope)
                else:
                    stack.extend(value.items())

    def _select(self, node: Node, scope: Scope) -> Outputs:
        self._selects += 1
        if self._selects > _SELECTS:
            raise _TooManyTurnsError
        scope = scope.inside(()).with_queries(self._with(node, scope))
        if "larg" in node:
            left, right = (self._select(node[arm], scope) for arm in ("larg", "rarg"))
            self._rest(node, scope)
            outputs = left.beside(right)
        elif "valuesLists" in node:
            self._rest(node, scope)
            outputs = self._values(node["valuesLists"])
        else:
            joined = self._from(node.get("fromClause", ()), (), scope)
            level = scope.inside(joined.items)
            self._rest(node, level)
            outputs = self._targets(node.get("targetList", ()), level, joined.star)
        self._queries[id(node)] = outputs
        return outputs

    def _rest(self, node: Node, scope: Scope) -> None:
        """Every clause but those that make the scope."""
        for key, value in node.items():
            if key not in ("withClause", "fromClause", "larg", "rarg", "lockingClause", "intoClause"):
                self._visit(key, value, scope)

    def _with(self, node: Node, scope: Scope) -> Mapping[str, Outputs]:
        """The WITH queries in scope of ``node``: those around it, and its own."""
        clause = node.get("withClause")
        if clause is None:
            return scope.queries
        queries = dict(scope.queries)
        bodies = [item["CommonTableExpr"] for item in clause.get("ctes", ())]
        if not clause.get("recursive"):
            for body in bodies:
                queries[body["ctename"]] = self._common(body, scope.with_queries(queries))
            return queries
        names = [body["ctename"] for body in bodies]
        queries.update(dict.fromkeys(names, unknown(NOTHING)))
        for body in bodies:
            queries[body["ctename"]] = self._first_arm(body, scope.with_queries(queries))
        while True:  # to the fixed point: each turn adds sources, of which there are finitely many
            before = {name: queries[name] for name in names}
            for body in bodies:
                found = self._common(body, scope.with_queries(queries))
                queries[body["ctename"]] = before[body["ctename"]].beside(found)
            if all(queries[name] == before[name] for name in names):
                return queries

    def _first_arm(self, body: Node, scope: Scope) -> Outputs:
        """What a recursive query's arm that does not recurse brings: as many columns as the whole."""
        query = body["ctequery"].get("SelectStmt", {})
        if "larg" not in query:
            return self._common(body, scope)
        inner = scope.inside(()).with_queries(self._with(query, scope))
        return self._common_columns(body, self._select(query["larg"], inner))

    def _common(self, body: Node, scope: Scope) -> Outputs:
        """What one WITH query gives."""
        [(kind, query)] = body["ctequery"].items()
        found = self._modify(kind, query, scope) if kind in _MODIFYING else self._select(query, scope)
        return self._common_columns(body, found)

    def _common_columns(self, body: Node, found: Outputs) -> Outputs:
        """The columns of a WITH query, with those that SEARCH and CYCLE add to what its query gives."""
        found = found.named(list(strings(body.get("aliascolnames"))))
        added = (("search_clause", "search_seq_column"), ("cycle_clause", "cycle_mark_column"))
        for clause, column in (*added, ("cycle_clause", "cycle_path_column")):
            if column in body.get(clause, {}):
                found = found.followed_by(Outputs((Output(body[clause][column], found.every),)))
        return found

    # --- FROM -----------------------------------------------------------------------------------------------------

    def _from(self, items: Sequence[Node], before: tuple[Item, ...], scope: Scope) -> Joined:
        """Items one after the other; a LATERAL one sees those before it."""
        found: list[Item] = []
        star = EMPTY
        for item in items:
            joined = self._item(item, (*before, *found), scope)
            found += joined.items
            star = star.followed_by(joined.star)
        return Joined(tuple(found), star)

    def _item(self, wrapped: Node, before: tuple[Item, ...], scope: Scope) -> Joined:
        [(kind, node)] = wrapped.items()
        match kind:
            case "RangeVar":
                return self._relation(node, scope)
            case "RangeTableSample":
                self._visit("args", [node.get("args", ()), node.get("repeatable", {})], scope.inside(before))
                return self._item(node["relation"], before, scope)
            case "RangeSubselect":
                around = scope.inside(before) if node.get("lateral") else scope
                return _aliased(node, None, self._select(node["subquery"]["SelectStmt"], around))
            case "JoinExpr":
                return self._join(node, before, scope)
            case _:
                return self._computed(kind, node, scope.inside(before))

    def _relation(self, node: Node, scope: Scope) -> Joined:
        name = self._relations.get(id(node))
        if name is None:
            query = scope.queries.get(node["relname"]) or unknown(self._everything)
            return _aliased(node, node["relname"], query)
        return _aliased(node, node["relname"], self._row(name), name)

    def _row(self, name: RelationName) -> Outputs:
        columns = self._columns(name)
        if columns is None:
            return unknown(frozenset({Source(name, "*")}))
        return Outputs(tuple(Output(column, frozenset({Source(name, column)})) for column in columns))

    def _computed(self, kind: str, node: Node, scope: Scope) -> Joined:
        """A function, XMLTABLE or JSON_TABLE: whatever goes in may come out in any column."""
        alias = node.get("alias", {})
        self._visit(kind, {key: value for key, value in node.items() if key != "alias"}, scope)
        outputs = unknown(self.of(node.get("functions") or list(node.values())))
        called = next(iter(_called(node)), None)
        names = list(strings(alias.get("colnames")))
        item = Item(alias.get("aliasname", called), outputs.named(names))
        return Joined((item,), item.outputs)

    def _join(self, node: Node, before: tuple[Item, ...], scope: Scope) -> Joined:
        left = self._item(node["larg"], before, scope)
        right = self._item(node["rarg"], (*before, *left.items), scope)
        items = (*left.items, *right.items)
        if "quals" in node:
            self._visit("quals", node["quals"], scope.inside(items))
        shared = list(strings(node.get("usingClause")))
        if node.get("isNatural"):
            theirs = {column.name for column in right.star.columns}
            shared = [column.name for column in left.star.columns if column.name in theirs and column.name]
        star = _merged(left.star, right.star, shared)
        if "join_using_alias" in node:
            using = Outputs(star.columns[: len(shared)], star.complete, star.beyond)
            items = (*items, Item(node["join_using_alias"]["aliasname"], using, hidden=True))
        return _aliased(node, None, star) if "alias" in node else Joined(items, star)

    # --- results --------------------------------------------------------------------------------------------------

    def _values(self, lists: Sequence[Node]) -> Outputs:
        rows = [row["List"].get("items", ()) for row in lists]
        outputs: Outputs | None = None
        for row in rows:
            stars = any("A_Star" in field for item in row for field in item.get("ColumnRef", {}).get("fields", ()))
            columns = tuple(Output(f"column{number}", self.of(item)) for number, item in enumerate(row, 1))
            one = unknown(self.of(row)) if stars else Outputs(columns)
            outputs = one if outputs is None else outputs.beside(one)
        return outputs or EMPTY

    def _targets(self, items: Sequence[Node], level: Scope, star: Outputs) -> Outputs:
        outputs = EMPTY
        for item in items:
            target = item["ResTarget"]
            outputs = outputs.followed_by(self._target(target, target["val"], level, star))
        return outputs

    def _target(self, target: Node, value: Node, level: Scope, star: Outputs) -> Outputs:
        fields = value.get("ColumnRef", {}).get("fields", ())
        if fields and "A_Star" in fields[-1]:
            parts = strings(fields)
            if not parts:
                return star
            rows = [item.outputs for item in level.items if item.name == parts[-1]]
            return rows[0] if len(rows) == 1 else unknown(self.of(value))
        if any("A_Star" in step for step in value.get("A_Indirection", {}).get("indirection", ())):
            return unknown(self.of(value))
        return Outputs((Output(target.get("name") or _figured(value), self.of(value)),))

    # --- INSERT, UPDATE, DELETE, MERGE ----------------------------------------------------------------------------

    def _modify(self, kind: str, node: Node, scope: Scope) -> Outputs:
        """Visits a data-modifying statement; its outputs are those of RETURNING."""
        scope = scope.inside(()).with_queries(self._with(node, scope))
        target = self._relation_target(node["relation"])
        items, star = list(target.items), target.star
        if kind == "InsertStmt":
            self._insert(node, target, scope)
        else:
            source = [node["sourceRelation"]] if kind == "MergeStmt" else node.get("fromClause", [])
            joined = self._from([*source, *node.get("usingClause", ())], (), scope)
            items += joined.items
            # transformMergeStmt puts the source before the target.
            star = joined.star.followed_by(star) if kind == "MergeStmt" else star.followed_by(joined.star)
            level = scope.inside(items)
            for key in ("targetList", "whereClause", "joinCondition", "mergeWhenClauses"):
                self._visit(key, node.get(key, ()), level)
        clause = node.get("returningClause", {})
        level = scope.inside([*items, *_transitions(clause, target, items)])
        self._visit("exprs", clause.get("exprs", ()), level)
        return self._targets(clause.get("exprs", ()), level, star)

    def _relation_target(self, node: Node) -> Joined:
        name = self._relations.get(id(node))
        outputs = unknown(self._everything) if name is None else self._row(name)
        return _aliased(node, node["relname"], outputs, name)

    def _insert(self, node: Node, target: Joined, scope: Scope) -> None:
        source = EMPTY
        self._visit("cols", node.get("cols", ()), scope)
        if "selectStmt" in node:
            source = self._select(node["selectStmt"]["SelectStmt"], scope)
        conflict = node.get("onConflictClause")
        if conflict is None:
            return
        row = target.items[0].outputs
        listed = [item["ResTarget"] for item in node.get("cols", ())] or [{"name": one.name} for one in row.columns]
        given = {item["name"]: source.at(position) for position, item in enumerate(listed)} if source.columns else {}
        # A default or a generated column may be made of any other.
        excluded = [Output(one.name, given.get(one.name or "", source.every)) for one in row.columns]
        proposed = Item("excluded", Outputs(tuple(excluded), row.complete, source.every), hidden=True)
        self._visit("onConflictClause", conflict, scope.inside([*target.items, proposed]))


def _flowing_fields(key: str, node: Node) -> list[tuple[str, object]]:
    """The fields of an expression's node through which values flow."""
    if key == "SubLink":
        return [] if node.get("subLinkType") in _TESTS else [("subselect", node.get("subselect"))]
    if key == "FuncCall":
        unread = {"agg_filter", "over"} | (set() if node.get("agg_within_group") else {"agg_order"})
        return [(name, value) for name, value in node.items() if name not in unread]
    return list(node.items())


def _aliased(node: Node, name: str | None, outputs: Outputs, relation: RelationName | None = None) -> Joined:
    alias = node.get("alias", {})
    outputs = outputs.named(list(strings(alias.get("colnames"))))
    return Joined((Item(alias.get("aliasname", name), outputs, relation),), outputs)


def _merged(left: Outputs, right: Outputs, shared: list[str]) -> Outputs:
    """``*`` of a join: the columns that USING or NATURAL merges, then the others of each side."""
    if not (left.complete and right.complete) or None in (one.name for one in (*left.columns, *right.columns)):
        return unknown(left.every | right.every)
    both = (*left.columns, *right.columns)
    merged = [Output(name, NOTHING.union(*(one.sources for one in both if one.name == name))) for name in shared]
    return Outputs((*merged, *(one for one in both if one.name not in shared)))


def _transitions(clause: Node, target: Joined, items: Sequence[Item]) -> list[Item]:
    """``old`` and ``new`` of RETURNING (or what WITH calls them), unless something else there bears the name
    (transformReturningClause)."""
    names = {"RETURNING_OPTION_OLD": "old", "RETURNING_OPTION_NEW": "new"}
    for option in clause.get("options", ()):
        names[option["ReturningOption"]["option"]] = option["ReturningOption"]["value"]
    taken = {item.name for item in items}
    return [Item(name, target.star, hidden=True) for name in names.values() if name not in taken]


def _called(node: Node) -> list[str]:
    """The names of the functions in FROM: an item without an alias is called as its function is."""
    calls = [entry["List"]["items"][0].get("FuncCall", {}) for entry in node.get("functions", ())]
    return [strings(call.get("funcname"))[-1] for call in calls if strings(call.get("funcname"))]


def _figured(value: Node) -> str | None:
    """The name that PostgreSQL gives a result column (parse_target.c, FigureColname), where it is certain."""
    while "CollateClause" in value:
        value = value["CollateClause"].get("arg", {})
    name = strings(value.get("ColumnRef", {}).get("fields")) or strings(value.get("FuncCall", {}).get("funcname"))
    return name[-1] if name else None
