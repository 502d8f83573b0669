-- Holds, refunds and debts, frozen wallets, velocity limits, backdated transfers, rates with a scope.

-- Wallets: two ways to be frozen, and debt.

-- What replaces it allows all that it allowed.
-- squawk-ignore ban-drop-constraint
ALTER DOMAIN core.wallet_status DROP CONSTRAINT wallet_status_check;
-- squawk-ignore ban-alter-domain-with-add-constraint
ALTER DOMAIN core.wallet_status ADD CONSTRAINT wallet_status_check CHECK (value IN ('active', 'debits_frozen', 'frozen', 'closed'));

ALTER TABLE core.wallets ADD COLUMN debt bigint NOT NULL DEFAULT 0;
-- The new floor is the old one where there is no debt, as there is none yet: nothing to validate.
-- squawk-ignore ban-drop-constraint
ALTER TABLE core.wallets DROP CONSTRAINT wallets_floor;
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE core.wallets ADD CONSTRAINT wallets_floor CHECK (held >= 0 AND debt >= 0 AND balance - held >= minimum - debt);
COMMENT ON COLUMN core.wallets.debt IS 'What a refund took beyond the wallet''s floor: minimum + held - balance while that is above 0. Every credit pays it off first; until then nothing can be spent.';
COMMENT ON COLUMN core.wallets.status IS 'active; debits_frozen (takes money, gives none), frozen (neither), closed (neither, for good).';

GRANT UPDATE (debt) ON core.wallets TO tessera_ledger;

-- Transfers: when it happened, where that is not when it was written.

ALTER TABLE core.transfers ADD COLUMN event_at timestamptz;
COMMENT ON COLUMN core.transfers.event_at IS 'When it happened, where the caller said so; NULL when that is created_at. Balances and statements go by created_at.';

ALTER TYPE core.transfer_request ADD ATTRIBUTE event_at timestamptz;
ALTER TYPE api.transfer_request ADD ATTRIBUTE event_at timestamptz;

CREATE OR REPLACE VIEW api.transfers AS
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
    t.created_at,
    coalesce(t.event_at, t.created_at) AS event_at
FROM core.transfers AS t;

CREATE OR REPLACE VIEW api.wallets AS
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
    w.created_at,
    w.debt
FROM core.wallets AS w
INNER JOIN core.assets AS a ON a.code = w.asset;
COMMENT ON VIEW api.wallets IS 'Wallets; amounts in minor units of the asset (10^-scale). spendable = balance - held - minimum, below zero while the wallet is in debt; held may count holds that have expired and are about to be released.';

-- Holds

CREATE TABLE core.holds (
    id uuid PRIMARY KEY,
    wallet_id uuid NOT NULL,
    amount bigint NOT NULL,
    captured bigint NOT NULL DEFAULT 0,
    released bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    closed_at timestamptz,
    actor_id uuid,
    asset text NOT NULL,
    kind text NOT NULL,
    status text NOT NULL DEFAULT 'open',
    db_user text,
    reference text,
    metadata jsonb,
    CONSTRAINT holds_amount CHECK (amount > 0 AND captured >= 0 AND released >= 0 AND captured + released <= amount),
    CONSTRAINT holds_status CHECK (status IN ('open', 'captured', 'released', 'expired')),
    CONSTRAINT holds_closed CHECK ((status <> 'open') = (closed_at IS NOT NULL) AND (status <> 'open') = (captured + released = amount)),
    CONSTRAINT holds_expires CHECK (expires_at > created_at)
) WITH (fillfactor = 80);
COMMENT ON TABLE core.holds IS 'Amounts set aside in a wallet until they are captured, released, or expire. Written under the wallet''s lock, by the hold functions only.';
COMMENT ON COLUMN core.holds.captured IS 'Part that was paid out, in minor units; see core.captures.';
COMMENT ON COLUMN core.holds.released IS 'Part that was given back. A closed hold is captured + released = amount.';
COMMENT ON COLUMN core.holds.expires_at IS 'From then on it holds nothing, whether its status says so yet or not.';
COMMENT ON COLUMN core.holds.status IS 'open; captured (closed by a capture), released (closed by a release), expired.';

CREATE INDEX holds_open_by_wallet_idx ON core.holds (wallet_id, expires_at) WHERE status = 'open';
CREATE INDEX holds_open_by_expiry_idx ON core.holds (expires_at, wallet_id) WHERE status = 'open';
CREATE INDEX holds_wallet_idx ON core.holds (wallet_id, id);

CREATE TABLE core.captures (
    hold_id uuid NOT NULL,
    transfer_id uuid NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    CONSTRAINT captures_pkey PRIMARY KEY (hold_id, transfer_id)
);
COMMENT ON TABLE core.captures IS 'The transfers that captured a hold. Append-only.';

CREATE VIEW api.holds AS
SELECT
    h.id AS hold_id,
    h.wallet_id,
    h.asset,
    h.amount,
    h.captured,
    h.released,
    CASE WHEN h.status = 'open' AND h.expires_at > now() THEN h.amount - h.captured - h.released ELSE 0 END AS remaining,
    CASE WHEN h.status = 'open' AND h.expires_at <= now() THEN 'expired' ELSE h.status END AS status,
    h.kind,
    h.reference,
    h.actor_id,
    h.db_user,
    h.metadata,
    h.created_at,
    h.expires_at,
    h.closed_at
FROM core.holds AS h;
COMMENT ON VIEW api.holds IS 'Holds; remaining is what can still be captured, in minor units of the asset. A hold past expires_at shows as expired at once.';

-- Refunds

CREATE TABLE core.refunds (
    original_id uuid NOT NULL,
    transfer_id uuid NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    owed bigint NOT NULL CHECK (owed BETWEEN 0 AND amount),
    policy text NOT NULL CHECK (policy IN ('refuse', 'within_balance', 'create_debt')),
    reason text,
    created_at timestamptz NOT NULL,
    CONSTRAINT refunds_pkey PRIMARY KEY (original_id, transfer_id)
);
COMMENT ON TABLE core.refunds IS 'Which transfer gives back (part of) which; the sum never passes the original. Append-only.';
COMMENT ON COLUMN core.refunds.owed IS 'Part that the payee did not have: it went to the debt of their wallet.';

CREATE UNIQUE INDEX refunds_transfer_id_key ON core.refunds (transfer_id);

CREATE VIEW api.refunds AS
SELECT
    r.original_id,
    r.transfer_id,
    r.amount,
    r.owed,
    r.policy,
    r.reason,
    r.created_at
FROM core.refunds AS r;
COMMENT ON VIEW api.refunds IS 'Refunds: transfer_id gives back amount of original_id; owed of it became debt of the wallet that paid it.';

-- Rates with a scope; velocity limits

ALTER TABLE core.rates ADD COLUMN scope text CHECK (scope ~ '^[a-z][a-z0-9_.]{0,62}$');
COMMENT ON COLUMN core.rates.scope IS 'What it is restricted to: a kind of transfer (velocity limits), a role (referral). NULL for all. A rate with the scope asked for comes before one without.';
-- The table is small, and what replaces the constraints allows all that they allowed.
-- squawk-ignore ban-drop-constraint
ALTER TABLE core.rates DROP CONSTRAINT rates_unit_check;
-- squawk-ignore constraint-missing-not-valid
ALTER TABLE core.rates ADD CONSTRAINT rates_unit CHECK (unit IN ('bps', 'tokens', 'minor_units', 'usd', 'seconds', 'days', 'count'));
-- squawk-ignore ban-drop-constraint
ALTER TABLE core.rates DROP CONSTRAINT rates_key;
-- squawk-ignore disallowed-unique-constraint, constraint-missing-not-valid
ALTER TABLE core.rates ADD CONSTRAINT rates_key UNIQUE NULLS NOT DISTINCT (name, asset, scope, valid_from);

-- squawk-ignore require-concurrent-index-creation
CREATE INDEX rates_velocity_idx ON core.rates (scope) WHERE name IN (
    'velocity_amount_minute', 'velocity_amount_hour', 'velocity_amount_day',
    'velocity_count_minute', 'velocity_count_hour', 'velocity_count_day'
);

CREATE OR REPLACE VIEW api.rates AS
SELECT
    r.name,
    r.asset,
    r.value,
    r.unit,
    r.valid_from,
    r.valid_to,
    r.note,
    r.scope,
    r.id AS rate_id,
    r.created_by,
    r.created_at
FROM core.rates AS r;

CREATE TABLE core.velocity_counters (
    wallet_id uuid NOT NULL,
    rule text NOT NULL,
    since timestamptz NOT NULL,
    used bigint NOT NULL CHECK (used >= 0),
    CONSTRAINT velocity_counters_pkey PRIMARY KEY (wallet_id, rule)
) WITH (fillfactor = 70);
COMMENT ON TABLE core.velocity_counters IS 'What a user''s wallet used up of a velocity limit in the current window, while one is in force. Written under the wallet''s lock.';
COMMENT ON COLUMN core.velocity_counters.rule IS 'Name, scope and asset of the rate, joined by slashes.';
COMMENT ON COLUMN core.velocity_counters.since IS 'Start of the window: a whole number of windows after 2000-01-01 00:00 UTC. An older one counts for nothing.';
COMMENT ON COLUMN core.velocity_counters.used IS 'Minor units, or number of transfers.';

CREATE TYPE core.velocity_rules AS (
    rules text [],
    scopes text [],
    assets text [],
    seconds integer [],
    counted boolean [],
    maxima bigint []
);
COMMENT ON TYPE core.velocity_rules IS 'The velocity limits in force, column by column: the rule''s key, kind (NULL: all together), asset (NULL: each), window, whether it limits the count or the amount, and how much. All NULL: none.';

ALTER TYPE core.locked_wallets ADD ATTRIBUTE held bigint;

-- Legs of a journal

CREATE TYPE api.journal_leg AS (
    from_wallet_id uuid,
    to_wallet_id uuid,
    amount bigint,
    asset text,
    kind text,
    reference text
);
COMMENT ON TYPE api.journal_leg IS 'One leg of api.post_journal: amount (minor units of the asset) from one wallet to another. asset and kind NULL: TOKEN, journal.';

CREATE TYPE api.journal_entry AS (
    leg integer,
    transfer_id uuid,
    from_wallet_id uuid,
    to_wallet_id uuid,
    amount bigint,
    asset text,
    from_balance bigint,
    to_balance bigint,
    created_at timestamptz,
    replayed boolean
);
COMMENT ON TYPE api.journal_entry IS 'A leg of api.post_journal as it was posted: its transfer and both balances after it. replayed: the key had posted it before.';

CREATE TYPE api.hold_receipt AS (
    hold_id uuid,
    wallet_id uuid,
    status text,
    amount bigint,
    captured bigint,
    remaining bigint,
    balance bigint,
    spendable bigint,
    transfer_id uuid,
    expires_at timestamptz,
    created_at timestamptz,
    replayed boolean
);
COMMENT ON TYPE api.hold_receipt IS 'A hold after it was placed, captured or released; balance and spendable of its wallet, without overdraft when it was placed; transfer_id of a capture. replayed: the key had done this before, and this is what was answered.';

CREATE TYPE api.refund_receipt AS (
    transfer_id uuid,
    original_id uuid,
    amount bigint,
    owed bigint,
    refundable bigint,
    from_balance bigint,
    to_balance bigint,
    created_at timestamptz,
    replayed boolean
);
COMMENT ON TYPE api.refund_receipt IS 'A refund: its transfer, what it gave back, how much of that became debt (owed), what is left to refund, and both balances after it. replayed: the key had made it before.';

-- Privileges

GRANT SELECT ON core.holds, core.captures, core.refunds, core.velocity_counters TO tessera_ledger, tessera_dba;
GRANT INSERT ON core.holds, core.captures, core.refunds, core.velocity_counters TO tessera_ledger;
GRANT UPDATE (captured, released, closed_at, status) ON core.holds TO tessera_ledger;
GRANT UPDATE (since, used) ON core.velocity_counters TO tessera_ledger;
REVOKE UPDATE, DELETE, TRUNCATE ON core.holds, core.captures, core.refunds, core.velocity_counters FROM tessera_owner;
