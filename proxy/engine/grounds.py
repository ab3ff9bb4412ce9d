"""What judging rests on beside the text and the session's state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from proxy.engine.protected import Protected
from proxy.engine.session_state import SessionState
from proxy.engine.trust import Trust
from proxy.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Grounds:
    """``protected`` and ``trust`` belong to one policy and catalog. ``now`` is when the decision is made.

    ``authorize`` judges another text in the same state: the statement that SQL EXECUTE names.
    """

    protected: Protected
    trust: Trust
    now: datetime
    authorize: Callable[[bytes, SessionState], Verdict]
