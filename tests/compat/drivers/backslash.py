"""What psql is asked: a database with something of everything, and every backslash command that asks the server."""

from __future__ import annotations

SCHEMA = """
CREATE ROLE compat_reader; CREATE SCHEMA shop; SET search_path = shop, public;
CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE people (id serial PRIMARY KEY, name varchar(40) NOT NULL, age positive, feels mood DEFAULT 'ok',
                     doubled int GENERATED ALWAYS AS (length(name) * 2) STORED,
                     UNIQUE (name, age), CHECK (name <> ''));
COMMENT ON TABLE people IS 'who buys'; COMMENT ON COLUMN people.age IS 'in years';
CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY, person int REFERENCES people ON DELETE CASCADE,
                     at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE orders_2026 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE vips (discount numeric(4, 2)) INHERITS (people);
CREATE INDEX by_age ON people USING btree (age DESC) WHERE age > 18; CREATE STATISTICS both ON name, age FROM people;
CREATE VIEW adults AS SELECT id, name FROM people WHERE age > 17;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM people;
CREATE FUNCTION twice(n int, OUT m int) LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE FUNCTION stamped() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE PROCEDURE nothing() LANGUAGE sql AS '';
CREATE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int);
CREATE TRIGGER stamp BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION stamped();
CREATE RULE quiet AS ON DELETE TO vips DO INSTEAD NOTHING;
ALTER TABLE people ENABLE ROW LEVEL SECURITY; CREATE POLICY grown ON people USING (age > 17);
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
CREATE CAST (mood AS int) WITH FUNCTION twice(int) AS ASSIGNMENT;
CREATE COLLATION german (provider = libc, locale = 'C');
CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER far FOREIGN DATA WRAPPER nowhere;
CREATE USER MAPPING FOR postgres SERVER far OPTIONS (user 'u'); CREATE FOREIGN TABLE away (id int) SERVER far;
CREATE PUBLICATION news FOR TABLE people; CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple);
GRANT SELECT ON people TO compat_reader; GRANT UPDATE (name) ON people TO compat_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO compat_reader;
ALTER ROLE compat_reader SET work_mem = '8MB';
INSERT INTO people (name, age) VALUES ('Anna', 30), ('Jo', 40);
INSERT INTO orders (person, at) VALUES (1, '2026-02-03');
SELECT lo_from_bytea(4242, 'x'); ANALYZE people;
"""

LISTING = (
    "d da dA dAc dAf dAo dAp dc dC dconfig dd dD ddp dE des det deu dew df dF dFd dFp dFt dg di dl dL dm dn do dO dp "
    "dP drds drg dRp dRs ds dS dt dT du dv dx dX dy l z"
).split()
NAMED = (
    "d people, d orders, d orders_2026, d vips, d adults, d counted, d away, d by_age, d people_id_seq, d mood, "
    "d pg_catalog.pg_class, d nothing_such, dt people, dp people, df twice, da total, dT mood, dD positive, do ===, "
    "dP orders, sf twice, sf stamped, sv adults, dn shop, du compat_reader, drds compat_reader, l compat, dy noticed, "
    "dt shop.*, dt *.people, d p*, dconfig work_mem, dd people, dE away, dX both, lo_list, ddp shop"
).split(", ")
OTHERS = [
    r"\encoding",
    r"\conninfo",
    r"SELECT id, name FROM people ORDER BY id \g",
    r"SELECT id, name FROM people ORDER BY id \gx",
    r"SELECT name, age FROM people ORDER BY id \gset",
    "SELECT id, name FROM people LIMIT 1 \\gset p_\n\\echo :p_id :p_name",
    r"SELECT id, name, age FROM people \gdesc",
    r"SELECT 'SELECT ' || n FROM generate_series(1, 3) n \gexec",
    r"SELECT name, feels, age FROM people ORDER BY 1 \crosstabview",
    r"SELECT $1::int + $2::int \bind 1 2 \g",
    "SELECT 1 \\; SELECT 2 \\; SELECT 3;",
    "SELECT $1::int \\parse st\n\\bind_named st 5 \\g\n\\close_prepared st",
    "\\startpipeline\nSELECT 1 \\bind \\sendpipeline\nSELECT 2 \\bind \\sendpipeline\n\\endpipeline",
    "\\startpipeline\nSELECT 1 \\bind \\sendpipeline\nSELECT 1/0 \\bind \\sendpipeline\n\\endpipeline",
    r"\copy people (id, name) TO STDOUT",
    r"\copy (SELECT id FROM people ORDER BY id) TO STDOUT WITH CSV HEADER",
    "BEGIN;\n\\copy orders (person) FROM STDIN\n1\n\\.\nROLLBACK;",
    "BEGIN;\n\\copy people (name) FROM STDIN\nEve\n\\.\nSELECT count(*) FROM people;\nROLLBACK;",
    r"\lo_export 4242 /dev/null",
    r"\lo_unlink 4242",
    "\\set AUTOCOMMIT off\nSELECT 1;\nSELECT no_such;\nSELECT 1;\nROLLBACK;",
    "\\set ON_ERROR_ROLLBACK on\nBEGIN;\nSELECT 1;\nSELECT no_such;\nSELECT 2;\nCOMMIT;",
    "\\set FETCH_COUNT 3\nSELECT n FROM generate_series(1, 10) n;",
    "\\set SHOW_ALL_RESULTS off\nSELECT 1 \\; SELECT 2;",
    "\\timing on\n\\timing off\nSELECT 1;",
    "\\errverbose\nSELECT no_such FROM people;\n\\errverbose",
    "\\echo :DBNAME :USER :ENCODING :SERVER_VERSION_NUM :LAST_ERROR_SQLSTATE :ROW_COUNT :SQLSTATE",
    "SELECT 1/0;\n\\echo :ERROR :SQLSTATE :LAST_ERROR_MESSAGE",
    "\\c compat\nSELECT current_database();",
    "\\c no_such_database",
    "\\prompt_not_there",
    "LISTEN x;\nNOTIFY x, 'y';\nSELECT 1;",
    'SELECT 1 AS "select"\nWHERE 1 = 2;',
    "DO $$ BEGIN RAISE NOTICE 'heard'; END $$;",
]
VERBOSE = ("", "+", "S", "S+")


def commands() -> list[str]:
    plain = [f"\\{name}{form}" for name in LISTING for form in VERBOSE if not (name == "l" and form.startswith("S"))]
    return [*plain, *(f"\\{one}" for one in NAMED), *(_verbose(one) for one in NAMED), *OTHERS]


def _verbose(named: str) -> str:
    command, _, rest = named.partition(" ")
    return f"\\{command}+ {rest}".rstrip()
