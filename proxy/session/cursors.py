"""Cursors and portals that go on after they were decided: does the decision still stand, and what do they show?

A portal reads what was fixed when it was bound, a cursor what was when it was declared, and the purpose in force then
decides it. Another policy, or a suspension that began since, has it decided again; the same decision lets it go on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from proxy.errors import INSUFFICIENT_PRIVILEGE, Refusal
from proxy.policy.model import Policy
from proxy.session.circumstances import refused
from proxy.session.dialogue import Dialogue
from proxy.session.names import Unsettled
from proxy.session.reasons import DECISION_CHANGED, FETCHED_WITH_EFFECTS
from proxy.session.statements import Portal, Statement
from proxy.verdict import CloseCursor, Declare, StatementVerdict, Verdict

_DECLARED: Final = "consentry: the decision on this cursor changed since it was declared"
_BOUND: Final = "consentry: the decision on this statement changed since it began to run"


class Cursors:
    """Portals and cursors of one dialogue, by name."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue

    def decide(self, portal: Portal) -> Verdict:
        """The verdict on going on with ``portal``, or on beginning.

        What a portal reads was fixed at Bind. Where names mean other relations since, the decision of then is the one
        on what it reads, and holds while everything else is as it was.
        """
        if portal.started or portal.declared:
            return self._going_on(portal)
        dialogue, text = self._dialogue, portal.statement.text
        circumstances = dialogue.circumstances
        verdict = circumstances.decide(text)
        if circumstances.renamed(text, portal.naming):
            then = portal.basis.context
            same = then.settings == dialogue.transaction.settings.current() and then.policy is circumstances.policy
            return portal.verdict if same else refused(text, DECISION_CHANGED)
        if verdict.refusal is None and verdict.text != portal.verdict.text:
            return verdict.rejected(DECISION_CHANGED)
        return verdict

    def start(self, portal: Portal, verdict: Verdict) -> None:
        """Rows of ``portal`` are about to be asked for under ``verdict``: from now on that decides."""
        if not portal.started and not portal.declared:
            circumstances = self._dialogue.circumstances
            if verdict is not portal.verdict:
                portal.verdict, portal.basis = verdict, circumstances.basis(portal.statement.text)
            portal.started = True

    def _going_on(self, portal: Portal) -> Verdict:
        then = portal.verdict
        now, basis = self._dialogue.circumstances.decide_again(portal.statement.text, portal.basis)
        if now is then:
            return then
        if now.refusal is None and not portal.lapsed and alike(now, then):
            portal.basis = basis
            return then
        reason = "" if now.refusal is None else f"{now.refusal.message}. {now.refusal.detail}".strip()
        message, hint = (_DECLARED, "DECLARE it again.") if portal.declared else (_BOUND, "Bind it again.")
        return now.rejected(Refusal(INSUFFICIENT_PRIVILEGE, message, detail=reason, hint=hint))

    def stands(self, portal: Portal) -> bool:
        """The decision on ``portal``, which runs, would be the same under the catalog of now."""
        now, _ = self._dialogue.circumstances.decide_again(portal.statement.text, portal.basis, anew=True)
        return now.refusal is None and alike(now, portal.verdict)

    # --- FETCH and MOVE -----------------------------------------------------------------------------------------------

    def fetching(self, verdict: Verdict) -> Verdict | None:
        """``verdict`` with what its FETCH and MOVE statements show, as it was decided of the cursors that they name; a
        refusal where such a decision does not stand. None: wait for replies in flight.

        A cursor that nobody declared here is a function's own, and shows what that may show.
        """
        if verdict.plain or not any(statement.cursor for statement in verdict.statements):
            return verdict
        shown: dict[str | None, Verdict | None] = {None: None}
        statements = list(verdict.statements)
        secured = verdict.secured
        for number, statement in enumerate(statements):
            if statement.cursor not in shown:
                found = self._named(str(statement.cursor))
                if isinstance(found, Unsettled):
                    return None
                shown[statement.cursor] = found
            fetched = shown[statement.cursor]
            if fetched is not None:
                statements[number] = _showing(statement, fetched)
                if fetched.refusal is not None:
                    return replace(verdict, statements=tuple(statements), refusal=fetched.refusal)
                secured = secured or fetched.secured
            for effect in statement.effects:
                if isinstance(effect, Declare):
                    shown[effect.name] = Verdict(b"", (statement,), secured=verdict.secured)
                elif isinstance(effect, CloseCursor) and effect.name is not None:
                    shown[effect.name] = None
        return replace(verdict, statements=tuple(statements), secured=secured)

    def _named(self, cursor: str) -> Verdict | Unsettled | None:
        """The verdict on reading this portal or cursor by FETCH, None if nobody here knows it."""
        portal = self._dialogue.portals.look_up(cursor.encode(), self._dialogue.segment)
        if portal is None or isinstance(portal, Unsettled):
            return portal
        verdict = self.decide(portal)
        if verdict.refusal is not None:
            return verdict
        if not verdict.plain or len(verdict.statements) != 1:
            # A FETCH is followed by nothing of what an Execute is: effects, checks of rows, what is left to COMMIT.
            return verdict.rejected(FETCHED_WITH_EFFECTS)
        self.start(portal, verdict)
        return verdict

    # --- DECLARE and CLOSE --------------------------------------------------------------------------------------------

    def declare(self, effect: Declare, statement: StatementVerdict, policy: Policy | None) -> None:
        """A DECLARE completed that had been decided as ``statement``, under ``policy``."""
        dialogue, text = self._dialogue, effect.text.encode()
        circumstances = dialogue.circumstances
        basis = circumstances.basis(text)
        decided, _ = circumstances.decide_again(text, basis)
        known = decided.refusal is None and _said(decided) == ((statement.kind, statement.purpose, statement.columns),)
        verdict = replace(decided, statements=(replace(statement, effects=()),), refusal=None, permanent=False)
        prepared = Statement(text, None, circumstances.naming, verdict)
        portal = Portal(prepared, verdict, circumstances.naming, basis, declared=True, hold=effect.hold)
        portal.lapsed = not known or policy is not circumstances.policy
        dialogue.portals.put(effect.name.encode(), portal)

    def close(self, name: str | None) -> None:
        """A CLOSE completed."""
        dialogue = self._dialogue
        if name is not None:
            dialogue.close_portal(dialogue.portals.remove(name.encode()))
            return
        for portal in dialogue.portals.clear():
            dialogue.close_portal(portal)


def alike(now: Verdict, then: Verdict) -> bool:
    """The same decision: what runs and what the audit is told."""
    return now.text == then.text and _said(now) == _said(then)


def _said(verdict: Verdict) -> tuple[tuple[object, ...], ...]:
    return tuple((one.kind, one.purpose, one.columns) for one in verdict.statements)


def _showing(statement: StatementVerdict, fetched: Verdict) -> StatementVerdict:
    """A FETCH of what was decided so."""
    if not fetched.statements:
        return replace(statement, kind="reject", cursor=None)
    shown = fetched.statements[0]
    return replace(
        statement,
        kind=shown.kind,
        purpose=shown.purpose,
        columns=shown.columns,
        subjects=shown.subjects,
        raw_origins=shown.raw_origins,
        unverified=shown.unverified,
        conflicts=shown.conflicts,
        cursor=None,
    )
