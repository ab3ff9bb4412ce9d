-- A telephone company. Filled by telephone.sql; clinic.sql adds every other kind of object.
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
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO PUBLIC;
GRANT CREATE ON SCHEMA public TO PUBLIC;
