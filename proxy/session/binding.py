"""Bind and Execute: where a prepared statement is decided, with the session as it is at that moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Final

from proxy.errors import Refusal
from proxy.session import checks, literals
from proxy.session.circumstances import names_prepared
from proxy.session.cursors import Cursors
from proxy.session.dialogue import Dialogue
from proxy.session.names import Change, Unsettled
from proxy.session.reasons import (
    FAILED_TRANSACTION,
    PREPARED_BY_SQL,
    UNDEFINED_PORTAL,
    UNDEFINED_STATEMENT,
    no_portal,
    no_statement,
    ran_before,
)
from proxy.session.replies import Reply
from proxy.session.statements import WITHHELD, Portal, Statement, Variant
from proxy.session.turns import Turns
from proxy.verdict import Verdict
from proxy.wire import backend, frontend

MAX_VARIANTS: Final = 8
"""Texts of one statement kept prepared: a session that alternates between so many purposes prepares anew."""

NO_TYPES: Final = b"\0\0"

Sent = tuple[bytes, Reply]


@dataclass(slots=True)
class Bound:
    """What to send for a Bind: messages of our own ``before`` it, then the Bind of upstream's ``statement``."""

    statement: bytes
    reply: Reply
    before: list[Sent] = field(default_factory=list)
    portal: Portal | None = None
    by_value: bool = False
    """The statement has the value of the Bind's parameter as a literal, and no parameter."""

    def message(self, data: bytes, names: frontend.Bind, length: int) -> bytes:
        """What to send for the client's Bind of ``length``: for ``data``, which may be its beginning."""
        if self.by_value:
            return frontend.bind_without_parameters(data, names, self.statement)
        if self.statement == names.statement:
            return data
        return frontend.renamed_bind(data, names, self.statement, length)


class Binding:
    """Decides Bind and Execute messages. None as an answer means: wait for replies in flight."""

    def __init__(self, dialogue: Dialogue, cursors: Cursors) -> None:
        self._dialogue = dialogue
        self._turns = Turns(dialogue)
        self._cursors = cursors
        self._numbers = count(1)

    def bind(self, names: frontend.Bind, whole: bytes | None) -> Bound | None:
        """``whole``: the message, None where it has not arrived to its end."""
        dialogue = self._dialogue
        statement = dialogue.statements.look_up(names.statement, dialogue.segment)
        if statement is Unsettled.UNSETTLED:
            return None
        if statement is None:
            return self._missing_statement(names.statement)
        if not dialogue.statements.settled and names_prepared(statement.text):
            return None  # what it is to list, or to EXECUTE, is in flight, perhaps itself
        judged = dialogue.judged_types(statement.own_types) if statement.own_types else None
        if isinstance(judged, Unsettled):
            return None
        types = b"" if statement.types is None else statement.types[2:]
        verdict = dialogue.planned(statement.text, dialogue.circumstances.decide(statement.text), types)
        if verdict is None:
            return None
        if verdict.refusal is not None:
            text = literals.in_place(whole, names, statement.text, statement.types, verdict)
            return (
                self._refused_bind(verdict, verdict.refusal) if text is None else self._by_value(names, statement, text)
            )
        if judged is not None:
            return self._refused_bind(verdict.rejected(judged), judged)
        bound = Bound(names.statement, Reply(frontend.BIND, verdict, query=statement.text))
        outdated = dialogue.outdated(statement)
        bound.before += self.close_discarded(statement)
        if outdated or verdict.text != statement.sent:
            if statement.types is None:
                return self._refused_bind(verdict, PREPARED_BY_SQL)
            self._use_variant(bound, statement, statement.types, verdict)
        circumstances = dialogue.circumstances
        basis = circumstances.basis(statement.text) if statement.names_prepared else circumstances.present()
        portal = Portal(statement, verdict, circumstances.naming, basis)
        bound.portal = portal
        bound.reply.portal = dialogue.portals.change(names.portal, portal, dialogue.segment)
        return bound

    def _by_value(self, names: frontend.Bind, statement: Statement, text: bytes) -> Bound | None:
        """What is judged, prepared and run is ``text``, which has a literal where the client's has its parameter."""
        dialogue, circumstances = self._dialogue, self._dialogue.circumstances
        if not dialogue.statements.settled and names_prepared(text):
            return None
        verdict = dialogue.planned(text, circumstances.decide(text))
        if verdict is None:
            return None
        if verdict.refusal is not None:
            return self._refused_bind(verdict, verdict.refusal)
        dialogue.outdated(statement)
        bound = Bound(b"", Reply(frontend.BIND, verdict, query=text), by_value=True)
        bound.before += self.close_discarded(statement)
        self._use_variant(bound, statement, NO_TYPES, verdict)
        alone = Statement(text, NO_TYPES, circumstances.naming, verdict)
        bound.portal = Portal(alone, verdict, circumstances.naming, circumstances.basis(text))
        bound.reply.portal = dialogue.portals.change(names.portal, bound.portal, dialogue.segment)
        return bound

    def needs_whole(self, name: bytes) -> bool:
        """A Bind of this statement must be read to its end: the result has a column more than the client knows of, or
        a value has a say in the verdict."""
        statement = self._dialogue.statements.look_up(name, self._dialogue.segment)
        if not isinstance(statement, Statement):
            return False
        verdict = self._dialogue.circumstances.decide(statement.text)
        return checks.cuts_rows(verdict) or any(verdict.by_value)

    def execute(self, name: bytes, limit: int) -> Reply | None:
        dialogue = self._dialogue
        portal = dialogue.portals.look_up(name, dialogue.segment)
        if portal is Unsettled.UNSETTLED:
            return None
        if portal is None:
            return Reply(frontend.EXECUTE, refused=no_portal(name), expected=UNDEFINED_PORTAL)
        decided = self._cursors.decide(portal)
        verdict = decided if decided.refusal is not None else self._cursors.fetching(decided)
        if verdict is None:
            return None
        turn = verdict if portal.applied else self._turns.taken(verdict)
        if turn is None:
            return None
        verdict = turn
        if verdict.refusal is None and (portal.run is None or (portal.declared and not portal.run.open)):
            verdict, portal.run = dialogue.audited(verdict, portal.subjects)
            portal.rows = 0
        if verdict.refusal is not None:
            return self._refused_execute(verdict, verdict.refusal)
        if portal.started and checks.drops_rows(verdict):
            # A portal of what returns no rows runs once; the upstream's has rows.
            return Reply(frontend.EXECUTE, refused=ran_before(name), expected=UNDEFINED_PORTAL)
        self._cursors.start(portal, decided)
        barrier = verdict.has_effects and not portal.applied
        if barrier:
            dialogue.announce(verdict)
        policy = dialogue.circumstances.policy
        # All of its rows are written by the first Execute, however many that asks for.
        ending = () if portal.checked else verdict.ending
        portal.checked = True
        return Reply(
            frontend.EXECUTE, verdict, policy, portal.run, barrier, executing=portal, limit=limit, ending=ending
        )

    def close_variants(self, statement: Statement) -> list[Sent]:
        """Closes what was prepared behind the client's back for a statement that goes away."""
        statement.discard_variants()
        return self.close_discarded(statement)

    @staticmethod
    def close_discarded(statement: Statement) -> list[Sent]:
        names, statement.discarded = statement.discarded, []
        return [_hidden_close(name) for name in names]

    def _use_variant(self, bound: Bound, statement: Statement, types: bytes, verdict: Verdict) -> None:
        bound.statement = self._variant(bound.before, statement, types, verdict.text, verdict)

    def _variant(
        self, before: list[Sent], statement: Statement, types: bytes, text: bytes, verdict: Verdict | None
    ) -> bytes:
        """The private name under which the upstream has ``text``, when ``before`` has been sent."""
        dialogue = self._dialogue
        variant = statement.variants.get(text)
        if variant is None or not variant.usable(dialogue.segment):
            if len(statement.variants) >= MAX_VARIANTS:
                oldest = statement.variants.pop(next(iter(statement.variants)))
                before.append(_hidden_close(oldest.name))
            variant = Variant(dialogue.private + str(next(self._numbers)).encode(), dialogue.segment)
            statement.variants[text] = variant
            reply = Reply(frontend.PARSE, verdict, hidden=True, variant=variant)
            before.append((frontend.parse(variant.name, text, types), reply))
        return variant.name

    def describe(self, statement: Statement) -> tuple[list[Sent], bytes | None]:
        """What to send before a Describe, and the upstream's name to describe, None for the client's own."""
        if not statement.withheld or statement.types is None:
            return [], None
        before: list[Sent] = self.close_discarded(statement)
        name = self._variant(before, statement, statement.types, statement.text, None)
        return before, name

    def withhold(self, name: bytes, statement: Statement, change: Change[Statement]) -> list[Sent]:
        """Prepares a text that is refused for now such that nothing can run it, not even by a mistake, and that all
        errors are its own.

        PostgreSQL drops the unnamed statement before it reads another, but finds a name taken only afterwards.
        """
        sent: list[Sent] = []
        self._variant(sent, statement, statement.types or NO_TYPES, statement.text, None)
        own = sent[-1][1]
        placeholder = Reply(frontend.PARSE)
        if name:
            sent.append((frontend.parse(name, WITHHELD), placeholder))
            placeholder.statement = change
        else:
            sent.insert(0, (frontend.parse(name, WITHHELD), placeholder))
            placeholder.hidden, own.hidden = True, False
            own.statement = change
        return sent

    def _missing_statement(self, name: bytes) -> Bound:
        reply = Reply(frontend.BIND, refused=no_statement(name), expected=UNDEFINED_STATEMENT)
        return Bound(self._dialogue.missing, reply)

    def _refused_bind(self, verdict: Verdict, refusal: Refusal) -> Bound:
        reply = self._refusing(frontend.BIND, verdict, refusal, UNDEFINED_STATEMENT)
        return Bound(self._dialogue.missing, reply)

    def _refused_execute(self, verdict: Verdict, refusal: Refusal) -> Reply:
        return self._refusing(frontend.EXECUTE, verdict, refusal, UNDEFINED_PORTAL)

    def _refusing(self, kind: int, verdict: Verdict, refusal: Refusal, expected: str) -> Reply:
        """The message that fails in place of this one is looked up by name before the transaction's state is: in a
        failed one the client must hear of that, as PostgreSQL would have it."""
        refusal, run = self._dialogue.audited_refusal(verdict, refusal)
        if self._dialogue.status == backend.FAILED_TRANSACTION and self._dialogue.transaction.failed:
            refusal = FAILED_TRANSACTION
        return Reply(kind, run=run, refused=refusal, expected=expected)


def _hidden_close(name: bytes) -> Sent:
    return frontend.close(frontend.STATEMENT, name), Reply(frontend.CLOSE, hidden=True)
