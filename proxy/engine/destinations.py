"""Where the values go that a data-modifying statement copies (:mod:`proxy.engine.laundering` says where they may)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from proxy.engine.copied_cells import CopiedCells
from proxy.engine.laundering import Destination, check_flows, flowing
from proxy.engine.part import Part
from proxy.engine.reading import sights
from proxy.engine.secured import Sight, Viewer, decided
from proxy.policy.model import Outcome, Use
from proxy.sql.scopes import NOTHING, Source, Sources
from proxy.sql.splice import Change
from proxy.sql.writing import Action, Assignment, names_set


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where one modification writes. ``viewer`` asks with the use ``read``."""

    part: Part
    viewer: Viewer

    def check(self, edits: list[Change]) -> None:
        """Raises PolicyRefused (42501) for a value that flows where it may not. Adds the edits by which the statement
        fails where a row does not show what is copied of it."""
        seen = sights(self.part.facts, self.part.resolved, self.viewer, self.part.grounds)
        if not seen:
            return
        cells, copied = CopiedCells(self.part, seen), []
        for action in self.part.modification.actions:
            for assignment in action.assignments:
                for place, (column, sources) in enumerate(self._flows(assignment)):
                    destination = self._destination(column)
                    moved = [one for one in sources if not self._stays(action, one, column, seen)]
                    flows = flowing(moved, seen)
                    at = assignment.position if assignment.column is not None else place
                    one = cells.of(assignment, at) if any(flow.masked for flow in flows) else None
                    if one is not None and destination.sensitivity is not None and len(sources) == 1:
                        flows = tuple(replace(flow, checked=True) for flow in flows)
                        copied.append(one)
                    check_flows(flows, destination, self.viewer.policy)
        edits += cells.checked(copied, self.part.purpose)

    def _destination(self, column: str | None) -> Destination:
        source = self.part.classification.get(column or "")
        policy = self.viewer.policy
        sensitivity = None if source is None else source.sensitivity(policy)
        return Destination(f"{self.part.full_name}.{column or '*'}", sensitivity)

    def _flows(self, one: Assignment) -> Iterator[tuple[str | None, Sources]]:
        """What flows into each column that an assignment may set; None where its name is not known."""
        beside = NOTHING.union(*(self.part.flows.of(step) for step in one.subscripts))
        for column, sources in self._values(one):
            yield column, sources | beside

    def _values(self, one: Assignment) -> Iterator[tuple[str | None, Sources]]:
        columns: list[str | None] = [column.name for column in self.part.relation.columns]
        if one.select is None:
            sources = NOTHING.union(*(self.part.flows.of(value) for value in one.values))
            if one.column is None and one.position < 0:
                yield from ((column, sources) for column in columns or [None])
            else:
                yield one.column or (columns[one.position] if one.position < len(columns) else None), sources
            return
        outputs = self.part.flows.query(one.select)
        if one.column is not None:
            yield one.column, outputs.at(one.position)
        elif not columns:
            yield None, outputs.every
        else:
            width = len(outputs.columns) if outputs.complete else len(columns)
            yield from ((column, outputs.at(index)) for index, column in enumerate(columns[:width]))

    def _stays(self, action: Action, source: Source, column: str | None, seen: dict[int, Sight]) -> bool:
        """The value stays in its row and its column's kind, and whoever may write it there sees it raw.

        For then the conditions of writing are checked of the same row, unless the statement changes what they are
        about.
        """
        destined = self.part.classification.get(column or "")
        sight = seen.get(id(source.relation.node))
        if source.relation is not self.part.modification.target or destined is None or sight is None:
            return False
        if action.event != "update" or action.conflict or source.column not in sight.decisions:
            return False
        if self.part.deciding() & names_set(action):
            return False
        viewer, read = self.viewer, sight.decisions[source.column]
        level = self._destination(column).sensitivity
        writing = decided(replace(viewer, use=Use.WRITE), destined)
        return (
            read.outcome is Outcome.ALLOW
            and level is not None
            and level >= read.sensitivity
            and writing.outcome is Outcome.ALLOW
            and set(read.conditions) <= set(writing.conditions)
        )
