"""VACUUM and ANALYZE: they show no value, but they evaluate expressions over raw rows."""

from __future__ import annotations

from proxy.catalog.model import Access, Relation
from proxy.engine.closed_world import untrusted
from proxy.engine.grounds import Grounds
from proxy.engine.refusals import denied
from proxy.engine.session_state import SessionState
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
