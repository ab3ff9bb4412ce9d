"""The transaction under way, as far as decisions depend on it (manual, 55.2.2.1, 55.2.4; xact.c)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from proxy.catalog.model import TEMPORARY
from proxy.errors import FEATURE_NOT_SUPPORTED, Refusal
from proxy.session.events import Clock
from proxy.session.isolation import Isolation
from proxy.session.migrations import concerns_others, redirects
from proxy.session.overlay import Overlay
from proxy.session.reasons import StateLost
from proxy.settings import Settings
from proxy.verdict import (
    Begin,
    ChangeCatalog,
    Commit,
    CreateRelation,
    DeferredCheck,
    DiscardAll,
    DropRelation,
    Effect,
    Release,
    ResetAll,
    Rollback,
    RollbackTo,
    Savepoint,
    StatementVerdict,
)
from proxy.wire import backend


@dataclass(frozen=True, slots=True)
class Left:
    """A check that ``statement`` left to be made later. ``secret``: what the check's error holds. ``at_commit``: if it
    fails, it is the transaction that fails."""

    check: DeferredCheck
    secret: str
    statement: StatementVerdict
    at_commit: bool = True


class Transaction:
    """Follows transactions by completed statements, errors and ReadyForQuery; owns what they roll back.

    ``in_block``: inside BEGIN … COMMIT. ``failed``: something went wrong since the transaction, explicit or implicit,
    began. ``secured``: a statement of it ran over secured relations, and what it left to the end may tell of base rows.
    ``dirty``: its end may change settings or relations. ``catalog_outdated``: committed DDL that the shared
    catalog may not show yet; the owner clears it. ``committed``: so the last transaction ended. ``concerns_others``: it
    changed what other sessions see when it commits; ``redirects``: such that what they run could be other code then.
    """

    def __init__(self, start: Mapping[str, str], isolation: str = "", clock: Clock = time.monotonic) -> None:
        self.settings = Settings(start)
        self.isolation = Isolation(isolation, clock)
        self.overlay = Overlay()
        self.in_block = False
        self.failed = False
        self.secured = False
        self.dirty = False
        self.catalog_outdated = False
        self.left: dict[str, Left] = {}
        self.committed = True
        self.concerns_others = False
        self.redirects = False
        self._catalog_changed = False

    def complete(self, effects: tuple[Effect, ...], tag: bytes) -> bool:
        """A statement with ``effects`` completed with command tag ``tag``. True if a transaction ended with it."""
        self.concerns_others = self.concerns_others or concerns_others(effects)
        self.redirects = self.redirects or redirects(effects)
        ended = False
        for effect in effects:
            self.isolation.follow(effect, self.in_block)
            match effect:
                case Begin():
                    self.in_block = True
                case Commit(chain) | Rollback(chain):
                    # An aborted block answers COMMIT and PREPARE TRANSACTION with the tag ROLLBACK. Outside of a block
                    # PREPARE TRANSACTION may say so too (xact.c, PrepareTransactionBlock), and commits all the same.
                    rolled_back = isinstance(effect, Rollback) or (self.in_block and tag == b"ROLLBACK")
                    self._end(committed=not rolled_back)
                    self._begin_again(chain)
                    ended = True
                case DiscardAll():
                    self.overlay.drop_temporary()
                    self.settings.apply(effect, self.in_block)
                case CreateRelation(schema, name, temporary, passing):
                    self.overlay.create(TEMPORARY if temporary else schema or "", name, temporary, passing)
                case DropRelation(schema, name):
                    self.overlay.drop(schema, name)
                case ChangeCatalog(code, temporary):
                    self._catalog_changed = True
                    if not (self.overlay.named and _told_by_names(effects)):
                        temporary = temporary or TEMPORARY in self.settings.current().get("search_path", "")
                        self.overlay.change(temporary, code)
                case _:
                    self._in_transaction(effect)
        if tag == b"DISCARD TEMP":
            self.overlay.drop_temporary()
        self.dirty = self._catalog_changed or self.overlay.dirty or self.settings.dirty
        return ended

    def _begin_again(self, chain: bool) -> None:
        """A block is over; where it was AND CHAIN there is another."""
        self.in_block = chain
        if chain:
            self.isolation.chain()

    def _in_transaction(self, effect: Effect) -> None:
        match effect:
            case Savepoint(name):
                self.overlay.savepoint(name)
            case Release(name):
                self.overlay.release(name)
            case RollbackTo(name):
                self.overlay.rollback_to(name)
                self.failed = False
            case ResetAll():
                self.left = {sql: _lost(left) for sql, left in self.left.items()}
        self.settings.apply(effect, self.in_block)

    def leave(self, statement: StatementVerdict, secret: str) -> None:
        """``statement`` completed, and left checks to COMMIT."""
        for check in statement.deferred:
            self.left.setdefault(check.sql, Left(check, secret, statement))

    def fail(self) -> None:
        """The upstream answered with an error."""
        self.failed = True

    def ready(self, status: int) -> bool:
        """ReadyForQuery with ``status``. True if a transaction ended. Raises StateLost where it cannot be so."""
        if status == backend.IDLE:
            if self.in_block and not self.failed:
                raise StateLost("a transaction block ended unseen")
            self._end(committed=not self.failed)
            self.in_block = False
            return True
        if not self.in_block:
            raise StateLost("a transaction block began unseen")
        self.failed = status == backend.FAILED_TRANSACTION
        return False

    def catalog_read(self) -> None:
        """The shared catalog shows everything that this session committed."""
        self.catalog_outdated = False
        self.overlay.forget_committed()

    def _end(self, committed: bool) -> None:
        self.committed = committed
        self.concerns_others = self.redirects = False
        self.isolation.end(committed)
        self.settings.end_transaction(committed)
        self.overlay.end(committed)
        self.left.clear()
        self.catalog_outdated = self.catalog_outdated or (committed and self._catalog_changed)
        self._catalog_changed = self.failed = self.secured = self.dirty = False


def _lost(left: Left) -> Left:
    """RESET ALL took the setting away that says of whom the check is to be made: nothing is allowed then."""
    refusal = Refusal(
        FEATURE_NOT_SUPPORTED,
        "consentry: a transaction that registered somebody cannot be committed after RESET ALL",
        detail="What was left to its COMMIT is not known any more.",
        hint="Use RESET ALL outside of transactions, or reset the parameters one by one.",
    )
    failing = f"SELECT CAST(pg_catalog.concat('{left.secret}:') AS pg_catalog.int4)"
    return replace(left, check=DeferredCheck(left.check.id, failing, refusal))


def _told_by_names(effects: tuple[Effect, ...]) -> bool:
    """Nothing but temporary tables came or went."""
    return any(isinstance(effect, (CreateRelation, DropRelation)) for effect in effects) and all(
        effect.temporary if isinstance(effect, CreateRelation) else effect.schema == TEMPORARY
        for effect in effects
        if isinstance(effect, (CreateRelation, DropRelation))
    )
