"""A secured relation: a classified table as this session may see it. Same columns, same types, masked cells.

    (SELECT t."id" AS "id", CASE WHEN c0.plain THEN t."phone" ELSE <mask> END AS "phone", NULL::text AS "note"
       FROM "public"."subscribers" AS t LEFT JOIN LATERAL (…consents…) AS c0 ON true)

Columns that the statement does not need are NULL of their type, so that positions stay and no privilege is asked for.
A raw value never stands bare where it has conditions, not even behind a row filter: PostgreSQL may evaluate a client's
expression before the filter. Rows are dropped behind a fence (OFFSET 0) for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from proxy.catalog.model import Catalog, Column, Relation
from proxy.engine.classification import Classification, Source, partition_keys
from proxy.engine.conditions import BASE, RowConditions
from proxy.engine.implied import implied
from proxy.masks import Mask, null, render
from proxy.policy.decision import decide, strictest
from proxy.policy.model import Decision, Outcome, Policy, Use
from proxy.sql.predicates import Comparison
from proxy.sql.quote import identifier, qualified
from proxy.verdict import ColumnUse, Origins


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks: the policy's question without the column."""

    policy: Policy
    role: str
    purpose: str | None
    subject: str | None
    now: datetime
    use: Use = Use.READ


@dataclass(frozen=True, slots=True)
class Sight:
    """What a viewer may see of one relation, by column name; only classified columns have a decision."""

    relation: Relation
    classification: Classification
    decisions: dict[str, Decision]
    use: Use

    @property
    def unrestricted(self) -> bool:
        """Every classified column is allowed in every row: the bare table is its own secured relation."""
        return all(unrestricted(decision) for decision in self.decisions.values())

    def shows(self, columns: frozenset[str]) -> bool:
        """All of ``columns`` show as they are in every row, and no row is dropped."""
        return not self.drops and all(
            unrestricted(decision) for name, decision in self.decisions.items() if name in columns
        )

    @property
    def drops(self) -> bool:
        """Some row may be dropped."""
        return any(
            Outcome.DROP_ROW in (decision.outcome, decision.failed if decision.conditions else Outcome.ALLOW)
            for decision in self.decisions.values()
        )

    @property
    def raw_origins(self) -> Origins:
        """The classified columns that are allowed in every row."""
        return frozenset(
            (self.relation.oid, column.number)
            for column in self.relation.columns
            if column.name in self.decisions and unrestricted(self.decisions[column.name])
        )

    def uses(self, columns: frozenset[str]) -> tuple[ColumnUse, ...]:
        """What the audit says of the classified ones among ``columns``."""
        return tuple(
            column_use(self.relation, name, decision, self.use)
            for name, decision in self.decisions.items()
            if name in columns
        )


def look(viewer: Viewer, relation: Relation, classification: Classification) -> Sight:
    """Asks the policy about every classified column of ``relation``."""
    decisions = {}
    for column in relation.columns:
        source = classification.get(column.name)
        if source is not None:
            decisions[column.name] = decided(viewer, source)
    return Sight(relation, classification, decisions, viewer.use)


def decided(viewer: Viewer, source: Source) -> Decision:
    """What the policy says of a column that is classified so."""
    found = [
        decide(viewer.policy, viewer.role, viewer.purpose, viewer.use, one.table, one.column, viewer.now)
        for one in source.all
    ]
    subjects = {repr(one.rows.subject) for one in source.all}
    return strictest(found, same_subject=len(subjects) == 1)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a reference asks of a secured relation beside its columns: ONLY, TABLESAMPLE (its text), system columns, and
    whether its rows may be locked (then no condition may be a join).
    """

    only: bool = False
    sample: str = ""
    system: tuple[str, ...] = ()
    lockable: bool = False
    comparisons: tuple[Comparison, ...] = ()
    """Of the client's WHERE, for the table's indexes."""


def fragment(viewer: Viewer, catalog: Catalog, sight: Sight, needed: frozenset[str], shape: Shape) -> str:
    """The secured relation as a parenthesised SELECT, with the columns in ``needed`` and NULL for the others."""
    relation = sight.relation
    rows = RowConditions(viewer.policy, catalog, relation, viewer.subject, inline=shape.lockable)
    cells = [
        f"{_cell(rows, sight, column, needed=column.name in needed)} AS {identifier(column.name)}"
        for column in relation.columns
    ]
    columns = ", ".join([*cells, *(f"{BASE}.{name} AS {name}" for name in shape.system)])
    where = _where([*kept_rows(rows, sight), *_implied(rows, sight, shape.comparisons)])
    only = "ONLY " if shape.only else ""
    source = f"{only}{qualified(relation.schema, relation.name)} AS {BASE}{shape.sample}"
    joined = " ".join([source, *rows.joins])
    return f"(SELECT {columns} FROM {joined}{where})"


def cell(rows: RowConditions, sight: Sight, column: Column) -> str:
    """A column as the session sees it in the row that ``rows`` calls its base."""
    return _cell(rows, sight, column, needed=True)


def _cell(rows: RowConditions, sight: Sight, column: Column, *, needed: bool) -> str:
    decision = sight.decisions.get(column.name)
    raw = f"{rows.base}.{identifier(column.name)}"
    if not needed:
        return f"NULL::{column.base_sql or column.type_sql}"  # nobody looks at it; a domain may forbid NULL
    if decision is None:
        return raw
    shown = _shown(raw, column, decision.outcome, decision.mask)
    if not decision.conditions:
        return shown
    hidden = _shown(raw, column, decision.failed, decision.failed_mask)
    condition = rows.sql(decision.conditions, sight.classification[column.name].rows)
    return hidden if condition == "false" else f"CASE WHEN {condition} THEN {shown} ELSE {hidden} END"


def _shown(raw: str, column: Column, outcome: Outcome, mask: Mask | None) -> str:
    match outcome:
        case Outcome.ALLOW:
            return raw
        case Outcome.MASK if mask is not None:
            return render(mask, raw, column)
        case _:
            # Under drop_row the row goes; the cell is NULL all the same, should anything look before it is gone.
            return null(column)


def _where(terms: list[str]) -> str:
    """A filter behind a fence, empty where there is none."""
    return f" WHERE {' AND '.join(dict.fromkeys(terms))} OFFSET 0" if terms else ""


def _implied(rows: RowConditions, sight: Sight, comparisons: tuple[Comparison, ...]) -> Iterator[str]:
    """The client's comparisons of the cells that it sees, each beside what it implies of the stored ones."""
    for one in comparisons:
        column = sight.relation.column(one.column)
        if column is not None:
            visible, raw = _cell(rows, sight, column, needed=True), f"{BASE}.{identifier(column.name)}"
            yield implied(one, column, sight.decisions.get(one.column), visible, raw, drops=sight.drops)


def kept_rows(rows: RowConditions, sight: Sight) -> list[str]:
    """The terms of the row filter, none where no decision drops rows. It holds whatever columns are used."""
    terms = []
    for column, decision in sight.decisions.items():
        if decision.outcome is Outcome.DROP_ROW:
            terms.append("false")
        elif decision.conditions and decision.failed is Outcome.DROP_ROW:
            terms.append(f"({rows.sql(decision.conditions, sight.classification[column].rows)})")
    return terms


def parted(sight: Sight, catalog: Catalog) -> bool:
    """Which partition a row stands in tells of a value that this viewer may not see.

    The keys of the table, of the tables that it is a partition of, and of its own partitioned partitions count; a
    key that is an expression ('') could be of any column.
    """
    hidden = {name for name, decision in sight.decisions.items() if not unrestricted(decision)}
    return bool(partition_keys(sight.relation, catalog) & (hidden | {""})) if hidden else False


def unrestricted(decision: Decision) -> bool:
    """Every row shows the cell as it is stored."""
    return decision.outcome is Outcome.ALLOW and not decision.conditions


def column_use(relation: Relation, column: str, decision: Decision, use: Use) -> ColumnUse:
    """What the audit says of one classified column that a statement reads or writes."""
    worst = max(decision.outcome, decision.failed) if decision.conditions else decision.outcome
    return ColumnUse(
        column=f"{relation.schema}.{relation.name}.{column}",
        category=decision.category,
        sensitivity=decision.sensitivity.name.lower(),
        use=use.value,
        decision=worst.name.lower(),
        reasons=decision.reasons,
        rule=decision.rule,
    )
