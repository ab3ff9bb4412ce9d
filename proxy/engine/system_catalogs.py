"""The system catalogs and views that hold stored values, other sessions' statements, counts of rows touched or
credentials, and what of each shows. A closed world in both directions: a column that no list names is NULL, and a
relation of that kind that is not in :data:`SYSTEM_CATALOGS` is refused (``closed_world.holds_values``).

What tells of a protected relation is NULL, in every column but those that name the relation or tell when it was
maintained. Counts of blocks, tuples and bytes that no single relation answers for are NULL throughout. How many rows
there are is no secret, but where hidden values chose them: in a partition, a partial index, a TOAST table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from proxy.catalog.model import Relation


class Guard(Enum):
    """What the guarded columns of a row depend on."""

    RELATION = "the relation that the row is about"
    STATISTICS = "the relation that the row is about; what the catalogs hold about themselves is hidden too"
    PROGRESS = "the relation that the row is about, which must be one of this database"
    TOP_LEVEL = "the statement was a client's own: one inside a function runs once for each row that it meets"


class Rows(Enum):
    """Which rows a secured catalog has."""

    ALL = "all"
    NOT_CHOSEN = "none of a relation that hidden values may have left empty, for which there would be none"
    COARSE_LOCKS = "no locks of tuples and pages, and no predicate locks, whose grain is a count of the rows read"
    CLIENTS_STATEMENTS = "the statements that the client prepared, not those that are prepared for it"


@dataclass(frozen=True, slots=True)
class SystemCatalog:
    """How one system catalog shows.

    ``plain`` columns show as they are; where it is None, all but those in ``guarded`` and ``never``. ``guarded``
    columns show where ``guard`` allows it; where it is None, all that are not plain do. Everything else is NULL.
    ``extent`` columns show but of relations whose number of rows hidden values chose.
    ``key``: the columns that name the relation for ``guard`` (an OID, or schema and name; ``stxoid`` names it by a
    statistics object). ``text``: the column that holds statement text, of which a client sees its own.
    """

    plain: frozenset[str] | None
    guarded: frozenset[str] | None = frozenset()
    never: frozenset[str] = frozenset()
    guard: Guard | None = None
    key: tuple[str, ...] = ()
    rows: Rows = Rows.ALL
    text: str | None = None
    extent: frozenset[str] = frozenset()

    def is_plain(self, column: str) -> bool:
        """The column shows as it is."""
        if self.plain is None:
            return column not in self.never and column not in self.extent and column not in (self.guarded or ())
        return column in self.plain

    def is_guarded(self, column: str) -> bool:
        """The column shows in the rows that the guard allows."""
        if self.is_plain(column) or column in self.never or column in self.extent:
            return False
        return self.guarded is None or column in self.guarded


def system_catalog(relation: Relation) -> SystemCatalog | None:
    """How ``relation`` shows; None for what is none of these."""
    own = made_by_initdb(relation) and relation.schema == "pg_catalog"
    if own or relation.extension == "pg_stat_statements":
        return SYSTEM_CATALOGS.get(relation.name)
    return None


def trusted_with(catalog: SystemCatalog) -> SystemCatalog | None:
    """How it shows to a role that is trusted with everything: as it is, but without what is prepared for a client."""
    if catalog.rows is not Rows.CLIENTS_STATEMENTS:
        return None
    return replace(catalog, plain=None)


def made_by_initdb(relation: Relation) -> bool:
    """It stands in the catalog with an OID of initdb's; what only this session sees has none that is known."""
    return relation.oid > 0 and relation.builtin


def _only(plain: str) -> SystemCatalog:
    return SystemCatalog(frozenset(plain.split()))


def _all_but(never: str) -> SystemCatalog:
    return SystemCatalog(None, never=frozenset(never.split()))


def _by_relation(plain: str, *key: str, guard: Guard = Guard.RELATION, extent: str = "") -> SystemCatalog:
    return SystemCatalog(frozenset(plain.split()), None, guard=guard, key=key, extent=frozenset(extent.split()))


def _statistics(plain: str, *key: str) -> SystemCatalog:
    return replace(_by_relation(plain, *key, guard=Guard.STATISTICS), rows=Rows.NOT_CHOSEN)


def _each(names: Iterable[str], catalog: SystemCatalog) -> dict[str, SystemCatalog]:
    return dict.fromkeys(names, catalog)


def _kinds(form: str, *kinds: str) -> list[str]:
    return [form.format(kind) for kind in kinds or ("all", "sys", "user")]


_NAMED = "relid indexrelid schemaname relname indexrelname"
_MAINTAINED = (
    "last_vacuum last_autovacuum last_analyze last_autoanalyze vacuum_count autovacuum_count analyze_count"
    " autoanalyze_count"
)
_STATISTICS_OBJECT = "schemaname tablename statistics_schemaname statistics_name statistics_owner inherited"

_STATISTICS = {
    "pg_statistic": _statistics("starelid staattnum stainherit", "starelid"),
    "pg_stats": _statistics("schemaname tablename attname inherited", "schemaname", "tablename"),
    "pg_stats_ext": _statistics(f"{_STATISTICS_OBJECT} attnames exprs kinds", "schemaname", "tablename"),
    "pg_stats_ext_exprs": _statistics(f"{_STATISTICS_OBJECT} expr", "schemaname", "tablename"),
    "pg_statistic_ext_data": _statistics("stxoid stxdinherit", "stxoid"),
    # The default of a column that was added to a table with rows stands here for the cells of all of them.
    "pg_attribute": SystemCatalog(None, frozenset({"attmissingval"}), guard=Guard.STATISTICS, key=("attrelid",)),
    "pg_class": SystemCatalog(
        None, extent=frozenset({"relpages", "reltuples", "relallvisible", "relallfrozen"}), key=("oid",)
    ),
}

_COUNTERS = {
    **_each(_kinds("pg_stat_{}_tables"), _by_relation(_NAMED, "relid", extent=_MAINTAINED)),
    **_each(_kinds("pg_stat_{}_indexes"), _by_relation(_NAMED, "relid")),
    **_each(_kinds("pg_stat_xact_{}_tables"), _by_relation(_NAMED, "relid")),
    **_each(_kinds("pg_statio_{}_tables"), _by_relation(_NAMED, "relid")),
    **_each(_kinds("pg_statio_{}_indexes"), _by_relation(_NAMED, "relid")),
    **_each(_kinds("pg_statio_{}_sequences"), _by_relation(_NAMED, "relid")),
    # Row security and trusted views call functions on rows as they are stored: the calls count those rows.
    **_each(_kinds("pg_stat{}_user_functions", "", "_xact"), _only("funcid schemaname funcname")),
    "pg_stat_database": _only(
        "datid datname numbackends xact_commit xact_rollback conflicts deadlocks checksum_failures"
        " checksum_last_failure session_time active_time idle_in_transaction_time sessions sessions_abandoned"
        " sessions_fatal sessions_killed stats_reset"
    ),
    "pg_stat_database_conflicts": _only(
        "datid datname confl_tablespace confl_lock confl_snapshot confl_bufferpin confl_deadlock"
        " confl_active_logicalslot"
    ),
    "pg_stat_archiver": _only(
        "archived_count last_archived_wal last_archived_time failed_count last_failed_wal last_failed_time stats_reset"
    ),
    "pg_stat_bgwriter": _only(
        "checkpoints_timed checkpoints_req checkpoint_write_time checkpoint_sync_time maxwritten_clean stats_reset"
    ),
    "pg_stat_checkpointer": _only(
        "num_timed num_requested num_done restartpoints_timed restartpoints_req restartpoints_done write_time"
        " sync_time stats_reset"
    ),
    "pg_stat_io": _only("backend_type object context op_bytes stats_reset"),
    "pg_stat_slru": _only("name stats_reset"),
    "pg_stat_wal": _only("stats_reset"),
    "pg_stat_recovery_prefetch": _only("stats_reset"),
}

_PROGRESS = "pid datid datname relid phase command type index_relid cluster_index_relid"

_SESSIONS = {
    "pg_stat_activity": SystemCatalog(
        frozenset(
            """
            datid datname pid leader_pid usesysid usename application_name client_addr client_hostname client_port
            backend_start xact_start query_start state_change wait_event_type wait_event state backend_xid backend_xmin
            backend_type
            """.split()
        ),
        text="query",
    ),
    "pg_stat_statements": SystemCatalog(
        frozenset({"userid", "dbid", "toplevel", "stats_since", "minmax_stats_since"}),
        frozenset(
            f"{measure}_{phase}_time"
            for measure in ("total", "min", "max", "mean", "stddev")
            for phase in ("exec", "plan")
        )
        | {"calls", "plans"},
        guard=Guard.TOP_LEVEL,
        key=("toplevel",),
    ),
    "pg_stat_statements_info": _only("dealloc stats_reset"),
    "pg_prepared_statements": SystemCatalog(
        frozenset({"name", "prepare_time", "parameter_types", "result_types", "from_sql"}),
        rows=Rows.CLIENTS_STATEMENTS,
        text="statement",
    ),
    "pg_cursors": replace(_only("name is_holdable is_binary is_scrollable creation_time"), text="statement"),
    "pg_locks": SystemCatalog(
        frozenset(
            """
            locktype database relation virtualxid transactionid classid objid objsubid virtualtransaction pid mode
            granted fastpath waitstart
            """.split()
        ),
        rows=Rows.COARSE_LOCKS,
    ),
    **_each(
        _kinds("pg_stat_progress_{}", "vacuum", "analyze", "cluster", "create_index", "copy"),
        _by_relation(f"{_PROGRESS} lockers_total lockers_done current_locker_pid", "relid", guard=Guard.PROGRESS),
    ),
    "pg_stat_progress_basebackup": _only(
        "pid phase backup_total backup_streamed tablespaces_total tablespaces_streamed"
    ),
}

_REPLICATION = {
    "pg_stat_replication": _only(
        "pid usesysid usename application_name client_addr client_hostname client_port backend_start backend_xmin state"
        " sent_lsn write_lsn flush_lsn replay_lsn write_lag flush_lag replay_lag sync_priority sync_state reply_time"
    ),
    "pg_stat_wal_receiver": _only(
        "pid status receive_start_lsn receive_start_tli written_lsn flushed_lsn received_tli last_msg_send_time"
        " last_msg_receipt_time latest_end_lsn latest_end_time slot_name sender_host sender_port"
    ),
    "pg_stat_subscription": _only(
        "subid subname worker_type pid leader_pid relid received_lsn last_msg_send_time last_msg_receipt_time"
        " latest_end_lsn latest_end_time"
    ),
    "pg_stat_subscription_stats": _only("subid subname apply_error_count sync_error_count stats_reset"),
    "pg_stat_replication_slots": _only("slot_name stats_reset"),
    "pg_replication_slots": _only(
        "slot_name plugin slot_type datoid database temporary active active_pid xmin catalog_xmin restart_lsn"
        " confirmed_flush_lsn wal_status safe_wal_size two_phase two_phase_at inactive_since conflicting"
        " invalidation_reason failover synced"
    ),
}

_SECRETS = {
    "pg_authid": _all_but("rolpassword"),
    "pg_shadow": _all_but("passwd"),
    "pg_user_mapping": _all_but("umoptions"),
    "pg_user_mappings": _all_but("umoptions"),
    "pg_subscription": _all_but("subconninfo"),
    "pg_largeobject": _only("loid"),
}

SYSTEM_CATALOGS = {**_STATISTICS, **_COUNTERS, **_SESSIONS, **_REPLICATION, **_SECRETS}
