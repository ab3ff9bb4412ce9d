"""The upstream's catalog as one frozen snapshot. Pure: introspection fills it, the engine asks it.

Everything is by OID, so that what is renamed stays what it is; names are only a way in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

FIRST_NORMAL_OBJECT_ID = 16384
"""OIDs below belong to objects that initdb made (access/transam.h)."""

TEMPORARY = "pg_temp"
"""What a session's own temporary schema is called, whatever its number."""


@dataclass(frozen=True, slots=True)
class Column:
    """One live column. ``type_sql`` is the type as SQL that resolves the same under any search_path, with modifier
    (``pg_catalog.varchar(20)``, ``app.mood``, ``pg_catalog.int4[]``). ``base_type`` is the OID under all domains,
    ``base_sql`` and ``base_typmod`` the same with the modifier that the innermost domain declares. ``not_null`` holds
    for a NOT NULL domain too. ``collation`` is qualified SQL, None where it is the database's default or there is none.
    """

    name: str
    number: int
    type_oid: int
    typmod: int
    type_sql: str
    base_type: int
    type_category: str
    is_enum: bool
    is_domain: bool
    not_null: bool
    generated: bool
    collation: str | None
    base_sql: str = ""
    base_typmod: int = -1
    domain_checked: bool = True
    """Asked only of domains: it, or one below it, has a CHECK, so a value can be cast to it only by running that."""
    enum_labels: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    """Asked only of generated columns: those of the same row that it is computed from; '' is a system column."""


class Access(StrEnum):
    """What a statement does to a relation; each fires other code."""

    SELECT = "select"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"


@dataclass(frozen=True, slots=True)
class Reach:
    """What an access touches beyond the relation itself, transitively: through views, rules, triggers, defaults, row
    security policies, generated columns, casts, domain checks, operators, index expressions, cascading foreign keys.

    ``relations`` and ``functions`` are OIDs; of functions only those that initdb did not make. ``rules`` are user-made
    rewrite rules (not a view's own ON SELECT) as ``relation.rule``. ``opaque`` names what could not be followed.
    """

    relations: frozenset[int] = frozenset()
    functions: frozenset[int] = frozenset()
    rules: frozenset[str] = frozenset()
    opaque: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ReferencedBy:
    """A foreign key from ``columns`` of ``relation`` (an OID) to the ``referenced`` columns of another. ``holds``: at
    the end of every statement, of all rows. ``on_update``, ``on_delete``: pg_constraint's letters, a r c n d.
    """

    relation: int
    columns: tuple[str, ...]
    referenced: tuple[str, ...]
    holds: bool = False
    on_update: str = "a"
    on_delete: str = "a"


@dataclass(frozen=True, slots=True)
class RowPolicy:
    """A row security policy. ``command``: for which, as pg_policy.polcmd has it (``r``, ``a``, ``w``, ``d``, ``*``).
    ``columns``: what it decides by, as relation and number of a column; number 0 for any.
    """

    name: str
    command: str
    columns: frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What PostgreSQL evaluates by itself over a row that is stored, and may fail by: a ``check``, a stored
    ``generated`` column, an ``index`` over expressions or some of the rows, the ``columns`` of an index over several
    (together they must fit into it), the key of a ``partition``. ``columns``: all that have a say, also those that a
    generated one among them is made of; '' for any. ``always``: of a stored row it is not known that it passed.
    """

    kind: Literal["check", "generated", "index", "columns", "partition"]
    name: str
    columns: frozenset[str]
    always: bool = False
    unique: bool = False
    """It also compares the row with others."""
    compared: frozenset[str] = frozenset()
    """Where it does: the columns by which rows are compared, and those that say which rows are; '' for any."""
    filled: frozenset[str] = frozenset()
    """Those of ``compared`` by which a row may be equal to others although it leaves them out."""
    may_fail: bool = True
    """Beside that: of an index or a generated column that nothing in its expressions can fail, whatever is stored."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table (r), partitioned table (p), view (v), materialized view (m), foreign table (f), sequence (S), TOAST (t),
    composite type (c), index (i, I). ``unique_keys``: columns of each valid, immediate, unconditional unique index over
    plain columns; ``indexed``: columns that an index over all rows begins with. ``partition_key``: its columns, '' for
    an expression. ``reach``: by kind of access, already closed over. ``sources``: the relations that a materialized
    view was computed from, at any depth; reading it reads a copy, so they are no part of its reach.
    """

    oid: int
    schema: str
    name: str
    kind: str
    columns: tuple[Column, ...] = ()
    parents: tuple[int, ...] = ()
    children: tuple[int, ...] = ()
    partition_key: tuple[str, ...] = ()
    row_security: bool = False
    temporary: bool = False
    extension: str | None = None
    unique_keys: tuple[tuple[str, ...], ...] = ()
    indexed: frozenset[str] = frozenset()
    reach: Mapping[Access, Reach] = field(default_factory=dict)
    sources: frozenset[int] = frozenset()
    referenced_by: tuple[ReferencedBy, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    policies: tuple[RowPolicy, ...] = ()
    """Where row security is enabled."""
    common_values: tuple[frozenset[str], ...] = ()
    """The columns of each list of the most common values of several together; '' for an expression."""
    analyzed: frozenset[str] = frozenset()
    """The columns that ANALYZE evaluates expressions over which may fail (extended statistics); '' for any."""
    definition: str = ""
    """What a user's view selects, relations named in full; empty for anything else, and where it cannot be told."""

    @property
    def builtin(self) -> bool:
        """Made by initdb: a system catalog, a view on one, or information_schema. OID 0 is one that has none yet."""
        return 0 < self.oid < FIRST_NORMAL_OBJECT_ID

    def is_unique(self, column: str) -> bool:
        """One row at most has each value of the column, those of children included: these have indexes of their own."""
        return (column,) in self.unique_keys and not (self.kind == "r" and self.children)

    def column(self, name: str) -> Column | None:
        """The live column of this name, or None."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True)
class Function:
    """A function (f), aggregate (a), window function (w) or procedure (p). ``max_args`` None: variadic.

    ``version`` changes when the definition is replaced (pg_proc's xmin). ``input_types`` are the OIDs of the arguments.
    ``calls``: the functions that an aggregate of users is composed of, PostgreSQL's own too.
    """

    oid: int
    schema: str
    name: str
    kind: str
    min_args: int
    max_args: int | None
    extension: str | None
    version: int
    input_types: tuple[int, ...] = ()
    calls: frozenset[int] = frozenset()
    internal: str = ""
    """The C function of the server itself that it is (LANGUAGE internal), as the constructors of range types are."""
    compiled: bool = False
    """LANGUAGE internal or C, in which only superusers make functions."""

    @property
    def builtin(self) -> bool:
        return self.oid < FIRST_NORMAL_OBJECT_ID


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator and the function behind it (and its estimators), as OIDs of Function."""

    oid: int
    schema: str
    name: str
    functions: frozenset[int]
    extension: str | None


@dataclass(frozen=True, slots=True)
class Type:
    """A type that initdb did not make. ``functions``: user code that converting to it, or comparing it, runs (input,
    output, casts, domain checks), transitively; ``relation``: the OID of the relation whose row type it is, or 0.
    """

    oid: int
    schema: str
    name: str
    kind: str
    functions: frozenset[int]
    relation: int
    extension: str | None


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """An event trigger that is enabled: at which ``event`` (``ddl_command_start``, ``ddl_command_end``, ``sql_drop``,
    ``table_rewrite``, ``login``), for which command tags (empty: for all), and the OID of its function.

    ``announces``: the version of that function when it did nothing but to announce a change of the catalog
    (:mod:`proxy.catalog.announcement`), or 0.
    """

    name: str
    event: str
    tags: frozenset[str]
    function: int
    announces: int = 0


@dataclass(frozen=True, slots=True)
class Catalog:
    """One snapshot of one database. ``generation`` grows with each change; equal generations are equal catalogs."""

    database: str
    generation: int
    server_version: int
    relations: Mapping[int, Relation]
    relation_names: Mapping[tuple[str, str], int]
    schemas: frozenset[str]
    functions: Mapping[int, Function]
    functions_named: Mapping[str, tuple[Function, ...]]
    operators_named: Mapping[str, tuple[Operator, ...]]
    types_named: Mapping[str, tuple[Type, ...]]
    implicit_casts: frozenset[int] = frozenset()
    """Functions of casts that users made and that PostgreSQL applies without being asked (implicit or assignment)."""
    builtin_casts: frozenset[int] = frozenset()
    """Functions of casts that users made between PostgreSQL's own types, which no type of theirs shows."""
    event_triggers: tuple[EventTrigger, ...] = ()
    committed: Catalog | None = field(default=None, compare=False, repr=False)
    """Where this is what one session alone sees (temporary objects, an open transaction): the catalog of all others."""

    def relation(self, schema: str, name: str) -> Relation | None:
        """The relation of exactly this schema and name, or None."""
        oid = self.relation_names.get((schema, name))
        return None if oid is None else self.relations[oid]

    def resolve(self, name: str, search_path: tuple[str, ...]) -> Relation | None:
        """What an unqualified ``name`` means under an effective ``search_path`` (``pg_catalog`` already in its place,
        PostgreSQL manual 5.10.3). Temporary schemas are the session's matter and stand before this.
        """
        for schema in search_path:
            found = self.relation(schema, name)
            if found is not None:
                return found
        return None
