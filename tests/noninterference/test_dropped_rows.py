"""Where failed conditions drop the row, its open cells are hidden too: the databases differ in them as well."""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

import psycopg
import pytest

from proxy.demo.postgres import EmbeddedPostgres
from tests.noninterference.attack import Attack, Sessions, attacks
from tests.noninterference.databases import HERE, Pair, pair

# Of patients whose rows are dropped: 1 / (beds - …), casts of the ward and the like would tell these.
_OPEN_CELLS = """
UPDATE clinic.patients SET ward = (ARRAY['1/0', 'west'])[{n}], admitted = (ARRAY['-infinity', '2024-07-07'])[{n}]::date,
    beds = (ARRAY[id, -2147483647])[{n}] WHERE id > 4;
UPDATE public.subscribers SET plan = (ARRAY['secret', 'x'])[{n}] WHERE id IN (3, 4, 5);
UPDATE clinic.contacts SET label = (ARRAY['12', 'twelve'])[{n}] WHERE id > 4;
ANALYZE clinic.patients, public.subscribers, clinic.contacts;
"""
_MORE = {
    "a cast of a dropped cell": "SELECT ward::int FROM patients WHERE id > 4",
    "a division in the predicate": "SELECT id FROM patients WHERE 1 / (beds + 2147483647) > -1 ORDER BY id",
    "a division before the drop": "SELECT 1 / (beds - 5) FROM patients ORDER BY id",
    "a count": "SELECT count(*), count(DISTINCT ward), min(admitted) FROM patients",
    "a join on an open cell": "SELECT p.id, w.title FROM patients p JOIN wards w ON w.code = p.ward ORDER BY 1",
    "an anti join": "SELECT code FROM wards WHERE NOT EXISTS (SELECT FROM patients WHERE ward = code) ORDER BY 1",
    "the view of an open cell": "SELECT * FROM patient_list ORDER BY id",
    "no column at all": "SELECT FROM patients WHERE beds < 0",
    "a lock": "SELECT id FROM patients WHERE beds < 0 FOR UPDATE",
    "statistics of an open cell": "SELECT most_common_vals::text, histogram_bounds::text, n_distinct FROM pg_stats"
    " WHERE tablename = 'patients' AND attname IN ('ward', 'beds', 'admitted') ORDER BY attname",
    "an unused subquery": "SELECT 1 WHERE EXISTS (SELECT ward::int FROM patients)",
    "a limit of none": "SELECT 1 / (beds - 5) FROM patients LIMIT 0",
    "a whole row": "SELECT count(DISTINCT p) FROM patients p WHERE p.ward = '1/0'",
    "a copy": "COPY (SELECT ward::int FROM patients WHERE id > 4) TO STDOUT",
}
ATTACKS = [attack for attack in attacks() if not attack.alone and crc32(attack.name.encode()) % 3 == 0]
ATTACKS += [Attack("dropped rows", name, (sql,)) for name, sql in _MORE.items()]


@pytest.fixture(scope="module")
def databases(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("dropped")
    with pair(postgres, folder, "dropped", analyze=False, policy=HERE / "policy_drop.yaml") as made:
        for n, name in enumerate(made.names, 1):
            with psycopg.connect(postgres.dsn(database=name), autocommit=True) as connection:
                connection.execute(("SET client_min_messages = error;" + _OPEN_CELLS.format(n=n)).encode())
        yield made


@pytest.fixture(scope="module")
def sessions() -> Iterator[Sessions]:
    opened = Sessions()
    yield opened
    opened.close()


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_dropped_rows_are_gone(databases: Pair, sessions: Sessions, attack: Attack) -> None:
    seen = [
        sessions.run(
            (side, attack.purpose),
            lambda side=side: databases.through(side, **{"consentry.purpose": attack.purpose}),
            attack,
            "simple",
        )
        for side in (0, 1)
    ]
    assert [answer.shown() for answer in seen[0]] == [answer.shown() for answer in seen[1]]
    assert seen[0] == seen[1]
