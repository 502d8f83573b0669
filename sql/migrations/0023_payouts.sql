-- Payouts: accounts to pay to, what was asked for, what providers said, and the second factor that people confirm with.

-- Rates

INSERT INTO core.rate_names (name, unit, scoped, meaning) VALUES
('currency_value', 'usd', 'currency', 'What one unit of a currency is worth (the scope, in lower case).'),
('earnings_maturity', 'days', NULL, 'How old what came in must be before it can be paid out.'),
('payout_day_amount', 'tokens', NULL, 'Most that a user may ask to be paid out in a day (UTC).'),
('payout_day_count', 'count', NULL, 'How many payouts a user may ask for in a day (UTC).'),
('payout_expected', 'days', NULL, 'How long a payout usually takes: the date that is shown.'),
('payout_open', 'days', NULL, 'How long a payout may wait to be sent; then it is cancelled. At most 365.'),
('payout_override', 'days', NULL, 'How long a payout must have been with its provider before an operator may close it by hand.'),
('payout_review_account', 'days', NULL, 'A payout to an account that is newer waits for an operator.'),
('payout_review_amount', 'tokens', NULL, 'A payout of more waits for an operator.'),
('payout_review_first', 'count', NULL, 'So many payouts of a user must have been paid before one passes without an operator.'),
('payout_watch', 'days', NULL, 'How long a paid payout is looked after: the provider may take it back.');

INSERT INTO core.rates (name, asset, scope, value, unit, valid_from, note) VALUES
('currency_value', NULL, 'usd', 1, 'usd', '-infinity', 'A dollar is a dollar.'),
('earnings_maturity', 'TOKEN', NULL, 0, 'days', '-infinity', 'Earnings can be paid out at once.'),
('payout_day_amount', 'TOKEN', NULL, 200000, 'tokens', '-infinity', 'Most that a user may ask for in a day.'),
('payout_day_count', 'TOKEN', NULL, 3, 'count', '-infinity', 'How many payouts a user may ask for in a day.'),
('payout_expected', NULL, NULL, 3, 'days', '-infinity', 'How long a payout usually takes.'),
('payout_open', NULL, NULL, 90, 'days', '-infinity', 'How long a payout may wait to be sent.'),
('payout_override', NULL, NULL, 3, 'days', '-infinity', 'From then on an operator may close it by hand.'),
('payout_review_account', NULL, NULL, 0, 'days', '-infinity', 'New accounts are as good as old ones.'),
('payout_review_amount', 'TOKEN', NULL, 20000, 'tokens', '-infinity', 'Payouts of more are looked at.'),
('payout_review_first', NULL, NULL, 1, 'count', '-infinity', 'A user''s first payout is looked at.'),
('payout_watch', NULL, NULL, 14, 'days', '-infinity', 'How long a paid payout is looked after.');

-- Accounts

CREATE TABLE core.payout_accounts (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES core.users (id),
    provider text NOT NULL CHECK (provider IN ('stripe', 'paystack', 'manual')),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    masked text NOT NULL CHECK (octet_length(masked) BETWEEN 1 AND 100),
    key_id text NOT NULL CHECK (key_id ~ '^[A-Za-z0-9._-]{1,32}$'),
    details bytea NOT NULL CHECK (octet_length(details) BETWEEN 29 AND 8192),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    removed_at timestamptz
);
COMMENT ON TABLE core.payout_accounts IS 'Where users want to be paid: never changed, only removed. Written by api.add_payout_account, api.remove_payout_account, api.reencrypt_payout_account.';
COMMENT ON COLUMN core.payout_accounts.masked IS 'What is shown of it.';
COMMENT ON COLUMN core.payout_accounts.key_id IS 'Which of the application''s keys details are encrypted with.';
COMMENT ON COLUMN core.payout_accounts.details IS 'Encrypted by the application (AES-256-GCM: nonce, text, tag), bound to the account, its user and its provider.';
CREATE INDEX payout_accounts_user_idx ON core.payout_accounts (user_id, created_at);
CREATE INDEX payout_accounts_key_idx ON core.payout_accounts (key_id, id);

CREATE VIEW api.payout_accounts AS
SELECT
    a.id AS account_id,
    a.user_id,
    a.provider,
    a.currency,
    a.masked,
    a.key_id,
    a.created_at,
    a.removed_at
FROM core.payout_accounts AS a;
COMMENT ON VIEW api.payout_accounts IS 'Accounts that users want to be paid to, masked. One that is removed is paid to no more.';

-- Payouts

CREATE TABLE core.payouts (
    id uuid PRIMARY KEY DEFAULT core.uuid7(),
    user_id uuid NOT NULL REFERENCES core.users (id),
    wallet_id uuid NOT NULL,
    account_id uuid NOT NULL REFERENCES core.payout_accounts (id),
    hold_id uuid NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    value bigint NOT NULL CHECK (value > 0),
    payout_amount bigint NOT NULL CHECK (payout_amount > 0),
    token_value numeric NOT NULL,
    currency text NOT NULL,
    provider text NOT NULL,
    status text NOT NULL CHECK (status IN ('requested', 'held', 'processing', 'paid', 'failed', 'cancelled')),
    reason text CHECK (reason ~ '^[a-z][a-z0-9_]{0,62}$'),
    created_at timestamptz NOT NULL,
    expected_at timestamptz NOT NULL,
    processing_at timestamptz,
    paid_at timestamptz,
    closed_at timestamptz,
    next_at timestamptz,
    sending_at timestamptz,
    lease uuid,
    attempts integer NOT NULL DEFAULT 0,
    provider_reference text CHECK (octet_length(provider_reference) BETWEEN 1 AND 255),
    transfer_id uuid,
    paid_transfer_id uuid,
    decided_by uuid,
    CONSTRAINT payouts_taken CHECK ((transfer_id IS NULL) = (processing_at IS NULL)),
    CONSTRAINT payouts_processing CHECK (status NOT IN ('processing', 'paid') OR transfer_id IS NOT NULL),
    CONSTRAINT payouts_not_yet CHECK (status NOT IN ('requested', 'held', 'cancelled') OR transfer_id IS NULL),
    CONSTRAINT payouts_paid CHECK ((paid_transfer_id IS NULL) = (paid_at IS NULL) AND (status <> 'paid' OR paid_at IS NOT NULL)),
    CONSTRAINT payouts_closed CHECK ((closed_at IS NOT NULL) = (status IN ('failed', 'cancelled'))),
    CONSTRAINT payouts_reason CHECK (reason IS NOT NULL OR status NOT IN ('held', 'failed', 'cancelled'))
) WITH (fillfactor = 70);
COMMENT ON TABLE core.payouts IS 'Tokens that a user wants as money. Written by the functions of payouts only, each under the row''s lock.';
COMMENT ON COLUMN core.payouts.amount IS 'Tokens.';
COMMENT ON COLUMN core.payouts.value IS 'What they are worth, in ten-thousandths of a US dollar, at token_value.';
COMMENT ON COLUMN core.payouts.payout_amount IS 'What is sent, in ten-thousandths of currency: whole hundredths, rounded down.';
COMMENT ON COLUMN core.payouts.token_value IS 'The rate token_value when it was asked for: US dollars a token.';
COMMENT ON COLUMN core.payouts.status IS 'requested (will be sent), held (waits for an operator), processing (its tokens are with payout_clearing, the provider may know of it), paid, failed and cancelled (its tokens were given back).';
COMMENT ON COLUMN core.payouts.reason IS 'Why it is held, failed or was cancelled: a code that the user is shown.';
COMMENT ON COLUMN core.payouts.expected_at IS 'When the user may expect the money.';
COMMENT ON COLUMN core.payouts.next_at IS 'When a scheduler looks at it again; a scheduler that does so moves it on first, which is its lease. NULL: never.';
COMMENT ON COLUMN core.payouts.sending_at IS 'When it was about to be handed to the provider: from then on the provider is asked before anything is sent.';
COMMENT ON COLUMN core.payouts.lease IS 'Drawn anew each time a scheduler takes it: what a former one has to say counts no more.';
COMMENT ON COLUMN core.payouts.transfer_id IS 'The capture of its hold: from the user to payout_clearing.';
COMMENT ON COLUMN core.payouts.paid_transfer_id IS 'From payout_clearing to issuance, when it was paid: the tokens are no more.';
COMMENT ON COLUMN core.payouts.decided_by IS 'The operator who last decided something about it.';
CREATE UNIQUE INDEX payouts_hold_key ON core.payouts (hold_id);
CREATE INDEX payouts_user_idx ON core.payouts (user_id, id);
CREATE INDEX payouts_due_idx ON core.payouts (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX payouts_open_idx ON core.payouts (status, id) WHERE status IN ('requested', 'held', 'processing');
CREATE INDEX payouts_provider_idx ON core.payouts (provider, processing_at) WHERE processing_at IS NOT NULL;

CREATE TABLE core.payout_reports (
    payout_id uuid PRIMARY KEY REFERENCES core.payouts (id),
    state text NOT NULL CHECK (state IN ('unknown', 'not_sent', 'not_found', 'pending', 'paid', 'failed')),
    reference text,
    amount bigint,
    currency text,
    reason text,
    reported_at timestamptz NOT NULL
);
COMMENT ON TABLE core.payout_reports IS 'What a payout''s provider said of it last, or that it said nothing. Written by api.note_payout.';
COMMENT ON COLUMN core.payout_reports.state IS 'unknown (no answer, or none that can be understood), not_sent (it cannot have reached the provider), not_found (the provider has never heard of it), pending, paid, failed.';
COMMENT ON COLUMN core.payout_reports.amount IS 'Ten-thousandths of currency, as the provider has it.';

CREATE VIEW api.payouts AS
SELECT
    p.id AS payout_id,
    p.user_id,
    p.account_id,
    a.masked AS account,
    p.provider,
    p.amount,
    p.token_value,
    p.value,
    p.currency,
    p.payout_amount,
    p.status,
    p.reason,
    p.created_at,
    p.expected_at,
    p.processing_at,
    p.paid_at,
    p.closed_at,
    p.provider_reference,
    p.attempts,
    r.state AS provider_state,
    r.reported_at AS provider_asked_at,
    p.decided_by
FROM core.payouts AS p
INNER JOIN core.payout_accounts AS a ON a.id = p.account_id
LEFT JOIN core.payout_reports AS r ON r.payout_id = p.id;
COMMENT ON VIEW api.payouts IS 'Payouts: amount in tokens, value in ten-thousandths of a US dollar, payout_amount in ten-thousandths of currency; what the provider said last (provider_state).';

CREATE VIEW api.payout_days AS
SELECT
    (p.paid_at AT TIME ZONE 'UTC')::date AS day,
    p.provider,
    p.currency,
    count(*) AS payouts,
    sum(p.amount)::bigint AS amount,
    sum(p.value)::bigint AS value,
    sum(p.payout_amount)::bigint AS payout_amount
FROM core.payouts AS p
WHERE p.status = 'paid'
GROUP BY (p.paid_at AT TIME ZONE 'UTC')::date, p.provider, p.currency;
COMMENT ON VIEW api.payout_days IS 'What was paid out, by day (UTC), provider and currency: tokens, their value in ten-thousandths of a US dollar, and payout_amount in ten-thousandths of the currency. What was taken back is not in it.';

CREATE VIEW api.sale_days AS
SELECT
    (p.paid_at AT TIME ZONE 'UTC')::date AS day,
    p.provider,
    p.currency,
    count(*) AS payments,
    sum(p.tokens - p.reversed)::bigint AS amount,
    sum(p.amount - least(p.refunded + p.disputed, p.amount))::bigint AS net
FROM core.payments AS p
WHERE p.paid_at IS NOT NULL
GROUP BY (p.paid_at AT TIME ZONE 'UTC')::date, p.provider, p.currency;
COMMENT ON VIEW api.sale_days IS 'What tokens were sold for, by day (UTC) of payment, provider and currency: tokens less those taken back, and net, which is the money less what was refunded or is disputed, in the minor unit of the currency.';

CREATE VIEW api.margin AS
SELECT
    d.day,
    'payouts' AS source,
    sum(d.amount)::bigint AS amount,
    -sum(d.value)::bigint AS value
FROM api.payout_days AS d
GROUP BY d.day
UNION ALL
SELECT
    s.day,
    'token_sales' AS source,
    sum(s.amount)::bigint AS amount,
    CASE
        WHEN bool_and(c.value IS NOT NULL) THEN sum(floor(
            s.net * c.value
            * CASE
                WHEN
                    s.currency IN (
                        'BIF', 'CLP', 'DJF', 'GNF', 'JPY', 'KMF', 'KRW', 'MGA', 'PYG', 'RWF', 'UGX', 'VND', 'VUV', 'XAF', 'XOF', 'XPF'
                    )
                    THEN 10000
                WHEN s.currency IN ('BHD', 'JOD', 'KWD', 'OMR', 'TND') THEN 10
                ELSE 100
            END
        ))
    END::bigint AS value
FROM api.sale_days AS s
LEFT JOIN LATERAL (
    SELECT r.value
    FROM core.rates AS r
    CROSS JOIN LATERAL (SELECT (s.day + 1)::timestamp AT TIME ZONE 'UTC' AS midnight) AS m
    WHERE r.name = 'currency_value' AND r.scope = lower(s.currency)
    ORDER BY r.valid_from < m.midnight AND coalesce(r.valid_to, 'infinity') >= m.midnight DESC, r.valid_from DESC
    LIMIT 1
) AS c ON true
GROUP BY s.day;
COMMENT ON VIEW api.margin IS 'What the platform earns, by day (UTC) and source: tokens, and ten-thousandths of a US dollar, negative where it pays. The margin is the sum of value. Sales count what their currency was worth at the end of the day (rate currency_value; the newest one where there was none yet); value is NULL where a currency of that day has no such rate at all.';

CREATE TYPE api.payout_receipt AS (
    payout_id uuid,
    status text,
    reason text,
    amount bigint,
    value bigint,
    currency text,
    payout_amount bigint,
    new_balance bigint,
    available bigint,
    expected_at timestamptz,
    created_at timestamptz,
    replayed boolean
);
COMMENT ON TYPE api.payout_receipt IS 'A payout that was asked for, and the balance and what of it can be spent right after it. replayed: the key had asked for it before.';

CREATE TYPE api.payout_task AS (
    payout_id uuid,
    action text,
    lease uuid,
    user_id uuid,
    account_id uuid,
    provider text,
    key_id text,
    details bytea,
    payout_amount bigint,
    currency text,
    provider_reference text,
    sending_at timestamptz,
    attempts integer,
    status text
);
COMMENT ON TYPE api.payout_task IS 'A payout that a scheduler took: action says what is to be done (send: hand it to the provider; ask: ask the provider about it) or what was done already (queued for a person who pays by hand, held, cancelled). All NULL: none was due.';

CREATE TYPE api.payout_record AS (
    payout_id uuid,
    reference text,
    state text,
    amount bigint,
    currency text
);
COMMENT ON TYPE api.payout_record IS 'A payout as a provider''s own list has it: our id (NULL where it has none), its reference, pending, paid or failed, and the amount in ten-thousandths of currency.';

-- Second factor

CREATE TABLE core.totp_secrets (
    user_id uuid PRIMARY KEY REFERENCES core.users (id),
    key_id text NOT NULL,
    secret bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    confirmed_at timestamptz,
    last_step bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE core.totp_secrets IS 'Secrets of users'' authenticator apps (RFC 6238), encrypted by the application like payout accounts.';
COMMENT ON COLUMN core.totp_secrets.confirmed_at IS 'When a first code was right: from then on codes are asked for.';
COMMENT ON COLUMN core.totp_secrets.last_step IS 'The time step of the last code that was taken: it and those before it are taken no more.';

-- Privileges

GRANT SELECT ON core.payout_accounts, core.payouts, core.payout_reports TO tessera_ledger, tessera_dba;
GRANT INSERT ON core.payout_accounts, core.payouts, core.payout_reports TO tessera_ledger;
GRANT UPDATE (removed_at, key_id, details) ON core.payout_accounts TO tessera_ledger;
GRANT UPDATE (
    status, reason, processing_at, paid_at, closed_at, next_at, sending_at, lease, attempts, provider_reference, transfer_id,
    paid_transfer_id, decided_by
) ON core.payouts TO tessera_ledger;
GRANT UPDATE (state, reference, amount, currency, reason, reported_at) ON core.payout_reports TO tessera_ledger;
GRANT SELECT ON api.payouts, api.payout_accounts TO tessera_ledger;
-- what is encrypted is read where it is decrypted: to pay, to list for a bank, to encrypt it anew
GRANT SELECT ON core.payout_accounts TO tessera_app, tessera_scheduler;
GRANT SELECT, INSERT, UPDATE, DELETE ON core.totp_secrets TO tessera_app;
GRANT SELECT, UPDATE ON core.totp_secrets TO tessera_scheduler;
GRANT SELECT ON core.totp_secrets TO tessera_dba;
-- not UPDATE: the checks of foreign keys lock rows as the owner; triggers refuse the rest (core._guard_ledger)
REVOKE DELETE, TRUNCATE ON core.payouts, core.payout_accounts FROM tessera_owner;
