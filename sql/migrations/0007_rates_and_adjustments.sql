-- Known rates, referrals, adjustments by two people, the administration of wallets and assets.

-- Rates

CREATE TABLE core.rate_names (
    name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]{1,62}$'),
    unit text NOT NULL CHECK (unit IN ('bps', 'tokens', 'minor_units', 'usd', 'seconds', 'days', 'count')),
    scoped text,
    meaning text NOT NULL
);
COMMENT ON TABLE core.rate_names IS 'The rates there are: a name that is not here cannot be set, so a slip of the pen is no rate.';
COMMENT ON COLUMN core.rate_names.scoped IS 'What the scope of such a rate names: kind (of transfer) or role. NULL: it has none.';

INSERT INTO core.rate_names (name, unit, scoped, meaning) VALUES
('platform_fee', 'bps', NULL, 'Platform''s share of a tip.'),
('referral', 'bps', 'role', 'Match of a referred user''s rewards, to the referrer; by the referrer''s role.'),
('token_value', 'usd', NULL, 'What one token is paid out at.'),
('call_block', 'seconds', NULL, 'Length of a billed block of a call.'),
('minimum_payout', 'tokens', NULL, 'Smallest payout.'),
('clip_approved', 'usd', NULL, 'Reward of an approved clip.'),
('validation_correct', 'usd', NULL, 'Reward of a validation that agreed with the outcome.'),
('validation_incorrect', 'usd', NULL, 'Reward of a validation that did not.'),
('remix_royalty', 'usd', NULL, 'Royalty of a remix.'),
('remix_original_share', 'bps', NULL, 'Share of a remix'' royalty that goes to the original''s creator.'),
('remix_remixer_share', 'bps', NULL, 'Share of a remix'' royalty that goes to the remixer.'),
('adjustment_valid', 'days', NULL, 'How long a requested adjustment waits for its second person.'),
('velocity_amount_minute', 'minor_units', 'kind', 'Most that a user''s wallet may pay in a minute.'),
('velocity_amount_hour', 'minor_units', 'kind', 'Most that a user''s wallet may pay in an hour.'),
('velocity_amount_day', 'minor_units', 'kind', 'Most that a user''s wallet may pay in a day (UTC).'),
('velocity_count_minute', 'count', 'kind', 'How often a user''s wallet may pay in a minute.'),
('velocity_count_hour', 'count', 'kind', 'How often a user''s wallet may pay in an hour.'),
('velocity_count_day', 'count', 'kind', 'How often a user''s wallet may pay in a day (UTC).');

INSERT INTO core.rates (name, value, unit, valid_from, note)
VALUES ('adjustment_valid', 7, 'days', '-infinity', 'How long a requested adjustment waits for its second person.');

CREATE VIEW api.rate_names AS
SELECT
    n.name,
    n.unit,
    n.scoped,
    n.meaning
FROM core.rate_names AS n;
COMMENT ON VIEW api.rate_names IS 'The rates there are, their units and what they mean.';

-- Referrals

ALTER TABLE core.users ADD COLUMN referred_by_id uuid;
-- Nobody is referred yet, so there is nothing to check and nobody to block.
-- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
ALTER TABLE core.users ADD CONSTRAINT users_referred_by_id_fkey FOREIGN KEY (referred_by_id) REFERENCES core.users (id);
COMMENT ON COLUMN core.users.referred_by_id IS 'Who brought them here; set once (api.set_referrer), never a circle.';
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX users_referred_by_id_idx ON core.users (referred_by_id) WHERE referred_by_id IS NOT NULL;

CREATE TYPE api.referral_receipt AS (
    transfer_id uuid,
    amount bigint,
    new_balance bigint,
    referrer_id uuid,
    match_transfer_id uuid,
    match_amount bigint,
    match_skipped text,
    created_at timestamptz,
    replayed boolean
);
COMMENT ON TYPE api.referral_receipt IS 'A reward and the referrer''s match. match_skipped says why there is none: no_referrer, referrer_suspended, wallet_not_open, rounds_to_zero. replayed: the key had done this before, and this is what was answered.';

-- Adjustments

CREATE TABLE core.adjustments (
    id uuid PRIMARY KEY DEFAULT core.uuid7(),
    from_wallet_id uuid NOT NULL,
    to_wallet_id uuid NOT NULL,
    amount bigint NOT NULL CHECK (amount > 0),
    asset text NOT NULL,
    reason text NOT NULL CHECK (octet_length(reason) BETWEEN 1 AND 255),
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'approved', 'rejected')),
    requested_by uuid,
    requested_db_user text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    decided_by uuid,
    decided_db_user text,
    decided_at timestamptz,
    decision_reason text,
    transfer_id uuid,
    CONSTRAINT adjustments_decided CHECK ((status = 'pending') = (decided_at IS NULL)),
    CONSTRAINT adjustments_approved_has_transfer CHECK ((status = 'approved') = (transfer_id IS NOT NULL)),
    CONSTRAINT adjustments_two_people CHECK (
        status <> 'approved' OR requested_by <> decided_by
        OR (requested_by IS NULL OR decided_by IS NULL) AND requested_db_user <> decided_db_user
    )
);
COMMENT ON TABLE core.adjustments IS 'Movements by hand: one person asks, another approves.';
COMMENT ON COLUMN core.adjustments.status IS 'pending, approved, rejected. A pending one past expires_at is expired: it can no longer be approved.';

CREATE INDEX adjustments_pending_idx ON core.adjustments (id)
WHERE status = 'pending';

CREATE VIEW api.adjustments AS
SELECT
    a.id AS adjustment_id,
    a.from_wallet_id,
    a.to_wallet_id,
    a.amount,
    a.asset,
    a.reason,
    CASE WHEN a.status = 'pending' AND a.expires_at <= now() THEN 'expired' ELSE a.status END AS status,
    a.requested_by,
    a.requested_db_user,
    a.created_at,
    a.expires_at,
    a.decided_by,
    a.decided_db_user,
    a.decided_at,
    a.decision_reason,
    a.transfer_id
FROM core.adjustments AS a;
COMMENT ON VIEW api.adjustments IS 'Adjustments: who asked, who decided, what became of it (pending, approved, rejected, expired).';

-- Audit log

-- Where it came from: the API says so for the transaction.
ALTER TABLE core.audit_log
ALTER COLUMN request_id SET DEFAULT nullif(current_setting('tessera.request_id', true), ''),
ALTER COLUMN address SET DEFAULT nullif(current_setting('tessera.address', true), '');

CREATE VIEW api.audit_log AS
SELECT
    l.id AS audit_id,
    l.created_at,
    l.actor_id,
    l.db_user,
    l.action,
    l.subject_id,
    l.details,
    l.request_id,
    l.address
FROM core.audit_log AS l;
COMMENT ON VIEW api.audit_log IS 'Who did what to what, when, from where. Ids are ordered by time.';

-- Privileges

GRANT SELECT ON core.rate_names, core.adjustments TO tessera_ledger, tessera_dba;
-- what functions return as a view shows it
GRANT SELECT ON api.rates, api.adjustments, api.wallets TO tessera_ledger;
GRANT SELECT ON core.rate_names TO tessera_app, tessera_scheduler;
GRANT INSERT ON core.adjustments, core.assets TO tessera_ledger;
GRANT UPDATE (status, decided_by, decided_db_user, decided_at, decision_reason, transfer_id) ON core.adjustments TO tessera_ledger;
GRANT UPDATE (valid_to) ON core.rates TO tessera_ledger;
GRANT UPDATE (referred_by_id) ON core.users TO tessera_ledger;
REVOKE UPDATE, DELETE, TRUNCATE ON core.rates, core.adjustments FROM tessera_owner;

-- Rewards are an expense: what they have paid and nobody has covered yet is their balance below zero. Several shards,
-- since every reward goes through one.
SET LOCAL ROLE tessera_ledger;
UPDATE core.wallets SET minimum = -9000000000000000000
WHERE purpose = 'rewards';
INSERT INTO core.wallets (purpose, asset, shard, minimum)
SELECT
    'rewards' AS purpose,
    'TOKEN' AS asset,
    g.shard,
    -9000000000000000000 AS minimum
FROM generate_series(1, 7) AS g (shard);
SET LOCAL ROLE tessera_owner;
