"""DDL that changes PostgreSQL's own functions, operators and types, or puts others beside them.

Whatever is judged here rests on what initdb made: masks and conditions are written in it, and its functions run
without anybody's having to trust them. Whoever could replace one (a role with ``ddl`` that may SET ROLE to a superuser)
would read through it what every other session sees, and decide who sees what.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxy.catalog.model import Relation
from proxy.engine.closed_world import BUILTIN_TYPES
from proxy.engine.refusals import denied
from proxy.engine.search_path import creation_schema
from proxy.engine.session_state import SessionState
from proxy.sql.facts import Facts
from proxy.sql.grammar import Node
from proxy.sql.tree import strings

_SYSTEM = frozenset({"pg_catalog", "information_schema"})
_CREATING = frozenset(
    {
        "CreateFunctionStmt",
        "DefineStmt",
        "CreateEnumStmt",
        "CreateRangeStmt",
        "CreateDomainStmt",
        "CompositeTypeStmt",
        "ViewStmt",
        "CreateTableAsStmt",
    }
)
_ALTERING = frozenset(
    {
        "AlterFunctionStmt",
        "AlterOperatorStmt",
        "AlterTypeStmt",
        "AlterEnumStmt",
        "AlterDomainStmt",
        "AlterCollationStmt",
        "AlterTSConfigurationStmt",
        "AlterTSDictionaryStmt",
        "AlterTableStmt",
        "AlterObjectDependsStmt",
        "AlterObjectSchemaStmt",
        "AlterOwnerStmt",
        "RenameStmt",
        "RuleStmt",
        "CreateTrigStmt",
    }
)
_NAMES = ("funcname", "defnames", "typeName", "domainname", "cfgname", "dictname", "collname")
_RELATIONS = ("relation", "view", "typevar")


def check_system_objects(facts: Facts, own: Relation | None, state: SessionState) -> None:
    """Raises Refused (42501) for DDL over objects of ``pg_catalog`` and ``information_schema``, but for roles that are
    trusted with everything. ``own``: the relation that the statement is about."""
    kind, node = facts.statement.kind, facts.statement.node
    if kind not in _CREATING | _ALTERING | {"CreateExtensionStmt"} or (state.role is not None and state.role.code):
        return
    search_path = state.context.settings.get("search_path", '"$user", public')
    created = creation_schema(state.path(), search_path)
    for parts in _names(node):
        if not _SYSTEM.isdisjoint(parts[:-1]) or (len(parts) == 1 and _is_system(parts[0], kind, created, state)):
            raise _refused(facts, ".".join(parts), state)
    schemas = {node.get("newschema", ""), node.get("subname", ""), *_extension_schema(node)}
    if node.get("objectType") == "OBJECT_SCHEMA":
        schemas.add(node.get("object", {}).get("String", {}).get("sval", ""))
    if schemas & _SYSTEM:
        raise _refused(facts, ", ".join(sorted(schemas & _SYSTEM)), state)
    if kind in _ALTERING and own is not None and own.builtin:
        raise _refused(facts, f"{own.schema}.{own.name}", state)


def _refused(facts: Facts, name: str, state: SessionState) -> Exception:
    return denied(
        f"{facts.tag} of {name} changes what PostgreSQL brings along",
        detail="All that is judged and masked rests on it.",
        way_out="Use a schema of your own, or write the schema of what is meant.",
        policy=state.policy,
    )


def _names(node: Node) -> Iterator[tuple[str, ...]]:
    """What the statement makes or alters, as written."""
    for field in _NAMES:
        if isinstance(node.get(field), list):
            yield strings(node[field])
    for field in _RELATIONS:
        relation = node.get(field) or {}
        if "relname" in relation:
            yield (relation.get("schemaname", ""), relation["relname"])
    into = node.get("into", {}).get("rel", {})
    if "relname" in into:
        yield (into.get("schemaname", ""), into["relname"])
    for called in (node.get("func"), node.get("opername"), node.get("object", {}).get("ObjectWithArgs")):
        if called is not None and "objname" in called:
            yield strings(called["objname"])
    items = strings(node.get("object", {}).get("List", {}).get("items"))
    if items:
        yield items


def _extension_schema(node: Node) -> Iterator[str]:
    for option in node.get("options", ()):
        element = option.get("DefElem", {}) if isinstance(option, dict) else {}
        if element.get("defname") == "schema":
            yield element.get("arg", {}).get("String", {}).get("sval", "")


def _is_system(name: str, kind: str, created: str | None, state: SessionState) -> bool:
    """A name without a schema makes something in a system schema, or may mean something there."""
    if kind in _CREATING:
        return created in _SYSTEM
    catalog = state.context.catalog
    schemas = {one.schema for one in catalog.functions_named.get(name, ()) if one.builtin}
    schemas |= {one.schema for one in catalog.operators_named.get(name, ()) if one.schema == "pg_catalog"}
    if name in BUILTIN_TYPES and name not in catalog.types_named:
        schemas.add("pg_catalog")
    return not schemas.isdisjoint({"pg_catalog", *state.path()})
