"""Moves: what would give a relation or a column another name, or take it from what it inherits its classification from.

A classification belongs to a name of the policy. What moves away from its name sheds it, so the destination must be
classified at least as sensitively; what inherits by OID (a partition, a view over tables) may be called anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.catalog.model import Relation
from proxy.engine.classification import Source, inherits, of_table, partition_keys, with_generated
from proxy.engine.refusals import denied
from proxy.engine.schema_change import SchemaChange, full_name, kinds_of
from proxy.policy.model import Name
from proxy.sql.definitions import EVERY
from proxy.sql.grammar import Node

_RELATIONS = frozenset(f"OBJECT_{kind}" for kind in ("TABLE", "VIEW", "MATVIEW", "FOREIGN_TABLE", "INDEX", "SEQUENCE"))
"""What ALTER calls a relation. ALTER INDEX … RENAME takes tables, too (tablecmds.c, RangeVarCallbackForAlterRelation);
so does ALTER TYPE … RENAME ATTRIBUTE."""
_WAY_OUT = "Classify the destination in the policy first, at least as sensitively."


def name_of(relation: Relation) -> Name:
    """A relation's name as the policy writes it."""
    return Name(relation.schema, relation.name)


def check_rename(change: SchemaChange) -> None:
    """Raises Refused where ALTER … RENAME would shed a classification, or take a name that decisions rest on."""
    node = change.facts.statement.node
    kind, relation = node.get("renameType"), change.relation(node.get("relation"))
    if kind == "OBJECT_SCHEMA":
        check_schema(change, node.get("subname", ""), "RENAME of the schema")
    elif kind == "OBJECT_DATABASE":
        for held in change.grounds.protected.classified:
            one = change.catalog.relations[held]
            raise change.refuse(
                "RENAME of the database",
                f"A policy may be chosen by its name, and it holds the classified table {full_name(one)}.",
                "Rename it on a direct connection.",
            )
    elif kind == "OBJECT_ATTRIBUTE" and node.get("behavior") == "DROP_CASCADE":
        raise typed_tables(change)
    elif relation is None:
        return
    elif kind in ("OBJECT_COLUMN", "OBJECT_ATTRIBUTE"):
        _rename_column(change, relation, node.get("subname", ""), node["newname"])
    elif kind in _RELATIONS:
        _move(change, relation, Name(relation.schema, node["newname"]), "RENAME")


def typed_tables(change: SchemaChange) -> Exception:
    """The refusal (0A000) of what would change the columns of tables that were created OF a type."""
    return change.refuse(
        f"{change.facts.tag} … CASCADE",
        "It would change the columns of tables of that type, of which some may be protected.",
        "Do it on a direct connection.",
    )


def check_set_schema(change: SchemaChange) -> None:
    """The same for ALTER … SET SCHEMA."""
    node = change.facts.statement.node
    relation = change.relation(node.get("relation"))
    if relation is not None:
        _move(change, relation, Name(node["newschema"], relation.name), "SET SCHEMA")


def check_schema(change: SchemaChange, schema: str, what: str) -> None:
    """Raises Refused (0A000) where ``schema`` holds what the policy protects by its name."""
    protected = change.grounds.protected
    for oid in sorted(protected.classified.keys() | protected.sources):
        relation = change.catalog.relations[oid]
        if relation.schema == schema and _bears_name(change, relation):
            raise change.refuse(f"{what} {schema}", f"It holds the protected table {full_name(relation)}.", _WAY_OUT)


def check_arrival(change: SchemaChange, name: Name, what: str) -> None:
    """Raises Refused (42501) where a relation with contents would take a name that decisions rest on."""
    change.must_manage(kinds_of(change.policy, name), f"{name.schema}.{name.relation}", what)


def _bears_name(change: SchemaChange, relation: Relation) -> bool:
    own = change.policy.tables.get(name_of(relation))
    return bool(own is not None and own.columns) or bool(kinds_of(change.policy, name_of(relation)))


def _move(change: SchemaChange, relation: Relation, destination: Name, what: str) -> None:
    check_arrival(change, destination, what)
    if relation.oid == 0 or not _bears_name(change, relation):
        return
    if kinds_of(change.policy, name_of(relation)):
        raise change.refuse(
            f"{what} of {full_name(relation)}",
            "Decisions rest on it, and find it by its name.",
            "Change the policy first, or do it on a direct connection.",
        )
    own = change.policy.tables[name_of(relation)]
    known = change.policy.tables.get(destination)
    for column in own.columns.values():
        found = known.columns.get(column.name) if known is not None else None
        if relation.column(column.name) is not None and (found is None or found.sensitivity < column.sensitivity):
            raise denied(
                f"{what} would take {full_name(relation)}.{column.name} out from under its classification",
                way_out=_WAY_OUT,
                policy=change.policy,
            )


def _rename_column(change: SchemaChange, relation: Relation, old: str, new: str) -> None:
    if not change.protects(relation):
        return
    what = "RENAME"
    change.must_manage_rows(relation, what)
    change.must_manage_columns(relation, (old, new), what)
    for member in change.members(relation):
        source = change.classification(member).get(old)
        if source is None or (member.kind == "v" and name_of(member) not in change.policy.tables):
            continue
        if inherits(member, old, change.classification(member)):
            continue
        for one in source.all:
            before = change.policy.tables[one.table].columns[one.column]
            after = change.policy.tables[one.table].columns.get(new)
            if after is None or after.sensitivity < before.sensitivity:
                raise denied(
                    f"{what} would take {full_name(member)}.{old} out from under its classification",
                    way_out=_WAY_OUT,
                    policy=change.policy,
                )


# --- inheritance ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kinship:
    """A child (or partition) and its parent, of which one may be unknown."""

    child: Relation
    parent: Relation


def kinship(change: SchemaChange, altered: Node, command: Node) -> Kinship | None:
    """Who becomes, or ceases to be, whose child by an AlterTableCmd; None where neither is protected."""
    definition = command.get("def", {})
    other = definition.get("RangeVar") or definition.get("PartitionCmd", {}).get("name")
    own, named = change.relation(altered), change.relation(other)
    if not (change.protects(own) or change.protects(named)):
        return None
    if own is None or named is None:
        raise change.refuse(
            f"{change.facts.tag} with a relation that is not known",
            "A protected table takes part in it.",
            "COMMIT what made it first.",
        )
    attached = "PartitionCmd" in definition
    return Kinship(named, own) if attached else Kinship(own, named)


def check_joining(change: SchemaChange, pair: Kinship, what: str) -> None:
    """INHERIT and ATTACH: the parent shows what the child holds."""
    child, parent = pair.child, pair.parent
    if child.temporary:
        raise change.refuse(
            f"{what} of a temporary table", f"{full_name(parent)} is protected.", "Use a permanent table."
        )
    change.must_manage(kinds_of(change.policy, name_of(parent)), full_name(parent), what)
    change.must_manage_rows(parent, what)
    for name, source in change.classification(child).items():
        _must_hold(change, source, change.classification(parent).get(name), f"{full_name(child)}.{name}", what)
    keys = [key or EVERY for key in parent.partition_key]
    change.must_see(child, keys, what)
    change.must_see(parent, keys, what)


def check_chosen(change: SchemaChange, relation: Relation, what: str) -> None:
    """Raises PolicyRefused (42501) where rows that go with ``relation`` were sent there by values that the session does
    not see: which rows its parent has lost would tell them.
    """
    keys = partition_keys(relation, change.catalog)
    if relation.parents and keys:
        change.must_see(relation, {key or EVERY for key in keys}, f"{what} of a partition")


def check_leaving(change: SchemaChange, pair: Kinship, what: str) -> None:
    """NO INHERIT and DETACH: the child keeps only a classification of its own, the parent loses its rows."""
    child, parent = pair.child, pair.parent
    check_chosen(change, child, what)
    change.must_manage(kinds_of(change.policy, name_of(parent)), full_name(parent), what)
    change.must_manage_rows(parent, what)
    own = change.policy.tables.get(name_of(child))
    kept = with_generated(child, {} if own is None else of_table(own))
    for name, source in change.classification(parent).items():
        _must_hold(change, source, kept.get(name), f"{full_name(child)}.{name}", what)


def _must_hold(change: SchemaChange, before: Source, after: Source | None, column: str, what: str) -> None:
    if after is None or after.sensitivity(change.policy) < before.sensitivity(change.policy):
        raise denied(
            f"{what} would take {column} out from under its classification", way_out=_WAY_OUT, policy=change.policy
        )
