-- 100,000 people, two thirds of whom have consented, one tenth of whom have withdrawn again.
CREATE TABLE people (id integer PRIMARY KEY, phone varchar(20), status text NOT NULL);
CREATE TABLE consents (
    person_id integer NOT NULL, purpose text NOT NULL, granted_at timestamptz, withdrawn_at timestamptz,
    PRIMARY KEY (person_id, purpose)
);
CREATE TABLE calls (id integer PRIMARY KEY, person_id integer NOT NULL REFERENCES people, callee text,
    started_at timestamptz, seconds integer, note text);
CREATE INDEX ON calls (person_id);
INSERT INTO people
SELECT n, '138' || lpad((n * 7919 % 100000000)::text, 8, '0'), CASE WHEN n % 20 = 0 THEN 'closed' ELSE 'active' END
FROM generate_series(1, 100000) n;
INSERT INTO consents
SELECT n, 'marketing', '2026-01-01T00:00:00Z', CASE WHEN n % 10 = 0 THEN timestamptz '2026-02-01T00:00:00Z' END
FROM generate_series(1, 100000) n WHERE n % 3 > 0;
VACUUM ANALYZE people, consents;
