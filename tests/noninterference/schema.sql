-- Two databases are made of this; they differ in the values of the table `hidden` alone, whose masked images are equal.
CREATE TABLE subscribers (
    id bigint PRIMARY KEY, full_name text NOT NULL, phone varchar(20) UNIQUE, id_number varchar(18), birth_date date,
    address text, email text, account_number varchar(30), status text NOT NULL, plan text, password_hash text,
    created_at timestamptz NOT NULL);
CREATE INDEX ON subscribers (full_name);
CREATE INDEX ON subscribers (birth_date);
CREATE TABLE consents (
    subscriber_id bigint NOT NULL REFERENCES subscribers, purpose text NOT NULL, granted_at timestamptz,
    withdrawn_at timestamptz, expires_at timestamptz, is_express boolean NOT NULL DEFAULT false, notice_version int);
CREATE TABLE calls (
    id bigint PRIMARY KEY, subscriber_id bigint REFERENCES subscribers, callee varchar(20), started_at timestamptz,
    duration_s int, cell text);
CREATE TABLE invoices (id bigint PRIMARY KEY, subscriber_id bigint REFERENCES subscribers, total int);
CREATE TABLE invoice_lines (id bigint PRIMARY KEY, invoice_id bigint REFERENCES invoices, ship_to text, amount int);
CREATE TABLE plans (code text PRIMARY KEY, price int);
CREATE TABLE numbers (phone text PRIMARY KEY, note text);
CREATE VIEW phone_book AS SELECT full_name, phone FROM subscribers;
CREATE VIEW phone_lengths AS SELECT id, length(phone) AS digits FROM subscribers;
CREATE MATERIALIZED VIEW directory AS SELECT full_name, phone FROM subscribers;
CREATE FUNCTION peek(bigint) RETURNS text LANGUAGE sql STABLE AS 'SELECT phone FROM public.subscribers WHERE id = $1';
CREATE FUNCTION tell(anyelement) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
    'BEGIN RAISE NOTICE ''saw %'', $1; RETURN true; END';
CREATE FUNCTION log_plan() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.code := (SELECT phone FROM public.subscribers WHERE id = 3); RETURN NEW; END';
CREATE TABLE trapped (code text);
CREATE TRIGGER trap BEFORE INSERT ON trapped FOR EACH ROW EXECUTE FUNCTION log_plan();
CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq);

INSERT INTO plans VALUES ('basic', 10), ('plus', 20), ('max', 30);
-- 1 and 2 consented to marketing; 3 never did, 4 withdrew, 5 is closed, 6 has no phone.
INSERT INTO subscribers SELECT
    n, name, phone, id_number, birth, address, email, account, status, plan, hash, '2024-01-01 00:00:00+00'
FROM hidden;
INSERT INTO consents VALUES
    (1, 'marketing', '2024-01-01', NULL, NULL, true, 3), (2, 'marketing', '2024-01-01', NULL, NULL, false, 3),
    (4, 'marketing', '2024-01-01', '2024-02-01', NULL, true, 3), (5, 'marketing', '2024-01-01', NULL, NULL, true, 3),
    (6, 'marketing', '2024-01-01', NULL, NULL, true, 3), (1, 'billing', '2024-01-01', NULL, NULL, false, 3);
INSERT INTO calls SELECT n * 10 + i, n, phone, '2026-10-01 10:00:00+00', 60 * i, address FROM hidden, generate_series(1, 3) AS i;
INSERT INTO invoices SELECT n, n, 100 FROM hidden;
INSERT INTO invoice_lines SELECT n, n, address, 100 FROM hidden;
INSERT INTO numbers VALUES ('13800000001', 'one'), ('13911112222', 'probe'), ('138****4243', 'mask');
REFRESH MATERIALIZED VIEW directory;
DROP TABLE hidden;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO analyst, billing_app;
GRANT CREATE ON SCHEMA public TO analyst, billing_app;
ANALYZE;
