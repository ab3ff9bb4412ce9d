"""Row conditions as SQL that the upstream evaluates in the statement's own snapshot and at its own time.

Rules for all that is generated here: no name is looked up by search_path, nothing depends on a session's setting,
nothing can raise for any stored value, and each condition is evaluated once a row (a join), not once a column.
A condition that comes out NULL has failed: it stands in a CASE WHEN.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from proxy.catalog.model import Catalog, Column, Relation
from proxy.engine.aliases import alias
from proxy.engine.clock import NOW, local_now
from proxy.policy.model import (
    Account,
    AccountCondition,
    Condition,
    ConsentCondition,
    ConsentSource,
    Name,
    NeverCondition,
    Policy,
    RetentionCondition,
    SelfCondition,
    SubjectKind,
    SubjectLink,
    TablePolicy,
    Via,
)
from proxy.sql.quote import identifier, literal, qualified

BASE = alias("t")
"""Alias of the table itself inside a secured relation. No client can see it."""
_CONSENT, _ROW = alias("k"), alias("r")

FALSE = "false"

_EQUAL = "OPERATOR(pg_catalog.=)"
_TEXT = "::pg_catalog.text"
_TIMESTAMPTZ, _TIMESTAMP, _DATE = 1184, 1114, 1082
_INTEGERS = frozenset({20, 21, 23})
_TEXTS = frozenset({25, 1043})
_UUID = 2950
_UUID_FORM = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_INTEGER_FORM = re.compile(r"-?[0-9]{1,18}")
_LONGEST = timedelta(days=365_000)
"""An older retention is none: beyond it, timestamps end and the subtraction would raise."""


@dataclass(slots=True)
class RowConditions:
    """Collects the joins that the conditions of one secured relation need. ``relation`` is the table itself."""

    policy: Policy
    catalog: Catalog
    relation: Relation
    subject: str | None
    """The session's ``consentry.subject``: ``kind:key`` or ``key``."""
    table: TablePolicy = field(init=False)
    """How the rows reach their subject: that of the column whose conditions are being written."""
    inline: bool = False
    """Conditions are subqueries in the select list, not joins: a row lock could not cross those."""
    base: str = BASE
    """What the row itself is called, as SQL."""
    _joins: list[Callable[[], str]] = field(default_factory=list)
    _wanted: dict[str, dict[str, str]] = field(default_factory=dict)
    _keys: dict[tuple[Via, str], str] = field(default_factory=dict)
    _made: dict[tuple[object, ...], str] = field(default_factory=dict)

    @property
    def joins(self) -> list[str]:
        """The joins that the conditions asked for so far need, in order."""
        return [join() for join in self._joins]

    def sql(self, conditions: tuple[Condition, ...], table: TablePolicy) -> str:
        """A boolean expression: all of ``conditions`` hold, and the row's subject exists where one is asked about.

        ``table`` says how the row reaches its subject.
        """
        self.table = table
        terms = [self._term(condition) for condition in conditions]
        if any(isinstance(condition, ConsentCondition | SelfCondition) for condition in conditions):
            terms.append(self._registered())
        if FALSE in terms:
            return FALSE
        return " AND ".join(dict.fromkeys(term for term in terms if term)) or "true"

    def _term(self, condition: Condition) -> str:
        match condition:
            case NeverCondition():
                return FALSE
            case RetentionCondition(start=start, keep=keep):
                return self._within(start, keep)
            case SelfCondition():
                return self._is_self()
            case AccountCondition(values=values):
                return self._account(values)
            case ConsentCondition():
                return self._consent(condition)

    def key(self, table: TablePolicy) -> str | None:
        """The row's subject's key as SQL, None where there is no way to it. ``table`` as for :meth:`sql`."""
        self.table = table
        found = self._key()
        return None if found is None else found[0]

    # --- the row's subject --------------------------------------------------------------------------------------------

    @property
    def _kind(self) -> SubjectKind | None:
        return None if self.table.subject is None else self.policy.subjects[self.table.subject.kind]

    def _key(self) -> tuple[str, Column] | None:
        """The subject's key as an expression of the row, and the column that it comes from; None if there is no way."""
        return None if self.table.subject is None else self._follow(self.relation, self.base, self.table.subject, 0)

    def _follow(self, relation: Relation, own: str, link: SubjectLink, depth: int) -> tuple[str, Column] | None:
        if link.key is not None:
            column = relation.column(link.key)
            return None if column is None else (f"{own}.{identifier(link.key)}", column)
        via = link.via
        parent = None if via is None else self.catalog.relation(via.table.schema, via.table.relation)
        # Only a unique key keeps one row one row.
        if via is None or parent is None or (via.key,) not in parent.unique_keys or depth > 8:
            return None
        entry = self.policy.tables.get(via.table)
        kind = self.policy.subjects[link.kind]
        if entry is not None and entry.subject is not None:
            onward = entry.subject
        elif via.table == kind.table:
            onward = SubjectLink(link.kind, key=kind.key)
        else:
            return None
        if self.inline:
            source = qualified(*via.table)
            inner = alias(f"v{depth}")
            where = f"{inner}.{identifier(via.key)} {_EQUAL} {own}.{identifier(via.column)}"
            onward_key = self._follow(parent, inner, onward, depth + 1)
            if onward_key is None:
                return None
            found = onward_key[0] if parent.is_unique(via.key) else _only(onward_key[0])
            return f"(SELECT {found} FROM {source} AS {inner} WHERE {where})", onward_key[1]
        joined = self._keys.get((via, own))
        if joined is None:
            joined = self._keys[via, own] = alias(f"v{len(self._keys)}")
            on = f"{joined}.{identifier(via.key)} {_EQUAL} {own}.{identifier(via.column)}"
            join = f"LEFT JOIN {qualified(*via.table)} AS {joined} ON {on}"
            if not parent.is_unique(via.key):
                wanted = identifier(onward.key or (onward.via.column if onward.via is not None else ""))
                rows = f"FROM {qualified(*via.table)} AS {joined} WHERE {on}"
                join = (
                    f"LEFT JOIN LATERAL (SELECT {_only(f'{joined}.{wanted}')} AS {wanted} {rows}) AS {joined} ON true"
                )
            self._joins.append(lambda: join)
        return self._follow(parent, joined, onward, depth + 1)

    def _is_self(self) -> str:
        kind, key = self._kind, self._key()
        if kind is None or key is None or not self.subject:
            return FALSE
        named, colon, value = self.subject.partition(":")
        if not colon:
            value = self.subject
        elif named != kind.name:
            return FALSE
        expression, column = key
        if column.base_type in _INTEGERS:
            if not _INTEGER_FORM.fullmatch(value):
                return FALSE
            return f"{expression} {_EQUAL} {literal(value).removesuffix(_TEXT)}::pg_catalog.int8"
        if column.base_type == _UUID:
            if not _UUID_FORM.fullmatch(value):
                return FALSE
            return f"{expression} {_EQUAL} {literal(value).removesuffix(_TEXT)}::pg_catalog.uuid"
        return f"{expression}{_TEXT} {_EQUAL} {literal(value)}"

    def _registered(self) -> str:
        """The subject stands in the registry: true of the registry's own rows."""
        kind = self._kind
        if kind is None or self._key() is None:
            return FALSE
        if self.table.name == kind.table and self.table.subject == SubjectLink(kind.name, key=kind.key):
            return ""
        return self._row_of(kind.table, kind.key, lambda row: f"{row}.{identifier(kind.key)} IS NOT NULL")

    # --- account ------------------------------------------------------------------------------------------------------

    def _account(self, values: frozenset[str]) -> str:
        kind = self._kind
        if kind is None or kind.account is None or self._key() is None:
            return FALSE
        account = kind.account
        states = ", ".join(literal(value) for value in sorted(values))

        def open_(row: str) -> str:
            return f"{row}.{identifier(account.column)}{_TEXT} {_EQUAL} ANY (ARRAY[{states}])"

        if self.table.name == account.table and self._names_own_row(account):
            return open_(self.base)
        return self._row_of(account.table, account.subject, open_)

    def _names_own_row(self, account: Account) -> bool:
        """The row itself holds the account state of its subject."""
        return self.table.subject is not None and self.table.subject.key == account.subject

    def _row_of(self, name: Name, key: str, test: Callable[[str], str]) -> str:
        """``test`` (of an alias) holds for every row of ``name`` whose ``key`` is the subject's, and there is one."""
        subject = self._key()
        source = self.catalog.relation(name.schema, name.relation)
        if subject is None or source is None or source.column(key) is None:
            return FALSE
        if self.inline or not source.is_unique(key):
            return self._all_rows_of(name, key, subject[0], test)
        joined = self._made.get((name, key, subject[0]))
        if joined is None:
            joined = self._made[name, key, subject[0]] = alias(f"a{len(self._made)}")
            join = f"LEFT JOIN {qualified(*name)} AS {joined} ON {joined}.{identifier(key)} {_EQUAL} {subject[0]}"
            self._joins.append(lambda: join)
        return test(joined)

    def _all_rows_of(self, name: Name, key: str, subject: str, test: Callable[[str], str]) -> str:
        inner = f"({test(_ROW)}) IS TRUE"
        rows = f"FROM {qualified(*name)} AS {_ROW} WHERE {_ROW}.{identifier(key)} {_EQUAL} {subject}"
        if self.inline:
            return f"(SELECT pg_catalog.bool_and({inner}) {rows})"
        made = self._made.get((name, key, inner, subject))
        if made is None:
            made = self._made[name, key, inner, subject] = alias(f"a{len(self._made)}")
            join = f"LEFT JOIN LATERAL (SELECT pg_catalog.bool_and({inner}) AS ok {rows}) AS {made} ON true"
            self._joins.append(lambda: join)
        return f"{made}.ok"

    # --- consent ------------------------------------------------------------------------------------------------------

    def _consent(self, condition: ConsentCondition) -> str:
        kind, subject = self._kind, self._key()
        source = None if kind is None else kind.consent
        relation = None if source is None else self.catalog.relation(source.table.schema, source.table.relation)
        if source is None or relation is None or subject is None:
            return FALSE
        in_force = self._in_force(source, relation, condition)
        if in_force is None:
            return FALSE
        if condition.express and source.express is None:
            return FALSE
        if condition.express and source.express is not None:
            in_force = f"{in_force} AND {_CONSENT}.{identifier(source.express)} IS TRUE"
        rows = (
            f"FROM {qualified(*source.table)} AS {_CONSENT}"
            f" WHERE {_CONSENT}.{identifier(source.subject)} {_EQUAL} {subject[0]}"
            f" AND {self._for_purpose(source, relation, condition.purpose)}"
        )
        if self.inline:
            return f"(SELECT pg_catalog.bool_or({in_force}) {rows})"
        key = ("consent", condition.kind, condition.purpose, condition.notice_version, subject[0])
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = alias(f"c{len(self._made)}")
            wanted = self._wanted[made] = {}
            self._joins.append(
                lambda: f"LEFT JOIN LATERAL (SELECT {', '.join(wanted.values())} {rows}) AS {made} ON true"
            )
        column = "express" if condition.express else "plain"
        self._wanted[made][column] = f"pg_catalog.bool_or({in_force}) AS {column}"
        return f"{made}.{column}"

    def _for_purpose(self, source: ConsentSource, relation: Relation, purpose: str) -> str:
        column = relation.column(source.purpose)
        # A cast keeps enums and char(n) from raising or padding; text needs none and keeps its index.
        cast = "" if column is not None and column.base_type in _TEXTS else _TEXT
        return f"{_CONSENT}.{identifier(source.purpose)}{cast} {_EQUAL} {literal(purpose)}"

    def _in_force(self, source: ConsentSource, relation: Relation, condition: ConsentCondition) -> str | None:
        """Every mapped condition at once, of one consent; None where a mapped column is absent or of no fit type."""
        terms: list[str] = []
        for name, form in (
            (source.granted_at, "({column} OPERATOR(pg_catalog.<=) {now})"),
            (source.withdrawn_at, "({column} IS NULL OR {column} OPERATOR(pg_catalog.>) {now})"),
            (source.expires_at, "({column} IS NULL OR {column} OPERATOR(pg_catalog.>) {now})"),
        ):
            if name is None:
                continue
            now = _now(relation.column(name), source.time_zone)
            if now is None:
                return None
            terms.append(form.format(column=f"{_CONSENT}.{identifier(name)}", now=now))
        if source.notice_version is not None and condition.notice_version is not None:
            column = relation.column(source.notice_version)
            if column is None or column.base_type not in _INTEGERS:
                return None
            version = f"{_CONSENT}.{identifier(source.notice_version)}"
            terms.append(f"({version} OPERATOR(pg_catalog.>=) {condition.notice_version})")
        if source.express is not None and relation.column(source.express) is None:
            return None
        return " AND ".join(terms) or "true"

    # --- retention ----------------------------------------------------------------------------------------------------

    def _within(self, start: str, keep: timedelta) -> str:
        now = _now(self.relation.column(start), "UTC")
        if now is None:
            return FALSE
        column = f"{self.base}.{identifier(start)}"
        if keep > _LONGEST:
            return f"{column} IS NOT NULL"
        seconds = int(keep.total_seconds())
        interval = f"pg_catalog.make_interval(0, 0, 0, 0, 0, 0, {seconds})"
        return f"{column} OPERATOR(pg_catalog.>) ({now} OPERATOR(pg_catalog.-) {interval})"


def _only(value: str) -> str:
    """An aggregate: ``value`` (SQL) of the only row, NULL where there are several."""
    return f"CASE WHEN pg_catalog.count(*) {_EQUAL} 1 THEN (pg_catalog.array_agg({value}))[1] END"


def _now(column: Column | None, time_zone: str) -> str | None:
    """The statement's own time, comparable with ``column``; None if the column tells no time."""
    if column is None:
        return None
    if column.base_type == _TIMESTAMPTZ:
        return NOW
    return local_now(time_zone) if column.base_type in (_TIMESTAMP, _DATE) else None
