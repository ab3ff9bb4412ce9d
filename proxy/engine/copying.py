"""COPY FROM STDIN into a protected table: which columns may be written, and how its rows are checked.

COPY has no RETURNING that could carry a check. The session reads the subjects out of the data and has them checked
behind the rows, in the same transaction, by the statements that are made here: over the values of the data, or over
the rows as they are stored where a unique key finds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from proxy.catalog.model import Access, Column, Relation
from proxy.copying import COPY_BINARY_TYPES, CopyCheck, CopyFormat, CopyGroup
from proxy.engine.aliases import alias
from proxy.engine.claims import Claim, claims
from proxy.engine.compared import Compared
from proxy.engine.conditions import BASE, RowConditions
from proxy.engine.forms import copied_columns
from proxy.engine.grounds import Grounds
from proxy.engine.managed import Managed
from proxy.engine.reading import Reading, qualify
from proxy.engine.refusals import PolicyRefused, unsupported
from proxy.engine.registration import Deferral, all_left, all_registered, deferral, still_new
from proxy.engine.resolve import Resolved
from proxy.engine.row_checks import Check, Written, failing
from proxy.engine.secured import Viewer, column_use, look
from proxy.engine.session_state import SessionState
from proxy.engine.write_refusals import claiming_refused, comparing_refused, managing_refused, writing_refused
from proxy.errors import Refusal
from proxy.policy.model import (
    AccountCondition,
    Condition,
    Decision,
    Outcome,
    RetentionCondition,
    SubjectKind,
    SubjectLink,
    TablePolicy,
    Use,
)
from proxy.sql.copy_options import UnreadableCopy, copy_format, forces_null
from proxy.sql.facts import Facts
from proxy.sql.quote import identifier, qualified
from proxy.verdict import ColumnUse, DeferredCheck

_GIVEN, _KEYS, _VALUE = alias("g"), alias("y"), alias("c")
_WAY_OUT = "Write it as INSERT."


def copies_in(facts: Facts) -> bool:
    """COPY … FROM STDIN."""
    node = facts.statement.node
    return facts.statement.kind == "CopyStmt" and bool(node.get("is_from")) and "filename" not in node


@dataclass(frozen=True, slots=True)
class _Demand:
    """What the writing of ``columns`` asks of each row, as far as that follows from the same values of it."""

    conditions: tuple[Condition, ...]
    rows: TablePolicy
    columns: list[tuple[str, Decision]]


def copy_in(facts: Facts, resolved: Resolved, state: SessionState, purpose: str | None, grounds: Grounds) -> Reading:
    """What a COPY FROM STDIN writes. Raises PolicyRefused: 42501 for a column that may not be written in any row; and
    Refused (0A000) for a form whose rows cannot be told."""
    [name] = facts.relations
    reading = qualify(facts, resolved.shadows)
    work = _Copy(facts, resolved.named[id(name.node)], state, purpose, grounds)
    return work.run(reading)


class _Copy:
    def __init__(
        self, facts: Facts, relation: Relation, state: SessionState, purpose: str | None, grounds: Grounds
    ) -> None:
        self.facts, self.relation, self.state, self.purpose, self.grounds = facts, relation, state, purpose, grounds
        self.catalog = state.context.catalog
        self.classification = grounds.protected.classified.get(relation.oid, {})
        self.listed = copied_columns(facts, relation)
        self.full = f"{relation.schema}.{relation.name}"

    def run(self, reading: Reading) -> Reading:
        self._check_form()
        uses, demands = self._demands()
        reading = replace(reading, columns=uses)
        notes = [kind for kind in self._registered_kinds() if kind.key in self.listed]
        claimed = self._claims()
        if not demands and not notes and not claimed:
            return reading
        form = self._format()
        refusals: list[Refusal] = []
        outside: list[CopyGroup] = []
        inside: list[CopyGroup] = []
        left: list[DeferredCheck] = []
        for demand in demands:
            found = [column_use(self.relation, column, decision, Use.WRITE) for column, decision in demand.columns]
            refusal = writing_refused(found, self.purpose, self.state, always=False)
            plain, within, later = self._group(demand, form, len(refusals), refusal)
            outside.append(plain)
            inside.append(within)
            left += later
            refusals.append(refusal)
        for key, terms in claimed.items():
            group = self._unclaimed(key, terms, form, len(refusals))
            outside.append(group)
            inside.append(group)
            refusals.append(claiming_refused(self.relation, self._claiming_kinds(), self.state).refusal)
        inside += [self._note(kind, form) for kind in notes if self._asks_consent()]
        filtered = "whereClause" in self.facts.statement.node
        reading = replace(reading, checks=tuple(refusals))
        if outside:
            reading = replace(reading, copying=CopyCheck(form, tuple(outside), filtered))
        if inside != outside:
            block = replace(reading, copying=CopyCheck(form, tuple(inside), filtered), deferred=tuple(left))
            reading = replace(reading, within=block)
        return reading

    # --- what is not done ---------------------------------------------------------------------------------------------

    def _check_form(self) -> None:
        if self.relation.kind not in "rp":
            raise unsupported(f"COPY into {self.full}, which is no table", way_out="Write to the table itself.")
        role = self.state.role
        manages = frozenset() if role is None else role.manages
        lacking = self.grounds.protected.managed.get(self.relation.oid, Managed()).rows - manages
        if lacking:
            raise managing_refused(self.relation, (), lacking, self.state)
        viewer = Viewer(self.state.policy, self.state.context.role, self.purpose, self.state.subject, self.grounds.now)
        telling = Compared(self.relation, viewer, self.catalog, self.grounds.protected).telling("insert", frozenset())
        if telling:
            raise comparing_refused(self.relation, telling, self.facts.tag, self.purpose, self.state)

    def _format(self) -> CopyFormat:
        version = self.catalog.server_version
        major = version // 10000 if version >= 10000 else version
        try:
            return copy_format(self.facts.statement.node, len(self.listed), mark_ends=major < 18)
        except UnreadableCopy as option:
            raise unsupported(
                f"COPY into {self.full} with {option} is not available",
                detail="Whose rows these are is read out of the data, as far as its format is plain.",
                way_out=_WAY_OUT,
            ) from None

    # --- what is asked of the rows ------------------------------------------------------------------------------------

    def _demands(self) -> tuple[tuple[ColumnUse, ...], list[_Demand]]:
        """Raises PolicyRefused (42501) for a column that may not be written at all: not even whether a unique
        constraint accepts its values is for such a session to know."""
        viewer = Viewer(
            self.state.policy, self.state.context.role, self.purpose, self.state.subject, self.grounds.now, Use.WRITE
        )
        decisions = look(viewer, self.relation, self.classification).decisions if self.classification else {}
        written = [(name, decisions[name]) for name in self.listed if name in decisions]
        uses = tuple(column_use(self.relation, name, decision, Use.WRITE) for name, decision in written)
        barred = [
            use for use, (_, decision) in zip(uses, written, strict=True) if decision.outcome is not Outcome.ALLOW
        ]
        if barred:
            raise PolicyRefused(writing_refused(barred, self.purpose, self.state, always=True), uses)
        demands: dict[object, _Demand] = {}
        for name, decision in written:
            rows = self.classification[name].rows
            retention = tuple(one for one in decision.conditions if isinstance(one, RetentionCondition))
            others = tuple(one for one in decision.conditions if one not in retention)
            for conditions in (others, retention):
                if conditions:
                    key = (conditions, rows.name, repr(rows.subject))
                    demands.setdefault(key, _Demand(conditions, rows, [])).columns.append((name, decision))
        return uses, list(demands.values())

    def _values(self, demand: _Demand) -> list[str]:
        """The columns of the row itself that the conditions read."""
        link, kind = demand.rows.subject, self._kind(demand.rows)
        found = []
        for condition in demand.conditions:
            if isinstance(condition, RetentionCondition):
                found.append(condition.start)
            elif link is not None and link.key is not None:
                found.append(link.key)
            elif link is not None and link.via is not None:
                found.append(link.via.column)
            account = None if kind is None else kind.account
            if isinstance(condition, AccountCondition) and account is not None and link is not None:
                own = demand.rows.name == account.table and link.key == account.subject
                found += [account.column] if own else []
        return list(dict.fromkeys(found))

    def _kind(self, rows: TablePolicy) -> SubjectKind | None:
        return None if rows.subject is None else self.state.policy.subjects[rows.subject.kind]

    def _stored_by(self, demand: _Demand) -> str | None:
        """A column of the data that finds the row as it is stored: the key of its subject, where that is unique."""
        link = demand.rows.subject
        key = None if link is None else link.key
        return key if key is not None and key in self.listed and (key,) in self.relation.unique_keys else None

    # --- statements ---------------------------------------------------------------------------------------------------

    def _group(
        self, demand: _Demand, form: CopyFormat, number: int, refusal: Refusal
    ) -> tuple[CopyGroup, CopyGroup, list[DeferredCheck]]:
        """The check of a demand outside of a transaction block, and within one; with what it leaves to COMMIT."""
        rows = RowConditions(self.state.policy, self.catalog, self.relation, self.state.subject)
        allowed = rows.sql(demand.conditions, demand.rows)
        fields = tuple(self.listed.index(column) for column, _ in demand.columns)
        if allowed == "false":
            uses = [column_use(self.relation, column, decision, Use.WRITE) for column, decision in demand.columns]
            raise PolicyRefused(writing_refused(uses, self.purpose, self.state, always=True), tuple(uses))
        unique = self._stored_by(demand)
        names = self._values(demand) if unique is None else [unique]
        if unique is None:
            self._check_stored_as_given()
        columns = [self._given(name, form) for name in names]
        values = tuple(self.listed.index(name) for name in names)
        types = tuple(column.base_type for column in columns)
        ordinary = f"pg_catalog.count(CASE WHEN {allowed} THEN NULL ELSE {failing(number)} END)"

        def statement(items: str) -> str:
            source = self._rows(columns) if unique is None else self._stored(columns[0])
            return f"SELECT {items} FROM {' '.join([source, *rows.joins])}"

        plain = CopyGroup(fields, number, statement(ordinary), values, types)
        waiting = self._deferral(demand, allowed, rows)
        if waiting is None:
            return plain, plain, []
        left, new = waiting
        checked = f"pg_catalog.count(CASE WHEN {allowed} OR {new} THEN NULL ELSE {failing(number)} END)"
        noted = all_left(left, f"({allowed}) IS NOT TRUE AND {new}")
        within = CopyGroup(fields, number, statement(f"{checked}, {noted}"), values, types)
        return plain, within, [DeferredCheck(left.id, left.sql, refusal)]

    def _given(self, name: str, form: CopyFormat) -> Column:
        """A column whose values are read out of the data. Raises Refused (0A000)."""
        column = self.relation.column(name)
        if column is None or name not in self.listed:
            raise unsupported(
                f"COPY into {self.full} without its column {name} is not available",
                detail="Whether a row may be written depends on it.",
                way_out=f"List {name}, and put its value into the data.",
            )
        if forces_null(self.facts.statement.node, name):
            raise unsupported(
                f"COPY into {self.full} with FORCE_NULL of {name} is not available",
                detail="Whether a row may be written depends on it.",
                way_out="Write NULL without quotes, and leave the option out.",
            )
        if form.kind == "binary" and column.base_type not in COPY_BINARY_TYPES:
            raise unsupported(
                f"COPY into {self.full} in binary format is not available",
                detail=f"Whether a row may be written depends on {name}, whose type is read as text only.",
                way_out="Use the text or CSV format.",
            )
        return column

    def _check_stored_as_given(self) -> None:
        """A trigger could store another subject than the data names."""
        reach = self.relation.reach.get(Access.INSERT)
        if reach is not None and reach.functions:
            raise unsupported(
                f"COPY into {self.full} is not available, where triggers or defaults run functions",
                detail="They could store another subject than that of the data.",
                way_out=_WAY_OUT,
            )

    def _rows(self, columns: list[Column]) -> str:
        """The rows as the data gives them, each that differs once."""
        cells = [
            f"CAST({_GIVEN}.{_VALUE}{place} AS {column.base_sql or column.type_sql}) AS {identifier(column.name)}"
            for place, column in enumerate(columns, 1)
        ]
        parameters = ", ".join(f"${place}" for place in range(1, len(columns) + 1))
        names = ", ".join(f"{_VALUE}{place}" for place in range(1, len(columns) + 1))
        given = f"pg_catalog.unnest({parameters}) AS {_GIVEN}({names})"
        return f"(SELECT DISTINCT {', '.join(cells)} FROM {given}) AS {BASE}"

    def _stored(self, key: Column) -> str:
        """The rows as they are stored, found by their keys; one that is not to be seen is as if all of it were NULL."""
        cast = f"CAST({_GIVEN}.{_VALUE} AS {key.base_sql or key.type_sql}) AS {_VALUE}"
        keys = f"(SELECT DISTINCT {cast} FROM pg_catalog.unnest($1) AS {_GIVEN}({_VALUE})) AS {_KEYS}"
        table = qualified(self.relation.schema, self.relation.name)
        on = f"{BASE}.{identifier(key.name)} OPERATOR(pg_catalog.=) {_KEYS}.{_VALUE}"
        return f"{keys} LEFT JOIN {table} AS {BASE} ON {on}"

    # --- keys that stored rows bear already ---------------------------------------------------------------------------

    def _claimed(self) -> tuple[Claim, ...]:
        role = self.state.role
        manages = frozenset() if role is None else role.manages
        found = claims(self.state.policy, self.catalog, self.relation, manages)
        return tuple(one for one in found if not one.holds)

    def _claims(self) -> dict[str, list[str]]:
        """By the key that new rows bring: tests (SQL) that no stored row bears it."""
        found: dict[str, list[str]] = {}
        for one in self._claimed():
            found.setdefault(one.key, []).append(one.free(f"{BASE}.{identifier(one.key)}"))
        return found

    def _claiming_kinds(self) -> set[str]:
        return {one.kind for one in self._claimed()}

    def _unclaimed(self, key: str, terms: list[str], form: CopyFormat, number: int) -> CopyGroup:
        self._check_stored_as_given()
        column = self._given(key, form)
        place = (self.listed.index(key),)
        allowed = " AND ".join(terms)
        checked = f"pg_catalog.count(CASE WHEN {allowed} THEN NULL ELSE {failing(number)} END)"
        return CopyGroup(place, number, f"SELECT {checked} FROM {self._rows([column])}", place, (column.base_type,))

    # --- registration in one transaction ------------------------------------------------------------------------------

    def _registered_kinds(self) -> Iterator[SubjectKind]:
        """The kinds whose registry this is."""
        for kind in self.state.policy.subjects.values():
            if kind.consent is not None and kind.table == (self.relation.schema, self.relation.name):
                yield kind

    def _asks_consent(self) -> bool:
        known = None if self.purpose is None else self.state.policy.purposes.get(self.purpose)
        role = self.state.role
        return (known is not None and known.basis == "consent") or (role is not None and role.third_party)

    def _deferral(self, demand: _Demand, allowed: str, rows: RowConditions) -> tuple[Deferral, str] | None:
        """What of a demand may be left to COMMIT, and a test (SQL) whether it is."""
        kind = self._kind(demand.rows)
        registry = None if kind is None else self.catalog.relation(*kind.table)
        if kind is None or registry is None:
            return None
        own = RowConditions(self.state.policy, self.catalog, registry, self.state.subject, inline=True)
        own.table = TablePolicy(kind.table, SubjectLink(kind.name, key=kind.key), None, {})
        columns = tuple(
            Written(name, replace(decision, conditions=demand.conditions), demand.rows, frozenset(), "", "true")
            for name, decision in demand.columns
        )
        left = deferral(Check(allowed, columns), kind, rows, own)
        return None if left is None else (left, still_new(left, registers=kind in list(self._registered_kinds())))

    def _note(self, kind: SubjectKind, form: CopyFormat) -> CopyGroup:
        """Notes that the subjects are new in this transaction."""
        column = self._given(kind.key, form)
        field = self.listed.index(kind.key)
        key = f"{BASE}.{identifier(kind.key)}"
        sql = f"SELECT {all_registered(kind, key)} FROM {self._rows([column])}"
        return CopyGroup((field,), 0, sql, (field,), (column.base_type,))
