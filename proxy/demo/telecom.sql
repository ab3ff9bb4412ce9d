-- A telecom operator's database: people, what they agreed to, what they did, what they were billed.

CREATE TABLE public.plans (
    code text PRIMARY KEY,
    name text NOT NULL,
    monthly_fee numeric(8, 2) NOT NULL,
    data_gb int NOT NULL,
    minutes int NOT NULL
);

CREATE TABLE public.subscribers (
    id bigint PRIMARY KEY,
    full_name text NOT NULL,
    phone varchar(20) NOT NULL,
    id_number varchar(18),
    birth_date date,
    address text,
    email text,
    account_number varchar(20),
    status text NOT NULL CHECK (status IN ('active', 'paused', 'closed', 'ported_out', 'legal_hold')),
    plan text NOT NULL,
    password_hash text,
    created_at timestamptz NOT NULL
);

CREATE TABLE public.consents (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscriber_id bigint NOT NULL,
    purpose text NOT NULL,
    granted_at timestamptz,
    withdrawn_at timestamptz,
    expires_at timestamptz,
    is_express boolean NOT NULL DEFAULT false,
    notice_version int NOT NULL
);

CREATE TABLE public.calls (
    id bigint PRIMARY KEY,
    subscriber_id bigint NOT NULL,
    callee varchar(20) NOT NULL,
    started_at timestamptz NOT NULL,
    duration_s int NOT NULL,
    cell text NOT NULL
);

CREATE TABLE public.invoices (
    id bigint PRIMARY KEY,
    subscriber_id bigint NOT NULL,
    period date NOT NULL,
    amount numeric(10, 2) NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'paid', 'overdue'))
);

CREATE TABLE public.invoice_lines (
    id bigint PRIMARY KEY,
    invoice_id bigint NOT NULL,
    description text NOT NULL,
    amount numeric(10, 2) NOT NULL,
    ship_to text
);
