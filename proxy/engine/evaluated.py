"""What PostgreSQL itself evaluates over a row that an UPDATE changes: checks, generated columns, indexes, partitions.

    SET qty = CASE WHEN <the session sees this row's "lim"> THEN ($1) ELSE CAST(… AS pg_catalog.int4) END

``CHECK (qty <= lim)`` holds what the session writes against what it may not see, and fails or does not: so such a row
is refused before it is evaluated. Where every hidden column of an expression is itself set, or none of the others is,
the outcome is the same for any stored value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from proxy.catalog.model import Column, Evaluation
from proxy.engine.aliases import alias
from proxy.engine.classification import family
from proxy.engine.compared import Compared, beside, called, may_fail
from proxy.engine.index_entries import BESIDE_OTHERS, may_be_long
from proxy.engine.part import Part
from proxy.engine.refusals import PolicyRefused, unsupported
from proxy.engine.row_checks import failing_as, unmodified
from proxy.engine.secured import look, unrestricted
from proxy.engine.write_refusals import comparing_refused, evaluating_refused
from proxy.policy.model import Decision, Outcome, Use
from proxy.sql.proof import HOLE
from proxy.sql.splice import Change
from proxy.sql.writing import Action, Assignment, Given, names_set

_VALUE, _ROW = alias("x"), alias("w")
_SHORT = 512
"""Bytes of a value that fits into an index beside any other that can be indexed at all, but for those of 2 kB."""


@dataclass(frozen=True, slots=True)
class _Demand:
    """``hidden`` columns must be seen in the row, because of ``name``; where there is a ``column``, only if what it is
    set to is long."""

    hidden: frozenset[str]
    name: str
    column: str = ""


class Evaluated:
    """What is evaluated over the rows of one modification."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.table = part.table
        shown = {} if part.base_table is None else part.base_table.columns
        self.inner = dict(shown)
        classification = part.grounds.protected.classified.get(self.table.oid, {})
        self.decisions: dict[str, Decision] = {}
        if classification:
            self.decisions = look(part.viewer(Use.READ), self.table, classification).decisions
        self.classification = classification
        generated = {column.name for column in self.table.columns if column.generated}
        self.hidden = {name for name, one in self.decisions.items() if not unrestricted(one)} - generated

    def check(self, edits: list[Change]) -> None:
        """Adds the edits by which a row is refused whose hidden cells would decide whether it may be stored.

        Raises PolicyRefused (42501) where that is so in every row; Refused (0A000) for a form that cannot be guarded.
        """
        for action in self.part.modification.actions:
            self._check_compared(action)
            if action.event == "update" and self.hidden:
                self._check(action, edits)

    def _check_compared(self, action: Action) -> None:
        if action.event == "delete":
            return
        compared = Compared(self.table, self.part.viewer(Use.READ), self.part.catalog, self.part.grounds.protected)
        telling = compared.telling(action.event, self._assigned(action))
        if telling:
            raise comparing_refused(self.table, telling, self.part.facts.tag, self.part.purpose, self.part.state)

    def _assigned(self, action: Action) -> frozenset[str]:
        """What is set, by the names of the table."""
        return frozenset(self.inner.get(name, name) for name in names_set(action))

    def _check(self, action: Action, edits: list[Change]) -> None:
        demands = list(self._demands(self._assigned(action)))
        if not demands:
            return
        if self.part.relation.kind == "v":
            raise unsupported(
                f"an UPDATE of {self.part.full_name} that {self.table.schema}.{self.table.name} checks against columns"
                " that this session does not see in every row",
                way_out="Write to the table itself.",
            )
        if any(not one.column for one in demands):
            self._guard(action, demands, edits)
            return
        for one in demands:
            self._guard_length(action, one, edits)

    def _demands(self, assigned: frozenset[str]) -> Iterator[_Demand]:
        long: dict[str, set[str]] = {}
        for one, named, hidden in beside(self.table, self._evaluations(), self.hidden, assigned):
            if may_fail(one):
                yield _Demand(hidden, called(one))
                continue
            if one.kind == "generated":
                continue
            for name in named & assigned:
                if may_be_long(self.table.column(name), BESIDE_OTHERS):
                    long.setdefault(name, set()).update(hidden)
        for name, others in sorted(long.items()):
            yield _Demand(frozenset(others), "the size of an index entry", name)

    def _evaluations(self) -> Iterator[Evaluation]:
        catalog = self.part.catalog
        for member in family(catalog, self.table.oid) or [self.table]:
            yield from member.evaluations

    # --- guards -------------------------------------------------------------------------------------------------------

    def _seen(self, hidden: Iterable[str]) -> str | None:
        """SQL: the session sees these columns of the row; None where it sees one of them in no row."""
        conditions = self.part.conditions()
        terms = []
        for name in sorted(hidden):
            decision = self.decisions[name]
            if decision.outcome is not Outcome.ALLOW:
                return None
            terms.append(f"({conditions.sql(decision.conditions, self.classification[name].rows)})")
        return " AND ".join(dict.fromkeys(terms))

    def _refused(self, demands: list[_Demand]) -> PolicyRefused:
        names = sorted({one.name for one in demands})
        hidden = sorted({name for one in demands for name in one.hidden})
        return evaluating_refused(self.table, names, hidden, self.part.purpose, self.part.state)

    def _guard(self, action: Action, demands: list[_Demand], edits: list[Change]) -> None:
        """Fails unless the row's cells are seen, whichever column carries it."""
        refused = self._refused(demands)
        seen = self._seen(name for one in demands for name in one.hidden)
        if seen is None:
            raise refused
        one, column = self._carrier(action)
        text = f"CASE WHEN {seen} THEN ({HOLE}) ELSE {failing_as(self.part.number(refused.refusal), column)} END"
        edits.append(self.part.clauses.wrapped(one, text))

    def _carrier(self, action: Action) -> tuple[Assignment, Column]:
        """A value of the SET that can be put into an expression; best of a column that nothing else is done to."""
        others = self.part.deciding() | self.part.managed.columns.keys() | self.part.classification.keys()
        found = [
            (one, column)
            for one in action.assignments
            if (column := self.part.relation.column(one.column or "")) is not None and _can_carry(one)
        ]
        for one, column in sorted(found, key=lambda pair: pair[1].name in others):
            return one, column
        raise unsupported(
            f"an UPDATE of {self.part.full_name} that sets no column to a value by itself",
            way_out="Set one column by itself, to a value.",
        )

    def _guard_length(self, action: Action, demand: _Demand, edits: list[Change]) -> None:
        """Fails for a value that may be too long for an index, beside cells that are not seen."""
        column = self.table.column(demand.column)
        for one in action.assignments:
            if one.column != demand.column or column is None or one.given <= {Given.NULL, Given.DEFAULT}:
                continue
            if not _can_carry(one):
                raise unsupported(
                    f"an UPDATE of {self.part.full_name}.{demand.column} in this form",
                    way_out="Set it by itself, to a value.",
                )
            failure = failing_as(self.part.number(self._refused([demand]).refusal), column)
            fits = f"pg_catalog.pg_column_size({_ROW}.{_VALUE}) OPERATOR(pg_catalog.<=) {_SHORT}"
            seen = self._seen(demand.hidden) or "false"
            value = f"CASE WHEN ({fits}) IS NOT FALSE OR {seen} THEN {_ROW}.{_VALUE} ELSE {failure} END"
            given = f"(SELECT CAST({HOLE} AS {unmodified(column)}) AS {_VALUE}) AS {_ROW}"
            edits.append(self.part.clauses.wrapped(one, f"(SELECT {value} FROM {given})"))  # noqa: S608 - composed of generated SQL


def _can_carry(one: Assignment) -> bool:
    """It is one expression that stands in a SET by itself."""
    plain = one.item is not None and len(one.values) == 1 and not (one.part or one.several or one.select)
    return plain and Given.DEFAULT not in one.given
