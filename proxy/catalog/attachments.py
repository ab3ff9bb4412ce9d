"""Which code hangs on which relation: rules, policies, triggers, defaults, constraints, indexes, types. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxy.catalog.model import Access
from proxy.catalog.reach import NOTHING, Class, Code, ForeignKey, Rule, Table
from proxy.catalog.uses import Row, Uses

_RULE_EVENTS = {"1": Access.SELECT, "2": Access.UPDATE, "3": Access.INSERT, "4": Access.DELETE}
_TRIGGER_EVENTS = {1 << 2: Access.INSERT, 1 << 3: Access.DELETE, 1 << 4: Access.UPDATE, 1 << 5: Access.TRUNCATE}
_WITH_ROWS = frozenset("rpvmft")

Rows = Mapping[str, Sequence[Row]]


def tables(rows: Rows, names: Mapping[int, str], uses: Uses) -> dict[int, Table]:
    """Every relation that holds or yields rows, with what hangs on it. ``names`` are ``schema.relation``."""
    found = {
        row["oid"]: Table(row["oid"], row["kind"], names[row["oid"]])
        for row in rows["relations"]
        if row["kind"] in _WITH_ROWS and row["oid"] in names
    }
    _hang_rules(rows, found, uses)
    _hang_policies(rows, found, uses)
    _hang_triggers(rows, found, uses)
    _hang_columns(rows, found, uses)
    _hang_constraints(rows, found, uses)
    _hang_indexes(rows, found, uses)
    _hang_storage(rows, found, uses)
    return found


def _hang_rules(rows: Rows, found: dict[int, Table], uses: Uses) -> None:
    for row in rows["rules"]:
        table = found.get(row["relation"])
        if table is None:
            continue
        access = _RULE_EVENTS[row["event"]]
        if access is Access.SELECT:
            table.query = uses.code(Class.RULE, row["oid"], own=table.oid)
        else:
            rule = Rule(f"{table.name}.{row['name']}", uses.code(Class.RULE, row["oid"]))
            table.rules.setdefault(access, []).append(rule)


def _hang_policies(rows: Rows, found: dict[int, Table], uses: Uses) -> None:
    enabled = {row["oid"] for row in rows["relations"] if row["row_security"]}
    for row in rows["policies"]:
        table = found.get(row["relation"])
        if table is not None and table.oid in enabled:
            code = uses.code(Class.POLICY, row["oid"], own=table.oid)
            table.policies.setdefault(row["command"], []).append(code)


def _hang_triggers(rows: Rows, found: dict[int, Table], uses: Uses) -> None:
    for row in rows["triggers"]:
        table = found.get(row["relation"])
        if table is None:
            continue
        code = _both(uses.code(Class.TRIGGER, row["oid"], own=table.oid), uses.function(row["function"]))
        for bit, access in _TRIGGER_EVENTS.items():
            if row["events"] & bit:
                table.triggers.setdefault(access, []).append(code)


def _hang_columns(rows: Rows, found: dict[int, Table], uses: Uses) -> None:
    virtual: set[tuple[int, int]] = set()
    for row in rows["columns"]:
        table = found.get(row["relation"])
        if table is None:
            continue
        _add(table.reading, uses.reading(row["type"]))
        _add(table.storing, uses.storing(row["type"]))
        if row["generated"] == "v":
            virtual.add((row["relation"], row["number"]))
    for row in rows["defaults"]:
        table = found.get(row["relation"])
        if table is not None:
            code = uses.code(Class.DEFAULT, row["oid"], own=table.oid)
            _add(table.storing, code)
            if (row["relation"], row["number"]) in virtual:
                _add(table.reading, code)


def _hang_constraints(rows: Rows, found: dict[int, Table], uses: Uses) -> None:
    for row in rows["constraints"]:
        table = found.get(row["relation"])
        if table is None:
            continue
        if row["kind"] == "c":
            _add(table.storing, uses.code(Class.CONSTRAINT, row["oid"], own=table.oid))
        for operator in row["operators"]:
            _add(table.storing, uses.operator(operator))
        referenced = found.get(row["referenced"])
        if row["kind"] == "f" and referenced is not None:
            referenced.referenced_by.append(ForeignKey(table.oid, row["on_update"], row["on_delete"]))


def _hang_indexes(rows: Rows, found: dict[int, Table], uses: Uses) -> None:
    for row in rows["indexes"]:
        table = found.get(row["relation"])
        if table is None:
            continue
        _add(table.storing, uses.code(Class.RELATION, row["oid"], own=table.oid))
        for operator_class in row["classes"]:
            _add(table.storing, uses.operator_class(operator_class))


def _hang_storage(rows: Rows, found: dict[int, Table], uses: Uses) -> None:
    for row in rows["partitioned"]:
        table = found.get(row["relation"])
        if table is not None:
            _add(table.routing, uses.code(Class.RELATION, table.oid, own=table.oid))
            for operator_class in row["classes"]:
                _add(table.routing, uses.operator_class(operator_class))
    for row in rows["inheritance"]:
        parent, child = found.get(row["parent"]), found.get(row["child"])
        if parent is not None and child is not None:
            parent.children.append(child.oid)
            child.parents.append(parent.oid)
    for row in rows["relations"]:
        toast = found.get(row["toast"])
        if toast is not None:
            toast.toast_of = row["oid"]


def _both(one: Code, other: Code) -> Code:
    return Code(one.relations | other.relations, one.functions | other.functions, one.opaque | other.opaque)


def _add(codes: list[Code], code: Code) -> None:
    if code is not NOTHING:
        codes.append(code)
