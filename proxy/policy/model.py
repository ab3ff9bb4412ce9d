"""The policy as the engine sees it: frozen, validated, packs merged in. Made by the loader only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Literal, NamedTuple

from proxy.masks import Mask


class Outcome(IntEnum):
    """What happens to a cell, least restrictive first; the most restrictive of all reasons wins."""

    ALLOW = 0
    MASK = 1
    NULLIFY = 2
    DROP_ROW = 3
    REJECT = 4


class Use(StrEnum):
    """What a statement does with a column."""

    READ = "read"
    WRITE = "write"
    EXPORT = "export"


class Sensitivity(IntEnum):
    GENERAL = 0
    SENSITIVE = 1


class Name(NamedTuple):
    """A table, written in the policy as the catalog has it: no case folding."""

    schema: str
    relation: str


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of personal information, with what holds for its columns unless they say otherwise."""

    name: str
    sensitivity: Sensitivity
    mask: Mask


@dataclass(frozen=True, slots=True)
class Account:
    """Where the state of a subject's account stands. ``states`` maps a state (``active``) to the column's values."""

    table: Name
    subject: str
    column: str
    states: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class ConsentSource:
    """Where consent stands: one row a subject and purpose, or a history. A None column is not mapped."""

    table: Name
    subject: str
    purpose: str
    granted_at: str | None = None
    withdrawn_at: str | None = None
    expires_at: str | None = None
    express: str | None = None
    notice_version: str | None = None
    time_zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class SubjectKind:
    """People of one kind: their registry (one row a subject), account state and consent."""

    name: str
    table: Name
    key: str
    account: Account | None
    consent: ConsentSource | None


@dataclass(frozen=True, slots=True)
class Via:
    """A classified table reaches its subject through ``table``: own ``column`` = ``table.key``."""

    table: Name
    column: str
    key: str


@dataclass(frozen=True, slots=True)
class SubjectLink:
    """The person a row is about. Exactly one of ``key`` (a column of the row) and ``via`` is set."""

    kind: str
    key: str | None = None
    via: Via | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """Rows older than ``keep`` after column ``start`` are past their retention."""

    start: str
    keep: timedelta


@dataclass(frozen=True, slots=True)
class ColumnPolicy:
    """One classified column. ``mask`` and ``sensitivity`` are the column's own or its category's, already resolved."""

    name: str
    category: str
    sensitivity: Sensitivity
    mask: Mask


@dataclass(frozen=True, slots=True)
class TablePolicy:
    """One classified table. Without ``subject``, every row condition about a subject fails."""

    name: Name
    subject: SubjectLink | None
    retention: Retention | None
    columns: Mapping[str, ColumnPolicy]


@dataclass(frozen=True, slots=True)
class Purpose:
    """Why data is processed. ``accounts`` None is ``any``; ``categories`` may hold ``*``."""

    name: str
    description: str
    basis: str
    categories: frozenset[str]
    accounts: frozenset[str] | None
    self_only: bool
    share: frozenset[str]
    erase: bool
    notice_version: int | None


@dataclass(frozen=True, slots=True)
class Role:
    """A login role of PostgreSQL as the policy sees it. ``declares``: which ways of declaring a purpose are open."""

    name: str
    purposes: frozenset[str]
    default_purpose: str | None
    third_party: bool
    declares: frozenset[str]
    manages: frozenset[str]
    ddl: bool
    code: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """Tightens only. An empty selector (None) matches everything."""

    id: str
    roles: frozenset[str] | None
    purposes: frozenset[str] | None
    categories: frozenset[str] | None
    uses: frozenset[Use] | None
    effect: Outcome
    mask: Mask | None


@dataclass(frozen=True, slots=True)
class Suspension:
    """An order to stop: the purpose is rejected from ``start`` (aware) until ``until`` (None: until lifted)."""

    purpose: str
    start: datetime
    until: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class BulkLimit:
    """A limit to quantity. ``roles`` None: for every role. ``conflicts_per_minute`` None: no limit to them.

    ``effect``: what happens beyond it, a refusal (``reject``) or an event (``alert``).
    """

    id: str
    roles: frozenset[str] | None
    conflicts_per_minute: int | None
    effect: Literal["reject", "alert"]


@dataclass(frozen=True, slots=True)
class Contact:
    name: str = ""
    email: str = ""
    url: str = ""

    def __str__(self) -> str:
        """As the HINT of a refusal shows it: ``Privacy office <privacy@example.com> https://…``; empty if unset."""
        email = f"<{self.email}>" if self.email else ""
        return " ".join(part for part in (self.name, email, self.url) if part)


@dataclass(frozen=True, slots=True)
class Defaults:
    undeclared_purpose: Outcome = Outcome.MASK
    out_of_scope: Outcome = Outcome.MASK
    condition_failed: Outcome = Outcome.MASK
    unclassified_tables: Literal["allow", "reject"] = "allow"


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy. ``digest`` is the SHA-256 (hex) of all the files it came from, in order."""

    name: str
    digest: str
    contact: Contact
    subjects: Mapping[str, SubjectKind]
    tables: Mapping[Name, TablePolicy]
    categories: Mapping[str, Category]
    purposes: Mapping[str, Purpose]
    roles: Mapping[str, Role]
    rules: tuple[Rule, ...] = ()
    defaults: Defaults = field(default_factory=Defaults)
    suspensions: tuple[Suspension, ...] = ()
    bulk: tuple[BulkLimit, ...] = ()
    trusted_functions: tuple[str, ...] = ()
    trusted_views: tuple[str, ...] = ()
    trusted_channels: tuple[str, ...] = ()

    def role(self, name: str) -> Role | None:
        """The role's entry, else the fallback ``'*'``, else None: a role without purposes."""
        return self.roles.get(name) or self.roles.get("*")

    def trusts_channel(self, channel: str, role: Role | None) -> bool:
        """May ``role`` hear what is notified on ``channel``? A notification carries what triggers put into it."""
        if role is not None and role.code:
            return True
        return channel in self.trusted_channels or "*" in self.trusted_channels


# --- what decide() returns -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AccountCondition:
    """The subject's account state is one of ``values`` (raw values of the account column)."""

    kind: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class ConsentCondition:
    """The subject's consent to ``purpose`` is in force; ``express`` if demanded; notice at least ``notice_version``."""

    kind: str
    purpose: str
    express: bool
    notice_version: int | None


@dataclass(frozen=True, slots=True)
class RetentionCondition:
    """The row is within its retention."""

    start: str
    keep: timedelta


@dataclass(frozen=True, slots=True)
class SelfCondition:
    """The row's subject is the session's ``consentry.subject``."""

    kind: str


@dataclass(frozen=True, slots=True)
class NeverCondition:
    """No row can meet it (a table without a subject; a kind without a source that the purpose needs)."""

    why: str


Condition = AccountCondition | ConsentCondition | RetentionCondition | SelfCondition | NeverCondition


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy says of one column for one role, purpose and use.

    ``outcome`` holds for every row that meets all ``conditions``; one that fails any of them gets ``failed`` instead,
    which is then more restrictive (or masks more: both may be MASK). ``conditions`` is empty where failing one could
    not make a row come out worse. ``mask`` is how, where ``outcome`` is MASK; ``failed_mask`` the same for
    ``failed``. ``reasons`` are stable words, one for each step of the decision that held (``no purpose declared``,
    ``consent``, ``rule no-passwords``, …); ``rule`` is the id of the deciding rule, if one decided.
    """

    category: str
    sensitivity: Sensitivity
    outcome: Outcome
    mask: Mask | None
    conditions: tuple[Condition, ...]
    failed: Outcome
    failed_mask: Mask | None
    reasons: tuple[str, ...]
    rule: str | None
