"""System catalogs through ``consentry serve``: what tells of protected relations is NULL, the rest is as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pytest

from proxy.engine.system_catalogs import SYSTEM_CATALOGS
from tests.fix_postgres import Database
from tests.fix_proxy import Proxy

POLICY = """
version: 1
name: clinic
subjects:
  patient: {table: public.patients, key: id}
categories:
  telephone_number: {sensitivity: general, mask: phone}
tables:
  public.patients:
    subject: {kind: patient, key: id}
    columns: {phone: telephone_number}
  public.visits_2026:
    subject: {kind: patient, key: patient_id}
    columns: {ward: telephone_number}
  public.stays:
    subject: {kind: patient, key: patient_id}
    columns: {ward: telephone_number}
purposes:
  care: {description: To treat, basis: contract, categories: [telephone_number], accounts: any}
  research: {description: To learn, basis: contract, categories: [], accounts: any}
roles:
  postgres: {purposes: [care, research], default_purpose: care, ddl: true}
"""
# A role that may see everything is no exception: what the catalogs tell goes beyond what it may see.

SCHEMA = """
CREATE TABLE patients (id int PRIMARY KEY, phone varchar(20), ward text);
INSERT INTO patients SELECT n, '138' || (10000000 + n), 'w' || n % 3 FROM generate_series(1, 300) n;
ALTER TABLE patients ADD COLUMN note text DEFAULT 'SECRET-DEFAULT';
CREATE INDEX patients_tail ON patients (right(phone, 4));
CREATE STATISTICS patients_both ON phone, ward FROM patients;
CREATE STATISTICS patients_upper ON upper(ward) FROM patients;
CREATE TABLE wards (name text PRIMARY KEY, beds int);
INSERT INTO wards SELECT 'w' || n, n % 5 FROM generate_series(1, 300) n;
ALTER TABLE wards ADD COLUMN floor int DEFAULT 7;
CREATE INDEX wards_upper ON wards (upper(name));
CREATE STATISTICS wards_both ON name, beds FROM wards;
CREATE STATISTICS wards_double ON (beds * 2) FROM wards;
CREATE TABLE visits (patient_id int, ward text, year int) PARTITION BY LIST (year);
CREATE TABLE visits_2026 PARTITION OF visits FOR VALUES IN (2026);
INSERT INTO visits SELECT n, 'w' || n % 3, 2026 FROM generate_series(1, 300) n;
CREATE TABLE stays (patient_id int, ward text) PARTITION BY LIST (ward);
CREATE TABLE stays_w1 PARTITION OF stays FOR VALUES IN ('w1');
CREATE TABLE stays_rest PARTITION OF stays DEFAULT;
INSERT INTO stays VALUES (1, 'w1');
CREATE INDEX patients_w1 ON patients (id) WHERE ward = 'w1';
CREATE MATERIALIZED VIEW phones AS SELECT phone FROM patients;
CREATE VIEW sizes AS SELECT relname, reltuples FROM pg_class;
CREATE VIEW spying AS SELECT query FROM pg_stat_activity;
ANALYZE;
"""


@pytest.fixture(scope="module")
def clinic(module_database: Database) -> Database:
    module_database.execute(SCHEMA)
    return module_database


@pytest.fixture(scope="module")
def proxy(clinic: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "policy.yaml").write_text(POLICY)
    with Proxy(folder, "--policy", str(folder / "policy.yaml"), "--upstream", clinic.dsn()) as running:
        yield running


@pytest.fixture
def client(proxy: Proxy, clinic: Database) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    host, _, port = proxy.ready().rpartition(":")
    with psycopg.connect(clinic.through(host, int(port)), autocommit=True) as connection:
        yield connection


def present(clinic: Database) -> list[str]:
    names = "', '".join(SYSTEM_CATALOGS)
    query = f"SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relname IN ('{names}')"
    return sorted(name for (name,) in clinic.execute(query))


def test_every_one_has_the_columns_and_types_that_it_has(
    client: psycopg.Connection[tuple[Any, ...]], clinic: Database
) -> None:
    found = present(clinic)
    assert len(found) > 50
    with clinic.connect() as direct:
        for name in found:
            mine, its = (one.execute(f"SELECT * FROM {name} LIMIT 3").description for one in (client, direct))
            assert mine is not None and its is not None
            assert [tuple(column) for column in mine] == [tuple(column) for column in its], name


class Case(NamedTuple):
    query: str
    shows: list[tuple[Any, ...]]


SHOWS: dict[str, Case] = {
    "statistics of columns": Case(
        "SELECT tablename, attname, null_frac, n_distinct < 0, array_length(histogram_bounds::text::text[], 1),"
        " most_common_vals IS NULL FROM pg_stats WHERE tablename IN ('patients', 'wards') ORDER BY 1, 2",
        [
            ("patients", "id", None, None, None, True),
            ("patients", "note", None, None, None, True),
            ("patients", "phone", None, None, None, True),
            ("patients", "ward", None, None, None, True),
            ("wards", "beds", 0.0, False, None, False),
            ("wards", "floor", 0.0, False, None, False),
            ("wards", "name", 0.0, True, 101, True),
        ],
    ),
    "statistics of an expression index": Case(
        "SELECT tablename, attname, avg_width > 0, n_distinct FROM pg_stats"
        " WHERE tablename ~ '_(tail|upper)$' ORDER BY 1",
        [("wards_upper", "upper", True, -1.0)],
    ),
    "statistics of a partition, its parent and a copy": Case(
        "SELECT tablename, attname, inherited, n_distinct FROM pg_stats"
        " WHERE tablename IN ('visits', 'visits_2026', 'phones') AND attname IN ('ward', 'phone') ORDER BY 1, 2",
        [("phones", "phone", False, None), ("visits", "ward", True, None), ("visits_2026", "ward", False, None)],
    ),
    "the table below": Case(
        "SELECT starelid::regclass::text, staattnum, stawidth, stakind1 > 0, stavalues1 IS NULL AND stavalues2 IS NULL,"
        " stanullfrac FROM pg_statistic WHERE starelid IN ('patients'::regclass, 'patients_tail'::regclass,"
        " 'wards'::regclass) AND staattnum = 1 ORDER BY 1",
        [
            ("patients", 1, None, None, True, None),
            ("wards", 1, 4, True, False, 0.0),
        ],
    ),
    "extended statistics": Case(
        "SELECT statistics_name, attnames, n_distinct IS NULL, dependencies IS NULL, most_common_vals IS NULL"
        " FROM pg_stats_ext WHERE statistics_name ~ 'both' ORDER BY 1",
        [
            ("patients_both", ["phone", "ward"], True, True, True),
            ("wards_both", ["name", "beds"], False, False, False),
        ],
    ),
    "extended statistics of expressions": Case(
        "SELECT statistics_name, expr, null_frac, most_common_vals::text FROM pg_stats_ext_exprs ORDER BY 1",
        [
            ("patients_upper", "upper(ward)", None, None),
            ("wards_double", "(beds * 2)", 0.0, "{0,2,4,6,8}"),
        ],
    ),
    "extended statistics as they are stored": Case(
        "SELECT stxname, stxdndistinct IS NULL, stxdexpr IS NULL FROM pg_statistic_ext_data"
        " JOIN pg_statistic_ext s ON s.oid = stxoid ORDER BY 1",
        [
            ("patients_both", True, True),
            ("patients_upper", True, True),
            ("wards_both", False, True),
            ("wards_double", True, False),
        ],
    ),
    "a partition that hidden values leave empty": Case(
        "SELECT tablename, attname, n_distinct FROM pg_stats WHERE tablename ~ '^stays' ORDER BY 1, 2",
        [("stays", "patient_id", None), ("stays", "ward", None)],
    ),
    "how many rows hidden values chose": Case(
        "SELECT relname, reltuples, relpages > 0 FROM pg_class"
        " WHERE relname ~ '^(stays|visits_2026|patients|wards)' ORDER BY 1",
        [
            ("patients", 300.0, True),
            ("patients_pkey", None, None),
            ("patients_tail", None, None),
            ("patients_w1", None, None),
            ("stays", 1.0, False),
            ("stays_rest", None, None),
            ("stays_w1", None, None),
            ("visits_2026", 300.0, True),
            ("wards", 300.0, True),
            ("wards_pkey", 300.0, True),
            ("wards_upper", 300.0, True),
        ],
    ),
    "the same of TOAST tables": Case(
        "SELECT count(*) > 0, count(reltuples) FROM pg_class WHERE relkind = 't'", [(True, 0)]
    ),
    "statistics of the statistics": Case(
        "SELECT count(*) > 0, count(null_frac) FROM pg_stats WHERE tablename IN ('pg_statistic', 'pg_authid')",
        [(True, 0)],
    ),
    "defaults that stand for cells": Case(
        "SELECT attrelid::regclass::text, attname, atthasmissing, attmissingval::text FROM pg_attribute"
        " WHERE atthasmissing ORDER BY 1",
        [("patients", "note", True, None), ("wards", "floor", True, "{7}")],
    ),
    "counters of tables": Case(
        "SELECT relname, n_live_tup, n_tup_ins, seq_scan IS NULL, idx_scan, last_analyze IS NOT NULL, analyze_count"
        " FROM pg_stat_user_tables WHERE relname IN ('patients', 'wards') ORDER BY 1",
        [("patients", None, None, True, None, True, 1), ("wards", 300, 300, False, 0, True, 1)],
    ),
    "counters of indexes": Case(
        "SELECT indexrelname, idx_scan, idx_tup_read FROM pg_stat_user_indexes WHERE relname IN ('patients', 'wards')"
        " ORDER BY 1",
        [(f"patients_{name}", None, None) for name in ("pkey", "tail", "w1")]
        + [("wards_pkey", 0, 0), ("wards_upper", 0, 0)],
    ),
    "counters of blocks": Case(
        "SELECT relname, heap_blks_hit > 0, toast_blks_read FROM pg_statio_user_tables"
        " WHERE relname IN ('patients', 'wards') ORDER BY 1",
        [("patients", None, None), ("wards", True, 0)],
    ),
    "counters of TOAST tables": Case(
        "SELECT count(*) > 0, count(seq_scan), count(n_live_tup) FROM pg_stat_all_tables WHERE schemaname = 'pg_toast'",
        [(True, 0, 0)],
    ),
    "counters of the transaction": Case(
        "SELECT relname, seq_tup_read FROM pg_stat_xact_user_tables WHERE relname IN ('patients', 'wards') ORDER BY 1",
        [("patients", None), ("wards", 0)],
    ),
    "counters of the database": Case(
        "SELECT datname = current_database(), numbackends > 0, xact_commit > 0, tup_returned, blks_hit, temp_bytes"
        " FROM pg_stat_database WHERE datname = current_database()",
        [(True, True, True, None, None, None)],
    ),
    "an unused column costs nothing": Case("SELECT count(*) > 1 FROM pg_stat_activity", [(True,)]),
    "one's own statement": Case(
        "SELECT state, query FROM pg_stat_activity WHERE pid = pg_backend_pid() -- it's mine",
        [("active", "SELECT state, query FROM pg_stat_activity WHERE pid = pg_backend_pid() -- it's mine")],
    ),
    "others' statements": Case(
        "SELECT count(*) > 0, count(query), count(query_id) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        [(True, 0, 0)],
    ),
    "a whole row within a function": Case(
        "SELECT row_to_json(a)->>'usename', row_to_json(a)->'query_id' FROM pg_stat_activity a"
        " WHERE pid = pg_backend_pid()",
        [("postgres", None)],
    ),
    "passwords": Case("SELECT rolname, rolpassword FROM pg_authid WHERE rolname = 'postgres'", [("postgres", None)]),
    "large objects": Case("SELECT count(data) FROM pg_largeobject", [(0,)]),
    "a qualified column": Case(
        "SELECT pg_catalog.pg_stat_user_tables.n_live_tup FROM pg_catalog.pg_stat_user_tables WHERE relname = 'wards'",
        [(300,)],
    ),
    "a join and an alias list": Case(
        "SELECT s.n_live_tup, c.relname, x.c FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid,"
        " LATERAL (SELECT t.c FROM pg_stat_user_tables t (a, b, c) WHERE t.a = s.relid) x WHERE s.relname = 'wards'",
        [(300, "wards", "wards")],
    ),
    "a condition on what is hidden": Case("SELECT relname FROM pg_stat_user_tables WHERE n_live_tup <> 300", []),
}


@pytest.mark.parametrize("case", SHOWS)
def test_what_shows(client: psycopg.Connection[tuple[Any, ...]], case: str) -> None:
    query, expected = SHOWS[case]
    found = client.execute(query.encode()).fetchall()
    assert found == expected


FORMS: dict[str, Case] = {
    "TABLE": Case("SELECT count(*) FROM (TABLE pg_stat_wal) w", [(1,)]),
    "a set operation and WITH": Case(
        "WITH a AS (SELECT query FROM pg_stat_activity WHERE pid <> pg_backend_pid())"
        " SELECT count(query) FROM a UNION SELECT n_live_tup FROM pg_stat_user_tables WHERE relname = 'patients'"
        " ORDER BY 1",
        [(0,), (None,)],
    ),
    "a temporary table": Case(
        "CREATE TEMP TABLE seen AS SELECT relname, n_live_tup FROM pg_stat_user_tables;"
        "INSERT INTO seen SELECT tablename, null_frac * 1000 FROM pg_stats WHERE attname = 'phone';"
        "SELECT relname, n_live_tup FROM seen WHERE relname IN ('patients', 'wards', 'phones') ORDER BY 1, 2",
        [("patients", None), ("patients", None), ("phones", None), ("phones", None), ("wards", 300)],
    ),
    "a condition of DELETE": Case(
        "CREATE TEMP TABLE workers AS SELECT pg_backend_pid() AS pid UNION SELECT -1;"
        "DELETE FROM workers WHERE pid NOT IN (SELECT pid FROM pg_stat_activity WHERE query IS NULL OR true);"
        "SELECT count(*) FROM workers",
        [(1,)],
    ),
    "a cursor": Case(
        "BEGIN; DECLARE c CURSOR FOR SELECT relname, n_live_tup FROM pg_stat_user_tables WHERE relname = 'patients';"
        "FETCH c",
        [("patients", None)],
    ),
    "the text of one's own cursors": Case(
        "BEGIN; DECLARE c CURSOR FOR SELECT 1; SELECT name, statement FROM pg_cursors WHERE name = 'c'",
        [("c", "DECLARE c CURSOR FOR SELECT 1")],
    ),
    "SQL PREPARE": Case(
        "PREPARE p AS SELECT state, query FROM pg_stat_activity WHERE pid = pg_backend_pid(); EXECUTE p",
        [("active", "SELECT state, query FROM pg_stat_activity WHERE pid = pg_backend_pid()")],
    ),
    "a tableoid": Case("SELECT tableoid::regclass::text, rolpassword FROM pg_authid LIMIT 1", [("pg_authid", None)]),
    "a lock that is no row's": Case(
        "BEGIN; LOCK TABLE wards; SELECT relation::regclass::text, mode, page, tuple FROM pg_locks"
        " WHERE pid = pg_backend_pid() AND relation = 'wards'::regclass",
        [("wards", "AccessExclusiveLock", None, None)],
    ),
    "predicate locks": Case(
        "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT FROM wards;"
        "SELECT count(*) > 0, count(*) FILTER (WHERE mode = 'SIReadLock') FROM pg_locks",
        [(True, 0)],
    ),
}


@pytest.mark.parametrize("case", FORMS)
def test_forms_of_reading(client: psycopg.Connection[tuple[Any, ...]], case: str) -> None:
    text, expected = FORMS[case]
    cursor = client.cursor()
    found: list[tuple[Any, ...]] = []
    for statement in text.split(";"):
        cursor.execute(statement.encode())
        found = cursor.fetchall() if cursor.description is not None else found
    assert found == expected


def test_copy_of_a_query(client: psycopg.Connection[tuple[Any, ...]]) -> None:
    query = "SELECT relname, n_live_tup FROM pg_stat_user_tables WHERE relname ~ '^(pat|war)' ORDER BY 1"
    with client.cursor().copy(f"COPY ({query}) TO STDOUT".encode()) as copy:
        assert b"".join(copy) == b"patients\t\\N\nwards\t300\n"


def test_prepared_statements_are_the_clients_own(client: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Under the names and with the texts that the client gave, whatever runs for them."""
    listed = "SELECT name, statement, from_sql FROM pg_prepared_statements ORDER BY from_sql, name"
    assert client.execute(listed).fetchall() == []
    seen = "SELECT phone FROM patients WHERE id = %s"
    client.execute("SET consentry.purpose = 'research'")
    client.execute(seen, (1,), prepare=True)
    client.execute("PREPARE mine AS SELECT phone FROM patients")
    client.execute("PREPARE plain AS SELECT 1")
    client.execute("SET consentry.purpose = 'care'")
    client.execute(seen, (1,), prepare=True)  # prepared anew behind the client's back
    assert client.execute(listed).fetchall() == [
        ("_pg3_0", "SELECT phone FROM patients WHERE id = $1", False),
        ("mine", 'PREPARE "mine" AS SELECT phone FROM patients', True),
        ("plain", "PREPARE plain AS SELECT 1", True),
    ]
    again = client.execute(f"{listed}, 2", prepare=True)
    assert [name for name, *_ in again.fetchall()] == ["_pg3_0", "_pg3_1", "mine", "plain"]


def test_a_pipeline_lists_what_it_prepared(client: psycopg.Connection[tuple[Any, ...]]) -> None:
    count = "SELECT count(*) FROM pg_prepared_statements WHERE name <> ''"
    client.execute("DEALLOCATE ALL")
    with client.pipeline():
        found = [client.execute(count, prepare=True) for _ in range(3)]
        assert [cursor.fetchall() for cursor in found] == [[(1,)]] * 3


def test_temporary_tables_of_other_sessions(client: psycopg.Connection[tuple[Any, ...]], clinic: Database) -> None:
    """They may hold what others may see."""
    query = "SELECT most_common_vals::text FROM pg_stats WHERE tablename = 'passing'"
    with clinic.connect() as other:
        other.execute("CREATE TEMP TABLE passing AS SELECT 'SECRET' AS phone FROM generate_series(1, 10)")
        other.execute("ANALYZE passing")
        assert other.execute(query).fetchall() == [("{SECRET}",)]
        assert client.execute(query).fetchall() == []
    client.execute("CREATE TEMP TABLE passing AS SELECT 'own' AS phone FROM generate_series(1, 10)")
    client.execute("ANALYZE passing")
    assert client.execute(query).fetchall() == [("{own}",)]


TOOLS = {
    "Rails and Django health": "SELECT pid, state, query FROM pg_stat_activity WHERE state <> 'idle' AND pid <> 0",
    "pg_activity": """
        SELECT a.pid AS pid, sum(EXTRACT(epoch FROM (NOW() - a.query_start))) AS duration, a.state,
            CASE WHEN a.leader_pid IS NULL THEN false ELSE true END AS is_parallel_worker, a.datname AS database,
            convert_from(replace(a.query, '\\', '\\\\')::bytea, coalesce(pg_catalog.pg_encoding_to_char(b.encoding),
            'UTF8')) AS query, a.wait_event IS NOT NULL
        FROM pg_stat_activity a LEFT OUTER JOIN pg_database b ON a.datid = b.oid
        WHERE a.pid <> pg_backend_pid() AND a.state <> 'idle' GROUP BY 1, 3, 4, 5, 6, 7""",
    "blocking sessions": """
        SELECT blocked.pid, blocked.query, blocking.pid, blocking.usename FROM pg_catalog.pg_locks bl
        JOIN pg_stat_activity blocked ON blocked.pid = bl.pid
        JOIN pg_locks kl ON kl.locktype = bl.locktype AND kl.page IS NOT DISTINCT FROM bl.page AND kl.pid <> bl.pid
        JOIN pg_stat_activity blocking ON blocking.pid = kl.pid WHERE NOT bl.granted""",
    "pgAdmin, sessions": """
        SELECT pid, datname, usename, application_name, client_addr,
            pg_catalog.to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ') AS backend_start, state,
            wait_event_type || ': ' || wait_event AS wait_event,
            array_to_string(pg_catalog.pg_blocking_pids(pid), ', ') AS blocking_pids, query, backend_type,
            CASE WHEN state = 'active' THEN ROUND((extract(epoch from now() - query_start) / 60)::numeric, 2)
            ELSE 0 END AS active_since
        FROM pg_catalog.pg_stat_activity
        WHERE datname = (SELECT datname FROM pg_catalog.pg_database WHERE datname = current_database()) ORDER BY pid""",
    "pgAdmin, dashboard": """
        SELECT 'tps_stats' AS chart_name, pg_catalog.row_to_json(t) AS chart_data FROM (SELECT
            (SELECT sum(xact_commit) + sum(xact_rollback) FROM pg_catalog.pg_stat_database) AS "Transactions",
            (SELECT sum(xact_commit) FROM pg_catalog.pg_stat_database) AS "Commits") t
        UNION ALL SELECT 'ti_stats', pg_catalog.row_to_json(t) FROM (SELECT
            (SELECT sum(tup_inserted) FROM pg_catalog.pg_stat_database) AS "Inserts") t""",
    "pgAdmin, a table's statistics": """
        SELECT seq_scan AS "Sequential scans", idx_scan, n_tup_ins, heap_blks_read, toast_blks_hit,
            pg_catalog.pg_size_pretty(pg_catalog.pg_relation_size(stat.relid)) AS "Table size", last_vacuum
        FROM pg_catalog.pg_stat_all_tables stat
        JOIN pg_catalog.pg_statio_all_tables statio ON stat.relid = statio.relid
        JOIN pg_catalog.pg_class cl ON cl.oid = stat.relid WHERE stat.relname = 'wards'""",
    "pgAdmin, a column's statistics": """
        SELECT null_frac AS "Null fraction", most_common_vals, histogram_bounds, correlation FROM pg_catalog.pg_stats
        WHERE schemaname = 'public' AND tablename = 'wards' AND attname = 'beds'""",
    "unused indexes": """
        SELECT schemaname, relname, indexrelname, idx_scan, pg_relation_size(i.indexrelid) AS size
        FROM pg_stat_user_indexes ui INNER JOIN pg_index i ON ui.indexrelid = i.indexrelid
        WHERE NOT indisunique AND idx_scan <= 50 ORDER BY pg_relation_size(i.indexrelid) DESC, relname ASC""",
    "cache hits": """
        SELECT sum(heap_blks_hit) / nullif(sum(heap_blks_hit) + sum(heap_blks_read), 0) FROM pg_statio_user_tables""",
    "vacuum under way": """
        SELECT p.pid, p.phase, p.heap_blks_total, c.relname FROM pg_stat_progress_vacuum p
        JOIN pg_class c ON c.oid = p.relid""",
    "replication lag": """
        SELECT application_name, state, pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) FROM pg_stat_replication""",
    "replication slots": "SELECT slot_name, active, xmin, restart_lsn FROM pg_replication_slots",
    "advisory locks": """
        SELECT (classid::bigint << 32) + objid::bigint AS lock, pid FROM pg_locks WHERE locktype = 'advisory'""",
    "bloat": """
        SELECT tablename, (1 + count(*) / 8) + sum((1 - null_frac) * avg_width) FROM pg_stats s
        WHERE schemaname NOT IN ('pg_catalog', 'information_schema') GROUP BY 1""",
    "who may connect": "SELECT rolname, rolsuper, rolvaliduntil FROM pg_authid",
    "pg_dump's columns": """
        SELECT a.attnum, a.attname, CASE WHEN a.atthasmissing AND NOT a.attisdropped THEN a.attmissingval ELSE null END
            AS attmissingval FROM unnest('{1259}'::pg_catalog.oid[]) AS src(tbloid)
        JOIN pg_catalog.pg_attribute a ON (src.tbloid = a.attrelid)
        LEFT JOIN pg_catalog.pg_type t ON (a.atttypid = t.oid) ORDER BY a.attrelid, a.attnum""",
}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("binary", [False, True], ids=["simple", "binary"])
def test_what_tools_ask(client: psycopg.Connection[tuple[Any, ...]], tool: str, binary: bool) -> None:
    client.execute(TOOLS[tool].encode(), binary=binary and tool != "pgAdmin, a column's statistics").fetchall()


REFUSED: dict[str, tuple[str, str]] = {
    "EXPLAIN": ("EXPLAIN SELECT query FROM pg_stat_activity", "0A000"),
    "a view": ("CREATE VIEW spy AS SELECT query FROM pg_stat_activity", "0A000"),
    "a materialized view": ("CREATE MATERIALIZED VIEW spy AS SELECT n_distinct FROM pg_stats", "0A000"),
    "a view over defaults": ("CREATE VIEW spy AS SELECT attmissingval FROM pg_attribute", "0A000"),
    "TABLESAMPLE": ("SELECT rolpassword FROM pg_authid TABLESAMPLE SYSTEM (10)", "0A000"),
    "a row as a column": ("SELECT a FROM pg_stat_activity a", "0A000"),
    "a system column": ("SELECT ctid, stawidth FROM pg_statistic", "0A000"),
    "COPY of a table": ("COPY pg_statistic TO STDOUT", "0A000"),
    "COPY of a table's column": ("COPY pg_attribute (attmissingval) TO STDOUT", "0A000"),
    "the text that runs": ("SELECT query FROM pg_stat_activity, current_query()", "0A000"),
    "a list that would be kept": ("PREPARE p AS SELECT * FROM pg_prepared_statements", "0A000"),
    "memory": ("SELECT * FROM pg_backend_memory_contexts", "0A000"),
    "the function below": ("SELECT query FROM pg_stat_get_activity(NULL)", "42501"),
    "a counter by itself": ("SELECT pg_stat_get_live_tuples('patients'::regclass)", "42501"),
    "the locks below": ("SELECT tuple FROM pg_lock_status()", "42501"),
    "a users' view": ("SELECT * FROM spying", "0A000"),
    "a users' view of sizes": ("SELECT relname FROM sizes", "0A000"),
    "settings by their view": ("UPDATE pg_settings SET setting = 'x' WHERE name = 'search_path'", "42501"),
    "a catalog written to": ("UPDATE pg_class SET relname = 'p' WHERE relname = 'patients'", "42501"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(client: psycopg.Connection[tuple[Any, ...]], case: str) -> None:
    text, sqlstate = REFUSED[case]
    with pytest.raises(psycopg.Error, match="consentry: ") as raised:
        if text.startswith("COPY"):
            with client.cursor().copy(text.encode()) as copy:
                list(copy)
        else:
            client.execute(text.encode())
    assert raised.value.sqlstate == sqlstate
