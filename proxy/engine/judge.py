"""The verdict on one text: facts about it, judged in a session's state, edited into what may run.

Order matters for what a client is told: first whether the text is SQL at all (as PostgreSQL would say it), then the
closed world (which no purpose could change), then what exists, then the policy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from proxy.engine.closed_world import check_kind, check_names
from proxy.engine.grounds import Grounds
from proxy.engine.maintenance import check_vacuum
from proxy.engine.reading import Reading, qualify, read
from proxy.engine.refusals import PolicyRefused, unsupported, with_contact
from proxy.engine.resolve import resolve
from proxy.engine.session_state import SessionState
from proxy.engine.system_reading import secure
from proxy.engine.witness import Expected, PlanWitness, expect
from proxy.errors import FEATURE_NOT_SUPPORTED, Refusal, Refused
from proxy.sql.facts import Facts
from proxy.sql.proof import prove
from proxy.sql.reader import disagreement
from proxy.sql.splice import Edit, apply
from proxy.sql.statements import KINDS, Family
from proxy.verdict import Effect, Kind, Prepare, StatementVerdict, Verdict

_SECOND_READING = 16 * 1024
"""Bytes of a text beyond which sqlglot, which takes long, is asked only where the text reaches something classified."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """One statement, judged."""

    verdict: StatementVerdict
    reading: Reading
    secured: bool = False
    quotes_itself: bool = False
    """What runs holds the client's text as data."""


def judge(query: bytes, texts: tuple[Facts, ...], state: SessionState, grounds: Grounds) -> Verdict:
    """All statements of a text, each in the state that those before it leave; one refusal refuses the whole text."""
    judged: list[_Judged] = []
    planned: list[Expected] = []
    for facts in texts:
        try:
            one = _judge(facts, state, grounds)
        except Refused as refused:
            return _refused(query, texts, len(judged), refused, state)
        if one.reading.edits and one.verdict.kind != "pass":
            expected = expect(len(judged), facts, state, one.verdict.purpose, grounds)
            planned += [] if expected is None else [expected]
        judged.append(one)
        state = state.after(one.verdict.effects)
    statements = tuple(one.verdict for one in judged)
    edits = [edit for one in judged for edit in one.reading.edits]
    data = not any(function.name == "set_config" for facts in texts for function in facts.functions)
    data = data and not any(one.quotes_itself or one.reading.patterns for one in judged)
    places = tuple((kind, location) for one in judged for kind, _, location in one.reading.subjects)
    if not edits:
        secured = any(one.secured for one in judged)
        return Verdict(query, statements, secured=secured, literals_are_data=data, subject_places=places)
    text, positions = apply(query, list(edits))
    replacements = {key: node for one in judged for key, node in one.reading.replacements.items()}
    try:
        prove([facts.statement for facts in texts], replacements, text)
    except Refused as refused:
        return _refused(query, texts, 0, refused, state)
    return Verdict(
        text,
        statements,
        edits=positions,
        secured=True,
        splices=tuple((edit.start, edit.end, edit.replacement, edit.copies) for edit in edits),
        literals_are_data=data,
        subject_places=places,
        plan=PlanWitness(tuple(planned)) if planned else None,
    )


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
    return Verdict(query, statements, refusal=with_contact(refused.refusal, state.policy), permanent=permanent)


def _judge(facts: Facts, state: SessionState, grounds: Grounds) -> _Judged:
    check_kind(facts, state)
    if facts.relations or facts.functions:
        state.must_be_known()
    check_names(facts, state, grounds.trust)
    resolved = resolve(facts, state, grounds)
    classified = resolved.classified
    system = secure(facts, resolved, state, grounds)
    _check_readers(facts, classified=bool(classified or system), grounds=grounds)
    if facts.statement.kind == "ExecuteStmt":
        return _execute(facts, state, grounds)
    if facts.statement.kind == "VacuumStmt":
        check_vacuum(facts, classified, state, grounds)
    purpose = state.purpose(facts.purpose)
    if not classified or KINDS[facts.statement.kind][0] is Family.MAINTENANCE:
        if facts.purpose is not None:
            # A purpose that is not granted is refused where it is declared, whatever for.
            _check_purpose(facts, state)
        kind: Kind = "pass"
        reading = qualify(facts, resolved.shadows)
    else:
        reading = read(facts, resolved, state, purpose, grounds)
        _check_purpose(facts, state)
        kind = "mask" if reading.masked else "allow"
    reading = reading.beside(system)
    verdict = replace(_verdict(facts, state, kind, purpose, reading), unverified=_unverified(facts, state, grounds))
    if facts.statement.kind == "PrepareStmt":
        effects = tuple(_sent(effect, facts, reading) for effect in verdict.effects)
        verdict = replace(verdict, effects=effects)
    secured = any(use.decision != "allow" for use in reading.columns) or bool(reading.edits)
    return _Judged(verdict, reading, secured, quotes_itself=bool(system))


def _sent(effect: Effect, facts: Facts, reading: Reading) -> Effect:
    """A PREPARE with what the upstream will have under its name."""
    if not isinstance(effect, Prepare) or not reading.edits:
        return effect
    start = next(token.end for token in facts.tokens if token.kind == "AS")
    shifted = [Edit(edit.start - start, edit.end - start, edit.replacement) for edit in reading.edits]
    text, _ = apply(facts.query[start : facts.tokens[-1].end], shifted)
    return replace(effect, sent=text.decode().strip())


def _unverified(facts: Facts, state: SessionState, grounds: Grounds) -> bool:
    """Without ``code: true`` the closed world would have refused it."""
    if state.role is None or not state.role.code:
        return False
    strict = replace(state, strict=True)
    try:
        check_kind(facts, strict)
        check_names(facts, strict, grounds.trust)
        resolve(facts, strict, grounds)
    except Refused:
        return True
    return False


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
        subjects=tuple(dict.fromkeys((kind, key) for kind, key, _ in reading.subjects)),
        effects=tuple(state.resolved(effect) for effect in facts.effects),
        cursor=facts.statement.node.get("portalname") if facts.statement.kind == "FetchStmt" else None,
        raw_origins=reading.raw_origins,
        takes_copy=_takes_copy(facts),
    )


def _takes_copy(facts: Facts) -> bool:
    node = facts.statement.node
    return facts.statement.kind == "CopyStmt" and bool(node.get("is_from")) and "filename" not in node


def _check_readers(facts: Facts, *, classified: bool, grounds: Grounds) -> None:
    """Raises Refused (0A000) where the two readers of SQL see different relations and one of them is protected."""
    if KINDS[facts.statement.kind][0] is not Family.QUERY or (not classified and len(facts.query) > _SECOND_READING):
        return
    names = disagreement(facts.query, facts)
    if names and (classified or not names.isdisjoint(grounds.protected.names)):
        raise unsupported(
            "the statement can be read in two ways, and it reaches personal information",
            detail=f"It is not clear whether it names: {', '.join(sorted(names))}.",
            way_out="Write it more plainly: quote unusual names, avoid constructs of other databases.",
        )


def _execute(facts: Facts, state: SessionState, grounds: Grounds) -> _Judged:
    """EXECUTE runs a statement that was prepared earlier: it is judged again, as the session is now.

    The upstream has the text of then. Where that is not the text of now, the statement must be prepared again.
    """
    name = facts.statement.node["name"]
    text = state.context.prepared.get(name)
    if text is None:
        raise Refused(Refusal("26000", f'prepared statement "{name}" does not exist'))
    _check_purpose(facts, state)
    verdict = grounds.authorize(text.encode(), state.declaring(facts.purpose))
    if verdict.refusal is not None:
        raise PolicyRefused(verdict.refusal, tuple(use for one in verdict.statements for use in one.columns))
    if verdict.text.decode() != state.context.prepared_sent.get(name, text):
        raise PolicyRefused(
            Refusal(
                FEATURE_NOT_SUPPORTED,
                f'consentry: "{name}" was prepared when the session stood otherwise towards the policy',
                hint="PREPARE it again, or prepare it by the driver (protocol level).",
            )
        )
    [inner] = verdict.statements
    judged = replace(inner, tag=facts.tag, normalized=facts.normalized, fingerprint=facts.fingerprint)
    return _Judged(judged, Reading(), secured=verdict.secured)
