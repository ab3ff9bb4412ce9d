"""What a statement changes in the session when it completes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.sql.definitions import into_clause
from proxy.sql.grammar import Node, Statement, Token
from proxy.sql.quote import identifier
from proxy.sql.statements import KINDS, Family
from proxy.sql.tree import constant, literal_of, strings
from proxy.verdict import (
    Begin,
    ChangeCatalog,
    CloseCursor,
    Commit,
    CreateRelation,
    Deallocate,
    Declare,
    DiscardAll,
    DropRelation,
    Effect,
    Isolate,
    Prepare,
    Release,
    ResetAll,
    Rollback,
    RollbackTo,
    Savepoint,
    SetSetting,
)

TRACKED = frozenset(
    {
        "consentry.purpose",
        "consentry.actor",
        "consentry.subject",
        "consentry.notify",
        "search_path",
        "role",
        "session_authorization",
    }
)
"""Settings whose value the decisions depend on. Other settings are the upstream's matter alone."""

_HOLD = 0x0020
"""CURSOR_OPT_HOLD (parsenodes.h)."""

_ISOLATION = {"transaction_isolation": False, "default_transaction_isolation": True}
"""Whether a setting of the isolation level is that of the session."""

_NO_CODE = frozenset(
    {
        "IndexStmt",
        "ReindexStmt",
        "ClusterStmt",
        "CreateSeqStmt",
        "AlterSeqStmt",
        "CreateSchemaStmt",
        "CreateEnumStmt",
        "AlterEnumStmt",
        "RefreshMatViewStmt",
        "CreateStatsStmt",
        "AlterStatsStmt",
        "CommentStmt",
        "GrantStmt",
        "GrantRoleStmt",
        "AlterDefaultPrivilegesStmt",
        "CreateRoleStmt",
        "AlterRoleStmt",
        "DropRoleStmt",
    }
)
"""DDL that makes nothing which later statements would run, beside plain CREATE TABLE and DROP."""


@dataclass(frozen=True, slots=True)
class SettingChange:
    """SET, RESET or set_config of one setting, tracked or not. ``value`` None: back to the start value.

    ``name`` is folded to lower case, as PostgreSQL compares setting names. A list is kept as PostgreSQL would store it.
    """

    name: str
    value: str | None
    local: bool


def setting_change(node: Node) -> SettingChange | None:
    """The change that a VariableSetStmt makes, None for SET TRANSACTION and RESET ALL."""
    kind = node["kind"]
    if kind not in ("VAR_SET_VALUE", "VAR_SET_DEFAULT", "VAR_RESET"):
        return None
    name = node["name"].lower()
    local = bool(node.get("is_local"))
    if kind != "VAR_SET_VALUE":
        return SettingChange(name, None, local)
    values = [constant(argument) or "" for argument in node.get("args", ())]
    if name == "search_path":
        return SettingChange(name, ", ".join(identifier(value) for value in values), local)
    return SettingChange(name, ", ".join(values), local)


_BOOLEANS = {"true": True, "t": True, "on": True, "false": False, "f": False, "off": False}
"""The spellings of booleans that are read here; PostgreSQL knows more, and they are refused."""


def set_config(node: Node) -> SettingChange | None:
    """The change that ``SELECT set_config('name', 'value', local)`` makes, if the SELECT is nothing but that."""
    targets = node.get("targetList", [])
    if set(node) - {"targetList", "limitOption", "op"} or len(targets) != 1:
        return None
    call = targets[0].get("ResTarget", {}).get("val", {}).get("FuncCall")
    if call is None or strings(call.get("funcname"))[-1:] != ("set_config",):
        return None
    if set(call) - {"funcname", "args", "funcformat", "location"}:
        return None
    arguments = [literal_of(argument) for argument in call.get("args", ())]
    if len(arguments) != 3 or None in arguments or arguments[2] not in _BOOLEANS:
        return None
    name, value, local = arguments
    assert name is not None and value is not None and local is not None  # noqa: S101 - just tested
    return SettingChange(name.lower(), value, _BOOLEANS[local])


def effects(statement: Statement, query: bytes, tokens: list[Token]) -> tuple[Effect, ...]:
    """Every effect of one statement, in order. ``tokens`` are the statement's own."""
    match statement.kind:
        case "VariableSetStmt":
            return _set(statement.node)
        case "SelectStmt":
            return _select(statement.node)
        case "TransactionStmt":
            return _transaction(statement.node)
        case "DiscardStmt":
            return (DiscardAll(),) if statement.node.get("target") == "DISCARD_ALL" else _discard(statement.node)
        case "PrepareStmt":
            return (Prepare(statement.node["name"], _prepared_text(query, tokens)),)
        case "DeallocateStmt":
            return (Deallocate(None if statement.node.get("isall") else statement.node["name"]),)
        case "DeclareCursorStmt":
            text = query[tokens[0].start : tokens[-1].end].decode("utf-8")
            return (Declare(statement.node["portalname"], text, bool(statement.node.get("options", 0) & _HOLD)),)
        case "ClosePortalStmt":
            return (CloseCursor(statement.node.get("portalname")),)
        case kind if kind == "ExplainStmt" or KINDS.get(kind, (None,))[0] in (Family.DDL, Family.CODE):
            return _ddl(statement, query)
        case _:
            return ()


def _ddl(statement: Statement, query: bytes) -> tuple[Effect, ...]:
    # TEMPORARY, TEMP, pg_temp: without one of them what is made is temporary only if it is made of such things.
    temporary = b"temp" in query.lower()
    if statement.kind == "ExplainStmt":
        # EXPLAIN (ANALYZE) makes the table; without it there is just nothing new to be found.
        return (ChangeCatalog(temporary=temporary),) if "CreateTableAsStmt" in statement.node["query"] else ()
    if statement.kind in ("CreateStmt", "CreateTableAsStmt", "DropStmt"):
        return (*_relations(statement), ChangeCatalog(temporary=temporary))
    return (ChangeCatalog(_makes_code(statement), temporary),)


def _makes_code(statement: Statement) -> bool:
    """It may bring something that later statements would run, or another meaning for a name that is known."""
    node = statement.node
    if statement.kind == "AlterTableStmt":
        subtypes = {item["AlterTableCmd"].get("subtype") for item in node.get("cmds", ())}
        return not subtypes <= _PLAIN_ALTERATIONS
    if statement.kind == "RenameStmt":
        return node.get("renameType") != "OBJECT_COLUMN"
    return statement.kind not in _NO_CODE


_PLAIN_ALTERATIONS = frozenset(
    {
        "AT_AddColumn",
        "AT_DropColumn",
        "AT_ColumnDefault",
        "AT_SetNotNull",
        "AT_DropNotNull",
        "AT_AddConstraint",
        "AT_DropConstraint",
        "AT_ValidateConstraint",
        "AT_AddIndex",
        "AT_SetStatistics",
        "AT_SetOptions",
        "AT_ResetOptions",
        "AT_SetStorage",
        "AT_SetRelOptions",
        "AT_ResetRelOptions",
        "AT_ChangeOwner",
        "AT_AddIdentity",
        "AT_SetIdentity",
        "AT_DropIdentity",
        "AT_AlterColumnType",
        "AT_SetCompression",
        "AT_SetLogged",
        "AT_SetUnLogged",
        "AT_SetTableSpace",
        "AT_ClusterOn",
        "AT_DropCluster",
        "AT_ReplicaIdentity",
    }
)
"""Forms of ALTER TABLE whose functions stand in the statement itself, where they are judged."""


def _set(node: Node) -> tuple[Effect, ...]:
    if node["kind"] == "VAR_RESET_ALL":
        return (ResetAll(),)
    if node["kind"] == "VAR_SET_MULTI":
        return _isolation(node.get("args", ()), session=node["name"] == "SESSION CHARACTERISTICS")
    return _tracked(setting_change(node))


def _isolation(options: Sequence[Node], *, session: bool) -> tuple[Effect, ...]:
    """The isolation level among the options of BEGIN, SET TRANSACTION or SET SESSION CHARACTERISTICS."""
    found = [option["DefElem"] for option in options if "DefElem" in option]
    levels = [constant(one["arg"]) for one in found if one.get("defname") == "transaction_isolation"]
    return tuple(Isolate(level, session) for level in levels)


def _tracked(change: SettingChange | None) -> tuple[Effect, ...]:
    if change is not None and change.name in _ISOLATION:
        return (Isolate(None if change.value is None else change.value.lower(), _ISOLATION[change.name]),)
    if change is None or change.name not in TRACKED:
        return ()
    return (SetSetting(change.name, change.value, change.local),)


def _select(node: Node) -> tuple[Effect, ...]:
    into = into_clause("SelectStmt", node)
    if into is not None:
        return (_created(into["rel"], into.get("onCommit", "")), ChangeCatalog())
    return _tracked(set_config(node))


def _transaction(node: Node) -> tuple[Effect, ...]:
    chain = bool(node.get("chain"))
    name = node.get("savepoint_name", "")
    match node["kind"]:
        case "TRANS_STMT_BEGIN" | "TRANS_STMT_START":
            return (Begin(), *_isolation(node.get("options", ()), session=False))
        case "TRANS_STMT_COMMIT":
            return (Commit(chain),)
        case "TRANS_STMT_PREPARE":
            return (Commit(),)
        case "TRANS_STMT_ROLLBACK":
            return (Rollback(chain),)
        case "TRANS_STMT_SAVEPOINT":
            return (Savepoint(name),)
        case "TRANS_STMT_RELEASE":
            return (Release(name),)
        case "TRANS_STMT_ROLLBACK_TO":
            return (RollbackTo(name),)
        case _:
            # COMMIT PREPARED may bring DDL of a transaction that was prepared.
            return (ChangeCatalog(redirects=True),)


def _discard(node: Node) -> tuple[Effect, ...]:
    return (ChangeCatalog(),) if node.get("target") == "DISCARD_TEMP" else ()


def _prepared_text(query: bytes, tokens: list[Token]) -> str:
    """The statement after the AS of PREPARE (a parameter's type cannot hold that keyword)."""
    start = next(token.end for token in tokens if token.kind == "AS")
    return query[start : tokens[-1].end].decode("utf-8").strip()


def _created(relation: Node, oncommit: str = "") -> CreateRelation:
    schema = relation.get("schemaname")
    temporary = relation.get("relpersistence") == "t" or schema == "pg_temp"
    passing = oncommit == "ONCOMMIT_DROP"
    return CreateRelation(None if temporary else schema, relation["relname"], temporary, passing)


def _relations(statement: Statement) -> tuple[Effect, ...]:
    node = statement.node
    if statement.kind == "CreateStmt":
        return (_created(node["relation"], node.get("oncommit", "")),)
    if statement.kind == "CreateTableAsStmt":
        return (_created(node["into"]["rel"], node["into"].get("onCommit", "")),)
    if node.get("removeType") not in ("OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_FOREIGN_TABLE"):
        return ()
    dropped: list[Effect] = []
    for item in node.get("objects", ()):
        parts = strings(item.get("List", {}).get("items"))
        if parts:
            dropped.append(DropRelation(parts[-2] if len(parts) > 1 else None, parts[-1]))
    return tuple(dropped)
