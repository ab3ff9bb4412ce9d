"""The words of refused writes: what may not be written, why, and the way out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from proxy.catalog.model import Relation
from proxy.engine.refusals import PolicyRefused, hint
from proxy.engine.secured import Sight, column_use
from proxy.engine.session_state import SessionState
from proxy.errors import INSUFFICIENT_PRIVILEGE, Refusal
from proxy.verdict import ColumnUse


def writing_refused(uses: Iterable[ColumnUse], purpose: str | None, state: SessionState, *, always: bool) -> Refusal:
    """Columns may not be written: in no row (``always``), or not in one of the rows that the statement wrote."""
    uses = list(uses)
    names = ", ".join(use.column for use in uses)
    reasons = sorted({reason for use in uses for reason in use.reasons})
    rules = sorted({use.rule for use in uses if use.rule is not None})
    detail = [f"Columns: {names}.", f"Purpose: {purpose or 'none declared'}."]
    if always:
        detail.append(f"Because: {', '.join(reasons)}.")
        way_out = "Declare a purpose that covers these columns, leave them out, or ask for the grant."
    else:
        detail.append(f"A row's subject does not meet: {', '.join(reasons)}.")
        way_out = (
            "Write only the columns that have changed, or obtain the subject's consent to the purpose, or write under a"
            " purpose that the row's subject admits."
        )
    detail += [f"Rules: {', '.join(rules)}."] if rules else []
    return Refusal(
        INSUFFICIENT_PRIVILEGE,
        f"consentry: writing {names} is not allowed",
        detail=" ".join(detail),
        hint=hint(way_out, state.policy),
    )


def copying_refused(sight: Sight, column: str, purpose: str | None, state: SessionState) -> Refusal:
    """A row that is copied does not show a cell of it."""
    use = column_use(sight.relation, column, sight.decisions[column], sight.use)
    return Refusal(
        INSUFFICIENT_PRIVILEGE,
        f"consentry: masked values of {use.column} may not be stored",
        detail=f"Purpose: {purpose or 'none declared'}. A row that is copied does not meet: {', '.join(use.reasons)}.",
        hint=hint("Copy only rows that show it, or declare a purpose under which they do.", state.policy),
    )


def mask_refused(use: ColumnUse, purpose: str | None, state: SessionState) -> Refusal:
    """The mask of a cell in the place of its value, as an ORM writes it that saves all that it loaded."""
    return Refusal(
        INSUFFICIENT_PRIVILEGE,
        f"consentry: the mask of {use.column} may not be stored in the place of its value",
        detail=f"Purpose: {purpose or 'none declared'}. This session sees it masked: {', '.join(use.reasons)}.",
        hint=hint("Write only the columns that have changed.", state.policy),
    )


def erasing_refused(use: ColumnUse, purpose: str | None, state: SessionState) -> PolicyRefused:
    """NULL or a default over a value that the session does not see."""
    return PolicyRefused(
        Refusal(
            INSUFFICIENT_PRIVILEGE,
            f"consentry: {use.column} may not be emptied by a session that does not see it",
            detail=f"Purpose: {purpose or 'none declared'}. What shows masked or as NULL would be destroyed.",
            hint=hint(
                "Write only the columns that have changed, or declare a purpose that may erase (erase: true).",
                state.policy,
            ),
        ),
        (use,),
    )


def conflict_refused(use: ColumnUse, purpose: str | None, state: SessionState) -> PolicyRefused:
    """ON CONFLICT DO UPDATE of a column that the session sees masked."""
    return PolicyRefused(
        Refusal(
            INSUFFICIENT_PRIVILEGE,
            f"consentry: ON CONFLICT DO UPDATE of {use.column} is not allowed, which this session sees masked",
            detail=f"Purpose: {purpose or 'none declared'}. Because: {', '.join(use.reasons)}.",
            hint=hint("Write ON CONFLICT DO NOTHING, and UPDATE what is there by its key.", state.policy),
        ),
        (use,),
    )


def managing_refused(
    relation: Relation, columns: tuple[str, ...], kinds: Iterable[str], state: SessionState
) -> PolicyRefused:
    """Consent, account states and subject keys, by a role that does not manage the kind of subject."""
    full = f"{relation.schema}.{relation.name}"
    what = ", ".join(f"{full}.{column}" for column in columns) or full
    named = ", ".join(sorted(kinds))
    return PolicyRefused(
        Refusal(
            INSUFFICIENT_PRIVILEGE,
            f"consentry: {what} may only be written by a role that manages {named}",
            detail="It decides what may be done with personal information: consent, an account's state, or whom a row"
            " is about.",
            hint=hint(
                f"Leave it out, or name {named} in roles.{state.context.role}.manages of the policy.", state.policy
            ),
        )
    )


def evaluating_refused(
    relation: Relation,
    names: list[str],
    hidden: list[str],
    purpose: str | None,
    state: SessionState,
    *,
    tag: str = "UPDATE",
) -> PolicyRefused:
    """What PostgreSQL evaluates over the changed row (``names``) would tell of ``hidden`` columns."""
    full = f"{relation.schema}.{relation.name}"
    columns = ", ".join(f"{full}.{name}" for name in hidden)
    return PolicyRefused(
        Refusal(
            INSUFFICIENT_PRIVILEGE,
            f"consentry: this {tag} would tell of {columns}",
            detail=f"Whether it succeeds depends on {', '.join(names)} of {full}, and this session does not see those"
            f" columns of the row. Purpose: {purpose or 'none declared'}.",
            hint=hint("Set other columns, or declare a purpose under which they may be seen.", state.policy),
        )
    )


def comparing_refused(
    relation: Relation, telling: Mapping[str, frozenset[str]], tag: str, purpose: str | None, state: SessionState
) -> PolicyRefused:
    """Unique and exclusion constraints (``telling``, with the hidden columns of each) would tell what is equal."""
    full = f"{relation.schema}.{relation.name}"
    columns = ", ".join(f"{full}.{name}" for name in sorted(set().union(*telling.values())))
    names = ", ".join(f'"{name}"' for name in sorted(telling))
    return PolicyRefused(
        Refusal(
            INSUFFICIENT_PRIVILEGE,
            f"consentry: this {tag} of {full} would tell of {columns}",
            detail=f"Whether it succeeds depends on {names}, by which rows are compared, and this session may neither"
            f" see nor write those columns. Purpose: {purpose or 'none declared'}.",
            hint=hint("Set other columns, or declare a purpose under which they may be written.", state.policy),
        )
    )


def keeping_refused(relation: Relation, column: str, state: SessionState) -> Refusal:
    """A row whose time to be kept is over would be made younger."""
    full = f"{relation.schema}.{relation.name}"
    return Refusal(
        INSUFFICIENT_PRIVILEGE,
        f"consentry: {full}.{column} of a row past its retention may not be set to a later time",
        detail="How long personal information is kept counts from it.",
        hint=hint("Leave it out, or have it set by a role that manages the kind of subject.", state.policy),
    )


def claiming_refused(relation: Relation, kinds: Iterable[str], state: SessionState) -> PolicyRefused:
    """A new row of a registry, or of a table through which others reach their subject, that existing rows refer to."""
    full = f"{relation.schema}.{relation.name}"
    named = ", ".join(sorted(kinds))
    return PolicyRefused(
        Refusal(
            INSUFFICIENT_PRIVILEGE,
            f"consentry: a row of {full} with a key that stored personal information bears may only be written by"
            f" a role that manages {named}",
            detail="It would decide whose that information is, or what may be done with it.",
            hint=hint(f"Take a new key, or name {named} in roles.{state.context.role}.manages.", state.policy),
        )
    )


def explaining_refused(relation: Relation, state: SessionState) -> PolicyRefused:
    """EXPLAIN of a write with row conditions: its plan shows them, and ANALYZE would run it."""
    full = f"{relation.schema}.{relation.name}"
    return PolicyRefused(
        Refusal(
            INSUFFICIENT_PRIVILEGE,
            f"consentry: EXPLAIN of a change of the classified table {full} is not available",
            detail="A plan would tell of values that this session may not see.",
            hint=hint("Explain it on a direct connection.", state.policy),
        )
    )
