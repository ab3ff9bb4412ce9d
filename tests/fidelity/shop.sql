-- Objects of every kind that clients ask the catalogs about; none of them is classified.
CREATE SCHEMA shop;
COMMENT ON SCHEMA shop IS 'goods and orders';
CREATE TYPE shop.mood AS ENUM ('calm', 'cross');
CREATE TYPE shop.place AS (street text, number int);
CREATE TYPE shop.span AS RANGE (subtype = float8);
CREATE DOMAIN shop.quantity AS int DEFAULT 1 CHECK (VALUE > 0);
CREATE SEQUENCE shop.numbers START 100;
CREATE TABLE shop.customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name varchar(40) NOT NULL,
    mood shop.mood DEFAULT 'calm',
    home shop.place,
    moods shop.mood[],
    places shop.place[],
    tags text[] DEFAULT '{}',
    spent numeric(10, 2) CHECK (spent >= 0),
    joined timestamptz DEFAULT now(),
    document jsonb,
    CONSTRAINT customers_name_key UNIQUE (name)
);
COMMENT ON TABLE shop.customers IS 'who buys';
COMMENT ON COLUMN shop.customers.name IS 'as on the invoice';
CREATE INDEX customers_lower ON shop.customers (lower(name)) WHERE spent > 0;
CREATE TABLE shop.orders (
    id int PRIMARY KEY DEFAULT nextval('shop.numbers'),
    customer bigint NOT NULL REFERENCES shop.customers ON DELETE CASCADE,
    quantity shop.quantity,
    price numeric(8, 2),
    total numeric GENERATED ALWAYS AS (quantity * price) STORED
);
CREATE INDEX ON shop.orders (customer);
CREATE TABLE shop.events (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE shop.events_2025 PARTITION OF shop.events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE shop.notes (a int);
CREATE TABLE shop.parent (a int);
CREATE TABLE shop.child (b int) INHERITS (shop.parent);
CREATE VIEW shop.buyers AS SELECT c.name, count(*) AS orders FROM shop.customers c JOIN shop.orders o ON o.customer = c.id GROUP BY 1;
CREATE MATERIALIZED VIEW shop.sums AS SELECT customer, sum(total) AS total FROM shop.orders GROUP BY 1;
CREATE FUNCTION shop.twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * n';
CREATE PROCEDURE shop.nothing() LANGUAGE sql AS '';
CREATE AGGREGATE shop.product(int) (sfunc = int4mul, stype = int, initcond = '1');
CREATE FUNCTION shop.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER stamp BEFORE UPDATE ON shop.parent FOR EACH ROW EXECUTE FUNCTION shop.stamp();
CREATE RULE quiet AS ON DELETE TO shop.child DO INSTEAD NOTHING;
ALTER TABLE shop.events ENABLE ROW LEVEL SECURITY;
CREATE POLICY everyone ON shop.events USING (true);
CREATE STATISTICS shop.related ON name, mood FROM shop.customers;
CREATE PUBLICATION goods FOR TABLE shop.orders;
CREATE COLLATION shop.plain FROM "C";
CREATE TEXT SEARCH CONFIGURATION shop.words (COPY = simple);
CREATE OPERATOR shop.+@+ (leftarg = int, rightarg = int, function = int4pl);
ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO clerk;
INSERT INTO shop.customers (name, mood, home, moods, places, spent)
VALUES ('Ada', 'calm', ('Main', 1), '{calm,cross}', ARRAY[('Side', 2)::shop.place], 10), ('Bob', NULL, NULL, NULL, NULL, 0);
INSERT INTO shop.orders (customer, quantity, price) VALUES (1, 2, 1.5), (1, 1, 7), (2, 3, 0.5);
INSERT INTO shop.events VALUES ('2025-05-05', 'fair');
REFRESH MATERIALIZED VIEW shop.sums;
ANALYZE;
GRANT USAGE ON SCHEMA shop TO clerk;
GRANT ALL ON ALL TABLES IN SCHEMA shop TO clerk;
GRANT ALL ON ALL SEQUENCES IN SCHEMA shop TO clerk;
GRANT SELECT (id) ON shop.orders TO pg_monitor;
