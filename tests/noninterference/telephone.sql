-- From the table `hidden`, in whose rows alone the two databases differ; the masked images of these are equal.
INSERT INTO plans VALUES ('basic', 10), ('plus', 20), ('max', 30);
-- 1 and 2 consented to marketing; 3 never did, 4 withdrew, 5 is closed, 6 has no phone.
INSERT INTO subscribers SELECT
    n, name, phone, id_number, birth, address, email, account, status, plan, hash, '2024-01-01 00:00:00+00'
FROM hidden;
INSERT INTO consents VALUES
    (1, 'marketing', '2024-01-01', NULL, NULL, true, 3), (2, 'marketing', '2024-01-01', NULL, NULL, false, 3),
    (4, 'marketing', '2024-01-01', '2024-02-01', NULL, true, 3), (5, 'marketing', '2024-01-01', NULL, NULL, true, 3),
    (6, 'marketing', '2024-01-01', NULL, NULL, true, 3), (1, 'billing', '2024-01-01', NULL, NULL, false, 3);
INSERT INTO calls SELECT n * 10 + i, n, phone, '2026-10-01 10:00:00+00', 60 * i, address
FROM hidden, generate_series(1, 3) AS i;
INSERT INTO invoices SELECT n, n, 100 FROM hidden;
INSERT INTO invoice_lines SELECT n, n, address, 100 FROM hidden;
INSERT INTO numbers VALUES ('13800000001', 'one'), ('13911112222', 'probe'), ('138****4243', 'mask');
REFRESH MATERIALIZED VIEW directory;
-- The value stands in the catalog as well: rows that are older than a column find its default in pg_attribute.
ALTER TABLE calls ADD COLUMN imei text DEFAULT current_setting('rig.imei');
ALTER TABLE calls ALTER COLUMN imei DROP DEFAULT;
DROP TABLE hidden;
