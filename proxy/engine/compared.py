"""What unique and exclusion constraints hold against each other that a session may neither see nor write.

``UNIQUE (secret, memo)`` accepts a memo or does not by what the secrets of two rows are. Whether a constraint accepts a
value in a column that the session may write itself is for it to know; not so what it says of the column beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from proxy.catalog.model import Catalog, Evaluation, Relation
from proxy.engine.classification import family
from proxy.engine.protected import Protected
from proxy.engine.secured import Viewer, look, unrestricted
from proxy.policy.model import Outcome, Use


@dataclass(frozen=True, slots=True)
class Compared:
    """The rows of ``table`` and of what inherits from it, as ``viewer`` may know them."""

    table: Relation
    viewer: Viewer
    catalog: Catalog
    protected: Protected

    def telling(self, event: Literal["insert", "update"], assigned: frozenset[str]) -> dict[str, frozenset[str]]:
        """The indexes by which a row that is stored would tell of hidden columns, with these. ``assigned``: what an
        UPDATE sets, by the names of the table; an INSERT sets whatever it may."""
        found: dict[str, frozenset[str]] = {}
        for member in family(self.catalog, self.table.oid) or [self.table]:
            barred = self._barred(member)
            if not barred:
                continue
            for one in member.evaluations:
                hidden = barred if "" in one.compared else barred & one.compared
                if hidden and self._tells(member, one, event, hidden, assigned):
                    found[one.name] = found.get(one.name, frozenset()) | hidden
        return found

    def _tells(
        self, member: Relation, one: Evaluation, event: str, hidden: frozenset[str], assigned: frozenset[str]
    ) -> bool:
        if event == "update":
            return bool(hidden - assigned) and ("" in one.compared or bool(one.compared & assigned))
        # A row that leaves a column out is equal to others by its default, and by NULL where that counts.
        left_out = one.filled | set(self._with_domains(member))
        return bool(one.compared - hidden) and ("" in one.filled or hidden <= left_out)

    def _with_domains(self, member: Relation) -> Iterator[str]:
        """Columns whose type may bring a default of its own."""
        return (column.name for column in member.columns if column.is_domain)

    def _barred(self, member: Relation) -> frozenset[str]:
        """Columns that are not seen in every row, and may not be written in any."""
        classification = self.protected.classified.get(member.oid, {})
        if not classification or not any(one.unique for one in member.evaluations):
            return frozenset()
        seen = look(replace(self.viewer, use=Use.READ), member, classification).decisions
        written = look(replace(self.viewer, use=Use.WRITE), member, classification).decisions
        return frozenset(
            name
            for name, decision in seen.items()
            if not unrestricted(decision) and written[name].outcome is not Outcome.ALLOW
        )


def beside(
    table: Relation, evaluations: Iterable[Evaluation], hidden: set[str], assigned: frozenset[str]
) -> Iterator[tuple[Evaluation, frozenset[str], frozenset[str]]]:
    """What holds ``assigned`` columns together with ``hidden`` ones that are not: with all columns that have a say in
    it, and the hidden ones among them."""
    columns = frozenset(column.name for column in table.columns)
    for one in evaluations:
        named = columns if "" in one.columns else one.columns
        found = frozenset(named & hidden - assigned)
        if found and (named & assigned or one.always):
            yield one, named, found


def may_fail(one: Evaluation) -> bool:
    """Whether a row is stored depends on it, whatever the length of its values."""
    return one.kind != "columns" and one.may_fail


def called(one: Evaluation) -> str:
    """What is evaluated, for people."""
    match one.kind:
        case "check":
            return f'the constraint "{one.name}"'
        case "generated":
            return f'the generated column "{one.name}"'
        case "partition":
            return "the partition key"
        case _:
            return f'the index "{one.name}"'
