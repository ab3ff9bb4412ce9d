"""The turn of a change that would have running statements come upon other code: it is sent when nothing of other
sessions is under way, and nothing of them begins before it is over (:mod:`proxy.session.migrations`).

Whoever waits in this way may be waited for, by locks that nobody here sees. So both the wait and the turn are bounded:
the change is refused, or cancelled, and the others go on.
"""

from __future__ import annotations

from typing import Final

from proxy.session.dialogue import Dialogue
from proxy.session.migrations import redirects
from proxy.session.outbox import CancelOwn
from proxy.session.reasons import CHANGE_OF_CODE, CHANGE_TOO_LONG, LOCK_NOT_AVAILABLE, STATEMENTS_UNDER_WAY, SessionOver
from proxy.verdict import Commit, Verdict

WAIT_SECONDS: Final = 2.0
"""How long a change waits for what is under way, and what comes meanwhile waits for it."""
TURN_SECONDS: Final = 5.0
"""How long it may take when it has been sent, and the same again until it must be over after it was cancelled."""


class Turns:
    """Of one session."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue

    def taken(self, verdict: Verdict) -> Verdict | None:
        """``verdict``, or a refusal of what did not get its turn; None: wait, and ask again with the same message."""
        dialogue = self._dialogue
        if verdict.refusal is not None or not verdict.has_effects:
            return verdict
        if not dialogue.alone and any(
            redirects(one.effects) and one.tag != "COMMIT PREPARED" for one in verdict.statements
        ):
            # So what is prepared holds none either.
            return verdict.rejected(CHANGE_OF_CODE)
        if not self._needs_one(verdict):
            return verdict
        now, migrations = dialogue.clock(), dialogue.migrations
        if dialogue.waits_since is None:
            dialogue.waits_since = now
        claimed = migrations.claim(dialogue.database, dialogue, now)
        if claimed and migrations.alone(dialogue.database, dialogue):
            dialogue.waits_since, dialogue.turn_since = None, now
            return verdict
        if now - dialogue.waits_since > WAIT_SECONDS:
            dialogue.waits_since = None
            if claimed:
                migrations.withdraw(dialogue.database, dialogue)
            return verdict.rejected(STATEMENTS_UNDER_WAY)
        dialogue.held = True
        return None

    def _needs_one(self, verdict: Verdict) -> bool:
        transaction = self._dialogue.transaction
        ends = any(isinstance(effect, Commit) for one in verdict.statements for effect in one.effects)
        if ends and transaction.redirects:
            return True
        return (ends or not transaction.in_block) and any(redirects(one.effects) for one in verdict.statements)

    def watch(self) -> None:
        """Bounds the turn. To be called several times a second while one lasts. Raises SessionOver."""
        dialogue = self._dialogue
        if dialogue.turn_since is None or dialogue.awaiting_catalog:
            return
        taken = dialogue.clock() - dialogue.turn_since
        if taken > TURN_SECONDS and not dialogue.turn_cancelled:
            dialogue.turn_cancelled = True
            dialogue.outbox.commands.append(CancelOwn(dialogue.cancel))
        elif taken > 2 * TURN_SECONDS:
            raise SessionOver(LOCK_NOT_AVAILABLE, CHANGE_TOO_LONG.message, CHANGE_TOO_LONG.detail, CHANGE_TOO_LONG.hint)

    def settled(self) -> None:
        """The catalog was read after the session was over: what it had committed is known."""
        if self._dialogue.awaiting_catalog:
            self._dialogue.migrations.withdraw(self._dialogue.database, self._dialogue)

    def leave(self) -> None:
        """The session is over. What it announced may still be committed; what waited for its turn will not be."""
        dialogue, migrations = self._dialogue, self._dialogue.migrations
        migrations.leave(dialogue.database, dialogue)
        if dialogue.turn_since is not None:
            dialogue.outbox.commands.append(CancelOwn(dialogue.cancel))
        if dialogue.announced or dialogue.turn_since is not None:
            migrations.abandon(dialogue.database, dialogue, dialogue.clock())
        else:
            migrations.withdraw(dialogue.database, dialogue)
