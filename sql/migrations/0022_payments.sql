-- Money in: packages of tokens, payments, what providers tell of them, refunds, disputes.

CREATE TABLE core.token_packages (
    id uuid PRIMARY KEY DEFAULT core.uuid7(),
    tokens bigint NOT NULL CHECK (tokens BETWEEN 1 AND 1000000000000),
    bonus bigint NOT NULL DEFAULT 0 CHECK (bonus BETWEEN 0 AND 1000000000000),
    price bigint NOT NULL CHECK (price BETWEEN 1 AND 1000000000000),
    active_from timestamptz NOT NULL DEFAULT clock_timestamp(),
    active_to timestamptz,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    name text NOT NULL CHECK (length(btrim(name)) BETWEEN 1 AND 80),
    CONSTRAINT token_packages_window CHECK (active_to > active_from)
);
COMMENT ON TABLE core.token_packages IS 'What tokens are sold in. A package never changes but for the end of its sale. Written by api.create_token_package and api.end_token_package.';
COMMENT ON COLUMN core.token_packages.bonus IS 'Tokens on top of tokens, at no price.';
COMMENT ON COLUMN core.token_packages.price IS 'In the minor unit of currency as payment providers count it: cents, kobo, whole yen.';
COMMENT ON COLUMN core.token_packages.active_to IS 'It is sold before then; NULL: until further notice.';

INSERT INTO core.token_packages (tokens, price, active_from, currency, name) VALUES
(50, 500, '-infinity', 'USD', '50 tokens'),
(200, 1900, '-infinity', 'USD', '200 tokens'),
(433, 3900, '-infinity', 'USD', '433 tokens'),
(812, 6900, '-infinity', 'USD', '812 tokens'),
(1488, 11900, '-infinity', 'USD', '1,488 tokens'),
(4986, 34900, '-infinity', 'USD', '4,986 tokens'),
(8446, 54900, '-infinity', 'USD', '8,446 tokens');

CREATE TABLE core.payments (
    id uuid PRIMARY KEY,
    buyer_id uuid NOT NULL,
    package_id uuid NOT NULL,
    transfer_id uuid,
    tokens bigint NOT NULL CHECK (tokens BETWEEN 1 AND 1000000000000000),
    amount bigint NOT NULL CHECK (amount > 0),
    refunded bigint NOT NULL DEFAULT 0 CHECK (refunded >= 0),
    disputed bigint NOT NULL DEFAULT 0 CHECK (disputed >= 0),
    reversed bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    check_at timestamptz,
    paid_at timestamptz,
    failed_at timestamptz,
    checks integer NOT NULL DEFAULT 0,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    provider text NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    reference text,
    charge text,
    checkout_url text,
    success_url text NOT NULL,
    cancel_url text NOT NULL,
    failure text,
    CONSTRAINT payments_provider CHECK (provider IN ('stripe', 'paystack', 'paypal', 'sandbox')),
    CONSTRAINT payments_status CHECK (status IN ('pending', 'paid', 'failed', 'refunded', 'disputed')),
    CONSTRAINT payments_paid CHECK (
        (status IN ('paid', 'refunded', 'disputed')) = (transfer_id IS NOT NULL)
        AND (transfer_id IS NOT NULL) = (paid_at IS NOT NULL)
    ),
    CONSTRAINT payments_failed CHECK (status <> 'failed' OR failed_at IS NOT NULL AND failure IS NOT NULL),
    CONSTRAINT payments_reversed CHECK (reversed BETWEEN 0 AND tokens AND (reversed = 0 OR transfer_id IS NOT NULL))
) WITH (fillfactor = 80);
COMMENT ON TABLE core.payments IS 'Payments for tokens. The row is the lock of all that happens to the payment. Written by the functions of payments only.';
COMMENT ON COLUMN core.payments.tokens IS 'What the buyer gets: the package''s tokens and its bonus when the payment was opened.';
COMMENT ON COLUMN core.payments.amount IS 'The package''s price then, in the minor unit of currency.';
COMMENT ON COLUMN core.payments.refunded IS 'Sum of its refunds that have not failed, in money.';
COMMENT ON COLUMN core.payments.disputed IS 'Sum of its disputes that are open or lost, in money.';
COMMENT ON COLUMN core.payments.reversed IS 'Tokens taken back, less those restored: always floor(tokens × min(refunded + disputed, amount) ÷ amount) once it is paid.';
COMMENT ON COLUMN core.payments.check_at IS 'When the provider is asked about it next; NULL: never.';
COMMENT ON COLUMN core.payments.checks IS 'How often the provider was asked.';
COMMENT ON COLUMN core.payments.reference IS 'The provider''s name of the checkout; NULL until it is known.';
COMMENT ON COLUMN core.payments.charge IS 'The provider''s name of the money taken: what refunds and disputes refer to.';
COMMENT ON COLUMN core.payments.transfer_id IS 'The transfer that gave the buyer the tokens.';
COMMENT ON COLUMN core.payments.failure IS 'Why it failed: a word of ours or of the provider''s.';
CREATE INDEX payments_buyer_id_idx ON core.payments (buyer_id, id);
CREATE INDEX payments_check_at_idx ON core.payments (check_at) WHERE check_at IS NOT NULL;
CREATE INDEX payments_charge_idx ON core.payments (provider, charge) WHERE charge IS NOT NULL;
CREATE INDEX payments_reference_idx ON core.payments (provider, reference) WHERE reference IS NOT NULL;
CREATE INDEX payments_paid_at_idx ON core.payments (paid_at) WHERE paid_at IS NOT NULL;

CREATE TABLE core.payment_transfers (
    payment_id uuid NOT NULL,
    transfer_id uuid NOT NULL,
    tokens bigint NOT NULL CHECK (tokens > 0),
    owed bigint NOT NULL DEFAULT 0 CHECK (owed BETWEEN 0 AND tokens),
    kind text NOT NULL CHECK (kind IN ('purchase', 'reversal', 'restoration')),
    CONSTRAINT payment_transfers_pkey PRIMARY KEY (payment_id, transfer_id)
);
COMMENT ON TABLE core.payment_transfers IS 'The transfers of a payment: the purchase, what was taken back, what was restored. Append-only.';
COMMENT ON COLUMN core.payment_transfers.owed IS 'Of a reversal: the part that the buyer had spent, which went to the debt of their wallet.';
CREATE UNIQUE INDEX payment_transfers_transfer_id_key ON core.payment_transfers (transfer_id);

CREATE TABLE core.payment_refunds (
    id uuid PRIMARY KEY,
    payment_id uuid NOT NULL,
    actor_id uuid,
    amount bigint NOT NULL CHECK (amount > 0),
    created_at timestamptz NOT NULL,
    due_at timestamptz,
    closed_at timestamptz,
    tries integer NOT NULL DEFAULT 0,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'done', 'failed')),
    provider_refund text,
    reason text NOT NULL,
    failure text,
    CONSTRAINT payment_refunds_closed CHECK ((status <> 'pending') = (closed_at IS NOT NULL))
);
COMMENT ON TABLE core.payment_refunds IS 'Refunds of payments, ours and those made at the provider. Tokens are taken back when a refund is written, and restored when it fails.';
COMMENT ON COLUMN core.payment_refunds.amount IS 'In the minor unit of the payment''s currency.';
COMMENT ON COLUMN core.payment_refunds.due_at IS 'When the provider is asked for it (again), with the refund''s id as idempotency key; NULL: not any more.';
COMMENT ON COLUMN core.payment_refunds.provider_refund IS 'The provider''s name of it.';
CREATE UNIQUE INDEX payment_refunds_provider_refund_key ON core.payment_refunds (payment_id, provider_refund) WHERE provider_refund IS NOT NULL;
CREATE INDEX payment_refunds_payment_id_idx ON core.payment_refunds (payment_id, id);
CREATE INDEX payment_refunds_closed_at_idx ON core.payment_refunds (closed_at) WHERE status = 'done';
CREATE INDEX payment_refunds_due_at_idx ON core.payment_refunds (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE core.payment_disputes (
    payment_id uuid NOT NULL,
    provider_dispute text NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'won', 'lost')),
    CONSTRAINT payment_disputes_pkey PRIMARY KEY (payment_id, provider_dispute),
    CONSTRAINT payment_disputes_closed CHECK ((status <> 'open') = (closed_at IS NOT NULL))
);
COMMENT ON TABLE core.payment_disputes IS 'Disputes and chargebacks. Tokens are gone while one is open and when it is lost; one that is won restores them.';

CREATE TABLE core.payment_events (
    provider text NOT NULL CHECK (provider IN ('stripe', 'paystack', 'paypal', 'sandbox')),
    event_id text NOT NULL CHECK (octet_length(event_id) BETWEEN 1 AND 255),
    type text NOT NULL,
    kind text NOT NULL,
    payment_id uuid,
    refund_id uuid,
    amount bigint,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_at timestamptz,
    due_at timestamptz DEFAULT clock_timestamp(),
    tries integer NOT NULL DEFAULT 0,
    currency text,
    reference text,
    charge text,
    item text,
    reason text,
    outcome text NOT NULL DEFAULT 'received',
    error text,
    body bytea NOT NULL,
    CONSTRAINT payment_events_pkey PRIMARY KEY (provider, event_id),
    CONSTRAINT payment_events_kind CHECK (
        kind IN ('paid', 'failed', 'refunded', 'refund_failed', 'disputed', 'dispute_won', 'dispute_lost', 'look', 'other')
    ),
    CONSTRAINT payment_events_outcome CHECK (outcome IN (
        'received', 'applied', 'repeated', 'ignored', 'unknown', 'mismatch', 'duplicate', 'contradiction', 'refused', 'resolved'
    ))
);
COMMENT ON TABLE core.payment_events IS 'What providers have told, each event once, as it came and as it was understood. Written by the functions of payments only.';
COMMENT ON COLUMN core.payment_events.kind IS 'What it means to us; look: the provider has to be asked; other: nothing.';
COMMENT ON COLUMN core.payment_events.item IS 'The provider''s name of the refund or dispute it is about.';
COMMENT ON COLUMN core.payment_events.due_at IS 'When it is applied (again) at the latest; NULL: done with.';
COMMENT ON COLUMN core.payment_events.outcome IS 'applied; repeated (nothing new); ignored; for a person: unknown (no such payment), mismatch (other amount or currency), duplicate (a second charge), contradiction (a dispute both won and lost), refused (the ledger said no: see error); resolved by a person.';
COMMENT ON COLUMN core.payment_events.body IS 'The body, byte for byte.';
CREATE INDEX payment_events_due_at_idx ON core.payment_events (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX payment_events_payment_id_idx ON core.payment_events (payment_id, received_at) WHERE payment_id IS NOT NULL;
CREATE INDEX payment_events_open_idx ON core.payment_events (received_at, provider, event_id)
WHERE outcome IN ('unknown', 'mismatch', 'duplicate', 'contradiction', 'refused');
CREATE INDEX payment_events_unknown_idx ON core.payment_events (provider, charge) WHERE outcome = 'unknown';

CREATE TABLE core.payment_customers (
    user_id uuid NOT NULL,
    provider text NOT NULL,
    customer text NOT NULL,
    CONSTRAINT payment_customers_pkey PRIMARY KEY (user_id, provider)
);
COMMENT ON TABLE core.payment_customers IS 'What a provider calls a user, where it keeps their payment methods.';

CREATE TABLE core.provider_days (
    provider text NOT NULL,
    day date NOT NULL,
    fetched_at timestamptz NOT NULL,
    CONSTRAINT provider_days_pkey PRIMARY KEY (provider, day)
);
COMMENT ON TABLE core.provider_days IS 'Days (UTC) whose records were fetched from a provider.';

CREATE TABLE core.provider_records (
    provider text NOT NULL,
    day date NOT NULL,
    kind text NOT NULL CHECK (kind IN ('payment', 'refund')),
    record_id text NOT NULL,
    payment_id uuid,
    amount bigint NOT NULL,
    currency text NOT NULL,
    CONSTRAINT provider_records_pkey PRIMARY KEY (provider, day, kind, record_id)
);
COMMENT ON TABLE core.provider_records IS 'What a provider says it took (payment: record_id is the charge) and gave back (refund) on a day.';
CREATE INDEX provider_records_record_id_idx ON core.provider_records (provider, kind, record_id);

CREATE TYPE api.payment_order AS (
    payment_id uuid,
    buyer_id uuid,
    package_id uuid,
    tokens bigint,
    amount bigint,
    created_at timestamptz,
    expires_at timestamptz,
    currency text,
    provider text,
    name text,
    email text,
    customer text,
    reference text,
    charge text,
    checkout_url text,
    success_url text,
    cancel_url text,
    replayed boolean
);
COMMENT ON TYPE api.payment_order IS 'A payment as its provider is told of it. checkout_url is NULL until the provider has answered.';

CREATE TYPE api.refund_order AS (
    refund_id uuid,
    payment_id uuid,
    amount bigint,
    tries integer,
    currency text,
    provider text,
    reference text,
    charge text,
    provider_refund text,
    reason text,
    replayed boolean
);
COMMENT ON TYPE api.refund_order IS 'A refund as the provider is asked for it.';

CREATE TYPE api.payment_fact AS (
    provider text,
    event_id text,
    type text,
    kind text,
    payment_id uuid,
    refund_id uuid,
    amount bigint,
    currency text,
    reference text,
    charge text,
    item text,
    reason text,
    body bytea
);
COMMENT ON TYPE api.payment_fact IS 'What a provider tells of a payment, as it was understood (columns of core.payment_events).';

CREATE VIEW api.token_packages AS
SELECT
    p.id AS package_id,
    p.name,
    p.tokens,
    p.bonus,
    p.price,
    p.currency,
    p.active_from,
    p.active_to,
    p.active_from <= clock_timestamp() AND (p.active_to IS NULL OR p.active_to > clock_timestamp()) AS active
FROM core.token_packages AS p;
COMMENT ON VIEW api.token_packages IS 'What tokens are sold in: price in the minor unit of currency; the buyer gets tokens + bonus.';

CREATE VIEW api.payments AS
SELECT
    p.id AS payment_id,
    p.buyer_id,
    p.package_id,
    p.provider,
    p.status,
    p.tokens,
    p.amount,
    p.currency,
    p.refunded,
    p.disputed,
    p.reversed,
    p.transfer_id,
    p.reference,
    p.charge,
    p.failure,
    p.created_at,
    p.expires_at,
    p.paid_at,
    p.failed_at
FROM core.payments AS p;
COMMENT ON VIEW api.payments IS 'Payments for tokens. amount, refunded and disputed in the minor unit of currency; tokens and reversed (taken back) in tokens.';

CREATE VIEW api.payment_refunds AS
SELECT
    r.id AS refund_id,
    r.payment_id,
    r.amount,
    p.currency,
    r.status,
    r.provider_refund,
    r.reason,
    r.failure,
    r.actor_id,
    r.created_at,
    r.closed_at
FROM core.payment_refunds AS r
INNER JOIN core.payments AS p ON p.id = r.payment_id;
COMMENT ON VIEW api.payment_refunds IS 'Refunds of payments; amount in the minor unit of currency.';

CREATE VIEW api.payment_disputes AS
SELECT
    d.payment_id,
    d.provider_dispute,
    d.amount,
    p.currency,
    d.status,
    d.opened_at,
    d.closed_at
FROM core.payment_disputes AS d
INNER JOIN core.payments AS p ON p.id = d.payment_id;
COMMENT ON VIEW api.payment_disputes IS 'Disputes and chargebacks of payments; amount in the minor unit of currency.';

CREATE VIEW api.payment_events AS
SELECT
    e.provider,
    e.event_id,
    e.type,
    e.kind,
    e.payment_id,
    e.amount,
    e.currency,
    e.reference,
    e.charge,
    e.item,
    e.reason,
    e.outcome,
    e.error,
    e.tries,
    e.received_at,
    e.applied_at,
    e.due_at,
    e.outcome IN ('unknown', 'mismatch', 'duplicate', 'contradiction', 'refused') AS open
FROM core.payment_events AS e;
COMMENT ON VIEW api.payment_events IS 'What providers have told and what became of it, without the bodies. open: it waits for a person.';

CREATE VIEW api.payment_customers AS
SELECT
    c.user_id,
    c.provider,
    c.customer
FROM core.payment_customers AS c;
COMMENT ON VIEW api.payment_customers IS 'What providers call a user.';

CREATE VIEW api.provider_days AS
SELECT
    d.provider,
    d.day,
    d.fetched_at
FROM core.provider_days AS d;
COMMENT ON VIEW api.provider_days IS 'Days (UTC) whose records were fetched from a provider, for api.reconcile.';

GRANT SELECT ON
core.token_packages, core.payments, core.payment_transfers, core.payment_refunds, core.payment_disputes, core.payment_events,
core.payment_customers, core.provider_days, core.provider_records TO tessera_ledger, tessera_dba;
GRANT INSERT ON
core.token_packages, core.payments, core.payment_transfers, core.payment_refunds, core.payment_disputes, core.payment_events,
core.payment_customers, core.provider_days, core.provider_records TO tessera_ledger;
GRANT UPDATE (active_to) ON core.token_packages TO tessera_ledger;
GRANT UPDATE (
    transfer_id, refunded, disputed, reversed, check_at, paid_at, failed_at, checks, status, reference, charge, checkout_url, failure
) ON core.payments TO tessera_ledger;
GRANT UPDATE (due_at, closed_at, tries, status, provider_refund, failure) ON core.payment_refunds TO tessera_ledger;
GRANT UPDATE (closed_at, status) ON core.payment_disputes TO tessera_ledger;
GRANT UPDATE (payment_id, applied_at, due_at, tries, outcome, error) ON core.payment_events TO tessera_ledger;
GRANT UPDATE (fetched_at) ON core.provider_days TO tessera_ledger;
GRANT DELETE ON core.provider_records TO tessera_ledger;
GRANT SELECT ON api.token_packages, api.payments, api.payment_refunds, api.payment_events TO tessera_ledger;

INSERT INTO core.rate_names (name, unit, scoped, meaning) VALUES
('payment_valid', 'seconds', NULL, 'How long a checkout may be paid.');
INSERT INTO core.rates (name, value, unit, valid_from, note) VALUES
('payment_valid', 7200, 'seconds', '-infinity', 'A checkout is open for two hours.');
