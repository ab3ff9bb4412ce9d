"""The closed world of statements: may this kind be used by this role, with these functions, operators and settings?"""

from __future__ import annotations

import re

from proxy.catalog.model import TEMPORARY
from proxy.engine.parameters import check_setting
from proxy.engine.refusals import ValueDecides, denied, undefined_function, unsupported
from proxy.engine.role_names import check_roles
from proxy.engine.search_path import find
from proxy.engine.session_state import SessionState
from proxy.engine.trust import Trust
from proxy.errors import FEATURE_NOT_SUPPORTED, Refusal, Refused
from proxy.sql.definitions import into_clause
from proxy.sql.effects import set_config, setting_change
from proxy.sql.facts import Facts
from proxy.sql.names import FunctionName
from proxy.sql.statements import KINDS, Family
from proxy.sql.tree import literal_of, strings
from proxy.verdict import CreateRelation, DropRelation

_VALUE_CATALOGS = re.compile(
    r"pg_stats(_ext(_exprs)?)?|pg_statistic(_ext_data)?|pg_largeobject|pg_stat_.*|pg_statio_.*|pg_locks"
    r"|pg_prepared_statements|pg_cursors|pg_replication_slots|pg_shmem_allocations.*|pg_backend_memory_contexts"
    r"|pg_hba_file_rules|pg_ident_file_mappings|pg_file_settings|pg_aios|pg_authid|pg_shadow|pg_user_mapping(s)?"
    r"|pg_subscription"
)
_VALUE_FREE = frozenset({"pg_stat_ssl", "pg_stat_gssapi"})


def holds_values(schema: str, name: str) -> bool:
    """A system catalog, or view on one, that holds stored values, other sessions' text or counts of rows touched."""
    monitoring = schema == "pg_catalog" or name.startswith("pg_stat_statements")
    return monitoring and name not in _VALUE_FREE and bool(_VALUE_CATALOGS.fullmatch(name))


def check_kind(facts: Facts, state: SessionState) -> None:
    """Raises Refused (42501) unless the session's role may use this kind of statement at all."""
    role = state.role
    code = role is not None and role.code
    family, name = KINDS.get(facts.statement.kind, (Family.CODE, facts.tag))
    if facts.statement.kind not in KINDS:
        raise denied(f"{name} is not available through consentry", policy=state.policy)
    if family is Family.CODE and not code:
        raise denied(
            f"{name} runs code that cannot be analysed",
            way_out="Only a role with code: true in the policy may use it.",
            policy=state.policy,
        )
    into = into_clause(facts.statement.kind, facts.statement.node)
    if into is None and facts.index.of_type("intoClause"):
        if facts.statement.kind == "CopyStmt":
            raise Refused(
                Refusal(FEATURE_NOT_SUPPORTED, "COPY (SELECT INTO) is not supported")
            )  # as PostgreSQL says it
        raise unsupported(f"{facts.tag} of SELECT INTO is not available", way_out="Use CREATE TABLE AS.")
    ddl = family is Family.DDL or into is not None
    ddl = ddl or not _MAKING.isdisjoint(facts.statement.node.get("query", {}))
    if ddl and not (role is not None and role.ddl) and not _only_temporary(facts, state):
        raise denied(
            f"{name if family is Family.DDL else 'SELECT INTO'} changes the schema",
            way_out="Only a role with ddl: true in the policy may use it.",
            policy=state.policy,
        )
    _check_details(facts, state, code)


def _only_temporary(facts: Facts, state: SessionState) -> bool:
    """CREATE TEMP TABLE, and whatever else touches this session's temporary tables only."""
    created = [effect for effect in facts.effects if isinstance(effect, CreateRelation)]
    dropped = [effect for effect in facts.effects if isinstance(effect, DropRelation)]
    if created:
        return all(effect.temporary for effect in created)
    if dropped:
        return all(
            effect.schema in (None, TEMPORARY) and _is_temporary(effect.schema, effect.name, state)
            for effect in dropped
        )
    if facts.statement.kind not in ("IndexStmt", "AlterTableStmt"):
        return False
    return all(
        relation.schema in (None, TEMPORARY) and _is_temporary(relation.schema, relation.name, state)
        for relation in facts.relations
    )


def _is_temporary(schema: str | None, name: str, state: SessionState) -> bool:
    """The name means a temporary relation of the session's."""
    found = find(state.context, state.path(), schema, name)
    return found is not None and found.temporary


def _check_details(facts: Facts, state: SessionState, code: bool) -> None:
    node, policy = facts.statement.node, state.policy
    check_roles(facts, state)
    match facts.statement.kind:
        case kind if kind not in _EXECUTING and has_node(facts, "ExecuteStmt"):
            raise unsupported(f"{facts.tag} of EXECUTE is not available", way_out="Write the statement itself.")
        case "CreateTrigStmt" | "RuleStmt" if not code and _concerns_temporary(facts, state):
            raise denied("triggers and rules on temporary tables are not available", policy=policy)
        case "DefineStmt" | "CreateEnumStmt" | "CreateRangeStmt" | "CreateDomainStmt" | "CompositeTypeStmt" if (
            not code and _in_pg_temp(facts)
        ):
            raise denied("operators, aggregates and types cannot be made in pg_temp", policy=policy)
        case "ExplainStmt" if not node["query"].keys() <= _EXPLAINED:
            raise unsupported("EXPLAIN of this kind of statement is not available")
        case "CopyStmt" if ("filename" in node or node.get("is_program")) and not code:
            raise denied(
                "COPY to or from server files and programs is not available",
                way_out="Use COPY … TO STDOUT or FROM STDIN (\\copy in psql).",
                policy=policy,
            )
        case "ListenStmt" if not policy.trusts_channel(node["conditionname"], state.role):
            raise denied(
                f'LISTEN on channel "{node.get("conditionname")}" is not available',
                detail="A notification carries what triggers put into it, and nobody here can judge that.",
                way_out="Name the channel in channels.trusted of the policy.",
                policy=policy,
            )
        case "VariableSetStmt":
            _check_set(facts, state)
        case "AlterRoleSetStmt" | "AlterDatabaseSetStmt" if not code:
            change = setting_change(node["setstmt"])
            if change is None or change.name.startswith("consentry."):
                raise denied("purposes are declared by sessions, not by roles or databases", policy=policy)
            check_setting(change.name, change.value, policy)


def _concerns_temporary(facts: Facts, state: SessionState) -> bool:
    return any(name.schema == TEMPORARY or _is_temporary(name.schema, name.name, state) for name in facts.relations)


def _in_pg_temp(facts: Facts) -> bool:
    node = facts.statement.node
    names = (node.get("defnames"), node.get("typeName"), node.get("domainname"))
    schemas = {strings(name)[0] for name in names if strings(name)} | {node.get("typevar", {}).get("schemaname", "")}
    return any(schema.startswith("pg_temp") for schema in schemas)


_EXECUTING = frozenset({"ExecuteStmt", "ExplainStmt", "CreateTableAsStmt"})
_MAKING = frozenset({"CreateTableAsStmt", "RefreshMatViewStmt"})
_EXPLAINED = _MAKING | {
    "SelectStmt",
    "InsertStmt",
    "UpdateStmt",
    "DeleteStmt",
    "MergeStmt",
    "DeclareCursorStmt",
    "ExecuteStmt",
}


def _check_set(facts: Facts, state: SessionState) -> None:
    node = facts.statement.node
    if node["kind"] == "VAR_SET_CURRENT":
        raise denied("SET … FROM CURRENT is not available", policy=state.policy)
    change = setting_change(node)
    if change is None:
        return
    check_setting(change.name, change.value, state.policy, code=state.role is not None and state.role.code)
    if change.name == "consentry.purpose" and change.value:
        state.check_declared(change.value, "setting")


def check_names(facts: Facts, state: SessionState, trust: Trust) -> None:
    """Raises Refused (42501; 42883 for what does not exist) for functions, operators and types that may not run."""
    role = state.role
    if facts.functions:
        _check_set_config(facts, state)
    if role is not None and role.code:
        return
    _check_version(facts, state)
    path = tuple(schema for schema in state.path() if schema != "pg_temp")
    if state.context.uncommitted_code and _evaluates(facts):
        raise unsupported(
            "functions, views or triggers were made in this transaction, and cannot be judged before it commits",
            way_out="COMMIT first.",
        )
    for function in facts.functions:
        _check_function(function, facts, state, trust, path)
    for kind, names in (
        ("function", trust.attributes(facts.attributes, path, rows_only=True)),
        ("function", trust.attributes(facts.fields, path, rows_only=False)),
        ("cast function", trust.casts if KINDS[facts.statement.kind][0] is Family.QUERY else []),
        ("operator", trust.operators(facts.operators, path)),
        ("type", trust.types(facts.types, state.path())),
    ):
        if names:
            raise untrusted(kind, names, state)


def _evaluates(facts: Facts) -> bool:
    """It evaluates expressions: whatever was made in this transaction could be among them."""
    if KINDS[facts.statement.kind][0] is Family.QUERY or facts.statement.kind in (
        "CreateTableAsStmt",
        "RefreshMatViewStmt",
    ):
        return True
    ddl = facts.statement.kind in ("IndexStmt", "AlterTableStmt", "CreateStatsStmt")
    return ddl and bool(facts.functions or facts.operators or facts.index.of_type("TypeCast"))


_NEWER: dict[str, int] = {
    **dict.fromkeys(("JsonScalarExpr", "JsonSerializeExpr", "JsonParseExpr", "JsonFuncExpr", "JsonTable"), 17),
    "MergeSupportFunc": 17,
    **dict.fromkeys(("JsonObjectConstructor", "JsonArrayConstructor", "JsonArrayQueryConstructor"), 16),
    **dict.fromkeys(("JsonObjectAgg", "JsonArrayAgg", "JsonIsPredicate"), 16),
}
"""Nodes of the grammar that read as calls of functions, maybe of users, on a server older than this major version."""


def _check_version(facts: Facts, state: SessionState) -> None:
    version = state.context.catalog.server_version
    version = version // 10000 if version >= 10000 else version
    for node, since in _NEWER.items():
        if version < since and facts.index.of_type(node):
            raise unsupported(f"the statement uses SQL of PostgreSQL {since}, and the upstream is older")


def untrusted(kind: str, names: list[str], state: SessionState, through: str = "") -> Exception:
    """The refusal of code that is not trusted."""
    return denied(
        f"{kind} {', '.join(names)} is not trusted{through}",
        detail="It runs code that could read or show personal information as it is stored.",
        way_out="Name the function in functions.trusted of the policy.",
        policy=state.policy,
    )


def _check_function(
    function: FunctionName, facts: Facts, state: SessionState, trust: Trust, path: tuple[str, ...]
) -> None:
    if function.schema in ("pg_temp",) or (function.schema or "").startswith("pg_temp_"):
        raise untrusted("function", [str(function)], state)
    names = trust.call(function, path)
    if names and not (names == [f"pg_catalog.{function.name}"] and _reads_builtin_type(function, state)):
        raise untrusted("function", names, state)
    types = trust.arguments(function, path)
    if types:
        raise untrusted("the conversion to", types, state)
    if not trust.candidates(function, path) and not _is_column(function, facts, state):
        raise undefined_function(str(function), facts.position(function.location))


_INPUT_TRIALS = frozenset({"pg_input_is_valid", "pg_input_error_info"})
LITERALS_DECIDE = _INPUT_TRIALS | {"set_config"}
"""Functions that may run or not by the literals that they are given."""


def _reads_builtin_type(function: FunctionName, state: SessionState) -> bool:
    """``pg_input_is_valid('…', 'int4')``: the type that is named as data is one of PostgreSQL's own."""
    arguments = function.node.get("args", ())
    if function.name not in _INPUT_TRIALS or len(arguments) != 2:
        return False
    named = _TYPE_AS_DATA.fullmatch(literal_of(arguments[1]) or "")
    if named is None or named[1] in state.context.catalog.types_named:
        return False
    return named[1] in BUILTIN_TYPES | _MORE_TYPES and not named[1].startswith("reg")


_TYPE_AS_DATA = re.compile(r"\s*([a-z_][a-z0-9_]*)\s*(?:\([\d\s,]*\)\s*)?(?:\[\s*\d*\s*\]\s*)*")
_MORE_TYPES = frozenset(
    {"int2vector", "oidvector", "bigint", "boolean", "decimal", "int", "integer", "real", "smallint"}
)


def _is_column(function: FunctionName, facts: Facts, state: SessionState) -> bool:
    """``name(row)`` may also mean ``row.name``, and ``type(value)`` a cast (parse_func.c, ParseFuncOrColumn)."""
    if function.schema is not None or function.arguments != 1:
        return False
    if function.name in BUILTIN_TYPES or function.name in state.context.catalog.types_named:
        return True
    path = state.path()
    found = [find(state.context, path, relation.schema, relation.name) for relation in facts.relations]
    # Of a temporary table nothing but its name may be known.
    return any(one is not None and (not one.oid or one.column(function.name) is not None) for one in found)


BUILTIN_TYPES = frozenset(
    """
    bit bool bpchar bytea box char cidr circle date daterange datemultirange float4 float8 inet int2 int4 int8
    int4range int8range int4multirange int8multirange interval json jsonb jsonpath line lseg macaddr macaddr8
    money name numeric numrange nummultirange oid path pg_lsn pg_snapshot point polygon regclass regcollation
    regconfig regdictionary regnamespace regoper regoperator regproc regprocedure regrole regtype text tid
    time timestamp timestamptz timetz tsquery tsrange tsmultirange tstzrange tstzmultirange tsvector
    txid_snapshot uuid varbit varchar xid xid8 xml
    """.split()
)
"""Built-in types: with one argument, their names may be written as functions."""


def _check_set_config(facts: Facts, state: SessionState) -> None:
    """set_config of what decisions depend on stands alone in its SELECT, with literals; its name is never computed."""
    for call in facts.functions:
        if call.name != "set_config":
            continue
        arguments = call.node.get("args", [])
        name = (literal_of(arguments[0]) if arguments else None) or _looked_up(facts, call)
        if name is None:
            raise denied(
                "set_config with a computed name is not available",
                way_out="Write the parameter's name as a literal.",
                policy=state.policy,
            )
        value = literal_of(arguments[1]) if len(arguments) > 1 else None
        folded = name.lower()
        sole = set_config(facts.statement.node) if facts.statement.kind == "SelectStmt" else None
        tracked = folded.startswith("consentry.") or folded in ("search_path", "role", "session_authorization")
        bound = folded in ("client_encoding", "standard_conforming_strings", "client_min_messages")
        if (tracked or bound) and sole is None:
            refused = denied(
                f'set_config of "{name}" must stand alone in its SELECT, with literal arguments',
                way_out=f"Write SELECT set_config('{folded}', 'value', false), or SET.",
                policy=state.policy,
            )
            place = None if folded.startswith("consentry.") else _bound_value(facts, call)
            raise refused if place is None else ValueDecides(refused.refusal, place)
        check_setting(folded, value, state.policy, code=state.role is not None and state.role.code)
        if folded == "consentry.purpose" and value:
            state.check_declared(value, "setting")


_PARAMETER = re.compile(rb"\$0*1(?!\d)")
_SOME_VALUE: dict[str, object] = {"A_Const": {"sval": {"sval": "value"}}}


def _bound_value(facts: Facts, call: FunctionName) -> tuple[int, int] | None:
    """Where ``$1`` stands in ``SELECT set_config('name', $1, local)``, if the statement is nothing but that."""
    arguments, node = call.node.get("args", []), facts.statement.node
    parameter = arguments[1].get("ParamRef", {}) if len(arguments) == 3 else {}
    place = _PARAMETER.match(facts.query, parameter.get("location", -1)) if parameter.get("number") == 1 else None
    targets = node.get("targetList", [])
    if (
        place is None
        or len(targets) != 1
        or targets[0].get("ResTarget", {}).get("val", {}).get("FuncCall") != call.node
    ):
        return None
    with_literal = {**call.node, "args": [arguments[0], _SOME_VALUE, arguments[2]]}
    alone = {**node, "targetList": [{"ResTarget": {"val": {"FuncCall": with_literal}}}]}
    return None if set_config(alone) is None else place.span()


def _looked_up(facts: Facts, call: FunctionName) -> str | None:
    """The one parameter that ``set_config(name, …) FROM pg_settings WHERE name = 'parameter'`` can mean.

    It is pg_dump's way of setting a parameter only where the server has it.
    """
    node = facts.statement.node
    where = node.get("whereClause", {}).get("A_Expr", {})
    own = [relation for relation in facts.relations if relation.level is node]
    if [(relation.schema, relation.name) for relation in facts.relations] not in (
        [(None, "pg_settings")],
        [("pg_catalog", "pg_settings")],
    ):
        return None
    columns = [
        strings(side.get("ColumnRef", {}).get("fields")) for side in (call.node["args"][0], where.get("lexpr", {}))
    ]
    plain = len(own) == 1 and where.get("kind") == "AEXPR_OP" and strings(where.get("name")) == ("=",)
    return literal_of(where.get("rexpr")) if plain and columns == [("name",), ("name",)] else None


def has_node(facts: Facts, *types: str) -> bool:
    """Some node of one of ``types`` stands below the statement."""
    return any(facts.index.of_type(node_type) for node_type in types)
