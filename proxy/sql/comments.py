"""Purposes declared in a comment of the statement, in sqlcommenter's form: ``/*purpose='billing',app='x'*/``.

Only the first token and the last token of a statement count, if they are comments. Names and values are
percent-decoded; ``\\'`` in a value is a quote. Anything else in a comment is the client's own business.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from proxy.errors import INSUFFICIENT_PRIVILEGE, Refusal, Refused
from proxy.sql.grammar import Token

_PAIR = re.compile(r"\s*([^=,\s']+)\s*=\s*'((?:[^'\\]|\\.)*)'\s*(?:,|$)", re.DOTALL)


def declared_purpose(query: bytes, tokens: list[Token]) -> str | None:
    """The purpose that the comments at the ends of a statement declare, None if they declare none or an empty one.

    ``tokens`` are the statement's own, without the semicolon. Raises Refused (42501) if two disagree.
    """
    if not tokens:
        return None
    ends = [tokens[0]] if len(tokens) == 1 else [tokens[0], tokens[-1]]
    comments = [token for token in ends if token.kind == "C_COMMENT"]
    purposes = {purpose for token in comments for purpose in _purposes(query[token.start + 2 : token.end - 2].decode())}
    if len(purposes) > 1:
        raise Refused(
            Refusal(
                INSUFFICIENT_PRIVILEGE,
                "consentry: the comments of the statement declare different purposes",
                detail=f"Declared are: {', '.join(sorted(purposes))}.",
                hint="Declare one purpose for one statement.",
            )
        )
    return (purposes.pop() or None) if purposes else None


def _purposes(comment: str) -> list[str]:
    """Every value of the key ``purpose``; a comment that is no list of pairs to its end declares nothing."""
    found = []
    position = 0
    comment = comment.strip()
    while position < len(comment):
        pair = _PAIR.match(comment, position)
        if pair is None:
            return []
        if unquote(pair[1]) == "purpose":
            found.append(unquote(re.sub(r"\\(.)", r"\1", pair[2])))
        position = pair.end()
    return found
