-- A clinic: every kind of object, and classified columns of every type under every mask. Filled by clinic_rows.py.
CREATE SCHEMA clinic;
SET search_path = clinic, public;
CREATE TYPE state AS ENUM ('open', 'paused', 'closed', 'held');
CREATE TYPE mood AS ENUM ('low', 'mid', 'high');
CREATE TYPE place AS (street text, house int);
CREATE TYPE span AS RANGE (subtype = int4);
CREATE DOMAIN zip AS text CHECK (VALUE ~ '^[0-9]{5}$');
CREATE DOMAIN score AS int CHECK (VALUE BETWEEN 0 AND 1000);
CREATE DOMAIN mark AS varchar(6) NOT NULL;
CREATE SEQUENCE numbering START 100;

-- --- the registry, and what conditions are read from ---
CREATE TABLE patients (
    id int PRIMARY KEY, ward text, admitted date, beds int,
    name text, nick varchar(12), code char(8) UNIQUE, email text, born date, seen timestamptz, noted timestamp,
    salary numeric(12, 2), debt numeric, visits int, steps bigint, height smallint, weight float8, tall real,
    vip boolean, token uuid, badge uuid, mood mood, zip zip, rating score, diagnosis text, bio text,
    EXCLUDE (nick WITH =), CHECK (visits IS DISTINCT FROM 7), CHECK (length(name) < 40));
CREATE INDEX ON patients (name text_pattern_ops);
CREATE INDEX ON patients (lower(email));
CREATE INDEX ON patients (born, salary);
CREATE INDEX ON patients (visits) WHERE salary > 0;
CREATE INDEX patients_rich ON patients (id) WHERE visits > 14;
CREATE INDEX ON patients USING hash (diagnosis);
CREATE INDEX ON patients USING brin (seen);
CREATE STATISTICS patient_facts (ndistinct, dependencies, mcv) ON name, ward, born FROM patients;
CREATE STATISTICS patient_lengths ON (length(name)) FROM patients;
CREATE TABLE accounts (patient_id int PRIMARY KEY REFERENCES patients, state state NOT NULL);
CREATE TABLE agreement_log (
    patient_id int NOT NULL REFERENCES patients, purpose text, granted_at timestamp, withdrawn_at timestamptz,
    expires_at date, is_express boolean, notice int);
CREATE VIEW agreements AS
    SELECT patient_id, purpose, granted_at, withdrawn_at, expires_at, is_express, notice FROM agreement_log;

-- --- types that only `nullify`, `redact` or `constant` can hide ---
CREATE TABLE vitals (
    patient_id int PRIMARY KEY REFERENCES patients, taken date, tags text[], counts int[], extra json, doc jsonb,
    pic bytea, home place, stay tstzrange, ip inet, mac macaddr, at point, bits bit varying(16),
    lasts interval, clock time, pay money, area box, words tsvector, moods mood[], slip mark);
CREATE INDEX ON vitals USING gin (tags);
CREATE INDEX ON vitals USING gin (doc jsonb_path_ops);
CREATE INDEX ON vitals USING gist (stay);

CREATE TABLE reaches (patient_id int PRIMARY KEY REFERENCES patients, reach span);

-- --- partitions, by an open column and by a classified one ---
CREATE TABLE stays (
    id int, patient_id int REFERENCES patients, day date NOT NULL, kind text NOT NULL, finding text, cost numeric(10, 2),
    PRIMARY KEY (id, day, kind)) PARTITION BY RANGE (day);
CREATE TABLE stays_2024 PARTITION OF stays FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE stays_2025 PARTITION OF stays FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY LIST (kind);
CREATE TABLE stays_2025_day PARTITION OF stays_2025 FOR VALUES IN ('day');
CREATE TABLE stays_2025_rest PARTITION OF stays_2025 DEFAULT;
CREATE TABLE stays_rest PARTITION OF stays DEFAULT;
CREATE TABLE cases (id int, patient_id int, region text, note text) PARTITION BY LIST (region);
CREATE TABLE cases_north PARTITION OF cases FOR VALUES IN ('north');
CREATE TABLE cases_south PARTITION OF cases FOR VALUES IN ('south');
CREATE TABLE cases_rest PARTITION OF cases DEFAULT;

-- --- inheritance: children that inherit the classification, and one with its own ---
CREATE TABLE contacts (id int PRIMARY KEY, patient_id int, label text, phone text);
CREATE TABLE contacts_abroad (country text) INHERITS (contacts);
CREATE TABLE persons (id int PRIMARY KEY, patient_id int, kind text, phone text, mail text);
CREATE TABLE staff (pay int) INHERITS (persons);

-- --- generated columns ---
CREATE TABLE births (
    patient_id int PRIMARY KEY, born date, mother text, hours int,
    born_year int GENERATED ALWAYS AS (extract(year FROM born)::int) STORED,
    mother_length int GENERATED ALWAYS AS (length(mother)) STORED,
    double_hours int GENERATED ALWAYS AS (hours * 2) STORED);

-- --- ways to the subject: through another table, by a key that is missing, and none at all ---
CREATE TABLE orders (id int PRIMARY KEY, patient_id int REFERENCES patients ON DELETE CASCADE, placed date);
CREATE TABLE order_items (id int PRIMARY KEY, order_id int REFERENCES orders, drug text, dose int, price numeric(8, 2));
CREATE TABLE letters (id int PRIMARY KEY, patient_id int, sent timestamptz, subject text, body text);
ALTER TABLE letters ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE TABLE strays (id int PRIMARY KEY, kind text, phone text, born date);

-- --- a hidden cell that refers to an open table ---
CREATE TABLE illnesses (code text PRIMARY KEY, title text);
CREATE TABLE ailments (
    id int PRIMARY KEY, patient_id int REFERENCES patients, illness text REFERENCES illnesses,
    later text REFERENCES illnesses DEFERRABLE INITIALLY DEFERRED);

-- --- row security ---
CREATE TABLE notes (id int PRIMARY KEY, patient_id int, ward text, body text);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY open_wards ON notes USING (ward <> 'locked');
CREATE TABLE memos (id int PRIMARY KEY, text text);
ALTER TABLE memos ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_known ON memos USING (EXISTS (SELECT FROM clinic.patients p WHERE p.id = memos.id AND p.visits > 14));

-- --- open tables ---
CREATE TABLE wards (
    code text PRIMARY KEY, title varchar(30), beds int, opened date, ratio numeric(6, 2), active boolean, weight float8,
    since timestamptz, tags text[], doc jsonb, big bigint);
CREATE TABLE guesses (id serial PRIMARY KEY, word text, day date, amount numeric, n int, mood mood, token uuid, flag boolean);
CREATE TABLE scratch (id int PRIMARY KEY DEFAULT nextval('clinic.numbering'), word text UNIQUE, n int CHECK (n < 100));

-- --- views ---
CREATE VIEW patient_list AS SELECT id, ward, name, born FROM patients;
CREATE VIEW patient_names AS SELECT id, upper(name) AS name FROM patient_list;
CREATE VIEW patient_guard WITH (security_barrier) AS SELECT id, ward, email FROM patients WHERE ward <> 'locked';
CREATE VIEW patient_invoker AS SELECT * FROM patient_list;
CREATE VIEW patient_rich AS SELECT id, ward FROM patients WHERE salary > 1500;
CREATE VIEW ward_sizes AS SELECT ward, count(*) AS n, max(salary) AS most, avg(length(name)) AS wide FROM patients GROUP BY ward;
CREATE VIEW patient_edit AS SELECT id, ward, nick FROM patients WHERE id < 1000 WITH LOCAL CHECK OPTION;
CREATE VIEW patient_renamed AS SELECT s.a, s.e FROM patients s (a, b, c, d, e);
CREATE VIEW patient_join_renamed AS SELECT j.a, j.e FROM (patients s CROSS JOIN (SELECT 1) o) AS j (a, b, c, d, e);
CREATE VIEW birth_lengths AS SELECT patient_id, born_year, double_hours FROM births;
CREATE VIEW case_places AS SELECT id, tableoid::regclass::text AS place FROM cases;
CREATE VIEW cases_of_north AS SELECT id, note FROM cases_north;
CREATE VIEW cards AS SELECT id, name AS holder, salary FROM patients;
CREATE VIEW ward_list AS SELECT code, title, beds FROM wards WHERE active;
CREATE VIEW union_of_names AS SELECT name AS word FROM patients UNION ALL SELECT word FROM guesses;
CREATE RECURSIVE VIEW chain (id, name, depth) AS
    SELECT id, name, 1 FROM patients WHERE id = 1 UNION ALL SELECT p.id, p.name, depth + 1 FROM chain c JOIN patients p ON p.id = c.id + 1;
CREATE MATERIALIZED VIEW patient_copy AS SELECT id, name, phone FROM patients JOIN contacts USING (id);
CREATE MATERIALIZED VIEW patient_cards AS SELECT id, name, born FROM patients;
CREATE MATERIALIZED VIEW patient_counts AS SELECT ward, count(*) FILTER (WHERE visits > 14) AS n FROM patients GROUP BY ward;

CREATE VIEW copied_names AS SELECT id, name FROM patient_copy;
CREATE VIEW copied_names_again AS SELECT id FROM copied_names WHERE name < 'B';

-- --- code ---
CREATE FUNCTION peek_name(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT name FROM clinic.patients WHERE id = $1';
CREATE FUNCTION peek_rows() RETURNS SETOF clinic.patients LANGUAGE sql STABLE AS 'SELECT * FROM clinic.patients';
CREATE FUNCTION peek_default(int DEFAULT 5, OUT word text) LANGUAGE plpgsql STABLE SECURITY DEFINER AS
    'BEGIN SELECT name INTO word FROM clinic.patients WHERE id = $1; END';
CREATE FUNCTION peek_new(int) RETURNS text LANGUAGE sql STABLE BEGIN ATOMIC SELECT p.name FROM clinic.patients p WHERE p.id = $1; END;
CREATE FUNCTION doubled(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE FUNCTION loud(text) RETURNS text LANGUAGE plpgsql IMMUTABLE COST 0.0001 AS
    'BEGIN RAISE NOTICE ''loud %'', $1; RETURN $1; END';
CREATE FUNCTION loud_eq(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE COST 0.0001 AS
    'BEGIN RAISE NOTICE ''loud %'', $1; RETURN $1 = $2; END';
CREATE FUNCTION name_of(clinic.patients) RETURNS text LANGUAGE sql STABLE AS 'SELECT $1.name';
CREATE FUNCTION loudest(clinic.patients) RETURNS text LANGUAGE sql STABLE AS 'SELECT string_agg(name, ''|'' ORDER BY id) FROM clinic.patients';
CREATE FUNCTION nearest(clinic.guesses) RETURNS text LANGUAGE sql STABLE AS 'SELECT string_agg(name, ''|'' ORDER BY id) FROM clinic.patients';
CREATE FUNCTION spy(text, text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''spy %'', $2; RETURN $2; END';
CREATE AGGREGATE spying(text) (SFUNC = clinic.spy, STYPE = text);
CREATE OPERATOR =~= (LEFTARG = text, RIGHTARG = text, FUNCTION = clinic.loud_eq);
CREATE OPERATOR <% (LEFTARG = text, RIGHTARG = text, FUNCTION = clinic.loud_eq);
CREATE FUNCTION judged(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
    'BEGIN RAISE NOTICE ''judged % %'', $1, (SELECT string_agg(name, ''|'' ORDER BY id) FROM clinic.patients); RETURN true; END';
CREATE DOMAIN judged_text AS text CHECK (clinic.judged(VALUE));
CREATE TABLE holders (id int, word clinic.judged_text);
CREATE TYPE wrapped AS (word text);
CREATE FUNCTION wrap(text) RETURNS clinic.wrapped LANGUAGE plpgsql AS
    'BEGIN RAISE NOTICE ''wrap %'', (SELECT string_agg(name, ''|'' ORDER BY id) FROM clinic.patients); RETURN ROW($1)::clinic.wrapped; END';
CREATE CAST (text AS wrapped) WITH FUNCTION clinic.wrap(text);
CREATE INDEX ON letters ((clinic.loud(subject)));
CREATE TABLE inbox (id int, word text DEFAULT clinic.peek_name(5), copy text GENERATED ALWAYS AS (clinic.loud(word)) STORED);
CREATE FUNCTION deliver() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.word := (SELECT string_agg(name, ''|'' ORDER BY id) FROM clinic.patients); RAISE NOTICE ''deliver %'', NEW.word; RETURN NEW; END';
CREATE TABLE outbox (id int, word text);
CREATE TRIGGER deliver BEFORE INSERT OR UPDATE ON outbox FOR EACH ROW EXECUTE FUNCTION deliver();
CREATE TABLE ruled (id int, word text);
CREATE RULE copies AS ON INSERT TO ruled DO ALSO SELECT name FROM clinic.patients ORDER BY id;
CREATE RULE instead AS ON DELETE TO ruled DO INSTEAD SELECT sum(salary) FROM clinic.patients;
CREATE PROCEDURE show_names() LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', (SELECT string_agg(name, ''|'' ORDER BY id) FROM clinic.patients); END';

CREATE FUNCTION shout(text) RETURNS boolean LANGUAGE plpgsql AS
    'BEGIN RAISE NOTICE ''shout %'', (SELECT string_agg(name, ''|'' ORDER BY id) FROM clinic.patients); RETURN true; END';
CREATE FUNCTION peek_any(anyelement) RETURNS text LANGUAGE sql STABLE AS
    'SELECT string_agg(name, ''|'' ORDER BY id) FROM clinic.patients';
CREATE DOMAIN shouting AS text CHECK (clinic.shout(VALUE));
CREATE TYPE shouted AS (word clinic.shouting);

-- Trusted by name, and owned by a role that may change it.
CREATE SCHEMA helpers;
CREATE FUNCTION helpers.norm(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)';
CREATE VIEW helpers.shown AS SELECT 1 AS id, 'x'::text AS word;
ALTER SCHEMA helpers OWNER TO maker;
ALTER FUNCTION helpers.norm(text) OWNER TO maker;
ALTER VIEW helpers.shown OWNER TO maker;
GRANT USAGE ON SCHEMA helpers TO PUBLIC;
GRANT SELECT ON helpers.shown TO PUBLIC;

-- What a protected table's name means for those who may not look into this schema is another.
CREATE SCHEMA vault;
CREATE TABLE vault.patients (id int, name text, phone text);
CREATE TABLE vault.subscribers (id int, full_name text, phone text);
GRANT SELECT ON vault.patients, vault.subscribers TO PUBLIC;

-- What would be called instead of PostgreSQL's own, did anything name that without its schema.
CREATE SCHEMA traps;
CREATE FUNCTION traps."left"(varchar, int) RETURNS text LANGUAGE plpgsql AS
    'BEGIN RAISE NOTICE ''left %'', $1; RETURN $1; END';
CREATE FUNCTION traps.length(varchar) RETURNS int LANGUAGE plpgsql AS
    'BEGIN RAISE NOTICE ''length %'', $1; RETURN 1; END';
CREATE FUNCTION traps.substring(varchar, int, int) RETURNS text LANGUAGE plpgsql AS
    'BEGIN RAISE NOTICE ''substring %'', $1; RETURN $1; END';
CREATE SCHEMA operators;
CREATE FUNCTION operators.same(varchar, text) RETURNS boolean LANGUAGE plpgsql AS
    'BEGIN RAISE NOTICE ''same %'', $1; RETURN true; END';
CREATE OPERATOR operators.= (LEFTARG = varchar, RIGHTARG = text, FUNCTION = operators.same);
CREATE TABLE traps.patients (id int, name text);
CREATE TYPE traps.text AS (word varchar);

DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 150000 THEN
        ALTER VIEW clinic.patient_invoker SET (security_invoker);
    END IF;
    IF current_setting('server_version_num')::int >= 180000 THEN
        EXECUTE 'ALTER TABLE clinic.births ADD COLUMN mother_upper text GENERATED ALWAYS AS (upper(mother)) VIRTUAL';
    END IF;
END $$;
GRANT USAGE, CREATE ON SCHEMA clinic, traps, operators TO PUBLIC;
GRANT SELECT ON traps.patients TO PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES ON ALL TABLES IN SCHEMA clinic TO PUBLIC;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA clinic TO PUBLIC;
