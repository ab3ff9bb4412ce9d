"""Is what the upstream answers the answer to what was decided?

A statement may run long after its decision: behind others in a pipeline, or behind a lock that another session holds.
Meanwhile names and functions can become others, and a policy can be reloaded. So an answer that comes late, or while
another session commits a change of the schema, is held until the catalog of after it has been read, and goes to the
client only if the decision would be the same.
"""

from __future__ import annotations

from typing import Final

from proxy.catalog.model import Catalog
from proxy.errors import INSUFFICIENT_PRIVILEGE
from proxy.policy.model import Policy
from proxy.session.cursors import Cursors, alike
from proxy.session.dialogue import Dialogue
from proxy.session.events import Clock
from proxy.session.migrations import Migrations
from proxy.session.reasons import SessionOver
from proxy.session.replies import Reply
from proxy.verdict import Verdict
from proxy.wire import backend, frontend

LATE_SECONDS: Final = 1.0
"""An answer that takes longer may have waited for a lock, while somebody whom nobody here knows changed the schema."""

_ASIDE: Final = frozenset({backend.NOTICE_RESPONSE, backend.NOTIFICATION_RESPONSE, backend.PARAMETER_STATUS})
"""What may come before a statement has got its locks, and begun."""


class Doubts:
    """Of one session. Ask :meth:`arise` when the upstream answers, and :meth:`settle` before its answer is read.

    ``grave``: it is known that the schema changes, so nothing is answered before the catalog has been read.
    """

    def __init__(self, dialogue: Dialogue, migrations: Migrations, clock: Clock) -> None:
        self._dialogue = dialogue
        self._migrations = migrations
        self._clock = clock
        self._cursors = Cursors(dialogue)
        self._confirmed = clock()
        self._policy: Policy | None = None
        self._catalog: Catalog | None = None
        self.grave = False

    def arise(self, data: bytes) -> bool:
        """What the upstream sends (``data``) may rest on another catalog than the one that is known: read that anew."""
        dialogue = self._dialogue
        head = dialogue.replies.head
        if head is None or not data:
            return False
        now = self._clock()
        begins = head.verdict is not None and head.begun != head.completed
        self.grave = self._migrations.others(dialogue.database, dialogue, now)
        if data[0] not in _ASIDE:
            head.begun = head.completed
        if self.grave:
            return begins or any(reply.verdict is not None for reply in dialogue.replies if reply is not head)
        late = begins and now - max(head.sent, self._confirmed) > LATE_SECONDS
        if late:
            self._confirmed = now
        return late

    def settle(self) -> None:
        """Decides again what is in flight, if policy or catalog are others now. Raises SessionOver."""
        circumstances = self._dialogue.circumstances
        try:
            policy, catalog = circumstances.renewed()
        except Exception:  # nothing can be decided now, so nothing has been decided otherwise
            return
        if policy is self._policy and catalog is self._catalog:
            return
        self._policy, self._catalog = policy, catalog
        for reply in self._dialogue.replies:
            if reply.verdict is None or reply.refused is not None:
                continue
            # A statement under way goes on under the policy with which it began.
            outdated = reply.policy is not policy and reply is not self._dialogue.replies.head
            if (outdated or reply.catalog is not catalog) and not self._stands(reply, reply.verdict):
                raise SessionOver(
                    INSUFFICIENT_PRIVILEGE,
                    "consentry: the decision on a statement changed while it waited",
                    detail="Meanwhile somebody changed the schema or the policy. Nothing of its result was sent.",
                    hint="Connect again, and run it again.",
                )
            reply.policy, reply.catalog = policy, catalog

    def _stands(self, reply: Reply, verdict: Verdict) -> bool:
        portal = reply.executing
        if portal is not None:
            return self._cursors.stands(portal)
        if reply.query is None:
            return True
        for now in self._dialogue.circumstances.forms(reply.query):
            same = alike(now, verdict) if reply.kind != frontend.QUERY else now.text == verdict.text
            if now.refusal is None and same:
                return True
        return False
