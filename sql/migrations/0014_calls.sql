-- Calls, billed in blocks that are paid before they start.

ALTER TABLE core.creator_settings ADD COLUMN accepts_calls boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN core.creator_settings.accepts_calls IS 'Whether fans may call now.';

CREATE TABLE core.calls (
    id uuid PRIMARY KEY DEFAULT core.uuid7(),
    fan_id uuid NOT NULL,
    creator_id uuid NOT NULL,
    fan_wallet_id uuid NOT NULL,
    creator_wallet_id uuid NOT NULL,
    rate_per_minute bigint NOT NULL CHECK (rate_per_minute > 0),
    block_us bigint NOT NULL CHECK (block_us > 0),
    block_price bigint NOT NULL CHECK (block_price > 0),
    block_limit integer NOT NULL CHECK (block_limit > 0),
    active_us bigint NOT NULL DEFAULT 0 CHECK (active_us >= 0),
    billed bigint NOT NULL DEFAULT 0 CHECK (billed >= 0),
    platform_fees bigint NOT NULL DEFAULT 0 CHECK (platform_fees BETWEEN 0 AND billed),
    opened_at timestamptz NOT NULL,
    accepted_at timestamptz,
    ended_at timestamptz,
    ended_by uuid,
    blocks integer NOT NULL DEFAULT 0 CHECK (blocks >= 0),
    status text NOT NULL DEFAULT 'ringing' CHECK (status IN ('ringing', 'active', 'paused', 'ended', 'declined', 'missed')),
    end_reason text CHECK (end_reason ~ '^[a-z_]{1,40}$'),
    CONSTRAINT calls_two_people CHECK (fan_id <> creator_id),
    CONSTRAINT calls_over CHECK ((status IN ('ended', 'declined', 'missed')) = (ended_at IS NOT NULL AND end_reason IS NOT NULL)),
    CONSTRAINT calls_accepted CHECK ((status IN ('active', 'paused', 'ended')) = (accepted_at IS NOT NULL))
) WITH (fillfactor = 80);
COMMENT ON TABLE core.calls IS 'Calls of a fan to a creator. What changes while one goes on is in core.call_clocks; its totals are written here when it is over.';
COMMENT ON COLUMN core.calls.rate_per_minute IS 'The creator''s price of a minute in tokens when the call was opened, whatever it is later.';
COMMENT ON COLUMN core.calls.block_us IS 'Length of a block in microseconds: the rate call_block when the call was opened.';
COMMENT ON COLUMN core.calls.block_price IS 'Tokens a block: ceil(rate_per_minute × block_us / 60,000,000).';
COMMENT ON COLUMN core.calls.block_limit IS 'So many blocks at most: the rate call_longest when the call was opened, in blocks.';
COMMENT ON COLUMN core.calls.active_us IS 'How long it was active, without pauses, in microseconds; 0 until it is over.';
COMMENT ON COLUMN core.calls.billed IS 'Tokens paid, less what was given back; 0 until it is over.';
COMMENT ON COLUMN core.calls.platform_fees IS 'The platform''s part of billed.';
COMMENT ON COLUMN core.calls.blocks IS 'Blocks paid and not given back; 0 until it is over.';
COMMENT ON COLUMN core.calls.ended_by IS 'Who ended or declined it; NULL where nobody did.';
COMMENT ON COLUMN core.calls.end_reason IS 'stopped, insufficient_tokens, not_seen, time_limit, user_suspended, declined, no_answer, cancelled, or in lower case the error of a payment that was refused.';
CREATE INDEX calls_fan_id_idx ON core.calls (fan_id, id);
CREATE INDEX calls_creator_id_idx ON core.calls (creator_id, id);

CREATE TABLE core.call_clocks (
    call_id uuid PRIMARY KEY,
    due_at timestamptz NOT NULL,
    running_since timestamptz,
    active_us bigint NOT NULL DEFAULT 0 CHECK (active_us >= 0),
    billed bigint NOT NULL DEFAULT 0 CHECK (billed >= 0),
    platform_fees bigint NOT NULL DEFAULT 0 CHECK (platform_fees >= 0),
    fan_seen_at timestamptz NOT NULL,
    creator_seen_at timestamptz,
    fan_left_at timestamptz,
    creator_left_at timestamptz,
    blocks integer NOT NULL DEFAULT 0 CHECK (blocks >= 0),
    warned boolean NOT NULL DEFAULT false
) WITH (fillfactor = 70);
COMMENT ON TABLE core.call_clocks IS 'The clock of each call that is not over. Its row is the lock of the call: whoever changes a call locks it first.';
COMMENT ON COLUMN core.call_clocks.due_at IS 'When somebody has to look at the call: the next block starts, nobody answered, or it was not seen for too long.';
COMMENT ON COLUMN core.call_clocks.running_since IS 'Active since then; NULL while it rings or pauses.';
COMMENT ON COLUMN core.call_clocks.active_us IS 'Active time before running_since, in microseconds.';
COMMENT ON COLUMN core.call_clocks.blocks IS 'Blocks paid so far: 0 … blocks - 1.';
COMMENT ON COLUMN core.call_clocks.fan_seen_at IS 'The fan''s last sign of life.';
COMMENT ON COLUMN core.call_clocks.fan_left_at IS 'When the fan left the room, which counts if no sign of life came later.';
COMMENT ON COLUMN core.call_clocks.warned IS 'The fan was told that their tokens run out.';
CREATE INDEX call_clocks_due_at_idx ON core.call_clocks (due_at);

CREATE TABLE core.call_parties (
    user_id uuid PRIMARY KEY,
    call_id uuid NOT NULL
);
COMMENT ON TABLE core.call_parties IS 'Who is in a call that is not over: nobody is in two.';

CREATE TABLE core.meter_blocks (
    call_id uuid NOT NULL,
    block_no integer NOT NULL CHECK (block_no >= 0),
    price bigint NOT NULL CHECK (price > 0),
    platform_fee bigint NOT NULL CHECK (platform_fee BETWEEN 0 AND price),
    transfer_id uuid NOT NULL,
    fee_transfer_id uuid,
    paid_at timestamptz NOT NULL,
    refunded_at timestamptz,
    CONSTRAINT meter_blocks_pkey PRIMARY KEY (call_id, block_no)
);
COMMENT ON TABLE core.meter_blocks IS 'Blocks of calls, each written in the commit of its payment: block n is n × block_us to (n + 1) × block_us of active time.';
COMMENT ON COLUMN core.meter_blocks.transfer_id IS 'The payment to the creator (the fee, where the fee takes all).';
COMMENT ON COLUMN core.meter_blocks.fee_transfer_id IS 'The fee beside it, if there is one.';
COMMENT ON COLUMN core.meter_blocks.refunded_at IS 'Given back, because the call was not seen any more when it began.';

CREATE TYPE core.call_case AS (
    call_id uuid,
    fan_id uuid,
    creator_id uuid,
    fan_wallet_id uuid,
    creator_wallet_id uuid,
    block_us bigint,
    block_price bigint,
    block_limit integer,
    fee bigint,
    status text,
    due_at timestamptz,
    running_since timestamptz,
    active_before_us bigint,
    active_us bigint,
    alive_until timestamptz,
    lost boolean,
    blocks integer,
    billed bigint,
    platform_fees bigint,
    warned boolean,
    begun integer,
    due integer,
    reason text,
    place tid
);
COMMENT ON TYPE core.call_case IS 'A call that is looked at: active_us up to now, or to its last sign of life where it is lost; begun: blocks that must be paid by then; due: how many of them are paid now; reason: why it ends, whatever is paid; place: where its clock''s row is.';

CREATE TYPE core.call_ending AS (
    call_id uuid,
    status text,
    reason text,
    ended_by uuid,
    ended_at timestamptz,
    active_us bigint
);
COMMENT ON TYPE core.call_ending IS 'How a call ends, and how long it was active.';

CREATE TYPE api.call_offer AS (
    call_id uuid,
    channel text,
    creator_id uuid,
    status text,
    rate_per_minute bigint,
    block_ms bigint,
    block_price bigint,
    opened_at timestamptz,
    rings_until timestamptz,
    replayed boolean
);
COMMENT ON TYPE api.call_offer IS 'A call that rings, and what it will cost: block_price tokens for each block_ms milliseconds begun. channel: where its events are. replayed: the key had opened it before, and this is what was answered.';

CREATE TYPE api.call_beat AS (call_id uuid, user_id uuid);
COMMENT ON TYPE api.call_beat IS 'A sign of life of one of a call''s two people, for api.beat_calls.';

CREATE TYPE api.call_pulse AS (
    ord integer,
    call_id uuid,
    status text,
    blocks integer,
    billed bigint,
    next_block_at timestamptz,
    error_code text,
    error text,
    detail jsonb
);
COMMENT ON TYPE api.call_pulse IS 'The call after a sign of life at position ord: next_block_at is NULL unless it is active; or error_code (TSnnn), its slug in error, and facts in detail.';

CREATE TYPE api.meter_outcome AS (
    call_id uuid,
    status text,
    end_reason text,
    due_at timestamptz,
    blocks_paid integer,
    charged bigint,
    blocks_refunded integer,
    next_due_at timestamptz
);
COMMENT ON TYPE api.meter_outcome IS 'What metering did with a call: blocks paid and tokens charged now, blocks given back, and whether it ended. due_at: since when it had been due; next_due_at: when it will be again (NULL: it is over).';

CREATE TYPE api.call_numbers AS (
    calls bigint,
    answered bigint,
    declined bigint,
    missed bigint,
    blocks bigint,
    billed bigint,
    platform_fees bigint,
    active_ms bigint,
    average_ms bigint,
    longest_ms bigint
);
COMMENT ON TYPE api.call_numbers IS 'Calls that are over in numbers: tokens billed to the fans and the platform''s part of it, active time in milliseconds (average and longest of those that were answered).';

CREATE VIEW api.calls AS
SELECT
    c.id AS call_id,
    'call:' || c.id::text AS channel,
    c.fan_id,
    c.creator_id,
    c.status,
    c.rate_per_minute,
    c.block_us / 1000 AS block_ms,
    c.block_price,
    c.block_limit,
    coalesce(k.blocks, c.blocks) AS blocks,
    coalesce(k.billed, c.billed) AS billed,
    coalesce(k.platform_fees, c.platform_fees) AS platform_fees,
    CASE
        WHEN k.running_since IS NOT NULL
            THEN k.active_us + greatest(0, (extract(EPOCH FROM clock_timestamp() - k.running_since) * 1000000)::bigint)
        ELSE coalesce(k.active_us, c.active_us)
    END / 1000 AS active_ms,
    k.running_since + (k.blocks * c.block_us - k.active_us) * interval '1 microsecond' AS next_block_at,
    greatest(k.fan_seen_at, k.creator_seen_at) AS last_seen_at,
    CASE c.status WHEN 'ringing' THEN k.due_at END AS rings_until,
    c.opened_at,
    c.accepted_at,
    c.ended_at,
    c.end_reason,
    c.ended_by
FROM core.calls AS c
LEFT JOIN core.call_clocks AS k ON k.call_id = c.id;
COMMENT ON VIEW api.calls IS 'Calls: who calls whom, at what price (frozen when it was opened), how far it is (blocks paid and not given back, tokens billed, active milliseconds without pauses, up to this moment) and how it ended. Amounts in tokens.';

CREATE VIEW api.call_blocks AS
SELECT
    b.call_id,
    b.block_no,
    b.price,
    b.platform_fee,
    b.transfer_id,
    b.fee_transfer_id,
    b.paid_at,
    b.refunded_at
FROM core.meter_blocks AS b;
COMMENT ON VIEW api.call_blocks IS 'Paid blocks of calls: block n covers n × block_ms up to (n + 1) × block_ms of active time. Amounts in tokens.';

INSERT INTO core.rate_names (name, unit, scoped, meaning) VALUES
('call_longest', 'seconds', NULL, 'Active time after which a call ends.'),
('call_grace', 'seconds', NULL, 'How long a call may be without a sign of life before it ends.'),
('call_ringing', 'seconds', NULL, 'How long a call rings.'),
('call_cooldown', 'seconds', NULL, 'How long after a call that was declined or missed the same fan may not call the same creator.'),
('call_low_balance', 'count', NULL, 'How many blocks the fan can still pay when they are told that their tokens run out.');
INSERT INTO core.rates (name, value, unit, valid_from, note) VALUES
('call_longest', 14400, 'seconds', '-infinity', 'A call ends after four hours.'),
('call_grace', 120, 'seconds', '-infinity', 'A call not seen for two minutes ends.'),
('call_ringing', 45, 'seconds', '-infinity', 'A call rings for 45 seconds.'),
('call_cooldown', 30, 'seconds', '-infinity', 'Half a minute after a call that was declined or missed.'),
('call_low_balance', 2, 'count', '-infinity', 'The fan is told when two blocks remain.');

GRANT SELECT, INSERT ON core.calls, core.call_clocks, core.call_parties, core.meter_blocks TO tessera_ledger;
GRANT UPDATE (
    active_us, billed, platform_fees, accepted_at, ended_at, ended_by, blocks, status, end_reason
) ON core.calls TO tessera_ledger;
GRANT UPDATE (
    due_at, running_since, active_us, billed, platform_fees, fan_seen_at, creator_seen_at, fan_left_at, creator_left_at, blocks, warned
), DELETE ON core.call_clocks TO tessera_ledger;
GRANT DELETE ON core.call_parties TO tessera_ledger;
GRANT UPDATE (refunded_at) ON core.meter_blocks TO tessera_ledger;
GRANT SELECT ON core.calls, core.call_clocks, core.call_parties, core.meter_blocks TO tessera_dba;
GRANT SELECT ON api.calls TO tessera_ledger;
REVOKE UPDATE, DELETE, TRUNCATE ON core.meter_blocks FROM tessera_owner;
