"""The first subscribers of the sample database: people with known stories, whom the tour speaks of by name. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

PURPOSES = ("billing", "marketing", "support")
"""The purposes that the operator asks consent for."""

NOTICE_VERSION = 3
"""The version of the notice that people are shown today."""


@dataclass(frozen=True, slots=True)
class Consent:
    """One consent as it is stored; None means that the thing never happened, or never will."""

    purpose: str
    granted_at: datetime
    withdrawn_at: datetime | None = None
    expires_at: datetime | None = None
    is_express: bool = True
    notice_version: int = NOTICE_VERSION


class Member(NamedTuple):
    """One of the cast."""

    id: int
    full_name: str
    email: str
    status: str = "active"


AGREED = Member(1, "张伟", "zhang.wei@example.com")
WITHDRAWS = Member(2, "李娜", "li.na@example.com")
CLOSED = Member(3, "王芳", "wang.fang@example.com", "closed")
NOT_EXPRESS = Member(4, "刘洋", "liu.yang@example.com")
WITHDREW = Member(5, "陈静", "chen.jing@example.com")
EXPIRED = Member(6, "杨磊", "yang.lei@example.com")
OLD_NOTICE = Member(7, "赵敏", "zhao.min@example.com")
PAUSED = Member(8, "周涛", "zhou.tao@example.com", "paused")
PORTED_OUT = Member(9, "吴昊", "wu.hao@example.com", "ported_out")
LEGAL_HOLD = Member(10, "黄强", "huang.qiang@example.com", "legal_hold")
NEVER_ASKED = Member(11, "何雪", "he.xue@example.com")

CAST = (
    AGREED,
    WITHDRAWS,
    CLOSED,
    NOT_EXPRESS,
    WITHDREW,
    EXPIRED,
    OLD_NOTICE,
    PAUSED,
    PORTED_OUT,
    LEGAL_HOLD,
    NEVER_ASKED,
)


def consents_of(member: Member, now: datetime) -> list[Consent]:
    """What the member agreed to: everything and expressly, but for what the story says."""
    consents = {purpose: Consent(purpose, now - timedelta(days=400)) for purpose in PURPOSES}
    marketing = consents["marketing"]
    if member is NOT_EXPRESS:
        consents = {purpose: replace(consent, is_express=False) for purpose, consent in consents.items()}
    elif member is WITHDREW:
        consents["marketing"] = replace(marketing, withdrawn_at=now - timedelta(days=90))
    elif member is EXPIRED:
        consents["marketing"] = replace(marketing, expires_at=now - timedelta(days=1))
    elif member is OLD_NOTICE:
        consents["marketing"] = replace(marketing, notice_version=1)
    elif member is NEVER_ASKED:
        del consents["marketing"]
    return list(consents.values())
