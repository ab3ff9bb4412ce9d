"""What verdicts of this session depend on, kept current: the engine is asked anew only when something changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from proxy.catalog.model import Catalog
from proxy.errors import Refusal
from proxy.policy.model import Policy
from proxy.session.naming import Naming, Shadows
from proxy.session.reasons import DECIDING_FAILED, SNAPSHOT_TOO_OLD, no_policy, not_utf8
from proxy.session.transaction import Transaction
from proxy.settings import ISOLATION
from proxy.verdict import Context, Decisions, Engine, Origins, TypesVerdict, Verdict, Work

EXECUTE: Final = b"execute"
LISTS: Final = (b"pg_prepared_statements", b"pg_cursors")
LONG: Final = 2048
"""Bytes of a text that may take long to decide on. One of 10,000 takes a quarter of a second where each of its bytes is
another comparison."""


Answer = tuple[Sequence[tuple[str, int]], Sequence[Sequence[bytes | None]]]
"""The columns of a result by name and type OID, and its rows in text format."""

Ask = Callable[[str, Sequence[str]], Awaitable[Answer]]
"""Runs a statement with parameters in text format on the session's connection."""


class OwnCatalog(Protocol):
    """The catalog as one session alone sees it."""

    async def read(self, ask: Ask, savepoint: str | None, *, steady: bool) -> Catalog:
        """As of now. Raises if it cannot be read."""
        ...


class PolicyHolder(Protocol):
    """Where the policies in force stand; a reload swaps them."""

    def of(self, database: str) -> Policy | None:
        """The policy of a database, the same object until the next reload; None: nobody may connect to it."""
        ...


class CatalogSource(Protocol):
    """The upstream's catalogs, one for each database."""

    async def catalog(self, database: str) -> Catalog:
        """The catalog, loaded when first asked for; kept fresh until ``release``. Raises if it cannot be read."""
        ...

    def release(self, database: str) -> None:
        """The end of one use that began when ``catalog`` gave its answer."""
        ...

    async def reload(self, database: str) -> Catalog:
        """The catalog as of now: what was committed before the call is in it. Raises if it cannot be read."""
        ...

    def current(self, database: str) -> Catalog:
        """The newest snapshot; the same object while nothing changed. Only after ``catalog``."""
        ...

    def own(self, database: str) -> OwnCatalog:
        """What one session sees of the database. Only after ``catalog``."""
        ...


class Prepared(NamedTuple):
    """What SQL EXECUTE may name: the client's texts, and by the same names what was sent where that is another.

    ``stale``: those in which names mean other relations than they did when the upstream read them. ``cursors``: the
    client's texts of cursors and portals, by name.
    """

    texts: Mapping[str, str]
    sent: Mapping[str, str] = MappingProxyType({})
    stale: frozenset[str] = frozenset()
    cursors: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """What a decision was made upon."""

    context: Context
    decisions: Decisions


class Circumstances:
    """Decides texts in the session's present context. Never raises for a text: an error while deciding is a refusal."""

    def __init__(
        self,
        engine: Engine,
        policies: PolicyHolder,
        current: Callable[[str], Catalog],
        database: str,
        role: str,
        transaction: Transaction,
        prepared: Callable[[], Prepared],
        fault: Callable[[BaseException], None],
    ) -> None:
        self._engine = engine
        self._policies = policies
        self._current = current
        self._database = database
        self._role = role
        self._start = transaction.settings.current()
        self._transaction = transaction
        self._prepared = prepared
        self._fault = fault
        self._basis: Basis | None = None
        self._fresh = False
        self._last: tuple[tuple[object, ...], Basis] | None = None
        self._shadows = Shadows()
        self.snapshot_age: float | None = None
        """Seconds that the snapshot of a transaction may be old when something classified is read or written by it."""

        self.policy = self._in_force()
        self.catalog = current(database)
        self.naming = Naming(transaction.overlay.relations(), self.catalog.relation_names)

    def changed(self) -> None:
        """Settings, overlay or transaction are not what they were."""
        self._basis = None

    def look_again(self) -> None:
        """Time passed, in which others may have changed policy or catalog."""
        self._fresh = False

    def decide(self, text: bytes) -> Verdict:
        """The verdict on exactly this text, now."""
        return self._here(self._decide(text))

    def work(self, text: bytes) -> Work | None:
        """What is to be done elsewhere before :meth:`decide` has the verdict at once; None where it has."""
        if len(text) < LONG or not_utf8(text) is not None:
            return None
        try:
            return self.present().decisions.work(text)
        except Exception:  # decide() meets it again, and refuses
            return None

    def forms(self, text: bytes) -> tuple[Verdict, ...]:
        """The verdict on this text as of now, for a text that began outside of a transaction block and inside one."""
        verdict = self._decide(text)
        return (verdict,) if verdict.within_block is None else (verdict, verdict.within_block)

    def _decide(self, text: bytes) -> Verdict:
        try:
            decisions = self.present().decisions
            verdict = decisions.known.get(text)
            if verdict is None:
                verdict = self._first_seen(decisions, text)
            if (verdict.refusal is not None or verdict.rewritten) and names_prepared(text):
                verdict = self._on(self._with_prepared(), text)
        except Exception as error:  # whatever it is, it must refuse the statement
            self._fault(error)
            return refused(text, DECIDING_FAILED)
        return verdict

    def parameter_types(self, oids: tuple[int, ...]) -> TypesVerdict:
        """May values be converted to these types, now?"""
        try:
            return self.present().decisions.parameter_types(oids)
        except Exception as error:  # whatever it is, it must refuse the statement
            self._fault(error)
            return TypesVerdict(DECIDING_FAILED)

    def basis(self, text: bytes) -> Basis:
        """What :meth:`decide` decides ``text`` upon, now. Raises what the engine raises."""
        return self._with_prepared() if names_prepared(text) else self.present()

    def renewed(self) -> tuple[Policy, Catalog]:
        """Policy and catalog in force. Raises what the catalog's source raises."""
        self.present()
        return self.policy, self.catalog

    def decide_again(self, text: bytes, basis: Basis, *, anew: bool = False) -> tuple[Verdict, Basis]:
        """The verdict under the policy and at the time of now, with the session as it was then; and upon what.

        ``anew``: also under the catalog of now.
        """
        try:
            self.present()
            if basis.context.policy is not self.policy or (anew and basis.context.catalog is not self.catalog):
                context = replace(basis.context, policy=self.policy, catalog=self.catalog)
                basis = Basis(context, self._engine.decisions(context))
            return self._here(self._on(basis, text)), basis
        except Exception as error:  # whatever it is, it must refuse the statement
            self._fault(error)
            return refused(text, DECIDING_FAILED), basis

    def _here(self, verdict: Verdict) -> Verdict:
        """The form of ``verdict`` for where the session stands: inside or outside of a transaction block."""
        if verdict.within_block is not None and self._transaction.in_block:
            verdict = verdict.within_block
        if self.snapshot_age is not None and self._transaction.isolation.snapshot_age > self.snapshot_age:
            classified = any(statement.kind in ("allow", "mask") for statement in verdict.statements)
            return verdict.rejected(SNAPSHOT_TOO_OLD) if classified and verdict.refusal is None else verdict
        return verdict

    @property
    def trusted(self) -> bool:
        """The role is trusted with everything."""
        role = self.policy.role(self._role)
        return role is not None and role.code

    @property
    def committed(self) -> Catalog:
        """What all sessions see."""
        return self._current(self._database)

    def renamed(self, text: bytes, then: Naming) -> bool:
        """A name in ``text`` may mean another relation than it did ``then``. Ask after deciding, never before."""
        return then is not self.naming and self._shadows.concern(text, then, self.naming)

    def names(self, origins: Origins) -> tuple[str, ...]:
        """Columns as ``schema.relation.column``."""
        relations = self.catalog.relations
        return tuple(
            sorted(
                f"{relation.schema}.{relation.name}.{column.name}"
                for relation in (relations[oid] for oid in {oid for oid, _ in origins} if oid in relations)
                for column in relation.columns
                if (relation.oid, column.number) in origins
            )
        )

    def context(self, prepared: Prepared | None = None) -> Context:
        """The session as it is now, under the policy and catalog last looked at."""
        settings = self._transaction.settings
        current = settings.current()
        if self._transaction.isolation.serializable:
            current = {**current, ISOLATION: "serializable"}
        return Context(
            database=self._database,
            role=self._role,
            current_role=current.get("role") or current.get("session_authorization") or self._role,
            settings=current,
            purpose_source=settings.source("consentry.purpose"),
            catalog=self.catalog,
            policy=self.policy,
            start=self._start,
            dirty=settings.dirty,
            uncommitted_code=self._transaction.overlay.code,
            overlay=self._transaction.overlay.relations(),
            prepared={} if prepared is None else prepared.texts,
            prepared_sent={} if prepared is None else prepared.sent,
            prepared_stale=frozenset() if prepared is None else prepared.stale,
            cursors={} if prepared is None else prepared.cursors,
        )

    def present(self) -> Basis:
        """What decisions are made upon now, but for SQL EXECUTE. Raises what the engine raises."""
        basis = self._basis
        if self._fresh and basis is not None:
            return basis
        self._fresh = False
        if (
            basis is None
            or self._policies.of(self._database) is not self.policy
            or (self._transaction.overlay.own or self._current(self._database)) is not self.catalog
        ):
            basis = self._renew()
        self._fresh = True  # not where nothing can be decided now: then that is so for all that comes
        return basis

    def _renew(self) -> Basis:
        self._basis = None
        self.policy = self._in_force()
        self.catalog = self._transaction.overlay.own or self._current(self._database)
        overlay = self._transaction.overlay.relations()
        if not self.naming.same(overlay, self.catalog.relation_names):
            self.naming = Naming(overlay, self.catalog.relation_names)
        transaction = self._transaction
        seen = (
            transaction.settings.current(),
            self.policy,
            self.catalog,
            overlay,
            transaction.settings.dirty,
            transaction.overlay.code,
            transaction.isolation.serializable,
        )
        if self._last is None or any(now is not then for now, then in zip(seen, self._last[0], strict=True)):
            context = self.context()
            self._last = seen, Basis(context, self._engine.decisions(context))
        self._basis = self._last[1]
        return self._basis

    def may_hear(self, channel: str) -> bool:
        """The policy in force lets this session hear what is notified on ``channel``."""
        policy = self._policies.of(self._database)
        return policy is not None and policy.trusts_channel(channel, policy.role(self._role))

    def _in_force(self) -> Policy:
        policy = self._policies.of(self._database)
        if policy is None:
            raise no_policy(self._database)
        return policy

    def _first_seen(self, decisions: Decisions, text: bytes) -> Verdict:
        invalid = not_utf8(text)
        if invalid is not None:
            return refused(text, invalid)
        return decisions.authorize(text)

    def _with_prepared(self) -> Basis:
        """SQL EXECUTE depends on what its name stands for, and pg_prepared_statements shows it; nothing else does, so
        other contexts leave that out.
        """
        present, prepared = self.present(), self._prepared()
        if not prepared.texts and not prepared.cursors:
            return present
        context = self.context(prepared)
        return Basis(context, self._engine.decisions(context))

    @staticmethod
    def _on(basis: Basis, text: bytes) -> Verdict:
        return basis.decisions.known.get(text) or basis.decisions.authorize(text)


def names_prepared(text: bytes) -> bool:
    """The text may hold an SQL EXECUTE, or read the list of prepared statements or cursors."""
    folded = text.lower()
    return EXECUTE in folded or any(one in folded for one in LISTS)


def refused(text: bytes, refusal: Refusal) -> Verdict:
    """A verdict that needed no engine; nothing about the session can change it."""
    return Verdict(text, (), refusal, permanent=True)
