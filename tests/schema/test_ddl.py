"""What DDL may do to protected tables, role by role: each case is undone again."""

from __future__ import annotations

from typing import NamedTuple

import psycopg
import pytest

from tests.schema.conftest import Connect


class Case(NamedTuple):
    """``answer``: the SQLSTATE of the first error, '' where all passes; ``words`` stand in its message."""

    role: str
    statements: tuple[str, ...]
    answer: str = ""
    words: str = ""


def _each(role: str, texts: str, answer: str = "", words: str = "") -> list[Case]:
    return [Case(role, (text.strip(),), answer, words) for text in texts.strip().split("\n") if text.strip()]


HARMLESS = """
CREATE INDEX ON people (city)
CREATE INDEX CONCURRENTLY_NAME ON people (city, plan)
CREATE INDEX ON people (phone varchar_pattern_ops)
CREATE INDEX ON people USING hash (phone)
CREATE INDEX ON people (name) INCLUDE (city)
CREATE INDEX ON people (lower(city)) WHERE plan > 1
CREATE UNIQUE INDEX ON people (id, city)
CREATE STATISTICS s ON city, plan FROM people
ALTER TABLE people ADD COLUMN nick text
ALTER TABLE people ADD COLUMN IF NOT EXISTS phone_old varchar(20)
ALTER TABLE people ADD COLUMN vip boolean NOT NULL DEFAULT false
ALTER TABLE people ADD COLUMN other_plan int REFERENCES plans (id)
ALTER TABLE people ADD COLUMN loud text GENERATED ALWAYS AS (upper(city)) STORED
CREATE SCHEMA fresh CREATE INDEX ON t (a) CREATE VIEW v AS SELECT a FROM t CREATE TABLE t (a int)
ALTER TABLE people ADD CONSTRAINT c CHECK (city <> ''), ADD CONSTRAINT u UNIQUE (id, plan)
ALTER TABLE people ADD FOREIGN KEY (plan) REFERENCES plans (id) DEFERRABLE INITIALLY DEFERRED
ALTER TABLE calls ADD FOREIGN KEY (person) REFERENCES people (id) ON DELETE CASCADE
ALTER TABLE people DROP COLUMN city
ALTER TABLE people DROP COLUMN note
ALTER TABLE people ALTER COLUMN city SET DEFAULT 'none', ALTER COLUMN city SET NOT NULL
ALTER TABLE people ALTER COLUMN phone DROP NOT NULL, ALTER COLUMN phone SET DEFAULT '', ALTER COLUMN phone DROP DEFAULT
ALTER TABLE people ALTER COLUMN city TYPE varchar(80)
ALTER TABLE people ALTER COLUMN plan TYPE bigint USING plan::bigint
ALTER TABLE people RENAME COLUMN city TO town
ALTER TABLE people RENAME COLUMN phone TO phone_old
ALTER TABLE people ALTER COLUMN name SET STATISTICS 100, ALTER COLUMN name SET STORAGE MAIN
ALTER TABLE people SET (fillfactor = 70)
ALTER TABLE people OWNER TO analyst
ALTER TABLE people DROP CONSTRAINT people_plan_fkey
ALTER TABLE people ENABLE ROW LEVEL SECURITY
ALTER TABLE people DISABLE TRIGGER USER
ALTER TABLE calls_2025 RENAME TO calls_2025_old
ALTER TABLE book RENAME TO phone_book
ALTER VIEW book RENAME COLUMN name TO who
ALTER INDEX people_city RENAME TO people_town
COMMENT ON COLUMN people.phone IS 'where to call'
GRANT SELECT ON people, book TO analyst
REVOKE ALL ON people FROM PUBLIC
ALTER SEQUENCE numbering OWNED BY people.id
REINDEX TABLE people
DROP TABLE calls, items, archive
DROP VIEW book
DROP MATERIALIZED VIEW copied
DROP INDEX people_phone
CREATE TABLE calls_2026 PARTITION OF calls FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
CREATE TABLE more_people (extra text) INHERITS (people)
CREATE TABLE like_people (LIKE people INCLUDING ALL)
CREATE TABLE guest_consents (guest int, purpose text)
CREATE TABLE visits (id int, person int REFERENCES people (id) ON DELETE CASCADE)
CREATE TABLE visits (id int, person int, FOREIGN KEY (person) REFERENCES people (id))
CREATE VIEW new_book AS SELECT id, phone FROM people WHERE city = 'Leeds'
CREATE OR REPLACE VIEW book AS SELECT id, name, phone, city FROM people
CREATE RECURSIVE VIEW chain (id) AS SELECT id FROM people UNION SELECT c.id + 1 FROM chain c JOIN people USING (id)
CREATE POLICY p ON people USING (city = 'Leeds')
CREATE TRIGGER t BEFORE UPDATE ON people FOR EACH ROW WHEN (NEW.city <> OLD.city) EXECUTE FUNCTION app.trusted()
ALTER TABLE items RENAME TO former_items
CREATE FUNCTION first_name() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT name FROM people; END
ALTER DOMAIN public.code DROP NOT NULL
ALTER TYPE public.state ADD VALUE 'paused'
"""

JUDGING = """
CREATE UNIQUE INDEX ON people (phone)
CREATE INDEX ON people (lower(name))
CREATE INDEX ON people (city) WHERE phone LIKE '138%'
CREATE INDEX ON people (note)
CREATE INDEX ON people ((people IS NULL))
CREATE STATISTICS s ON name, city FROM people
CREATE STATISTICS s ON (length(name)) FROM people
ALTER TABLE people ADD CONSTRAINT c CHECK (phone <> '1')
ALTER TABLE people ADD CONSTRAINT c CHECK (length(people::text) > 1)
ALTER TABLE people ADD CONSTRAINT c UNIQUE (phone)
ALTER TABLE people ADD CONSTRAINT c EXCLUDE (phone WITH =)
ALTER TABLE people ADD FOREIGN KEY (salary) REFERENCES plans (id) NOT VALID
ALTER TABLE people ALTER COLUMN phone SET NOT NULL
ALTER TABLE people ADD COLUMN digits int GENERATED ALWAYS AS (length(phone)) STORED
ALTER TABLE people ALTER COLUMN note TYPE varchar(300)
ALTER TABLE people ALTER COLUMN note TYPE varchar(300) USING note::varchar(300)
ALTER TABLE people ALTER COLUMN salary TYPE bigint
ALTER TABLE people CLUSTER ON people_phone
ALTER TABLE people ALTER COLUMN city SET STORAGE PLAIN
ALTER TABLE above ADD CONSTRAINT c CHECK (word <> 'x')
CREATE TABLE more_people (extra text, CHECK (phone <> extra)) INHERITS (people)
CREATE TABLE more_people (EXCLUDE (phone WITH =)) INHERITS (people)
ALTER TABLE above ALTER COLUMN word SET NOT NULL
ALTER TABLE above ALTER COLUMN word TYPE varchar(50)
CLUSTER people USING people_phone
CREATE POLICY p ON people USING (phone LIKE '138%')
CREATE POLICY p ON loose USING (EXISTS (SELECT FROM people WHERE people.phone = word))
ALTER DOMAIN public.code ADD CHECK (VALUE <> 'x')
CREATE TRIGGER t BEFORE UPDATE ON people FOR EACH ROW WHEN (1 / length(OLD.name) > 0) EXECUTE FUNCTION app.trusted()
CREATE TRIGGER t BEFORE UPDATE ON people FOR EACH ROW WHEN (OLD IS DISTINCT FROM NEW) EXECUTE FUNCTION app.trusted()
"""

SHEDDING = """
ALTER TABLE calls RENAME TO telephone_calls
ALTER INDEX calls RENAME TO telephone_calls
ALTER TYPE people RENAME ATTRIBUTE phone TO word
ALTER TABLE calls SET SCHEMA app
ALTER INDEX calls RENAME TO telephone_calls
ALTER INDEX archive RENAME TO plans2
ALTER TABLE archive RENAME TO plans2
ALTER TABLE people RENAME COLUMN phone TO word
ALTER TABLE people RENAME COLUMN born TO phone_old
ALTER VIEW cards RENAME COLUMN holder TO word
ALTER VIEW cards RENAME TO words
ALTER TABLE copied RENAME TO words
ALTER TABLE above RENAME COLUMN word TO term
ALTER TABLE calls DETACH PARTITION calls_2025
ALTER TABLE archive INHERIT bare
CREATE OR REPLACE VIEW cards AS SELECT id, name AS holder, phone FROM people
ALTER TABLE people ALTER COLUMN city TYPE text USING phone
"""

MANAGED = """
DROP TABLE consents
DROP TABLE people CASCADE
DROP TABLE IF EXISTS plans2, public.consents
DROP TABLE orders
DROP SCHEMA public CASCADE
TRUNCATE consents
ALTER TABLE consents DROP COLUMN granted_at
ALTER TABLE consents ALTER COLUMN granted_at SET DEFAULT now()
ALTER TABLE consents ADD CONSTRAINT c CHECK (person > 0)
ALTER TABLE consents DISABLE TRIGGER ALL
ALTER TABLE people ALTER COLUMN status SET DEFAULT 'closed'
ALTER TABLE people DROP COLUMN status
ALTER TABLE orders ALTER COLUMN id TYPE bigint
ALTER TABLE calls DROP COLUMN person
ALTER TABLE loose RENAME TO guest_consents
ALTER INDEX loose RENAME TO guest_consents
ALTER TABLE fake_consents SET SCHEMA app
ALTER TABLE fake_consents INHERIT consents
CREATE TABLE guest_consents AS SELECT 1 AS guest, 'sales' AS purpose
SELECT 1 AS guest INTO guest_consents UNION ALL SELECT 2
CREATE MATERIALIZED VIEW guest_consents AS SELECT 1 AS guest
CREATE VIEW guest_consents AS SELECT 1 AS guest, 'sales' AS purpose
CREATE TRIGGER t BEFORE INSERT ON consents FOR EACH ROW EXECUTE FUNCTION app.trusted()
ALTER TYPE public.state RENAME VALUE 'closed' TO 'gone'
CREATE POLICY p ON consents USING (true)
"""

TYPED = """
ALTER TYPE public.shape RENAME ATTRIBUTE phone TO word CASCADE
ALTER TYPE public.shape ALTER ATTRIBUTE phone TYPE varchar(10) CASCADE
ALTER TYPE public.shape DROP ATTRIBUTE phone CASCADE
ALTER TYPE public.shape ADD ATTRIBUTE extra int, DROP ATTRIBUTE phone CASCADE
"""

TRUNCATED = """
TRUNCATE calls, items
TRUNCATE people RESTART IDENTITY
TRUNCATE ONLY calls_2025
"""

CASES = [
    *_each("migrator", HARMLESS),
    *_each("migrator", JUDGING, "42501", "judges or copies stored values"),
    *_each("seer", JUDGING.replace("(phone)\n", "(phone)\n")),
    *_each("migrator", SHEDDING, "42501"),
    *_each("seer", SHEDDING, "42501"),
    *_each("migrator", TYPED, "0A000", "tables of that type"),
    *_each("migrator", "ALTER TYPE public.shape ADD ATTRIBUTE extra int"),
    *_each("analyst", TRUNCATED),
    *_each("analyst", "TRUNCATE consents", "42501", "for roles that manage person"),
    *_each("analyst", "TRUNCATE people, consents CASCADE", "42501", "for roles that manage person"),
    *_each("migrator", MANAGED, "42501", "for roles that manage"),
    *_each("seer", MANAGED, "42501", "for roles that manage"),
    *_each("keeper", MANAGED),
    *_each("analyst", HARMLESS, "42501"),
    *_each("anything", HARMLESS + JUDGING + SHEDDING + MANAGED + TYPED),
]


@pytest.fixture(scope="module")
def sessions(through: Connect) -> dict[str, psycopg.Connection[tuple[object, ...]]]:
    return {role: through(role) for role in ("migrator", "seer", "keeper", "analyst", "anything")}


def answer(connection: psycopg.Connection[tuple[object, ...]], case: Case) -> tuple[str, str]:
    try:
        with connection.transaction(force_rollback=True):
            for statement in case.statements:
                connection.execute(statement.encode())
    except psycopg.Error as error:
        return error.sqlstate or "", str(error)
    return "", ""


def _title(case: Case) -> str:
    return f"{case.role}: {'; '.join(case.statements)}"


@pytest.mark.parametrize("case", CASES, ids=_title)
def test_answers(case: Case, sessions: dict[str, psycopg.Connection[tuple[object, ...]]]) -> None:
    found, words = answer(sessions[case.role], case)
    assert (found, case.words if case.words in words else words) == (case.answer, case.words)
