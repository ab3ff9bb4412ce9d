"""DDL that concerns protected relations: what is harmless passes, what sheds a classification or tells of stored values
does not.

Nothing here makes a session see more: a view shows what its reader may see, an index is judged where it is made. What
needs to know the values asks that the role sees them raw in every row.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.catalog.model import FIRST_NORMAL_OBJECT_ID, TEMPORARY, Access, Reach, Relation
from proxy.engine.alterations import check_alter, check_constraint
from proxy.engine.classification import family
from proxy.engine.closed_world import untrusted
from proxy.engine.definitions import check_copy, check_refresh, check_view
from proxy.engine.index_entries import may_be_long
from proxy.engine.moves import check_chosen, check_rename, check_set_schema, name_of
from proxy.engine.refusals import denied
from proxy.engine.schema_change import SchemaChange, full_name, kinds_of
from proxy.engine.search_path import find, shadowed
from proxy.sql.definitions import EVERY, constraints, elements, mentioned
from proxy.sql.grammar import Node
from proxy.sql.names import FunctionName, split
from proxy.sql.tree import of_type, strings

_HARMLESS = frozenset(
    {
        "CommentStmt",
        "SecLabelStmt",
        "GrantStmt",
        "GrantRoleStmt",
        "AlterDefaultPrivilegesStmt",
        "AlterOwnerStmt",
        "AlterObjectDependsStmt",
        "AlterTableMoveAllStmt",
        "AlterStatsStmt",
        "CreateSeqStmt",
        "AlterSeqStmt",
        "CreateFunctionStmt",
        "AlterFunctionStmt",
    }
)
"""They change neither what a relation holds nor what it is called. Functions are judged where they are called."""


def check_ddl(change: SchemaChange) -> None:
    """Raises Refused for DDL that may not be carried out. A role with ``code: true`` is trusted with everything."""
    role = change.state.role
    if role is not None and role.code:
        return
    kind = change.facts.statement.kind
    check = _CHECKS.get(kind)
    if check is not None:
        check(change)
    elif kind not in _HARMLESS:
        for relation in [*change.protected, *_listed(change)]:
            raise change.refuse(
                change.facts.tag,
                f"It concerns the protected table {full_name(relation)}.",
                "Do it on a connection that does not go through consentry.",
            )


def _listed(change: SchemaChange) -> list[Relation]:
    """The protected relations that plain lists of names may mean."""
    found = []
    for node in of_type(change.facts.statement.node, "List"):
        parts = strings(node.get("items"))
        for end in range(1, len(parts) + 1):
            found += _meant(change, parts[:end])
    return found


def _meant(change: SchemaChange, parts: tuple[str, ...]) -> list[Relation]:
    """The protected relations that a dotted name may mean."""
    context, path = change.state.context, change.state.path()
    schema = parts[-2] if len(parts) > 1 else None
    relation = find(context, path, schema, parts[-1])
    meant = [relation]
    if relation is not None and schema is None:
        meant.append(shadowed(context, path, parts[-1], relation))
    return [one for one in meant if one is not None and change.protects(one)]


# --- indexes and statistics -------------------------------------------------------------------------------------------


def _index(change: SchemaChange) -> None:
    node = change.facts.statement.node
    relation = change.relation(node.get("relation"))
    if relation is None or not change.protects(relation):
        return
    _check_code(change, relation)
    params = [*node.get("indexParams", ()), *node.get("indexIncludingParams", ())]
    if node.get("unique") or node.get("excludeOpNames"):
        change.must_see(relation, elements(params), "a unique index")
    expressions = [item["IndexElem"]["expr"] for item in params if "expr" in item["IndexElem"]]
    judged = mentioned(*expressions, node.get("whereClause"))
    if expressions or "whereClause" in node:
        change.must_see(relation, judged, "an index over expressions or some of the rows")
    # The server refuses to index what is too long, and so would tell how long a hidden value is.
    long = {name for name in elements(params) if may_be_long(relation.column(name))}
    if any(long & change.classification(member).keys() for member in change.members(relation)):
        change.must_see(relation, long, "an index over values of any length")
    foreign = {item["IndexElem"].get("name", EVERY) for item in params if _own_opclass(item["IndexElem"])}
    if foreign:
        change.must_see(relation, foreign, "an operator class of users")


_OPCLASSES = frozenset(
    """
    text_ops varchar_ops bpchar_ops text_pattern_ops varchar_pattern_ops bpchar_pattern_ops name_ops jsonb_ops
    jsonb_path_ops array_ops inet_ops gin_trgm_ops gist_trgm_ops int2_ops int4_ops int8_ops numeric_ops date_ops
    timestamp_ops timestamptz_ops uuid_ops bool_ops bytea_ops
    """.split()
)


def _own_opclass(element: Node) -> bool:
    named = strings(element.get("opclass"))
    return bool(named) and (named[-1] not in _OPCLASSES or named[:-1] not in ((), ("pg_catalog",), ("public",)))


def _statistics(change: SchemaChange) -> None:
    node = change.facts.statement.node
    for item in node.get("relations", ()):
        relation = change.relation(item.get("RangeVar"))
        change.must_see(relation, elements(node.get("exprs", ())), "extended statistics")


def _cluster(change: SchemaChange) -> None:
    node = change.facts.statement.node
    if "indexname" in node:
        change.must_see(change.relation(node.get("relation")), {EVERY}, "CLUSTER by an index")
    _reindex(change)


def _reindex(change: SchemaChange) -> None:
    """Expressions of indexes run over raw rows."""
    named = change.relation(change.facts.statement.node.get("relation"))
    if named is not None and named.kind in "rpm":
        relations = [named] if change.protects(named) else []
    else:
        relations = [change.catalog.relations[oid] for oid in change.grounds.protected.classified]
    for relation in relations:
        _check_code(change, relation)


def _check_code(change: SchemaChange, relation: Relation) -> None:
    names = change.grounds.trust.oids(relation.reach.get(Access.INSERT, Reach()).functions)
    if names:
        through = f", and {change.facts.tag} of {full_name(relation)} may run it"
        raise untrusted("function", names, change.state, through=through)


# --- tables -----------------------------------------------------------------------------------------------------------


def _create_table(change: SchemaChange) -> None:
    node = change.facts.statement.node
    temporary = node["relation"].get("relpersistence") == "t" or node["relation"].get("schemaname") == TEMPORARY
    parents = [change.relation(item.get("RangeVar")) for item in node.get("inhRelations", ())]
    for item in node.get("tableElts", ()):
        found = [item["Constraint"]] if "Constraint" in item else constraints(item.get("ColumnDef", {}))
        for constraint in found:
            # Rows that others store in it have the parents' hidden cells.
            for relation in parents or [None]:
                check_constraint(change, relation, constraint)
    for parent in parents:
        if parent is None or not change.protects(parent):
            continue
        if temporary:
            raise change.refuse(
                "a temporary table that inherits", f"{full_name(parent)} is protected.", "Use a permanent table."
            )
        # The rows of a default partition are held against the bounds of a new one.
        change.must_see(parent, [key or EVERY for key in parent.partition_key], "a new partition")


_DROPPED_RELATIONS = frozenset({"OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_FOREIGN_TABLE"})
_DROPPED_FROM = frozenset({"OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY"})


def _drop(change: SchemaChange) -> None:
    """Deleting is always allowed, but for what decisions rest on."""
    node = change.facts.statement.node
    kind = node.get("removeType")
    what = change.facts.tag
    for item in node.get("objects", ()):
        parts = strings(item.get("List", {}).get("items"))
        if kind in _DROPPED_FROM:
            for relation in _meant(change, parts[:-1]) if len(parts) > 1 else []:
                change.must_manage_rows(relation, what)
        elif kind in _DROPPED_RELATIONS:
            for relation in _meant(change, parts) if parts else []:
                _check_dropped(change, relation)
        elif kind == "OBJECT_SCHEMA":
            _drop_schema(change, strings([item])[0])
        elif kind == "OBJECT_EXTENSION" and node.get("behavior") == "DROP_CASCADE":
            for oid in change.grounds.protected.classified:
                relation = change.catalog.relations[oid]
                raise change.refuse(f"{what} … CASCADE", f"It may reach {full_name(relation)}.", "Leave CASCADE out.")


def _check_dropped(change: SchemaChange, relation: Relation) -> None:
    role = change.state.role
    if role is None or not role.ddl:
        # It may drop temporary tables; one of this name can be gone by then (ON COMMIT DROP).
        raise change.refuse(
            f"{change.facts.tag} of a name that {full_name(relation)} bears too",
            "It is protected.",
            "Write pg_temp before the name of the temporary table.",
        )
    _check_ground(change, relation, change.facts.tag)
    check_chosen(change, relation, change.facts.tag)


def _drop_schema(change: SchemaChange, schema: str) -> None:
    protected = change.grounds.protected
    for oid in sorted(protected.sources | protected.classified.keys() | protected.managed.keys()):
        relation = change.catalog.relations[oid]
        if relation.schema == schema:
            _check_ground(change, relation, f"{change.facts.tag} SCHEMA")
            check_chosen(change, relation, change.facts.tag)


def _check_ground(change: SchemaChange, relation: Relation, what: str) -> None:
    change.must_manage(kinds_of(change.policy, name_of(relation)), full_name(relation), what)
    change.must_manage_rows(relation, what)


def check_truncate(change: SchemaChange, relation: Relation) -> None:
    """Raises Refused (42501) where TRUNCATE would empty what only managing roles change, by CASCADE too, or a partition
    that hidden values chose the rows of."""
    if change.state.role is not None and change.state.role.code:
        return
    emptied = {relation.oid}
    pending = family(change.catalog, relation.oid) or [relation]
    check_chosen(change, relation, change.facts.tag)
    cascades = change.facts.statement.node.get("behavior") == "DROP_CASCADE"
    while pending:
        one = pending.pop()
        change.must_manage_rows(one, change.facts.tag)
        others = [change.catalog.relations.get(key.relation) for key in one.referenced_by] if cascades else []
        for other in others:
            if other is not None and other.oid not in emptied:
                emptied.add(other.oid)
                check_chosen(change, other, change.facts.tag)
                pending += family(change.catalog, other.oid)


# --- code -------------------------------------------------------------------------------------------------------------


def _trigger(change: SchemaChange) -> None:
    node = change.facts.statement.node
    relation = change.relation(node.get("relation"))
    if relation is None or not change.protects(relation):
        return
    change.must_manage_rows(relation, change.facts.tag)
    name = split(strings(node.get("funcname")))
    call = FunctionName(name.schema, name.name, 0, {})
    path = tuple(schema for schema in change.state.path() if schema != TEMPORARY)
    trust = change.grounds.trust
    if not trust.candidates(call, path) or trust.call(call, path):
        raise untrusted("function", [str(call)], change.state, through=f", and it would run for {full_name(relation)}")
    when = node.get("whenClause")
    rows = {tuple(strings(one.get("fields"))) for one in of_type(when, "ColumnRef")} & {("old",), ("new",)}
    names = {EVERY} if rows else mentioned(when) - {"old", "new"}
    change.must_see(relation, names, "the WHEN of a trigger")


def _rule(change: SchemaChange) -> None:
    for relation in change.protected:
        raise denied(
            f"{change.facts.tag} over the protected table {full_name(relation)} is not available",
            detail="A rule rewrites statements after they were judged.",
            way_out="Use a trigger with a trusted function.",
            policy=change.policy,
        )


def _row_security(change: SchemaChange) -> None:
    node = change.facts.statement.node
    own = change.relation(node.get("table"))
    if own is not None and change.protects(own):
        change.must_manage_rows(own, change.facts.tag)
        change.must_see(own, mentioned(node.get("qual"), node.get("with_check")), "a row security policy")
    for relation in change.protected:
        if relation is not own:
            change.must_see(relation, {EVERY}, "a row security policy")


# --- types ------------------------------------------------------------------------------------------------------------


def _domain(change: SchemaChange) -> None:
    """ALTER DOMAIN holds the stored values of every column of the domain against a constraint."""
    node = change.facts.statement.node
    if node.get("subtype") not in ("C", "O", "V"):
        return
    for oid in change.grounds.protected.classified:
        relation = change.catalog.relations[oid]
        own = {column.name for column in relation.columns if column.type_oid >= FIRST_NORMAL_OBJECT_ID}
        if own:
            change.must_see(relation, own, change.facts.tag)


def _enum(change: SchemaChange) -> None:
    """Another label for an enum's value is another account state."""
    node = change.facts.statement.node
    if "oldVal" not in node:
        return
    named = {one.oid for one in change.catalog.types_named.get(strings(node.get("typeName"))[-1], ())}
    for oid, managed in change.grounds.protected.managed.items():
        relation = change.catalog.relations[oid]
        for name, kinds in managed.columns.items():
            column = relation.column(name)
            if column is not None and named & {column.type_oid, column.base_type}:
                change.must_manage(kinds, f"{full_name(relation)}.{name}", change.facts.tag)
        if managed.rows and any(named & {column.type_oid, column.base_type} for column in relation.columns):
            change.must_manage(managed.rows, full_name(relation), change.facts.tag)


_CHECKS: dict[str, Callable[[SchemaChange], None]] = {
    "AlterTableStmt": check_alter,
    "IndexStmt": _index,
    "CreateStatsStmt": _statistics,
    "CreateStmt": _create_table,
    "CreateTableAsStmt": check_copy,
    "SelectStmt": check_copy,
    "ViewStmt": check_view,
    "RefreshMatViewStmt": check_refresh,
    "RenameStmt": check_rename,
    "AlterObjectSchemaStmt": check_set_schema,
    "DropStmt": _drop,
    "CreateTrigStmt": _trigger,
    "RuleStmt": _rule,
    "CreatePolicyStmt": _row_security,
    "AlterPolicyStmt": _row_security,
    "ClusterStmt": _cluster,
    "ReindexStmt": _reindex,
    "AlterDomainStmt": _domain,
    "AlterEnumStmt": _enum,
}
