"""VACUUM and ANALYZE: they show no value, but they evaluate expressions over raw rows."""

from __future__ import annotations

from proxy.catalog.model import Access, Relation
from proxy.engine.classification import family
from proxy.engine.closed_world import untrusted
from proxy.engine.grounds import Grounds
from proxy.engine.refusals import PolicyRefused, denied, hint
from proxy.engine.secured import Viewer, look, unrestricted
from proxy.engine.session_state import SessionState
from proxy.errors import INSUFFICIENT_PRIVILEGE, Refusal
from proxy.sql.facts import Facts
from proxy.sql.relations import RelationName


def check_vacuum(
    facts: Facts, classified: list[tuple[RelationName, Relation]], state: SessionState, grounds: Grounds
) -> None:
    """Raises Refused (42501) where VACUUM or ANALYZE of a classified relation could tell of its rows.

    The expressions of indexes and extended statistics run over raw rows, and functions in them may raise notices;
    VERBOSE counts rows. Without a table the statement means every table.
    """
    catalog = state.context.catalog
    relations = [relation for _, relation in classified]
    if not facts.statement.node.get("rels"):
        relations = [catalog.relations[oid] for oid in grounds.protected.classified if oid in catalog.relations]
    options = {item["DefElem"]["defname"] for item in facts.statement.node.get("options", ())}
    for relation in relations:
        full = f"{relation.schema}.{relation.name}"
        if "verbose" in options:
            raise denied(
                f"{facts.tag} (VERBOSE) of the classified table {full} is not available",
                way_out="Leave VERBOSE out.",
                policy=state.policy,
            )
        names = grounds.trust.oids(relation.reach[Access.INSERT].functions) if Access.INSERT in relation.reach else []
        if names:
            raise untrusted("function", names, state, through=f", and {facts.tag} of {full} may run it")
        if "analyze" in options or not facts.statement.node.get("is_vacuumcmd"):
            for one in family(catalog, relation.oid) or [relation]:
                _check_analyzed(facts, one, state, grounds)


def _check_analyzed(facts: Facts, relation: Relation, state: SessionState, grounds: Grounds) -> None:
    """Raises PolicyRefused (42501) where ANALYZE may fail by values that the session does not see."""
    viewer = Viewer(state.policy, state.context.role, state.purpose(facts.purpose), state.subject, grounds.now)
    sight = look(viewer, relation, grounds.protected.classified.get(relation.oid, {}))
    hidden = {name for name, decision in sight.decisions.items() if not unrestricted(decision)}
    named = sorted(hidden if "" in relation.analyzed else hidden & relation.analyzed)
    if named:
        full = f"{relation.schema}.{relation.name}"
        raise PolicyRefused(
            Refusal(
                INSUFFICIENT_PRIVILEGE,
                f"consentry: ANALYZE of {full} evaluates extended statistics over {', '.join(named)}",
                detail="This session does not see these columns as they are stored, and whether that fails would tell.",
                hint=hint("Leave it to autovacuum, or to a role that sees them.", state.policy),
            )
        )
