"""EXPLAIN of columns that show as they are: a plan may tell of others beside them.

PostgreSQL estimates rows by the most common values of several columns together (CREATE STATISTICS), hidden ones among
them; a plan counts rows by partition, and within a view that is trusted to hide what it reads.
"""

from __future__ import annotations

from proxy.catalog.model import Access, Catalog, Reach, Relation
from proxy.engine.classification import family
from proxy.engine.grounds import Grounds
from proxy.engine.reach import accesses
from proxy.engine.refusals import PolicyRefused, hint
from proxy.engine.resolve import Resolved
from proxy.engine.secured import Sight, Viewer, look, parted, unrestricted
from proxy.engine.session_state import SessionState
from proxy.errors import INSUFFICIENT_PRIVILEGE, Refusal
from proxy.sql.facts import Facts


def check_explained(
    facts: Facts, resolved: Resolved, state: SessionState, purpose: str | None, grounds: Grounds
) -> None:
    """Raises PolicyRefused (42501) for an EXPLAIN whose plan would rest on, or count rows by, what is not seen."""
    if facts.statement.kind != "ExplainStmt" or (state.role is not None and state.role.code):
        return
    catalog = state.context.catalog
    viewer = Viewer(state.policy, state.context.role, purpose, state.subject, grounds.now)
    for name in facts.relations:
        relation = resolved.named.get(id(name.node))
        if relation is None:
            continue
        behind = {relation.oid}.union(*(relation.reach.get(one, Reach()).relations for one in accesses(facts, name)))
        for oid in sorted(behind & grounds.protected.classified.keys()):
            sight = look(viewer, catalog.relations[oid], grounds.protected.classified[oid])
            if sight.unrestricted:
                continue
            if parted(sight, catalog) or _estimated(catalog, sight) or _trusted(relation, catalog, grounds):
                _refuse(sight.relation, state, facts.position(name.location))


def _estimated(catalog: Catalog, sight: Sight) -> bool:
    """How often values of shown columns stand together is estimated by lists of which hidden columns are a part."""
    hidden = {name for name, decision in sight.decisions.items() if not unrestricted(decision)}
    relations = family(catalog, sight.relation.oid) or [sight.relation]
    lists = [columns for relation in relations for columns in relation.common_values]
    return any(columns & hidden and len(columns - hidden) > 1 for columns in lists)


def _trusted(relation: Relation, catalog: Catalog, grounds: Grounds) -> bool:
    """``relation`` is a trusted view, or reads one."""
    read = relation.reach.get(Access.SELECT, Reach()).relations
    return any(grounds.trust.view(catalog.relations[oid]) for oid in {relation.oid, *read} & catalog.relations.keys())


def _refuse(relation: Relation, state: SessionState, position: int) -> None:
    raise PolicyRefused(
        Refusal(
            INSUFFICIENT_PRIVILEGE,
            f"consentry: EXPLAIN over the classified table {relation.schema}.{relation.name} is not available",
            detail="A plan would tell of values that this session may not see.",
            hint=hint("Explain it on a direct connection.", state.policy),
            position=position,
        )
    )
