-- What is cheaper once the rows are there: indexes, foreign keys, roles with their rights, statistics.

CREATE UNIQUE INDEX subscribers_phone ON public.subscribers (phone);
CREATE INDEX subscribers_id_number ON public.subscribers (id_number);
CREATE INDEX consents_subject_purpose ON public.consents (subscriber_id, purpose);
CREATE INDEX calls_subscriber ON public.calls (subscriber_id, started_at);
CREATE INDEX invoices_subscriber ON public.invoices (subscriber_id, period);
CREATE INDEX invoice_lines_invoice ON public.invoice_lines (invoice_id);

ALTER TABLE public.subscribers ADD FOREIGN KEY (plan) REFERENCES public.plans (code);
ALTER TABLE public.consents ADD FOREIGN KEY (subscriber_id) REFERENCES public.subscribers (id) ON DELETE CASCADE;
ALTER TABLE public.calls ADD FOREIGN KEY (subscriber_id) REFERENCES public.subscribers (id) ON DELETE CASCADE;
ALTER TABLE public.invoices ADD FOREIGN KEY (subscriber_id) REFERENCES public.subscribers (id) ON DELETE CASCADE;
ALTER TABLE public.invoice_lines ADD FOREIGN KEY (invoice_id) REFERENCES public.invoices (id) ON DELETE CASCADE;

-- Roles belong to the whole server, so another database may have made them.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['billing_app', 'analyst', 'partner', 'support', 'self_care_app', 'signup_app', 'migrator'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', name);
        END IF;
    END LOOP;
END $$;

GRANT SELECT ON ALL TABLES IN SCHEMA public TO billing_app, analyst, partner, support, self_care_app, signup_app;
GRANT INSERT, UPDATE, DELETE ON public.invoices, public.invoice_lines TO billing_app;
GRANT UPDATE ON public.subscribers TO billing_app, support, self_care_app;
GRANT INSERT, UPDATE, DELETE ON public.subscribers, public.consents TO signup_app;
GRANT ALL ON ALL TABLES IN SCHEMA public TO migrator;
GRANT CREATE ON SCHEMA public TO migrator;

ANALYZE;
