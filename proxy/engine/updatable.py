"""Whether a write may change what the policy protects, itself or through a view."""

from __future__ import annotations

from proxy.catalog.model import Access, Reach, Relation
from proxy.engine.protected import Protected


def changes_protected(relation: Relation, protected: Protected) -> bool:
    """A write to ``relation`` may change a protected table, or one that a consent source is a view of: itself, or one
    behind it."""
    reach = relation.reach.get(Access.UPDATE, Reach())
    changed = {relation.oid} | (reach.relations if relation.kind == "v" else set())
    return any(oid in protected or oid in protected.managed for oid in changed)
