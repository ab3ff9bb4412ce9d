"""How long a row is kept counts from one of its columns: a row past its retention is not made younger."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.catalog.model import Column
from proxy.engine.aliases import alias
from proxy.engine.part import Part
from proxy.engine.refusals import unsupported
from proxy.engine.row_checks import failing_as, unmodified
from proxy.engine.secured import look, unrestricted
from proxy.engine.write_refusals import keeping_refused
from proxy.policy.model import RetentionCondition, TablePolicy, Use
from proxy.sql.proof import HOLE
from proxy.sql.quote import identifier
from proxy.sql.splice import Change
from proxy.sql.writing import Assignment, Given

_VALUE, _ROW = alias("u"), alias("z")


def check_kept(part: Part, edits: list[Change]) -> None:
    """Adds the edits by which an UPDATE fails that would show again what is past its retention.

    A role that manages the kind of subject may do that; anybody may set what is there already, or an earlier time.
    """
    role = part.state.role
    manages = frozenset() if role is None else role.manages
    counted: dict[str, list[TablePolicy]] = {}
    for entry in part.table_entries():
        if entry.retention is not None and (entry.subject is None or entry.subject.kind not in manages):
            counted.setdefault(entry.retention.start, []).append(entry)
    shown = {} if part.base_table is None else part.base_table.columns
    for action in part.modification.actions:
        for one in action.assignments if action.event == "update" else ():
            entries = counted.get(shown.get(one.column or "", ""), [])
            column = part.relation.column(one.column or "")
            if entries and column is not None:
                edits.append(_guarded(part, one, column, entries))


def _guarded(part: Part, one: Assignment, column: Column, entries: Iterable[TablePolicy]) -> Change:
    if one.item is None or len(one.values) != 1 or one.part or one.several or one.select or Given.DEFAULT in one.given:
        raise unsupported(
            f"{part.full_name}.{column.name} is set in a way that cannot be checked",
            way_out="Set it by itself, to a value.",
        )
    rows = part.conditions()
    terms = [
        f"({rows.sql((RetentionCondition(column.name, entry.retention.keep),), entry)})"
        for entry in entries
        if entry.retention is not None
    ]
    given = f"{_ROW}.{_VALUE}"
    allowed = [f"{given} IS NULL", f"({' AND '.join(dict.fromkeys(terms))})"]
    if _is_seen(part, column.name):
        allowed.append(f"{given} OPERATOR(pg_catalog.<=) {part.base}.{identifier(column.name)}")
    failure = failing_as(part.number(keeping_refused(part.relation, column.name, part.state)), column)
    value = f"CASE WHEN {' OR '.join(allowed)} THEN {given} ELSE {failure} END"
    source = f"(SELECT CAST({HOLE} AS {unmodified(column)}) AS {_VALUE}) AS {_ROW}"
    text = f"(SELECT {value} FROM {source})"  # noqa: S608 - composed of generated SQL
    return part.clauses.wrapped(one, text)


def _is_seen(part: Part, column: str) -> bool:
    """The session sees the column in every row: it may hear how what it writes compares with it."""
    if column not in part.classification:
        return True
    seen = look(part.viewer(Use.READ), part.relation, part.classification)
    return unrestricted(seen.decisions[column])
