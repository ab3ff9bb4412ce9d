"""The types of one database, and columns made of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from proxy.catalog.model import FIRST_NORMAL_OBJECT_ID, Column, Evaluation, RowPolicy
from proxy.catalog.pace import unhurried
from proxy.catalog.reach import Class, Object
from proxy.catalog.rows import Changes, Row, SystemRows
from proxy.catalog.types import TypeNames, TypeRow

_DEFAULT_COLLATION = 100
_WITH_COLUMNS = frozenset("rpvmfcS")


class Columns:
    """Makes the columns of relations from the rows as they are now; :meth:`follow` tells it that they changed."""

    def __init__(self, rows: SystemRows) -> None:
        self._rows = rows
        self.types: dict[int, TypeRow] = {}
        self._ranges: dict[int, Row] = {}
        self._names = TypeNames(self.types, rows.modifiers)

    def fork(self, rows: SystemRows) -> Columns:
        """The same types, to follow other changes from here on."""
        forked = Columns(rows)
        forked.types.update(self.types)
        forked._ranges = self._ranges
        return forked

    def follow(self, changes: Changes) -> None:
        """Takes notice of new rows."""
        changed = changes.keys("types", "enums", "ranges")
        if changes.keys("ranges"):
            ranges = {oid: group[0] for oid, group in self._rows.rows["ranges"].items()}
            ranges |= {row["multirange"]: row for row in ranges.values()}
            changed |= self._ranges.keys() ^ ranges.keys()
            self._ranges = ranges
        for oid in unhurried(changed):
            row = self._rows.row("types", oid)
            if row is not None:
                self.types[oid] = self._type(row)
            else:
                self.types.pop(oid, None)
        if changed or changes.modifiers:
            self._names = TypeNames(self.types, self._rows.modifiers)

    def _type(self, row: Row) -> TypeRow:
        (schema,) = self._rows.rows["schemas"][row["schema"]]
        of_range = self._ranges.get(row["oid"])
        functions = () if of_range is None else of_range["functions"]
        return TypeRow(
            oid=row["oid"],
            schema=schema["name"],
            name=row["name"],
            schema_sql=schema["sql"],
            name_sql=row["sql"],
            kind=row["kind"],
            category=row["category"],
            base=row["base"],
            typmod=row["typmod"],
            not_null=row["not_null"],
            relation=row["relation"],
            element=row["element"],
            is_array=row["is_array"],
            subtype=0 if of_range is None else of_range["subtype"],
            outputs=frozenset(row["outputs"]),
            inputs=frozenset([*row["inputs"], *(oid for oid in functions if oid)]),
            labels=tuple(enum["label"] for enum in self._rows.group("enums", row["oid"])),
        )

    def of(self, relation: int, trail: set[Object]) -> tuple[Column, ...]:
        """The live columns of a relation. Adds to ``trail`` the objects, of those that users can change, on which they
        rest. Raises KeyError where a type or collation is not there.
        """
        kind = self._rows.row("relations", relation)
        if kind is None or kind["kind"] not in _WITH_COLUMNS:
            return ()
        rows = self._rows.group("columns", relation)
        names = {row["number"]: row["name"] for row in rows}
        sources = {
            row["number"]: tuple(dict.fromkeys(names.get(number, "") for number in sorted(row["columns"])))
            for row in self._rows.group("defaults", relation)
        }
        return tuple(self._column(row, sources.get(row["number"], ()), trail) for row in rows)

    def _column(self, row: Row, sources: tuple[str, ...], trail: set[Object]) -> Column:
        own = self.types[row["type"]]
        base, base_typmod, not_null = self._names.base(own.oid, row["typmod"])
        domains = self._names.domains(own.oid)
        if own.oid >= FIRST_NORMAL_OBJECT_ID or own.element >= FIRST_NORMAL_OBJECT_ID:
            trail.update(Object(Class.TYPE, oid) for oid in (own.element, base.oid, base.element, own.oid, *domains))
        return Column(
            name=row["name"],
            number=row["number"],
            type_oid=own.oid,
            typmod=row["typmod"],
            type_sql=self._names.sql(own.oid, row["typmod"]),
            base_type=base.oid,
            type_category=own.category,
            is_enum=base.kind == "e",
            is_domain=own.kind == "d",
            not_null=row["not_null"] or not_null,
            generated=row["generated"] != "",
            collation=self._collation(row["collation"], trail),
            base_sql=self._names.sql(base.oid, base_typmod),
            base_typmod=base_typmod,
            domain_checked=own.kind == "d" and any(self._rows.group("domain_checks", domain) for domain in domains),
            enum_labels=base.labels,
            sources=sources,
        )

    def _collation(self, oid: int, trail: set[Object]) -> str | None:
        if oid in (0, _DEFAULT_COLLATION):
            return None
        trail.add(Object(Class.COLLATION, oid))
        (row,) = self._rows.rows["collations"][oid]
        (schema,) = self._rows.rows["schemas"][row["schema"]]
        return f"{schema['sql']}.{row['sql']}"


def names(rows: SystemRows, relation: int, numbers: Iterable[int]) -> tuple[str, ...]:
    """The names of a relation's columns by number; system columns and expressions (0) have none."""
    found = {row["number"]: row["name"] for row in rows.group("columns", relation)}
    return tuple(found[number] for number in numbers if number in found)


def keys(rows: SystemRows, relation: int) -> tuple[tuple[str, ...], ...]:
    """The columns of each index by which a row is known."""
    return tuple(names(rows, relation, row["numbers"]) for row in rows.group("indexes", relation) if row["is_key"])


def indexed(rows: SystemRows, relation: int) -> frozenset[str]:
    """The columns that an index over all rows begins with."""
    numbers = (row["numbers"][:1] for row in rows.group("indexes", relation) if row["is_whole"])
    return frozenset(name for first in numbers if first[0] > 0 for name in names(rows, relation, first))


def partition_key(rows: SystemRows, relation: int) -> tuple[str, ...]:
    """The columns by which rows go to partitions, those in expressions too; '' for each expression."""
    row = rows.row("partitioned", relation)
    if row is None:
        return ()
    found = {row["number"]: row["name"] for row in rows.group("columns", relation)}
    return tuple(found[number] if number else "" for number in dict.fromkeys(row["numbers"]))


def evaluations(rows: SystemRows, relation: int) -> tuple[Evaluation, ...]:
    """What is evaluated over each row of a relation that is stored (:class:`~proxy.catalog.model.Evaluation`)."""
    columns = rows.group("columns", relation)
    found = {row["number"]: row["name"] for row in columns}
    made_of = {row["number"]: row["columns"] for row in rows.group("defaults", relation)}
    made_of = {row["number"]: made_of.get(row["number"], ()) for row in columns if row["generated"]}

    def named(numbers: Iterable[int]) -> frozenset[str]:
        named = set(numbers)
        named.update(*(made_of[number] for number in numbers if number in made_of))
        return frozenset(found.get(number, "") for number in named if number >= 0)  # below stand system columns

    made = [
        Evaluation("check", row["name"], named(row["columns"] or ()), always=not row["validated"])
        for row in rows.group("constraints", relation)
        if row["kind"] == "c"
    ]
    may_fail = {row["number"]: row["may_fail"] for row in rows.group("defaults", relation)}
    made += [
        Evaluation(
            "generated",
            row["name"],
            named((row["number"],)),
            may_fail=row["not_null"] or may_fail.get(row["number"], True),
        )
        for row in columns
        if row["generated"] == "s" or (row["generated"] and row["not_null"])
    ]
    defaulted = frozenset(found[number] for number in may_fail if number in found)
    for row in rows.group("indexes", relation):
        # Among the columns of an index 0 stands for an expression, among those that one names for the whole row.
        every = {*filter(None, row["every"]), *row["named"]}
        if len(every) > 1 or row["is_unique"] or not row["is_plain"]:
            index = rows.row("relations", row["oid"])
            kind: Literal["columns", "index"] = "columns" if row["is_plain"] else "index"
            name = index["name"] if index is not None else ""
            compared = named({*filter(None, row["numbers"]), *row["named"]}) if row["is_unique"] else frozenset()
            filled = compared if row["nulls_alike"] or not row["is_plain"] else compared & defaulted
            made.append(
                Evaluation(
                    kind,
                    name,
                    named(every),
                    always=not row["is_valid"],
                    unique=row["is_unique"],
                    compared=compared,
                    filled=filled,
                    may_fail=row["may_fail"],
                )
            )
    partitioned = rows.row("partitioned", relation)
    if partitioned is not None:
        made.append(Evaluation("partition", "", named(partitioned["numbers"])))
    return tuple(made)


def policies(rows: SystemRows, relation: int) -> tuple[RowPolicy, ...]:
    """The row security policies of a relation."""
    found = []
    for row in rows.group("policies", relation):
        used = {tuple(map(int, one.split())) for one in row["columns"]}
        columns = {(oid, number) for oid, number in used if number > 0}
        if row["rows"]:
            columns |= {(oid, 0) for oid, _ in used}
        found.append(RowPolicy(row["name"], row["command"], frozenset(columns)))
    return tuple(found)


def common_values(rows: SystemRows, relation: int) -> tuple[frozenset[str], ...]:
    """The columns of each extended statistics object with a list of the most common values."""
    found = {row["number"]: row["name"] for row in rows.group("columns", relation)}
    return tuple(
        frozenset(found.get(number, "") for number in {*row["numbers"], *row["named"]})
        | ({""} if row["has_expressions"] else frozenset())
        for row in rows.group("statistics", relation)
        if row["has_list"]
    )


def analyzed(rows: SystemRows, relation: int) -> frozenset[str]:
    """The columns in expressions of extended statistics that may fail when ANALYZE evaluates them; '' for any."""
    found = {row["number"]: row["name"] for row in rows.group("columns", relation)}
    failing = (row for row in rows.group("statistics", relation) if row["may_fail"])
    return frozenset(found.get(number, "") for row in failing for number in row["named"])
