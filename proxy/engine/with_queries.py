"""Data-modifying WITH queries whose RETURNING carries a check: nobody outside may see one more column for it.

WITH d AS (DELETE … RETURNING id, <check> AS x) SELECT * FROM (SELECT "id" FROM "d") AS d
"""

from __future__ import annotations

from proxy.catalog.model import Relation
from proxy.engine.refusals import unsupported
from proxy.errors import FEATURE_NOT_SUPPORTED, Refusal, Refused
from proxy.sql.facts import Facts
from proxy.sql.grammar import Node
from proxy.sql.names import result_name
from proxy.sql.quote import identifier
from proxy.sql.relations import RelationName
from proxy.sql.splice import Change, splicer_of
from proxy.sql.tree import nodes, of_type, strings
from proxy.sql.writing import Modification


def unseen(facts: Facts, part: Modification, relation: Relation) -> list[Change]:
    """The changes by which references to a WITH query show the columns that they showed without the check.

    Raises Refused: 0A000 where these have no names of their own, and as PostgreSQL does where there are none.
    """
    if part.query is None:
        return []
    name = part.query["ctename"]
    references = _references(facts, name)
    if not references:
        return []
    if not part.returns:
        message = f'WITH query "{name}" does not have a RETURNING clause'
        raise Refused(Refusal(FEATURE_NOT_SUPPORTED, message, position=facts.position(references[0]["location"])))
    known = [_names(item, part, relation) for item in part.returning]
    columns = [column for names in known for column in names or ()]
    renamed = strings(part.query.get("aliascolnames"))
    columns[: len(renamed)] = renamed
    alike = [body for body in of_type(facts.statement.node, "CommonTableExpr") if body.get("ctename") == name]
    if None in known or len(set(columns)) < len(columns) or len(alike) > 1 or len(renamed) > len(columns):
        raise unsupported(
            f'what the data-modifying WITH query "{name}" returns cannot be told apart',
            way_out="Give every item of its RETURNING a name of its own, by AS.",
        )
    listed = ", ".join(identifier(column) for column in columns)
    fragment = f"(SELECT {listed} FROM {identifier(name)})"  # noqa: S608 - all quoted
    return [splicer_of(facts).relation(_named(node, name), fragment) for node in references]


def _references(facts: Facts, name: str) -> list[Node]:
    """Where the WITH query is read from: names that mean no relation."""
    relations = {id(one.node) for one in facts.relations}
    return [
        node
        for key, node in nodes(facts.statement.node)
        if node.get("relname") == name
        and "schemaname" not in node
        and id(node) not in relations
        and key != "lockedRels"
    ]


def _named(node: Node, name: str) -> RelationName:
    return RelationName(node, None, None, name, node.get("alias", {}).get("aliasname"), "from", None)


def _names(item: Node, part: Modification, relation: Relation) -> list[str] | None:
    """The names of the result columns that an item of RETURNING makes; None where they are not certain."""
    if "name" in item:
        return [item["name"]]
    value = item.get("val", {})
    fields = value.get("ColumnRef", {}).get("fields", ())
    if fields and "A_Star" in fields[-1]:
        others = part.node.keys() & {"fromClause", "usingClause", "sourceRelation"}
        mine = strings(fields) == (part.target.visible_name,) or (len(fields) == 1 and not others)
        return [column.name for column in relation.columns] if mine else None
    name, reference = result_name(value)
    if reference is not None:
        return [name]
    called = strings(value.get("FuncCall", {}).get("funcname"))
    return [called[-1]] if called else None
