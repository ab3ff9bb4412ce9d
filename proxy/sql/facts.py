"""What a text is, whoever sends it: facts, not judgements. They depend on the text alone."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.sql.comments import declared_purpose
from proxy.sql.effects import effects
from proxy.sql.grammar import Statement, Token, parse, scan
from proxy.sql.names import FunctionName, QualifiedName, attributes, fields, functions, operators, types
from proxy.sql.normalize import fingerprint, normalize
from proxy.sql.relations import RelationName, relations
from proxy.sql.statements import tag
from proxy.sql.tree import Index
from proxy.verdict import Effect


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """One statement. ``purpose`` is what its comments declare. Of a name it is not said yet what it resolves to."""

    query: bytes
    statement: Statement
    tokens: list[Token]
    index: Index
    tag: str
    relations: tuple[RelationName, ...]
    functions: tuple[FunctionName, ...]
    attributes: frozenset[str]
    fields: frozenset[str]
    operators: frozenset[QualifiedName]
    types: frozenset[QualifiedName]
    purpose: str | None
    normalized: str
    fingerprint: str
    effects: tuple[Effect, ...]

    def position(self, location: int) -> int:
        """A byte offset into the text as a position of PostgreSQL's: characters, from 1."""
        return len(self.query[:location].decode("utf-8", "ignore")) + 1


def facts(query: bytes) -> tuple[Facts, ...]:
    """The facts of each statement of ``query``, in order; none for an empty query.

    Raises Refused for what is no SQL (42601, as PostgreSQL says it) or cannot be read to the end.
    """
    statements = parse(query)
    tokens = scan(query)
    return tuple(
        _facts(query, statement, own) for statement, own in zip(statements, _shares(statements, tokens), strict=True)
    )


def _facts(query: bytes, statement: Statement, tokens: list[Token]) -> Facts:
    normalized = normalize(query, tokens)
    index = Index({statement.kind: statement.node})
    return Facts(
        query=query,
        statement=statement,
        tokens=tokens,
        index=index,
        tag=tag(statement.kind, statement.node),
        relations=tuple(relations(statement.node, statement.kind)),
        functions=tuple(functions(index)),
        attributes=attributes(index),
        fields=fields(index),
        operators=operators(index),
        types=types(index),
        purpose=declared_purpose(query, tokens),
        normalized=normalized,
        fingerprint=fingerprint(normalized),
        effects=effects(statement, query, tokens),
    )


def _shares(statements: list[Statement], tokens: list[Token]) -> list[list[Token]]:
    """The tokens of each statement: comments before it, and after the last one behind its semicolon, included."""
    shares: list[list[Token]] = [[] for _ in statements]
    index = 0
    for token in tokens:
        while index + 1 < len(statements) and token.start >= statements[index].end:
            index += 1
        if not shares:
            break
        statement = statements[index]
        separator = token.kind == "ASCII_59" and not statement.start <= token.start < statement.end
        if separator and token.start < statement.start:
            shares[index].clear()  # what stands before an empty statement belongs to that one
        elif not separator:
            shares[index].append(token)
    return shares
