"""PostgreSQL's own grammar and lexer, by libpg_query: the first reader of every text.

It says how many statements there are, what each is and which relations and functions it names. The tree is
libpg_query's JSON: each node a dict, most of them wrapped as ``{"NodeType": {…}}``; fields with PostgreSQL's default
value are absent. Offsets (``location``) count bytes of UTF-8.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from postgast import pg_query_pb2
from postgast.errors import PgQueryError
from postgast.native import lib
from postgast.scan import scan as _scan

from proxy.errors import Refusal, Refused

Node = dict[str, Any]

GRAMMAR_VERSION = 18
"""The major version of PostgreSQL whose grammar this is."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of PostgreSQL's lexer; ``kind`` is its name in gram.y (``IDENT``, ``SCONST``, ``ASCII_46`` for a dot).

    ``start`` and ``end`` are byte offsets. Comments are tokens too (``C_COMMENT``, ``SQL_COMMENT``).
    """

    kind: str
    start: int
    end: int
    keyword: bool

    @property
    def comment(self) -> bool:
        return self.kind in ("C_COMMENT", "SQL_COMMENT")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a text: the kind of its node (``SelectStmt``), the node's fields, and the bytes it stands in.

    The region reaches from the end of the statement before it to its own end, so that comments before it are inside.
    """

    kind: str
    node: Node
    start: int
    end: int


def parse(query: bytes) -> list[Statement]:
    """The statements of ``query`` (UTF-8), in order; empty statements are none, as for PostgreSQL.

    Raises Refused: 42601 with PostgreSQL's own message and position for what is no SQL, 54001 for what is nested too
    deeply, 22021 for bytes that no PostgreSQL text can hold.
    """
    tree = _parse_json(query)
    statements = []
    for raw in tree.get("stmts", ()):
        start = raw.get("stmt_location", 0)
        length = raw.get("stmt_len", 0)
        [(kind, node)] = raw["stmt"].items()
        statements.append(Statement(kind, node, start, start + length if length else len(query)))
    return statements


LOCATIONS = frozenset(
    {"location", "stmt_location", "stmt_len", "rexpr_list_start", "rexpr_list_end", "list_start", "list_end"}
)
"""Fields that are offsets into the text."""

# In JSON a quotation mark inside a string has a backslash before it, so these can only be fields. The first one of an
# object has its comma behind it, the others before.
_OFFSETS = re.compile(rb',"(?:{0})":-?[0-9]+|"(?:{0})":-?[0-9]+,?'.replace(b"{0}", "|".join(LOCATIONS).encode()))


def meaning(query: bytes) -> list[Node]:
    """The statements of ``query``, wrapped (``{"SelectStmt": {…}}``), without any offset into the text: what two texts
    that mean the same have in common. Raises Refused as :func:`parse` does.
    """
    return [raw["stmt"] for raw in _parse_json(query, _OFFSETS).get("stmts", ())]


_COMMENTS = 1000


def check_bytes(query: bytes) -> None:
    """What must be known before libpg_query sees a text. Raises Refused.

    It stops at a NUL; and its lexer takes time with the square of the depth of nested comments.
    """
    if b"\0" in query:
        raise Refused(Refusal("22021", 'invalid byte sequence for encoding "UTF8": 0x00'))
    if query.count(b"/*") > _COMMENTS:
        raise Refused(
            Refusal(
                "54001",
                f"consentry: the statement holds more than {_COMMENTS} comments",
                hint="Write it with fewer comments.",
            )
        )


def _parse_json(query: bytes, unwanted: re.Pattern[bytes] | None = None) -> Node:
    check_bytes(query)
    result = lib.pg_query_parse(query)
    try:
        if result.error:
            error = result.error.contents
            message = error.message.decode("utf-8", "replace") if error.message else "syntax error"
            raise Refused(syntax_error(message, error.cursorpos))
        text = result.parse_tree
        tree: Node = json.loads(text if unwanted is None else unwanted.sub(b"", text))
    except RecursionError:
        raise Refused(
            Refusal(
                "54001",
                "consentry: the statement is nested too deeply to be analysed",
                hint="Write it with fewer nested parentheses or subqueries.",
            )
        ) from None
    finally:
        lib.pg_query_free_parse_result(result)
    return tree


def syntax_error(message: str, position: int) -> Refusal:
    """PostgreSQL's own error for a text that its grammar does not accept; libpg_query's words are the server's."""
    sqlstate = "42601"
    if message.startswith(("invalid Unicode", "invalid byte")):
        sqlstate = "22021"
    elif "stack depth" in message or "memory exhausted" in message:
        sqlstate = "54001"
    return Refusal(sqlstate, message, position=max(position, 0))


def scan(query: bytes) -> list[Token]:
    """The tokens of ``query``, comments included. Raises Refused as :func:`parse` does."""
    check_bytes(query)
    try:
        result = _scan(query.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Refused(Refusal("22021", 'invalid byte sequence for encoding "UTF8"')) from error
    except PgQueryError as error:
        raise Refused(syntax_error(str(error.message), error.cursorpos)) from error
    names = _TOKEN_NAMES
    return [
        Token(names[token.token], token.start, token.end, token.keyword_kind != _NO_KEYWORD) for token in result.tokens
    ]


_TOKEN_NAMES: dict[int, str] = {number: name for name, number in pg_query_pb2.Token.items()}
_NO_KEYWORD: int = pg_query_pb2.NO_KEYWORD
