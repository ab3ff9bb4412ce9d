"""Carries the verdict on a shortened text over to the whole one (:mod:`proxy.sql.repetition`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from proxy.errors import Refusal
from proxy.sql.repetition import Repetition, repetition
from proxy.sql.shape import literal_value
from proxy.sql.splice import Edit, apply
from proxy.verdict import PlanCheck, Prepare, Probe, StatementVerdict, Verdict


def carried_over(verdict: Verdict, query: bytes, short: Repetition) -> Verdict | None:
    """The verdict on ``query``; None where it must be decided for itself, since a literal has a say in it."""
    if verdict.refusal is not None:
        return replace(verdict, text=query, refusal=_refusal(verdict.refusal, query, short))
    if not verdict.literals_are_data or any(copies for _, _, _, copies in verdict.splices):
        return None
    if short.parameters and any("$" in text for _, _, text, _ in verdict.splices):
        return None  # an edit may repeat a parameter
    if any(isinstance(effect, Prepare) for statement in verdict.statements for effect in statement.effects):
        return None
    statements = _with_subjects(verdict, query, short)
    block = None if verdict.within_block is None else carried_over(verdict.within_block, query, short)
    if statements is None or (verdict.within_block is not None and block is None):
        return None
    if not verdict.splices:
        return replace(verdict, text=query, statements=statements, within_block=block)
    splices = tuple(
        (short.whole(start), short.whole(end - 1) + 1 if end > start else short.whole(end), text, ())
        for start, end, text, _ in verdict.splices
    )
    text, positions = apply(query, [Edit(*splice) for splice in splices])
    again = repetition(text)
    if again is None or again.query != verdict.text:
        return None  # without what repeats itself it must be the very text that was proven
    plan = None if verdict.plan is None else _ShortPlan(verdict.plan, short.query, verdict)
    return replace(
        verdict, text=text, statements=statements, edits=positions, splices=splices, plan=plan, within_block=block
    )


def _refusal(refusal: Refusal, query: bytes, short: Repetition) -> Refusal:
    if refusal.position <= 0:
        return refusal
    offset = len(short.query.decode("utf-8")[: refusal.position - 1].encode("utf-8"))
    return replace(refusal, position=len(query[: short.whole(offset)].decode("utf-8", "ignore")) + 1)


def _with_subjects(verdict: Verdict, query: bytes, short: Repetition) -> tuple[StatementVerdict, ...] | None:
    """The statements, with the subjects that the cut items name too."""
    statements = tuple(_with_parameters(statement, short) for statement in verdict.statements)
    places = [(kind, place) for kind, offset in verdict.subject_places for place in short.repeated(offset)]
    if not places:
        return statements
    if len(statements) != 1:
        return None
    named = [(kind, literal_value(query, place)) for kind, place in places]
    known = [(kind, value) for kind, value in named if value is not None]
    if len(known) != len(named):
        return None
    return (replace(statements[0], subjects=tuple(sorted({*statements[0].subjects, *known}))),)


def _with_parameters(statement: StatementVerdict, short: Repetition) -> StatementVerdict:
    """The statement, with the parameters of the cut items that name subjects too."""
    more = [(kind, other) for kind, number in statement.bound_subjects for other in short.parameters.get(number, ())]
    return replace(statement, bound_subjects=tuple(sorted((*statement.bound_subjects, *more)))) if more else statement


@dataclass(frozen=True, slots=True)
class _ShortPlan:
    """The plan of the shortened text speaks for the whole one. Implements :class:`proxy.verdict.PlanCheck`."""

    plan: PlanCheck
    query: bytes
    verdict: Verdict

    def outcome(self, text: bytes, types: bytes) -> tuple[str, ...] | None:  # noqa: ARG002 - it has a text of its own
        return self.plan.outcome(self.verdict.text, types)

    def probes(self, query: bytes, verdict: Verdict, types: bytes, *, shape: bool) -> tuple[Probe, ...] | None:  # noqa: ARG002 - the same
        return self.plan.probes(self.query, self.verdict, types, shape=shape)

    def settle(self, text: bytes, types: bytes, found: tuple[str, ...], *, shape: bool) -> None:  # noqa: ARG002 - the same
        self.plan.settle(self.verdict.text, types, found, shape=shape)
