"""The classified columns that a modification writes, and what becomes of values that may not be written or emptied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from proxy.catalog.model import Access, Column
from proxy.engine.aliases import alias
from proxy.engine.part import Part
from proxy.engine.refusals import PolicyRefused
from proxy.engine.row_checks import Check, Written, checks, failing_as, unmodified
from proxy.engine.secured import Sight, column_use, look, unrestricted
from proxy.engine.write_refusals import (
    conflict_refused,
    erasing_refused,
    explaining_refused,
    mask_refused,
    writing_refused,
)
from proxy.masks import Mask, render, unfit
from proxy.masks.expression import TEXT, VARCHAR
from proxy.masks.image import may_be_image
from proxy.policy.model import Decision, Outcome, Use
from proxy.sql.clauses import wrapped
from proxy.sql.proof import HOLE
from proxy.sql.quote import identifier
from proxy.sql.splice import Change, unexpected
from proxy.sql.tree import of_type, strings
from proxy.sql.writing import EMPTYING, Assignment, Given, given, parameter, type_name

_TEXTS = frozenset({TEXT, VARCHAR})
"""Types whose masks show what a real value would not: of a date or a number they do not, by itself."""


@dataclass(frozen=True, slots=True)
class WrittenColumns:
    """The columns that one modification sets. ``seen``: what the session sees of its target."""

    part: Part
    seen: Sight

    def check(self, edits: list[Change]) -> list[Check]:
        """What the rows must meet. Adds the edits by which values are refused before they are stored.

        Raises PolicyRefused where the text shows already that a column may not be written, or not be emptied.
        """
        self._check_arbiter()
        written = list(self._written())
        written = [self._unless_barred(one, written, edits) for one in written]
        for one in written:
            self._keep_masks_out(one, edits)
        return checks([self._erased_from(one, edits) for one in written], self.part.conditions())

    def _written(self) -> Iterator[Written]:
        assigned = self.part.assigned()
        allowed = look(self.part.viewer(Use.WRITE), self.part.relation, self.part.classification)
        decisive = self.part.deciding()
        sets = {name for name, ones in assigned.items() if any(event == "update" for event, _ in ones)}
        moves = bool(decisive & (sets - self.part.unchanged))
        for name, ones in assigned.items():
            column = self.part.relation.column(name)
            if column is None or column.generated or name not in self.part.classification:
                continue
            values = frozenset().union(*(one.given for _, one in ones))
            updates = any(event == "update" for event, _ in ones)
            if not updates and values <= EMPTYING:
                continue  # nothing is written, and nothing was there
            decision = allowed.decisions[name]
            if self.part.modification.conflicts and any(event == "update" for event, _ in ones):
                self._check_conflict(name, self.seen.decisions[name], decision)
            use = column_use(self.part.relation, name, decision, Use.WRITE)
            self.part.found.uses[f"{use.use} {use.column}"] = use
            erasable = self._erasable(name) if updates else "true"
            null = self._null(column, ones)
            rows = self.part.classification[name].rows
            # Where the row changes in what its conditions are about, those of the row as it was decide.
            as_it_was = moves and updates and erasable not in ("true", "false")
            written = Written(name, decision, rows, values, null, erasable, as_it_was)
            if values <= EMPTYING and erasable == "false":
                raise erasing_refused(use, self.part.purpose, self.part.state)
            yield written

    def _check_arbiter(self) -> None:
        """ON CONFLICT (…) DO UPDATE changes a row that was found by what is stored in these columns, and by the
        condition of a partial index."""
        if not self.part.modification.conflicts:
            return
        infer = self.part.modification.node["onConflictClause"].get("infer", {})
        named = {item["IndexElem"].get("name") for item in infer.get("indexElems", ()) if "IndexElem" in item}
        named |= {name for reference in of_type(infer, "ColumnRef") for name in strings(reference["fields"])[-1:]}
        if "conname" in infer:
            # The catalog has no names of constraints; it may be any.
            named |= {column for key in self.part.relation.unique_keys for column in key}
        for name, decision in self.seen.decisions.items():
            if name in named and not unrestricted(decision):
                use = column_use(self.part.relation, name, decision, Use.READ)
                raise conflict_refused(use, self.part.purpose, self.part.state)

    def _check_conflict(self, name: str, read: Decision, written: Decision) -> None:
        """ON CONFLICT DO UPDATE of what the session sees masked is refused: it would write over what it does not see,
        and know that it was there."""
        if read.outcome is not Outcome.ALLOW or not set(read.conditions) <= set(written.conditions):
            use = column_use(self.part.relation, name, read, Use.READ)
            raise conflict_refused(use, self.part.purpose, self.part.state)

    def _erasable(self, name: str) -> str:
        """SQL: NULL may stand in the place of what stood there. Not over what the session sees masked or as NULL."""
        known = None if self.part.purpose is None else self.part.state.policy.purposes.get(self.part.purpose)
        decision = self.seen.decisions[name]
        if (known is not None and known.erase) or unrestricted(decision):
            return "true"
        if decision.outcome is not Outcome.ALLOW:
            return "false"
        return self.part.conditions().sql(decision.conditions, self.part.classification[name].rows)

    def _erased_from(self, one: Written, edits: list[Change]) -> Written:
        """Fails where NULL would stand in the place of what the session does not see in the row as it was."""
        if not one.as_it_was:
            return one
        column = self.part.relation.column(one.column)
        use = column_use(self.part.relation, one.column, one.decision, Use.WRITE)
        refused = erasing_refused(use, self.part.purpose, self.part.state)
        number = self.part.number(refused.refusal)
        for event, each in self.part.assigned()[one.column]:
            if event != "update":
                continue
            if column is None or each.item is None or each.part or each.several or Given.DEFAULT in each.given:
                raise refused
            value = self._unmasked(one.column, each) or HOLE
            text = f"COALESCE({value}, CASE WHEN {one.erasable} THEN NULL ELSE {failing_as(number, column)} END)"
            edits.append(self.part.clauses.wrapped(each, text))
        return replace(one, erasable="true", as_it_was=False)

    def _keep_masks_out(self, one: Written, edits: list[Change]) -> None:
        """A session that saves all that it loaded must not store the mask of a cell in the place of its value."""
        if one.as_it_was or one.decision.outcome is not Outcome.ALLOW:
            return
        for event, each in self.part.assigned()[one.column]:
            text = self._unmasked(one.column, each) if event == "update" else None
            if text is not None and each.item is not None:
                if self.part.explained:
                    raise explaining_refused(self.part.relation, self.part.state)
                edits.append(self.part.clauses.wrapped(each, text))

    def _unmasked(self, name: str, one: Assignment) -> str | None:
        """SQL: the value that the HOLE stands for; fails where it is what a mask shows, in a row that shows the mask.
        A text is known by its fill, and not compared with what is stored: that would ask for a privilege.

        None where the column shows as it is, or NULL.
        """
        column, decision = self.part.relation.column(name), self.seen.decisions[name]
        masked = (
            decision.outcome if decision.outcome is not Outcome.ALLOW or not decision.conditions else decision.failed
        )
        mask = decision.mask if decision.outcome is not Outcome.ALLOW else decision.failed_mask
        plain = one.given <= {Given.CONSTANT, Given.PARAMETER} and not (one.part or one.several or one.select)
        if column is None or one.item is None or masked is not Outcome.MASK or mask is None or not plain:
            return None
        value = alias("v")
        image = may_be_image(mask, value, column) if column.base_type in _TEXTS else self._is_shown(mask, value, column)
        if image in (None, "false"):
            return None
        shows = "false"
        if decision.outcome is Outcome.ALLOW:
            shows = self.part.conditions().sql(decision.conditions, self.part.classification[name].rows)
        use = column_use(self.part.relation, name, decision, Use.READ)
        failure = failing_as(self.part.number(mask_refused(use, self.part.purpose, self.part.state)), column)
        given = f"SELECT CAST({HOLE} AS {unmodified(column)}) AS {value}"
        checked = f"CASE WHEN {image} AND ({shows}) IS NOT TRUE THEN {failure} ELSE {value} END"
        return f"(SELECT {checked} FROM ({given}) AS {alias('w')})"

    def _is_shown(self, mask: Mask, value: str, column: Column) -> str | None:
        """SQL: ``value`` is what the mask shows of this row's cell. That it is a date or a number like any other is no
        reason to store it in the place of the one that it stands for. None where the mask shows NULL only."""
        if may_be_image(mask, value, column) == "false" or unfit(mask, column) is not None:
            return None
        shown = render(mask, f"{self.part.base}.{identifier(column.name)}", column)
        return f"{value} OPERATOR(pg_catalog.=) CAST({shown} AS {unmodified(column)})"

    def _null(self, column: Column, ones: list[tuple[str, Assignment]]) -> str:
        """A test whether the column comes to be NULL.

        Of a parameter where that is certainly what is stored: it asks for no privilege on the column.
        """
        stored = f"{self.part.base}.{identifier(column.name)} IS NULL"
        [(event, one), *others] = ones
        number = parameter(one.values[0]) if len(one.values) == 1 and one.given == {Given.PARAMETER} else None
        reach = self.part.relation.reach.get(Access.INSERT if event == "insert" else Access.UPDATE)
        if others or number is None or (reach is not None and reach.functions):
            return stored
        if self.part.modification.kind == "InsertStmt" and event == "insert":
            return f"${number} IS NULL"
        # UPDATE reads RETURNING before SET: a parameter takes its type from here, and must take the same.
        named = type_name(one.values[0])
        type_sql = column.type_sql if named is None else ".".join(map(identifier, named))
        return f"CAST(${number} AS {type_sql}) IS NULL" if type_sql and event == "update" else stored

    def _unless_barred(self, one: Written, written: list[Written], edits: list[Change]) -> Written:
        """A column that may not be written in any row can only be emptied, which is then made certain.

        Before it is stored: whether a unique constraint accepts a value is not for everybody to know. Raises
        PolicyRefused where the text shows already that it is not emptied.
        """
        if one.decision.outcome is Outcome.ALLOW or one.given <= EMPTYING:
            return one
        barred = column_use(self.part.relation, one.column, one.decision, Use.WRITE)
        refusal = writing_refused([barred], self.part.purpose, self.part.state, always=True)
        sets = [assignment for _, assignment in self.part.assigned()[one.column]]
        values = [value for assignment in sets for value in assignment.values]
        plain = all(not (each.part or each.several or each.select) for each in sets)
        plain = plain and (self.part.modification.kind != "MergeStmt" or all(each.item is not None for each in sets))
        reads = any(self.part.flows.of(value) for value in values)
        if Given.CONSTANT in one.given or one.erasable == "false" or not plain or reads:
            uses = [column_use(self.part.relation, other.column, other.decision, Use.WRITE) for other in written]
            raise PolicyRefused(refusal, tuple(uses))
        if self.part.explained:
            raise explaining_refused(self.part.relation, self.part.state)
        number = self.part.number(refusal)
        for assignment in sets:
            edits += self._emptied(one.column, assignment, number)
        return replace(one, given=frozenset({Given.NULL}))

    def _emptied(self, name: str, assignment: Assignment, number: int) -> list[Change]:
        """Fails unless the value is NULL."""
        column = self.part.relation.column(name)
        assert column is not None  # noqa: S101 - it is classified
        clauses = self.part.clauses
        rows = [] if assignment.item is not None else clauses.values()
        changes = []
        for row, value in enumerate(assignment.values):
            if given(value) in EMPTYING:
                continue
            client = f"CAST({HOLE} AS {column.type_sql})" if "ParamRef" in value else f"({HOLE})"
            text = f"CASE WHEN {client} IS NULL THEN NULL ELSE {failing_as(number, column)} END"
            if assignment.item is not None:
                changes.append(clauses.wrapped(assignment, text))
            elif row < len(rows) and assignment.position < len(rows[row]):
                changes.append(wrapped(value, rows[row][assignment.position], text))
            else:
                raise unexpected("VALUES")
        return changes
