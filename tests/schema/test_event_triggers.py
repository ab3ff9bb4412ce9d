"""Event triggers run code beside DDL and at the start of sessions: where nobody trusts it, neither takes place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from proxy.catalog.announcement import EVENT_TRIGGER
from tests.fix_postgres import Database
from tests.schema.conftest import POLICY, ROLES, SCHEMA, Connect

_SHOWS = "BEGIN RAISE NOTICE 'told: %', (SELECT string_agg(phone, ' ') FROM public.people); END"
_FUNCTION = "CREATE OR REPLACE FUNCTION app.{} RETURNS event_trigger LANGUAGE plpgsql AS $${}$$;"
TRUSTED = ("watch", "in_block", "alone", "in_message", "in_block_message", "at_login")
PRY = _FUNCTION.format("pry()", _SHOWS)
FUNCTIONS = PRY + "".join(_FUNCTION.format(f"{name}()", "BEGIN END") for name in TRUSTED)


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    path.write_text(POLICY.replace("trusted: [app.trusted]", f"trusted: [app.{', app.'.join(TRUSTED)}]"))
    return path


@pytest.fixture(scope="module")
def world(module_database: Database) -> Database:
    for role in ROLES:
        module_database.execute(
            f"DO 'BEGIN CREATE ROLE {role} SUPERUSER LOGIN; EXCEPTION WHEN duplicate_object THEN END'"
        )
    module_database.execute(SCHEMA + FUNCTIONS)
    return module_database


@contextmanager
def installed(through: Connect, event: str, function: str, more: str = "") -> Iterator[None]:
    """While the event trigger ``ev`` is there. It is made by who may, so that consentry knows of it at once."""
    boss = through("anything")
    boss.execute(f"CREATE EVENT TRIGGER ev ON {event} EXECUTE FUNCTION app.{function}(); {more}".encode())
    try:
        yield
    finally:
        boss.execute("DROP EVENT TRIGGER ev")


def told(connection: psycopg.Connection[tuple[object, ...]]) -> list[str]:
    notices: list[str] = []
    connection.add_notice_handler(lambda one: notices.append(one.message_primary or ""))
    return notices


FIRES = {
    "a table": ("ddl_command_end", "CREATE TABLE made (n int)"),
    "before a table": ("ddl_command_start", "CREATE TABLE made (n int)"),
    "what is dropped": ("sql_drop", "DROP TABLE loose"),
    "a column that is dropped": ("sql_drop", "ALTER TABLE loose DROP COLUMN word"),
    "a rewritten table": ("table_rewrite", "ALTER TABLE loose ALTER COLUMN id TYPE bigint"),
    "a copy": ("ddl_command_end", "CREATE TABLE made AS SELECT id FROM plans"),
    "SELECT INTO": ("ddl_command_end", "SELECT id INTO made FROM plans"),
    "a temporary table": ("ddl_command_end", "CREATE TEMP TABLE made (n int)"),
    "a grant": ("ddl_command_end WHEN TAG IN ('GRANT')", "GRANT SELECT ON plans TO PUBLIC"),
    "a revocation": ("ddl_command_end WHEN TAG IN ('REVOKE')", "REVOKE SELECT ON plans FROM PUBLIC"),
    "a comment": ("ddl_command_end", "COMMENT ON TABLE plans IS 'x'"),
    "a function": ("ddl_command_end WHEN TAG IN ('CREATE FUNCTION')", PRY),
    "an index": ("ddl_command_end WHEN TAG IN ('REINDEX')", "REINDEX TABLE plans"),
    "a view that is refreshed": ("ddl_command_end WHEN TAG IN ('CREATE TABLE')", "REFRESH MATERIALIZED VIEW stale"),
}


@pytest.mark.parametrize("title", FIRES)
def test_untrusted_code_does_not_run(title: str, through: Connect, postgres_version: int) -> None:
    event, text = FIRES[title]
    if "REINDEX" in event and postgres_version < 17:
        pytest.skip("REINDEX fires event triggers since PostgreSQL 17")
    with installed(through, event, "pry"):
        for role in ("migrator", "keeper"):
            connection = through(role)
            notices = told(connection)
            with pytest.raises(psycopg.Error, match=r"app\.pry is not trusted.*event trigger ev") as caught:
                connection.execute(text.encode())
            assert caught.value.sqlstate == "42501"
            assert "functions.trusted" in str(caught.value.diag.message_hint)
            assert notices == []


def test_a_temporary_table_of_who_may_make_no_other(through: Connect) -> None:
    with installed(through, "ddl_command_end", "pry"), pytest.raises(psycopg.Error, match=r"app\.pry is not trusted"):
        through("analyst").execute("CREATE TEMP TABLE made (n int)")


PASSES = {
    "one that is disabled": ("ddl_command_end", "pry", "ALTER EVENT TRIGGER ev DISABLE"),
    "one for other commands": ("ddl_command_end WHEN TAG IN ('DROP TABLE', 'ALTER TABLE')", "pry", ""),
    "one for rewritten tables": ("table_rewrite", "pry", ""),
    "one that is trusted": ("ddl_command_end", "watch", ""),
}


@pytest.mark.parametrize("title", PASSES)
def test_others_are_in_nobody_s_way(title: str, through: Connect) -> None:
    with installed(through, *PASSES[title]):
        through("keeper").execute("CREATE TEMP TABLE made (n int)")


def test_roles_that_change_no_database_fire_none(through: Connect) -> None:
    with installed(through, "ddl_command_end", "pry"):
        through("keeper").execute("ALTER ROLE analyst CONNECTION LIMIT 50")


def test_a_role_with_code_is_trusted_with_it(through: Connect) -> None:
    with installed(through, "ddl_command_end", "pry"):
        connection = through("anything")
        notices = told(connection)
        connection.execute("CREATE TEMP TABLE made (n int)")
        assert notices == ["told: 13800004243 13911112222"]


@pytest.mark.parametrize("function", ["in_block", "alone"])
def test_one_that_is_replaced_is_trusted_no_longer(function: str, through: Connect) -> None:
    with installed(through, "ddl_command_end WHEN TAG IN ('CREATE TABLE')", function):
        keeper = through("keeper")
        keeper.execute("CREATE TEMP TABLE before (n int)")
        if function == "in_block":
            keeper.execute("BEGIN")
        keeper.execute(_FUNCTION.format(f"{function}()", _SHOWS).encode())
        with pytest.raises(psycopg.Error, match=rf"app\.{function} is not trusted"):
            keeper.execute("CREATE TEMP TABLE after (n int)")
        keeper.execute("ROLLBACK")


@pytest.mark.parametrize(("function", "block"), [("in_message", ""), ("in_block_message", "BEGIN; ")])
def test_one_that_is_replaced_in_the_same_message(function: str, block: str, through: Connect) -> None:
    with installed(through, "ddl_command_end WHEN TAG IN ('CREATE TABLE')", function):
        keeper = through("keeper")
        notices = told(keeper)
        replaced = _FUNCTION.format(f"{function}()", _SHOWS)
        with pytest.raises(psycopg.Error, match="an event trigger may run them") as caught:
            keeper.execute(f"{block}{replaced} CREATE TEMP TABLE after (n int)".encode())
        assert caught.value.sqlstate == "0A000"
        assert notices == []


def test_what_announces_changes_of_the_catalog_needs_nobody_s_trust(through: Connect) -> None:
    boss, keeper = through("anything"), through("keeper")
    boss.execute(EVENT_TRIGGER.encode())
    try:
        keeper.execute("CREATE TEMP TABLE made (n int)")
        boss.execute(_FUNCTION.replace("app.{}", "consentry.announce_catalog()").format(_SHOWS).encode())
        with pytest.raises(psycopg.Error, match=r"consentry\.announce_catalog is not trusted"):
            keeper.execute("CREATE TEMP TABLE another (n int)")
    finally:
        boss.execute("DROP SCHEMA consentry CASCADE")


# --- the start of a session -------------------------------------------------------------------------------------------


@pytest.fixture
def logins(postgres_version: int) -> None:
    if postgres_version < 17:
        pytest.skip("event triggers on login came with PostgreSQL 17")


@pytest.fixture(scope="module")
def postgres_version(world: Database) -> int:
    return int(world.execute("SHOW server_version_num")[0][0]) // 10000


@pytest.mark.usefixtures("logins")
def test_sessions_do_not_start_with_untrusted_code(through: Connect, world: Database) -> None:
    through("keeper").execute("CREATE TABLE IF NOT EXISTS seen (words text)")
    writes = "BEGIN INSERT INTO public.seen SELECT phone FROM public.people; RAISE WARNING 'told'; END"
    through("anything").execute(_FUNCTION.format("pry()", writes).encode())
    with installed(through, "login", "pry", "ALTER EVENT TRIGGER ev ENABLE ALWAYS"):
        world.execute("TRUNCATE seen")
        before = world.execute("SELECT count(*) FROM seen")  # that session has seen to one of each
        with pytest.raises(psycopg.OperationalError, match=r"app\.pry is not trusted.*ev runs it when a session"):
            through("analyst")
        assert world.execute("SELECT count(*) - 2 FROM seen") == before
        through("anything").close()
    through("anything").execute(PRY.encode())
    through("analyst").close()


@pytest.mark.usefixtures("logins")
def test_sessions_start_with_trusted_code(through: Connect) -> None:
    with installed(through, "login", "at_login"):
        through("analyst").close()
        through("keeper").execute(_FUNCTION.format("at_login()", _SHOWS).encode())
        with pytest.raises(psycopg.OperationalError, match=r"app\.at_login is not trusted"):
            through("analyst")
