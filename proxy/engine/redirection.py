"""DDL after which statements that were judged before would run other code than was judged: functions and operators that
a call may mean from now on, triggers, and relations that come under another's name.

Such a statement must not become effective while others are between judgement and execution; the session sees to that.
What bears the name of one of PostgreSQL's own functions or operators, where everybody finds it, would besides stand in
everybody's way: no call of that name could be judged any more without trusting it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from proxy.catalog.model import TEMPORARY, Relation
from proxy.engine.refusals import denied
from proxy.engine.search_path import creation_schema
from proxy.engine.session_state import SessionState
from proxy.engine.trust import Trust
from proxy.sql.facts import Facts
from proxy.sql.grammar import Node
from proxy.sql.names import FunctionName, QualifiedName, split
from proxy.sql.tree import strings

_FUNCTIONS = frozenset({"OBJECT_FUNCTION", "OBJECT_PROCEDURE", "OBJECT_ROUTINE", "OBJECT_AGGREGATE"})
_TYPES = frozenset({"OBJECT_TYPE", "OBJECT_DOMAIN"})
_ALWAYS = frozenset({"RuleStmt", "AlterOperatorStmt", "AlterTypeStmt", "CreateRangeStmt"})
"""DDL that names functions in ways of its own, and is rare."""

_ENABLING = re.compile(r"AT_(Enable|Force)")
"""ALTER TABLE that has triggers, rules or row security policies run that were there before."""


def redirects(facts: Facts, named: Mapping[int, Relation], state: SessionState, trust: Trust) -> bool:
    """Statements under way may come upon other code because of this one.

    ``named``: the relations that it names, by the id() of the node.
    """
    node, kind = facts.statement.node, facts.statement.kind
    subtypes = {item["AlterTableCmd"].get("subtype", "") for item in node.get("cmds", ()) if "AlterTableCmd" in item}
    if kind in _ALWAYS or node.get("renameType") == "OBJECT_SCHEMA" or any(map(_ENABLING.match, subtypes)):
        return True
    if kind == "CreateTrigStmt":
        return _untrusted_function(strings(node.get("funcname")), state, trust)
    if any(trust.calls(name) for name in _functions(facts)):
        return True
    if any(one.name in state.context.catalog.operators_named for one in _operators(facts)):
        return _untrusted_operator(facts, state, trust)
    if _object_type(node) in _TYPES and _OBJECTS.get(kind) is not None:
        return bool(trust.types([split(_parts(node.get("object", {})))], state.path()))
    return any(trust.oids(reach.functions) or reach.opaque for one in named.values() for reach in one.reach.values())


def check_names_taken(facts: Facts, state: SessionState, trust: Trust) -> None:
    """Raises Refused (42501) for a new function or operator with the name of one of PostgreSQL's own, in a schema of
    the search_path. Not for roles that are trusted with everything."""
    if state.role is not None and state.role.code:
        return
    catalog = state.context.catalog
    for what, full in _arriving(facts, state):
        if full.schema not in (*state.path(), "public") or (full.schema or "").startswith(TEMPORARY):
            continue
        if what == "operator":
            own = any(one.schema == "pg_catalog" for one in catalog.operators_named.get(full.name, ()))
            own = own and _untrusted_operator(facts, state, trust)
        else:
            functions = catalog.functions_named.get(full.name, ())
            own = any(one.builtin and one.schema == "pg_catalog" for one in functions)
            own = own and not any(one.schema == full.schema for one in functions)
        if own:
            raise denied(
                f"{what} {full.schema}.{full.name} would bear the name of PostgreSQL's own {what} {full.name}",
                detail="Statements that use the one could come to run the other, which nobody trusts.",
                way_out="Choose another name or a schema that is in no search_path, or use a role with code: true.",
                policy=state.policy,
            )


# --- what is named ----------------------------------------------------------------------------------------------------


def _arriving(facts: Facts, state: SessionState) -> Iterator[tuple[str, QualifiedName]]:
    """The functions and operators that would stand somewhere anew, with the schema."""
    node, kind = facts.statement.node, facts.statement.kind
    search_path = state.context.settings.get("search_path", '"$user", public')
    created = creation_schema(state.path(), search_path)
    what = "operator" if _object_type(node) == "OBJECT_OPERATOR" else "function"
    if kind == "CreateFunctionStmt" or (kind == "DefineStmt" and _object_type(node) in _DEFINED):
        name = split(strings(node.get("funcname") or node.get("defnames")))
        yield what, QualifiedName(name.schema or created, name.name)
    elif _object_type(node) in _FUNCTIONS | {"OBJECT_OPERATOR"}:
        name = split(_parts(node.get("object", {})))
        if kind == "RenameStmt":
            yield what, QualifiedName(name.schema or created, node["newname"])
        elif kind == "AlterObjectSchemaStmt":
            yield what, QualifiedName(node["newschema"], name.name)


_DEFINED = frozenset({"OBJECT_AGGREGATE", "OBJECT_OPERATOR"})
_OBJECTS: dict[str, str] = {
    "RenameStmt": "renameType",
    "AlterObjectSchemaStmt": "objectType",
    "AlterOwnerStmt": "objectType",
    "DropStmt": "removeType",
    "DefineStmt": "kind",
}


def _object_type(node: Node) -> str:
    return next((str(node[key]) for key in ("renameType", "objectType", "removeType") if key in node), "") or str(
        node.get("kind", "")
    )


def _parts(node: Node) -> tuple[str, ...]:
    """The name of an object: with its arguments, as a list, or as it is."""
    return strings(node.get("ObjectWithArgs", {}).get("objname") or node.get("List", {}).get("items"))


def _functions(facts: Facts) -> Iterator[str]:
    """Names that calls would mean something else by, or no more."""
    node, kind = facts.statement.node, facts.statement.kind
    if kind == "CreateFunctionStmt":
        yield strings(node.get("funcname"))[-1]
    elif kind == "AlterFunctionStmt":
        yield strings(node.get("func", {}).get("objname"))[-1]
    elif kind == "DefineStmt" and node.get("kind") == "OBJECT_AGGREGATE":
        yield strings(node.get("defnames"))[-1]
    elif kind in _OBJECTS and _object_type(node) in _FUNCTIONS:
        for item in [node["object"]] if "object" in node else node.get("objects", ()):
            yield _parts(item)[-1]
        if "newname" in node:
            yield node["newname"]


def _operators(facts: Facts) -> Iterator[QualifiedName]:
    node = facts.statement.node
    if facts.statement.kind in _OBJECTS and _object_type(node) == "OBJECT_OPERATOR":
        for item in [node["object"]] if "object" in node else node.get("objects", ()):
            yield split(_parts(item))
        if "defnames" in node:
            yield split(strings(node["defnames"]))


# --- what of it is trusted --------------------------------------------------------------------------------------------


def _untrusted_function(parts: tuple[str, ...], state: SessionState, trust: Trust) -> bool:
    """The name may mean a function that is not trusted, or none that is known."""
    name = split(parts)
    call = FunctionName(name.schema, name.name, None, {})
    path = tuple(schema for schema in state.path() if schema != TEMPORARY)
    return not trust.candidates(call, path) or bool(trust.call(call, path))


def _untrusted_operator(facts: Facts, state: SessionState, trust: Trust) -> bool:
    """The operator that is defined, moved or dropped may run a function that is not trusted."""
    definition = facts.statement.node.get("definition", ())
    functions = [
        strings(item["DefElem"]["arg"].get("TypeName", {}).get("names"))
        for item in definition
        if item["DefElem"]["defname"] in ("function", "procedure", "restrict", "join")
        and "TypeName" in item["DefElem"].get("arg", {})
    ]
    return not functions or any(_untrusted_function(parts, state, trust) for parts in functions)
