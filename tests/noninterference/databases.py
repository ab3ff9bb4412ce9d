"""The two databases and the proxy before them, for tests and for the long runs alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import yaml

from proxy.demo.postgres import SUPERUSER, EmbeddedPostgres
from tests.fix_postgres import create_database
from tests.fix_proxy import Proxy
from tests.noninterference import clinic_rows, rows
from tests.noninterference.conversation import Connection

HERE = Path(__file__).parent
POLICY = HERE / "policy.yaml"
ROLES: tuple[str, ...] = tuple(yaml.safe_load(POLICY.read_text("utf-8"))["roles"])
"""All that the policy names."""
SEARCH_PATH = "public, clinic"

_ORDINARY = ("visitor",)
# All that PostgreSQL itself can give to somebody who is no superuser: what stops the other roles is consentry alone.
_MEMBERSHIPS = ("pg_read_all_data", "pg_monitor", "pg_read_server_files", "pg_signal_backend")
_SINCE_17 = ("pg_maintain",)


# The catalogs' own statistics hold transaction numbers, which differ by chance.
_ANALYZE = """
SET client_min_messages = error;
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT oid::regclass FROM pg_class
        WHERE relkind IN ('r', 'p', 'm') AND oid >= 16384 AND NOT relispartition
            AND relnamespace IN ('public'::regnamespace, 'clinic'::regnamespace) ORDER BY oid
    LOOP EXECUTE 'ANALYZE ' || name; END LOOP;
END $$
"""


class Pair(NamedTuple):
    """Two databases that differ in hidden cells alone, by name, and the ports of the server and of the proxy."""

    names: tuple[str, str]
    direct_port: int
    port: int
    newest: int
    """The highest OID when both were made; what is above was made by those who talk to them."""
    proxy: Proxy

    def through(self, side: int, role: str = "analyst", **parameters: str) -> Connection:
        """A connection to one of the databases (0 or 1) by way of the proxy."""
        return self._connect(self.port, side, role, parameters)

    def direct(self, side: int, role: str = "analyst", **parameters: str) -> Connection:
        """The same without the proxy."""
        return self._connect(self.direct_port, side, role, parameters)

    def _connect(self, port: int, side: int, role: str, parameters: dict[str, str]) -> Connection:
        return Connection(port, self.names[side], role, {"search_path": SEARCH_PATH} | parameters, self.newest)


def make_roles(postgres: EmbeddedPostgres) -> None:
    given = _MEMBERSHIPS + (_SINCE_17 if postgres.version >= 17 else ())
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        for role in ROLES:
            connection.execute(f"CREATE ROLE {role} LOGIN")
        members = ", ".join(role for role in ROLES if role not in _ORDINARY)
        connection.execute(f"GRANT {', '.join(given)} TO {members}".encode())
        connection.execute(f"GRANT {SUPERUSER} TO builder".encode())  # who thereby owns everything


def drop_roles(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        connection.execute(f"DROP ROLE {', '.join(ROLES)}".encode())


def make(postgres: EmbeddedPostgres, prefix: str, *, analyze: bool) -> tuple[str, str]:
    """Makes the databases ``<prefix>_a`` and ``<prefix>_b``; returns their names.

    Both are copies of one empty database, so that all their objects have the same OIDs. With ``analyze`` the planner
    knows the values, which differ, so that its plans may differ too.
    """
    template, names = f"{prefix}_empty", (f"{prefix}_a", f"{prefix}_b")
    schema = "".join((HERE / file).read_text("utf-8") for file in ("schema.sql", "clinic.sql"))
    telephone = (HERE / "telephone.sql").read_text("utf-8")
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        create_database(connection, template)
        _run(postgres, template, schema)
        for side, name in enumerate(names):
            create_database(connection, name, template)
            set_up(connection, name)
            _run(
                postgres,
                name,
                rows.insert(side) + telephone + "SET client_min_messages = error;" + clinic_rows.clinic(side),
            )
            if analyze:
                _run(postgres, name, _ANALYZE)
        connection.execute(f"DROP DATABASE {template}".encode())
    return names


def set_up(connection: psycopg.Connection[Any], name: str) -> None:
    """What a database does not get from its template."""
    connection.execute(f"ALTER DATABASE {name} SET client_min_messages = notice".encode())
    connection.execute(f"GRANT CREATE ON DATABASE {name} TO PUBLIC".encode())


def drop(postgres: EmbeddedPostgres, names: tuple[str, str]) -> None:
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        for name in names:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _run(postgres: EmbeddedPostgres, database: str, script: str) -> None:
    with psycopg.connect(postgres.dsn(database=database), autocommit=True) as connection:
        connection.execute(script.encode())


def _newest(postgres: EmbeddedPostgres, database: str) -> int:
    with psycopg.connect(postgres.dsn(database=database)) as connection:
        (oid,) = connection.execute("SELECT max(oid) FROM pg_class").fetchone() or (0,)
    return int(oid)


@contextmanager
def pair(
    postgres: EmbeddedPostgres, folder: Path, prefix: str, *, analyze: bool, policy: Path = POLICY
) -> Iterator[Pair]:
    """Roles, databases and proxy, for as long as the context lasts."""
    make_roles(postgres)
    names = make(postgres, prefix, analyze=analyze)
    with Proxy(folder, "--policy", str(policy), "--upstream", postgres.dsn()) as proxy:
        yield Pair(names, postgres.port, int(proxy.ready().rsplit(":", 1)[1]), _newest(postgres, names[1]), proxy)
        assert proxy.stop() == 0, proxy.said
    drop(postgres, names)
    drop_roles(postgres)
