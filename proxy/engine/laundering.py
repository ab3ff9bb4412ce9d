"""No laundering: where values that a statement copies may be stored.

A raw value goes only to a column that is classified at least as sensitively as the one that it comes from. A masked
value never goes to a classified column, where it would stand for a raw one; elsewhere it tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from proxy.engine.refusals import PolicyRefused, hint
from proxy.engine.secured import Sight, unrestricted
from proxy.errors import INSUFFICIENT_PRIVILEGE, Refusal
from proxy.policy.model import Decision, Outcome, Policy, Sensitivity
from proxy.sql.scopes import Source


@dataclass(frozen=True, slots=True)
class Flowing:
    """A classified column whose values are copied: its full name, and what the session sees of it."""

    column: str
    decision: Decision
    checked: bool = False
    """The statement fails where a row does not show the value."""

    @property
    def raw(self) -> bool:
        """In some row it may be the value as it is stored."""
        return self.decision.outcome is Outcome.ALLOW

    @property
    def masked(self) -> bool:
        """In some row it may be something else."""
        return not self.checked and not unrestricted(self.decision)


@dataclass(frozen=True, slots=True)
class Destination:
    """A column that a value is stored in. ``sensitivity`` None: it is not classified. ``new``: of a table that the
    statement makes, so that no value can be overwritten."""

    column: str
    sensitivity: Sensitivity | None
    new: bool = False


def flowing(sources: Iterable[Source], sights: Mapping[int, Sight]) -> tuple[Flowing, ...]:
    """The classified columns among ``sources``. ``sights``: what the session sees of each classified relation that the
    statement reads, by the id() of its :class:`RelationName`'s node."""
    found: dict[str, Flowing] = {}
    for source in sources:
        sight = sights.get(id(source.relation.node))
        if sight is None:
            continue
        for name in _classified(source.column, sight):
            full = f"{sight.relation.schema}.{sight.relation.name}.{name}"
            found[full] = Flowing(full, sight.decisions[name])
    return tuple(found[name] for name in sorted(found))


def _classified(column: str, sight: Sight) -> Iterable[str]:
    """The classified columns that ``column`` shows."""
    if column in sight.decisions:
        return (column,)
    return sight.decisions if column == "*" else ()


def why_not(flows: Iterable[Flowing], destination: Destination) -> tuple[str, str] | None:
    """Why ``flows`` may not be stored in ``destination``, and what to do instead; None where they may."""
    flows = tuple(flows)
    sensitivity = destination.sensitivity
    for flow in flows:
        if flow.raw and sensitivity is None:
            return (
                f"values of {flow.column} may not be stored in {destination.column}, which is not classified",
                "Classify the destination in the policy at least as sensitively, or leave the column out.",
            )
        if flow.raw and sensitivity is not None and sensitivity < flow.decision.sensitivity:
            return (
                f"values of {flow.column} may not be stored in {destination.column}, which is less sensitive",
                "Classify the destination in the policy at least as sensitively, or leave the column out.",
            )
    if sensitivity is None or destination.new:
        return None
    for flow in flows:
        if flow.masked:
            return (
                f"masked values of {flow.column} may not be stored in {destination.column}",
                "Write only columns that changed, or declare a purpose under which their values may be seen.",
            )
    return None


def check_flows(flows: Iterable[Flowing], destination: Destination, policy: Policy, position: int = 0) -> None:
    """Raises PolicyRefused (42501) where ``flows`` may not be stored in ``destination``."""
    found = why_not(flows, destination)
    if found is not None:
        message, way_out = found
        raise PolicyRefused(
            Refusal(INSUFFICIENT_PRIVILEGE, f"consentry: {message}", hint=hint(way_out, policy), position=position)
        )
