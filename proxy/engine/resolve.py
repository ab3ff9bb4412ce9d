"""From the names in a text to the relations they mean, and to those among them that are classified."""

from __future__ import annotations

from dataclasses import dataclass, replace

from proxy.catalog.model import Access, Reach, Relation
from proxy.engine.condition_code import check_conditions
from proxy.engine.ddl import check_ddl, check_truncate
from proxy.engine.definitions import copy_clause, unforeseen
from proxy.engine.event_triggers import check_event_triggers
from proxy.engine.grounds import Grounds
from proxy.engine.reach import check_reach, matters
from proxy.engine.redirection import check_names_taken
from proxy.engine.refusals import denied, undefined_relation, unsupported
from proxy.engine.schema_change import SchemaChange
from proxy.engine.search_path import find
from proxy.engine.session_state import SessionState
from proxy.engine.system_catalogs import SystemCatalog, system_catalog, trusted_with
from proxy.engine.system_objects import check_system_objects
from proxy.errors import FEATURE_NOT_SUPPORTED, Refusal, Refused
from proxy.sql.facts import Facts
from proxy.sql.relations import RelationName
from proxy.sql.statements import KINDS, Family

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
    unforeseen: str = ""
    """Why the next statement of the same text cannot be judged."""

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
        check_reach(facts, name, relation, state, grounds)
        if KINDS[facts.statement.kind][0] is not Family.DDL or copy_clause(facts) is not None:
            check_conditions(relation, state.purpose(facts.purpose), state, grounds)
        _check_unclassified(relation, state, grounds)
        _check_change(facts, name, relation, state, grounds)
        if relation.oid in grounds.protected.classified:
            resolved.classified.append((name, relation))
        catalog = system_catalog(relation)
        if catalog is not None and state.role is not None and state.role.code:
            catalog = trusted_with(catalog)
        if catalog is not None:
            resolved.system.append((name, relation, catalog))
        if name.schema is None and _may_mean_another(facts, name, relation, state, grounds):
            resolved.shadows.append((name, relation.schema))
    if KINDS[facts.statement.kind][0] is Family.DDL or copy_clause(facts) is not None:
        node = facts.statement.node
        own = resolved.named.get(id(node.get("relation"))) or resolved.named.get(id(node.get("view")))
        check_system_objects(facts, own, state)
        check_names_taken(facts, state, grounds.trust)
        check_event_triggers(facts, state, grounds.trust)
        change = SchemaChange(facts, state, grounds, resolved.named)
        check_ddl(change)
        return replace(resolved, unforeseen=unforeseen(change))
    return resolved


def _may_mean_another(
    facts: Facts, name: RelationName, relation: Relation, state: SessionState, grounds: Grounds
) -> bool:
    """An unqualified name that another relation of the search_path bears too is sent on with its schema, where it would
    matter if that were meant.

    What it means would else rest on search_path alone, and there is more to that than its text: the server passes over
    schemas on which the current role has no USAGE (namespace.c, recomputeNamespacePath), and what only this session
    sees (temporary, or not committed) can go without a word: ON COMMIT DROP, the CASCADE of another DROP.
    """
    if KINDS[facts.statement.kind][0] is Family.MAINTENANCE:
        return False
    if relation.schema == "pg_catalog":
        return False
    path = state.path()
    later = path[path.index(relation.schema) + 1 :] if relation.schema in path else path
    others = (state.context.catalog.relation(schema, name.name) for schema in later)
    matter = relation.oid in grounds.protected
    return any(other is not None and (matter or matters(other, facts, name, state, grounds)) for other in others)


def _relation(facts: Facts, name: RelationName, state: SessionState) -> Relation | None:
    """The relation that ``name`` means; None for what the statement creates, and for what DDL looks for in vain."""
    place = facts.position(name.location)
    if name.catalog is not None and name.catalog != state.context.database:
        full = ".".join(part for part in (name.catalog, name.schema, name.name) if part)
        words = f'cross-database references are not implemented: "{full}"'
        raise Refused(Refusal(FEATURE_NOT_SUPPORTED, words, position=place))
    if name.place == "into" or name.node is facts.statement.node.get(_CREATED.get(facts.statement.kind, "")):
        return None
    relation = find(state.context, state.path(), name.schema, name.name)
    if relation is not None:
        return relation
    family = KINDS[facts.statement.kind][0]
    if family in (Family.DDL, Family.MAINTENANCE, Family.CODE) and name.place == "other":
        return None
    if facts.statement.kind == "CreateSchemaStmt" and name.schema is None and name.name in _elements(facts):
        return None  # made by the same statement
    if state.role is not None and state.role.code:
        return None  # trusted with everything, also with what it made in this transaction
    raise undefined_relation(name.schema, name.name, place)


def _elements(facts: Facts) -> frozenset[str]:
    """The relations that CREATE SCHEMA makes with the schema."""
    made = (
        element[kind][field]["relname"]
        for element in facts.statement.node.get("schemaElts", ())
        for kind, field in _CREATED.items()
        if kind in element
    )
    return frozenset(made)


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


def _check_change(facts: Facts, name: RelationName, relation: Relation, state: SessionState, grounds: Grounds) -> None:
    """COPY into protected tables from files and programs of the server is not judged, and so it does not pass."""
    if facts.statement.kind == "TruncateStmt":
        check_truncate(SchemaChange(facts, state, grounds, {id(name.node): relation}), relation)
        return
    if relation.oid not in grounds.protected:
        return
    node = facts.statement.node
    copied = facts.statement.kind == "CopyStmt" and name.place == "other" and node.get("is_from")
    if (copied and "filename" in node) or (
        name.place == "target" and KINDS[facts.statement.kind][0] not in (Family.QUERY, Family.DDL)
    ):
        raise unsupported(
            f"{facts.tag} changes the protected table {relation.schema}.{relation.name}",
            detail="Whose rows these are is known only of data that passes through consentry.",
            way_out="Use COPY … FROM STDIN (\\copy in psql), or INSERT.",
            position=facts.position(name.location),
        )
