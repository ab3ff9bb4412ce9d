"""Two partial masks of one column, side by side, can show more than either."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations

from proxy.masks import Mask
from proxy.policy.decision import decide
from proxy.policy.files import PolicyFile
from proxy.policy.mask_order import at_most, shows
from proxy.policy.model import Name, Policy, Role, Use
from proxy.policy.values import read_table

_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
"""Without suspensions no decision depends on the time."""


def check_overlaps(file: PolicyFile, policy: Policy) -> None:
    """Warns where one role, under its several purposes, could see a column through masks that do not compare."""
    # A suspension hides what shows again when it is lifted.
    lasting = replace(policy, suspensions=())
    for one in file.lineage():
        for written in one.form.tables:
            table = read_table(written)
            for column in policy.tables[table].columns:
                for role in policy.roles.values():
                    pair = _incomparable(lasting, role, table, column)
                    if pair:
                        names = " and ".join(mask.kind for mask in pair)
                        message = f"the role '{role.name}' could see '{column}' through two partial masks, {names}"
                        one.warning(("tables", written, "columns", column), "two-masks", message, key=True)


def _incomparable(policy: Policy, role: Role, table: Name, column: str) -> tuple[Mask, Mask] | None:
    seen: dict[Mask, None] = {}
    for purpose in (None, *sorted(role.purposes)):
        for use in (Use.READ, Use.EXPORT):
            decision = decide(policy, role.name, purpose, use, table, column, _ANY_TIME)
            masks = (decision.mask, decision.failed_mask if decision.conditions else None)
            seen.update((mask, None) for mask in masks if mask is not None and shows(mask))
    for one, other in combinations(seen, 2):
        if not at_most(one, other) and not at_most(other, one):
            return one, other
    return None
