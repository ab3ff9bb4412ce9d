"""Statements inside of others: what EXPLAIN explains, and what CREATE TABLE AS EXECUTE or EXPLAIN EXECUTE runs."""

from __future__ import annotations

from typing import Final

from proxy.engine.grounds import Grounds
from proxy.engine.reach import matters
from proxy.engine.refusals import PolicyRefused, unsupported
from proxy.engine.resolve import Resolved
from proxy.engine.session_state import SessionState
from proxy.errors import FEATURE_NOT_SUPPORTED, Refusal, Refused
from proxy.sql.facts import Facts, facts
from proxy.sql.grammar import Node
from proxy.verdict import Verdict

MAKING: Final = frozenset({"CreateTableAsStmt", "RefreshMatViewStmt"})
"""Statements that EXPLAIN (ANALYZE) carries out, and that make or fill a relation."""


def explained(statement: Facts) -> str:
    """The kind of the statement that an EXPLAIN is of; '' for all else."""
    node = statement.statement.node
    return next(iter(node["query"])) if statement.statement.kind == "ExplainStmt" else ""


def executed(statement: Facts) -> Node | None:
    """The EXECUTE that an EXPLAIN or CREATE TABLE AS runs, in each other too."""
    node = statement.statement.node
    if statement.statement.kind not in ("ExplainStmt", "CreateTableAsStmt"):
        return None
    query = node["query"]
    query = query["CreateTableAsStmt"]["query"] if "CreateTableAsStmt" in query else query
    found: Node | None = query.get("ExecuteStmt")
    return found


def check_inner(statement: Facts, resolved: Resolved, state: SessionState, grounds: Grounds) -> None:
    """Raises Refused for an inner statement that cannot be judged as the outer one."""
    if explained(statement) in MAKING and any(one.oid in grounds.protected for one in resolved.named.values()):
        raise unsupported(f"{statement.tag} of a statement that copies protected tables", way_out="Run it itself.")
    execute = executed(statement)
    if execute is None:
        return
    verdict = prepared(execute["name"], statement.purpose, state, grounds)
    if verdict.rewritten or verdict.secured or verdict.has_effects or verdict.statements[0].kind != "pass":
        raise unsupported(
            f"{statement.tag} of EXECUTE is available only where the policy has nothing to say of what was prepared",
            way_out="Write the statement itself.",
        )


def prepared(name: str, purpose: str | None, state: SessionState, grounds: Grounds) -> Verdict:
    """The verdict on a prepared statement, as the session is now: what the upstream has under its name is what runs.

    Raises Refused: 26000 where there is none; 0A000 where what the upstream has is not the text of now.
    """
    text = state.context.prepared.get(name)
    if text is None:
        raise Refused(Refusal("26000", f'prepared statement "{name}" does not exist'))
    verdict = grounds.authorize(text.encode(), state.declaring(purpose))
    if verdict.refusal is not None:
        raise PolicyRefused(verdict.refusal, tuple(use for one in verdict.statements for use in one.columns))
    stale = name in state.context.prepared_stale and not _harmless(text, state, grounds)
    sent = state.context.prepared_sent.get(name, text)
    if verdict.within_block is not None and verdict.within_block.text.decode() == sent:
        verdict = verdict.within_block
    if stale or verdict.text.decode() != sent:
        raise PolicyRefused(
            Refusal(
                FEATURE_NOT_SUPPORTED,
                f'consentry: "{name}" was prepared when the session stood otherwise towards the policy',
                hint="PREPARE it again, or prepare it by the driver (protocol level).",
            )
        )
    return verdict


def _harmless(text: str, state: SessionState, grounds: Grounds) -> bool:
    """Names in ``text`` mean other relations than they did, and PostgreSQL may still read those (manual, PREPARE,
    Notes): none that bears one of the names is anything that the policy speaks of."""
    catalog = state.context.catalog
    return not any(
        known == name.name and matters(catalog.relations[oid], statement, name, state, grounds)
        for statement in facts(text.encode())
        for name in statement.relations
        for (_, known), oid in catalog.relation_names.items()
    )
