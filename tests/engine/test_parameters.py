"""Which parameters a session may set, and to what."""

from __future__ import annotations

import pytest

from proxy.engine.parameters import check_setting
from proxy.errors import Refused
from proxy.policy.model import Contact, Policy

POLICY = Policy("p", "", Contact(), {}, {}, {}, {}, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("work_mem", "64MB"),
        ("search_path", "app, public"),
        ("client_encoding", "UTF8"),
        ("client_encoding", "utf-8"),
        ("client_encoding", "'utf-8'"),  # as asyncpg writes it
        ("client_encoding", "Unicode"),
        ("client_encoding", None),
        ("standard_conforming_strings", "on"),
        ("client_min_messages", "warning"),
        ("restrict_nonsystem_relation_kind", "view, foreign-table"),  # pg_dump
        ("app.tenant", "7"),
        ("enable_seqscan", "off"),
        ("consentry.purpose", "billing"),
    ],
)
def test_what_ordinary_clients_set(name: str, value: str | None) -> None:
    check_setting(name, value, POLICY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_encoding", "LATIN1"),
        ("client_encoding", "utf-16"),
        ("client_encoding", ""),
        ("standard_conforming_strings", "off"),
        ("backslash_quote", "on"),
        ("transform_null_equals", "on"),
        ("client_min_messages", "debug1"),
        ("debug_print_plan", "on"),
        ("trace_sort", "on"),
        ("log_statement", "all"),
        ("session_replication_role", "replica"),
        ("event_triggers", "off"),
        ("lo_compat_privileges", "on"),
        ("local_preload_libraries", "x"),
        ("auto_explain.log_min_duration", "0"),
        ("consentry.unknown", "x"),
        ("unknown", "x"),
    ],
)
def test_what_is_refused(name: str, value: str) -> None:
    with pytest.raises(Refused) as refused:
        check_setting(name, value, POLICY)
    assert refused.value.refusal.sqlstate == "42501"
