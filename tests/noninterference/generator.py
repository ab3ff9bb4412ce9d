"""Random SELECT statements, mostly valid: the same seed gives the same statements on the same schema.

What SQL leaves open is not left open: results are ordered by all their columns, LIMIT follows such an order, aggregates
that depend on the order of their input have one of their own, and floating point numbers are not added up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.noninterference.shape import Shape, has_slot, shape_of, slot
from tests.noninterference.vocabulary import LITERALS, Table, Vocabulary, known, ordered

Typed = tuple[str, str]
"""An expression and its type."""


@dataclass(slots=True)
class Source:
    """Something in FROM: its alias and columns. ``table`` where it is a relation."""

    alias: str
    columns: list[Typed]
    table: Table | None = None


@dataclass(slots=True)
class Scope:
    """What an expression may speak of: the sources of its query, then those of the queries around it."""

    sources: list[Source] = field(default_factory=list)
    outer: Scope | None = None

    def columns(self) -> list[Typed]:
        own = [(f"{source.alias}.{name}", kind) for source in self.sources for name, kind in source.columns]
        return own + (self.outer.columns() if self.outer is not None else [])


COMPARISONS = ("=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM")
SUMMED = ("int4", "int8", "int2", "numeric")
CASTS = {
    "text": ("int4", "int8", "numeric", "date", "bool", "uuid", "varchar", "timestamptz", "jsonb", "mood",
             "bpchar", "_text"),
    "int4": ("text", "numeric", "float8", "bool", "int2", "int8", "varchar"),
    "numeric": ("int4", "text", "float8", "int8"), "date": ("timestamp", "timestamptz", "text"),
    "timestamp": ("date", "timestamptz"), "timestamptz": ("timestamp", "date"), "jsonb": ("json", "text"),
    "bool": ("int4",),
    "int8": ("int4", "numeric"), "float8": ("int4", "numeric"), "varchar": ("text", "int4"), "json": ("jsonb",),
    "interval": ("text",), "time": ("timestamp",), "_text": ("text",), "mood": ("text",), "bytea": ("text",),
}  # fmt: skip
"""Result type: the types that are cast to it; some casts fail for some values."""
FAVOURED = ("clinic.patients", "public.subscribers", "clinic.vitals")
"""The tables with most hidden columns."""


class Generator:
    """Makes one statement after another."""

    def __init__(self, vocabulary: Vocabulary, seed: int, rare: frozenset[str] = frozenset()) -> None:
        """``rare``: relations that few statements speak of."""
        self._words = vocabulary
        self._common = [table for table in vocabulary.tables if table.name not in rare]
        self._favoured = [table for table in self._common if table.name in FAVOURED]
        self._random = Random(seed)
        self._aliases = 0
        self._ctes: list[Source] = []
        self._slots: list[Typed] = []

    def shape(self) -> Shape:
        """The next statement, without a semicolon."""
        self._aliases, self._ctes, self._slots = 0, [], []
        text = self._statement()
        return shape_of(text, [(kind, literal) for literal, kind in self._slots])

    def _statement(self) -> str:
        chance = self._random.random()
        if chance < 0.03:
            return self._copy()
        if chance < 0.06:
            return self._locking()
        return self._with() + self._ordered(self._body(Scope(), 3)[0], top=True)

    # --- statements ---

    def _with(self) -> str:
        made = []
        for _ in range(self._random.choice((0, 0, 0, 1, 1, 2))):
            text, columns = self._query(Scope(), 2)
            name = self._random.choice((self._alias("w"), "patients", "guesses", "subscribers"))
            if any(name == other.alias for other in self._ctes):
                continue
            kept = self._random.choice(("", "", "MATERIALIZED ", "NOT MATERIALIZED "))
            names = [f"c{i}" for i in range(len(columns))]
            made.append(f"{name} ({', '.join(names)}) AS {kept}({text})")
            self._ctes.append(Source(name, list(zip(names, columns, strict=True))))
        return f"WITH {', '.join(made)} " if made else ""

    def _copy(self) -> str:
        text = self._ordered(self._body(Scope(), 2)[0], top=True)
        return f"COPY ({text}) TO STDOUT{self._random.choice(('', ' (FORMAT csv, HEADER)', ' (FORMAT binary)'))}"

    def _locking(self) -> str:
        scope = Scope([self._relation()])
        condition = self._boolean(scope, 2)
        alias, table = scope.sources[0].alias, scope.sources[0].table
        assert table is not None
        key = table.key or table.columns[0][0]
        lock = self._random.choice(("UPDATE", "SHARE", "NO KEY UPDATE", "KEY SHARE"))
        return f"SELECT {alias}.{key} FROM {table.name} AS {alias} WHERE {condition} ORDER BY 1 FOR {lock}"

    def _ordered(self, text: str, *, top: bool) -> str:
        """By all columns of a query that :meth:`_body` made, which says their number in front."""
        count, _, query = text.partition("\0")
        order = f"{query} ORDER BY {', '.join(str(i + 1) for i in range(int(count)))}"
        if self._random.random() < (0.12 if top else 0.6):
            order += f" LIMIT {self._random.randrange(6)}"
            order += self._random.choice(("", "", f" OFFSET {self._random.randrange(3)}"))
        return order

    def _body(self, scope: Scope, depth: int) -> tuple[str, list[str]]:
        """A query and its column types, with their number before it."""
        text, kinds = self._select(scope, depth)
        if depth > 1 and self._random.random() < 0.12:
            operation = self._random.choice(("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "EXCEPT ALL"))
            other, _ = self._select(scope, depth - 1, kinds)
            text = f"{text} {operation} {other}"
        return f"{len(kinds)}\0{text}", kinds

    def _query(self, scope: Scope, depth: int) -> tuple[str, list[str]]:
        """A query that may stand in parentheses."""
        text, kinds = self._body(scope, depth)
        if self._random.random() < 0.25:
            return self._ordered(text, top=False), kinds
        return text.partition("\0")[2], kinds

    def _select(self, outer: Scope, depth: int, kinds: list[str] | None = None) -> tuple[str, list[str]]:
        scope = Scope(outer=outer)
        source = self._from(scope, depth)
        where = f" WHERE {self._boolean(scope, depth)}" if self._random.random() < 0.7 else ""
        if self._random.random() < 0.3:
            columns, tail = self._grouped(scope, depth, kinds)
        elif self._random.random() < 0.15 and kinds is None:
            columns, tail = self._windowed(scope, depth), ""
        else:
            columns, tail = self._plain(scope, depth, kinds), ""
        distinct = "DISTINCT " if self._random.random() < 0.12 else ""
        names = ", ".join(f"{text} AS x{i}" for i, (text, _) in enumerate(columns))
        return f"SELECT {distinct}{names} FROM {source}{where}{tail}", [kind for _, kind in columns]

    # --- what is selected ---

    def _plain(self, scope: Scope, depth: int, kinds: list[str] | None) -> list[Typed]:
        if kinds is not None:
            return [(self._expression(kind, scope, depth), kind) for kind in kinds]
        return [
            self._row(scope) if self._random.random() < 0.04 else self._any(scope, depth)
            for _ in range(self._random.randint(1, 4))
        ]

    def _any(self, scope: Scope, depth: int) -> Typed:
        """Of any type that can be ordered."""
        columns = [column for column in scope.columns() if ordered(column[1])]
        if columns and self._random.random() < 0.6:
            text, kind = self._random.choice(columns)
            return text, known(kind)
        odd = [column for column in scope.columns() if not ordered(column[1])]
        if odd and self._random.random() < 0.2:
            return f"{self._random.choice(odd)[0]}::text", "text"
        kind = self._random.choice([kind for kind in LITERALS if ordered(kind)])
        return self._expression(kind, scope, depth), kind

    def _row(self, scope: Scope) -> Typed:
        source = self._random.choice(scope.sources)
        alias = source.alias
        forms: tuple[Typed, ...] = (
            (f"to_jsonb({alias})", "jsonb"), (f"{alias}::text", "text"), (f"({alias} IS NULL)", "bool"),
            (f"row_to_json({alias})::text", "text"), (f"(({alias}).{source.columns[0][0]})::text", "text"),
            (f"md5({alias}::text)", "text"),
        )  # fmt: skip
        if source.table is not None and self._random.random() < 0.3:
            return f"{alias}.tableoid::regclass::text", "text"
        return self._random.choice(forms)

    def _grouped(self, scope: Scope, depth: int, kinds: list[str] | None) -> tuple[list[Typed], str]:
        if kinds is not None:
            return [(self._aggregate_of(kind, scope, depth), kind) for kind in kinds], ""
        keys = [self._any(scope, 1) for _ in range(self._random.randint(0, 2))]
        keys = [key for key in keys if "(" not in key[0] and not has_slot(key[0]) and not key[0].isdigit()]
        columns = keys + [self._aggregate(scope, depth) for _ in range(self._random.randint(1, 3))]
        if not keys:
            return columns, ""
        names = ", ".join(dict.fromkeys(text for text, _ in keys))
        form = self._random.choice(
            (names, names, names, f"ROLLUP ({names})", f"CUBE ({names})", f"GROUPING SETS (({names}), ())")
        )
        having = f" HAVING {self._aggregate_condition(scope)}" if self._random.random() < 0.3 else ""
        return columns, f" GROUP BY {form}{having}"

    def _aggregate(self, scope: Scope, depth: int) -> Typed:
        text, kind = self._any(scope, depth - 1)
        argument = text
        forms: list[Typed] = [
            ("count(*)", "int8"),
            (f"count(DISTINCT {argument})", "int8"),
            (f"count({argument})", "int8"),
        ]
        if kind in SUMMED:
            total = {"int2": "int8", "int4": "int8"}.get(kind, "numeric")
            forms += [(f"sum({argument})", total), (f"avg({argument})", "numeric"), (f"min({argument})", kind)]
        elif kind in ("text", "varchar"):
            forms += [(f"string_agg({argument}, ',' ORDER BY {argument})", "text"), (f"max({argument}::text)", "text")]
        elif kind in ("date", "timestamp", "timestamptz", "float8", "mood", "time"):
            forms += [(f"max({argument})", kind), (f"min({argument})", kind)]
        elif kind == "bool":
            forms += [(f"bool_or({argument})", "bool"), (f"every({argument})", "bool")]
        forms += [
            (f"array_agg({argument} ORDER BY {argument})::text", "text"),
            (f"jsonb_agg({argument} ORDER BY {argument})", "jsonb"),
        ]
        chosen, result = self._random.choice(forms)
        if self._random.random() < 0.2:
            chosen += f" FILTER (WHERE {self._boolean(scope, 1)})"
            chosen = f"({chosen})"
        return chosen.replace("::text FILTER", " FILTER"), result if "::text FILTER" not in chosen else "text"

    def _aggregate_of(self, kind: str, scope: Scope, depth: int) -> str:
        text = self._expression(kind, scope, depth - 1)
        if kind in (*SUMMED, "text", "date", "timestamp", "timestamptz", "float8", "mood", "time", "interval", "inet"):
            return f"{self._random.choice(('min', 'max'))}({text})"
        return f"(array_agg({text} ORDER BY {text}))[1]" if ordered(kind) else self._literal(kind)

    def _aggregate_condition(self, scope: Scope) -> str:
        text, kind = self._aggregate(scope, 1)
        return f"{text} {self._random.choice(COMPARISONS)} {self._literal(kind)}"

    def _windowed(self, scope: Scope, depth: int) -> list[Typed]:
        key, kind = self._any(scope, 1)
        value, value_kind = self._any(scope, 1)
        over = f"OVER ({self._random.choice(('', f'PARTITION BY {value} '))}ORDER BY {key})"
        forms: list[Typed] = [
            (f"rank() {over}", "int8"), (f"dense_rank() {over}", "int8"), (f"count({value}) {over}", "int8"),
            (f"first_value({key}) {over}", kind), (f"cume_dist() {over}", "float8"),
            (f"count(*) OVER (PARTITION BY {key})", "int8"),
        ]  # fmt: skip
        if value_kind in SUMMED:
            forms.append((f"sum({value}) {over}", {"int2": "int8", "int4": "int8"}.get(value_kind, "numeric")))
        return [self._random.choice(forms), *(self._any(scope, depth - 1) for _ in range(self._random.randrange(3)))]

    # --- where it comes from ---

    def _alias(self, letter: str = "t") -> str:
        self._aliases += 1
        return f"{letter}{self._aliases}"

    def _relation(self) -> Source:
        chance = self._random.random()
        among = self._words.tables if chance < 0.01 else self._favoured if chance < 0.4 else self._common
        table = self._random.choice(among or self._words.tables)
        return Source(self._alias(), list(table.columns), table)

    def _from(self, scope: Scope, depth: int) -> str:
        text = self._item(scope, depth, lateral=False)
        for _ in range(self._random.choice((0, 0, 1, 1, 2) if depth > 1 else (0, 0, 0, 1))):
            kind = self._random.choice(("JOIN", "JOIN", "LEFT JOIN", "FULL JOIN", "CROSS JOIN", ",", "RIGHT JOIN"))
            before = list(scope.sources)
            item = self._item(scope, depth - 1, lateral=kind in ("JOIN", "LEFT JOIN", "CROSS JOIN"))
            if kind in ("CROSS JOIN", ","):
                text += f"{kind if kind == ',' else ' ' + kind} {item}"
                if kind == ",":
                    continue
            elif kind == "FULL JOIN":
                text += f" FULL JOIN {item} ON {self._equality(before, scope.sources[-1]) or 'true'}"
            else:
                joined = Scope(self._last(before) + scope.sources[-1:], None)
                condition = self._equality(before, scope.sources[-1]) or self._boolean(joined, 1)
                text += f" {kind} {item} ON {condition}"
        return text

    def _last(self, before: list[Source]) -> list[Source]:
        """What an ON surely sees: the source that came just before."""
        return before[-1:]

    def _equality(self, before: list[Source], after: Source) -> str | None:
        pairs = [
            f"{one.alias}.{name} = {after.alias}.{other}"
            for one in before[-1:]
            for name, kind in one.columns
            for other, other_kind in after.columns
            if known(kind) == known(other_kind) and ordered(kind)
        ]
        return self._random.choice(pairs) if pairs and self._random.random() < 0.8 else None

    def _item(self, scope: Scope, depth: int, *, lateral: bool) -> str:
        chance = self._random.random()
        if depth > 1 and chance < 0.2:
            inside = Scope(list(scope.sources), None) if lateral and self._random.random() < 0.6 else Scope()
            text, kinds = self._query(inside, depth - 1)
            alias = self._alias("q")
            names = [f"c{i}" for i in range(len(kinds))]
            scope.sources.append(Source(alias, list(zip(names, kinds, strict=True))))
            return f"{'LATERAL ' if inside.sources else ''}({text}) AS {alias}({', '.join(names)})"
        if self._ctes and chance < 0.35:
            cte = self._random.choice(self._ctes)
            alias = self._alias("u")
            scope.sources.append(Source(alias, cte.columns))
            return f"{cte.alias} AS {alias}"
        if chance < 0.42:
            return self._values(scope)
        if chance < 0.46:
            alias = self._alias("g")
            scope.sources.append(Source(alias, [("n", "int4")]))
            return f"generate_series(1, {self._random.randint(1, 6)}) AS {alias}(n)"
        source = self._relation()
        scope.sources.append(source)
        assert source.table is not None
        only = "ONLY " if self._random.random() < 0.03 else ""
        sample = " TABLESAMPLE BERNOULLI (100)" if self._random.random() < 0.02 and "_" not in source.table.name else ""
        return f"{only}{source.table.name} AS {source.alias}{sample}"

    def _values(self, scope: Scope) -> str:
        kinds = [
            self._random.choice(("int4", "text", "date", "numeric", "bool")) for _ in range(self._random.randint(1, 3))
        ]
        rows = [f"({', '.join(self._literal(kind) for kind in kinds)})" for _ in range(self._random.randint(1, 4))]
        alias = self._alias("v")
        names = [f"c{i}" for i in range(len(kinds))]
        scope.sources.append(Source(alias, list(zip(names, kinds, strict=True))))
        return f"(VALUES {', '.join(rows)}) AS {alias}({', '.join(names)})"

    # --- expressions ---

    def _literal(self, kind: str) -> str:
        if kind not in LITERALS:
            return f"NULL::{kind}"
        self._slots.append((self._random.choice(LITERALS[kind]), kind))
        return slot(len(self._slots) - 1)

    def _column(self, kind: str, scope: Scope) -> str | None:
        fit = [text for text, own in scope.columns() if known(own) == kind]
        return self._random.choice(fit) if fit else None

    def _expression(self, kind: str, scope: Scope, depth: int) -> str:
        """Of type ``kind``: a column wherever there is one, else something that is made of others."""
        if kind == "bool" and depth > 0:
            return f"({self._boolean(scope, depth)})"
        column = self._column(kind, scope)
        if column is not None and self._random.random() < (0.55 if depth > 0 else 0.85):
            return column
        if depth <= 0:
            return self._literal(kind)
        ways: tuple[Callable[[str, Scope, int], str], ...] = (
            self._call, self._call, self._call, self._cast, self._case, self._coalesce, self._subquery,
        )  # fmt: skip
        return self._random.choice(ways)(kind, scope, depth - 1)

    def _call(self, kind: str, scope: Scope, depth: int) -> str:
        calls = self._words.calls.get(kind)
        if not calls:
            return self._literal(kind)
        call = self._random.choice(calls)
        return call.sql([self._expression(argument, scope, depth) for argument in call.arguments])

    def _cast(self, kind: str, scope: Scope, depth: int) -> str:
        sources = CASTS.get(kind)
        if not sources:
            return self._literal(kind)
        value = self._expression(self._random.choice(sources), scope, depth)
        return f"CAST({value} AS {f'{kind[1:]}[]' if kind.startswith('_') else kind})"

    def _case(self, kind: str, scope: Scope, depth: int) -> str:
        first, second = self._expression(kind, scope, depth), self._expression(kind, scope, depth)
        return f"CASE WHEN {self._boolean(scope, depth)} THEN {first} ELSE {second} END"

    def _coalesce(self, kind: str, scope: Scope, depth: int) -> str:
        first, second = self._expression(kind, scope, depth), self._expression(kind, scope, depth)
        name = self._random.choice(("coalesce", "nullif", "greatest", "least") if ordered(kind) else ("coalesce",))
        return f"{name}({first}, {second})"

    def _subquery(self, kind: str, scope: Scope, depth: int) -> str:
        inside = Scope([self._relation()], scope)
        source = inside.sources[0]
        value, where = self._expression(kind, inside, depth), self._boolean(inside, depth)
        assert source.table is not None
        limit = " ORDER BY 1 LIMIT 1" if ordered(kind) and self._random.random() < 0.7 else ""
        return f"(SELECT {value} FROM {source.table.name} AS {source.alias} WHERE {where}{limit})"

    def _boolean(self, scope: Scope, depth: int) -> str:
        if depth <= 0:
            return self._comparison(scope, 0)
        ways: tuple[Callable[[Scope, int], str], ...] = (
            self._comparison, self._comparison, self._comparison, self._comparison, self._connected, self._null_test,
            self._among, self._like, self._exists, self._between, self._in_query, lambda s, d: self._call("bool", s, d),
        )  # fmt: skip
        return self._random.choice(ways)(scope, depth - 1)

    def _comparison(self, scope: Scope, depth: int) -> str:
        kind = self._some_kind(scope)
        left, right = self._expression(kind, scope, depth), self._expression(kind, scope, min(depth, 1))
        return f"({left} {self._random.choice(COMPARISONS)} {right})"

    def _some_kind(self, scope: Scope) -> str:
        """A type that the scope has columns of, mostly."""
        kinds = sorted({known(kind) for _, kind in scope.columns() if ordered(kind)} - {"bool"})
        return self._random.choice(kinds) if kinds else "int4"

    def _connected(self, scope: Scope, depth: int) -> str:
        first, second = self._boolean(scope, depth), self._boolean(scope, depth)
        form = self._random.choice(("({} AND {})", "({} OR {})", "(NOT {} AND {})", "(({}) IS TRUE OR {})"))
        return form.format(first, second)

    def _null_test(self, scope: Scope, depth: int) -> str:
        text, _ = self._any(scope, depth)
        return f"({text}) IS {self._random.choice(('', 'NOT '))}NULL"

    def _among(self, scope: Scope, depth: int) -> str:
        kind = self._some_kind(scope)
        values = ", ".join(self._literal(kind) for _ in range(self._random.randint(1, 4)))
        form = self._random.choice(
            (f"IN ({values})", f"NOT IN ({values})", f"= ANY (ARRAY[{values}])", f"> ALL (ARRAY[{values}])")
        )
        return f"({self._expression(kind, scope, depth)} {form})"

    def _like(self, scope: Scope, depth: int) -> str:
        operator = self._random.choice(("LIKE", "NOT LIKE", "ILIKE", "~", "^@"))
        pattern = self._literal("text") if self._random.random() < 0.9 else self._expression("text", scope, 0)
        return f"({self._expression('text', scope, depth)} {operator} {pattern})"

    def _exists(self, scope: Scope, depth: int) -> str:
        inside = Scope([self._relation()], scope)
        source = inside.sources[0]
        assert source.table is not None
        return f"EXISTS (SELECT FROM {source.table.name} AS {source.alias} WHERE {self._boolean(inside, depth)})"

    def _between(self, scope: Scope, depth: int) -> str:
        kind = self._some_kind(scope)
        low, high = self._literal(kind), self._expression(kind, scope, 0)
        return f"({self._expression(kind, scope, depth)} BETWEEN {low} AND {high})"

    def _in_query(self, scope: Scope, depth: int) -> str:
        kind = self._some_kind(scope)
        inside = Scope([self._relation()], None)
        source = inside.sources[0]
        assert source.table is not None
        value = self._column(kind, inside) or self._literal(kind)
        operator = self._random.choice(("IN", "NOT IN", "= ANY", "< ALL"))
        where = f" WHERE {self._boolean(inside, depth)}" if self._random.random() < 0.5 else ""
        query = f"SELECT {value} FROM {source.table.name} AS {source.alias}{where}"
        return f"({self._expression(kind, scope, depth)} {operator} ({query}))"
