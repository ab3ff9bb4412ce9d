"""sqlglot, the second reader. It never overrules PostgreSQL's grammar; where the two disagree, nobody may go on.

sqlglot cannot read everything that PostgreSQL can, and that alone is no reason to refuse. But where it reads a
statement, it must find the same relations: a difference means that one of the two was misled.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import sqlglot
from sqlglot import exp

from proxy.sql.facts import Facts
from proxy.sql.grammar import Node
from proxy.sql.tree import nodes

_NAME_BYTES = 63
"""PostgreSQL cuts identifiers here (NAMEDATALEN - 1)."""

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of statements that it keeps as plain commands


def disagreement(query: bytes, facts: Facts) -> frozenset[str]:
    """Names of relations that only one of the two readers found; empty also where sqlglot cannot read the statement."""
    if not facts.tokens:
        return frozenset()
    found = _relations(query[facts.tokens[0].start : facts.tokens[-1].end].decode("utf-8"))
    return frozenset() if found is None else found ^ frozenset(_named(facts.statement.node))


def _named(node: Node) -> Iterator[str]:
    """Every relation name in PostgreSQL's tree, WITH queries included: sqlglot's tree does not tell them apart."""
    for key, value in nodes(node):
        if "relname" in value and key != "lockedRels":
            yield value["relname"]


def _relations(text: str) -> frozenset[str] | None:
    """Every table name that sqlglot sees, or None where it cannot read the statement (or keeps it unread)."""
    try:
        trees = sqlglot.parse(text, read="postgres")
    except Exception:
        # Whatever it fails with (TypeError, too): that the second reader cannot read a text is no reason to refuse.
        return None
    found = set()
    for tree in trees:
        if tree is None:
            continue
        if isinstance(tree, exp.Command) or tree.find(exp.Command):
            return None
        for table in tree.find_all(exp.Table):
            if isinstance(table.this, exp.Identifier):
                found.add(_folded(table.this))
    return frozenset(found)


def _folded(name: exp.Identifier) -> str:
    """As PostgreSQL folds and cuts: ASCII letters only, 63 bytes."""
    text = name.this
    if not name.args.get("quoted"):
        text = "".join(char.lower() if char.isascii() else char for char in text)
    return str(text.encode()[:_NAME_BYTES].decode("utf-8", "ignore"))
