"""``current_query()`` in a statement that goes on as another text: the client is shown its own."""

from __future__ import annotations

from proxy.engine.refusals import unsupported
from proxy.engine.trust import TELLING
from proxy.sql.facts import Facts
from proxy.sql.names import FunctionName, result_name
from proxy.sql.quote import literal
from proxy.sql.splice import Change, splicer_of
from proxy.sql.tree import nodes, of_type

_RUN_AT_ONCE = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
"""Of what a cursor or a prepared statement runs, the text is that of the FETCH or EXECUTE."""


def own_text(facts: Facts) -> list[Change]:
    """The changes by which each call becomes the text that the client sent.

    Raises Refused (0A000) where another text would show, or another function may be meant.
    """
    calls = [function for function in facts.functions if function.name in TELLING]
    if not calls:
        return []
    tables = {id(call) for item in facts.index.of_type("RangeFunction") for call in of_type(item, "FuncCall")}
    for call in calls:
        plain = call.arguments == 0 and call.schema in (None, "pg_catalog") and id(call.node) not in tables
        if facts.statement.kind not in _RUN_AT_ONCE or not plain:
            raise unsupported(
                f"{call.name}() is not available here, in a statement over personal information",
                position=facts.position(call.location),
            )
    return _changes(facts, calls)


def _changes(facts: Facts, calls: list[FunctionName]) -> list[Change]:
    splicer, text = splicer_of(facts), literal(facts.query.decode())
    replaced = {id(call.node): call.name for call in calls}
    changes = [splicer.call(call.node, call.location, f"({text})") for call in calls]
    for key, item in nodes(facts.statement.node):
        if key == "ResTarget" and "name" not in item and "val" in item:
            name, named_by = result_name(item["val"])
            if named_by is not None and id(named_by) in replaced:
                changes.append(splicer.named(item, name))
    return changes
