"""The engine's front: verdicts by context and text, remembered. A known statement costs one dict look-up."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from traceback import extract_tb
from typing import Final
from weakref import WeakSet

import structlog

from proxy.catalog.model import Catalog
from proxy.engine.aliases import TOKEN
from proxy.engine.event_triggers import check_login, logs_in
from proxy.engine.grounds import Grounds
from proxy.engine.judge import judge
from proxy.engine.protected import Protected, protect
from proxy.engine.refusals import unknown_types, untrusted_types, with_contact
from proxy.engine.repeated import carried_over
from proxy.engine.session_state import SessionState
from proxy.engine.startup import check_startup
from proxy.engine.template import Template, template_of
from proxy.engine.trust import Baseline, Trust
from proxy.errors import FEATURE_NOT_SUPPORTED, Refusal, Refused
from proxy.policy.decision import next_change
from proxy.policy.model import Policy
from proxy.sql.facts import Facts, facts
from proxy.sql.normalize import fingerprint
from proxy.sql.repetition import repetition
from proxy.sql.shape import Shape, shape_of
from proxy.verdict import Context, StatementVerdict, TypesVerdict, Verdict, Work

_CONTEXTS: Final = 1024
_TYPES: Final = 1024
"""Remembered combinations of parameter types for one context."""
_GROUNDS: Final = 64
_GROUNDS_ALONE: Final = 4
"""Of those, catalogs that one session alone sees: each lasts until its next DDL."""
_SHORT: Final = 1024
"""Bytes. Of longer texts, what repeats itself is left out while they are decided."""
_LONGEST: Final = 64 * 1024
"""Bytes. Longer texts are decided each time: what is that long is rarely sent twice."""
_LONG_VERDICTS: Final = 4
"""How many of those are held, each until the next of its context, so that Bind and Execute need not decide again."""
_VERDICT_BYTES: Final = 16 * 1024 * 1024
"""Bytes of text (the client's and ours) in all remembered verdicts together; beyond it all are forgotten."""
_FACTS_BYTES: Final = 2 * 1024 * 1024
"""Bytes of text whose trees are kept; a tree takes some 50 times its text."""

_log = structlog.get_logger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ContextDecisions:
    """The verdicts for one context (:class:`proxy.verdict.Decisions`)."""

    def __init__(self, engine: ConsentEngine, context: Context) -> None:
        self._engine = engine
        self._state = SessionState(context)
        self._valid_until: datetime | None = None
        self.known: dict[bytes, Verdict] = {}
        self._templates: dict[bytes, Template] = {}
        self._types: dict[tuple[int, ...], TypesVerdict] = {}
        self._long: tuple[bytes, Verdict] | None = None
        """The last text that is too long to be remembered among the others, for its Bind and Execute."""

    def parameter_types(self, oids: tuple[int, ...]) -> TypesVerdict:
        """See :meth:`proxy.verdict.Decisions.parameter_types`."""
        found = self._types.get(oids)
        if found is None:
            found = self._engine.decide_types(oids, self._state)
            if len(self._types) < _TYPES:
                self._types[oids] = found
        return found

    def authorize(self, query: bytes) -> Verdict:
        """Decides and remembers. Never raises: an error while deciding is a refusal."""
        now = self._engine.clock()
        known = self.known.get(query)
        if known is not None and (self._valid_until is None or now < self._valid_until):
            return known
        if self._valid_until is not None and now >= self._valid_until:
            self.forget()
        if self._long is not None and self._long[0] == query:
            return self._long[1]
        verdict = _by_repetition(query, self.authorize) if len(query) > _SHORT else None
        if verdict is None:
            verdict = self._decided(query, now)
        self._keep(query, verdict)
        return verdict

    def work(self, query: bytes) -> Work | None:
        """See :meth:`proxy.verdict.Decisions.work`."""
        now = self._engine.clock()
        valid = self._valid_until is None or now < self._valid_until
        if valid and (query in self.known or (self._long is not None and self._long[0] == query)):
            return None
        shape = shape_of(query) if len(query) <= _LONGEST else None
        if valid and shape is not None and shape.key in self._templates:
            return None
        decide = self._engine.apart(self._state, now)

        def make() -> Verdict:
            return _by_repetition(query, decide) or decide(query)

        return Work(make, lambda verdict: self._take(query, verdict, now))

    def _take(self, query: bytes, verdict: Verdict, then: datetime) -> None:
        """Remembers what was decided ``then``, unless a suspension began or ended since."""
        until = next_change(self._state.policy, then)
        if until is None or self._engine.clock() < until:
            self.expire()
            self._valid_until = until
            self._keep(query, verdict)

    def _keep(self, query: bytes, verdict: Verdict) -> None:
        if len(query) > _LONGEST:
            self._long = (query, verdict)
            self._engine.holds_long(self)
        elif self._engine.remembers(len(query) + len(verdict.text)):
            self.known[query] = verdict

    def _decided(self, query: bytes, now: datetime) -> Verdict:
        shape = shape_of(query) if len(query) <= _LONGEST else None
        verdict = self._by_template(query, shape)
        if verdict is None:
            verdict = self._engine.decide(query, self._state, now)
            self._valid_until = next_change(self._state.policy, now)
            self._keep_template(verdict, shape)
        return verdict

    def _by_template(self, query: bytes, shape: Shape | None) -> Verdict | None:
        template = None if shape is None else self._templates.get(shape.key)
        return None if template is None or shape is None else template.verdict_on(query, shape)

    def _keep_template(self, verdict: Verdict, shape: Shape | None) -> None:
        template = None if shape is None else template_of(verdict, shape)
        if template is not None and shape is not None and self._engine.remembers(len(shape.key) + len(verdict.text)):
            self._templates[shape.key] = template

    def outdated(self, database: str, newer: Catalog) -> bool:
        """These are of ``database``, under another catalog than ``newer``."""
        context = self._state.context
        return context.database == database and context.catalog is not newer

    def expire(self) -> None:
        """Forgets every verdict if a suspension began or ended since they were made."""
        if self._valid_until is not None and self._engine.clock() >= self._valid_until:
            self.forget()

    def forget(self) -> None:
        """Forgets every verdict."""
        self.known.clear()
        self._templates.clear()
        self._long = None

    def forget_long(self) -> None:
        """Forgets the verdict on the last text that was very long."""
        self._long = None


class ConsentEngine:
    """Implements :class:`proxy.verdict.Engine`. Holds caches only: every answer follows from its arguments and time."""

    def __init__(self, clock: Callable[[], datetime] = _utc_now) -> None:
        self.clock = clock
        self._contexts: OrderedDict[tuple[object, ...], ContextDecisions] = OrderedDict()
        self._live: WeakSet[ContextDecisions] = WeakSet()
        self._verdict_bytes = 0
        self._facts: OrderedDict[bytes, tuple[Facts, ...]] = OrderedDict()
        self._facts_bytes = 0
        self._holding: deque[ContextDecisions] = deque()
        self._grounds: OrderedDict[tuple[int, int], tuple[Policy, Catalog, Protected, Trust]] = OrderedDict()
        self._newest: dict[str, Catalog] = {}
        self._baselines: dict[tuple[int, str], tuple[Policy, Baseline]] = {}
        self._trusted: dict[str, tuple[Policy, Baseline, Trust]] = {}

    def check_startup(self, parameters: Mapping[str, str], policy: Policy) -> Refusal | dict[str, str]:
        """See :meth:`proxy.verdict.Engine.check_startup`."""
        try:
            return check_startup(parameters, policy)
        except Refused as refused:
            return with_contact(refused.refusal, policy)

    def admit(self, context: Context) -> Refusal | None:
        """See :meth:`proxy.verdict.Engine.admit`."""
        state = SessionState(context)
        try:
            purpose = context.settings.get("consentry.purpose")
            if purpose:
                state.check_declared(purpose, context.purpose_source or "startup")
            state.path()
            if logs_in(context.catalog):
                check_login(state.role, context.policy, context.catalog, self._protected(context)[1])
        except Refused as refused:
            return with_contact(refused.refusal, context.policy)
        return None

    def decisions(self, context: Context) -> ContextDecisions:
        """See :meth:`proxy.verdict.Engine.decisions`."""
        if context.catalog.committed is not None:
            return self._alone(context)
        self._forget_older(context)
        key = _key(context)
        found = self._contexts.get(key)
        if found is not None:
            self._contexts.move_to_end(key)
            found.expire()
            return found
        made = self._contexts[key] = ContextDecisions(self, context)
        self._live.add(made)
        while len(self._contexts) > _CONTEXTS:
            self._contexts.popitem(last=False)
        return made

    def _alone(self, context: Context) -> ContextDecisions:
        """For what one session alone sees: nobody else has that context, and the session holds it while it lasts."""
        made = ContextDecisions(self, context)
        self._live.add(made)
        return made

    def expire(self) -> None:
        """Forgets what a suspension has overtaken. To be called several times a second."""
        for decisions in list(self._live):
            decisions.expire()

    def remembers(self, size: int) -> bool:
        """Makes room for a verdict of ``size`` bytes of text: false if there is none."""
        self._verdict_bytes += size
        if self._verdict_bytes > _VERDICT_BYTES:
            for decisions in list(self._live):
                decisions.forget()
            self._verdict_bytes = size
        return size <= _VERDICT_BYTES

    def holds_long(self, decisions: ContextDecisions) -> None:
        """Has the others forget what they hold of very long texts, if too many do."""
        if decisions in self._holding:
            self._holding.remove(decisions)
        self._holding.append(decisions)
        while len(self._holding) > _LONG_VERDICTS:
            self._holding.popleft().forget_long()

    def apart(self, state: SessionState, now: datetime) -> Callable[[bytes], Verdict]:
        """What :meth:`decide` does, to be called in any thread: it touches nothing that changes."""
        grounds = self._protected(state.context)
        return lambda query: _decide(query, state, now, facts, lambda _: grounds)

    def _forget_older(self, context: Context) -> None:
        """Lets go of what was decided under an older catalog of the same database, when a newer one appears.

        A session that is still under the older one holds what it needs itself.
        """
        newest = self._newest.get(context.database)
        if newest is context.catalog or (newest is not None and newest.generation > context.catalog.generation):
            return
        self._newest[context.database] = context.catalog
        outdated = [key for key, one in self._contexts.items() if one.outdated(context.database, context.catalog)]
        for key in outdated:
            del self._contexts[key]
        for ground in [key for key, one in self._grounds.items() if one[1] is newest]:
            del self._grounds[ground]

    def _baseline(self, context: Context) -> Baseline:
        """What stood in the database when the policy was first used there."""
        key = (id(context.policy), context.database)
        found = self._baselines.get(key)
        if found is None:
            for old in [one for one, (policy, _) in self._baselines.items() if one[1] == key[1]]:
                del self._baselines[old]
            found = self._baselines[key] = (context.policy, Baseline.of(context.catalog.committed or context.catalog))
        return found[1]

    def decide(self, query: bytes, state: SessionState, now: datetime) -> Verdict:
        """One verdict, made anew. Never raises."""
        return _decide(query, state, now, self._facts_of, self._protected)

    def decide_types(self, oids: tuple[int, ...], state: SessionState) -> TypesVerdict:
        """One judgement of parameter types, made anew."""
        if state.role is not None and state.role.code:
            return TypesVerdict()
        _, trust = self._protected(state.context)
        names, unknown = trust.parameters(oids)
        if names:
            return TypesVerdict(with_contact(untrusted_types(names), state.policy))
        if unknown:
            return TypesVerdict(with_contact(unknown_types(unknown), state.policy), unknown=True)
        return TypesVerdict()

    def _facts_of(self, query: bytes) -> tuple[Facts, ...]:
        found = self._facts.get(query)
        if found is None:
            found = facts(query)
            if len(query) <= _LONGEST:
                self._facts[query] = found
                self._facts_bytes += len(query)
                while self._facts_bytes > _FACTS_BYTES:
                    dropped, _ = self._facts.popitem(last=False)
                    self._facts_bytes -= len(dropped)
        return found

    def _protected(self, context: Context) -> tuple[Protected, Trust]:
        key = (id(context.policy), id(context.catalog))
        found = self._grounds.get(key)
        if found is None:
            baseline = self._baseline(context)
            trust = Trust(context.policy, context.catalog, baseline, self._trusted_before(context))
            self._trusted[context.database] = (context.policy, baseline, trust)
            # The objects are kept beside, so that their ids stay theirs.
            found = self._grounds[key] = (
                context.policy,
                context.catalog,
                protect(context.policy, context.catalog),
                trust,
            )
            while len(self._grounds) > _GROUNDS:
                self._grounds.popitem(last=False)
            alone = [ground for ground, one in self._grounds.items() if one[1].committed is not None]
            for ground in alone[:-_GROUNDS_ALONE]:
                del self._grounds[ground]
        return found[2], found[3]

    def _trusted_before(self, context: Context) -> Trust | None:
        """What the same policy trusts of the catalog of this database that was last looked at, if it did."""
        policy, baseline, trust = self._trusted.get(context.database, (None, None, None))
        return trust if policy is context.policy and baseline is self._baseline(context) else None


def _by_repetition(query: bytes, decide: Callable[[bytes], Verdict]) -> Verdict | None:
    """The verdict on a text without its repetitions, carried over to all of it; None where that does not fit."""
    short = repetition(query)
    return None if short is None else carried_over(decide(short.query), query, short)


def _decide(
    query: bytes,
    state: SessionState,
    now: datetime,
    read: Callable[[bytes], tuple[Facts, ...]],
    look: Callable[[Context], tuple[Protected, Trust]],
) -> Verdict:
    """One verdict, made anew. Never raises. ``read`` reads the text, ``look`` says what is protected and trusted."""
    try:
        texts = read(query)
        protected, trust = look(state.context)

        def authorize(text: bytes, inner: SessionState) -> Verdict:
            # What is prepared cannot itself be an EXECUTE, so this ends.
            return _decide(text, replace(inner, context=replace(inner.context, prepared={})), now, read, look)

        verdict = judge(query, texts, state, Grounds(protected, trust, now, authorize))
        verdict = replace(verdict, classified_origins=protected.origins, secret=TOKEN)
        if verdict.within_block is None:
            return verdict
        within = replace(verdict.within_block, classified_origins=protected.origins, secret=TOKEN)
        return replace(verdict, within_block=within)
    except Refused as refused:
        return _unread(query, with_contact(refused.refusal, state.policy), told=True)
    except Exception as error:
        # Neither the message nor the locals: both may hold literals of the statement.
        places = [f"{frame.filename}:{frame.lineno}" for frame in extract_tb(error.__traceback__)[-3:]]
        _log.error("deciding failed; the statement is refused", error=type(error).__name__, at=places)
        return _unread(
            query,
            Refusal(
                FEATURE_NOT_SUPPORTED,
                "consentry: the statement could not be analysed",
                hint="This is a defect: the log of consentry tells where. Written more plainly it may pass.",
            ),
        )


def _unread(query: bytes, refusal: Refusal, *, told: bool = False) -> Verdict:
    """The verdict on a text that could not be read: nothing of it may be logged, since its literals are unknown.

    ``told``: PostgreSQL's grammar may have a word to say about it.
    """
    statement = StatementVerdict("reject", "", "", fingerprint(""), None)
    own = refusal.message.startswith("consentry:")
    return Verdict(query, (statement,), refusal=refusal, permanent=True, told_by="grammar" if told and not own else "")


def _key(context: Context) -> tuple[object, ...]:
    """Equal keys are equal contexts: by value, but for catalog and policy, which are one object each."""
    return (
        context.database,
        context.role,
        context.current_role,
        frozenset(context.settings.items()),
        context.purpose_source,
        id(context.catalog),
        id(context.policy),
        frozenset(context.start.items()),
        context.dirty,
        context.uncommitted_code,
        frozenset((key, relation is None) for key, relation in context.overlay.items()),
        frozenset(context.prepared.items()),
        frozenset(context.prepared_sent.items()),
        context.prepared_stale,
        frozenset(context.cursors.items()),
    )
