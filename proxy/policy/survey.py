"""What a database's own administrator should look at: keys, indexes, grants, and data that nobody classified. Pure.

None of this hinders a policy from being used, so every finding is a warning.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from proxy.catalog.model import Catalog, Column, Relation
from proxy.policy.diagnostic import Severity
from proxy.policy.model import Name, Policy, Role, SubjectKind, TablePolicy
from proxy.policy.verify import Finding, Place


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the catalog alone does not tell.

    ``leading``: the columns of each table with which a valid, unconditional index begins. ``readable``: what each role
    may read of each table: whether it may use the schema, and the columns that it may SELECT.
    """

    leading: Mapping[Name, frozenset[str]] = field(default_factory=dict)
    readable: Mapping[tuple[str, Name], tuple[bool, frozenset[str]]] = field(default_factory=dict)


def survey(policy: Policy, catalog: Catalog, surroundings: Surroundings) -> list[Finding]:
    """The findings, each once, in the order of the policy.

    Codes: ``consent-key``, ``subject-index``, ``privilege``, ``likely-copy``, ``unclassified-personal``.
    """
    copies = dict(_copies(policy, catalog))
    found = [
        *_consent_keys(policy, catalog),
        *_indexes(policy, catalog, surroundings),
        *_privileges(policy, catalog, surroundings),
        *copies.values(),
        *_personal(policy, catalog, copies.keys()),
    ]
    return list(dict.fromkeys(found))


def _warn(code: str, message: str, place: Place = ()) -> Finding:
    return Finding(Severity.WARNING, code, message, place)


def _written(name: Name) -> str:
    return f"{name.schema}.{name.relation}"


# --- keys and indexes -------------------------------------------------------------------------------------------------


def _consent_keys(policy: Policy, catalog: Catalog) -> Iterable[Finding]:
    for kind in policy.subjects.values():
        source = kind.consent
        relation = None if source is None else catalog.relation(*source.table)
        if source is None or relation is None or relation.kind not in "rp":
            continue
        wanted = {source.subject, source.purpose}
        if not any(set(key) <= wanted for key in relation.unique_keys):
            yield _warn(
                "consent-key",
                f"{_written(source.table)} may hold several rows for one {source.subject} and {source.purpose}:"
                " consent is in force if any of them is",
                ("subjects", kind.name, "consent"),
            )


def _indexes(policy: Policy, catalog: Catalog, surroundings: Surroundings) -> Iterable[Finding]:
    for table, column, place in _keys(policy):
        relation = catalog.relation(*table)
        if relation is None or relation.kind not in "rpm" or relation.column(column) is None:
            continue
        if column not in surroundings.leading.get(table, frozenset()):
            yield _warn("subject-index", f"no index of {_written(table)} begins with {column}", place)


def _keys(policy: Policy) -> Iterable[tuple[Name, str, Place]]:
    """The columns by which conditions and complaints look people up."""
    for kind in policy.subjects.values():
        place: Place = ("subjects", kind.name)
        yield kind.table, kind.key, (*place, "key")
        if kind.account is not None:
            yield kind.account.table, kind.account.subject, (*place, "account")
        if kind.consent is not None:
            yield kind.consent.table, kind.consent.subject, (*place, "consent", "subject")
    for name, table in policy.tables.items():
        link = table.subject
        if link is not None and link.key is not None:
            yield name, link.key, ("tables", name, "subject")
        elif link is not None and link.via is not None:
            yield link.via.table, link.via.key, ("tables", name, "subject")


# --- privileges -------------------------------------------------------------------------------------------------------


def read_tables(policy: Policy) -> frozenset[Name]:
    """Every table that conditions read, or that holds classified columns."""
    found = {name for name, _, _ in _keys(policy)} | set(policy.tables)
    return frozenset(found)


def _privileges(policy: Policy, catalog: Catalog, surroundings: Surroundings) -> Iterable[Finding]:
    for role in policy.roles.values():
        lacking: dict[Name, set[str]] = defaultdict(set)
        closed: set[str] = set()
        for name, table in policy.tables.items():
            _, own = surroundings.readable.get((role.name, name), (False, frozenset()))
            if not own & table.columns.keys():
                continue
            for other, columns in _conditions(policy, role, table).items():
                relation = catalog.relation(*other)
                usage, readable = surroundings.readable.get((role.name, other), (True, frozenset()))
                if relation is None:
                    continue
                missing = {column for column in columns if relation.column(column) is not None} - readable
                lacking[other] |= missing
                closed |= {other.schema} if not usage else set()
        for schema in sorted(closed):
            yield _warn("privilege", _grant(role, f"USAGE ON SCHEMA {_quoted(schema)}"), ("roles", role.name))
        for other in sorted(lacking):
            if lacking[other]:
                listed = ", ".join(map(_quoted, sorted(lacking[other])))
                granted = f"SELECT ({listed}) ON {_quoted(other.schema)}.{_quoted(other.relation)}"
                yield _warn("privilege", _grant(role, granted), ("roles", role.name))


def _grant(role: Role, privilege: str) -> str:
    return f"{role.name} cannot read what conditions need: GRANT {privilege} TO {_quoted(role.name)}"


_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")


def _quoted(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def _conditions(policy: Policy, role: Role, table: TablePolicy) -> dict[Name, set[str]]:
    """The columns that the conditions of some purpose of the role read for a row of ``table``."""
    needed: dict[Name, set[str]] = defaultdict(set)
    purposes = [policy.purposes[name] for name in role.purposes if name in policy.purposes]
    if table.retention is not None:
        needed[table.name].add(table.retention.start)
    kind = None if table.subject is None else policy.subjects[table.subject.kind]
    if kind is None:
        return needed
    account = kind.account is not None and any(one.accounts is not None for one in purposes)
    consent = kind.consent is not None and any(one.basis == "consent" for one in purposes)
    if account or consent or any(one.self_only for one in purposes):
        _follow(policy, table, kind, needed)
    if account and kind.account is not None:
        needed[kind.account.table] |= {kind.account.subject, kind.account.column}
    if consent and kind.consent is not None:
        source = kind.consent
        mapped = (source.granted_at, source.withdrawn_at, source.expires_at, source.express, source.notice_version)
        needed[source.table] |= {source.subject, source.purpose, *(column for column in mapped if column is not None)}
    return needed


def _follow(policy: Policy, table: TablePolicy, kind: SubjectKind, needed: dict[Name, set[str]]) -> None:
    """The columns on the way from a row to its subject."""
    link, name = table.subject, table.name
    for _ in range(8):
        if link is not None and link.key is not None:
            needed[name].add(link.key)
            return
        if link is None or link.via is None:
            return
        needed[name].add(link.via.column)
        needed[link.via.table].add(link.via.key)
        name, onward = link.via.table, policy.tables.get(link.via.table)
        if onward is None:
            if name == kind.table:
                needed[name].add(kind.key)
            return
        link = onward.subject


# --- what nobody classified -------------------------------------------------------------------------------------------


_PERSONAL = re.compile(
    r"""(?:^|_)(?:
      (?:first|last|full|given|family|sur|middle|maiden|nick|customer|contact|user|real)_?name | surname
    | e?_?mail(?:_?addr(?:ess)?)? | (?:tele)?phone(?:_?(?:number|no|num))? | mobile(?:_?(?:number|no|phone))? | msisdn
    | (?:home|postal|street|mailing|billing|shipping)?_?addr(?:ess)? | street | post_?code | zip_?code
    | birth_?(?:date|day|place)? | date_of_birth | dob | born
    | (?:id|identity|national|citizen|passport|license|licence)_?(?:card|number|no|num) | passport | ssn | id_?card
    | (?:bank|card|credit_?card|account|iban)_?(?:card|number|no|num) | iban
    | pass(?:word|wd)(?:_?hash)? | gender | ethnicity | religion | diagnosis | salary
    | (?:ip|mac)_?addr(?:ess)? | latitude | longitude | imei | imsi
    )(?:$|_|\d)""",
    re.VERBOSE | re.IGNORECASE,
)
_PERSONAL_WORDS = ("姓名", "手机", "电话", "身份证", "地址", "住址", "生日", "出生", "邮箱", "银行卡", "密码")
_UNLIKELY_TYPES = frozenset("BTA")
"""Categories of types that hold no such thing: booleans, intervals, arrays (pg_type.typcategory)."""


def looks_personal(column: Column) -> bool:
    """Its name is one that columns of personal information bear, and its type can hold that."""
    named = bool(_PERSONAL.search(_snake(column.name))) or any(word in column.name for word in _PERSONAL_WORDS)
    return named and column.type_category not in _UNLIKELY_TYPES


def _snake(name: str) -> str:
    """``phoneNumber`` as ``phone_number``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _tables(policy: Policy, catalog: Catalog) -> Iterable[tuple[Name, Relation]]:
    """Tables of users that may hold what nobody classified, children by way of their parents."""
    for relation in catalog.relations.values():
        own = relation.kind in "rpmf" and not relation.builtin and relation.extension is None
        if own and not relation.temporary and not relation.parents:
            name = Name(relation.schema, relation.name)
            if name not in policy.tables or policy.tables[name].columns:
                yield name, relation


def _personal(policy: Policy, catalog: Catalog, told: Iterable[Name]) -> Iterable[Finding]:
    known = set(told)
    keys = {(table, column) for table, column, _ in _keys(policy)}
    for name, relation in sorted(_tables(policy, catalog)):
        classified = policy.tables[name].columns if name in policy.tables else {}
        for column in relation.columns:
            decided = column.name in classified or (name, column.name) in keys or name in known
            if not decided and looks_personal(column):
                place: Place = ("tables", name) if classified else ()
                yield _warn(
                    "unclassified-personal",
                    f"{_written(name)}.{column.name} looks like personal information and is not classified",
                    place,
                )


def _copies(policy: Policy, catalog: Catalog) -> Iterable[tuple[Name, Finding]]:
    """Tables with the columns of a classified one: most often made of it by CREATE TABLE AS."""
    for name, relation in sorted(_tables(policy, catalog)):
        if name in policy.tables or relation.sources:
            continue
        for table in policy.tables.values():
            origin = catalog.relation(*table.name)
            shared = [] if origin is None else sorted(_shared(relation, origin, table))
            key = None if table.subject is None else table.subject.key
            keyed = key is not None and relation.column(key) is not None
            if len(shared) >= (1 if keyed else 2):
                message = (
                    f"{_written(name)} looks like a copy of {_written(table.name)} ({', '.join(shared)})"
                    " and is not classified"
                )
                yield name, _warn("likely-copy", message)
                break


def _shared(relation: Relation, origin: Relation, table: TablePolicy) -> Iterable[str]:
    for name in table.columns:
        here, there = relation.column(name), origin.column(name)
        if here is not None and there is not None and here.base_type == there.base_type:
            yield name
