"""The verdict on one text: facts about it, judged in a session's state, edited into what may run.

Order matters for what a client is told: first whether the text is SQL at all (as PostgreSQL would say it), then the
closed world (which no purpose could change), then what exists, then the policy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from proxy.engine.carriers import check_carriers
from proxy.engine.closed_world import LITERALS_DECIDE, check_kind, check_names
from proxy.engine.copying import copies_in, copy_in
from proxy.engine.definitions import copy_clause
from proxy.engine.explaining import check_explained
from proxy.engine.grounds import Grounds
from proxy.engine.inner import check_inner, prepared
from proxy.engine.maintenance import check_vacuum
from proxy.engine.own_text import own_text
from proxy.engine.reading import Reading, qualify, read
from proxy.engine.redirection import redirects
from proxy.engine.refusals import PolicyRefused, ValueDecides, unsupported, with_contact
from proxy.engine.resolve import Resolved, resolve
from proxy.engine.row_security import check_row_security
from proxy.engine.session_state import SessionState
from proxy.engine.system_reading import secure
from proxy.engine.updatable import changes_protected
from proxy.engine.witness import Expected, PlanWitness, expect
from proxy.engine.writing import conflicts, stores_unseen, write
from proxy.errors import Refusal, Refused
from proxy.sql.facts import Facts
from proxy.sql.grammar import parse
from proxy.sql.proof import prove
from proxy.sql.reader import disagreement
from proxy.sql.splice import Edit, apply
from proxy.sql.statements import KINDS, Family
from proxy.sql.tree import constant
from proxy.verdict import (
    Begin,
    ChangeCatalog,
    Commit,
    Effect,
    Kind,
    Prepare,
    ResetAll,
    Rollback,
    StatementVerdict,
    Verdict,
)

_FOUND_BY_ANALYSIS = frozenset({"42P01", "42883", "0A000"})
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
    unforeseen: str = ""
    """Why the next statement of the same text cannot be judged."""
    returns: Literal["rows", "column"] = "rows"
    """What a check's column would be to the client."""

    @property
    def within_block(self) -> _Judged:
        """The same as it is done within a transaction block."""
        reading = self.reading.within
        if reading is None:
            return self
        checked = self.returns if reading.checked else ""
        verdict = replace(
            self.verdict, checked=checked, copying=reading.copying, deferred=reading.deferred, ending=reading.ending
        )
        return replace(self, reading=reading, verdict=verdict)


def judge(query: bytes, texts: tuple[Facts, ...], state: SessionState, grounds: Grounds) -> Verdict:
    """All statements of a text, each in the state that those before it leave; one refusal refuses the whole text."""
    judged: list[_Judged] = []
    planned: list[Expected] = []
    checks: tuple[Refusal, ...] = ()
    first = state
    for facts in texts:
        try:
            one = _judge(facts, state, grounds, len(checks))
        except Refused as refused:
            return _refused(query, texts, len(judged), refused, state, told=grounds.trust.converts_by_itself)
        if one.reading.edits and one.verdict.kind != "pass":
            expected = expect(len(judged), facts, state, one.verdict.purpose, grounds)
            planned += [] if expected is None else [expected]
        if len(texts) > 1 and (one.verdict.copying is not None or one.within_block.verdict.copying is not None):
            return _refused(query, texts, len(judged), _alone(facts), state)
        judged.append(one)
        checks += one.reading.checks
        state = state.after(one.verdict.effects)
        state = replace(state, unforeseen=state.unforeseen or one.unforeseen)
    try:
        outside, inside = _following(judged, within=False), _following(judged, within=True)
        _check_ending(texts, outside, inside)
        verdict = _assembled(query, texts, outside, planned)
        if any(one is not other for one, other in zip(outside, inside, strict=True)):
            verdict = replace(verdict, within_block=replace(_assembled(query, texts, inside, planned), checks=checks))
    except Refused as refused:
        return _refused(query, texts, 0, refused, first)
    return replace(verdict, checks=checks)


def _check_ending(texts: tuple[Facts, ...], *ways: list[_Judged]) -> None:
    """Raises Refused (0A000) where what is to be checked when the text is done may be committed or forgotten before."""
    ends = Begin | Commit | Rollback | ResetAll
    if not any(isinstance(effect, ends) for one in ways[0] for effect in one.verdict.effects):
        return
    for facts, *both in zip(texts, *ways, strict=True):
        if any(one.verdict.ending for one in both):
            raise _alone(facts)


def _alone(facts: Facts) -> Refused:
    return unsupported(f"{facts.tag} beside other statements", way_out="Send it in a message of its own.")


def _following(judged: list[_Judged], *, within: bool) -> list[_Judged]:
    """Each statement as it is done outside or within a transaction block; ``within``: the first stands in one."""
    found = []
    for one in judged:
        found.append(one.within_block if within else one)
        for effect in one.verdict.effects:
            if isinstance(effect, Begin):
                within = True
            elif isinstance(effect, Commit | Rollback):
                within = effect.chain
    return found


def _assembled(query: bytes, texts: tuple[Facts, ...], judged: list[_Judged], planned: list[Expected]) -> Verdict:
    """The text that may run, proved to be the client's but for the edits. Raises Refused (0A000) if it is not."""
    statements = tuple(one.verdict for one in judged)
    edits = list(dict.fromkeys(edit for one in judged for edit in one.reading.edits))
    data = not any(function.name in LITERALS_DECIDE for facts in texts for function in facts.functions)
    data = data and not any(one.quotes_itself or one.reading.patterns for one in judged)
    places = tuple((kind, location) for one in judged for kind, _, location in one.reading.subjects if location >= 0)
    if not edits:
        secured = any(one.secured for one in judged)
        return Verdict(
            query,
            statements,
            secured=secured,
            literals_are_data=data,
            subject_places=places,
            commits=_commits(statements, query),
        )
    text, positions = apply(query, edits)
    replacements = {key: node for one in judged for key, node in one.reading.replacements.items()}
    prove([facts.statement for facts in texts], replacements, text)
    return Verdict(
        text,
        statements,
        edits=positions,
        secured=any(one.secured for one in judged),
        splices=tuple((edit.start, edit.end, edit.replacement, edit.copies) for edit in edits),
        literals_are_data=data,
        subject_places=places,
        plan=PlanWitness(tuple(planned)) if planned else None,
        commits=_commits(statements, text),
    )


def _commits(statements: tuple[StatementVerdict, ...], text: bytes) -> tuple[tuple[int, int], ...]:
    """See :attr:`proxy.verdict.Verdict.commits`."""
    found = [
        index
        for index, one in enumerate(statements)
        if index and any(isinstance(effect, Commit) for effect in one.effects)
    ]
    if not found:
        return ()
    starts = [statement.start for statement in parse(text)]
    return tuple((index, starts[index]) for index in found)


def _refused(
    query: bytes, texts: tuple[Facts, ...], index: int, refused: Refused, state: SessionState, *, told: bool = False
) -> Verdict:
    """The refusal of a whole text. The audit gets an event for each statement: none of them will run.

    ``told``: the upstream may analyse a text without running anybody's code.
    """
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
    by_value = refused.place if isinstance(refused, ValueDecides) and len(texts) == 1 else (0, 0)
    permanent = not isinstance(refused, PolicyRefused) and not any(by_value)
    refusal = with_contact(refused.refusal, state.policy)
    analysed = (
        told
        and len(texts) == 1
        and refusal.sqlstate in _FOUND_BY_ANALYSIS
        and not refusal.message.startswith("consentry:")
    )
    return Verdict(
        query,
        statements,
        refusal=refusal,
        permanent=permanent,
        by_value=by_value,
        told_by="analysis" if analysed else "",
    )


def _judge(facts: Facts, state: SessionState, grounds: Grounds, first: int) -> _Judged:
    """``first``: the number of the statement's first check."""
    check_kind(facts, state)
    if facts.relations or facts.functions:
        state.must_be_known()
    check_names(facts, state, grounds.trust)
    resolved = resolve(facts, state, grounds)
    classified = resolved.classified
    check_inner(facts, resolved, state, grounds)
    system = secure(facts, resolved, state, grounds)
    _check_readers(facts, classified=bool(classified or system), grounds=grounds)
    if facts.statement.kind == "ExecuteStmt":
        return _execute(facts, state, grounds, first)
    if facts.statement.kind == "VacuumStmt":
        check_vacuum(facts, classified, state, grounds)
    purpose = state.purpose(facts.purpose)
    _check_by_itself(facts, resolved, state, purpose, grounds)
    copied = copies_in(facts)
    targets = [resolved.named.get(id(name.node)) for name in facts.relations if copied or name.place == "target"]
    written = any(one is not None and changes_protected(one, grounds.protected) for one in targets)
    if not (classified or written) or _reads_nothing(facts):
        if facts.purpose is not None:
            # A purpose that is not granted is refused where it is declared, whatever for.
            _check_purpose(facts, state)
        kind: Kind = "allow" if classified and KINDS[facts.statement.kind][0] is not Family.MAINTENANCE else "pass"
        reading = qualify(facts, resolved.shadows)
    elif copied:
        reading = copy_in(facts, resolved, state, purpose, grounds)
        _check_purpose(facts, state)
        kind = "allow" if reading.columns else "pass"
    else:
        check_carriers(facts, resolved, state, purpose, grounds)
        prepares = facts.statement.kind == "PrepareStmt"
        reading = read(facts, resolved, state, purpose, grounds)
        reading = reading.and_(write(facts, resolved, state, purpose, grounds, 0 if prepares else first))
        if prepares:
            # Its checks are made when it is executed, within a block or outside of one.
            reading = replace(reading.within or reading, checks=(), checked=False, deferred=(), ending=(), within=None)
        _check_purpose(facts, state)
        kind = "mask" if reading.masked else "allow"
    reading = reading.beside(system)
    own = own_text(facts) if reading.edits or (reading.within is not None and reading.within.edits) else []
    reading = reading.beside(own)
    verdict = replace(_verdict(facts, kind, purpose, reading), unverified=_unverified(facts, state, grounds))
    verdict = replace(verdict, effects=_effects(facts, resolved, reading, state, grounds))
    # Where the edits are none but qualified names, what the server says is what the client's own text makes it say.
    secures = bool(reading.edits) and (bool(classified or system) or _names_protected(resolved, grounds))
    secured = any(use.decision != "allow" for use in reading.columns) or secures
    # What the server says of the rows that it checks against a new constraint is not for everybody.
    secured |= _reads_nothing(facts) and _names_protected(resolved, grounds)
    if stores_unseen(facts, resolved, state, purpose, grounds):
        secured, verdict = True, replace(verdict, conflicts=conflicts(facts.statement))
    return _Judged(
        verdict,
        reading,
        secured,
        quotes_itself=bool(system or own),
        returns=_checked(facts),
        unforeseen=resolved.unforeseen,
    )


def _check_by_itself(
    facts: Facts, resolved: Resolved, state: SessionState, purpose: str | None, grounds: Grounds
) -> None:
    """Raises PolicyRefused (42501) where PostgreSQL chooses or counts rows by stored values, whatever is spliced in."""
    check_explained(facts, resolved, state, purpose, grounds)
    if not _reads_nothing(facts):
        check_row_security(facts, resolved, state, purpose, grounds)


def _effects(
    facts: Facts, resolved: Resolved, reading: Reading, state: SessionState, grounds: Grounds
) -> tuple[Effect, ...]:
    """What the statement changes. What a role with ``code: true`` redirects is no business of anybody's."""
    code = state.role is not None and state.role.code
    found: list[Effect] = []
    for effect in facts.effects:
        if isinstance(effect, ChangeCatalog):
            redirecting = effect.redirects or redirects(facts, resolved.named, state, grounds.trust)
            found.append(replace(effect, redirects=redirecting and not code))
        else:
            found.append(_sent(state.resolved(effect), facts, reading))
    return tuple(found)


def _names_protected(resolved: Resolved, grounds: Grounds) -> bool:
    return any(one.oid in grounds.protected for one in resolved.named.values())


def _reads_nothing(facts: Facts) -> bool:
    """It shows no value of the relations that it names, and makes no copy of them."""
    family = KINDS[facts.statement.kind][0]
    defines = family is Family.DDL and copy_clause(facts) is None
    return defines or family is Family.MAINTENANCE or facts.statement.kind == "TruncateStmt"


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
        if facts.relations or facts.functions:
            strict.must_be_known()
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


def _verdict(facts: Facts, kind: Kind, purpose: str | None, reading: Reading) -> StatementVerdict:
    return StatementVerdict(
        kind=kind,
        tag=facts.tag,
        normalized=facts.normalized,
        fingerprint=facts.fingerprint,
        purpose=purpose,
        columns=reading.columns,
        subjects=tuple(dict.fromkeys((kind, key) for kind, key, location in reading.subjects if location >= 0)),
        bound_subjects=tuple(sorted((kind, -location) for kind, _, location in reading.subjects if location < 0)),
        cursor=facts.statement.node.get("portalname") if facts.statement.kind == "FetchStmt" else None,
        raw_origins=reading.raw_origins,
        checked=_checked(facts) if reading.checked else "",
        takes_copy=copies_in(facts),
        copying=reading.copying,
        ending=reading.ending,
    )


def _checked(facts: Facts) -> Literal["rows", "column"]:
    """What the check's column is to the client: the last one of several, or all of a result that it did not ask for."""
    return "column" if "returningClause" in facts.statement.node else "rows"


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


def _execute(facts: Facts, state: SessionState, grounds: Grounds, first: int) -> _Judged:
    """EXECUTE runs a statement that was prepared earlier: it is judged again, as the session is now.

    The upstream has the text of then. Where that is not the text of now, the statement must be prepared again.
    """
    _check_purpose(facts, state)
    verdict = prepared(facts.statement.node["name"], facts.purpose, state, grounds)
    if verdict.checks and first:
        raise unsupported("EXECUTE of a write behind another write", way_out="Send it in a message of its own.")
    [inner] = verdict.statements
    left, inner = inner.deferred, replace(inner, deferred=(), ending=inner.ending or inner.deferred)
    arguments = facts.statement.node.get("params", [])
    bound = [(kind, arguments[number - 1]) for kind, number in inner.bound_subjects if number <= len(arguments)]
    keys = {(kind, constant(argument)) for kind, argument in bound}
    judged = replace(
        inner,
        tag=facts.tag,
        normalized=facts.normalized,
        fingerprint=facts.fingerprint,
        subjects=tuple(sorted({*inner.subjects, *((kind, key) for kind, key in keys if key is not None)})),
        bound_subjects=(),
    )
    block = Reading(checks=verdict.checks, checked=bool(inner.checked), deferred=left) if left else None
    reading = Reading(checks=verdict.checks, within=block)
    return _Judged(judged, reading, secured=verdict.secured, returns=inner.checked or "rows")
