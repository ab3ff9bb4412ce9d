"""The verdict on one text: facts about it, judged in a session's state, edited into what may run.

Order matters for what a client is told: first whether the text is SQL at all (as PostgreSQL would say it), then the
closed world (which no purpose could change), then what exists, then the policy.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.engine.closed_world import check_kind, check_names
from proxy.engine.grounds import Grounds
from proxy.engine.reading import Reading, read
from proxy.engine.refusals import PolicyRefused, unsupported
from proxy.engine.resolve import resolve
from proxy.engine.session_state import SessionState
from proxy.errors import Refusal, Refused
from proxy.sql.facts import Facts
from proxy.sql.proof import prove
from proxy.sql.reader import disagreement
from proxy.sql.splice import apply
from proxy.sql.statements import KINDS, Family
from proxy.verdict import Kind, StatementVerdict, Verdict


@dataclass(frozen=True, slots=True)
class _Judged:
    """One statement, judged."""

    verdict: StatementVerdict
    reading: Reading


def judge(query: bytes, texts: tuple[Facts, ...], state: SessionState, grounds: Grounds) -> Verdict:
    """All statements of a text, each in the state that those before it leave; one refusal refuses the whole text."""
    judged: list[_Judged] = []
    for facts in texts:
        try:
            one = _judge(facts, state, grounds)
        except Refused as refused:
            return _refused(query, texts, len(judged), refused, state)
        judged.append(one)
        state = state.after(one.verdict.effects)
    statements = tuple(one.verdict for one in judged)
    edits = [edit for one in judged for edit in one.reading.edits]
    if not edits:
        return Verdict(query, statements)
    text, positions = apply(query, list(edits))
    secured = {key: value for one in judged for key, value in one.reading.secured.items()}
    try:
        prove([facts.statement for facts in texts], secured, text)
    except Refused as refused:
        return _refused(query, texts, 0, refused, state)
    return Verdict(text, statements, edits=positions)


def _refused(query: bytes, texts: tuple[Facts, ...], index: int, refused: Refused, state: SessionState) -> Verdict:
    """The refusal of a whole text. The audit gets an event for each statement: none of them will run."""
    columns = refused.columns if isinstance(refused, PolicyRefused) else ()
    statements = tuple(
        StatementVerdict(
            kind="reject",
            tag=facts.tag,
            normalized=facts.normalized,
            fingerprint=facts.fingerprint,
            purpose=state.purpose(facts.purpose),
            columns=columns if number == index else (),
        )
        for number, facts in enumerate(texts)
    )
    permanent = not isinstance(refused, PolicyRefused)
    return Verdict(query, statements, refusal=refused.refusal, permanent=permanent)


def _judge(facts: Facts, state: SessionState, grounds: Grounds) -> _Judged:
    check_kind(facts, state)
    check_names(facts, state, grounds.trust)
    classified = resolve(facts, state, grounds)
    _check_readers(facts, classified=bool(classified), grounds=grounds)
    if facts.statement.kind == "ExecuteStmt":
        _check_execute(facts, state, grounds)
    purpose = state.purpose(facts.purpose)
    if not classified or KINDS[facts.statement.kind][0] is Family.MAINTENANCE:
        if facts.purpose is not None:
            # A purpose that is not granted is refused where it is declared, whatever for.
            _check_purpose(facts, state)
        return _Judged(_verdict(facts, state, "pass", purpose, Reading()), Reading())
    state.must_be_known()
    reading = read(facts, classified, state, purpose, grounds)
    _check_purpose(facts, state)
    return _Judged(_verdict(facts, state, "mask" if reading.masked else "allow", purpose, reading), reading)


def _check_purpose(facts: Facts, state: SessionState) -> None:
    try:
        state.check_purpose(facts.purpose)
    except Refused as refused:
        raise PolicyRefused(refused.refusal) from None


def _verdict(facts: Facts, state: SessionState, kind: Kind, purpose: str | None, reading: Reading) -> StatementVerdict:
    return StatementVerdict(
        kind=kind,
        tag=facts.tag,
        normalized=facts.normalized,
        fingerprint=facts.fingerprint,
        purpose=purpose,
        columns=reading.columns,
        subjects=reading.subjects,
        effects=tuple(state.resolved(effect) for effect in facts.effects),
    )


def _check_readers(facts: Facts, *, classified: bool, grounds: Grounds) -> None:
    """Raises Refused (0A000) where the two readers of SQL see different relations and one of them is protected."""
    if KINDS[facts.statement.kind][0] is not Family.QUERY:
        return
    names = disagreement(facts.query, facts)
    if names and (classified or not names.isdisjoint(grounds.protected.names)):
        raise unsupported(
            "the statement can be read in two ways, and it reaches personal information",
            detail=f"It is not clear whether it names: {', '.join(sorted(names))}.",
            way_out="Write it more plainly: quote unusual names, avoid constructs of other databases.",
        )


def _check_execute(facts: Facts, state: SessionState, grounds: Grounds) -> None:
    """EXECUTE runs a statement that was prepared earlier: it is judged again, as the session is now."""
    name = facts.statement.node["name"]
    text = state.context.prepared.get(name)
    if text is None:
        raise Refused(Refusal("26000", f'prepared statement "{name}" does not exist'))
    verdict = grounds.authorize(text.encode(), state)
    if verdict.refusal is not None:
        raise PolicyRefused(verdict.refusal)
    if verdict.rewritten or any(statement.kind != "pass" for statement in verdict.statements):
        raise unsupported(
            f'EXECUTE of "{name}", which reads personal information, is not available yet',
            way_out="Send the statement itself, or prepare it by the driver (protocol level).",
        )
