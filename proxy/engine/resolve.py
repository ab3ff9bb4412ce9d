"""From the names in a text to the relations they mean, and to those among them that are classified."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.catalog.model import Access, Reach, Relation
from proxy.engine.grounds import Grounds
from proxy.engine.reach import check_reach
from proxy.engine.refusals import denied, undefined_relation, unsupported
from proxy.engine.search_path import find, shadowed
from proxy.engine.session_state import SessionState
from proxy.engine.system_catalogs import SystemCatalog, system_catalog
from proxy.sql.facts import Facts
from proxy.sql.relations import RelationName
from proxy.sql.statements import KINDS, Family
from proxy.sql.tree import of_type, strings

_CREATED = {
    "CreateStmt": "relation",
    "CreateForeignTableStmt": "relation",
    "ViewStmt": "view",
    "CreateSeqStmt": "sequence",
    "CompositeTypeStmt": "typevar",
}
"""Which field of a statement's node names what it creates."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """``classified``: the classified relations that a statement names. ``shadows``: names that another relation bears
    too, with the schema that must stand before them.
    """

    classified: list[tuple[RelationName, Relation]]
    shadows: list[tuple[RelationName, str]]
    columns: set[str]
    """Names of all columns of all relations that the statement names."""
    system: list[tuple[RelationName, Relation, SystemCatalog]]
    """The system catalogs that do not show as they are."""
    named: dict[int, Relation]
    """Every relation that the statement names, by the id of the node."""

    def columns_of(self, name: RelationName) -> tuple[str, ...] | None:
        """The columns of a relation as ``*`` shows them; None where nobody knows them (made in this transaction)."""
        relation = self.named.get(id(name.node))
        return None if relation is None or not relation.oid else tuple(column.name for column in relation.columns)


def resolve(facts: Facts, state: SessionState, grounds: Grounds) -> Resolved:
    """Resolves every name of a statement. What it names or reaches beside the result has passed.

    Raises Refused: 42P01 as PostgreSQL says it; 42501 and 0A000 for what may not be reached, or not in this way.
    """
    resolved = Resolved([], [], set(), [], {})
    for name in facts.relations:
        relation = _relation(facts, name, state)
        if relation is None:
            continue
        resolved.named[id(name.node)] = relation
        resolved.columns.update(column.name for column in relation.columns)
        check_reach(facts, name, relation, state, grounds.trust, grounds.protected)
        _check_unclassified(relation, state, grounds)
        _check_change(facts, name, relation, grounds)
        if relation.oid in grounds.protected.classified:
            resolved.classified.append((name, relation))
        catalog = system_catalog(relation)
        if catalog is not None:
            resolved.system.append((name, relation, catalog))
        if name.schema is None and _may_mean_another(facts, name, relation, state, grounds):
            resolved.shadows.append((name, relation.schema))
    if KINDS[facts.statement.kind][0] is Family.DDL:
        _check_named_objects(facts, state, grounds)
    return resolved


def _may_mean_another(
    facts: Facts, name: RelationName, relation: Relation, state: SessionState, grounds: Grounds
) -> bool:
    """An unqualified name that more than one relation bears is sent on with its schema.

    What it means would else rest on search_path alone, and there is more to that than its text: the server passes over
    schemas on which the current role has no USAGE (namespace.c, recomputeNamespacePath), and what only this session
    sees (temporary, or not committed) can go without a word: ON COMMIT DROP, the CASCADE of another DROP.
    """
    if KINDS[facts.statement.kind][0] is Family.MAINTENANCE:
        return False
    unseen = state.context.overlay.get((relation.schema, name.name)) is relation
    return name.name in grounds.protected.shared_names or (
        unseen and any(known == name.name for _, known in state.context.catalog.relation_names)
    )


def _relation(facts: Facts, name: RelationName, state: SessionState) -> Relation | None:
    """The relation that ``name`` means; None for what the statement creates, and for what DDL looks for in vain."""
    place = facts.position(name.location)
    if name.catalog is not None and name.catalog != state.context.database:
        raise unsupported("cross-database references are not implemented", position=place)
    if name.place == "into" or name.node is facts.statement.node.get(_CREATED.get(facts.statement.kind, "")):
        return None
    relation = find(state.context, state.path(), name.schema, name.name)
    if relation is not None:
        return relation
    family = KINDS[facts.statement.kind][0]
    if family in (Family.DDL, Family.MAINTENANCE, Family.CODE) and name.place == "other":
        return None
    if state.role is not None and state.role.code:
        return None  # trusted with everything, also with what it made in this transaction
    raise undefined_relation(name.schema, name.name, place)


def _check_unclassified(relation: Relation, state: SessionState, grounds: Grounds) -> None:
    """``defaults.unclassified_tables: reject``: what nobody classified is not to be used, nor by way of a view."""
    if state.policy.defaults.unclassified_tables == "allow" or relation.builtin or relation.temporary:
        return
    relations = state.context.catalog.relations
    behind = [relations[oid] for oid in relation.reach.get(Access.SELECT, Reach()).relations if oid in relations]
    for one in (relation, *(behind if relation.kind == "v" else ())):
        if one.oid not in grounds.protected and one.kind in "rpmf" and not one.builtin:
            raise denied(
                f"table {one.schema}.{one.name} is not classified, and unclassified tables are rejected",
                way_out="Classify its columns in the policy (columns: {} for a table without personal information).",
                policy=state.policy,
            )


def _check_change(facts: Facts, name: RelationName, relation: Relation, grounds: Grounds) -> None:
    """DDL on protected tables, and COPY FROM into them, are not available yet; nothing of them passes unjudged."""
    if relation.oid not in grounds.protected:
        return
    full = f"{relation.schema}.{relation.name}"
    copied = facts.statement.kind == "CopyStmt" and name.place == "other" and facts.statement.node.get("is_from")
    if copied or (name.place == "target" and KINDS[facts.statement.kind][0] is not Family.QUERY):
        raise unsupported(
            f"{facts.tag} changes the protected table {full}",
            detail="COPY FROM into protected tables is not available yet.",
            way_out="Write it as INSERT.",
            position=facts.position(name.location),
        )
    if KINDS[facts.statement.kind][0] is Family.DDL:
        raise unsupported(
            f"{facts.tag} concerns the protected table {full}",
            detail="DDL on protected tables, and from them, is not available yet.",
            position=facts.position(name.location),
        )


def _check_containers(facts: Facts, state: SessionState, grounds: Grounds) -> None:
    """A schema, an extension or a database that holds protected relations keeps its name and its contents."""
    node = facts.statement.node
    kind = node.get("removeType") or node.get("renameType") or node.get("objectType")
    named = {node.get("subname"), *strings(node.get("objects")), *strings([node.get("object", {})])}
    relations = state.context.catalog.relations
    for oid in grounds.protected.classified.keys() | grounds.protected.sources:
        relation = relations[oid]
        held = (kind == "OBJECT_SCHEMA" and relation.schema in named) or kind in ("OBJECT_DATABASE", "OBJECT_EXTENSION")
        if held:
            raise unsupported(
                f"{facts.tag} concerns what holds the protected table {relation.schema}.{relation.name}",
                detail="DDL on protected tables is not available yet.",
            )


def _check_named_objects(facts: Facts, state: SessionState, grounds: Grounds) -> None:
    """DDL also names relations as plain lists of names (DROP, COMMENT): any that could be protected."""
    path = state.path()
    _check_containers(facts, state, grounds)
    for node in of_type(facts.statement.node, "List"):
        parts = strings(node.get("items"))
        for end in range(1, len(parts) + 1):
            schema = parts[end - 2] if end > 1 else None
            relation = find(state.context, path, schema, parts[end - 1])
            if relation is not None and schema is None:
                relation = shadowed(state.context, path, parts[end - 1], relation) or relation
            if relation is not None and relation.oid in grounds.protected:
                raise unsupported(
                    f"{facts.tag} concerns the protected table {relation.schema}.{relation.name}",
                    detail="DDL on protected tables is not available yet.",
                )
