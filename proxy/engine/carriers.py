"""Functions of PostgreSQL's own that carry what they are given out of the statement: into sequences, settings,
notifications and the list of locks. What stands there is classified by nobody, and others or another purpose read it.
"""

from __future__ import annotations

from typing import Final

from proxy.engine.grounds import Grounds
from proxy.engine.laundering import flowing
from proxy.engine.reading import sights
from proxy.engine.refusals import PolicyRefused, hint
from proxy.engine.resolve import Resolved
from proxy.engine.secured import Viewer
from proxy.engine.session_state import SessionState
from proxy.errors import INSUFFICIENT_PRIVILEGE, Refusal
from proxy.policy.model import Use
from proxy.sql.facts import Facts
from proxy.sql.flows import Flows
from proxy.sql.names import split
from proxy.sql.tree import strings

CARRIERS: Final = frozenset(
    {"setval", "set_config", "pg_notify"}
    | {
        f"pg_{tried}advisory_{lasting}lock{shared}"
        for tried in ("", "try_")
        for lasting in ("", "xact_")
        for shared in ("", "_shared")
    }
)


def check_carriers(
    facts: Facts, resolved: Resolved, state: SessionState, purpose: str | None, grounds: Grounds
) -> None:
    """Raises PolicyRefused (42501) where a raw value of a classified column is handed to one of them."""
    if all(function.name not in CARRIERS for function in facts.functions):
        return
    viewer = Viewer(state.policy, state.context.role, purpose, state.subject, grounds.now, Use.READ)
    seen = sights(facts, resolved, viewer, grounds)
    if not seen:
        return
    flows = Flows(facts.statement.kind, facts.statement.node, facts.relations, resolved.columns_of)
    for call in facts.index.of_type("FuncCall"):
        name = split(strings(call.get("funcname")))
        if name.name not in CARRIERS or name.schema not in (None, "pg_catalog"):
            continue
        raw = [flow.column for flow in flowing(flows.of(call.get("args", ())), seen) if flow.raw]
        if raw:
            raise PolicyRefused(
                Refusal(
                    INSUFFICIENT_PRIVILEGE,
                    f"consentry: values of {', '.join(raw)} may not be handed to {name.name}",
                    detail="They would leave the statement for a place where nobody decides who may see them.",
                    hint=hint("Hand it a value that is not classified, the key of the row for example.", state.policy),
                    position=facts.position(int(call.get("location", 0))),
                )
            )
