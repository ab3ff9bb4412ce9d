"""The suites: what each needs and how it is run against a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.compat.sources import Fetch, from_archive, from_go, from_index, from_maven, installed, nothing

DATABASE: Final = "compat"


@dataclass(frozen=True, slots=True)
class Target:
    """The server that a suite runs against, and where its results go (JUnit's XML)."""

    host: str
    port: int
    results: Path

    def url(self, scheme: str) -> str:
        return f"{scheme}://postgres:secret@{self.host}:{self.port}/{DATABASE}"


@dataclass(frozen=True, slots=True)
class Suite:
    """``covers`` says what of the client is run. ``command`` gives the arguments after the interpreter, ``environment``
    variables, for one run.

    ``prepare`` writes what the run needs into the working folder; ``databases`` and ``setup`` (SQL in the suite's own
    database) are made afresh for each run. ``unavoidable``: patterns of tests that consentry cannot let pass, with the
    reason.
    """

    name: str
    source: str
    covers: str
    requirements: tuple[str, ...]
    command: Callable[[Target], list[str]]
    environment: Callable[[Target], dict[str, str]]
    fetch: Fetch = from_index
    folder: str = "."
    apart: str = ""
    """A folder of the source that must not stand beside the rest of it: the installed package is what is tested."""
    prepare: Callable[[Path, Target], None] | None = None
    databases: tuple[str, ...] = ()
    setup: str = ""
    extensions: tuple[str, ...] = ()
    """Made where the server has them; tests that need others fail directly, too."""
    postgres: int = 18
    """The major version of the server that it runs against. What needs contributed extensions takes Debian's."""
    unavoidable: dict[str, str] = field(default_factory=dict)


def _driver(name: str) -> Callable[[Target], list[str]]:
    script = Path(__file__).with_name("drivers") / f"{name}.py"
    return lambda target: [str(script), target.host, str(target.port), str(target.results)]


def _pytest(*arguments: str) -> Callable[[Target], list[str]]:
    return lambda target: ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={target.results}", *arguments]


def _libpq(target: Target) -> dict[str, str]:
    return {
        "PGHOST": target.host,
        "PGPORT": str(target.port),
        "PGUSER": "postgres",
        "PGPASSWORD": "secret",
        "PGDATABASE": DATABASE,
    }


def _without_database(target: Target) -> dict[str, str]:
    return {name: value for name, value in _libpq(target).items() if name != "PGDATABASE"}


_DJANGO_SETTINGS: Final = """
SECRET_KEY = "compat"
USE_TZ = False
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
TEST_RUNNER = "xmlrunner.extra.djangotestrunner.XMLTestRunner"
TEST_OUTPUT_DIR = {folder!r}
TEST_OUTPUT_FILE_NAME = {name!r}
_ONE = {{"ENGINE": "django.db.backends.postgresql", "USER": "postgres", "PASSWORD": "secret"}}
_ONE |= {{"HOST": {host!r}, "PORT": {port}}}
DATABASES = {{"default": {{**_ONE, "NAME": "django_one"}}, "other": {{**_ONE, "NAME": "django_two"}}}}
"""


def _django_settings(folder: Path, target: Target) -> None:
    (folder / "compat_settings.py").write_text(
        _DJANGO_SETTINGS.format(
            folder=str(target.results.parent), name=target.results.name, host=target.host, port=target.port
        )
    )


_DJANGO_TESTS: Final = """
    backends schema introspection postgres_tests queries aggregation transactions transaction_hooks
    basic update delete bulk_create get_or_create update_only_fields force_insert_update select_for_update
    model_inheritance many_to_many one_to_one constraints
"""
_CONFORMING: Final = "`standard_conforming_strings` stays on"
_ENCODING: Final = "`client_encoding` stays UTF8"
_FAST_PATH: Final = "by the fast-path function call, which consentry refuses"
_SQLALCHEMY_CORE: Final = (
    *(f"test/engine/test_{name}.py" for name in "ddlevents execute reflection transaction".split()),
    *(
        f"test/sql/test_{name}.py"
        for name in (
            "case_statement computed constraints ddlemit defaults delete from_linter functions identity_column"
            " insert_exec lambdas lateral query quote resultset returning sequences text type_expressions types update"
        ).split()
    ),
)
_SQLALCHEMY_WRITES: Final = (
    "test/orm/dml",
    *(f"test/orm/inheritance/test_{name}.py" for name in "basic polymorphic_rel".split()),
    *(
        f"test/orm/test_{name}.py"
        for name in (
            "cascade composites cycles defaults expire lockmode manytomany merge naturalpks onetoone session"
            " transaction unitofwork unitofworkv2 versioning"
        ).split()
    ),
)


def _sqlalchemy(name: str, covers: str, tests: tuple[str, ...]) -> Suite:
    """Its tests do not start without citext."""
    return Suite(
        name=name,
        source="SQLAlchemy==2.0.44",
        covers=covers,
        requirements=("SQLAlchemy==2.0.44", "psycopg[binary]", "asyncpg==0.30.0", "greenlet", "pytest"),
        command=lambda target: [
            *_pytest(*tests)(target),
            *("-p", "no:logging", "--maxfail=10000", "--dburi", target.url("postgresql+psycopg")),
        ],
        environment=lambda _: {},
        setup="CREATE SCHEMA test_schema; CREATE SCHEMA test_schema_2;"
        f" ALTER DATABASE {DATABASE} SET default_text_search_config = 'pg_catalog.english'",
        extensions=("hstore", "citext"),
        postgres=15,
        unavoidable={
            "::test_client_encoding$": _ENCODING,
            r"::test_backslash_escapes_detection\[False-True\]$": _CONFORMING,
        },
    )


SUITES: Final = {
    suite.name: suite
    for suite in (
        Suite(
            name="asyncpg",
            source="asyncpg==0.30.0",
            covers="its tests, but for those that start servers of their own",
            requirements=("asyncpg==0.30.0", "pytest", "uvloop", "distro"),
            command=_pytest(
                "tests/test_cache_invalidation.py",
                "tests/test_cancellation.py",
                "tests/test_codecs.py",
                "tests/test_copy.py",
                "tests/test_cursor.py",
                "tests/test_exceptions.py",
                "tests/test_execute.py",
                "tests/test_introspection.py",
                "tests/test_listeners.py",
                "tests/test_logging.py",
                "tests/test_pool.py",
                "tests/test_prepare.py",
                "tests/test_record.py",
                "tests/test_timeout.py",
                "tests/test_transaction.py",
                "tests/test_types.py",
                "tests/test_utils.py",
            ),
            environment=_libpq,
            apart="tests",
        ),
        Suite(
            name="pg8000",
            source="pg8000==1.31.2",
            covers="`dbapi`, `native` and `legacy`, but for authentication",
            requirements=("pg8000==1.31.2", "pytest", "pytest-mock", "pytest-benchmark", "pytz"),
            command=_pytest(
                "test/dbapi", "test/native", "test/legacy", "--ignore-glob=*/auth/*", "--benchmark-disable"
            ),
            environment=lambda target: {**_without_database(target), "PGDATABASE": "postgres"},
            extensions=("hstore",),
        ),
        _sqlalchemy(
            "SQLAlchemy",
            "the PostgreSQL dialect and the dialect suite, over psycopg",
            ("test/dialect/postgresql", "test/dialect/test_suite.py"),
        ),
        _sqlalchemy("SQLAlchemy-core", "what of `sql` and `engine` executes something, over psycopg", _SQLALCHEMY_CORE),
        _sqlalchemy("SQLAlchemy-ORM", "what of `orm` writes, over psycopg", _SQLALCHEMY_WRITES),
        Suite(
            name="Django",
            source="Django==5.2.8",
            covers="what speaks of the database (`schema`, `queries`, `postgres_tests` …) or writes (`bulk_create` …)",
            requirements=("Django==5.2.8", "psycopg[binary]", "unittest-xml-reporting", "jinja2", "pillow", "tblib"),
            command=lambda _: [
                *("runtests.py", "--settings=compat_settings", "--noinput", "--parallel=1"),
                *_DJANGO_TESTS.split(),
            ],
            environment=lambda _: {},
            folder="tests",
            prepare=_django_settings,
            databases=("django_one", "django_two"),
            postgres=15,
            unavoidable={"conforming_strings_off$": _CONFORMING},
        ),
        Suite(
            name="psycopg",
            source="psycopg==3.3.4",
            covers="its tests, but for those that it calls slow",
            requirements=("psycopg[binary,test,pool]==3.3.4", "anyio", "pproxy"),
            fetch=from_archive("https://codeload.github.com/psycopg/psycopg/tar.gz/refs/tags/{version}"),
            # It keeps something in pytest's cache.
            command=lambda target: [
                *("-m", "pytest", "-q", "tests", "--ignore=tests/crdb", f"--junitxml={target.results}"),
                *("-m", "not slow and not mypy and not timing", "-p", "no:randomly"),
            ],
            environment=lambda target: {"PSYCOPG_TEST_DSN": target.url("postgresql")},
            apart="tests",
            extensions=("hstore",),
            unavoidable={
                r"[\[-](latin1|latin9|sql_ascii|ascii|euc-?jp)[\]-]": _ENCODING,
                r"::test_(enum_dumper_sqlascii|enum_loader_sqlascii|dump_badenc|load_badenc|load_ascii)\[": _ENCODING,
                r"::test_text_array_ascii\[|::test_set_encoding_unsupported$": _ENCODING,
                r"tests\.pq\.test_misc::test_error_message_encoding$|test_pgconn::test_encoding$": _ENCODING,
                r"::test_(escape|quote)_\w+\[(\w+-)?off\]$": _CONFORMING,
                r"::test_set_transaction_param_reset\[": "`set_config` with a computed name",
            },
        ),
        Suite(
            name="node-postgres",
            source="node-postgres==8.23.0",
            covers="its integration tests, in text and in binary format",
            requirements=(),
            fetch=from_archive("https://codeload.github.com/brianc/node-postgres/tar.gz/refs/tags/pg@{version}"),
            command=_driver("node_postgres"),
            environment=lambda _: {},
            folder="packages/pg",
            prepare=lambda folder, _: installed(folder, ("async@2.6.4", "bluebird@3.7.2", "co@4.6.0")),
        ),
        Suite(
            name="pgx",
            source="pgx==5.7.6",
            covers="its tests, with `pgconn`, `pgxpool`, `pgtype`, `stdlib`",
            requirements=(),
            fetch=from_go("github.com/jackc/pgx/v5"),
            command=_driver("pgx"),
            environment=lambda _: {},
            setup="CREATE DOMAIN uint64 AS numeric(20, 0)",
            extensions=("hstore", "ltree"),
            postgres=15,
            unavoidable={
                "::TestConnSimpleProtocolRefusesNonStandardConformingStrings$": _CONFORMING,
                "::TestConnSimpleProtocolRefusesNonUTF8ClientEncoding$": _ENCODING,
            },
        ),
        Suite(
            name="pgjdbc",
            source="pgjdbc==42.7.4",
            covers="a session of 22 steps in 8 modes of the driver",
            requirements=(),
            fetch=from_maven("org.postgresql:postgresql"),
            command=_driver("pgjdbc"),
            environment=lambda _: {},
            unavoidable={": large objects$": _FAST_PATH},
        ),
        Suite(
            name="psql",
            source="psql==15",
            covers="every backslash command that asks the server something: what it prints",
            requirements=(),
            fetch=nothing,
            command=_driver("psql"),
            environment=lambda _: {},
            unavoidable={"lo_export|lo_unlink": _FAST_PATH},
        ),
        Suite(
            name="tools",
            source="tools==15",
            covers="pg_dump (what it dumps), pg_restore, pgbench in three protocols, vacuumdb and their like",
            requirements=(),
            fetch=nothing,
            command=_driver("tools"),
            environment=lambda _: {},
        ),
    )
}
