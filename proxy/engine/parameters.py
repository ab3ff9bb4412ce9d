"""Which configuration parameters a session may set: all that ordinary clients set. An allow-list.

Not on it: what changes how SQL is read, what makes the server speak of plans, parse trees and statements (``log_*``
too: ``client_min_messages = log`` shows the client what they log), what loads code, what switches triggers or
privileges off. The values of a few are bound as well.
"""

from __future__ import annotations

import re

from proxy.engine.refusals import denied
from proxy.policy.model import Policy

_ALLOWED = frozenset(
    """
    application_name array_nulls backend_flush_after bytea_output check_function_bodies
    client_connection_check_interval client_encoding client_min_messages commit_delay commit_siblings
    compute_query_id constraint_exclusion cpu_index_tuple_cost cpu_operator_cost cpu_tuple_cost
    createrole_self_grant cursor_tuple_fraction datestyle deadlock_timeout debug_discard_caches
    debug_parallel_query default_statistics_target default_table_access_method default_tablespace
    default_text_search_config default_toast_compression default_transaction_deferrable
    default_transaction_isolation default_transaction_read_only effective_cache_size
    effective_io_concurrency escape_string_warning exit_on_error extra_float_digits file_copy_method
    force_parallel_mode from_collapse_limit gin_fuzzy_search_limit gin_pending_list_limit
    hash_mem_multiplier icu_validation_level idle_in_transaction_session_timeout idle_session_timeout
    intervalstyle io_combine_limit jit join_collapse_limit lc_messages lc_monetary lc_numeric lc_time
    lock_timeout logical_decoding_work_mem maintenance_io_concurrency maintenance_work_mem
    max_parallel_maintenance_workers max_parallel_workers max_parallel_workers_per_gather max_stack_depth
    md5_password_warnings min_parallel_index_scan_size min_parallel_table_scan_size
    parallel_leader_participation parallel_setup_cost parallel_tuple_cost password_encryption
    plan_cache_mode quote_all_identifiers random_page_cost recursive_worktable_factor
    restrict_nonsystem_relation_kind role row_security scram_iterations search_path seed seq_page_cost
    session_authorization standard_conforming_strings statement_timeout stats_fetch_consistency
    synchronize_seqscans synchronous_commit tcp_keepalives_count tcp_keepalives_idle tcp_keepalives_interval
    tcp_user_timeout temp_buffers temp_tablespaces timezone timezone_abbreviations
    track_activities track_cost_delay_timing track_counts track_functions track_io_timing
    track_wal_io_timing transaction_deferrable transaction_isolation transaction_read_only
    transaction_timeout update_process_title vacuum_buffer_usage_limit vacuum_cost_delay vacuum_cost_limit
    vacuum_cost_page_dirty vacuum_cost_page_hit vacuum_cost_page_miss vacuum_failsafe_age
    vacuum_freeze_min_age vacuum_freeze_table_age vacuum_max_eager_freeze_failure_rate
    vacuum_multixact_failsafe_age vacuum_multixact_freeze_min_age vacuum_multixact_freeze_table_age
    vacuum_truncate wal_compression wal_init_zero wal_recycle wal_sender_timeout wal_skip_threshold work_mem
    xmlbinary xmloption
    """.split()
)
_READING = frozenset({"client_encoding", "standard_conforming_strings", "backslash_quote", "transform_null_equals"})
"""What changes how a text is read."""
_ALLOWED_PREFIXES = ("enable_", "geqo", "jit_")
_OWN = frozenset({"consentry.purpose", "consentry.actor", "consentry.subject", "consentry.notify"})
_CUSTOM = re.compile(r"(?!auto_explain\.|pg_stat_statements\.|pg_hint_plan\.)[a-z_][a-z0-9_$]*(\.[a-z_][a-z0-9_$]*)+")
_ON = frozenset({"on", "true", "tru", "tr", "t", "yes", "ye", "y", "1"})
_ACTOR_LENGTH = 256
_IGNORED_IN_ENCODINGS = re.compile(r"[^a-z0-9]")
"""In the names of encodings PostgreSQL reads letters and digits only (encnames.c, clean_encoding_name); asyncpg sends
``'utf-8'`` with the quotes."""


def check_setting(name: str, value: str | None, policy: Policy, *, code: bool = False) -> None:
    """Raises Refused (42501) unless ``name`` (in lower case) may be set to ``value`` (None: to its start value).

    ``code``: the role is trusted with everything but with how its texts are read.
    """
    if name.startswith("consentry."):
        _check_own(name, value, policy)
        return
    if code and name not in _READING:
        return
    if not (name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES) or _CUSTOM.fullmatch(name)):
        raise denied(
            f'the parameter "{name}" cannot be set here',
            detail="It is not among those that are known to leave the meaning and the secrecy of results alone.",
            way_out="Leave it at its default, or have it set for the role or the database on the server.",
            policy=policy,
        )
    if value is not None:
        _check_value(name, value, policy)


def _check_own(name: str, value: str | None, policy: Policy) -> None:
    if name not in _OWN:
        raise denied(
            f'there is no parameter "{name}"',
            way_out=f"The parameters are {', '.join(sorted(_OWN))}.",
            policy=policy,
        )
    if name == "consentry.actor" and value is not None and len(value) > _ACTOR_LENGTH:
        raise denied(
            f"consentry.actor is longer than {_ACTOR_LENGTH} characters",
            way_out="Name the actor more briefly.",
            policy=policy,
        )


def _check_value(name: str, value: str, policy: Policy) -> None:
    folded = value.strip().lower()
    must = None
    if name == "client_encoding" and _IGNORED_IN_ENCODINGS.sub("", folded) not in ("utf8", "unicode"):
        must = "UTF8"
    elif name == "standard_conforming_strings" and folded not in (
        "on",
        "true",
        "yes",
        "1",
        "t",
        "y",
        "tr",
        "tru",
        "ye",
    ):
        must = "on"
    elif name == "client_min_messages" and folded.startswith("debug"):
        must = "log or above, since debugging messages speak of plans"
    if must is not None:
        raise denied(f'the parameter "{name}" must stay {must}', way_out="Do not change it.", policy=policy)
