"""Which functions, operators and types may run: PostgreSQL's own that compute, extensions that only compute, and what
the policy trusts. Everything else could read a raw row behind our back, and is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from proxy.catalog.model import Catalog, Function, Operator, Relation, Type
from proxy.policy.model import Policy
from proxy.sql.names import FunctionName, QualifiedName

_REACHING = re.compile(
    r"""
      (query|table|cursor|schema|database)_to_xml(schema|_and_xmlschema)?  # run SQL that they are given as text
    | ts_stat | ts_rewrite
    | pg_(read|ls|stat)_.*(file|dir).* | pg_read_.* | pg_ls_.* | pg_stat_file | pg_current_logfile | pg_file_.*
    | lo_.* | loread | lowrite                                          # large objects and server files
    | pg_logical_.* | pg_replication_.* | pg_(create|drop|copy)_.*replication_slot.* | pg_sync_replication_slots
    | pg_stat_get_.* | pg_stat_reset.* | pg_stat_clear.* | pg_stat_have_stats | pg_stat_force.*
    | pg_prepared_statement | pg_cursor | pg_lock_status | pg_mcv_list_items | pg_get_shmem_allocations.*
    | pg_get_backend_memory_contexts | pg_log_backend_memory_contexts | pg_show_all_file_settings | pg_hba_file_rules
    | pg_get_wal_.* | pg_walfile_.* | pg_switch_wal | pg_wal_.*
    | pg_backup_.* | pg_(start|stop)_backup | pg_create_restore_point | pg_promote
    | pg_reload_conf | pg_rotate_logfile(_old)? | pg_terminate_backend | pg_cancel_backend
    | pg_restore_.*_stats | pg_clear_.*_stats | binary_upgrade_.* | pg_event_trigger_.* | pg_export_snapshot
    | pg_import_system_collations | pg_get_multixact_members
    | pg_nextoid | pg_stop_making_pinned_objects | pg_available_wal_summaries | pg_get_loaded_modules
    | pg_get_publication_tables | pg_control_.* | pg_config
    | brin_summarize_.* | brin_desummarize_.* | gin_clean_pending_list
    | currtid2 | pg_tablespace_databases | pg_get_aios | pg_ident_file_mappings
    | pg_input_is_valid | pg_input_error_info                              # run the code of a type named as data
    | (domain|array|record|range|multirange|enum|anyarray)_(in|recv)
    """,
    re.VERBOSE,
)
"""Built-in functions that read data by name, speak of other sessions or of rows touched, or reach outside."""

_HARMLESS = frozenset(
    {
        "pg_stat_get_snapshot_timestamp",
        "pg_stat_clear_snapshot",
        "pg_stat_force_next_flush",
        "pg_wal_lsn_diff",
        "pg_walfile_name",
        "pg_walfile_name_offset",
    }
)
"""Those among the names above that only compute, or concern the session's own snapshot and counters."""

_COMPUTING_FORMS = frozenset({("ts_rewrite", 3)})
"""Functions by number of arguments that only compute, where another form of the same name runs a query."""

TELLING = frozenset({"current_query"})
"""Functions that would show the text that runs instead of the client's, where the two differ."""

COMPUTING_EXTENSIONS = frozenset(
    {
        "btree_gin",
        "btree_gist",
        "citext",
        "cube",
        "earthdistance",
        "fuzzystrmatch",
        "hstore",
        "intarray",
        "isn",
        "ltree",
        "pg_trgm",
        "pgcrypto",
        "seg",
        "unaccent",
        "uuid-ossp",
        "vector",
    }
)
"""Extensions whose functions compute from their arguments alone."""


_JUDGING_TRIGGERS = frozenset(
    {"suppress_redundant_updates_trigger", "tsvector_update_trigger_byid", "tsvector_update_trigger_bycolumn"}
)
"""The C functions behind PostgreSQL's own triggers, but those of constraints: whether a stored value is what an UPDATE
writes shows in its row count, and words of one column are copied to another."""


_ANY_ROW = frozenset({2249, 2276, 2283, 2776, 5077, 5079})
"""record, any, anyelement, anynonarray, anycompatible, anycompatiblenonarray: pseudo-types that take a row."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What stood in a database when a policy was first used there: a name is trusted as it was then, and what was
    created, replaced or moved since is not, until the policy is loaded again.
    """

    functions: Mapping[int, tuple[int, str]]
    """OID -> version and schema."""
    views: Mapping[int, str]
    """OID -> definition."""

    @classmethod
    def of(cls, catalog: Catalog) -> Baseline:
        """What stands in ``catalog``."""
        own = (one for one in catalog.functions.values() if not one.builtin)
        views = (one for one in catalog.relations.values() if one.kind == "v" and not one.builtin)
        return cls(
            {one.oid: (one.version, one.schema) for one in own},
            {one.oid: f"{one.schema}.{one.name}: {one.definition}" for one in views},
        )


class Trust:
    """What a policy trusts of a catalog. Asked for each new statement."""

    def view(self, view: Relation) -> bool:
        """The policy trusts the view, and it is what it was when the policy was loaded."""
        full = f"{view.schema}.{view.name}"
        return full in self._views and self._baseline.views.get(view.oid) == f"{full}: {view.definition}"

    def __init__(
        self, policy: Policy, catalog: Catalog, baseline: Baseline | None = None, before: Trust | None = None
    ) -> None:
        """``before``: what the same policy trusts of another catalog with the same baseline."""
        self._catalog = catalog
        self._baseline = baseline or Baseline.of(catalog)
        self._patterns = frozenset(policy.trusted_functions)
        self._views = frozenset(policy.trusted_views)
        # Catalogs share what did not change from one to the next.
        if before is not None and before._catalog.functions is not catalog.functions:
            before = None
        self._internal: frozenset[str] = _computing(catalog) if before is None else before._internal
        if before is not None and before._catalog.operators_named is not catalog.operators_named:
            before = None
        self._operators: Mapping[str, frozenset[str]] = (
            self._untrusted(catalog.operators_named) if before is None else before._operators
        )
        self._types = self._untrusted(catalog.types_named)
        own = [one for named in catalog.types_named.values() for one in named]
        self._type_names = {one.oid: f"{one.schema}.{one.name}" for one in own if self.oids(one.functions)}
        self._own_types = {one.oid: one for one in own}
        self._rows = _ANY_ROW | self._own_types.keys()
        of_own_types = frozenset(function for one in own for function in one.functions)
        self.casts = self.oids((catalog.implicit_casts - of_own_types) | catalog.builtin_casts)
        """Untrusted functions of casts between PostgreSQL's own types: they may stand anywhere, unwritten."""

    @property
    def converts_by_itself(self) -> bool:
        """No conversion to any type runs untrusted code: whatever literals a text has, to analyse it runs none."""
        return not self._types and not self._type_names

    def function(self, function: Function) -> bool:
        """May ``function`` run? An aggregate may if all that it is composed of may, or if it is named itself."""
        full = f"{function.schema}.{function.name}"
        as_loaded = self._baseline.functions.get(function.oid) == (function.version, function.schema)
        if full in self._patterns and (as_loaded or function.builtin):
            return True
        if function.calls and self.oids(function.calls):
            return False
        if function.internal and not function.builtin:
            return function.internal in self._internal
        if function.builtin:
            return _computes(function.name) or (function.name, function.max_args) in _COMPUTING_FORMS
        if ("*" in self._patterns or f"{function.schema}.*" in self._patterns) and as_loaded:
            # A function of a dblink's kind must be named itself.
            return not (function.extension is not None and function.extension not in COMPUTING_EXTENSIONS)
        # ALTER EXTENSION … ADD takes in any function; what stood there when the policy was loaded is taken for its own.
        return function.extension in COMPUTING_EXTENSIONS and (as_loaded or function.compiled)

    def oids(self, functions: Iterable[int]) -> list[str]:
        """Names of those among ``functions`` that may not run, sorted; an unknown OID is untrusted."""
        refused = set()
        for oid in functions:
            function = self._catalog.functions.get(oid)
            if function is None:
                refused.add(f"function {oid}")
            elif not self.function(function):
                refused.add(f"{function.schema}.{function.name}")
        return sorted(refused)

    def judging(self, functions: Iterable[int]) -> list[str]:
        """Names of PostgreSQL's own trigger functions among ``functions`` that compare or copy the stored values of
        rows, sorted. They harm nothing but protected tables, and may run there if the policy names them."""
        known = (self._catalog.functions.get(oid) for oid in functions)
        own = {function.internal: f"{function.schema}.{function.name}" for function in known if function is not None}
        return sorted(
            full for internal, full in own.items() if internal in _JUDGING_TRIGGERS and full not in self._patterns
        )

    def candidates(self, name: FunctionName, path: tuple[str, ...]) -> list[Function]:
        """Every function that a call may mean: of that name, in the named schema or in one of the path."""
        named = self._catalog.functions_named.get(name.name, ())
        schemas = {name.schema} if name.schema is not None else set(path)
        return [function for function in named if function.schema in schemas]

    def call(self, name: FunctionName, path: tuple[str, ...]) -> list[str]:
        """Names of untrusted functions that a call could reach by its number of arguments."""
        return sorted(
            {
                f"{function.schema}.{function.name}"
                for function in self.candidates(name, path)
                if _takes(function, name.arguments) and not self.function(function)
            }
        )

    def calls(self, name: str) -> bool:
        """Statements may call something by this name: a function that is trusted, or a type as if it were one."""
        functions = self._catalog.functions_named.get(name, ())
        return name in self._catalog.types_named or any(self.function(function) for function in functions)

    def attributes(self, names: Iterable[str], path: tuple[str, ...], *, rows_only: bool) -> list[str]:
        """Untrusted functions of one value (``rows_only``: of one row) that a name behind a dot may mean."""
        refused = set()
        for name in names:
            for function in self._catalog.functions_named.get(name, ()):
                fits = _takes(function, 1) and (not rows_only or bool(self._rows & set(function.input_types[:1])))
                if fits and function.schema in path and not self.function(function):
                    refused.add(f"{function.schema}.{function.name}")
        return sorted(refused)

    def columns(self, relation: Relation) -> list[str]:
        """Types of a relation's columns to which a value could be cast by untrusted code without anybody writing so:
        ``lag(c, 1, 'x')`` and ``json_populate_record(row, …)`` convert to a domain and run its CHECK, too."""
        return sorted({self._type_names[one.type_oid] for one in relation.columns if one.type_oid in self._type_names})

    def arguments(self, name: FunctionName, path: tuple[str, ...]) -> list[str]:
        """The same for the arguments of the functions that a call may mean."""
        types = {oid for function in self.candidates(name, path) for oid in function.input_types}
        return sorted({self._type_names[oid] for oid in types if oid in self._type_names})

    def operators(self, names: Iterable[QualifiedName], path: tuple[str, ...]) -> list[str]:
        """Untrusted operators among those that ``names`` may mean, as ``schema.operator``."""
        return _visible(names, path, self._operators)

    def types(self, names: Iterable[QualifiedName], path: tuple[str, ...]) -> list[str]:
        """Types among those that ``names`` may mean whose conversions or checks run untrusted code."""
        return _visible(names, path, self._types)

    def parameters(self, oids: Iterable[int]) -> tuple[list[str], list[int]]:
        """Of types by OID: those whose conversions or checks run untrusted code, and those that nobody here knows."""
        refused, unknown = set(), set()
        for oid in oids:
            found = self._own_types.get(oid)
            if found is None:
                unknown.add(oid)
            elif self.oids(found.functions):
                refused.add(f"{found.schema}.{found.name}")
        return sorted(refused), sorted(unknown)

    def _untrusted(
        self, index: Mapping[str, tuple[Operator, ...]] | Mapping[str, tuple[Type, ...]]
    ) -> dict[str, frozenset[str]]:
        """Name -> schemas in which it stands for something whose functions are not all trusted. Mostly empty."""
        found = {
            name: frozenset(item.schema for item in items if item.functions and self.oids(item.functions))
            for name, items in index.items()
        }
        return {name: schemas for name, schemas in found.items() if schemas}


def _visible(names: Iterable[QualifiedName], path: tuple[str, ...], index: Mapping[str, frozenset[str]]) -> list[str]:
    refused = set()
    for name in names:
        schemas = index.get(name.name, frozenset())
        reachable = schemas & ({name.schema} if name.schema is not None else set(path))
        refused |= {f"{schema}.{name.name}" for schema in reachable}
    return sorted(refused)


def _computing(catalog: Catalog) -> frozenset[str]:
    """The C functions of the server itself that compute under every name that initdb gave them."""
    builtin = [one for one in catalog.functions.values() if one.builtin and one.internal]
    reaching = {one.internal for one in builtin if not _computes(one.name)}
    return frozenset({one.internal for one in builtin} - reaching)


@lru_cache(maxsize=8192)
def _computes(name: str) -> bool:
    """A built-in function of this name only computes."""
    return name in _HARMLESS or not _REACHING.fullmatch(name)


def _takes(function: Function, arguments: int | None) -> bool:
    if arguments is None or function.max_args is None:
        return True
    return function.min_args <= arguments <= function.max_args
