"""The words of refusals: each names the thing, the reason and the way out, and never a value."""

from __future__ import annotations

from dataclasses import replace

from proxy.errors import FEATURE_NOT_SUPPORTED, INSUFFICIENT_PRIVILEGE, Refusal, Refused
from proxy.policy.model import Policy
from proxy.verdict import ColumnUse


class PolicyRefused(Refused):
    """A refusal that another purpose, consent or grant could change: it is not due before Bind.

    ``columns`` are those that the statement would have read, with the decision on each.
    """

    def __init__(self, refusal: Refusal, columns: tuple[ColumnUse, ...] = ()) -> None:
        super().__init__(refusal)
        self.columns = columns


class ValueDecides(Refused):
    """A refusal that the value of a parameter could change: it is not due before Bind.

    ``place``: see :attr:`proxy.verdict.Verdict.by_value`.
    """

    def __init__(self, refusal: Refusal, place: tuple[int, int]) -> None:
        super().__init__(refusal)
        self.place = place


def hint(way_out: str, policy: Policy) -> str:
    """The way out, and whom to ask: the policy's contact."""
    contact = str(policy.contact)
    return f"{way_out} Contact: {contact}".strip() if contact else way_out


def with_contact(refusal: Refusal, policy: Policy) -> Refusal:
    """A refusal of consentry's own as a client is told it: with the policy's contact in its HINT, once."""
    if not refusal.message.startswith("consentry:") or "Contact: " in refusal.hint:
        return refusal
    return replace(refusal, hint=hint(refusal.hint, policy))


def denied(message: str, *, detail: str = "", way_out: str = "", policy: Policy, position: int = 0) -> Refused:
    """42501: the policy or the closed world does not allow it."""
    return Refused(
        Refusal(
            INSUFFICIENT_PRIVILEGE,
            f"consentry: {message}",
            detail=detail,
            hint=hint(way_out, policy),
            position=position,
        )
    )


def unsupported(message: str, *, detail: str = "", way_out: str = "", position: int = 0) -> Refused:
    """0A000: consentry cannot establish what it would mean, or cannot secure it."""
    return Refused(
        Refusal(FEATURE_NOT_SUPPORTED, f"consentry: {message}", detail=detail, hint=way_out, position=position)
    )


def untrusted_types(names: list[str]) -> Refusal:
    """42501: a Bind would convert a parameter to a type by code that is not trusted."""
    return Refusal(
        INSUFFICIENT_PRIVILEGE,
        f"consentry: the conversion to {', '.join(names)} is not trusted",
        detail="A parameter is declared to be of that type. Converting to it runs code that could read or show personal"
        " information as it is stored.",
        hint="Name the function in functions.trusted of the policy.",
    )


def unknown_types(oids: list[int]) -> Refusal:
    """42501: a parameter is of a type that only this session sees, if anybody does."""
    return Refusal(
        INSUFFICIENT_PRIVILEGE,
        "consentry: a parameter is declared to be of a type that cannot be judged",
        detail=f"There is no committed type that is not temporary with OID {', '.join(map(str, oids))}.",
        hint="COMMIT what makes the type first, or leave the parameter's type open (0).",
    )


def undefined_relation(schema: str | None, name: str, position: int) -> Refused:
    """42P01 in PostgreSQL's own words (parse_relation.c, parserOpenTable)."""
    full = f"{schema}.{name}" if schema else name
    return Refused(Refusal("42P01", f'relation "{full}" does not exist', position=position))


def undefined_function(name: str, position: int) -> Refused:
    """42883, as near to PostgreSQL's words as one can be without the argument types (parse_func.c)."""
    return Refused(
        Refusal(
            "42883",
            f"function {name} does not exist",
            hint="No function matches the given name and argument types. You might need to add explicit type casts.",
            position=position,
        )
    )
