"""The forms of ALTER TABLE on protected tables. What is not known here is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from proxy.catalog.model import Column, Relation
from proxy.engine.classification import inherits
from proxy.engine.laundering import Destination, Flowing, check_flows
from proxy.engine.moves import check_joining, check_leaving, kinship, typed_tables
from proxy.engine.refusals import denied
from proxy.engine.schema_change import SchemaChange, full_name
from proxy.engine.secured import Viewer, look
from proxy.masks import unfit
from proxy.policy.model import Use
from proxy.sql.definitions import EVERY, constraints, elements, mentioned
from proxy.sql.grammar import Node
from proxy.sql.tree import strings

_HARMLESS = frozenset(
    {
        "AT_SetStatistics",
        "AT_SetOptions",
        "AT_ResetOptions",
        "AT_SetStorage",
        "AT_SetCompression",
        "AT_SetRelOptions",
        "AT_ResetRelOptions",
        "AT_SetLogged",
        "AT_SetUnLogged",
        "AT_SetTableSpace",
        "AT_SetAccessMethod",
        "AT_DropCluster",
        "AT_ChangeOwner",
    }
)
"""They change neither rows nor what rows may be; they pass on consent and account sources too."""

_LOOSENING = frozenset(
    {
        "AT_DropNotNull",
        "AT_DropConstraint",
        "AT_AddIdentity",
        "AT_SetIdentity",
        "AT_DropIdentity",
        "AT_ReplicaIdentity",
        "AT_EnableTrig",
        "AT_EnableAlwaysTrig",
        "AT_EnableReplicaTrig",
        "AT_DisableTrig",
        "AT_EnableTrigAll",
        "AT_DisableTrigAll",
        "AT_EnableTrigUser",
        "AT_DisableTrigUser",
        "AT_EnableRule",
        "AT_EnableAlwaysRule",
        "AT_EnableReplicaRule",
        "AT_DisableRule",
        "AT_EnableRowSecurity",
        "AT_DisableRowSecurity",
        "AT_ForceRowSecurity",
        "AT_NoForceRowSecurity",
    }
)
"""They judge no stored value; triggers and rules are judged where they fire."""


def check_alter(change: SchemaChange) -> None:
    """Raises Refused for a command of ALTER TABLE that may not be carried out."""
    node = change.facts.statement.node
    relation = change.relation(node.get("relation"))
    for item in node.get("cmds", ()):
        command = item["AlterTableCmd"]
        subtype = command["subtype"]
        if node.get("objtype") == "OBJECT_TYPE" and command.get("behavior") == "DROP_CASCADE":
            raise typed_tables(change)
        if subtype in ("AT_AddInherit", "AT_DropInherit", "AT_AttachPartition") or subtype.startswith("AT_Detach"):
            _inheritance(change, node["relation"], command)
        elif relation is None or (subtype in _HARMLESS and not _is_plain_storage(command)):
            continue
        else:
            _alter(change, relation, subtype, command)


def _alter(change: SchemaChange, relation: Relation, subtype: str, command: Node) -> None:
    name = command.get("name", "")
    if subtype != "AT_AddColumn":
        change.must_manage_rows(relation, change.facts.tag)
    if subtype in _ON_COLUMNS:
        change.must_manage_columns(
            relation, [name or command.get("def", {}).get("ColumnDef", {}).get("colname", "")], change.facts.tag
        )
    if subtype in _LOOSENING:
        return
    if subtype in ("AT_AlterColumnType", "AT_SetExpression"):
        _evaluated_again(change, relation, name)
    check = _CHECKS.get(subtype)
    if check is not None:
        check(change, relation, command)
    elif change.protects(relation):
        raise change.refuse(
            f"this form of {change.facts.tag}",
            f"It concerns the protected table {full_name(relation)}.",
            "Do it on a connection that does not go through consentry.",
        )


def _inheritance(change: SchemaChange, altered: Node, command: Node) -> None:
    pair = kinship(change, altered, command)
    if pair is None:
        return
    what = _INHERITANCE.get(command["subtype"], "DETACH PARTITION")
    if command["subtype"] in ("AT_AddInherit", "AT_AttachPartition"):
        check_joining(change, pair, what)
    else:
        check_leaving(change, pair, what)


_INHERITANCE = {"AT_AddInherit": "INHERIT", "AT_DropInherit": "NO INHERIT", "AT_AttachPartition": "ATTACH PARTITION"}


# --- columns ----------------------------------------------------------------------------------------------------------


def _add_column(change: SchemaChange, relation: Relation, command: Node) -> None:
    definition = command["def"]["ColumnDef"]
    own = definition["colname"]
    kinds = {one["contype"] for one in constraints(definition)}
    for one in constraints(definition):
        if one["contype"] == "CONSTR_GENERATED":
            _generated(change, relation, one.get("raw_expr"))
        elif one["contype"] == "CONSTR_NOTNULL" and not kinds & {"CONSTR_DEFAULT", "CONSTR_IDENTITY"}:
            change.must_see(relation, (), "ADD COLUMN NOT NULL")
        else:
            check_constraint(change, relation, one, own)


def _generated(change: SchemaChange, relation: Relation, expression: object) -> None:
    change.must_see(relation, mentioned(expression), "a generated column")


def _set_expression(change: SchemaChange, relation: Relation, command: Node) -> None:
    _generated(change, relation, command.get("def"))


def _drop_expression(change: SchemaChange, relation: Relation, command: Node) -> None:
    """What was generated stays as stored values of a column that nothing derives any more."""
    for member in change.members(relation):
        classification = change.classification(member)
        if inherits(member, command["name"], classification):
            raise denied(
                f"DROP EXPRESSION would keep what {full_name(member)}.{command['name']} was made of,"
                " and it is not classified",
                way_out="Classify the column in the policy first.",
                policy=change.policy,
            )


def _set_not_null(change: SchemaChange, relation: Relation, command: Node) -> None:
    change.must_see(relation, {command["name"]}, "SET NOT NULL")


def _evaluated_again(change: SchemaChange, relation: Relation, column: str) -> None:
    """Every row is held again against the checks and indexes that the column has a say in, with other columns."""
    for member in change.members(relation):
        for one in member.evaluations:
            if one.columns & {column, ""}:
                names = {name or EVERY for name in one.columns} - {column}
                change.must_see(member, names, f"{change.facts.tag} of a column in {one.kind} {one.name}".rstrip())


def _is_plain_storage(command: Node) -> bool:
    """Values of the column stay in their rows whatever their length, so that these may not fit into a page beside
    others of unknown length."""
    storage = command.get("def", {}).get("String", {}).get("sval", "")
    return bool(command["subtype"] == "AT_SetStorage" and str(storage).lower() == "plain")


def _storage(change: SchemaChange, relation: Relation, command: Node) -> None:  # noqa: ARG001 - as the others
    change.must_see(relation, {EVERY}, "SET STORAGE PLAIN")


def _default(change: SchemaChange, relation: Relation, command: Node) -> None:
    """A default of a column in a unique key is held against stored values, by whoever inserts without it."""
    name = command["name"]
    unique = {
        column
        for member in change.members(relation)
        for one in member.evaluations
        if one.unique
        for column in one.columns
    }
    if "def" in command and unique & {name, ""}:
        change.must_see(relation, {name}, "a default in a unique key", Use.WRITE)


def _set_type(change: SchemaChange, relation: Relation, command: Node) -> None:
    name, definition = command["name"], command["def"]["ColumnDef"]
    using = definition.get("raw_default")
    sources = {name} if using is None else set(mentioned(using))
    change.must_see(relation, sources | {name}, "ALTER COLUMN TYPE", Use.EXPORT)
    for member in change.members(relation):
        _set_type_of(change, member, name, sources, definition["typeName"])


def _set_type_of(change: SchemaChange, relation: Relation, name: str, sources: set[str], type_name: Node) -> None:
    source = change.classification(relation).get(name)
    column = relation.column(name)
    level = None if source is None else source.sensitivity(change.policy)
    check_flows(_flowing(change, relation, sources), Destination(f"{full_name(relation)}.{name}", level), change.policy)
    if source is None or column is None or inherits(relation, name, change.classification(relation)):
        return
    changed = _typed(column, type_name)
    for one in source.all:
        mask = change.policy.tables[one.table].columns[one.column].mask
        why = "its new type is not known here" if changed is None else unfit(mask, changed)
        if why is not None:
            raise change.refuse(
                f"this type of the classified column {full_name(relation)}.{name}",
                f"Its mask is {mask.kind}: {why}.",
                "Change the mask in the policy first.",
            )


def _flowing(change: SchemaChange, relation: Relation, names: set[str]) -> list[Flowing]:
    classification = change.classification(relation)
    purpose = change.state.purpose(change.facts.purpose)
    state = change.state
    viewer = Viewer(state.policy, state.context.role, purpose, state.subject, change.grounds.now, Use.EXPORT)
    decisions = look(viewer, relation, classification).decisions
    every = EVERY in names or (relation.name in names and not relation.column(relation.name))
    return [Flowing(f"{full_name(relation)}.{name}", one) for name, one in decisions.items() if every or name in names]


_TYPES: dict[str, tuple[int, str]] = {
    "text": (25, "S"),
    "varchar": (1043, "S"),
    "bpchar": (1042, "S"),
    "int2": (21, "N"),
    "int4": (23, "N"),
    "int8": (20, "N"),
    "numeric": (1700, "N"),
    "float4": (700, "N"),
    "float8": (701, "N"),
    "date": (1082, "D"),
    "timestamp": (1114, "D"),
    "timestamptz": (1184, "D"),
    "bool": (16, "B"),
    "uuid": (2950, "U"),
    "jsonb": (3802, "U"),
    "json": (114, "U"),
    "bytea": (17, "U"),
}
"""PostgreSQL's own types that a classified column may be given: OID and category (pg_type.dat)."""


def _typed(column: Column, type_name: Node) -> Column | None:
    """``column`` with another type, without its modifier; None for a type that is not known."""
    parts = strings(type_name.get("names"))
    found = _TYPES.get(parts[-1]) if parts and parts[:-1] in ((), ("pg_catalog",)) else None
    if found is None or type_name.get("arrayBounds") or type_name.get("setof"):
        return None
    oid, category = found
    plain = f"pg_catalog.{parts[-1]}"
    return replace(
        column, type_oid=oid, base_type=oid, type_category=category, type_sql=plain, base_sql=plain, typmod=-1,
        base_typmod=-1, is_enum=False, is_domain=False,
    )  # fmt: skip


# --- constraints ------------------------------------------------------------------------------------------------------


def check_constraint(change: SchemaChange, relation: Relation | None, constraint: Node, own: str = "") -> None:
    """A constraint judges what is stored, and what will be. ``relation`` None: a new table, which holds nothing.

    ``own``: the column that is added with it.
    """
    kind = constraint["contype"]
    match kind:
        case "CONSTR_CHECK":
            change.must_see(relation, mentioned(constraint.get("raw_expr")) - {own}, "a CHECK constraint")
        case "CONSTR_UNIQUE" | "CONSTR_PRIMARY":
            keys = set(strings(constraint.get("keys"))) | set(strings(constraint.get("including")))
            named = {EVERY} if "indexname" in constraint else keys - {own}
            change.must_see(relation, named, "a unique constraint")
        case "CONSTR_EXCLUSION":
            excluded = [pair["List"]["items"][0] for pair in constraint.get("exclusions", ())]
            names = elements(excluded) | mentioned(constraint.get("where_clause"))
            change.must_see(relation, names, "an exclusion constraint")
        case "CONSTR_FOREIGN":
            _foreign_key(change, relation, constraint, own)
        case "CONSTR_NOTNULL":
            change.must_see(relation, set(strings(constraint.get("keys"))) - {own}, "a NOT NULL constraint")
        case _:
            return


def _foreign_key(change: SchemaChange, relation: Relation | None, constraint: Node, own: str) -> None:
    change.must_see(relation, set(strings(constraint.get("fk_attrs"))) - {own}, "a foreign key")
    referenced = change.relation(constraint.get("pktable"))
    if referenced is None or not change.protects(referenced):
        return
    # Without a list it is the primary key, which is one of the unique keys.
    keys = set(strings(constraint.get("pk_attrs"))) or {name for key in referenced.unique_keys for name in key}
    change.must_see(referenced, keys, "a foreign key to it")


def _add_constraint(change: SchemaChange, relation: Relation, command: Node) -> None:
    check_constraint(change, relation, command["def"]["Constraint"])


def _judge_all(change: SchemaChange, relation: Relation, command: Node) -> None:
    change.must_see(relation, {EVERY}, _WORDS[command["subtype"]])


_WORDS = {
    "AT_ValidateConstraint": "VALIDATE CONSTRAINT",
    "AT_AlterConstraint": "ALTER CONSTRAINT",
    "AT_ClusterOn": "CLUSTER ON",
}


def _options(change: SchemaChange, relation: Relation, command: Node) -> None:
    shown = ".".join(part for part in (full_name(relation), command.get("name")) if part)
    raise denied(
        f"{change.facts.tag} … OPTIONS says what {shown} shows",
        way_out="Only a role with code: true in the policy may use it.",
        policy=change.policy,
    )


def _nothing(change: SchemaChange, relation: Relation, command: Node) -> None:
    """It concerns new rows alone."""


_CHECKS: dict[str, Callable[[SchemaChange, Relation, Node], None]] = {
    "AT_AddColumn": _add_column,
    "AT_ColumnDefault": _default,
    "AT_SetStorage": _storage,
    "AT_SetExpression": _set_expression,
    "AT_DropExpression": _drop_expression,
    "AT_DropColumn": _nothing,
    "AT_SetNotNull": _set_not_null,
    "AT_AlterColumnType": _set_type,
    "AT_AddConstraint": _add_constraint,
    "AT_ValidateConstraint": _judge_all,
    "AT_AlterConstraint": _judge_all,
    "AT_ClusterOn": _judge_all,
    "AT_GenericOptions": _options,
    "AT_AlterColumnGenericOptions": _options,
}

_ON_COLUMNS = frozenset(
    {
        "AT_AddColumn",
        "AT_ColumnDefault",
        "AT_SetExpression",
        "AT_DropExpression",
        "AT_DropColumn",
        "AT_AlterColumnType",
        "AT_AddIdentity",
        "AT_SetIdentity",
        "AT_DropIdentity",
    }
)
"""They change what a column holds."""
