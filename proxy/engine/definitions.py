"""Derived relations: tables, views and materialized views that are made of classified ones.

A view stores a text, and inherits the classification of what it shows. A table or a materialized view stores values:
those that the session sees, and raw ones only where the policy classifies the copy at least as sensitively.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from proxy.catalog.model import TEMPORARY, Relation
from proxy.engine.laundering import Destination, check_flows, flowing
from proxy.engine.moves import check_arrival
from proxy.engine.refusals import denied
from proxy.engine.schema_change import SchemaChange, full_name, kinds_of
from proxy.engine.search_path import creation_schema
from proxy.engine.secured import Sight
from proxy.engine.session_state import SessionState
from proxy.policy.model import Name, Use
from proxy.sql.definitions import EVERY, into_clause, mentioned
from proxy.sql.facts import Facts
from proxy.sql.flows import Flows
from proxy.sql.grammar import Node
from proxy.sql.relations import RelationName
from proxy.sql.scopes import Outputs, Sources
from proxy.sql.tree import strings

_NO_LONGER_NAMED = "…"
"""Stands for the columns of a copy that cannot be told apart."""


def copy_clause(facts: Facts) -> tuple[Node, Node] | None:
    """(IntoClause, SelectStmt) of CREATE TABLE AS, CREATE MATERIALIZED VIEW or SELECT INTO; None for all else."""
    node = facts.statement.node
    if facts.statement.kind == "CreateTableAsStmt" and "SelectStmt" in node.get("query", {}):
        return node["into"], node["query"]["SelectStmt"]
    if facts.statement.kind == "SelectStmt":
        into = into_clause(facts.statement.kind, node)
        return None if into is None else (into, node)
    return None


def is_stored_view(facts: Facts) -> bool:
    """It makes a materialized view, which keeps the text too."""
    return facts.statement.kind == "CreateTableAsStmt" and facts.statement.node.get("objtype") == "OBJECT_MATVIEW"


def made(target: Node, state: SessionState) -> Name:
    """The name of what a RangeVar would create."""
    schema = target.get("schemaname")
    if target.get("relpersistence") == "t" or schema == TEMPORARY:
        return Name(TEMPORARY, target["relname"])
    path = state.context.settings.get("search_path", '"$user", public')
    return Name(schema or creation_schema(state.path(), path) or "", target["relname"])


# --- copies -----------------------------------------------------------------------------------------------------------


def check_copy(change: SchemaChange) -> None:
    """Raises Refused where a copy would take a name that decisions rest on."""
    clause = copy_clause(change.facts)
    if clause is not None:
        check_arrival(change, made(clause[0]["rel"], change.state), change.facts.tag)


def check_stored(
    facts: Facts, state: SessionState, sights: Mapping[int, Sight], relations: Mapping[int, Relation]
) -> None:
    """Raises PolicyRefused (42501) where a copy would hold raw values in columns that are not classified as well.

    ``sights`` and ``relations``: what the statement names, by the id() of the RangeVar node.
    """
    clause = copy_clause(facts)
    if clause is None:
        return
    into, select = clause
    outputs = _outputs(facts, select, relations)
    target = made(into["rel"], state)
    for column, sources in _columns(outputs, strings(into.get("colNames"))):
        destination = replace(_destination(state, target, column), new=True)
        check_flows(flowing(sources, sights), destination, state.policy)


def _outputs(facts: Facts, select: Node, relations: Mapping[int, Relation]) -> Outputs:
    def columns(name: RelationName) -> Sequence[str] | None:
        relation = relations.get(id(name.node))
        known = relation is not None and relation.oid != 0
        return [column.name for column in relation.columns] if relation is not None and known else None

    return Flows(facts.statement.kind, facts.statement.node, facts.relations, columns).query(select)


def _columns(outputs: Outputs, names: tuple[str, ...]) -> list[tuple[str, Sources]]:
    if not outputs.complete:
        return [(_NO_LONGER_NAMED, outputs.every)]
    renamed = outputs.named(list(names))
    return [(column.name or _NO_LONGER_NAMED, column.sources) for column in renamed.columns]


def _destination(state: SessionState, table: Name, column: str) -> Destination:
    known = state.policy.tables.get(table)
    found = known.columns.get(column) if known is not None else None
    schema = "" if table.schema == TEMPORARY else f"{table.schema}."
    return Destination(f"{schema}{table.relation}.{column}", None if found is None else found.sensitivity)


# --- views ------------------------------------------------------------------------------------------------------------


def check_view(change: SchemaChange) -> None:
    """Raises Refused for a view that would shed the classification of what it shows.

    A view that the policy does not name inherits it from its text, whoever reads it. One that the policy names has the
    classification that stands there and no other.
    """
    node = change.facts.statement.node
    target = made(node["view"], change.state)
    check_arrival(change, target, change.facts.tag)
    replaced = change.catalog.relation(*target)
    if replaced is not None:
        change.must_manage_rows(replaced, change.facts.tag)
    if change.protected and is_temporary_view(change):
        raise change.refuse(
            "a temporary view over protected tables",
            f"It reads {full_name(change.protected[0])}; which name it hides, only this session knows.",
            "Create it in a schema, over permanent tables.",
        )
    if target not in change.policy.tables and not kinds_of(change.policy, target):
        return
    names = mentioned(node.get("query"))
    for relation in change.protected:
        every = change.classification(relation).keys() if EVERY in names else names
        change.must_see(relation, every, "a view that the policy names")
    _check_shown(change, node, target)


def _check_shown(change: SchemaChange, node: Node, target: Name) -> None:
    select = node.get("query", {}).get("SelectStmt", {})
    outputs = _outputs(change.facts, select, change.relations)
    for column, sources in _columns(outputs, strings(node.get("aliases"))):
        wanted = [
            found.sensitivity(change.policy)
            for source in sources
            if (relation := change.relations.get(id(source.relation.node))) is not None
            for name, found in change.classification(relation).items()
            if source.column in (name, EVERY)
        ]
        own = _destination(change.state, target, column)
        if wanted and (own.sensitivity is None or own.sensitivity < max(wanted)):
            raise denied(
                f"the view would show in {own.column} what is classified where it comes from",
                way_out="Classify the view's column in the policy at least as sensitively.",
                policy=change.policy,
            )


def is_temporary_view(change: SchemaChange) -> bool:
    """CREATE VIEW makes a temporary one: because it says so, or because it reads a temporary relation (view.c)."""
    view = change.facts.statement.node.get("view", {})
    said = view.get("relpersistence") == "t" or view.get("schemaname") == TEMPORARY
    return said or any(relation.temporary for relation in change.relations.values())


def check_refresh(change: SchemaChange) -> None:
    """Raises Refused unless the role sees what a materialized view copies, and the policy classifies the copy."""
    view = change.relation(change.facts.statement.node.get("relation"))
    classified = change.grounds.protected.classified.keys()
    sources = [] if view is None else [change.catalog.relations[oid] for oid in sorted(view.sources & classified)]
    for source in sources:
        change.must_see(source, {EVERY}, change.facts.tag, Use.EXPORT)
    if view is not None and sources and not change.classification(view):
        raise denied(
            f"{change.facts.tag} would store values of {full_name(sources[0])} in {full_name(view)},"
            " which is not classified",
            way_out="Classify the materialized view's columns in the policy.",
            policy=change.policy,
        )


def unforeseen(change: SchemaChange) -> str:
    """Why what follows in the same message cannot be judged; '' where it can.

    What a table that is made inherits, or that the policy knows its name, shows only in the catalog.
    """
    node = change.facts.statement.node
    if change.facts.statement.kind != "CreateStmt":
        return ""
    name = made(node["relation"], change.state)
    named = name in change.policy.tables or bool(kinds_of(change.policy, name))
    parents = [change.relation(item.get("RangeVar")) for item in node.get("inhRelations", ())]
    joins = named or any(change.protects(parent) for parent in parents)
    return f"{change.facts.tag} of a table that is protected stands before it" if joins else ""
