"""What a statement reaches beyond the relations that it names: is any of it protected, or code that is not trusted?"""

from __future__ import annotations

import re

from proxy.catalog.model import Access, Reach, Relation
from proxy.engine.base_table import base_of
from proxy.engine.closed_world import holds_values, untrusted
from proxy.engine.grounds import Grounds
from proxy.engine.protected import Protected
from proxy.engine.references import check_references
from proxy.engine.refusals import denied, unsupported
from proxy.engine.session_state import SessionState
from proxy.engine.system_catalogs import made_by_initdb, system_catalog
from proxy.engine.trust import Trust
from proxy.errors import Refused
from proxy.sql.facts import Facts
from proxy.sql.grammar import Node
from proxy.sql.relations import RelationName
from proxy.sql.statements import KINDS, Family
from proxy.sql.tree import of_type


def accesses(facts: Facts, name: RelationName) -> tuple[Access, ...]:
    """What a statement does to a relation that it names. More where the text leaves it open."""
    kind, node = facts.statement.kind, facts.statement.node
    if name.place != "target":
        if kind == "TruncateStmt":
            return (Access.TRUNCATE,)
        if kind == "CopyStmt" and node.get("is_from") and name.place == "other":
            return (Access.INSERT,)
        if kind in ("CreateStmt", "CreateForeignTableStmt") or (kind == "AlterTableStmt" and name.place == "other"):
            # LIKE and INHERITS take defaults, checks and generated columns along, into a table that nobody knows yet.
            return (Access.SELECT, Access.INSERT, Access.UPDATE)
        return (Access.SELECT,)
    return tuple(sorted(_writes(*_writer(facts, name))))


def _writer(facts: Facts, name: RelationName) -> tuple[str, Node]:
    """The data-modifying statement (of a WITH query, maybe) whose target ``name`` is."""
    if facts.statement.node.get("relation") is name.node:
        return facts.statement.kind, facts.statement.node
    for kind in ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"):
        for node in of_type(facts.statement.node, kind):
            if node.get("relation") is name.node:
                return kind, node
    raise ValueError("a target without a statement")


def _set_by(facts: Facts, name: RelationName) -> frozenset[str] | None:
    """The columns that a statement sets in rows that are there; None where that is not told."""
    kind, node = _writer(facts, name)
    if kind == "InsertStmt":
        setting = [node.get("onConflictClause", {})]
    elif kind == "MergeStmt":
        clauses = [one.get("MergeWhenClause", {}) for one in node.get("mergeWhenClauses", ())]
        setting = [one for one in clauses if one.get("commandType") == "CMD_UPDATE"]
    else:
        setting = [node]
    items = [item.get("ResTarget", {}).get("name") for one in setting for item in one.get("targetList", ())]
    return None if None in items else frozenset(items)


def _writes(kind: str, node: Node) -> set[Access]:
    """What a data-modifying statement does to its target."""
    if kind == "InsertStmt":
        found = {Access.INSERT}
        if node.get("onConflictClause", {}).get("action") == "ONCONFLICT_UPDATE":
            found |= {Access.UPDATE, Access.SELECT}
        return found | ({Access.SELECT} if "returningClause" in node or "returningList" in node else set())
    if kind == "UpdateStmt":
        return {Access.UPDATE, Access.SELECT}
    if kind == "DeleteStmt":
        return {Access.DELETE, Access.SELECT}
    clauses = (clause.get("MergeWhenClause", {}) for clause in node.get("mergeWhenClauses", ()))
    return {Access.SELECT} | {_ACTIONS[one["commandType"]] for one in clauses if one.get("commandType") in _ACTIONS}


_ACTIONS = {"CMD_INSERT": Access.INSERT, "CMD_UPDATE": Access.UPDATE, "CMD_DELETE": Access.DELETE}


def check_reach(facts: Facts, name: RelationName, relation: Relation, state: SessionState, grounds: Grounds) -> None:
    """Raises Refused for what ``relation`` leads to by what the statement does to it.

    42501 names code that is not trusted; 0A000 names a protected relation that is reached in a way that cannot be
    secured. A trusted view is read as it is.
    """
    trust, protected = grounds.trust, grounds.protected
    code = state.role is not None and state.role.code
    if made_by_initdb(relation) and not code and set(accesses(facts, name)) - {Access.SELECT}:
        # Among them are views whose rules change settings, and tables that say what is a table's name.
        raise denied(f"{facts.tag} changes the system catalog {relation.name}", policy=state.policy)
    if system_catalog(relation) is not None:
        return  # secured where it is read
    if holds_values(relation.schema, relation.name) and not code:
        raise unsupported(
            f'"{relation.schema}.{relation.name}" holds stored values or other sessions\' statements',
            way_out="Read it on a connection that does not go through consentry.",
            position=facts.position(name.location),
        )
    full = f"{relation.schema}.{relation.name}"
    if KINDS[facts.statement.kind][0] is Family.DDL and name.place == "other":
        for access in accesses(facts, name):
            _check_code(relation.reach.get(access, Reach()), access, relation, state, trust)
        return  # nothing is read or written by it; what else it does is judged by itself
    if relation.kind == "v" and trust.view(relation) and set(accesses(facts, name)) <= {Access.SELECT}:
        return
    if relation.oid in protected.refused:
        raise denied(
            f"the view {full} cannot be read: {protected.refused[relation.oid]}",
            way_out="Read the tables, classify the view's columns, or name it in views.trusted of the policy.",
            policy=state.policy,
            position=facts.position(name.location),
        )
    if relation.oid not in protected.classified:
        _check_copy(relation, state, protected)
        _check_own_views(relation, state)
    _check_target(facts, name, relation, state, grounds)
    for access in accesses(facts, name):
        _check(relation.reach.get(access, Reach()), access, relation, state, trust, protected)


def _check_target(facts: Facts, name: RelationName, relation: Relation, state: SessionState, grounds: Grounds) -> None:
    if name.place == "target":
        check_references(facts, relation, _set_by(facts, name), set(accesses(facts, name)), state, grounds)


def _check_own_views(relation: Relation, state: SessionState) -> None:
    """Raises Refused (0A000) if a view of users shows what system catalogs show of too much.

    PostgreSQL writes a view's columns out, so a column that it uses stands in its text by name, or a row as ``x.*``.
    """
    relations = state.context.catalog.relations
    reached = [relations[oid] for oid in relation.reach.get(Access.SELECT, Reach()).relations if oid in relations]
    for catalog in filter(None, map(system_catalog, reached)):
        words = catalog.extent | catalog.never | (catalog.guarded or frozenset())
        if not words:
            continue
        told = re.compile(rf"\.\*|\b({'|'.join(map(re.escape, words))})\b")
        for view in (relation, *reached):
            if not view.builtin and told.search(view.definition):
                raise unsupported(
                    f"{view.schema}.{view.name} shows columns of system catalogs that may tell of hidden values",
                    way_out="Read the catalogs themselves, or name the view in views.trusted of the policy.",
                )


def _check_copy(relation: Relation, state: SessionState, protected: Protected) -> None:
    """A materialized view holds a copy of what it was computed from: it must be classified itself."""
    for oid in sorted(relation.sources & protected.classified.keys()):
        source = state.context.catalog.relations[oid]
        raise unsupported(
            f"the materialized view {relation.schema}.{relation.name} holds a copy of the classified table"
            f" {source.schema}.{source.name}",
            way_out="Classify the materialized view's columns in the policy.",
        )


def _check(
    reach: Reach, access: Access, relation: Relation, state: SessionState, trust: Trust, protected: Protected
) -> None:
    _check_code(reach, access, relation, state, trust)
    catalog = state.context.catalog
    if access is not Access.SELECT:
        _check_rules(reach, access, relation, state, protected)
        _check_triggers(reach, access, relation, state, trust, protected)
    for oid in sorted(reach.relations):
        reached = catalog.relations.get(oid)
        if reached is None or oid == relation.oid:
            continue
        _check_reached(reached, access, relation, state, protected)


def _check_rules(reach: Reach, access: Access, relation: Relation, state: SessionState, protected: Protected) -> None:
    """Raises Refused (42501) where a rewrite rule would see what a statement does to protected rows."""
    code = state.role is not None and state.role.code
    if reach.rules and not code and (relation.oid in protected or any(oid in protected for oid in reach.relations)):
        raise denied(
            f"{access.value} on {relation.schema}.{relation.name} fires the rule {', '.join(sorted(reach.rules))}",
            detail="A rule rewrites statements after they were judged.",
            way_out="Use a trigger with a trusted function in its place.",
            policy=state.policy,
        )


def _check_triggers(
    reach: Reach, access: Access, relation: Relation, state: SessionState, trust: Trust, protected: Protected
) -> None:
    """Raises Refused (42501) where a trigger function of PostgreSQL's own would compare or copy raw values."""
    code = state.role is not None and state.role.code
    names = trust.judging(reach.functions)
    if names and not code and not protected.classified.keys().isdisjoint({relation.oid, *reach.relations}):
        full = f"{relation.schema}.{relation.name}"
        raise untrusted("function", names, state, through=f", and {access.value} on {full} may run it")


def _check_code(reach: Reach, access: Access, relation: Relation, state: SessionState, trust: Trust) -> None:
    full = f"{relation.schema}.{relation.name}"
    role = state.role
    if not (role is not None and role.code):
        types = trust.columns(relation)
        if types:
            raise untrusted("the conversion to", types, state, through=f", and {full} has a column of it")
        names = trust.oids(reach.functions)
        if names:
            raise untrusted("function", names, state, through=f", and {access.value} on {full} may run it")
        if reach.opaque:
            raise denied(
                f"{access.value} on {full} reaches what cannot be followed: {', '.join(sorted(reach.opaque))}",
                policy=state.policy,
            )


def _check_reached(
    reached: Relation, access: Access, relation: Relation, state: SessionState, protected: Protected
) -> None:
    full, other = f"{relation.schema}.{relation.name}", f"{reached.schema}.{reached.name}"
    known = relation.oid in protected.classified or relation.oid in protected.harmless
    if access is Access.SELECT:
        code = state.role is not None and state.role.code
        if holds_values(reached.schema, reached.name) and not relation.builtin and not code:
            raise unsupported(f"{full} reads {other}, which holds stored values or other sessions' statements")
        if not known and reached.oid not in protected.classified:
            _check_copy(reached, state, protected)
        if reached.oid in protected.classified and not known:
            raise unsupported(
                f"{full} reads the classified table {other} in a way that cannot be followed",
                way_out="Read the table itself.",
            )
    elif (
        access is not Access.TRUNCATE
        and reached.oid in protected
        and not _by_itself(reached, access, relation, state, protected)
    ):
        raise unsupported(
            f"{access.value} on {full} may change the protected table {other}",
            way_out="Write to the table itself.",
        )


def _by_itself(
    reached: Relation, access: Access, relation: Relation, state: SessionState, protected: Protected
) -> bool:
    """A table that is reached by what belongs to ``relation`` itself: its partitions and children, a row security
    policy that reads, a foreign key that deletes what referred to a deleted row.

    Triggers are functions, and rules are named: neither is meant here. Deleting is allowed but for consent, which goes
    with its subject alone. What an UPDATE of a table changes by foreign keys is judged by itself (``references``).
    """
    reach = relation.reach.get(access, Reach())
    if reach.rules or (relation.kind != "v" and relation.kind not in "rp"):
        return False  # what a view passes on is judged where it is written through
    role = state.role
    managed = protected.managed.get(reached.oid)
    kinds = set() if managed is None else managed.rows - (frozenset() if role is None else role.manages)
    subjects = [state.policy.subjects[kind] for kind in kinds]
    base = base_of(relation, state.context.catalog)
    name = None if base is None else (base.relation.schema, base.relation.name)
    own = all(access is Access.DELETE and name == kind.table for kind in subjects)
    return (
        not kinds or own or access in (Access.INSERT, Access.SELECT) or (access is Access.UPDATE and base is not None)
    )


def matters(relation: Relation, facts: Facts, name: RelationName, state: SessionState, grounds: Grounds) -> bool:
    """It would make a difference if ``name`` meant this relation: it is protected, or leads to what is, or to code."""
    protected = grounds.protected
    if relation.oid in protected or system_catalog(relation) is not None:
        return True
    if state.policy.defaults.unclassified_tables != "allow":
        return True
    try:
        check_reach(facts, name, relation, state, grounds)
    except Refused:
        return True
    known = protected.classified.keys() | protected.sources
    return any(not reach.relations.isdisjoint(known) for reach in relation.reach.values())
