"""One DDL statement that concerns protected relations, and the questions that it is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from proxy.catalog.model import Catalog, Relation
from proxy.engine.classification import Classification, family
from proxy.engine.grounds import Grounds
from proxy.engine.managed import Managed, deciding
from proxy.engine.refusals import PolicyRefused, denied, hint, unsupported
from proxy.engine.secured import Viewer, look
from proxy.engine.session_state import SessionState
from proxy.errors import INSUFFICIENT_PRIVILEGE, Refusal
from proxy.policy.model import Name, Policy, Use
from proxy.sql.definitions import EVERY
from proxy.sql.facts import Facts
from proxy.sql.grammar import Node


def full_name(relation: Relation) -> str:
    """``schema.table``."""
    return f"{relation.schema}.{relation.name}"


def kinds_of(policy: Policy, name: Name) -> frozenset[str]:
    """The kinds of subject whose registry, consent or account source, or way to the subject, bears this name."""
    found = set()
    for kind in policy.subjects.values():
        tables = {kind.table, *(source.table for source in (kind.account, kind.consent) if source is not None)}
        if name in tables:
            found.add(kind.name)
    for table in policy.tables.values():
        if table.subject is not None and table.subject.via is not None and table.subject.via.table == name:
            found.add(table.subject.kind)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """``relations``: what the statement names, by the id() of the RangeVar node."""

    facts: Facts
    state: SessionState
    grounds: Grounds
    relations: Mapping[int, Relation]

    @property
    def policy(self) -> Policy:
        return self.state.policy

    @property
    def catalog(self) -> Catalog:
        return self.state.context.catalog

    def relation(self, node: Node | None) -> Relation | None:
        """The relation that a RangeVar means; None where there is none (yet)."""
        return None if node is None else self.relations.get(id(node))

    def protects(self, relation: Relation | None) -> bool:
        """The policy protects ``relation``, or something that inherits from it, or decisions rest on it: by way of the
        view that the policy names, too."""
        if relation is None:
            return False
        protected = self.grounds.protected
        return any(one.oid in protected or one.oid in protected.managed for one in self.members(relation))

    def members(self, relation: Relation) -> list[Relation]:
        """A relation and all that inherit from it: what is done to it is done to them."""
        return family(self.catalog, relation.oid) or [relation]

    @property
    def protected(self) -> list[Relation]:
        """The protected relations that the statement names."""
        return [relation for relation in self.relations.values() if self.protects(relation)]

    def classification(self, relation: Relation) -> Classification:
        """Its classified columns; empty where it has none."""
        return self.grounds.protected.classified.get(relation.oid, {})

    def managed(self, relation: Relation) -> Managed:
        """What of it only managing roles may change."""
        return self.grounds.protected.managed.get(relation.oid) or Managed()

    # --- what must hold -----------------------------------------------------------------------------------------------

    def must_see(self, relation: Relation | None, columns: Iterable[str], what: str, use: Use = Use.READ) -> None:
        """``what`` judges or copies stored values of ``columns`` (maybe of others too).

        Raises PolicyRefused (42501) unless the session sees those that are classified raw in every row, in
        ``relation`` and in everything that inherits from it, and no row of it is dropped.
        """
        if relation is None:
            return
        names = frozenset(columns)
        purpose = self.state.purpose(self.facts.purpose)
        viewer = Viewer(self.policy, self.state.context.role, purpose, self.state.subject, self.grounds.now, use)
        for member in self.members(relation):
            classification = self.classification(member)
            if not classification:
                continue
            asked = _asked(member, classification, names)
            if not look(viewer, member, classification).shows(asked):
                listed = ", ".join(f"{full_name(member)}.{name}" for name in sorted(asked)) or full_name(member)
                raise PolicyRefused(
                    Refusal(
                        INSUFFICIENT_PRIVILEGE,
                        f"consentry: {what} judges or copies stored values of {listed}",
                        detail="This session does not see them as they are stored in every row."
                        f" Purpose: {purpose or 'none declared'}.",
                        hint=hint("Declare a purpose under which all of them may be seen.", self.policy),
                    )
                )

    def must_manage(self, kinds: Iterable[str], relation: str, what: str) -> None:
        """Raises Refused (42501) unless the role manages every one of ``kinds``."""
        missing = sorted(set(kinds) - (self.state.role.manages if self.state.role is not None else frozenset()))
        if missing:
            raise denied(
                f"{what} of {relation} is for roles that manage {', '.join(missing)}",
                detail="Consent, account states and what says whom a row is about rest on it.",
                way_out="Name the kind in manages of the role in the policy.",
                policy=self.policy,
            )

    def must_manage_rows(self, relation: Relation, what: str) -> None:
        """As :meth:`must_manage`, where any change of the relation's rows counts."""
        for member in self.members(relation):
            self.must_manage(self.managed(member).rows, full_name(member), what)

    def must_manage_columns(self, relation: Relation, columns: Iterable[str], what: str) -> None:
        """As :meth:`must_manage`, for columns that decisions rest on."""
        names = list(columns)
        for member in self.members(relation):
            managed = self.managed(member).columns
            resting = deciding(self.policy, member, self.catalog)
            for column in names:
                kinds = managed.get(column) or (self.policy.subjects.keys() if column in resting else ())
                self.must_manage(kinds, f"{full_name(member)}.{column}", what)

    def refuse(self, what: str, why: str, way_out: str) -> Exception:
        """0A000: the statement would leave protected what it concerns in a state that nobody can judge."""
        return unsupported(f"{what} is not available", detail=why, way_out=way_out)


def _asked(relation: Relation, classification: Classification, names: frozenset[str]) -> frozenset[str]:
    """The classified columns that ``names`` may mean."""
    row = relation.name in names and relation.column(relation.name) is None
    if EVERY in names or row:
        return frozenset(classification)
    return names & classification.keys()
