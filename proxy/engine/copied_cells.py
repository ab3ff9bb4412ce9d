"""Cells that a statement copies as they are, where some rows show them and others do not: checked row by row.

    INSERT INTO archive (id, phone) SELECT s.id, CASE WHEN <this row shows it> THEN s.phone ELSE <failure> END FROM …

The statement fails where a row that it copies does not show the cell: no mask is stored as if it were a value. Whether
a row shows it is asked beside the secured relation, by the columns of it on which the conditions rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from proxy.catalog.model import Column
from proxy.engine.conditions import RowConditions
from proxy.engine.managed import deciding
from proxy.engine.part import Part
from proxy.engine.row_checks import failing_as
from proxy.engine.secured import Sight, unrestricted
from proxy.engine.write_refusals import copying_refused
from proxy.policy.model import Decision, Outcome
from proxy.sql.grammar import Node
from proxy.sql.quote import identifier
from proxy.sql.relations import RelationName
from proxy.sql.scopes import Source
from proxy.sql.splice import Change, qualified_column, splicer_of
from proxy.sql.tree import strings
from proxy.sql.writing import Assignment

_REGROUPING = ("groupClause", "havingClause", "distinctClause", "larg", "valuesLists", "lockingClause")
"""What a SELECT must not have for its items to be taken from one row each."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A cell that is copied: ``source`` as the text names it, by ``reference`` (a ColumnRef, which may be a ``*``)."""

    source: Source
    reference: Node
    sight: Sight

    @property
    def column(self) -> str:
        return self.source.column

    @property
    def decision(self) -> Decision:
        return self.sight.decisions[self.column]


@dataclass(frozen=True, slots=True)
class CopiedCells:
    """Those of one modification. ``seen``: what the session sees of the relations that the statement reads."""

    part: Part
    seen: Mapping[int, Sight]

    def of(self, one: Assignment, place: int) -> Copied | None:
        """The cell that is copied into a column, where it can be asked of each row whether it shows it. ``place``: the
        column's among the results of the query that the assignment takes its values from."""
        found = self._item(one, place)
        if found is None:
            return None
        reference, level, name = found
        parts = strings(reference["fields"])
        if "A_Star" in reference["fields"][-1]:
            sources = [Source(relation, name) for relation in self._alone(level)]
        else:
            sources = list(self.part.flows.reference(reference))
        if len(sources) != 1 or len(parts) > 2:
            return None
        [source] = sources
        sight = self.seen.get(id(source.relation.node))
        here = (
            source.relation.level is level and source.relation.place == "from" and not source.relation.renames_columns
        )
        if sight is None or not here or sight.relation.kind not in "rp" or source.column not in sight.decisions:
            return None
        decision = sight.decisions[source.column]
        if decision.outcome is not Outcome.ALLOW or not decision.conditions or sight.drops:
            return None
        rests = deciding(self.part.state.policy, sight.relation, self.part.catalog) & sight.decisions.keys()
        return (
            None if any(not unrestricted(sight.decisions[rest]) for rest in rests) else Copied(source, reference, sight)
        )

    def _item(self, one: Assignment, place: int) -> tuple[Node, Node, str] | None:
        """The ColumnRef that a column is set to, the level at which it stands, and the name of what it shows."""
        if one.select is None:
            [value, *others] = one.values or ({},)
            reference = value.get("ColumnRef")
            if others or reference is None or one.item is None or one.part or one.several:
                return None
            return reference, self.part.modification.node, strings(reference["fields"])[-1]
        if any(clause in one.select for clause in _REGROUPING):
            return None
        items = [item["ResTarget"]["val"].get("ColumnRef") for item in one.select.get("targetList", ())]
        stars = [item for item in items if item is not None and "A_Star" in item["fields"][-1]]
        if not stars:
            reference = items[place] if place < len(items) else None
            return None if reference is None else (reference, one.select, strings(reference["fields"])[-1])
        relations = list(self._alone(one.select))
        if len(items) != 1 or len(relations) != 1:
            return None
        relation = self.part.resolved.named.get(id(relations[0].node))
        if relation is None or place >= len(relation.columns):
            return None
        return stars[0], one.select, relation.columns[place].name

    def _alone(self, select: Node) -> Iterator[RelationName]:
        """The relation that a SELECT reads, where it reads nothing else."""
        if len(select.get("fromClause", ())) == 1:
            yield from (
                name
                for name in self.part.facts.relations
                if "RangeVar" in select["fromClause"][0] and select["fromClause"][0]["RangeVar"] is name.node
            )

    # --- edits --------------------------------------------------------------------------------------------------------

    def checked(self, copied: list[Copied], purpose: str | None) -> list[Change]:
        """The edits by which the statement fails where a row does not show what is copied."""
        stars = {id(one.reference): one.reference for one in copied if "A_Star" in one.reference["fields"][-1]}
        splicer = splicer_of(self.part.facts)
        changes = []
        for one in {id(each.reference): each for each in copied}.values():
            if id(one.reference) not in stars:
                changes.append(splicer.reference(one.reference, f"({self._cell(one, purpose)})"))
                continue
            shown = {each.column: each for each in copied if each.reference is one.reference}
            cells = [
                self._cell(shown[column.name], purpose)
                if column.name in shown
                else qualified_column(one.source.relation, column.name)
                for column in one.sight.relation.columns
            ]
            changes.append(splicer.star(self._target(one.reference), one.reference, cells))
        return changes

    def _target(self, reference: Node) -> Node:
        """The item of the select list that a ``*`` is."""
        found: Node = next(
            item
            for item in self.part.facts.index.of_type("ResTarget")
            if item.get("val", {}).get("ColumnRef") is reference
        )
        return found

    def _cell(self, one: Copied, purpose: str | None) -> str:
        column = one.sight.relation.column(one.column)
        assert isinstance(column, Column)  # noqa: S101 - it has a decision
        name = identifier(one.source.relation.visible_name)
        rows = RowConditions(
            self.part.state.policy,
            self.part.catalog,
            one.sight.relation,
            self.part.state.subject,
            inline=True,
            base=name,
        )
        condition = rows.sql(one.decision.conditions, one.sight.classification[one.column].rows)
        number = self.part.number(copying_refused(one.sight, one.column, purpose, self.part.state))
        cell = qualified_column(one.source.relation, one.column)
        return f"CASE WHEN {condition} THEN {cell} ELSE {failing_as(number, column)} END"
