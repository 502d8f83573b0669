-- The ledger: assets, wallets, transfers, entries, idempotency keys, rates, outbox.
--
-- Amounts are bigint in the asset's minor unit. The hot tables (transfers, entries, idempotency_keys, outbox) carry
-- no foreign keys: core._post_transfers is their only writer and has the rows they point to locked, api.audit_ledger()
-- looks for orphans, and a check per row would cost a tenth of the throughput (docs/performance.md).

CREATE TABLE core.assets (
    code text PRIMARY KEY CHECK (code ~ '^[A-Z][A-Z0-9_]{1,15}$'),
    scale smallint NOT NULL CHECK (scale BETWEEN 0 AND 18),
    name text NOT NULL,
    opens_with_user boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE core.assets IS 'What a wallet can hold. An amount is a whole number of the asset''s minor unit: 10^-scale of the asset.';
COMMENT ON COLUMN core.assets.scale IS 'Decimals of the asset: TOKEN 0 (an amount of 50 is 50 tokens), money 4 (an amount of 50 is 0.0050).';
COMMENT ON COLUMN core.assets.opens_with_user IS 'Each new user gets a wallet of this asset.';

-- Domains rather than CHECKs on the hot tables: a table's CHECKs are parsed again for each statement that writes it,
-- a domain's once a session (docs/performance.md).
CREATE DOMAIN core.positive_amount AS bigint CHECK (value > 0);
CREATE DOMAIN core.entry_amount AS bigint CHECK (value <> 0);
CREATE DOMAIN core.entry_seq AS bigint CHECK (value > 0);
CREATE DOMAIN core.wallet_purpose AS text CHECK (value ~ '^[a-z][a-z0-9_]{1,31}$');
CREATE DOMAIN core.wallet_status AS text CHECK (value IN ('active', 'frozen', 'closed'));
CREATE DOMAIN core.idempotency_key AS text CHECK (octet_length(value) BETWEEN 1 AND 255);
CREATE DOMAIN core.request_hash AS bytea CHECK (octet_length(value) = 16);

CREATE TABLE core.wallets (
    id uuid PRIMARY KEY DEFAULT core.uuid7(),
    owner_id uuid,
    balance bigint NOT NULL DEFAULT 0,
    held bigint NOT NULL DEFAULT 0,
    minimum bigint NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 0,
    lifetime_earned bigint NOT NULL DEFAULT 0,
    lifetime_spent bigint NOT NULL DEFAULT 0,
    last_entry_at timestamptz NOT NULL DEFAULT '-infinity',
    created_at timestamptz NOT NULL DEFAULT now(),
    shard smallint NOT NULL DEFAULT 0,
    asset text NOT NULL REFERENCES core.assets (code),
    purpose core.wallet_purpose NOT NULL DEFAULT 'user',
    status core.wallet_status NOT NULL DEFAULT 'active',
    CONSTRAINT wallets_floor CHECK (held >= 0 AND balance - held >= minimum),
    CONSTRAINT wallets_system_has_no_owner CHECK ((owner_id IS NULL) = (purpose <> 'user'))
) WITH (fillfactor = 50);
COMMENT ON TABLE core.wallets IS 'One balance of one asset. Written only by core._post_transfers and the functions beside it; every change is an entry.';
COMMENT ON COLUMN core.wallets.owner_id IS 'The user it belongs to; NULL for a system wallet (issuance, revenue, rewards, payout_clearing).';
COMMENT ON COLUMN core.wallets.balance IS 'Minor units. Equals the balance of the wallet''s entry with seq = version (0 when there is none).';
COMMENT ON COLUMN core.wallets.held IS 'Part of the balance set aside by open holds. Spendable is balance - held - minimum.';
COMMENT ON COLUMN core.wallets.minimum IS 'Lowest balance allowed. 0 for a user; negative is an overdraft; issuance is bounded only by bigint.';
COMMENT ON COLUMN core.wallets.version IS 'Number of entries so far, and the seq of the last one.';
COMMENT ON COLUMN core.wallets.lifetime_earned IS 'Sum of all credits, minor units.';
COMMENT ON COLUMN core.wallets.lifetime_spent IS 'Sum of all debits, minor units, as a positive number.';
COMMENT ON COLUMN core.wallets.last_entry_at IS 'created_at of the last entry; a later entry is never dated before it.';
COMMENT ON COLUMN core.wallets.shard IS 'System wallets that would be hot are split; their sum counts. 0 for everybody else.';

CREATE UNIQUE INDEX wallets_owner_asset_key ON core.wallets (owner_id, asset) WHERE owner_id IS NOT NULL;
CREATE UNIQUE INDEX wallets_system_key ON core.wallets (purpose, asset, shard) WHERE owner_id IS NULL;

CREATE TABLE core.transfers (
    id uuid PRIMARY KEY,
    from_wallet_id uuid NOT NULL,
    to_wallet_id uuid NOT NULL,
    amount core.positive_amount NOT NULL,
    from_seq core.entry_seq NOT NULL,
    to_seq core.entry_seq NOT NULL,
    created_at timestamptz NOT NULL,
    actor_id uuid,
    asset text NOT NULL,
    kind text NOT NULL,
    db_user text,
    reference text,
    metadata jsonb
);
COMMENT ON TABLE core.transfers IS 'One movement of an amount between two wallets of one asset. Append-only.';
COMMENT ON COLUMN core.transfers.from_seq IS 'seq of the debit in entries (from_wallet_id, from_seq).';
COMMENT ON COLUMN core.transfers.to_seq IS 'seq of the credit in entries (to_wallet_id, to_seq).';
COMMENT ON COLUMN core.transfers.actor_id IS 'The user on whose behalf the API asked; NULL when a database user did.';
COMMENT ON COLUMN core.transfers.db_user IS 'session_user, when no actor was given.';
COMMENT ON COLUMN core.transfers.kind IS 'Why it moved: transfer, tip, fee, grant…';
COMMENT ON COLUMN core.transfers.reference IS 'What it belongs to, in the caller''s words.';

CREATE TABLE core.entries (
    wallet_id uuid NOT NULL,
    seq core.entry_seq NOT NULL,
    transfer_id uuid NOT NULL,
    amount core.entry_amount NOT NULL,
    balance bigint NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT entries_pkey PRIMARY KEY (wallet_id, seq)
);
COMMENT ON TABLE core.entries IS 'Two rows a transfer: the debit (negative) and the credit, with the wallet''s running balance. Append-only.';
COMMENT ON COLUMN core.entries.seq IS 'Position in the wallet''s history: 1, 2, 3… without gaps.';
COMMENT ON COLUMN core.entries.balance IS 'Balance of the wallet after this entry.';
COMMENT ON COLUMN core.entries.created_at IS 'Never earlier than that of the entry before it in the same wallet.';

CREATE TABLE core.idempotency_keys (
    actor_id uuid NOT NULL,
    key core.idempotency_key NOT NULL,
    transfer_id uuid,
    created_at timestamptz NOT NULL,
    request_hash core.request_hash NOT NULL,
    result jsonb,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (actor_id, key)
);
COMMENT ON TABLE core.idempotency_keys IS 'Keys of money requests that took effect; written in the same commit as the effect. They do not expire.';
COMMENT ON COLUMN core.idempotency_keys.actor_id IS 'Whose key: the user, or for a database user core._database_actor().';
COMMENT ON COLUMN core.idempotency_keys.transfer_id IS 'The (first) transfer it led to; the answer is rebuilt from it and its entry.';
COMMENT ON COLUMN core.idempotency_keys.request_hash IS 'First 16 bytes of the SHA-256 of the request''s fields: a key sent with another request is refused.';
COMMENT ON COLUMN core.idempotency_keys.result IS 'The stored answer, where it cannot be rebuilt from the transfer.';

CREATE TABLE core.rates (
    id uuid PRIMARY KEY DEFAULT core.uuid7(),
    name text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_]{1,62}$'),
    asset text REFERENCES core.assets (code),
    value numeric NOT NULL CHECK (value >= 0 AND value < 1e15),
    unit text NOT NULL CHECK (unit IN ('bps', 'tokens', 'usd', 'seconds', 'days', 'count')),
    valid_from timestamptz NOT NULL DEFAULT now(),
    valid_to timestamptz,
    note text,
    created_by text NOT NULL DEFAULT session_user,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT rates_period CHECK (valid_to IS NULL OR valid_to > valid_from),
    CONSTRAINT rates_bps CHECK (unit <> 'bps' OR value <= 10000),
    CONSTRAINT rates_key UNIQUE NULLS NOT DISTINCT (name, asset, valid_from)
);
COMMENT ON TABLE core.rates IS 'Every number that decides about money: fees, shares, prices, limits. Of several in force the one with the latest valid_from counts. Nothing falls back to a number in code: a missing rate is TS801 CONFIGURATION_ERROR.';
COMMENT ON COLUMN core.rates.asset IS 'The asset it is for; NULL for all.';
COMMENT ON COLUMN core.rates.unit IS 'bps = hundredths of a percent.';

CREATE TABLE core.outbox (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint GENERATED ALWAYS AS IDENTITY,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    type text NOT NULL,
    channels text [] NOT NULL,
    payload jsonb NOT NULL,
    CONSTRAINT outbox_pkey PRIMARY KEY (xid, id)
);
COMMENT ON TABLE core.outbox IS 'Events, written in the commit that they tell of and after the wallets were locked, so that ids are causal per wallet. The relay reads them by transaction snapshot, never by id.';
COMMENT ON COLUMN core.outbox.channels IS 'Channels that get the event: user:<id>, creator:<id>, stream:<id>, call:<id>…';

-- Types of the ledger's own functions

CREATE TYPE core.transfer_request AS (
    from_wallet_id uuid,
    to_wallet_id uuid,
    amount bigint,
    asset text,
    kind text,
    reference text,
    actor_id uuid,
    idempotency_key text,
    request_hash bytea,
    link integer,
    metadata jsonb
);
COMMENT ON TYPE core.transfer_request IS 'One movement asked of core._post_transfers. Consecutive requests with the same link (not NULL) succeed or are refused together, and share the key of their first.';

CREATE TYPE core.transfer_result AS (
    transfer_id uuid,
    from_balance bigint,
    to_balance bigint,
    from_owner_id uuid,
    to_owner_id uuid,
    created_at timestamptz,
    replayed boolean,
    error_code text,
    error text,
    detail jsonb
);
COMMENT ON TYPE core.transfer_result IS 'What became of one request: a transfer (new, or the one its key stands for), or an error and nothing written.';

CREATE TYPE core.refusal AS (
    error_code text,
    error text,
    detail jsonb
);
COMMENT ON TYPE core.refusal IS 'Why a request is refused: TSnnn, its slug, and facts.';

CREATE TYPE core.locked_wallets AS (
    ids uuid [],
    owner_ids uuid [],
    balances bigint [],
    floors bigint [],
    earned bigint [],
    versions bigint [],
    assets text [],
    statuses text [],
    last_entry_at timestamptz
);
COMMENT ON TYPE core.locked_wallets IS 'The wallets that core._lock_wallets locked, in id order, column by column; floors = minimum + held, earned = lifetime_earned; last_entry_at is the latest of all.';

-- Types and views of the contract

CREATE TYPE api.transfer_request AS (
    from_wallet_id uuid,
    to_wallet_id uuid,
    to_user_id uuid,
    amount bigint,
    asset text,
    kind text,
    idempotency_key text,
    reference text,
    actor_id uuid,
    metadata jsonb
);
COMMENT ON TYPE api.transfer_request IS 'One transfer asked of api.transfer_batch. from_wallet_id NULL: the actor''s wallet of the asset. to_wallet_id NULL: to_user_id''s wallet. amount in minor units of the asset. kind and asset NULL: transfer, TOKEN.';

CREATE TYPE api.transfer_outcome AS (
    ord integer,
    transfer_id uuid,
    from_wallet_id uuid,
    to_wallet_id uuid,
    amount bigint,
    asset text,
    from_balance bigint,
    to_balance bigint,
    created_at timestamptz,
    replayed boolean,
    error_code text,
    error text,
    detail jsonb
);
COMMENT ON TYPE api.transfer_outcome IS 'What became of the request at position ord: a transfer and both balances after it, or error_code (TSnnn), its slug in error, and facts in detail, and nothing written. replayed: the key had done this before, and this is what it did.';

CREATE TYPE api.transfer_receipt AS (
    transfer_id uuid,
    from_balance bigint,
    to_balance bigint,
    created_at timestamptz,
    replayed boolean
);
COMMENT ON TYPE api.transfer_receipt IS 'A transfer that was made, and both balances right after it. replayed: the key had made it before.';

CREATE VIEW api.wallets AS
SELECT
    w.id AS wallet_id,
    w.owner_id,
    w.purpose::text AS purpose,
    w.shard,
    w.asset,
    a.scale,
    w.balance,
    w.held,
    w.minimum,
    w.balance - w.held - w.minimum AS spendable,
    w.lifetime_earned,
    w.lifetime_spent,
    w.version,
    w.status::text AS status,
    w.created_at
FROM core.wallets AS w
INNER JOIN core.assets AS a ON a.code = w.asset;
COMMENT ON VIEW api.wallets IS 'Wallets; amounts in minor units of the asset (10^-scale). spendable = balance - held - minimum.';

CREATE VIEW api.transfers AS
SELECT
    t.id AS transfer_id,
    t.from_wallet_id,
    t.to_wallet_id,
    t.amount::bigint AS amount,
    t.asset,
    t.kind,
    t.reference,
    t.actor_id,
    t.db_user,
    t.metadata,
    t.created_at
FROM core.transfers AS t;
COMMENT ON VIEW api.transfers IS 'Every movement there ever was, one row each.';

CREATE VIEW api.entries AS
SELECT
    e.wallet_id,
    e.seq::bigint AS seq,
    e.transfer_id,
    e.amount::bigint AS amount,
    e.balance,
    e.created_at
FROM core.entries AS e;
COMMENT ON VIEW api.entries IS 'Two rows a transfer: signed amount and the wallet''s balance after it; seq is 1, 2, 3… in each wallet.';

CREATE VIEW api.rates AS
SELECT
    r.name,
    r.asset,
    r.value,
    r.unit,
    r.valid_from,
    r.valid_to,
    r.note
FROM core.rates AS r;
COMMENT ON VIEW api.rates IS 'Fees, shares, prices and limits with their periods; of several in force the latest valid_from counts.';

-- Privileges

GRANT SELECT ON core.assets, core.wallets, core.transfers, core.entries, core.idempotency_keys, core.rates, core.outbox
TO tessera_ledger, tessera_dba;
GRANT INSERT ON core.wallets, core.transfers, core.entries, core.idempotency_keys, core.outbox, core.rates TO tessera_ledger;
GRANT UPDATE (balance, held, minimum, version, lifetime_earned, lifetime_spent, last_entry_at, status) ON core.wallets TO tessera_ledger;
GRANT SELECT ON core.assets, core.rates TO tessera_app, tessera_scheduler;
REVOKE UPDATE, DELETE, TRUNCATE ON core.wallets, core.transfers, core.entries, core.idempotency_keys FROM tessera_owner;

-- Seeds

INSERT INTO core.assets (code, scale, name, opens_with_user) VALUES ('TOKEN', 0, 'Platform token', true);

INSERT INTO core.wallets (purpose, asset, shard, minimum)
SELECT
    s.purpose,
    'TOKEN' AS asset,
    g.shard,
    s.minimum
FROM (VALUES ('issuance', 4, -9000000000000000000), ('revenue', 8, 0), ('rewards', 1, 0), ('payout_clearing', 1, 0)) AS s (purpose, shards, minimum)
CROSS JOIN LATERAL generate_series(0, s.shards - 1) AS g (shard);

INSERT INTO core.rates (name, asset, value, unit, valid_from, note) VALUES
('platform_fee', 'TOKEN', 0, 'bps', '-infinity', 'Platform''s share of a tip: the creator gets 100 %.'),
('referral', 'TOKEN', 500, 'bps', '-infinity', 'Match of a referred user''s rewards, to the referrer.'),
('token_value', 'TOKEN', 0.05, 'usd', '-infinity', 'What one token is paid out at.'),
('call_block', NULL, 30, 'seconds', '-infinity', 'Length of a billed block of a call.'),
('minimum_payout', 'TOKEN', 1000, 'tokens', '-infinity', 'Smallest payout.'),
('clip_approved', NULL, 0.10, 'usd', '-infinity', 'Reward of an approved clip.'),
('validation_correct', NULL, 0.01, 'usd', '-infinity', 'Reward of a validation that agreed with the outcome.'),
('validation_incorrect', NULL, 0.005, 'usd', '-infinity', 'Reward of a validation that did not.'),
('remix_royalty', NULL, 0.03, 'usd', '-infinity', 'Royalty of a remix.'),
('remix_original_share', NULL, 7000, 'bps', '-infinity', 'Share of a remix'' royalty that goes to the original''s creator.'),
('remix_remixer_share', NULL, 3000, 'bps', '-infinity', 'Share of a remix'' royalty that goes to the remixer.');
