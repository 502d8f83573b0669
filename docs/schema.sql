-- The schema as the migrations and functions of sql/ make it. Written by ./run schema-dump; do not edit.

CREATE SCHEMA api;

ALTER SCHEMA api OWNER TO tessera_owner;

COMMENT ON SCHEMA api IS 'Tessera''s contract: functions, views and the types they take. Each function is explained by \df+ api.*';

CREATE SCHEMA core;

ALTER SCHEMA core OWNER TO tessera_owner;

COMMENT ON SCHEMA core IS 'Tessera''s tables and internal functions (core._name). Nobody writes money here: go through schema api.';

CREATE TYPE api.audience AS (
	stream_id uuid,
	viewers integer,
	user_ids uuid[]
);

ALTER TYPE api.audience OWNER TO tessera_owner;

COMMENT ON TYPE api.audience IS 'Who watches a stream now: how many, and who unless they are too many to tell (NULL).';

CREATE TYPE api.call_beat AS (
	call_id uuid,
	user_id uuid
);

ALTER TYPE api.call_beat OWNER TO tessera_owner;

COMMENT ON TYPE api.call_beat IS 'A sign of life of one of a call''s two people, for api.beat_calls.';

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

ALTER TYPE api.call_numbers OWNER TO tessera_owner;

COMMENT ON TYPE api.call_numbers IS 'Calls that are over in numbers: tokens billed to the fans and the platform''s part of it, active time in milliseconds (average and longest of those that were answered).';

CREATE TYPE api.call_offer AS (
	call_id uuid,
	channel text,
	creator_id uuid,
	status text,
	rate_per_minute bigint,
	block_ms bigint,
	block_price bigint,
	opened_at timestamp with time zone,
	rings_until timestamp with time zone,
	replayed boolean
);

ALTER TYPE api.call_offer OWNER TO tessera_owner;

COMMENT ON TYPE api.call_offer IS 'A call that rings, and what it will cost: block_price tokens for each block_ms milliseconds begun. channel: where its events are. replayed: the key had opened it before, and this is what was answered.';

CREATE TYPE api.call_pulse AS (
	ord integer,
	call_id uuid,
	status text,
	blocks integer,
	billed bigint,
	next_block_at timestamp with time zone,
	error_code text,
	error text,
	detail jsonb
);

ALTER TYPE api.call_pulse OWNER TO tessera_owner;

COMMENT ON TYPE api.call_pulse IS 'The call after a sign of life at position ord: next_block_at is NULL unless it is active; or error_code (TSnnn), its slug in error, and facts in detail.';

CREATE TYPE api.channel_event AS (
	seq bigint,
	type text,
	payload jsonb,
	created_at timestamp with time zone
);

ALTER TYPE api.channel_event OWNER TO tessera_owner;

COMMENT ON TYPE api.channel_event IS 'An event of a channel: its number there, what it tells, and when that was written.';

CREATE TYPE api.channel_read AS (
	place integer,
	first_seq bigint,
	last_seq bigint,
	events text
);

ALTER TYPE api.channel_read OWNER TO tessera_owner;

COMMENT ON TYPE api.channel_read IS 'Events of the channel with this place in the question, from first_seq to last_seq: JSON objects with seq, type, at (ISO 8601, UTC) and data, one a line. Place 0 is the log itself: events is its epoch, last_seq how many rows it ever had.';

CREATE TYPE api.channel_told AS (
	channel text,
	first_seq bigint,
	ids bigint[]
);

ALTER TYPE api.channel_told OWNER TO tessera_owner;

COMMENT ON TYPE api.channel_told IS 'The new events of a channel by their ids, numbered from first_seq on.';

CREATE TYPE api.event_told AS (
	id bigint,
	text text
);

ALTER TYPE api.event_told OWNER TO tessera_owner;

COMMENT ON TYPE api.event_told IS 'An event as JSON without its number: what follows after {"seq":<number>, in a frame.';

CREATE TYPE api.follow_outcome AS (
	ord integer,
	epoch uuid,
	seq bigint,
	first_seq bigint,
	error_code text,
	error text,
	detail jsonb
);

ALTER TYPE api.follow_outcome OWNER TO tessera_owner;

COMMENT ON TYPE api.follow_outcome IS 'Where the channel of the request with this number stands: the epoch, its last event (0: it never had one) and the first that is kept; or why that user may not follow it.';

CREATE TYPE api.follow_request AS (
	user_id uuid,
	channel text
);

ALTER TYPE api.follow_request OWNER TO tessera_owner;

COMMENT ON TYPE api.follow_request IS 'Somebody wants to follow a channel.';

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
	expires_at timestamp with time zone,
	created_at timestamp with time zone,
	replayed boolean
);

ALTER TYPE api.hold_receipt OWNER TO tessera_owner;

COMMENT ON TYPE api.hold_receipt IS 'A hold after it was placed, captured or released; balance and spendable of its wallet, without overdraft when it was placed; transfer_id of a capture. replayed: the key had done this before, and this is what was answered.';

CREATE TYPE api.journal_entry AS (
	leg integer,
	transfer_id uuid,
	from_wallet_id uuid,
	to_wallet_id uuid,
	amount bigint,
	asset text,
	from_balance bigint,
	to_balance bigint,
	created_at timestamp with time zone,
	replayed boolean
);

ALTER TYPE api.journal_entry OWNER TO tessera_owner;

COMMENT ON TYPE api.journal_entry IS 'A leg of api.post_journal as it was posted: its transfer and both balances after it. replayed: the key had posted it before.';

CREATE TYPE api.journal_leg AS (
	from_wallet_id uuid,
	to_wallet_id uuid,
	amount bigint,
	asset text,
	kind text,
	reference text
);

ALTER TYPE api.journal_leg OWNER TO tessera_owner;

COMMENT ON TYPE api.journal_leg IS 'One leg of api.post_journal: amount (minor units of the asset) from one wallet to another. asset and kind NULL: TOKEN, journal.';

CREATE TYPE api.live_seat AS (
	room text,
	name text,
	publishes boolean
);

ALTER TYPE api.live_seat OWNER TO tessera_owner;

COMMENT ON TYPE api.live_seat IS 'A place in a room of the media server: the room, the name shown there, and whether its holder may send sound, pictures and data.';

CREATE TYPE api.meter_outcome AS (
	call_id uuid,
	status text,
	end_reason text,
	due_at timestamp with time zone,
	blocks_paid integer,
	charged bigint,
	blocks_refunded integer,
	next_due_at timestamp with time zone
);

ALTER TYPE api.meter_outcome OWNER TO tessera_owner;

COMMENT ON TYPE api.meter_outcome IS 'What metering did with a call: blocks paid and tokens charged now, blocks given back, and whether it ended. due_at: since when it had been due; next_due_at: when it will be again (NULL: it is over).';

CREATE TYPE api.no_show AS (
	stream_id uuid,
	creator_id uuid,
	tickets bigint,
	error_code text,
	error text,
	detail jsonb
);

ALTER TYPE api.no_show OWNER TO tessera_owner;

COMMENT ON TYPE api.no_show IS 'A stream that never began: how many tickets were given back; or error_code (TSnnn), its slug in error, and facts in detail, and nothing changed.';

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

ALTER TYPE api.payment_fact OWNER TO tessera_owner;

COMMENT ON TYPE api.payment_fact IS 'What a provider tells of a payment, as it was understood (columns of core.payment_events).';

CREATE TYPE api.payment_order AS (
	payment_id uuid,
	buyer_id uuid,
	package_id uuid,
	tokens bigint,
	amount bigint,
	created_at timestamp with time zone,
	expires_at timestamp with time zone,
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

ALTER TYPE api.payment_order OWNER TO tessera_owner;

COMMENT ON TYPE api.payment_order IS 'A payment as its provider is told of it. checkout_url is NULL until the provider has answered.';

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
	expected_at timestamp with time zone,
	created_at timestamp with time zone,
	replayed boolean
);

ALTER TYPE api.payout_receipt OWNER TO tessera_owner;

COMMENT ON TYPE api.payout_receipt IS 'A payout that was asked for, and the balance and what of it can be spent right after it. replayed: the key had asked for it before.';

CREATE TYPE api.payout_record AS (
	payout_id uuid,
	reference text,
	state text,
	amount bigint,
	currency text
);

ALTER TYPE api.payout_record OWNER TO tessera_owner;

COMMENT ON TYPE api.payout_record IS 'A payout as a provider''s own list has it: our id (NULL where it has none), its reference, pending, paid or failed, and the amount in ten-thousandths of currency.';

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
	sending_at timestamp with time zone,
	attempts integer,
	status text
);

ALTER TYPE api.payout_task OWNER TO tessera_owner;

COMMENT ON TYPE api.payout_task IS 'A payout that a scheduler took: action says what is to be done (send: hand it to the provider; ask: ask the provider about it) or what was done already (queued for a person who pays by hand, held, cancelled). All NULL: none was due.';

CREATE TYPE api.referral_receipt AS (
	transfer_id uuid,
	amount bigint,
	new_balance bigint,
	referrer_id uuid,
	match_transfer_id uuid,
	match_amount bigint,
	match_skipped text,
	created_at timestamp with time zone,
	replayed boolean
);

ALTER TYPE api.referral_receipt OWNER TO tessera_owner;

COMMENT ON TYPE api.referral_receipt IS 'A reward and the referrer''s match. match_skipped says why there is none: no_referrer, referrer_suspended, wallet_not_open, rounds_to_zero. replayed: the key had done this before, and this is what was answered.';

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

ALTER TYPE api.refund_order OWNER TO tessera_owner;

COMMENT ON TYPE api.refund_order IS 'A refund as the provider is asked for it.';

CREATE TYPE api.refund_receipt AS (
	transfer_id uuid,
	original_id uuid,
	amount bigint,
	owed bigint,
	refundable bigint,
	from_balance bigint,
	to_balance bigint,
	created_at timestamp with time zone,
	replayed boolean
);

ALTER TYPE api.refund_receipt OWNER TO tessera_owner;

COMMENT ON TYPE api.refund_receipt IS 'A refund: its transfer, what it gave back, how much of that became debt (owed), what is left to refund, and both balances after it. replayed: the key had made it before.';

CREATE TYPE api.ticket_outcome AS (
	ord integer,
	ticket_id uuid,
	price bigint,
	new_balance bigint,
	created_at timestamp with time zone,
	replayed boolean,
	error_code text,
	error text,
	detail jsonb
);

ALTER TYPE api.ticket_outcome OWNER TO tessera_owner;

COMMENT ON TYPE api.ticket_outcome IS 'What became of the ticket at position ord: its id, price and the viewer''s balance after it (NULL where nothing was paid); or error_code (TSnnn), its slug in error, and facts in detail, and nothing written. replayed: the key had done this before.';

CREATE TYPE api.ticket_request AS (
	viewer_id uuid,
	stream_id uuid,
	idempotency_key text
);

ALTER TYPE api.ticket_request OWNER TO tessera_owner;

COMMENT ON TYPE api.ticket_request IS 'One ticket asked of api.buy_tickets. The key belongs to the viewer.';

CREATE TYPE api.tip_outcome AS (
	ord integer,
	tip_id uuid,
	amount bigint,
	creator_cut bigint,
	platform_fee bigint,
	new_balance bigint,
	created_at timestamp with time zone,
	replayed boolean,
	error_code text,
	error text,
	detail jsonb
);

ALTER TYPE api.tip_outcome OWNER TO tessera_owner;

COMMENT ON TYPE api.tip_outcome IS 'What became of the tip at position ord: its id, who got what, and the sender''s balance after it; or error_code (TSnnn), its slug in error, and facts in detail, and nothing written. replayed: the key had done this before.';

CREATE TYPE api.tip_request AS (
	sender_id uuid,
	creator_id uuid,
	amount bigint,
	idempotency_key text,
	message text,
	stream_id uuid,
	call_id uuid
);

ALTER TYPE api.tip_request OWNER TO tessera_owner;

COMMENT ON TYPE api.tip_request IS 'One tip asked of api.send_tips. amount in tokens; message up to 500 characters; at most one of stream_id and call_id. The key belongs to the sender.';

CREATE TYPE api.transfer_outcome AS (
	ord integer,
	transfer_id uuid,
	from_wallet_id uuid,
	to_wallet_id uuid,
	amount bigint,
	asset text,
	from_balance bigint,
	to_balance bigint,
	created_at timestamp with time zone,
	replayed boolean,
	error_code text,
	error text,
	detail jsonb
);

ALTER TYPE api.transfer_outcome OWNER TO tessera_owner;

COMMENT ON TYPE api.transfer_outcome IS 'What became of the request at position ord: a transfer and both balances after it, or error_code (TSnnn), its slug in error, and facts in detail, and nothing written. replayed: the key had done this before, and this is what it did.';

CREATE TYPE api.transfer_receipt AS (
	transfer_id uuid,
	from_balance bigint,
	to_balance bigint,
	created_at timestamp with time zone,
	replayed boolean
);

ALTER TYPE api.transfer_receipt OWNER TO tessera_owner;

COMMENT ON TYPE api.transfer_receipt IS 'A transfer that was made, and both balances right after it. replayed: the key had made it before.';

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
	metadata jsonb,
	event_at timestamp with time zone
);

ALTER TYPE api.transfer_request OWNER TO tessera_owner;

COMMENT ON TYPE api.transfer_request IS 'One transfer asked of api.transfer_batch. from_wallet_id NULL: the actor''s wallet of the asset. to_wallet_id NULL: to_user_id''s wallet. amount in minor units of the asset. kind and asset NULL: transfer, TOKEN.';

CREATE TYPE api.watch_beat AS (
	user_id uuid,
	stream_id uuid
);

ALTER TYPE api.watch_beat OWNER TO tessera_owner;

COMMENT ON TYPE api.watch_beat IS 'Somebody says that they are watching a stream.';

CREATE TYPE api.watch_outcome AS (
	ord integer,
	viewers integer,
	seen_until timestamp with time zone,
	error_code text,
	error text,
	detail jsonb
);

ALTER TYPE api.watch_outcome OWNER TO tessera_owner;

COMMENT ON TYPE api.watch_outcome IS 'What became of the beat at position ord: how many watch, by the last count, and until when this viewer is counted; or error_code (TSnnn), its slug in error, and facts in detail.';

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
	due_at timestamp with time zone,
	running_since timestamp with time zone,
	active_before_us bigint,
	active_us bigint,
	alive_until timestamp with time zone,
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

ALTER TYPE core.call_case OWNER TO tessera_owner;

COMMENT ON TYPE core.call_case IS 'A call that is looked at: active_us up to now, or to its last sign of life where it is lost; begun: blocks that must be paid by then; due: how many of them are paid now; reason: why it ends, whatever is paid; place: where its clock''s row is.';

CREATE TYPE core.call_ending AS (
	call_id uuid,
	status text,
	reason text,
	ended_by uuid,
	ended_at timestamp with time zone,
	active_us bigint
);

ALTER TYPE core.call_ending OWNER TO tessera_owner;

COMMENT ON TYPE core.call_ending IS 'How a call ends, and how long it was active.';

CREATE DOMAIN core.entry_amount AS bigint
	CONSTRAINT entry_amount_check CHECK ((VALUE <> 0));

ALTER DOMAIN core.entry_amount OWNER TO tessera_owner;

CREATE DOMAIN core.entry_seq AS bigint
	CONSTRAINT entry_seq_check CHECK ((VALUE > 0));

ALTER DOMAIN core.entry_seq OWNER TO tessera_owner;

CREATE DOMAIN core.idempotency_key AS text
	CONSTRAINT idempotency_key_check CHECK (((octet_length(VALUE) >= 1) AND (octet_length(VALUE) <= 255)));

ALTER DOMAIN core.idempotency_key OWNER TO tessera_owner;

CREATE TYPE core.locked_wallets AS (
	ids uuid[],
	owner_ids uuid[],
	balances bigint[],
	floors bigint[],
	earned bigint[],
	versions bigint[],
	assets text[],
	statuses text[],
	last_entry_at timestamp with time zone,
	held bigint
);

ALTER TYPE core.locked_wallets OWNER TO tessera_owner;

COMMENT ON TYPE core.locked_wallets IS 'The wallets that core._lock_wallets locked, in id order, column by column; floors = minimum + held, earned = lifetime_earned; last_entry_at is the latest of all.';

CREATE DOMAIN core.positive_amount AS bigint
	CONSTRAINT positive_amount_check CHECK ((VALUE > 0));

ALTER DOMAIN core.positive_amount OWNER TO tessera_owner;

CREATE TYPE core.refusal AS (
	error_code text,
	error text,
	detail jsonb
);

ALTER TYPE core.refusal OWNER TO tessera_owner;

COMMENT ON TYPE core.refusal IS 'Why a request is refused: TSnnn, its slug, and facts.';

CREATE DOMAIN core.request_hash AS bytea
	CONSTRAINT request_hash_check CHECK ((octet_length(VALUE) = 16));

ALTER DOMAIN core.request_hash OWNER TO tessera_owner;

CREATE TYPE core.ticket_case AS (
	ord integer,
	viewer_id uuid,
	stream_id uuid,
	creator_id uuid,
	idempotency_key text,
	request_hash bytea,
	price bigint,
	fee bigint,
	viewer_wallet_id uuid,
	creator_wallet_id uuid,
	ticket_id uuid,
	refusal core.refusal,
	turn boolean
);

ALTER TYPE core.ticket_case OWNER TO tessera_owner;

COMMENT ON TYPE core.ticket_case IS 'A request for a ticket and what is known of it: ticket_id where its key bought one before; refusal; turn: whether it can be decided now, or only after the ones before it.';

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
	metadata jsonb,
	event_at timestamp with time zone
);

ALTER TYPE core.transfer_request OWNER TO tessera_owner;

COMMENT ON TYPE core.transfer_request IS 'One movement asked of core._post_transfers. Consecutive requests with the same link (not NULL) succeed or are refused together, and share the key of their first.';

CREATE TYPE core.transfer_result AS (
	transfer_id uuid,
	from_balance bigint,
	to_balance bigint,
	from_owner_id uuid,
	to_owner_id uuid,
	created_at timestamp with time zone,
	replayed boolean,
	error_code text,
	error text,
	detail jsonb
);

ALTER TYPE core.transfer_result OWNER TO tessera_owner;

COMMENT ON TYPE core.transfer_result IS 'What became of one request: a transfer (new, or the one its key stands for), or an error and nothing written.';

CREATE TYPE core.velocity_rules AS (
	rules text[],
	scopes text[],
	assets text[],
	seconds integer[],
	counted boolean[],
	maxima bigint[]
);

ALTER TYPE core.velocity_rules OWNER TO tessera_owner;

COMMENT ON TYPE core.velocity_rules IS 'The velocity limits in force, column by column: the rule''s key, kind (NULL: all together), asset (NULL: each), window, whether it limits the count or the amount, and how much. All NULL: none.';

CREATE DOMAIN core.wallet_purpose AS text
	CONSTRAINT wallet_purpose_check CHECK ((VALUE ~ '^[a-z][a-z0-9_]{1,31}$'::text));

ALTER DOMAIN core.wallet_purpose OWNER TO tessera_owner;

CREATE DOMAIN core.wallet_status AS text
	CONSTRAINT wallet_status_check CHECK ((VALUE = ANY (ARRAY['active'::text, 'debits_frozen'::text, 'frozen'::text, 'closed'::text])));

ALTER DOMAIN core.wallet_status OWNER TO tessera_owner;

CREATE FUNCTION core.uuid7() RETURNS uuid
    LANGUAGE sql PARALLEL SAFE
    RETURN uuidv7();

ALTER FUNCTION core.uuid7() OWNER TO tessera_owner;

COMMENT ON FUNCTION core.uuid7() IS 'A new UUID version 7: ordered by time to below a millisecond, then random. Built in from PostgreSQL 18 on.';

CREATE TABLE core.call_clocks (
    call_id uuid NOT NULL,
    due_at timestamp with time zone NOT NULL,
    running_since timestamp with time zone,
    active_us bigint DEFAULT 0 NOT NULL,
    billed bigint DEFAULT 0 NOT NULL,
    platform_fees bigint DEFAULT 0 NOT NULL,
    fan_seen_at timestamp with time zone NOT NULL,
    creator_seen_at timestamp with time zone,
    fan_left_at timestamp with time zone,
    creator_left_at timestamp with time zone,
    blocks integer DEFAULT 0 NOT NULL,
    warned boolean DEFAULT false NOT NULL,
    CONSTRAINT call_clocks_active_us_check CHECK ((active_us >= 0)),
    CONSTRAINT call_clocks_billed_check CHECK ((billed >= 0)),
    CONSTRAINT call_clocks_blocks_check CHECK ((blocks >= 0)),
    CONSTRAINT call_clocks_platform_fees_check CHECK ((platform_fees >= 0))
)
WITH (fillfactor='70');

ALTER TABLE core.call_clocks OWNER TO tessera_owner;

COMMENT ON TABLE core.call_clocks IS 'The clock of each call that is not over. Its row is the lock of the call: whoever changes a call locks it first.';

COMMENT ON COLUMN core.call_clocks.due_at IS 'When somebody has to look at the call: the next block starts, nobody answered, or it was not seen for too long.';

COMMENT ON COLUMN core.call_clocks.running_since IS 'Active since then; NULL while it rings or pauses.';

COMMENT ON COLUMN core.call_clocks.active_us IS 'Active time before running_since, in microseconds.';

COMMENT ON COLUMN core.call_clocks.fan_seen_at IS 'The fan''s last sign of life.';

COMMENT ON COLUMN core.call_clocks.fan_left_at IS 'When the fan left the room, which counts if no sign of life came later.';

COMMENT ON COLUMN core.call_clocks.blocks IS 'Blocks paid so far: 0 … blocks - 1.';

COMMENT ON COLUMN core.call_clocks.warned IS 'The fan was told that their tokens run out.';

CREATE TABLE core.calls (
    id uuid DEFAULT core.uuid7() NOT NULL,
    fan_id uuid NOT NULL,
    creator_id uuid NOT NULL,
    fan_wallet_id uuid NOT NULL,
    creator_wallet_id uuid NOT NULL,
    rate_per_minute bigint NOT NULL,
    block_us bigint NOT NULL,
    block_price bigint NOT NULL,
    block_limit integer NOT NULL,
    active_us bigint DEFAULT 0 NOT NULL,
    billed bigint DEFAULT 0 NOT NULL,
    platform_fees bigint DEFAULT 0 NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    accepted_at timestamp with time zone,
    ended_at timestamp with time zone,
    ended_by uuid,
    blocks integer DEFAULT 0 NOT NULL,
    status text DEFAULT 'ringing'::text NOT NULL,
    end_reason text,
    CONSTRAINT calls_accepted CHECK (((status = ANY (ARRAY['active'::text, 'paused'::text, 'ended'::text])) = (accepted_at IS NOT NULL))),
    CONSTRAINT calls_active_us_check CHECK ((active_us >= 0)),
    CONSTRAINT calls_billed_check CHECK ((billed >= 0)),
    CONSTRAINT calls_block_limit_check CHECK ((block_limit > 0)),
    CONSTRAINT calls_block_price_check CHECK ((block_price > 0)),
    CONSTRAINT calls_block_us_check CHECK ((block_us > 0)),
    CONSTRAINT calls_blocks_check CHECK ((blocks >= 0)),
    CONSTRAINT calls_check CHECK (((platform_fees >= 0) AND (platform_fees <= billed))),
    CONSTRAINT calls_end_reason_check CHECK ((end_reason ~ '^[a-z_]{1,40}$'::text)),
    CONSTRAINT calls_over CHECK (((status = ANY (ARRAY['ended'::text, 'declined'::text, 'missed'::text])) = ((ended_at IS NOT NULL) AND (end_reason IS NOT NULL)))),
    CONSTRAINT calls_rate_per_minute_check CHECK ((rate_per_minute > 0)),
    CONSTRAINT calls_status_check CHECK ((status = ANY (ARRAY['ringing'::text, 'active'::text, 'paused'::text, 'ended'::text, 'declined'::text, 'missed'::text]))),
    CONSTRAINT calls_two_people CHECK ((fan_id <> creator_id))
)
WITH (fillfactor='80');

ALTER TABLE core.calls OWNER TO tessera_owner;

COMMENT ON TABLE core.calls IS 'Calls of a fan to a creator. What changes while one goes on is in core.call_clocks; its totals are written here when it is over.';

COMMENT ON COLUMN core.calls.rate_per_minute IS 'The creator''s price of a minute in tokens when the call was opened, whatever it is later.';

COMMENT ON COLUMN core.calls.block_us IS 'Length of a block in microseconds: the rate call_block when the call was opened.';

COMMENT ON COLUMN core.calls.block_price IS 'Tokens a block: ceil(rate_per_minute × block_us / 60,000,000).';

COMMENT ON COLUMN core.calls.block_limit IS 'So many blocks at most: the rate call_longest when the call was opened, in blocks.';

COMMENT ON COLUMN core.calls.active_us IS 'How long it was active, without pauses, in microseconds; 0 until it is over.';

COMMENT ON COLUMN core.calls.billed IS 'Tokens paid, less what was given back; 0 until it is over.';

COMMENT ON COLUMN core.calls.platform_fees IS 'The platform''s part of billed.';

COMMENT ON COLUMN core.calls.ended_by IS 'Who ended or declined it; NULL where nobody did.';

COMMENT ON COLUMN core.calls.blocks IS 'Blocks paid and not given back; 0 until it is over.';

COMMENT ON COLUMN core.calls.end_reason IS 'stopped, insufficient_tokens, not_seen, time_limit, user_suspended, declined, no_answer, cancelled, or in lower case the error of a payment that was refused.';

CREATE VIEW api.calls AS
 SELECT c.id AS call_id,
    ('call:'::text || (c.id)::text) AS channel,
    c.fan_id,
    c.creator_id,
    c.status,
    c.rate_per_minute,
    (c.block_us / 1000) AS block_ms,
    c.block_price,
    c.block_limit,
    COALESCE(k.blocks, c.blocks) AS blocks,
    COALESCE(k.billed, c.billed) AS billed,
    COALESCE(k.platform_fees, c.platform_fees) AS platform_fees,
    (
        CASE
            WHEN (k.running_since IS NOT NULL) THEN (k.active_us + GREATEST((0)::bigint, ((EXTRACT(epoch FROM (clock_timestamp() - k.running_since)) * (1000000)::numeric))::bigint))
            ELSE COALESCE(k.active_us, c.active_us)
        END / 1000) AS active_ms,
    (k.running_since + ((((k.blocks * c.block_us) - k.active_us))::double precision * '00:00:00.000001'::interval)) AS next_block_at,
    GREATEST(k.fan_seen_at, k.creator_seen_at) AS last_seen_at,
        CASE c.status
            WHEN 'ringing'::text THEN k.due_at
            ELSE NULL::timestamp with time zone
        END AS rings_until,
    c.opened_at,
    c.accepted_at,
    c.ended_at,
    c.end_reason,
    c.ended_by
   FROM (core.calls c
     LEFT JOIN core.call_clocks k ON ((k.call_id = c.id)));

ALTER VIEW api.calls OWNER TO tessera_owner;

COMMENT ON VIEW api.calls IS 'Calls: who calls whom, at what price (frozen when it was opened), how far it is (blocks paid and not given back, tokens billed, active milliseconds without pauses, up to this moment) and how it ended. Amounts in tokens.';

CREATE FUNCTION api.accept_call(p_call uuid, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.calls
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_call CONSTANT core.calls := core._lock_call(p_call, p_actor);
    v_now CONSTANT timestamptz := clock_timestamp();
BEGIN
    PERFORM core._must_be_called(v_call, p_actor);
    PERFORM core._must_not_be_over(v_call);
    IF v_call.status = 'ringing' THEN
        IF v_now < (SELECT k.due_at FROM core.call_clocks AS k WHERE k.call_id = p_call) THEN
            UPDATE core.calls AS c SET status = 'active', accepted_at = v_now WHERE c.id = p_call;
            UPDATE core.call_clocks AS k
            SET running_since = v_now, due_at = v_now, fan_seen_at = greatest(k.fan_seen_at, v_now), creator_seen_at = v_now
            WHERE k.call_id = p_call;
            PERFORM core._call_event('call.accepted', ARRAY[p_call]);
        END IF;
        PERFORM core._meter_calls(ARRAY[p_call], v_now);
    END IF;
    RETURN QUERY SELECT c.* FROM api.calls AS c WHERE c.call_id = p_call;
END;
$$;

ALTER FUNCTION api.accept_call(p_call uuid, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.accept_call(p_call uuid, p_actor uuid) IS 'Call p_call is active from now on, and its first block is paid in the same commit; p_actor must be its creator where named. Look at the status that is returned: ended where the fan could not pay any more, missed where it had rung for too long. Accepted already: nothing changes.';

CREATE TABLE core.payout_accounts (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    provider text NOT NULL,
    currency text NOT NULL,
    masked text NOT NULL,
    key_id text NOT NULL,
    details bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    removed_at timestamp with time zone,
    CONSTRAINT payout_accounts_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT payout_accounts_details_check CHECK (((octet_length(details) >= 29) AND (octet_length(details) <= 8192))),
    CONSTRAINT payout_accounts_key_id_check CHECK ((key_id ~ '^[A-Za-z0-9._-]{1,32}$'::text)),
    CONSTRAINT payout_accounts_masked_check CHECK (((octet_length(masked) >= 1) AND (octet_length(masked) <= 100))),
    CONSTRAINT payout_accounts_provider_check CHECK ((provider = ANY (ARRAY['stripe'::text, 'paystack'::text, 'manual'::text])))
);

ALTER TABLE core.payout_accounts OWNER TO tessera_owner;

COMMENT ON TABLE core.payout_accounts IS 'Where users want to be paid: never changed, only removed. Written by api.add_payout_account, api.remove_payout_account, api.reencrypt_payout_account.';

COMMENT ON COLUMN core.payout_accounts.masked IS 'What is shown of it.';

COMMENT ON COLUMN core.payout_accounts.key_id IS 'Which of the application''s keys details are encrypted with.';

COMMENT ON COLUMN core.payout_accounts.details IS 'Encrypted by the application (AES-256-GCM: nonce, text, tag), bound to the account, its user and its provider.';

CREATE VIEW api.payout_accounts AS
 SELECT id AS account_id,
    user_id,
    provider,
    currency,
    masked,
    key_id,
    created_at,
    removed_at
   FROM core.payout_accounts a;

ALTER VIEW api.payout_accounts OWNER TO tessera_owner;

COMMENT ON VIEW api.payout_accounts IS 'Accounts that users want to be paid to, masked. One that is removed is paid to no more.';

CREATE FUNCTION api.add_payout_account(p_account uuid, p_user uuid, p_provider text, p_currency text, p_masked text, p_key_id text, p_details bytea) RETURNS SETOF api.payout_accounts
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    c_accounts CONSTANT integer := 10;
    v_field text;
BEGIN
    IF NOT EXISTS (SELECT FROM core.users AS u WHERE u.id = p_user) THEN
        PERFORM core._raise('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_user), 'Nothing was done.');
    END IF;
    PERFORM core._check_actor(p_user);
    v_field := CASE
        WHEN p_account IS NULL THEN 'account_id'
        WHEN (p_provider IN ('stripe', 'paystack', 'manual')) IS NOT TRUE THEN 'provider'
        WHEN (p_currency ~ '^[A-Z]{3}$') IS NOT TRUE THEN 'currency'
        WHEN (octet_length(p_masked) BETWEEN 1 AND 100) IS NOT TRUE THEN 'masked'
        WHEN (p_key_id ~ '^[A-Za-z0-9._-]{1,32}$') IS NOT TRUE THEN 'key_id'
        WHEN (octet_length(p_details) BETWEEN 29 AND 8192) IS NOT TRUE THEN 'details'
    END;
    IF v_field IS NOT NULL THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', v_field), 'Nothing was added.');
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.payout_accounts.' || p_user::text, 0));
    IF (
        SELECT count(*) FROM core.payout_accounts AS a WHERE a.user_id = p_user AND a.removed_at IS NULL
    ) >= c_accounts THEN
        PERFORM core._raise(
            'TS363', 'TOO_MANY_PAYOUT_ACCOUNTS', jsonb_build_object('maximum', c_accounts), 'Remove one first.'
        );
    END IF;
    INSERT INTO core.payout_accounts (id, user_id, provider, currency, masked, key_id, details)
    VALUES (p_account, p_user, p_provider, p_currency, p_masked, p_key_id, p_details);
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (
        p_user, 'payout_account.added', p_account,
        jsonb_build_object('provider', p_provider, 'currency', p_currency, 'masked', p_masked)
    );
    RETURN QUERY SELECT a.* FROM api.payout_accounts AS a WHERE a.account_id = p_account;
END;
$_$;

ALTER FUNCTION api.add_payout_account(p_account uuid, p_user uuid, p_provider text, p_currency text, p_masked text, p_key_id text, p_details bytea) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.add_payout_account(p_account uuid, p_user uuid, p_provider text, p_currency text, p_masked text, p_key_id text, p_details bytea) IS 'Adds an account that user p_user wants to be paid to. p_details is what the application encrypted with its key p_key_id, p_masked what is shown of it. That it is the user who asks is for the caller to know (password or code).';

CREATE TABLE core.adjustments (
    id uuid DEFAULT core.uuid7() NOT NULL,
    from_wallet_id uuid NOT NULL,
    to_wallet_id uuid NOT NULL,
    amount bigint NOT NULL,
    asset text NOT NULL,
    reason text NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    requested_by uuid,
    requested_db_user text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    decided_by uuid,
    decided_db_user text,
    decided_at timestamp with time zone,
    decision_reason text,
    transfer_id uuid,
    CONSTRAINT adjustments_amount_check CHECK ((amount > 0)),
    CONSTRAINT adjustments_approved_has_transfer CHECK (((status = 'approved'::text) = (transfer_id IS NOT NULL))),
    CONSTRAINT adjustments_decided CHECK (((status = 'pending'::text) = (decided_at IS NULL))),
    CONSTRAINT adjustments_reason_check CHECK (((octet_length(reason) >= 1) AND (octet_length(reason) <= 255))),
    CONSTRAINT adjustments_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'approved'::text, 'rejected'::text]))),
    CONSTRAINT adjustments_two_people CHECK (((status <> 'approved'::text) OR (requested_by <> decided_by) OR (((requested_by IS NULL) OR (decided_by IS NULL)) AND (requested_db_user <> decided_db_user))))
);

ALTER TABLE core.adjustments OWNER TO tessera_owner;

COMMENT ON TABLE core.adjustments IS 'Movements by hand: one person asks, another approves.';

COMMENT ON COLUMN core.adjustments.status IS 'pending, approved, rejected. A pending one past expires_at is expired: it can no longer be approved.';

CREATE VIEW api.adjustments AS
 SELECT id AS adjustment_id,
    from_wallet_id,
    to_wallet_id,
    amount,
    asset,
    reason,
        CASE
            WHEN ((status = 'pending'::text) AND (expires_at <= now())) THEN 'expired'::text
            ELSE status
        END AS status,
    requested_by,
    requested_db_user,
    created_at,
    expires_at,
    decided_by,
    decided_db_user,
    decided_at,
    decision_reason,
    transfer_id
   FROM core.adjustments a;

ALTER VIEW api.adjustments OWNER TO tessera_owner;

COMMENT ON VIEW api.adjustments IS 'Adjustments: who asked, who decided, what became of it (pending, approved, rejected, expired).';

CREATE FUNCTION api.approve_adjustment(p_adjustment uuid, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.adjustments
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_adjustment core.adjustments;
    v_result core.transfer_result;
BEGIN
    PERFORM core._check_admin(p_actor);
    v_adjustment := core._open_adjustment(p_adjustment);
    -- Two users of the API come by one login. A person's own login is one person, whomever it names.
    IF v_adjustment.requested_by = p_actor OR v_adjustment.requested_db_user = session_user AND (
        v_adjustment.requested_by IS NULL OR p_actor IS NULL OR NOT pg_has_role(session_user, 'tessera_app', 'MEMBER')
    ) THEN
        PERFORM core._raise(
            'TS503', 'SAME_PERSON', jsonb_build_object('adjustment_id', p_adjustment), 'Somebody else has to approve it.'
        );
    END IF;
    -- the request's own reason goes to the books; who approved it is in the adjustment and the audit log
    v_result := (core._post_transfers(
        ARRAY[ROW(
            v_adjustment.from_wallet_id, v_adjustment.to_wallet_id, v_adjustment.amount, v_adjustment.asset, 'adjustment',
            v_adjustment.reason, p_actor, NULL, NULL, NULL, jsonb_build_object('adjustment_id', p_adjustment), NULL
        )::core.transfer_request]
    ))[1];
    IF v_result.error_code IS NOT NULL THEN
        PERFORM core._raise(v_result.error_code, v_result.error, v_result.detail, 'Nothing was moved; it can be approved later.');
    END IF;
    UPDATE core.adjustments AS a
    SET
        status = 'approved', decided_by = p_actor, decided_db_user = session_user, decided_at = v_result.created_at,
        transfer_id = v_result.transfer_id
    WHERE a.id = p_adjustment;
    INSERT INTO core.outbox (type, channels, payload)
    VALUES (
        'transfer.posted', core._user_channels(v_result.from_owner_id, v_result.to_owner_id),
        core._transfer_payload(
            v_result.transfer_id, v_adjustment.from_wallet_id, v_adjustment.to_wallet_id, v_adjustment.amount,
            v_adjustment.asset, 'adjustment', v_adjustment.reason, v_result.created_at
        )
    );
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (p_actor, 'adjustment.approved', p_adjustment, jsonb_build_object('transfer_id', v_result.transfer_id));
    PERFORM core._adjustment_event('adjustment.approved', p_adjustment);
    RETURN QUERY SELECT a.* FROM api.adjustments AS a WHERE a.adjustment_id = p_adjustment;
END;
$$;

ALTER FUNCTION api.approve_adjustment(p_adjustment uuid, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.approve_adjustment(p_adjustment uuid, p_actor uuid) IS 'Approves adjustment p_adjustment and moves its money. Whoever asked for it is refused (TS503): the same user; the same database login, unless it is a login of the API and both times named a user. One that was decided before or has expired is TS322, so repeating it moves nothing.';

CREATE TABLE core.payout_reports (
    payout_id uuid NOT NULL,
    state text NOT NULL,
    reference text,
    amount bigint,
    currency text,
    reason text,
    reported_at timestamp with time zone NOT NULL,
    CONSTRAINT payout_reports_state_check CHECK ((state = ANY (ARRAY['unknown'::text, 'not_sent'::text, 'not_found'::text, 'pending'::text, 'paid'::text, 'failed'::text])))
);

ALTER TABLE core.payout_reports OWNER TO tessera_owner;

COMMENT ON TABLE core.payout_reports IS 'What a payout''s provider said of it last, or that it said nothing. Written by api.note_payout.';

COMMENT ON COLUMN core.payout_reports.state IS 'unknown (no answer, or none that can be understood), not_sent (it cannot have reached the provider), not_found (the provider has never heard of it), pending, paid, failed.';

COMMENT ON COLUMN core.payout_reports.amount IS 'Ten-thousandths of currency, as the provider has it.';

CREATE TABLE core.payouts (
    id uuid DEFAULT core.uuid7() NOT NULL,
    user_id uuid NOT NULL,
    wallet_id uuid NOT NULL,
    account_id uuid NOT NULL,
    hold_id uuid NOT NULL,
    amount bigint NOT NULL,
    value bigint NOT NULL,
    payout_amount bigint NOT NULL,
    token_value numeric NOT NULL,
    currency text NOT NULL,
    provider text NOT NULL,
    status text NOT NULL,
    reason text,
    created_at timestamp with time zone NOT NULL,
    expected_at timestamp with time zone NOT NULL,
    processing_at timestamp with time zone,
    paid_at timestamp with time zone,
    closed_at timestamp with time zone,
    next_at timestamp with time zone,
    sending_at timestamp with time zone,
    lease uuid,
    attempts integer DEFAULT 0 NOT NULL,
    provider_reference text,
    transfer_id uuid,
    paid_transfer_id uuid,
    decided_by uuid,
    CONSTRAINT payouts_amount_check CHECK ((amount > 0)),
    CONSTRAINT payouts_closed CHECK (((closed_at IS NOT NULL) = (status = ANY (ARRAY['failed'::text, 'cancelled'::text])))),
    CONSTRAINT payouts_not_yet CHECK (((status <> ALL (ARRAY['requested'::text, 'held'::text, 'cancelled'::text])) OR (transfer_id IS NULL))),
    CONSTRAINT payouts_paid CHECK ((((paid_transfer_id IS NULL) = (paid_at IS NULL)) AND ((status <> 'paid'::text) OR (paid_at IS NOT NULL)))),
    CONSTRAINT payouts_payout_amount_check CHECK ((payout_amount > 0)),
    CONSTRAINT payouts_processing CHECK (((status <> ALL (ARRAY['processing'::text, 'paid'::text])) OR (transfer_id IS NOT NULL))),
    CONSTRAINT payouts_provider_reference_check CHECK (((octet_length(provider_reference) >= 1) AND (octet_length(provider_reference) <= 255))),
    CONSTRAINT payouts_reason CHECK (((reason IS NOT NULL) OR (status <> ALL (ARRAY['held'::text, 'failed'::text, 'cancelled'::text])))),
    CONSTRAINT payouts_reason_check CHECK ((reason ~ '^[a-z][a-z0-9_]{0,62}$'::text)),
    CONSTRAINT payouts_status_check CHECK ((status = ANY (ARRAY['requested'::text, 'held'::text, 'processing'::text, 'paid'::text, 'failed'::text, 'cancelled'::text]))),
    CONSTRAINT payouts_taken CHECK (((transfer_id IS NULL) = (processing_at IS NULL))),
    CONSTRAINT payouts_value_check CHECK ((value > 0))
)
WITH (fillfactor='70');

ALTER TABLE core.payouts OWNER TO tessera_owner;

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

CREATE VIEW api.payouts AS
 SELECT p.id AS payout_id,
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
   FROM ((core.payouts p
     JOIN core.payout_accounts a ON ((a.id = p.account_id)))
     LEFT JOIN core.payout_reports r ON ((r.payout_id = p.id)));

ALTER VIEW api.payouts OWNER TO tessera_owner;

COMMENT ON VIEW api.payouts IS 'Payouts: amount in tokens, value in ten-thousandths of a US dollar, payout_amount in ten-thousandths of currency; what the provider said last (provider_state).';

CREATE FUNCTION api.approve_payout(p_payout uuid, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.payouts
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_payout core.payouts := core._lock_payout(p_payout);
    v_reason CONSTANT text := v_payout.reason;
BEGIN
    PERFORM core._check_operator(p_actor, v_payout.user_id);
    IF v_payout.status = 'held' THEN
        UPDATE core.payouts AS p
        SET status = 'requested', reason = NULL, next_at = clock_timestamp(), decided_by = p_actor
        WHERE p.id = p_payout
        RETURNING p.* INTO v_payout;
        PERFORM core._payout_event('payout.requested', v_payout);
        INSERT INTO core.audit_log (actor_id, action, subject_id, details)
        VALUES (p_actor, 'payout.approved', p_payout, jsonb_build_object('amount', v_payout.amount, 'reason', v_reason));
    ELSIF v_payout.status <> 'requested' THEN
        PERFORM core._refuse_payout(v_payout, 'Only a payout that is held can be approved.');
    END IF;
    RETURN QUERY SELECT p.* FROM api.payouts AS p WHERE p.payout_id = p_payout;
END;
$$;

ALTER FUNCTION api.approve_payout(p_payout uuid, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.approve_payout(p_payout uuid, p_actor uuid) IS 'Lets a held payout pass: a scheduler sends it. Nobody approves their own (TS503). Requested already: nothing changes.';

CREATE FUNCTION api.attach_month(p_what text) RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_missing CONSTANT text [] := ARRAY(
        SELECT p.name
        FROM core.partitions AS p
        INNER JOIN core.partitioned AS t ON t.name = p.table_name
        WHERE (t.name = p_what OR (p_what = 'books' AND t.books))
            AND p.detached_to = t.attached_from AND to_regclass(format('core.%I', p.name)) IS NULL
        ORDER BY p.name
    );
BEGIN
    IF cardinality(v_missing) > 0 THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'p_what', 'value', p_what, 'elsewhere', v_missing),
            'Restore these tables first.'
        );
    END IF;
    RETURN core._months_moved('months.attached', p_what, core._move_month(p_what, false));
END;
$$;

ALTER FUNCTION api.attach_month(p_what text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.attach_month(p_what text) IS 'Attaches the months of p_what (books, outbox, audit_log) that api.detach_month took out last, and returns the names of the partitions; none when nothing is detached. They must be what they were: TS902 otherwise. docs/growth.md.';

CREATE FUNCTION api.audit_ledger() RETURNS TABLE(rule text, subject text, detail jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT w.rule, w.subject, w.detail FROM core._audit_wallets() AS w
    UNION ALL
    SELECT e.rule, e.subject, e.detail FROM core._audit_entries() AS e
    UNION ALL
    SELECT h.rule, h.subject, h.detail FROM core._audit_holds() AS h
    UNION ALL
    SELECT r.rule, r.subject, r.detail FROM core._audit_refunds() AS r
    UNION ALL
    SELECT a.rule, a.subject, a.detail FROM core._audit_adjustments() AS a
    UNION ALL
    SELECT t.rule, t.subject, t.detail FROM core._audit_tips() AS t
    UNION ALL
    SELECT k.rule, k.subject, k.detail FROM core._audit_tickets() AS k
    UNION ALL
    SELECT c.rule, c.subject, c.detail FROM core._audit_calls() AS c
    UNION ALL
    SELECT p.rule, p.subject, p.detail FROM core._audit_payments() AS p
    UNION ALL
    SELECT p.rule, p.subject, p.detail FROM core._audit_payouts() AS p
$$;

ALTER FUNCTION api.audit_ledger() OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.audit_ledger() IS 'Checks the books and returns a row for each broken invariant: the rule, what broke it (wallet, transfer, entry, tip…), and the numbers. No rows: the books balance. Reads one snapshot, locks nothing, may run beside anything.';

CREATE FUNCTION api.balance_at(p_wallet uuid, p_at timestamp with time zone) RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RETURN CASE WHEN p_at IS NOT NULL THEN (core._entry_at(p_wallet, p_at)).balance END;
END;
$$;

ALTER FUNCTION api.balance_at(p_wallet uuid, p_at timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.balance_at(p_wallet uuid, p_at timestamp with time zone) IS 'The balance of a wallet, in minor units, after its last entry with created_at <= p_at; 0 before its first; NULL for a p_at of NULL. TS210 for an unknown wallet, TS240 for a moment in months that are detached.';

CREATE FUNCTION api.balance_at_seq(p_wallet uuid, p_seq bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
    v_balance bigint;
    v_seq bigint := 0;
BEGIN
    -- in which month it was is not known: a look into the index of each partition
    SELECT e.balance INTO v_balance FROM core.entries AS e WHERE e.wallet_id = p_wallet AND e.seq = p_seq;
    IF v_balance IS NULL THEN
        SELECT b.seq, b.balance INTO v_seq, v_balance
        FROM core.brought_forward AS b
        WHERE b.wallet_id = p_wallet
        ORDER BY b.detached_to DESC
        LIMIT 1;
        IF p_seq BETWEEN 0 AND v_seq - 1 THEN
            PERFORM core._raise(
                'TS240', 'HISTORY_DETACHED', jsonb_build_object('wallet_id', p_wallet, 'seq', p_seq),
                'Ask an operator to attach the months that are asked for.'
            );
        ELSIF p_seq IS DISTINCT FROM coalesce(v_seq, 0) THEN
            RETURN NULL;
        END IF;
        RETURN coalesce(v_balance, (SELECT 0::bigint FROM core.wallets AS w WHERE w.id = p_wallet));
    END IF;
    RETURN v_balance;
END;
$$;

ALTER FUNCTION api.balance_at_seq(p_wallet uuid, p_seq bigint) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.balance_at_seq(p_wallet uuid, p_seq bigint) IS 'The balance of a wallet, in minor units, right after its entry p_seq (0: before the first); NULL when there is no such entry. TS240 for one in months that are detached.';

CREATE FUNCTION api.ban_user(p_creator uuid, p_user uuid, p_reason text DEFAULT NULL::text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF p_reason IS NOT NULL THEN
        PERFORM core._check_reason(p_reason);
    END IF;
    IF NOT EXISTS (
        SELECT FROM core.users AS u WHERE u.id = p_creator AND u.status = 'active' AND 'creator' = ANY (u.roles)
    ) THEN
        PERFORM core._raise('TS212', 'CREATOR_NOT_FOUND', jsonb_build_object('creator_id', p_creator), 'Nobody was banned.');
    ELSIF p_creator = p_user THEN
        PERFORM core._raise('TS112', 'SELF_BAN', jsonb_build_object('user_id', p_user), 'Nobody was banned.');
    ELSIF NOT EXISTS (SELECT FROM core.users AS u WHERE u.id = p_user) THEN
        PERFORM core._raise('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_user), 'Nobody was banned.');
    END IF;
    INSERT INTO core.bans (creator_id, user_id, reason) VALUES (p_creator, p_user, p_reason)
    ON CONFLICT ON CONSTRAINT bans_pkey DO NOTHING;
    IF FOUND THEN
        INSERT INTO core.outbox (type, channels, payload)
        VALUES (
            'user.banned', ARRAY['creator:' || p_creator::text],
            jsonb_build_object('creator_id', p_creator, 'user_id', p_user, 'reason', p_reason)
        );
        RETURN true;
    END IF;
    RETURN false;
END;
$$;

ALTER FUNCTION api.ban_user(p_creator uuid, p_user uuid, p_reason text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.ban_user(p_creator uuid, p_user uuid, p_reason text) IS 'Bans user p_user from the chats of creator p_creator''s streams and from calling them; false where they were banned before. Tickets and tips are not touched.';

CREATE FUNCTION api.beat_calls(p_beats api.call_beat[]) RETURNS SETOF api.call_pulse
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    c_batch CONSTANT integer := 5000;
    v_grace CONSTANT interval := make_interval(secs => core._rate('call_grace'));
    v_now timestamptz;
BEGIN
    IF cardinality(p_beats) > c_batch THEN
        PERFORM core._raise('TS107', 'BATCH_TOO_LARGE', jsonb_build_object('size', cardinality(p_beats), 'maximum', c_batch), 'Send less at once.');
    END IF;
    PERFORM
    FROM core.call_clocks AS k
    WHERE k.call_id = ANY (ARRAY(SELECT b.call_id FROM unnest(p_beats) AS b))
    ORDER BY k.call_id
    FOR NO KEY UPDATE;
    v_now := clock_timestamp();
    UPDATE core.call_clocks AS k
    SET
        fan_seen_at = CASE WHEN s.fan THEN greatest(k.fan_seen_at, v_now) ELSE k.fan_seen_at END,
        creator_seen_at = CASE WHEN s.creator THEN greatest(k.creator_seen_at, v_now) ELSE k.creator_seen_at END
    FROM (
        SELECT p.place, bool_or(b.user_id = c.fan_id) AS fan, bool_or(b.user_id = c.creator_id) AS creator
        FROM unnest(p_beats) AS b
        CROSS JOIN LATERAL (SELECT x.fan_id, x.creator_id FROM core.calls AS x WHERE x.id = b.call_id LIMIT 1) AS c
        CROSS JOIN LATERAL (SELECT x.ctid AS place FROM core.call_clocks AS x WHERE x.call_id = b.call_id LIMIT 1) AS p
        GROUP BY p.place
    ) AS s
    WHERE
        k.ctid = s.place AND (s.fan OR s.creator)
        AND (k.creator_seen_at IS NULL OR v_now < core._alive_until(k) + v_grace);
    RETURN QUERY
    SELECT
        b.ord::integer, b.call_id, CASE WHEN b.user_id IN (c.fan_id, c.creator_id) THEN c.status END,
        coalesce(k.blocks, c.blocks), coalesce(k.billed, c.billed),
        k.running_since + (k.blocks * c.block_us - k.active_us) * interval '1 microsecond',
        CASE WHEN c.id IS NULL THEN 'TS219' WHEN b.user_id IN (c.fan_id, c.creator_id) IS NOT TRUE THEN 'TS508' END,
        CASE
            WHEN c.id IS NULL THEN 'CALL_NOT_FOUND'
            WHEN b.user_id IN (c.fan_id, c.creator_id) IS NOT TRUE THEN 'NOT_CALL_PARTICIPANT'
        END,
        CASE
            WHEN c.id IS NULL OR b.user_id IN (c.fan_id, c.creator_id) IS NOT TRUE THEN jsonb_build_object('call_id', b.call_id)
        END
    FROM unnest(p_beats) WITH ORDINALITY AS b (call_id, user_id, ord)
    LEFT JOIN LATERAL (SELECT x.* FROM core.calls AS x WHERE x.id = b.call_id LIMIT 1) AS c ON true
    LEFT JOIN LATERAL (SELECT x.* FROM core.call_clocks AS x WHERE x.call_id = b.call_id LIMIT 1) AS k ON true;
END;
$$;

ALTER FUNCTION api.beat_calls(p_beats api.call_beat[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.beat_calls(p_beats api.call_beat[]) IS 'Notes that people are there, up to 5000 at once; returns for each how their call stands. A call that is not seen for the rate call_grace ends, billed up to its last sign of life; one of its two people is enough. Of a call that is over nothing changes.';

CREATE FUNCTION api.buy_ticket(p_viewer uuid, p_stream uuid, p_key text DEFAULT NULL::text, OUT ticket_id uuid, OUT price bigint, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_ticket api.ticket_outcome;
BEGIN
    SELECT t.* INTO v_ticket FROM api.buy_tickets(ARRAY[ROW(p_viewer, p_stream, p_key)::api.ticket_request]) AS t;
    IF v_ticket.error_code IS NOT NULL THEN
        PERFORM core._raise(v_ticket.error_code, v_ticket.error, v_ticket.detail, 'No ticket was sold.');
    END IF;
    ticket_id := v_ticket.ticket_id;
    price := v_ticket.price;
    new_balance := v_ticket.new_balance;
    created_at := v_ticket.created_at;
    replayed := v_ticket.replayed;
END;
$$;

ALTER FUNCTION api.buy_ticket(p_viewer uuid, p_stream uuid, p_key text, OUT ticket_id uuid, OUT price bigint, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.buy_ticket(p_viewer uuid, p_stream uuid, p_key text, OUT ticket_id uuid, OUT price bigint, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) IS 'Buys a ticket of stream p_stream for user p_viewer at the stream''s price; returns it and the viewer''s balance after it (NULL for a free or a repeated one). p_key makes it safe to repeat.';

CREATE FUNCTION api.buy_tickets(p_tickets api.ticket_request[]) RETURNS SETOF api.ticket_outcome
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    c_batch CONSTANT integer := 2500;
    v_fee_bps CONSTANT numeric := core._rate('platform_fee', 'TOKEN');
    v_pending integer[];
    v_cases core.ticket_case[];
    v_free core.ticket_case[];
    v_creators uuid[];
    v_outcomes api.ticket_outcome[];
    v_told api.ticket_outcome[];
BEGIN
    IF cardinality(p_tickets) > c_batch THEN
        PERFORM core._raise('TS107', 'BATCH_TOO_LARGE', jsonb_build_object('size', cardinality(p_tickets), 'maximum', c_batch), 'Send less at once.');
    END IF;
    PERFORM core._lock_streams(ARRAY(SELECT DISTINCT r.stream_id FROM unnest(p_tickets) AS r));
    LOOP
        SELECT
            array_agg(c) FILTER (WHERE c.turn AND o.sells AND c.price > 0),
            array_agg(c) FILTER (WHERE c.turn AND o.sells AND c.price = 0),
            array_agg(
                CASE
                    WHEN c.ticket_id IS NOT NULL THEN core._kept_ticket(c.ord, c.ticket_id)
                    ELSE ROW(c.ord, NULL, NULL, NULL, NULL, false, (c.refusal).error_code, (c.refusal).error, (c.refusal).detail)::api.ticket_outcome
                END
            ) FILTER (WHERE c.turn AND NOT o.sells),
            array_agg(c.ord) FILTER (WHERE NOT c.turn)
        INTO v_cases, v_free, v_told, v_pending
        FROM core._ticket_cases(p_tickets, v_pending, v_fee_bps, v_creators) AS c
        CROSS JOIN LATERAL (SELECT c.ticket_id IS NULL AND (c.refusal).error_code IS NULL AS sells) AS o;
        IF v_pending IS NOT NULL AND v_creators IS NULL THEN
            v_pending := NULL;
            v_creators := core._lock_buyers(ARRAY(
                SELECT c FROM core._ticket_cases(p_tickets, NULL, v_fee_bps, NULL) AS c
                WHERE c.ticket_id IS NULL AND (c.refusal).error_code IS NULL
            ));
            CONTINUE;
        END IF;
        v_outcomes := v_outcomes || v_told || core._sell_tickets(v_cases, v_free);
        EXIT WHEN v_pending IS NULL;
    END LOOP;
    RETURN QUERY SELECT o.* FROM unnest(v_outcomes) AS o ORDER BY o.ord;
END;
$$;

ALTER FUNCTION api.buy_tickets(p_tickets api.ticket_request[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.buy_tickets(p_tickets api.ticket_request[]) IS 'Sells tickets, many in one commit, up to 2500; returns one outcome a ticket, in order. The price is the stream''s, the creator gets it less the rate platform_fee (rounded down to a whole token). One ticket a viewer and stream; never more than there are seats. A ticket that cannot be sold is refused alone (error_code, error, detail); repeating a key returns the ticket it bought the first time.';

CREATE FUNCTION api.call_stats(p_user uuid, p_role text, p_from timestamp with time zone DEFAULT NULL::timestamp with time zone, p_to timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS api.call_numbers
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT ROW(
        count(*), count(*) FILTER (WHERE c.status = 'ended'), count(*) FILTER (WHERE c.status = 'declined'),
        count(*) FILTER (WHERE c.status = 'missed'), coalesce(sum(c.blocks), 0)::bigint, coalesce(sum(c.billed), 0)::bigint,
        coalesce(sum(c.platform_fees), 0)::bigint, coalesce(sum(c.active_us), 0)::bigint / 1000,
        coalesce((avg(c.active_us) FILTER (WHERE c.status = 'ended'))::bigint / 1000, 0),
        coalesce(max(c.active_us) / 1000, 0)
    )::api.call_numbers
    FROM core.calls AS c
    WHERE
        (c.fan_id = p_user AND p_role IS DISTINCT FROM 'creator' OR c.creator_id = p_user AND p_role IS DISTINCT FROM 'fan')
        AND c.ended_at IS NOT NULL AND (p_from IS NULL OR c.opened_at >= p_from) AND (p_to IS NULL OR c.opened_at < p_to)
$$;

ALTER FUNCTION api.call_stats(p_user uuid, p_role text, p_from timestamp with time zone, p_to timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.call_stats(p_user uuid, p_role text, p_from timestamp with time zone, p_to timestamp with time zone) IS 'Calls of user p_user that are over, opened from p_from up to p_to (NULL: no bound), as p_role fan, creator or both (NULL).';

CREATE FUNCTION api.cancel_no_shows(p_limit integer DEFAULT 1) RETURNS SETOF api.no_show
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    c_reason CONSTANT text := 'no show';
    -- one that was refused makes room for the others before its next turn
    c_again CONSTANT interval := '10 minutes';
    c_maximum CONSTANT integer := 100;
    v_starts timestamptz;
    v_refused timestamptz := clock_timestamp() - c_again;
    v_streams uuid[];
    v_row api.no_show;
    v_detail text;
BEGIN
    IF (p_limit BETWEEN 1 AND c_maximum) IS NOT TRUE THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'p_limit', 'minimum', 1, 'maximum', c_maximum),
            'A limit of 1 to 100 streams.'
        );
    END IF;
    v_starts := clock_timestamp() - least(core._rate('stream_no_show'), 3153600000) * interval '1 second';
    v_streams := ARRAY(
        SELECT s.id
        FROM core.streams AS s
        WHERE
            s.status = 'scheduled' AND s.starts_at IS NOT NULL
            AND coalesce(s.cancel_refused_at, s.starts_at) <= greatest(v_starts, v_refused)
            AND s.starts_at <= v_starts AND (s.cancel_refused_at IS NULL OR s.cancel_refused_at <= v_refused)
        ORDER BY coalesce(s.cancel_refused_at, s.starts_at), s.id
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    );
    PERFORM core._lock_ticket_wallets(v_streams);
    FOR v_row IN
        SELECT s.id, s.creator_id, 0::bigint, NULL::text, NULL::text, NULL::jsonb
        FROM core.streams AS s
        WHERE s.id = ANY (v_streams)
        ORDER BY s.starts_at, s.id
    LOOP
        BEGIN
            PERFORM core._cancel_stream(v_row.stream_id, c_reason, NULL);
            v_row.tickets := (SELECT count(*) FROM core.tickets AS t WHERE t.stream_id = v_row.stream_id);
        EXCEPTION WHEN OTHERS THEN
            IF SQLSTATE NOT LIKE 'TS%' THEN
                RAISE;
            END IF;
            GET STACKED DIAGNOSTICS v_row.error_code = RETURNED_SQLSTATE, v_row.error = MESSAGE_TEXT, v_detail = PG_EXCEPTION_DETAIL;
            v_row.detail := nullif(v_detail, '')::jsonb;
            UPDATE core.streams AS s SET cancel_refused_at = clock_timestamp() WHERE s.id = v_row.stream_id;
        END;
        RETURN NEXT v_row;
    END LOOP;
END;
$$;

ALTER FUNCTION api.cancel_no_shows(p_limit integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.cancel_no_shows(p_limit integer) IS 'Cancels scheduled streams whose starts_at passed longer ago than the rate stream_no_show (seconds) and that never went live, and gives their tickets back, up to p_limit streams (100) in this transaction; a row for each. One whose tickets cannot be given back is left as it is, says why, and has its next turn ten minutes later. Streams without starts_at stay. Call it until it returns nothing; the scheduler does so every minute.';

CREATE FUNCTION api.cancel_payout(p_payout uuid, p_user uuid DEFAULT NULL::uuid) RETURNS SETOF api.payouts
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_payout core.payouts;
BEGIN
    PERFORM core._check_actor(p_user);
    v_payout := core._lock_payout(p_payout, p_user);
    IF v_payout.status IN ('requested', 'held') THEN
        UPDATE core.payouts AS p
        SET status = 'cancelled', reason = 'by_user', closed_at = clock_timestamp(), next_at = NULL
        WHERE p.id = p_payout
        RETURNING p.* INTO v_payout;
        PERFORM core._free_payout(v_payout);
        PERFORM core._payout_event('payout.cancelled', v_payout);
        INSERT INTO core.audit_log (actor_id, action, subject_id, details)
        VALUES (p_user, 'payout.cancelled', p_payout, jsonb_build_object('amount', v_payout.amount));
    ELSIF v_payout.status <> 'cancelled' THEN
        PERFORM core._refuse_payout(v_payout, 'What has been sent can no longer be cancelled.');
    END IF;
    RETURN QUERY SELECT p.* FROM api.payouts AS p WHERE p.payout_id = p_payout;
END;
$$;

ALTER FUNCTION api.cancel_payout(p_payout uuid, p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.cancel_payout(p_payout uuid, p_user uuid) IS 'Takes back a payout that is requested or held and gives its tokens back. p_user: whose it must be; without one it is the database login that acts. Cancelled already: nothing changes.';

CREATE TABLE core.stream_totals (
    stream_id uuid NOT NULL,
    shard smallint NOT NULL,
    tips bigint NOT NULL,
    tip_count bigint NOT NULL,
    CONSTRAINT stream_totals_shard_check CHECK (((shard >= 0) AND (shard <= 15))),
    CONSTRAINT stream_totals_tip_count_check CHECK ((tip_count >= 0)),
    CONSTRAINT stream_totals_tips_check CHECK ((tips >= 0))
)
WITH (fillfactor='50');

ALTER TABLE core.stream_totals OWNER TO tessera_owner;

COMMENT ON TABLE core.stream_totals IS 'What was tipped during a stream, in 16 parts, so that sessions rarely wait for the same row. Written by api.send_tips in the commit of the tips.';

COMMENT ON COLUMN core.stream_totals.tips IS 'Tokens that senders paid, fees included. Refunds do not lower it.';

CREATE TABLE core.stream_viewers (
    stream_id uuid NOT NULL,
    viewers integer NOT NULL,
    peak integer NOT NULL,
    counted_at timestamp with time zone NOT NULL,
    CONSTRAINT stream_viewers_peak CHECK ((peak >= viewers)),
    CONSTRAINT stream_viewers_viewers_check CHECK ((viewers >= 0))
)
WITH (fillfactor='50');

ALTER TABLE core.stream_viewers OWNER TO tessera_owner;

COMMENT ON TABLE core.stream_viewers IS 'How many watch a stream, and how many did at most, as of the last time it had changed. Written by api.count_viewers.';

CREATE TABLE core.streams (
    id uuid DEFAULT core.uuid7() NOT NULL,
    creator_id uuid NOT NULL,
    title text NOT NULL,
    channel text NOT NULL,
    visibility text DEFAULT 'public'::text NOT NULL,
    status text DEFAULT 'scheduled'::text NOT NULL,
    ticket_price bigint DEFAULT 0 NOT NULL,
    seats integer,
    seats_sold integer DEFAULT 0 NOT NULL,
    sales_from timestamp with time zone,
    sales_to timestamp with time zone,
    starts_at timestamp with time zone,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    cancelled_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    cancel_refused_at timestamp with time zone,
    CONSTRAINT streams_cancelled CHECK (((cancelled_at IS NULL) OR (status = 'ended'::text))),
    CONSTRAINT streams_channel_check CHECK ((channel ~ '^[a-z0-9][a-z0-9_-]{2,62}$'::text)),
    CONSTRAINT streams_ended CHECK (((status = 'ended'::text) = (ended_at IS NOT NULL))),
    CONSTRAINT streams_sales_window CHECK ((sales_from < sales_to)),
    CONSTRAINT streams_seats_are_enough CHECK ((seats_sold <= seats)),
    CONSTRAINT streams_seats_check CHECK (((seats >= 1) AND (seats <= 10000000))),
    CONSTRAINT streams_seats_sold_check CHECK ((seats_sold >= 0)),
    CONSTRAINT streams_status_check CHECK ((status = ANY (ARRAY['scheduled'::text, 'live'::text, 'ended'::text]))),
    CONSTRAINT streams_ticket_price_check CHECK (((ticket_price >= 0) AND (ticket_price <= 1000000000))),
    CONSTRAINT streams_title_check CHECK (((octet_length(title) >= 1) AND (octet_length(title) <= 200))),
    CONSTRAINT streams_visibility_check CHECK ((visibility = ANY (ARRAY['public'::text, 'private'::text])))
);

ALTER TABLE core.streams OWNER TO tessera_owner;

COMMENT ON TABLE core.streams IS 'Live streams of creators. Written by api.create_stream, update_stream, start_stream, end_stream, cancel_stream and buy_tickets.';

COMMENT ON COLUMN core.streams.visibility IS 'public: everybody may watch; private: whoever has a ticket.';

COMMENT ON COLUMN core.streams.ticket_price IS 'Tokens; 0 is a free ticket.';

COMMENT ON COLUMN core.streams.seats IS 'How many tickets there are; NULL: any number.';

COMMENT ON COLUMN core.streams.seats_sold IS 'Tickets sold.';

COMMENT ON COLUMN core.streams.sales_from IS 'Tickets are sold from then on (NULL: at once) up to sales_to (NULL: until the stream ends).';

COMMENT ON COLUMN core.streams.cancelled_at IS 'Ended by cancelling: every ticket was given back.';

COMMENT ON COLUMN core.streams.cancel_refused_at IS 'When api.cancel_no_shows last could not give its tickets back.';

CREATE VIEW api.streams AS
 SELECT id AS stream_id,
    creator_id,
    title,
    channel,
    visibility,
    status,
    ticket_price,
    seats,
    (seats - seats_sold) AS seats_left,
    sales_from,
    sales_to,
    starts_at,
    started_at,
    ended_at,
    cancelled_at,
    created_at,
    ( SELECT (COALESCE(sum(t.tips), (0)::numeric))::bigint AS "coalesce"
           FROM core.stream_totals t
          WHERE (t.stream_id = s.id)) AS total_tips,
    COALESCE(( SELECT v.viewers
           FROM core.stream_viewers v
          WHERE (v.stream_id = s.id)), 0) AS viewers,
    COALESCE(( SELECT v.peak
           FROM core.stream_viewers v
          WHERE (v.stream_id = s.id)), 0) AS peak_viewers
   FROM core.streams s;

ALTER VIEW api.streams OWNER TO tessera_owner;

COMMENT ON VIEW api.streams IS 'Streams: whose, when, who may watch, what a ticket costs (tokens) and how many are left (NULL: any number), what was tipped (tokens, refunds not taken off), how many watch.';

CREATE FUNCTION api.cancel_stream(p_stream uuid, p_reason text, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.streams
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
BEGIN
    PERFORM core._open_stream(p_stream, p_actor);
    PERFORM core._check_reason(p_reason);
    PERFORM core._cancel_stream(p_stream, p_reason, p_actor);
    RETURN QUERY SELECT s.* FROM api.streams AS s WHERE s.stream_id = p_stream;
END;
$$;

ALTER FUNCTION api.cancel_stream(p_stream uuid, p_reason text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.cancel_stream(p_stream uuid, p_reason text, p_actor uuid) IS 'Cancels stream p_stream, scheduled or live, and gives every ticket''s price back in the same commit, fees included. What the creator has spent of it becomes a debt that future credits pay off first. p_reason is required; p_actor must be its creator where named. Once: a stream that has ended is TS328.';

CREATE FUNCTION api.capture_hold(p_hold uuid, p_to uuid, p_amount bigint DEFAULT NULL::bigint, p_close boolean DEFAULT false, p_key text DEFAULT NULL::text, p_reference text DEFAULT NULL::text, p_actor uuid DEFAULT NULL::uuid, p_metadata jsonb DEFAULT NULL::jsonb) RETURNS api.hold_receipt
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(
        p_key, record_send(ROW('capture'::text, p_hold, p_to, p_amount, p_close, p_reference, p_metadata))
    );
    v_status CONSTANT text := (SELECT u.status FROM core.users AS u WHERE u.id = p_actor);
    -- which wallet a hold is in never changes, so it may be read before the lock; the rest is read after it
    v_wallet_id CONSTANT uuid := (SELECT h.wallet_id FROM core.holds AS h WHERE h.id = p_hold);
    v_hold core.holds;
    v_refusal core.refusal := core._check_transfer('hold', p_reference, p_metadata, p_key, p_actor, v_status);
    v_stored jsonb;
    v_left bigint;
    v_amount bigint;
    v_returned bigint;
    v_result core.transfer_result;
    v_wallet core.wallets;
    v_receipt api.hold_receipt;
BEGIN
    PERFORM core._lock_wallets(ARRAY[v_wallet_id, p_to]);

    v_stored := core._stored_result(p_actor, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN jsonb_populate_record(NULL::api.hold_receipt, v_stored || '{"replayed": true}');
    END IF;
    -- before anything else changes, so that what is told of it is true
    PERFORM core._expire_holds(ARRAY[v_wallet_id]);
    SELECT h.* INTO v_hold FROM core.holds AS h WHERE h.id = p_hold;
    v_left := v_hold.amount - v_hold.captured - v_hold.released;
    v_amount := coalesce(p_amount, v_left);
    IF v_refusal.error_code IS NULL THEN
        v_refusal := core._hold_refusal(v_hold, p_hold, v_amount, v_left);
    END IF;
    IF v_refusal.error_code IS NOT NULL THEN
        PERFORM core._raise(v_refusal.error_code, v_refusal.error, v_refusal.detail, 'Nothing was captured.');
    END IF;
    v_returned := CASE WHEN p_close IS TRUE THEN v_left - v_amount ELSE 0 END;

    UPDATE core.holds AS h
    SET
        captured = h.captured + v_amount,
        released = h.released + v_returned,
        status = CASE WHEN v_amount + v_returned = v_left THEN 'captured' ELSE h.status END,
        closed_at = CASE WHEN v_amount + v_returned = v_left THEN clock_timestamp() END
    WHERE h.id = p_hold;
    -- what is captured is free for the transfer below, and for nobody else: the wallet is locked
    UPDATE core.wallets AS w
    SET
        held = w.held - v_amount - v_returned,
        debt = CASE WHEN w.debt > 0 THEN greatest(0, w.minimum + w.held - v_amount - v_returned - w.balance) ELSE 0 END
    WHERE w.id = v_wallet_id;
    v_result := (core._post_transfers(
        ARRAY[ROW(
            v_wallet_id, p_to, v_amount, v_hold.asset, v_hold.kind, coalesce(p_reference, v_hold.reference), p_actor, NULL,
            NULL, NULL, p_metadata, NULL
        )::core.transfer_request],
        NULL, false, true
    ))[1];
    IF v_result.error_code IS NOT NULL THEN
        PERFORM core._raise(v_result.error_code, v_result.error, v_result.detail, 'Nothing was captured.');
    END IF;
    INSERT INTO core.captures (hold_id, transfer_id, amount) VALUES (p_hold, v_result.transfer_id, v_amount);

    SELECT w.* INTO v_wallet FROM core.wallets AS w WHERE w.id = v_wallet_id;
    SELECT h.* INTO v_hold FROM core.holds AS h WHERE h.id = p_hold;
    v_receipt := core._hold_receipt(v_hold, v_wallet, v_result.transfer_id);
    PERFORM core._store_result(p_actor, p_key, v_hash, to_jsonb(v_receipt));
    INSERT INTO core.outbox (type, channels, payload)
    VALUES (
        'transfer.posted', core._user_channels(v_result.from_owner_id, v_result.to_owner_id),
        core._transfer_payload(
            v_result.transfer_id, v_wallet_id, p_to, v_amount, v_hold.asset, v_hold.kind,
            coalesce(p_reference, v_hold.reference), v_result.created_at
        )
    ), (
        'hold.captured', core._user_channels(v_wallet.owner_id, NULL),
        core._hold_payload(v_hold) || jsonb_build_object('transfer_id', v_result.transfer_id, 'paid', v_amount)
    );
    RETURN v_receipt;
END;
$$;

ALTER FUNCTION api.capture_hold(p_hold uuid, p_to uuid, p_amount bigint, p_close boolean, p_key text, p_reference text, p_actor uuid, p_metadata jsonb) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.capture_hold(p_hold uuid, p_to uuid, p_amount bigint, p_close boolean, p_key text, p_reference text, p_actor uuid, p_metadata jsonb) IS 'Pays p_amount (minor units; NULL: all that is left) of hold p_hold to wallet p_to. What is left stays held, for further captures, unless p_close gives it back. A hold that has expired or is closed is TS316. The transfer has the hold''s kind and, unless p_reference says otherwise, its reference. p_key makes it safe to repeat.';

CREATE FUNCTION api.channel_position(p_channel text) RETURNS TABLE(epoch uuid, seq bigint, first_seq bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
    v_channel core.channels;
BEGIN
    SELECT c.* INTO v_channel FROM core.channels AS c WHERE c.channel = p_channel;
    epoch := (SELECT r.epoch FROM core.relay_state AS r);
    seq := coalesce(v_channel.seq, 0);
    first_seq := coalesce(
        (SELECT e.seq FROM core.channel_events AS e WHERE e.channel_id = v_channel.id ORDER BY e.seq LIMIT 1), seq + 1
    );
    RETURN NEXT;
END;
$$;

ALTER FUNCTION api.channel_position(p_channel text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.channel_position(p_channel text) IS 'The epoch, the number of the channel''s last event (0: it never had one), and that of the oldest one that can still be read; first_seq is seq + 1 where none can.';

CREATE FUNCTION api.claim_payment_refunds(p_limit integer DEFAULT 20) RETURNS SETOF api.refund_order
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
    WITH due AS (
        SELECT r.ctid AS place
        FROM core.payment_refunds AS r
        WHERE r.due_at <= clock_timestamp()
        ORDER BY r.due_at
        LIMIT least(p_limit, 200)
        FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE core.payment_refunds AS r
        SET
            tries = r.tries + 1,
            due_at = clock_timestamp() + least(interval '30 seconds' * 2 ^ least(r.tries, 12), interval '1 hour')
        WHERE r.ctid = ANY (ARRAY(SELECT d.place FROM due AS d))
        RETURNING r.id, r.tries
    )
    -- what is claimed here is not in the table yet for core._refund_order
    SELECT
        o.refund_id, o.payment_id, o.amount, c.tries, o.currency, o.provider, o.reference, o.charge, o.provider_refund, o.reason,
        o.replayed
    FROM claimed AS c
    CROSS JOIN LATERAL core._refund_order(c.id, false) AS o
$$;

ALTER FUNCTION api.claim_payment_refunds(p_limit integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.claim_payment_refunds(p_limit integer) IS 'Hands out refunds that the provider has not confirmed, p_limit at most (200): whoever gets one asks for it with its id as idempotency key, outside of any transaction. Each is handed out again later unless it is closed.';

CREATE FUNCTION api.claim_payments(p_limit integer DEFAULT 20) RETURNS SETOF api.payment_order
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
    WITH due AS (
        SELECT p.ctid AS place
        FROM core.payments AS p
        WHERE p.check_at <= clock_timestamp()
        ORDER BY p.check_at
        LIMIT least(p_limit, 200)
        FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE core.payments AS p
        SET
            checks = p.checks + 1,
            check_at = CASE
                WHEN clock_timestamp() < p.expires_at + interval '7 days'
                    THEN clock_timestamp() + least(interval '15 seconds' * 2 ^ least(p.checks, 12), interval '1 hour')
            END
        WHERE p.ctid = ANY (ARRAY(SELECT d.place FROM due AS d))
        RETURNING p.*
    )
    SELECT o.*
    FROM claimed AS c
    CROSS JOIN LATERAL core._payment_order(ROW(c.*)::core.payments, false) AS o
$$;

ALTER FUNCTION api.claim_payments(p_limit integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.claim_payments(p_limit integer) IS 'Hands out payments that stay pending, oldest turn first, p_limit at most (200): whoever gets one asks its provider, outside of any transaction. Each is handed out again later unless it is settled.';

CREATE FUNCTION api.claim_payout(p_lease interval DEFAULT '00:02:00'::interval) RETURNS api.payout_task
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_payout core.payouts;
    v_account core.payout_accounts;
    v_lease CONSTANT uuid := gen_random_uuid();
    v_refusal text;
    v_action text;
BEGIN
    SELECT p.* INTO v_payout
    FROM core.payouts AS p
    WHERE p.next_at <= clock_timestamp()
    ORDER BY p.next_at
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED;
    IF v_payout.id IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT a.* INTO v_account FROM core.payout_accounts AS a WHERE a.id = v_payout.account_id;

    IF v_payout.status IN ('requested', 'held') THEN
        v_refusal := core._take_payout(v_payout, v_account);
        SELECT p.* INTO v_payout FROM core.payouts AS p WHERE p.id = v_payout.id;
        v_action := CASE WHEN v_refusal IS NOT NULL THEN v_payout.status WHEN v_payout.provider = 'manual' THEN 'queued' END;
    END IF;
    IF v_action IS NULL THEN
        v_action := CASE WHEN v_payout.sending_at IS NULL THEN 'send' ELSE 'ask' END;
        UPDATE core.payouts AS p
        SET
            next_at = clock_timestamp() + p_lease, lease = v_lease, attempts = least(p.attempts + 1, 1000000000),
            sending_at = coalesce(p.sending_at, clock_timestamp())
        WHERE p.id = v_payout.id
        RETURNING p.* INTO v_payout;
    END IF;
    RETURN ROW(
        v_payout.id, v_action, v_lease, v_payout.user_id, v_payout.account_id, v_payout.provider, v_account.key_id,
        CASE WHEN v_action IN ('send', 'ask') THEN v_account.details END, v_payout.payout_amount, v_payout.currency,
        v_payout.provider_reference, v_payout.sending_at, v_payout.attempts, v_payout.status
    )::api.payout_task;
END;
$$;

ALTER FUNCTION api.claim_payout(p_lease interval) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.claim_payout(p_lease interval) IS 'Takes the payout that is due longest and is nobody''s, for p_lease; of all that runs beside it nobody else gets it meanwhile. The caller commits, does what action says, and reports by api.settle_payout, api.fail_payout or api.note_payout. One whose taker died is due again when the lease is over, and its provider is asked then, not told.';

CREATE TABLE core.assets (
    code text NOT NULL,
    scale smallint NOT NULL,
    name text NOT NULL,
    opens_with_user boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT assets_code_check CHECK ((code ~ '^[A-Z][A-Z0-9_]{1,15}$'::text)),
    CONSTRAINT assets_scale_check CHECK (((scale >= 0) AND (scale <= 18)))
);

ALTER TABLE core.assets OWNER TO tessera_owner;

COMMENT ON TABLE core.assets IS 'What a wallet can hold. An amount is a whole number of the asset''s minor unit: 10^-scale of the asset.';

COMMENT ON COLUMN core.assets.scale IS 'Decimals of the asset: TOKEN 0 (an amount of 50 is 50 tokens), money 4 (an amount of 50 is 0.0050).';

COMMENT ON COLUMN core.assets.opens_with_user IS 'Each new user gets a wallet of this asset.';

CREATE TABLE core.wallets (
    id uuid DEFAULT core.uuid7() NOT NULL,
    owner_id uuid,
    balance bigint DEFAULT 0 NOT NULL,
    held bigint DEFAULT 0 NOT NULL,
    minimum bigint DEFAULT 0 NOT NULL,
    version bigint DEFAULT 0 NOT NULL,
    lifetime_earned bigint DEFAULT 0 NOT NULL,
    lifetime_spent bigint DEFAULT 0 NOT NULL,
    last_entry_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    shard smallint DEFAULT 0 NOT NULL,
    asset text NOT NULL,
    purpose core.wallet_purpose DEFAULT 'user'::text NOT NULL,
    status core.wallet_status DEFAULT 'active'::text NOT NULL,
    debt bigint DEFAULT 0 NOT NULL,
    CONSTRAINT wallets_floor CHECK (((held >= 0) AND (debt >= 0) AND ((balance - held) >= (minimum - debt)))),
    CONSTRAINT wallets_system_has_no_owner CHECK (((owner_id IS NULL) = ((purpose)::text <> 'user'::text)))
)
WITH (fillfactor='50');

ALTER TABLE core.wallets OWNER TO tessera_owner;

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

COMMENT ON COLUMN core.wallets.status IS 'active; debits_frozen (takes money, gives none), frozen (neither), closed (neither, for good).';

COMMENT ON COLUMN core.wallets.debt IS 'What a refund took beyond the wallet''s floor: minimum + held - balance while that is above 0. Every credit pays it off first; until then nothing can be spent.';

CREATE VIEW api.wallets AS
 SELECT w.id AS wallet_id,
    w.owner_id,
    (w.purpose)::text AS purpose,
    w.shard,
    w.asset,
    a.scale,
    w.balance,
    w.held,
    w.minimum,
    ((w.balance - w.held) - w.minimum) AS spendable,
    w.lifetime_earned,
    w.lifetime_spent,
    w.version,
    (w.status)::text AS status,
    w.created_at,
    w.debt
   FROM (core.wallets w
     JOIN core.assets a ON ((a.code = w.asset)));

ALTER VIEW api.wallets OWNER TO tessera_owner;

COMMENT ON VIEW api.wallets IS 'Wallets; amounts in minor units of the asset (10^-scale). spendable = balance - held - minimum, below zero while the wallet is in debt; held may count holds that have expired and are about to be released.';

CREATE FUNCTION api.close_wallet(p_wallet uuid, p_reason text, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.wallets
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM core._set_wallet(p_wallet, 'wallet.closed', 'closed', NULL, p_reason, p_actor);
    RETURN QUERY SELECT w.* FROM api.wallets AS w WHERE w.wallet_id = p_wallet;
END;
$$;

ALTER FUNCTION api.close_wallet(p_wallet uuid, p_reason text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.close_wallet(p_wallet uuid, p_reason text, p_actor uuid) IS 'Closes wallet p_wallet for good; it must have nothing in it, held, or owed (TS323). Closed already: nothing changes.';

CREATE FUNCTION api.count_viewers(p_limit integer DEFAULT 5000) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
    v_limit CONSTANT integer := least(greatest(coalesce(p_limit, 5000), 1), 50000);
    v_changed integer;
BEGIN
    WITH counted AS (
        SELECT v.stream_id, count(*)::integer AS viewers
        FROM core.viewers AS v
        INNER JOIN core.streams AS s ON s.id = v.stream_id AND s.status = 'live'
        WHERE v.seen_until > v_now
        GROUP BY v.stream_id
    ),
    changed AS (
        INSERT INTO core.stream_viewers AS n (stream_id, viewers, peak, counted_at)
        SELECT coalesce(c.stream_id, b.stream_id), coalesce(c.viewers, 0), coalesce(c.viewers, 0), v_now
        FROM counted AS c
        FULL JOIN (SELECT x.stream_id, x.viewers FROM core.stream_viewers AS x WHERE x.viewers > 0) AS b
            ON b.stream_id = c.stream_id
        WHERE c.viewers IS DISTINCT FROM b.viewers
        ORDER BY 1
        ON CONFLICT ON CONSTRAINT stream_viewers_pkey DO UPDATE
        SET viewers = excluded.viewers, peak = greatest(n.peak, excluded.viewers), counted_at = excluded.counted_at
        WHERE n.viewers <> excluded.viewers AND n.counted_at < excluded.counted_at
        RETURNING n.stream_id, n.viewers, n.peak AS peak_viewers, n.counted_at
    )
    INSERT INTO core.outbox (type, channels, payload)
    SELECT 'stream.viewers', ARRAY['stream:' || c.stream_id::text], to_jsonb(c)
    FROM changed AS c;
    GET DIAGNOSTICS v_changed = ROW_COUNT;

    DELETE FROM core.viewers AS v
    USING (
        SELECT x.stream_id, x.user_id FROM core.viewers AS x
        WHERE x.seen_until <= v_now
        LIMIT v_limit
        FOR UPDATE SKIP LOCKED
    ) AS o
    WHERE v.stream_id = o.stream_id AND v.user_id = o.user_id;
    DELETE FROM core.chat_counters AS c
    USING (
        SELECT x.stream_id, x.user_id FROM core.chat_counters AS x
        WHERE x.since <= v_now - interval '1 hour'
        ORDER BY x.since
        LIMIT v_limit
        FOR UPDATE SKIP LOCKED
    ) AS o
    WHERE c.stream_id = o.stream_id AND c.user_id = o.user_id;
    RETURN v_changed;
END;
$$;

ALTER FUNCTION api.count_viewers(p_limit integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.count_viewers(p_limit integer) IS 'Counts the viewers of live streams and returns how many numbers have changed; takes out up to p_limit leases that have lapsed. The scheduler calls it every 5 seconds, and subscribers get at most one number a stream each time.';

CREATE FUNCTION api.create_asset(p_code text, p_scale integer, p_name text, p_opens_with_user boolean DEFAULT false, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.wallets
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    v_field text := CASE
        WHEN p_code ~ '^[A-Z][A-Z0-9_]{1,15}$' IS NOT TRUE THEN 'code'
        WHEN (p_scale BETWEEN 0 AND 18) IS NOT TRUE THEN 'scale'
        WHEN (octet_length(p_name) BETWEEN 1 AND 80) IS NOT TRUE THEN 'name'
    END;
BEGIN
    PERFORM core._check_admin(p_actor);
    IF v_field IS NOT NULL THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', v_field), 'Nothing was created.');
    END IF;
    INSERT INTO core.assets (code, scale, name, opens_with_user)
    VALUES (p_code, p_scale, p_name, coalesce(p_opens_with_user, false))
    ON CONFLICT (code) DO NOTHING;
    IF NOT FOUND THEN
        PERFORM core._raise('TS324', 'ASSET_EXISTS', jsonb_build_object('asset', p_code), 'Nothing was created.');
    END IF;
    INSERT INTO core.wallets (purpose, asset, shard, minimum)
    SELECT s.purpose, p_code, g.shard, s.minimum
    FROM (VALUES
        ('issuance', 4, -9000000000000000000), ('revenue', 8, 0), ('rewards', 8, -9000000000000000000), ('payout_clearing', 1, 0)
    ) AS s (purpose, shards, minimum)
    CROSS JOIN LATERAL generate_series(0, s.shards - 1) AS g (shard);
    INSERT INTO core.audit_log (actor_id, action, details)
    VALUES (p_actor, 'asset.created', jsonb_build_object('asset', p_code, 'scale', p_scale, 'name', p_name));
    RETURN QUERY SELECT w.* FROM api.wallets AS w WHERE w.asset = p_code ORDER BY w.purpose, w.shard;
END;
$_$;

ALTER FUNCTION api.create_asset(p_code text, p_scale integer, p_name text, p_opens_with_user boolean, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.create_asset(p_code text, p_scale integer, p_name text, p_opens_with_user boolean, p_actor uuid) IS 'Makes the asset p_code (an amount is a whole number of 10^-p_scale of it; money: 4) and its system wallets issuance, revenue, rewards and payout_clearing, which it returns. p_opens_with_user: users who register from now on get a wallet of it.';

CREATE FUNCTION api.create_stream(p_creator uuid, p_title text, p_channel text, p_visibility text DEFAULT 'public'::text, p_ticket_price bigint DEFAULT NULL::bigint, p_seats integer DEFAULT NULL::integer, p_starts_at timestamp with time zone DEFAULT NULL::timestamp with time zone, p_sales_from timestamp with time zone DEFAULT NULL::timestamp with time zone, p_sales_to timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS SETOF api.streams
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    v_id uuid;
    v_price CONSTANT bigint := coalesce(
        p_ticket_price, (SELECT c.ticket_price FROM core.creator_settings AS c WHERE c.user_id = p_creator), 0
    );
    v_field text := coalesce(
        core._stream_fault(p_title, p_visibility, v_price, p_seats, p_starts_at, p_sales_from, p_sales_to),
        CASE WHEN (p_channel ~ '^[a-z0-9][a-z0-9_-]{2,62}$') IS NOT TRUE THEN 'channel' END
    );
BEGIN
    IF v_field IS NOT NULL THEN
        PERFORM core._refuse_stream(v_field, 'Nothing was created.');
    ELSIF NOT EXISTS (
        SELECT FROM core.users AS u WHERE u.id = p_creator AND u.status = 'active' AND 'creator' = ANY (u.roles)
    ) THEN
        PERFORM core._raise('TS212', 'CREATOR_NOT_FOUND', jsonb_build_object('creator_id', p_creator), 'Nothing was created.');
    END IF;
    INSERT INTO core.streams (
        creator_id, title, channel, visibility, ticket_price, seats, starts_at, sales_from, sales_to
    )
    VALUES (p_creator, btrim(p_title), p_channel, p_visibility, v_price, p_seats, p_starts_at, p_sales_from, p_sales_to)
    ON CONFLICT (channel) DO NOTHING
    RETURNING id INTO v_id;
    IF v_id IS NULL THEN
        PERFORM core._raise('TS329', 'CHANNEL_TAKEN', jsonb_build_object('channel', p_channel), 'Choose another name.');
    END IF;
    PERFORM core._stream_event('stream.created', v_id);
    RETURN QUERY SELECT s.* FROM api.streams AS s WHERE s.stream_id = v_id;
END;
$_$;

ALTER FUNCTION api.create_stream(p_creator uuid, p_title text, p_channel text, p_visibility text, p_ticket_price bigint, p_seats integer, p_starts_at timestamp with time zone, p_sales_from timestamp with time zone, p_sales_to timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.create_stream(p_creator uuid, p_title text, p_channel text, p_visibility text, p_ticket_price bigint, p_seats integer, p_starts_at timestamp with time zone, p_sales_from timestamp with time zone, p_sales_to timestamp with time zone) IS 'Announces a stream of creator p_creator on the channel p_channel, whose name nobody else has. p_visibility private: only who has a ticket may watch, at p_ticket_price tokens (0: free; NULL: the creator''s usual price, which is none where they have set none), p_seats of them at most (NULL: any number), sold from p_sales_from up to p_sales_to.';

CREATE TABLE core.token_packages (
    id uuid DEFAULT core.uuid7() NOT NULL,
    tokens bigint NOT NULL,
    bonus bigint DEFAULT 0 NOT NULL,
    price bigint NOT NULL,
    active_from timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    active_to timestamp with time zone,
    currency text NOT NULL,
    name text NOT NULL,
    CONSTRAINT token_packages_bonus_check CHECK (((bonus >= 0) AND (bonus <= '1000000000000'::bigint))),
    CONSTRAINT token_packages_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT token_packages_name_check CHECK (((length(btrim(name)) >= 1) AND (length(btrim(name)) <= 80))),
    CONSTRAINT token_packages_price_check CHECK (((price >= 1) AND (price <= '1000000000000'::bigint))),
    CONSTRAINT token_packages_tokens_check CHECK (((tokens >= 1) AND (tokens <= '1000000000000'::bigint))),
    CONSTRAINT token_packages_window CHECK ((active_to > active_from))
);

ALTER TABLE core.token_packages OWNER TO tessera_owner;

COMMENT ON TABLE core.token_packages IS 'What tokens are sold in. A package never changes but for the end of its sale. Written by api.create_token_package and api.end_token_package.';

COMMENT ON COLUMN core.token_packages.bonus IS 'Tokens on top of tokens, at no price.';

COMMENT ON COLUMN core.token_packages.price IS 'In the minor unit of currency as payment providers count it: cents, kobo, whole yen.';

COMMENT ON COLUMN core.token_packages.active_to IS 'It is sold before then; NULL: until further notice.';

CREATE VIEW api.token_packages AS
 SELECT id AS package_id,
    name,
    tokens,
    bonus,
    price,
    currency,
    active_from,
    active_to,
    ((active_from <= clock_timestamp()) AND ((active_to IS NULL) OR (active_to > clock_timestamp()))) AS active
   FROM core.token_packages p;

ALTER VIEW api.token_packages OWNER TO tessera_owner;

COMMENT ON VIEW api.token_packages IS 'What tokens are sold in: price in the minor unit of currency; the buyer gets tokens + bonus.';

CREATE FUNCTION api.create_token_package(p_name text, p_tokens bigint, p_bonus bigint, p_price bigint, p_currency text, p_active_from timestamp with time zone DEFAULT NULL::timestamp with time zone, p_active_to timestamp with time zone DEFAULT NULL::timestamp with time zone, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.token_packages
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    v_from CONSTANT timestamptz := coalesce(p_active_from, clock_timestamp());
    v_field CONSTANT text := CASE
        WHEN (length(btrim(p_name)) BETWEEN 1 AND 80) IS NOT TRUE THEN 'name'
        WHEN (p_tokens BETWEEN 1 AND 1000000000000) IS NOT TRUE THEN 'tokens'
        WHEN (p_bonus BETWEEN 0 AND 1000000000000) IS NOT TRUE THEN 'bonus'
        WHEN (p_price BETWEEN 1 AND 1000000000000) IS NOT TRUE THEN 'price'
        WHEN (p_currency ~ '^[A-Z]{3}$') IS NOT TRUE THEN 'currency'
        WHEN NOT (p_active_to > v_from) THEN 'active_to'
    END;
    v_id uuid;
BEGIN
    PERFORM core._check_admin(p_actor);
    IF v_field IS NOT NULL THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', v_field), 'Nothing was created.');
    END IF;
    INSERT INTO core.token_packages (name, tokens, bonus, price, currency, active_from, active_to)
    VALUES (btrim(p_name), p_tokens, p_bonus, p_price, p_currency, v_from, p_active_to)
    RETURNING id INTO v_id;
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (
        p_actor, 'package.created', v_id,
        jsonb_build_object('name', btrim(p_name), 'tokens', p_tokens, 'bonus', p_bonus, 'price', p_price, 'currency', p_currency)
    );
    RETURN QUERY SELECT p.* FROM api.token_packages AS p WHERE p.package_id = v_id;
END;
$_$;

ALTER FUNCTION api.create_token_package(p_name text, p_tokens bigint, p_bonus bigint, p_price bigint, p_currency text, p_active_from timestamp with time zone, p_active_to timestamp with time zone, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.create_token_package(p_name text, p_tokens bigint, p_bonus bigint, p_price bigint, p_currency text, p_active_from timestamp with time zone, p_active_to timestamp with time zone, p_actor uuid) IS 'Sells p_tokens (and p_bonus on top) for p_price, in the minor unit of p_currency (ISO 4217), from p_active_from (now by default) up to p_active_to (NULL: until api.end_token_package). A package never changes: sell another one and end the first.';

CREATE FUNCTION api.create_webhook_endpoint(p_user uuid, p_url text, p_event_types text[] DEFAULT '{*}'::text[], p_description text DEFAULT ''::text) RETURNS TABLE(endpoint_id uuid, secret text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    v_limit CONSTANT bigint := core._rate('webhook_endpoints');
    v_count bigint;
BEGIN
    IF p_user IS NULL OR p_url IS NULL OR p_event_types IS NULL THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST',
            jsonb_build_object('field', CASE WHEN p_user IS NULL THEN 'p_user' WHEN p_url IS NULL THEN 'url' ELSE 'event_types' END),
            'A user, a URL and types of events.'
        );
    END IF;
    PERFORM core._check_webhook(p_url, p_event_types, p_description, NULL);
    PERFORM core._check_actor(p_user);
    PERFORM pg_advisory_xact_lock(hashtextextended('webhook_endpoints ' || p_user::text, 0));
    SELECT count(*) INTO v_count FROM core.webhook_endpoints AS e WHERE e.user_id = p_user AND e.deleted_at IS NULL;
    IF v_count >= v_limit THEN
        PERFORM core._raise('TS347', 'TOO_MANY_WEBHOOK_ENDPOINTS', jsonb_build_object('maximum', v_limit), 'Delete one that is not needed.');
    END IF;
    INSERT INTO core.webhook_endpoints AS e (user_id, url, event_types, description)
    VALUES (p_user, p_url, p_event_types, coalesce(p_description, ''))
    RETURNING e.id INTO endpoint_id;
    INSERT INTO core.webhook_queues (endpoint_id) VALUES (create_webhook_endpoint.endpoint_id);
    INSERT INTO core.webhook_cursors (endpoint_id, channel, epoch, seq)
    SELECT create_webhook_endpoint.endpoint_id, k.kind || p_user::text, p.epoch, p.seq
    FROM unnest(ARRAY['creator:', 'user:']) AS k (kind)
    CROSS JOIN LATERAL api.channel_position(k.kind || p_user::text) AS p;
    secret := core._new_webhook_secret(endpoint_id);
    RETURN NEXT;
END;
$$;

ALTER FUNCTION api.create_webhook_endpoint(p_user uuid, p_url text, p_event_types text[], p_description text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.create_webhook_endpoint(p_user uuid, p_url text, p_event_types text[], p_description text) IS 'Makes an endpoint: from now on the events of the channels user:<id> and creator:<id> of p_user whose type fits p_event_types (*, call.*, tip.sent) are sent to p_url, signed with the secret that is returned here and nowhere else. Not more of them a user than the rate webhook_endpoints says.';

CREATE FUNCTION api.credit_with_referral(p_user uuid, p_amount bigint, p_asset text, p_reason text, p_key text DEFAULT NULL::text, p_actor uuid DEFAULT NULL::uuid) RETURNS api.referral_receipt
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(
        p_key, record_send(ROW('reward'::text, p_user, p_amount, p_asset, p_reason))
    );
    v_status CONSTANT text := (SELECT u.status FROM core.users AS u WHERE u.id = p_actor);
    v_refusal core.refusal := core._check_transfer('reward', p_reason, NULL, p_key, p_actor, v_status, p_own => true);
    v_user_id CONSTANT uuid := (SELECT u.id FROM core.users AS u WHERE u.id = p_user);
    v_wallet_id CONSTANT uuid := (SELECT w.id FROM core.wallets AS w WHERE w.owner_id = p_user AND w.asset = p_asset);
    v_referrer core.users;
    v_rewards_id uuid;
    v_match_wallet core.wallets;
    v_match bigint := 0;
    v_skipped text;
    v_stored jsonb;
    v_requests core.transfer_request[];
    v_results core.transfer_result[];
    v_receipt api.referral_receipt;
BEGIN
    IF p_reason IS NULL OR btrim(p_reason) = '' THEN
        v_refusal := ROW('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'reason'))::core.refusal;
    ELSIF v_user_id IS NULL THEN
        v_refusal := ROW('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_user))::core.refusal;
    END IF;
    IF v_refusal.error_code IS NULL THEN
        v_rewards_id := core._system_wallet('rewards', p_asset, p_user);
        SELECT r.* INTO v_referrer
        FROM core.users AS u
        INNER JOIN core.users AS r ON r.id = u.referred_by_id
        WHERE u.id = p_user;
        SELECT w.* INTO v_match_wallet FROM core.wallets AS w WHERE w.owner_id = v_referrer.id AND w.asset = p_asset;
    END IF;
    PERFORM core._lock_wallets(ARRAY[v_wallet_id, v_match_wallet.id, v_rewards_id]);

    v_stored := core._stored_result(p_actor, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN jsonb_populate_record(NULL::api.referral_receipt, v_stored || '{"replayed": true}');
    ELSIF v_refusal.error_code IS NOT NULL THEN
        PERFORM core._raise(v_refusal.error_code, v_refusal.error, v_refusal.detail, 'Nothing was credited.');
    END IF;
    SELECT w.* INTO v_match_wallet FROM core.wallets AS w WHERE w.id = v_match_wallet.id;
    IF v_referrer.id IS NOT NULL THEN
        -- once more than the whole is no match of anybody's; amounts out of range are refused below
        v_match := floor(least(greatest(p_amount, 0), 1000000000000000) * core._rate(
            'referral', p_asset, NULL, CASE WHEN 'ambassador' = ANY (v_referrer.roles) THEN 'ambassador' END
        ) / 10000);
    END IF;
    v_skipped := CASE
        WHEN v_referrer.id IS NULL THEN 'no_referrer'
        WHEN v_referrer.status <> 'active' THEN 'referrer_suspended'
        WHEN (v_match_wallet.status IN ('active', 'debits_frozen')
            AND v_match_wallet.lifetime_earned <= 9000000000000000000 - v_match) IS NOT TRUE THEN 'wallet_not_open'
        WHEN v_match = 0 THEN 'rounds_to_zero'
    END;
    v_requests := ARRAY[ROW(
        v_rewards_id, v_wallet_id, p_amount, p_asset, 'reward', p_reason, p_actor, NULL, NULL, 1, NULL, NULL
    )::core.transfer_request];
    IF v_skipped IS NULL THEN
        v_requests := v_requests || ROW(
            v_rewards_id, v_match_wallet.id, v_match, p_asset, 'referral', p_reason, p_actor, NULL, NULL, 1,
            jsonb_build_object('referred_id', p_user), NULL
        )::core.transfer_request;
    END IF;
    v_results := core._post_transfers(v_requests);
    IF (v_results[1]).error_code IS NOT NULL THEN
        PERFORM core._raise((v_results[1]).error_code, (v_results[1]).error, (v_results[1]).detail, 'Nothing was credited.');
    END IF;

    v_receipt := ROW(
        (v_results[1]).transfer_id, p_amount, (v_results[1]).to_balance, v_referrer.id, (v_results[2]).transfer_id,
        CASE WHEN v_skipped IS NULL THEN v_match ELSE 0 END, v_skipped, (v_results[1]).created_at, false
    );
    PERFORM core._store_result(p_actor, p_key, v_hash, to_jsonb(v_receipt));
    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'transfer.posted', core._user_channels(NULL, e.to_owner_id),
        core._transfer_payload(
            e.transfer_id, v_rewards_id, e.to_wallet_id, e.amount, p_asset, e.kind, p_reason, e.created_at
        )
    FROM (
        SELECT
            (v_results[g.i]).to_owner_id, (v_results[g.i]).transfer_id, (v_requests[g.i]).to_wallet_id,
            (v_requests[g.i]).amount, (v_requests[g.i]).kind, (v_results[g.i]).created_at
        FROM generate_subscripts(v_results, 1) AS g (i)
    ) AS e;
    RETURN v_receipt;
END;
$$;

ALTER FUNCTION api.credit_with_referral(p_user uuid, p_amount bigint, p_asset text, p_reason text, p_key text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.credit_with_referral(p_user uuid, p_amount bigint, p_asset text, p_reason text, p_key text, p_actor uuid) IS 'Credits p_amount (minor units of p_asset) from the system wallet rewards to user p_user, and in the same commit a match to whoever referred them: p_amount × rate `referral` (bps; that of scope ambassador for an ambassador) / 10000, rounded down to the minor unit, on top and not out of the user''s part. Where the referrer cannot take it, or it rounds to 0, the reward goes without, and match_skipped says why. p_key makes it safe to repeat.';

CREATE FUNCTION api.decline_call(p_call uuid, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.calls
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_call CONSTANT core.calls := core._lock_call(p_call, p_actor);
BEGIN
    PERFORM core._must_be_called(v_call, p_actor);
    IF v_call.status = 'ringing' THEN
        PERFORM core._close_calls(ARRAY[ROW(p_call, 'declined', 'declined', p_actor, clock_timestamp(), 0)::core.call_ending]);
    ELSIF v_call.ended_at IS NULL THEN
        PERFORM core._raise(
            'TS336', 'CALL_NOT_RINGING', jsonb_build_object('call_id', p_call, 'call_status', v_call.status), 'It can be ended.'
        );
    ELSIF v_call.status <> 'declined' THEN
        PERFORM core._must_not_be_over(v_call);
    END IF;
    RETURN QUERY SELECT c.* FROM api.calls AS c WHERE c.call_id = p_call;
END;
$$;

ALTER FUNCTION api.decline_call(p_call uuid, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.decline_call(p_call uuid, p_actor uuid) IS 'Declines call p_call, which rings; p_actor must be its creator where named. Declined already: nothing changes.';

CREATE FUNCTION api.delete_webhook_endpoint(p_endpoint uuid, p_user uuid DEFAULT NULL::uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_endpoint CONSTANT core.webhook_endpoints := core._lock_webhook(p_endpoint, p_user);
BEGIN
    UPDATE core.webhook_endpoints AS e SET deleted_at = clock_timestamp() WHERE e.id = v_endpoint.id;
    UPDATE core.webhook_queues AS q SET next_at = NULL WHERE q.endpoint_id = v_endpoint.id;
    DELETE FROM core.webhook_secrets AS s WHERE s.endpoint_id = v_endpoint.id;
END;
$$;

ALTER FUNCTION api.delete_webhook_endpoint(p_endpoint uuid, p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.delete_webhook_endpoint(p_endpoint uuid, p_user uuid) IS 'Deletes an endpoint of p_user (NULL: of whomever), with its secrets and all that was to be sent there. What is on its way may still arrive.';

CREATE FUNCTION api.detach_month(p_what text) RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_needed CONSTANT timestamptz := CASE WHEN p_what = 'outbox' THEN core._oldest_needed() END;
    v_moved CONSTANT text [] := core._move_month(p_what, true);
    v_to CONSTANT timestamptz := (SELECT p.attached_from FROM core.partitioned AS p WHERE p.name = p_what);
BEGIN
    IF cardinality(v_moved) > 0 AND v_needed < v_to THEN
        PERFORM core._raise(
            'TS346', 'EVENTS_NEEDED', jsonb_build_object('what', p_what, 'from', v_needed),
            'The relay has not read all of it, or its events can still be read from their channels (rate channel_events_kept).'
        );
    END IF;
    RETURN core._months_moved('months.detached', p_what, v_moved);
END;
$$;

ALTER FUNCTION api.detach_month(p_what text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.detach_month(p_what text) IS 'Detaches the oldest months of p_what (books, outbox, audit_log) that are over for longer than they are kept, and returns the names of the partitions, now tables of their own; none when nothing is that old. Balances, the auditor and new money go on as before; statements, transfers and replays of those months do not. Of the outbox nothing that the relay or a channel needs (TS346). docs/growth.md.';

CREATE FUNCTION api.due_payment_events(p_limit integer DEFAULT 100) RETURNS TABLE(provider text, event_id text, lag_seconds integer)
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
    SELECT e.provider, e.event_id, extract(EPOCH FROM clock_timestamp() - e.due_at)::integer
    FROM core.payment_events AS e
    WHERE e.due_at <= clock_timestamp()
    ORDER BY e.due_at
    LIMIT least(p_limit, 1000)
$$;

ALTER FUNCTION api.due_payment_events(p_limit integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.due_payment_events(p_limit integer) IS 'Events for api.settle_payment, longest due first, p_limit at most (1000), and for how many seconds each has been due.';

CREATE FUNCTION api.earnings_statement(p_user uuid, p_year integer) RETURNS TABLE(month date, kind text, count bigint, amount bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
    v_wallet CONSTANT uuid := (SELECT w.id FROM core.wallets AS w WHERE w.owner_id = p_user AND w.asset = 'TOKEN');
    v_from timestamptz;
    v_to timestamptz;
    v_before bigint;
BEGIN
    IF (p_year BETWEEN 2000 AND 9998) IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'year'), 'A year from 2000 on.');
    ELSIF v_wallet IS NULL THEN
        PERFORM core._raise('TS210', 'WALLET_NOT_FOUND', jsonb_build_object('user_id', p_user, 'asset', 'TOKEN'), 'Look it up in api.wallets.');
    END IF;
    v_from := make_timestamptz(p_year, 1, 1, 0, 0, 0, 'UTC');
    v_to := make_timestamptz(p_year + 1, 1, 1, 0, 0, 0, 'UTC');
    v_before := (core._entry_at(v_wallet, v_from - interval '1 microsecond')).seq;
    RETURN QUERY
    SELECT
        date_trunc('month', e.created_at)::date,
        CASE WHEN t.kind = 'refund' THEN 'refund.' || coalesce(o.kind, 'unknown') ELSE t.kind END,
        count(*),
        sum(e.amount)::bigint
    FROM core.entries AS e
    CROSS JOIN LATERAL (SELECT m.kind, m.id FROM core.transfers AS m WHERE m.id = e.transfer_id LIMIT 1) AS t
    LEFT JOIN core.refunds AS r ON t.kind = 'refund' AND r.transfer_id = t.id
    LEFT JOIN LATERAL (SELECT m.kind FROM core.transfers AS m WHERE m.id = r.original_id LIMIT 1) AS o ON true
    WHERE
        e.wallet_id = v_wallet AND e.seq > v_before
        AND e.created_at >= v_from AND e.created_at < v_to
        AND e.transfer_id >= core._uuid_floor(v_from) AND e.transfer_id < core._uuid_floor(v_to)
    GROUP BY 1, 2
    ORDER BY 1, 2;
END;
$$;

ALTER FUNCTION api.earnings_statement(p_user uuid, p_year integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.earnings_statement(p_user uuid, p_year integer) IS 'What moved in the tokens of user p_user in the year p_year (UTC), by month and kind: positive came in, negative went out. What undoes something has its kind behind refund.: refund.tip was taken back of tips, refund.payout came back of payouts.';

CREATE FUNCTION api.end_call(p_call uuid, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.calls
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_call CONSTANT core.calls := core._lock_call(p_call, p_actor);
    v_now CONSTANT timestamptz := clock_timestamp();
BEGIN
    IF v_call.ended_at IS NULL AND core._settle_call(v_call, v_now, p_actor) THEN
        PERFORM core._close_calls(ARRAY[ROW(
            p_call,
            CASE WHEN v_call.status <> 'ringing' THEN 'ended' WHEN v_call.creator_id = p_actor THEN 'declined' ELSE 'missed' END,
            CASE WHEN v_call.status <> 'ringing' THEN 'stopped' WHEN v_call.creator_id = p_actor THEN 'declined' ELSE 'cancelled' END,
            p_actor, v_now,
            (SELECT core._active_us(k, v_call.block_us, v_now) FROM core.call_clocks AS k WHERE k.call_id = p_call)
        )::core.call_ending]);
    END IF;
    RETURN QUERY SELECT c.* FROM api.calls AS c WHERE c.call_id = p_call;
END;
$$;

ALTER FUNCTION api.end_call(p_call uuid, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.end_call(p_call uuid, p_actor uuid) IS 'Ends call p_call at this moment; blocks that have begun by then are paid, and that is all that is paid. p_actor must be one of its people where named. While it rings: the fan calls it off (missed), the creator declines. Over already: nothing changes, and the same totals are returned.';

CREATE TABLE core.rates (
    id uuid DEFAULT core.uuid7() NOT NULL,
    name text NOT NULL,
    asset text,
    value numeric NOT NULL,
    unit text NOT NULL,
    valid_from timestamp with time zone DEFAULT now() NOT NULL,
    valid_to timestamp with time zone,
    note text,
    created_by text DEFAULT SESSION_USER NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    scope text,
    CONSTRAINT rates_bps CHECK (((unit <> 'bps'::text) OR (value <= (10000)::numeric))),
    CONSTRAINT rates_name_check CHECK ((name ~ '^[a-z][a-z0-9_]{1,62}$'::text)),
    CONSTRAINT rates_period CHECK (((valid_to IS NULL) OR (valid_to > valid_from))),
    CONSTRAINT rates_scope_check CHECK ((scope ~ '^[a-z][a-z0-9_.]{0,62}$'::text)),
    CONSTRAINT rates_unit CHECK ((unit = ANY (ARRAY['bps'::text, 'tokens'::text, 'minor_units'::text, 'usd'::text, 'seconds'::text, 'days'::text, 'count'::text]))),
    CONSTRAINT rates_value_check CHECK (((value >= (0)::numeric) AND (value < '1000000000000000'::numeric)))
);

ALTER TABLE core.rates OWNER TO tessera_owner;

COMMENT ON TABLE core.rates IS 'Every number that decides about money: fees, shares, prices, limits. Of several in force the one with the latest valid_from counts. Nothing falls back to a number in code: a missing rate is TS801 CONFIGURATION_ERROR.';

COMMENT ON COLUMN core.rates.asset IS 'The asset it is for; NULL for all.';

COMMENT ON COLUMN core.rates.unit IS 'bps = hundredths of a percent.';

COMMENT ON COLUMN core.rates.scope IS 'What it is restricted to: a kind of transfer (velocity limits), a role (referral). NULL for all. A rate with the scope asked for comes before one without.';

CREATE VIEW api.rates AS
 SELECT name,
    asset,
    value,
    unit,
    valid_from,
    valid_to,
    note,
    scope,
    id AS rate_id,
    created_by,
    created_at
   FROM core.rates r;

ALTER VIEW api.rates OWNER TO tessera_owner;

COMMENT ON VIEW api.rates IS 'Fees, shares, prices and limits with their periods; of several in force the latest valid_from counts.';

CREATE FUNCTION api.end_rate(p_rate uuid, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.rates
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_at timestamptz;
    v_now timestamptz;
    v_rate core.rates;
BEGIN
    PERFORM core._check_admin(p_actor);
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.rate.' || (SELECT r.name FROM core.rates AS r WHERE r.id = p_rate), 0));
    v_now := clock_timestamp();
    SELECT r.* INTO v_rate FROM core.rates AS r WHERE r.id = p_rate;
    v_at := coalesce(p_at, greatest(v_now, v_rate.valid_from + interval '1 microsecond'));
    IF v_rate.id IS NULL THEN
        PERFORM core._raise('TS216', 'RATE_NOT_FOUND', jsonb_build_object('rate_id', p_rate), 'api.rates lists them.');
    ELSIF v_rate.valid_to <= v_now OR v_at < v_now OR v_at <= v_rate.valid_from OR v_at >= '10000-01-01 00:00:00+00' THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'at', 'valid_from', v_rate.valid_from, 'valid_to', v_rate.valid_to),
            'A rate ends now or later, after it began, and only once.'
        );
    END IF;
    UPDATE core.rates AS r SET valid_to = v_at WHERE r.id = p_rate;
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (
        p_actor, 'rate.ended', p_rate,
        jsonb_build_object('rate', v_rate.name, 'value', v_rate.value, 'valid_to', v_at, 'valid_to_before', v_rate.valid_to)
    );
    RETURN QUERY SELECT r.* FROM api.rates AS r WHERE r.rate_id = p_rate;
END;
$$;

ALTER FUNCTION api.end_rate(p_rate uuid, p_at timestamp with time zone, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.end_rate(p_rate uuid, p_at timestamp with time zone, p_actor uuid) IS 'Lets the row p_rate of api.rates end at p_at (now by default). Where nothing else is in force then, what needs the rate is refused (CONFIGURATION_ERROR); a velocity limit is simply gone.';

CREATE FUNCTION api.end_stream(p_stream uuid, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.streams
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF (core._open_stream(p_stream, p_actor)).status <> 'live' THEN
        PERFORM core._raise('TS330', 'STREAM_NOT_LIVE', jsonb_build_object('stream_id', p_stream), 'One that never began is cancelled.');
    END IF;
    UPDATE core.streams AS s SET status = 'ended', ended_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE s.id = p_stream;
    PERFORM core._stream_event('stream.ended', p_stream);
    RETURN QUERY SELECT s.* FROM api.streams AS s WHERE s.stream_id = p_stream;
END;
$$;

ALTER FUNCTION api.end_stream(p_stream uuid, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.end_stream(p_stream uuid, p_actor uuid) IS 'Stream p_stream, which is live, ends. p_actor must be its creator where named.';

CREATE FUNCTION api.end_token_package(p_package uuid, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.token_packages
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_package core.token_packages;
BEGIN
    PERFORM core._check_admin(p_actor);
    SELECT p.* INTO v_package FROM core.token_packages AS p WHERE p.id = p_package FOR NO KEY UPDATE;
    IF v_package.id IS NULL THEN
        PERFORM core._raise('TS250', 'PACKAGE_NOT_FOUND', jsonb_build_object('package_id', p_package), 'Nothing was changed.');
    ELSIF v_package.active_to IS NULL OR v_package.active_to > clock_timestamp() THEN
        -- one that has not begun is over before it begins
        UPDATE core.token_packages AS p
        SET active_to = greatest(clock_timestamp(), p.active_from + interval '1 microsecond')
        WHERE p.id = p_package;
        INSERT INTO core.audit_log (actor_id, action, subject_id) VALUES (p_actor, 'package.ended', p_package);
    END IF;
    RETURN QUERY SELECT p.* FROM api.token_packages AS p WHERE p.package_id = p_package;
END;
$$;

ALTER FUNCTION api.end_token_package(p_package uuid, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.end_token_package(p_package uuid, p_actor uuid) IS 'Ends the sale of package p_package now. Payments that are open may still be paid. Repeating it changes nothing.';

CREATE FUNCTION api.enter_room(p_kind text, p_id uuid, p_user uuid) RETURNS api.live_seat
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_name text;
    v_publishes boolean := true;
BEGIN
    PERFORM core._check_actor(p_user);
    SELECT u.display_name INTO v_name FROM core.users AS u WHERE u.id = p_user;
    IF v_name IS NULL THEN
        PERFORM core._raise('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_user), 'Somebody has to enter.');
    ELSIF p_kind = 'stream' THEN
        v_publishes := core._seat_in_stream(p_id, p_user);
    ELSIF p_kind = 'call' THEN
        PERFORM core._check_seat_in_call(p_id, p_user);
    ELSE
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'kind'), 'A stream or a call.');
    END IF;
    INSERT INTO core.live_rooms (id, kind) VALUES (p_id, p_kind) ON CONFLICT ON CONSTRAINT live_rooms_pkey DO NOTHING;
    RETURN ROW(p_kind || '-' || p_id::text, v_name, v_publishes)::api.live_seat;
END;
$$;

ALTER FUNCTION api.enter_room(p_kind text, p_id uuid, p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.enter_room(p_kind text, p_id uuid, p_user uuid) IS 'The place of user p_user in the media server''s room of a stream or call (p_kind: stream, call). Whoever may watch a stream may enter until it has ended, and only its creator sends; a call is for its two people, from its acceptance to its end. Makes no room: the media server does when somebody comes.';

CREATE FUNCTION api.expire_holds(p_limit integer DEFAULT 500) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_wallets uuid[];
BEGIN
    SELECT array_agg(DISTINCT d.wallet_id) INTO v_wallets
    FROM (
        SELECT h.wallet_id
        FROM core.holds AS h
        WHERE h.status = 'open' AND h.expires_at <= clock_timestamp()
        ORDER BY h.expires_at
        LIMIT least(greatest(coalesce(p_limit, 500), 1), 5000)
    ) AS d;
    IF v_wallets IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM core._lock_wallets(v_wallets);
    RETURN core._expire_holds(v_wallets);
END;
$$;

ALTER FUNCTION api.expire_holds(p_limit integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.expire_holds(p_limit integer) IS 'Closes holds past their expires_at, p_limit or so of them (up to 5000), the longest due first; returns how many. Nobody has to wait for it: an expired hold never stands in the way of a payment, a hold or a capture.';

CREATE FUNCTION api.fail_payout(p_payout uuid, p_reason text, p_reference text DEFAULT NULL::text, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.payouts
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $_$
DECLARE
    v_payout core.payouts := core._lock_payout(p_payout);
    v_back uuid[];
    v_refused core.transfer_result;
BEGIN
    PERFORM core._check_payout_by_hand(v_payout, p_actor);
    IF (p_reason ~ '^[a-z][a-z0-9_]{0,62}$') IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'reason'), 'A code: small letters, digits, underscores.');
    ELSIF v_payout.status = 'cancelled' THEN
        PERFORM core._refuse_payout(v_payout, 'It was cancelled, and its tokens are back.');
    ELSIF v_payout.status <> 'failed' THEN
        UPDATE core.payouts AS p
        SET
            status = 'failed', reason = p_reason, closed_at = clock_timestamp(), next_at = NULL,
            provider_reference = coalesce(left(nullif(p_reference, ''), 255), p.provider_reference),
            decided_by = coalesce(p_actor, p.decided_by)
        WHERE p.id = p_payout
        RETURNING p.* INTO v_payout;
        IF v_payout.transfer_id IS NULL THEN
            PERFORM core._free_payout(v_payout);
        ELSE
            -- the other way round: from issuance to payout_clearing, from there to the user
            v_back := array_remove(ARRAY[v_payout.paid_transfer_id, v_payout.transfer_id], NULL);
            PERFORM core._lock_wallets(ARRAY(
                SELECT t.from_wallet_id FROM core.transfers AS t WHERE t.id = ANY (v_back)
                UNION
                SELECT t.to_wallet_id FROM core.transfers AS t WHERE t.id = ANY (v_back)
            ));
            FOR v_refused IN SELECT r.* FROM core._give_back(v_back, 'payout ' || p_reason, p_actor) AS r WHERE r.error_code IS NOT NULL LOOP
                PERFORM core._raise(v_refused.error_code, v_refused.error, v_refused.detail, 'Nothing was given back.');
            END LOOP;
        END IF;
        PERFORM core._payout_event('payout.failed', v_payout);
        IF p_actor IS NOT NULL THEN
            INSERT INTO core.audit_log (actor_id, action, subject_id, details)
            VALUES (p_actor, 'payout.failed', p_payout, jsonb_build_object('amount', v_payout.amount, 'reason', p_reason));
        END IF;
    END IF;
    RETURN QUERY SELECT p.* FROM api.payouts AS p WHERE p.payout_id = p_payout;
END;
$_$;

ALTER FUNCTION api.fail_payout(p_payout uuid, p_reason text, p_reference text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.fail_payout(p_payout uuid, p_reason text, p_reference text, p_actor uuid) IS 'A payout will not arrive: its tokens are given back, once, whether it waited, was sent, or had been paid and was taken back. p_reason is a code that its user is shown. p_actor: the operator who says so; a provider''s own payouts only after payout_override days (TS361). Failed already: nothing changes. Where the wallet takes nothing (TS310, TS311) it stays as it is.';

CREATE FUNCTION api.fan_webhooks(p_after uuid DEFAULT NULL::uuid, p_cursors integer DEFAULT 200, p_events integer DEFAULT 100) RETURNS TABLE(last_endpoint uuid, events bigint, deliveries bigint, lost bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    c_bytes CONSTANT integer := 19000;
    v_now CONSTANT timestamptz := clock_timestamp();
    v_epoch CONSTANT uuid := (SELECT r.epoch FROM core.relay_state AS r);
    v_endpoints uuid [];
    v_channels text [];
    v_woken uuid [];
BEGIN
    IF (p_cursors BETWEEN 1 AND 10000 AND p_events BETWEEN 1 AND 10000) IS NOT TRUE THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', CASE WHEN p_cursors BETWEEN 1 AND 10000 THEN 'p_events' ELSE 'p_cursors' END),
            'Limits of 1 to 10000.'
        );
    END IF;
    SELECT array_agg(b.endpoint_id), array_agg(b.channel) INTO v_endpoints, v_channels
    FROM (
        SELECT w.endpoint_id, w.channel
        FROM core.webhook_cursors AS w
        -- in subqueries: however few rows the planner expects, each position costs a few looks into indexes
        WHERE w.endpoint_id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
            AND (w.epoch <> v_epoch OR w.seq <> coalesce((SELECT c.seq FROM core.channels AS c WHERE c.channel = w.channel), 0))
            AND (
                SELECT
                    e.status = 'active' AND e.deleted_at IS NULL
                    AND (SELECT u.status = 'active' FROM core.users AS u WHERE u.id = e.user_id)
                FROM core.webhook_endpoints AS e
                WHERE e.id = w.endpoint_id
            )
        ORDER BY w.endpoint_id, w.channel
        LIMIT p_cursors
        FOR NO KEY UPDATE OF w SKIP LOCKED
    ) AS b;
    IF v_endpoints IS NULL THEN
        RETURN QUERY SELECT NULL::uuid, 0::bigint, 0::bigint, 0::bigint;
        RETURN;
    END IF;

    WITH behind AS MATERIALIZED (
        SELECT
            w.endpoint_id, w.channel, w.seq AS from_seq, c.id AS channel_id, r.epoch, e.event_types,
            coalesce(c.seq, 0) AS head,
            CASE WHEN w.epoch = r.epoch AND w.seq <= coalesce(c.seq, 0) THEN least(c.seq, w.seq + p_events) END AS to_seq
        FROM unnest(v_endpoints, v_channels) AS k (endpoint_id, channel)
        INNER JOIN core.webhook_cursors AS w ON w.endpoint_id = k.endpoint_id AND w.channel = k.channel
        INNER JOIN core.webhook_endpoints AS e ON e.id = w.endpoint_id
        CROSS JOIN core.relay_state AS r
        LEFT JOIN core.channels AS c ON c.channel = w.channel
    ), found AS MATERIALIZED (
        SELECT
            b.endpoint_id, b.channel, o.id, o.type, o.payload, o.created_at, core._webhook_wants(b.event_types, o.type) AS wanted,
            b.to_seq - b.from_seq AS expected, count(*) OVER (PARTITION BY b.endpoint_id, b.channel) AS present
        FROM behind AS b
        CROSS JOIN LATERAL (
            SELECT x.xid, x.id, x.created_at
            FROM core.channel_events AS x
            WHERE x.channel_id = b.channel_id AND x.seq > b.from_seq AND x.seq <= b.to_seq
        ) AS n
        CROSS JOIN LATERAL (
            SELECT x.id, x.type, x.payload, x.created_at FROM core.outbox AS x WHERE x.xid = n.xid AND x.id = n.id AND x.created_at = n.created_at
        ) AS o
    ), steps AS MATERIALIZED (
        SELECT b.*, coalesce(f.present = f.expected, b.to_seq = b.from_seq, false) AS whole
        FROM behind AS b
        LEFT JOIN (SELECT DISTINCT y.endpoint_id, y.channel, y.expected, y.present FROM found AS y) AS f
            ON f.endpoint_id = b.endpoint_id AND f.channel = b.channel
    ), made AS (
        -- in an order that all keep to: of an event in two channels the second waits for the first
        INSERT INTO core.webhook_deliveries AS d (endpoint_id, event_id, type, payload, event_at, due_at)
        SELECT DISTINCT ON (f.endpoint_id, f.id)
            f.endpoint_id, f.id, f.type,
            CASE
                WHEN octet_length(f.payload::text) <= c_bytes THEN f.payload
                ELSE jsonb_build_object('omitted', true, 'bytes', octet_length(f.payload::text))
            END,
            f.created_at, v_now
        FROM found AS f
        WHERE f.present = f.expected AND f.wanted
        ORDER BY f.endpoint_id, f.id
        ON CONFLICT ON CONSTRAINT webhook_deliveries_event DO NOTHING
        RETURNING d.endpoint_id
    ), moved AS (
        UPDATE core.webhook_cursors AS w
        SET
            epoch = s.epoch, seq = CASE WHEN s.whole THEN s.to_seq ELSE s.head END,
            lost_at = CASE WHEN s.whole THEN w.lost_at ELSE v_now END
        FROM steps AS s
        WHERE w.endpoint_id = s.endpoint_id AND w.channel = s.channel
        RETURNING s.whole, CASE WHEN s.whole THEN s.to_seq - s.from_seq ELSE 0 END AS events
    )
    SELECT
        (SELECT sum(m.events)::bigint FROM moved AS m), (SELECT count(*) FROM moved AS m WHERE NOT m.whole),
        (SELECT count(*) FROM made AS d), ARRAY(SELECT DISTINCT d.endpoint_id FROM made AS d)
    INTO events, lost, deliveries, v_woken;

    PERFORM FROM core.webhook_queues AS q WHERE q.endpoint_id = ANY (v_woken) ORDER BY q.endpoint_id FOR NO KEY UPDATE;
    UPDATE core.webhook_queues AS q SET next_at = v_now
    WHERE q.endpoint_id = ANY (v_woken) AND (q.next_at > v_now OR q.next_at IS NULL);
    last_endpoint := v_endpoints[cardinality(v_endpoints)];
    RETURN NEXT;
END;
$$;

ALTER FUNCTION api.fan_webhooks(p_after uuid, p_cursors integer, p_events integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.fan_webhooks(p_after uuid, p_cursors integer, p_events integer) IS 'Turns events of the channels user:<id> and creator:<id> into deliveries to the endpoints of that user that want them: the next p_events events of up to p_cursors channels of endpoints after p_after. Returns the endpoint it got to (NULL: there was none left), how many events it looked at, deliveries it made, and positions that were lost. Call it from the last endpoint on until there is none left, and from the beginning until nothing is done; the scheduler does.';

CREATE FUNCTION api.finish_webhook(p_delivery uuid, p_attempt integer, p_status integer, p_error text, p_duration_ms integer, p_answer text DEFAULT NULL::text, p_retry_after integer DEFAULT NULL::integer) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    c_day CONSTANT integer := 86400;
    v_now CONSTANT timestamptz := clock_timestamp();
    v_good CONSTANT boolean := p_error IS NULL AND coalesce(p_status BETWEEN 200 AND 299, false);
    v_error CONSTANT text := CASE WHEN NOT v_good THEN coalesce(p_error, 'status') END;
    v_delivery core.webhook_deliveries;
    v_former boolean;
    v_gone boolean;
    v_queue core.webhook_queues;
    v_wait interval;
    v_status text;
BEGIN
    PERFORM FROM core.webhook_queues AS q
    WHERE q.endpoint_id = (SELECT d.endpoint_id FROM core.webhook_deliveries AS d WHERE d.id = p_delivery)
    FOR NO KEY UPDATE;
    SELECT d.* INTO v_delivery
    FROM core.webhook_deliveries AS d
    WHERE d.id = p_delivery AND d.attempts = p_attempt AND d.leased_until IS NOT NULL
    FOR NO KEY UPDATE;
    IF v_delivery.id IS NULL THEN
        RETURN 'stale';
    END IF;
    -- it may have another URL by now
    v_former := coalesce((
        SELECT e.status = 'active' AND e.updated_at > v_delivery.leased_at FROM core.webhook_endpoints AS e WHERE e.id = v_delivery.endpoint_id
    ), false);
    v_gone := coalesce(p_status = 410, false) AND NOT v_former;
    -- a test is tried once
    v_wait := CASE WHEN NOT v_good AND NOT v_gone AND v_delivery.event_id IS NOT NULL THEN core._webhook_wait(v_delivery.tries + 1) END;
    v_status := CASE WHEN v_good THEN 'delivered' WHEN v_wait IS NULL THEN 'dead' ELSE 'pending' END;
    UPDATE core.webhook_deliveries AS d
    SET
        status = v_status, tries = d.tries + 1, leased_at = NULL, leased_until = NULL, last_status = p_status, last_error = v_error,
        due_at = CASE
            WHEN v_wait IS NULL THEN d.due_at
            ELSE v_now + greatest(v_wait * (1 + random() / 5), least(coalesce(p_retry_after, 0), c_day) * interval '1 second')
        END,
        ended_at = CASE WHEN v_status <> 'pending' THEN v_now END
    WHERE d.id = p_delivery;
    INSERT INTO core.webhook_attempts (delivery_id, attempt, started_at, duration_ms, status, error, answer)
    VALUES (p_delivery, p_attempt, v_delivery.leased_at, greatest(p_duration_ms, 0), p_status, v_error, left(p_answer, 1024));

    UPDATE core.webhook_queues AS q
    SET
        next_at = least(q.next_at, v_now),
        failures = CASE WHEN v_good THEN 0 WHEN v_former OR v_delivery.event_id IS NULL THEN q.failures ELSE q.failures + 1 END,
        failing_since = CASE
            WHEN v_good THEN NULL
            WHEN v_former OR v_delivery.event_id IS NULL THEN q.failing_since
            ELSE coalesce(q.failing_since, v_now)
        END
    WHERE q.endpoint_id = v_delivery.endpoint_id
    RETURNING q.* INTO v_queue;
    IF v_gone THEN
        PERFORM core._disable_webhook(v_delivery.endpoint_id, 'gone');
    ELSIF v_queue.failures > 0 AND v_queue.failures >= core._rate('webhook_disable_failures')
        AND v_queue.failing_since <= v_now - core._rate('webhook_disable_after') * interval '1 second' THEN
        PERFORM core._disable_webhook(v_delivery.endpoint_id, 'failing');
    END IF;
    RETURN CASE v_status WHEN 'pending' THEN 'retried' ELSE v_status END;
END;
$$;

ALTER FUNCTION api.finish_webhook(p_delivery uuid, p_attempt integer, p_status integer, p_error text, p_duration_ms integer, p_answer text, p_retry_after integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.finish_webhook(p_delivery uuid, p_attempt integer, p_status integer, p_error text, p_duration_ms integer, p_answer text, p_retry_after integer) IS 'Notes what became of attempt p_attempt to send a delivery: the status of the answer, or p_error in one word where there was none or it was no success; how long it took, the beginning of the answer, and for how many seconds the receiver asked to be left alone. Returns delivered; retried: it is due again by the schedule; dead: there is no further attempt; stale: it was another''s by then, and nothing is noted. 410, and failing for as long and as often as the rates webhook_disable_after and webhook_disable_failures say, disables the endpoint, of which its user is told by the event webhook.disabled; but not where the endpoint was changed after the attempt began: that is a failure to be tried again, and counts for nothing else.';

CREATE FUNCTION api.follow_channels(p_requests api.follow_request[], p_positions boolean DEFAULT true) RETURNS SETOF api.follow_outcome
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    c_batch CONSTANT integer := 1000;
BEGIN
    IF cardinality(p_requests) > c_batch THEN
        PERFORM core._raise('TS107', 'BATCH_TOO_LARGE', jsonb_build_object('size', cardinality(p_requests), 'maximum', c_batch), 'Send less at once.');
    END IF;
    RETURN QUERY
    SELECT
        q.ord::integer, p.epoch, p.seq, p.first_seq, (q.refusal).error_code, (q.refusal).error, (q.refusal).detail
    FROM (
        SELECT r.channel, r.ord, core._follow_refusal(r.user_id, r.channel) AS refusal
        FROM unnest(p_requests) WITH ORDINALITY AS r (user_id, channel, ord)
    ) AS q
    LEFT JOIN LATERAL (
        SELECT a.epoch, a.seq, a.first_seq FROM api.channel_position(q.channel) AS a
    ) AS p ON p_positions AND (q.refusal).error_code IS NULL
    ORDER BY q.ord;
END;
$$;

ALTER FUNCTION api.follow_channels(p_requests api.follow_request[], p_positions boolean) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.follow_channels(p_requests api.follow_request[], p_positions boolean) IS 'Whether these users may follow these channels, up to 1000 at once: one outcome a request, in order, each with the channel''s position (without p_positions only whether they may) or a refusal. Public streams are anybody''s, others their owner''s and ticket holders''; calls their two people''s; user and creator channels one''s own; ops that of operators and admins.';

CREATE FUNCTION api.freeze_wallet(p_wallet uuid, p_reason text, p_mode text DEFAULT 'debits'::text, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.wallets
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF (p_mode IN ('debits', 'all')) IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'mode'), 'debits, or all.');
    END IF;
    PERFORM core._set_wallet(p_wallet, 'wallet.frozen', CASE p_mode WHEN 'all' THEN 'frozen' ELSE 'debits_frozen' END, NULL, p_reason, p_actor);
    RETURN QUERY SELECT w.* FROM api.wallets AS w WHERE w.wallet_id = p_wallet;
END;
$$;

ALTER FUNCTION api.freeze_wallet(p_wallet uuid, p_reason text, p_mode text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.freeze_wallet(p_wallet uuid, p_reason text, p_mode text, p_actor uuid) IS 'Freezes wallet p_wallet: p_mode debits (it still takes money) or all. Payments, holds and captures from it, and with all also to it, are refused (WALLET_FROZEN); releases go on. Frozen as it is already: nothing changes.';

CREATE FUNCTION api.grant_tokens(p_user uuid, p_amount bigint, p_reason text, p_key text DEFAULT NULL::text, p_actor uuid DEFAULT NULL::uuid, p_asset text DEFAULT 'TOKEN'::text, OUT transfer_id uuid, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_to uuid := (SELECT w.id FROM core.wallets AS w WHERE w.owner_id = p_user AND w.asset = p_asset);
    v_status text := (SELECT u.status FROM core.users AS u WHERE u.id = p_actor);
    v_refusal core.refusal := core._check_transfer('grant', p_reason, NULL, p_key, p_actor, v_status);
    v_from uuid;
    v_result core.transfer_result;
BEGIN
    IF p_reason IS NULL OR btrim(p_reason) = '' THEN
        v_refusal := ROW('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'reason'))::core.refusal;
    ELSIF NOT EXISTS (SELECT FROM core.users AS u WHERE u.id = p_user) THEN
        v_refusal := ROW('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_user))::core.refusal;
    ELSIF v_refusal.error_code IS NULL AND EXISTS (SELECT FROM core.users AS u WHERE u.id = p_actor AND NOT 'admin' = ANY (u.roles)) THEN
        v_refusal := ROW('TS504', 'FORBIDDEN', jsonb_build_object('user_id', p_actor, 'role', 'admin'))::core.refusal;
    END IF;
    v_from := CASE WHEN v_refusal IS NULL THEN core._system_wallet('issuance', p_asset, p_user) END;
    v_result := (core._post_transfers(
        ARRAY[ROW(
            v_from, v_to, p_amount, p_asset, 'grant', p_reason, p_actor, p_key,
            core._request_hash(p_key, record_send(ROW('grant'::text, p_user, p_amount, p_asset, p_reason))),
            NULL, NULL, NULL
        )::core.transfer_request],
        ARRAY[v_refusal]
    ))[1];
    IF v_result.error_code IS NOT NULL THEN
        PERFORM core._raise(v_result.error_code, v_result.error, v_result.detail, 'Nothing was granted.');
    END IF;
    IF NOT v_result.replayed THEN
        INSERT INTO core.outbox (type, channels, payload)
        VALUES (
            'transfer.posted', core._user_channels(NULL, p_user),
            core._transfer_payload(
                v_result.transfer_id, v_from, v_to, p_amount, p_asset, 'grant', p_reason, v_result.created_at
            )
        );
        INSERT INTO core.audit_log (actor_id, action, subject_id, details)
        VALUES (
            p_actor, 'tokens.granted', p_user,
            jsonb_build_object('transfer_id', v_result.transfer_id, 'amount', p_amount, 'asset', p_asset, 'reason', p_reason)
        );
    END IF;
    transfer_id := v_result.transfer_id;
    new_balance := v_result.to_balance;
    created_at := v_result.created_at;
    replayed := v_result.replayed;
END;
$$;

ALTER FUNCTION api.grant_tokens(p_user uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid, p_asset text, OUT transfer_id uuid, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.grant_tokens(p_user uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid, p_asset text, OUT transfer_id uuid, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) IS 'Mints p_amount (minor units of p_asset) into the wallet of user p_user, from the system wallet issuance, which goes below zero by as much. An operator''s act: p_reason is required and it is written to the audit log. Repeating p_key grants once.';

CREATE FUNCTION api.hold_lag() RETURNS interval
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
    SELECT clock_timestamp() - h.expires_at
    FROM core.holds AS h
    WHERE h.status = 'open' AND h.expires_at <= clock_timestamp()
    ORDER BY h.expires_at
    LIMIT 1
$$;

ALTER FUNCTION api.hold_lag() OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.hold_lag() IS 'For how long the oldest open hold has been past its expires_at; NULL where none is. More than a minute or two: the scheduler does not run. Nobody waits for it.';

CREATE FUNCTION api.hold_payout(p_payout uuid, p_reason text, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.payouts
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    v_payout core.payouts := core._lock_payout(p_payout);
BEGIN
    PERFORM core._check_operator(p_actor, v_payout.user_id);
    IF (p_reason ~ '^[a-z][a-z0-9_]{0,62}$') IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'reason'), 'A code: small letters, digits, underscores.');
    ELSIF v_payout.status NOT IN ('requested', 'held') THEN
        PERFORM core._refuse_payout(v_payout, 'What has been sent can no longer be held.');
    END IF;
    UPDATE core.payouts AS p
    SET
        status = 'held', reason = p_reason, decided_by = p_actor,
        next_at = (SELECT h.expires_at FROM core.holds AS h WHERE h.id = p.hold_id)
    WHERE p.id = p_payout
    RETURNING p.* INTO v_payout;
    PERFORM core._payout_event('payout.held', v_payout);
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (p_actor, 'payout.held', p_payout, jsonb_build_object('amount', v_payout.amount, 'reason', p_reason));
    RETURN QUERY SELECT p.* FROM api.payouts AS p WHERE p.payout_id = p_payout;
END;
$_$;

ALTER FUNCTION api.hold_payout(p_payout uuid, p_reason text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.hold_payout(p_payout uuid, p_reason text, p_actor uuid) IS 'Holds a payout that has not been sent, with a reason (a code) that its user is shown, until api.approve_payout lets it pass, somebody cancels or fails it, or payout_open days are over.';

CREATE FUNCTION api.keep_channel_events() RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM core._make_channel_days(clock_timestamp(), 3);
    RETURN core._drop_channel_days(clock_timestamp() - core._rate('channel_events_kept') * interval '1 day');
END;
$$;

ALTER FUNCTION api.keep_channel_events() OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.keep_channel_events() IS 'Makes the partitions of core.channel_events for the coming days, drops those whose day is over for longer than the rate channel_events_kept, and returns the names of what it dropped. The scheduler calls it hourly. What is dropped can be read no more (POSITION_LOST); the events themselves stay in core.outbox.';

CREATE FUNCTION api.lease_webhooks(p_limit integer DEFAULT 50, p_lease interval DEFAULT '00:01:00'::interval) RETURNS TABLE(delivery_id uuid, attempt integer, endpoint_id uuid, url text, secrets text[], type text, event_at timestamp with time zone, payload jsonb)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    AS $$
#variable_conflict use_column
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
    v_bound CONSTANT integer := greatest(core._rate('webhook_in_flight'), 1);
    v_left integer := p_limit;
    v_queue record;
    v_room integer;
    v_leased bigint;
BEGIN
    IF (p_limit BETWEEN 1 AND 1000 AND p_lease BETWEEN interval '1 millisecond' AND interval '1 hour') IS NOT TRUE THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', CASE WHEN p_limit BETWEEN 1 AND 1000 THEN 'p_lease' ELSE 'p_limit' END),
            'A limit of 1 to 1000, for an hour at most.'
        );
    END IF;
    FOR v_queue IN
        SELECT q.endpoint_id, q.failures
        FROM core.webhook_queues AS q
        WHERE q.next_at <= v_now
        ORDER BY q.next_at
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        EXIT WHEN v_left <= 0;
        IF NOT EXISTS (
            SELECT FROM core.webhook_endpoints AS e
            INNER JOIN core.users AS u ON u.id = e.user_id
            WHERE e.id = v_queue.endpoint_id AND e.status = 'active' AND e.deleted_at IS NULL AND u.status = 'active'
        ) THEN
            -- an endpoint is woken when it is enabled; nobody says when its user is suspended no more
            UPDATE core.webhook_queues AS q
            SET next_at = (
                SELECT v_now + interval '1 minute'
                FROM core.webhook_endpoints AS e
                WHERE e.id = q.endpoint_id AND e.status = 'active' AND e.deleted_at IS NULL
            )
            WHERE q.endpoint_id = v_queue.endpoint_id;
            CONTINUE;
        END IF;
        WITH silent AS (
            SELECT d.id, d.attempts, d.leased_at
            FROM core.webhook_deliveries AS d
            WHERE d.endpoint_id = v_queue.endpoint_id AND d.leased_until <= v_now
            FOR NO KEY UPDATE
        ), noted AS (
            INSERT INTO core.webhook_attempts (delivery_id, attempt, started_at, error)
            SELECT s.id, s.attempts, s.leased_at, 'interrupted' FROM silent AS s
        )
        UPDATE core.webhook_deliveries AS d SET leased_at = NULL, leased_until = NULL, last_status = NULL, last_error = 'interrupted'
        FROM silent AS s
        WHERE d.id = s.id;
        v_room := least(
            v_left,
            CASE WHEN v_queue.failures > 0 THEN 1 ELSE v_bound END - (
                SELECT count(*) FROM core.webhook_deliveries AS d WHERE d.endpoint_id = v_queue.endpoint_id AND d.leased_until IS NOT NULL
            )
        );
        v_leased := 0;
        IF v_room > 0 THEN
            RETURN QUERY
            UPDATE core.webhook_deliveries AS d
            SET leased_at = v_now, leased_until = v_now + p_lease, attempts = d.attempts + 1
            FROM (
                SELECT x.id
                FROM core.webhook_deliveries AS x
                WHERE x.endpoint_id = v_queue.endpoint_id AND x.status = 'pending' AND x.leased_until IS NULL AND x.due_at <= v_now
                ORDER BY x.due_at
                LIMIT v_room
                FOR NO KEY UPDATE
            ) AS n
            INNER JOIN core.webhook_endpoints AS e ON e.id = v_queue.endpoint_id
            WHERE d.id = n.id
            RETURNING
                d.id, d.attempts, d.endpoint_id, e.url,
                ARRAY(
                    SELECT s.secret
                    FROM core.webhook_secrets AS s
                    WHERE s.endpoint_id = v_queue.endpoint_id AND (s.until IS NULL OR s.until > v_now)
                    ORDER BY s.created_at DESC
                ),
                d.type, d.event_at, d.payload;
            GET DIAGNOSTICS v_leased = ROW_COUNT;
            v_left := v_left - v_leased;
        END IF;
        UPDATE core.webhook_queues AS q
        SET
            next_at = least(
                (SELECT min(d.leased_until) FROM core.webhook_deliveries AS d WHERE d.endpoint_id = q.endpoint_id AND d.leased_until IS NOT NULL),
                -- where there is no room, whoever finishes says so
                CASE WHEN v_left <= 0 OR v_room > v_leased THEN (
                    SELECT CASE WHEN min(d.due_at) IS NOT NULL THEN greatest(min(d.due_at), v_now) END
                    FROM core.webhook_deliveries AS d
                    WHERE d.endpoint_id = q.endpoint_id AND d.status = 'pending' AND d.leased_until IS NULL
                ) END
            )
        WHERE q.endpoint_id = v_queue.endpoint_id;
    END LOOP;
END;
$$;

ALTER FUNCTION api.lease_webhooks(p_limit integer, p_lease interval) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.lease_webhooks(p_limit integer, p_lease interval) IS 'Up to p_limit deliveries that are due, with what is needed to send and sign them, and the number of the attempt. They are the caller''s for p_lease: send them after the commit and tell api.finish_webhook; what is not heard of by then is due again, with the same id. For the scheduler only, for it shows secrets.';

CREATE FUNCTION api.leave_streams(p_beats api.watch_beat[]) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    c_batch CONSTANT integer := 2500;
    v_gone integer;
BEGIN
    IF cardinality(p_beats) > c_batch THEN
        PERFORM core._raise('TS107', 'BATCH_TOO_LARGE', jsonb_build_object('size', cardinality(p_beats), 'maximum', c_batch), 'Send less at once.');
    END IF;
    -- what somebody else is about to renew or take out may stay
    DELETE FROM core.viewers AS v
    WHERE v.ctid = ANY (ARRAY(
        SELECT l.place
        FROM unnest(p_beats) AS b (user_id, stream_id)
        CROSS JOIN LATERAL (
            SELECT x.ctid AS place FROM core.viewers AS x
            WHERE x.stream_id = b.stream_id AND x.user_id = b.user_id
            FOR UPDATE SKIP LOCKED
        ) AS l
    ));
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    RETURN v_gone;
END;
$$;

ALTER FUNCTION api.leave_streams(p_beats api.watch_beat[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.leave_streams(p_beats api.watch_beat[]) IS 'These users do not watch these streams any more; up to 2500 at once. Returns how many were counted until now.';

CREATE FUNCTION api.make_partitions(p_ahead interval DEFAULT '3 mons'::interval) RETURNS text[]
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT core._make_partitions(least(greatest(p_ahead, '1 month'), '5 years'))
$$;

ALTER FUNCTION api.make_partitions(p_ahead interval) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.make_partitions(p_ahead interval) IS 'Makes the partitions of the months up to p_ahead from now (1 month to 5 years) and returns the names of those it made; none when they are there. The scheduler calls it daily. Rows of months that had none are in the default partition, which then becomes theirs.';

CREATE FUNCTION api.meter_call_block(p_call uuid) RETURNS api.meter_outcome
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_call CONSTANT core.calls := core._lock_call(p_call, NULL);
    v_outcome api.meter_outcome;
BEGIN
    SELECT m.* INTO v_outcome FROM core._meter_calls(ARRAY[v_call.id], clock_timestamp()) AS m;
    IF v_outcome.call_id IS NULL THEN
        v_outcome := ROW(v_call.id, v_call.status, v_call.end_reason, NULL, 0, 0, 0, NULL);
    END IF;
    RETURN v_outcome;
END;
$$;

ALTER FUNCTION api.meter_call_block(p_call uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.meter_call_block(p_call uuid) IS 'Meters call p_call now, as api.meter_due_calls does with those that are due. Repeating it pays nothing twice; nothing due or over already: nothing changes.';

CREATE FUNCTION api.meter_due_calls(p_limit integer DEFAULT 500) RETURNS SETOF api.meter_outcome
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
    v_due uuid[];
BEGIN
    v_due := ARRAY(
        SELECT k.call_id
        FROM core.call_clocks AS k
        WHERE k.due_at <= v_now
        ORDER BY k.due_at
        LIMIT least(greatest(coalesce(p_limit, 500), 1), 2000)
        FOR NO KEY UPDATE SKIP LOCKED
    );
    RETURN QUERY SELECT m.* FROM core._meter_calls(v_due, clock_timestamp()) AS m;
END;
$$;

ALTER FUNCTION api.meter_due_calls(p_limit integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.meter_due_calls(p_limit integer) IS 'Meters the calls that are due, up to p_limit of them (at most 2000), the longest due first: pays the block that starts, or those that have started meanwhile (up to 100 a call; the rest is due at once again), and ends calls that nobody answered, that the fan cannot pay for, that were not seen for the rate call_grace (billed up to their last sign of life) or that have reached their limit. One outcome a call; none: nothing is due. Any number may run at once.';

CREATE FUNCTION api.meter_lag() RETURNS interval
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT clock_timestamp() - (SELECT min(k.due_at) FROM core.call_clocks AS k)
$$;

ALTER FUNCTION api.meter_lag() OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.meter_lag() IS 'For how long the call that has waited longest has been due; below zero: nothing is due, and the next call will be in so long. NULL where no call goes on.';

CREATE FUNCTION api.note_live_event(p_id text, p_event text, p_room text, p_identity text DEFAULT NULL::text, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    c_uuid CONSTANT text := '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}';
    v_at CONSTANT timestamptz := least(p_at, clock_timestamp());
    v_came CONSTANT boolean := coalesce(p_event = 'participant_joined', false);
    v_subject uuid;
    v_user uuid;
    v_over boolean;
    v_applied boolean;
BEGIN
    IF (octet_length(p_id) BETWEEN 1 AND 255) IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'id'), 'An event has an id of 1 to 255 bytes.');
    ELSIF (p_room ~ ('^(stream|call)-' || c_uuid || '$')) IS NOT TRUE THEN
        RETURN 'ignored';
    ELSIF p_event IN ('participant_joined', 'participant_left', 'participant_connection_aborted') THEN
        v_user := substring(p_identity FROM '^' || c_uuid || '$')::uuid;
    END IF;
    IF v_user IS NULL AND p_event IS DISTINCT FROM 'room_finished' THEN
        RETURN 'ignored';
    END IF;
    v_subject := substring(p_room FROM '-(.*)$')::uuid;
    IF p_room LIKE 'call-%' THEN
        SELECT c.status IN ('ended', 'declined', 'missed') INTO v_over FROM core.calls AS c WHERE c.id = v_subject;
    ELSE
        SELECT s.status = 'ended' INTO v_over FROM core.streams AS s WHERE s.id = v_subject;
    END IF;
    IF v_over AND v_came THEN
        INSERT INTO core.live_rooms AS r (id, kind, reopened_at)
        VALUES (v_subject, split_part(p_room, '-', 1), clock_timestamp())
        ON CONFLICT ON CONSTRAINT live_rooms_pkey DO UPDATE SET reopened_at = excluded.reopened_at, closed_at = NULL;
        RETURN 'over';
    ELSIF v_over IS NOT FALSE THEN
        RETURN 'ignored';
    END IF;

    INSERT INTO core.live_events (id, event, room, identity, created_at)
    VALUES (p_id, p_event, p_room, v_user::text, v_at)
    ON CONFLICT ON CONSTRAINT live_events_pkey DO NOTHING;
    IF NOT FOUND THEN
        RETURN 'repeated';
    END IF;
    IF p_room LIKE 'call-%' THEN
        v_applied := core._note_call_presence(v_subject, v_user, CASE WHEN v_came THEN 'joined' ELSE 'left' END, v_at);
    ELSIF EXISTS (SELECT FROM core.users AS u WHERE u.id = v_user) THEN
        PERFORM core._note_viewer(v_subject, v_user, v_came, v_at);
        v_applied := true;
    END IF;
    RETURN CASE WHEN v_applied THEN 'applied' ELSE 'ignored' END;
END;
$_$;

ALTER FUNCTION api.note_live_event(p_id text, p_event text, p_room text, p_identity text, p_at timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.note_live_event(p_id text, p_event text, p_room text, p_identity text, p_at timestamp with time zone) IS 'Takes in event p_id of the media server: p_event in p_room (stream-… or call-…) about the user p_identity at p_at (NULL, or in the future: now). Returns applied; repeated (the id was told before); ignored (unknown room, user or event, or what tells nothing new); over (somebody came into a room whose stream or call is over: the scheduler closes it again). Events count viewers and may shorten a call, and never pay for anything.';

CREATE FUNCTION api.note_payment_event(p_fact api.payment_fact) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF (
        (p_fact).provider IN ('stripe', 'paystack', 'paypal', 'sandbox')
        AND octet_length((p_fact).event_id) BETWEEN 1 AND 255 AND (p_fact).type IS NOT NULL AND (p_fact).body IS NOT NULL
        AND (p_fact).kind IN (
            'paid', 'failed', 'refunded', 'refund_failed', 'disputed', 'dispute_won', 'dispute_lost', 'look', 'other'
        )
    ) IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'event'), 'Nothing was kept.');
    END IF;
    INSERT INTO core.payment_events (
        provider, event_id, type, kind, payment_id, refund_id, amount, currency, reference, charge, item, reason, body
    )
    SELECT
        (p_fact).provider, (p_fact).event_id, left((p_fact).type, 255), (p_fact).kind, (p_fact).payment_id, (p_fact).refund_id,
        (p_fact).amount, left((p_fact).currency, 16), left((p_fact).reference, 255), left((p_fact).charge, 255),
        left((p_fact).item, 255), left((p_fact).reason, 255), (p_fact).body
    ON CONFLICT ON CONSTRAINT payment_events_pkey DO NOTHING;
    RETURN FOUND;
END;
$$;

ALTER FUNCTION api.note_payment_event(p_fact api.payment_fact) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.note_payment_event(p_fact api.payment_fact) IS 'Keeps an event of a provider whose signature was found right; false where it was kept before. It takes effect by api.settle_payment, in a transaction of its own.';

CREATE TABLE core.payment_refunds (
    id uuid NOT NULL,
    payment_id uuid NOT NULL,
    actor_id uuid,
    amount bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone,
    closed_at timestamp with time zone,
    tries integer DEFAULT 0 NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    provider_refund text,
    reason text NOT NULL,
    failure text,
    CONSTRAINT payment_refunds_amount_check CHECK ((amount > 0)),
    CONSTRAINT payment_refunds_closed CHECK (((status <> 'pending'::text) = (closed_at IS NOT NULL))),
    CONSTRAINT payment_refunds_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'done'::text, 'failed'::text])))
);

ALTER TABLE core.payment_refunds OWNER TO tessera_owner;

COMMENT ON TABLE core.payment_refunds IS 'Refunds of payments, ours and those made at the provider. Tokens are taken back when a refund is written, and restored when it fails.';

COMMENT ON COLUMN core.payment_refunds.amount IS 'In the minor unit of the payment''s currency.';

COMMENT ON COLUMN core.payment_refunds.due_at IS 'When the provider is asked for it (again), with the refund''s id as idempotency key; NULL: not any more.';

COMMENT ON COLUMN core.payment_refunds.provider_refund IS 'The provider''s name of it.';

CREATE TABLE core.payments (
    id uuid NOT NULL,
    buyer_id uuid NOT NULL,
    package_id uuid NOT NULL,
    transfer_id uuid,
    tokens bigint NOT NULL,
    amount bigint NOT NULL,
    refunded bigint DEFAULT 0 NOT NULL,
    disputed bigint DEFAULT 0 NOT NULL,
    reversed bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    check_at timestamp with time zone,
    paid_at timestamp with time zone,
    failed_at timestamp with time zone,
    checks integer DEFAULT 0 NOT NULL,
    currency text NOT NULL,
    provider text NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    reference text,
    charge text,
    checkout_url text,
    success_url text NOT NULL,
    cancel_url text NOT NULL,
    failure text,
    CONSTRAINT payments_amount_check CHECK ((amount > 0)),
    CONSTRAINT payments_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT payments_disputed_check CHECK ((disputed >= 0)),
    CONSTRAINT payments_failed CHECK (((status <> 'failed'::text) OR ((failed_at IS NOT NULL) AND (failure IS NOT NULL)))),
    CONSTRAINT payments_paid CHECK ((((status = ANY (ARRAY['paid'::text, 'refunded'::text, 'disputed'::text])) = (transfer_id IS NOT NULL)) AND ((transfer_id IS NOT NULL) = (paid_at IS NOT NULL)))),
    CONSTRAINT payments_provider CHECK ((provider = ANY (ARRAY['stripe'::text, 'paystack'::text, 'paypal'::text, 'sandbox'::text]))),
    CONSTRAINT payments_refunded_check CHECK ((refunded >= 0)),
    CONSTRAINT payments_reversed CHECK ((((reversed >= 0) AND (reversed <= tokens)) AND ((reversed = 0) OR (transfer_id IS NOT NULL)))),
    CONSTRAINT payments_status CHECK ((status = ANY (ARRAY['pending'::text, 'paid'::text, 'failed'::text, 'refunded'::text, 'disputed'::text]))),
    CONSTRAINT payments_tokens_check CHECK (((tokens >= 1) AND (tokens <= '1000000000000000'::bigint)))
)
WITH (fillfactor='80');

ALTER TABLE core.payments OWNER TO tessera_owner;

COMMENT ON TABLE core.payments IS 'Payments for tokens. The row is the lock of all that happens to the payment. Written by the functions of payments only.';

COMMENT ON COLUMN core.payments.transfer_id IS 'The transfer that gave the buyer the tokens.';

COMMENT ON COLUMN core.payments.tokens IS 'What the buyer gets: the package''s tokens and its bonus when the payment was opened.';

COMMENT ON COLUMN core.payments.amount IS 'The package''s price then, in the minor unit of currency.';

COMMENT ON COLUMN core.payments.refunded IS 'Sum of its refunds that have not failed, in money.';

COMMENT ON COLUMN core.payments.disputed IS 'Sum of its disputes that are open or lost, in money.';

COMMENT ON COLUMN core.payments.reversed IS 'Tokens taken back, less those restored: always floor(tokens × min(refunded + disputed, amount) ÷ amount) once it is paid.';

COMMENT ON COLUMN core.payments.check_at IS 'When the provider is asked about it next; NULL: never.';

COMMENT ON COLUMN core.payments.checks IS 'How often the provider was asked.';

COMMENT ON COLUMN core.payments.reference IS 'The provider''s name of the checkout; NULL until it is known.';

COMMENT ON COLUMN core.payments.charge IS 'The provider''s name of the money taken: what refunds and disputes refer to.';

COMMENT ON COLUMN core.payments.failure IS 'Why it failed: a word of ours or of the provider''s.';

CREATE VIEW api.payment_refunds AS
 SELECT r.id AS refund_id,
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
   FROM (core.payment_refunds r
     JOIN core.payments p ON ((p.id = r.payment_id)));

ALTER VIEW api.payment_refunds OWNER TO tessera_owner;

COMMENT ON VIEW api.payment_refunds IS 'Refunds of payments; amount in the minor unit of currency.';

CREATE FUNCTION api.note_payment_refund(p_refund uuid, p_status text, p_provider_refund text, p_failure text DEFAULT NULL::text) RETURNS SETOF api.payment_refunds
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
    v_refund core.payment_refunds;
BEGIN
    IF (p_status IN ('pending', 'done', 'failed')) IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'status'), 'Nothing was changed.');
    END IF;
    PERFORM FROM core.payments AS p
    WHERE p.id = (SELECT r.payment_id FROM core.payment_refunds AS r WHERE r.id = p_refund)
    FOR NO KEY UPDATE;
    SELECT r.* INTO v_refund FROM core.payment_refunds AS r WHERE r.id = p_refund;
    IF v_refund.id IS NULL THEN
        PERFORM core._raise(
            'TS253', 'PAYMENT_REFUND_NOT_FOUND', jsonb_build_object('refund_id', p_refund), 'Nothing was changed.'
        );
    ELSIF EXISTS (
        SELECT FROM core.payment_refunds AS r
        WHERE r.payment_id = v_refund.payment_id AND r.id <> p_refund AND r.provider_refund = p_provider_refund
    ) THEN
        -- it was told of already, and counts there
        UPDATE core.payment_refunds AS r
        SET status = 'failed', closed_at = coalesce(r.closed_at, clock_timestamp()), due_at = NULL, failure = 'told_twice'
        WHERE r.id = p_refund AND r.provider_refund IS NULL;
    ELSIF v_refund.provider_refund <> p_provider_refund THEN
        -- a refund made at the provider was taken for this one: this one is one more
        INSERT INTO core.payment_refunds (
            id, payment_id, actor_id, amount, created_at, closed_at, status, provider_refund, reason, failure
        )
        VALUES (
            core.uuid7(), v_refund.payment_id, v_refund.actor_id, v_refund.amount, clock_timestamp(),
            CASE WHEN p_status <> 'pending' THEN clock_timestamp() END, p_status, p_provider_refund, v_refund.reason,
            CASE p_status WHEN 'failed' THEN coalesce(left(p_failure, 255), 'failed') END
        );
    ELSE
        UPDATE core.payment_refunds AS r
        SET
            provider_refund = coalesce(r.provider_refund, p_provider_refund),
            status = p_status,
            closed_at = CASE WHEN p_status <> 'pending' THEN clock_timestamp() END,
            due_at = CASE WHEN p_status = 'pending' THEN r.due_at END,
            failure = CASE p_status WHEN 'failed' THEN coalesce(left(p_failure, 255), 'failed') END
        WHERE
            r.id = p_refund
            AND (r.status = 'pending' OR r.status = 'done' AND p_status = 'failed');
    END IF;
    PERFORM core._weigh_payment(v_refund.payment_id, v_refund.reason, v_refund.actor_id);
    RETURN QUERY SELECT r.* FROM api.payment_refunds AS r WHERE r.refund_id = p_refund;
END;
$$;

ALTER FUNCTION api.note_payment_refund(p_refund uuid, p_status text, p_provider_refund text, p_failure text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.note_payment_refund(p_refund uuid, p_status text, p_provider_refund text, p_failure text) IS 'Notes what the provider made of refund p_refund: pending, done, or failed, which restores the tokens. p_provider_refund is its name there. Repeating it changes nothing.';

CREATE FUNCTION api.note_payout(p_payout uuid, p_lease uuid, p_state text, p_again_in interval, p_reference text DEFAULT NULL::text, p_amount bigint DEFAULT NULL::bigint, p_currency text DEFAULT NULL::text, p_reason text DEFAULT NULL::text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_payout CONSTANT core.payouts := core._lock_payout(p_payout);
BEGIN
    IF (p_state IN ('unknown', 'not_sent', 'not_found', 'pending', 'paid', 'failed')) IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'state'), 'Nothing was noted.');
    ELSIF v_payout.lease IS DISTINCT FROM p_lease OR v_payout.status NOT IN ('processing', 'paid') THEN
        RETURN false;
    END IF;
    INSERT INTO core.payout_reports AS r (payout_id, state, reference, amount, currency, reason, reported_at)
    VALUES (p_payout, p_state, left(p_reference, 255), p_amount, p_currency, left(p_reason, 500), clock_timestamp())
    ON CONFLICT (payout_id) DO UPDATE SET
        state = excluded.state, reference = coalesce(excluded.reference, r.reference),
        amount = coalesce(excluded.amount, r.amount), currency = coalesce(excluded.currency, r.currency),
        reason = excluded.reason, reported_at = excluded.reported_at;
    UPDATE core.payouts AS p
    SET
        next_at = CASE
            WHEN p.status = 'processing' THEN clock_timestamp() + p_again_in
            WHEN clock_timestamp() < p.paid_at + make_interval(days => core._rate('payout_watch')::integer)
                THEN clock_timestamp() + greatest(p_again_in, interval '1 hour')
        END,
        provider_reference = coalesce(left(p_reference, 255), p.provider_reference),
        sending_at = CASE WHEN p_state IN ('not_sent', 'not_found') AND p.status = 'processing' THEN NULL ELSE p.sending_at END
    WHERE p.id = p_payout;
    RETURN true;
END;
$$;

ALTER FUNCTION api.note_payout(p_payout uuid, p_lease uuid, p_state text, p_again_in interval, p_reference text, p_amount bigint, p_currency text, p_reason text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.note_payout(p_payout uuid, p_lease uuid, p_state text, p_again_in interval, p_reference text, p_amount bigint, p_currency text, p_reason text) IS 'Notes what was heard of a payout (or that nothing was: unknown) and when it is due again. After not_sent and not_found, and only then, it is sent when it is due. False, and nothing noted, where p_lease is no longer the payout''s. p_amount in ten-thousandths of p_currency.';

CREATE FUNCTION api.note_provider_day(p_provider text, p_day date, p_records jsonb) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_count integer;
BEGIN
    IF (p_provider IN ('stripe', 'paystack', 'paypal', 'sandbox') AND p_day IS NOT NULL AND jsonb_typeof(p_records) = 'array') IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'records'), 'Nothing was kept.');
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.provider_day.' || p_provider || p_day::text, 0));
    DELETE FROM core.provider_records AS r WHERE r.provider = p_provider AND r.day = p_day;
    INSERT INTO core.provider_records (provider, day, kind, record_id, payment_id, amount, currency)
    SELECT p_provider, p_day, r.kind, r.record_id, r.payment_id, r.amount, r.currency
    FROM jsonb_to_recordset(p_records) AS r (kind text, record_id text, payment_id uuid, amount bigint, currency text);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    INSERT INTO core.provider_days (provider, day, fetched_at) VALUES (p_provider, p_day, clock_timestamp())
    ON CONFLICT ON CONSTRAINT provider_days_pkey DO UPDATE SET fetched_at = excluded.fetched_at;
    RETURN v_count;
END;
$$;

ALTER FUNCTION api.note_provider_day(p_provider text, p_day date, p_records jsonb) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.note_provider_day(p_provider text, p_day date, p_records jsonb) IS 'Keeps the records of p_provider for the day p_day (UTC), in place of those kept before: an array of {kind: payment|refund, record_id, payment_id, amount, currency}; amounts in the minor unit. Then api.reconcile compares.';

CREATE FUNCTION api.open_call(p_fan uuid, p_creator uuid, p_key text DEFAULT NULL::text) RETURNS api.call_offer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    c_nothing CONSTANT text := 'No call was opened.';
    v_hash CONSTANT bytea := core._request_hash(p_key, record_send(ROW('call'::text, p_fan, p_creator)));
    v_block_us CONSTANT bigint := floor(core._rate('call_block') * 1000000);
    v_longest_us CONSTANT bigint := floor(core._rate('call_longest') * 1000000);
    v_ringing CONSTANT interval := make_interval(secs => core._rate('call_ringing'));
    v_cooldown CONSTANT interval := make_interval(secs => core._rate('call_cooldown'));
    v_id CONSTANT uuid := core.uuid7();
    v_stored jsonb;
    v_mine uuid[];
    v_settings core.creator_settings;
    v_price bigint;
    v_fan_wallet core.wallets;
    v_creator_wallet uuid;
    v_busy core.call_parties;
    v_until timestamptz;
    v_now timestamptz;
    v_offer api.call_offer;
BEGIN
    IF v_block_us <= 0 OR v_longest_us < v_block_us THEN
        PERFORM core._raise(
            'TS801', 'CONFIGURATION_ERROR', jsonb_build_object('rate', 'call_block'), 'A block is longer than nothing, and no longer than call_longest.'
        );
    ELSIF p_fan = p_creator THEN
        PERFORM core._raise('TS113', 'SELF_CALL', jsonb_build_object('user_id', p_fan), c_nothing);
    ELSIF NOT EXISTS (SELECT FROM core.users AS u WHERE u.id = p_fan) THEN
        PERFORM core._raise('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_fan), c_nothing);
    ELSIF NOT EXISTS (SELECT FROM core.users AS u WHERE u.id = p_creator AND 'creator' = ANY (u.roles)) THEN
        PERFORM core._raise('TS212', 'CREATOR_NOT_FOUND', jsonb_build_object('creator_id', p_creator), c_nothing);
    END IF;
    -- waits for whoever opens or ends a call of one of them just now
    WITH mine AS (
        INSERT INTO core.call_parties (user_id, call_id)
        SELECT p.id, v_id FROM unnest(ARRAY[p_fan, p_creator]) AS p (id) ORDER BY p.id
        ON CONFLICT ON CONSTRAINT call_parties_pkey DO NOTHING
        RETURNING user_id
    )
    SELECT array_agg(m.user_id) INTO v_mine FROM mine AS m;

    v_stored := core._stored_result(p_fan, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        DELETE FROM core.call_parties AS q WHERE q.user_id = ANY (v_mine) AND q.call_id = v_id;
        RETURN jsonb_populate_record(NULL::api.call_offer, v_stored || '{"replayed": true}');
    END IF;
    PERFORM core._check_actor(p_fan);
    SELECT s.* INTO v_settings
    FROM core.creator_settings AS s
    INNER JOIN core.users AS u ON u.id = s.user_id AND u.status = 'active'
    WHERE s.user_id = p_creator;
    IF EXISTS (SELECT FROM core.bans AS b WHERE b.creator_id = p_creator AND b.user_id = p_fan) THEN
        PERFORM core._raise('TS507', 'BANNED', jsonb_build_object('creator_id', p_creator), c_nothing);
    ELSIF v_settings.accepts_calls IS NOT TRUE THEN
        PERFORM core._raise('TS334', 'CALLS_NOT_ACCEPTED', jsonb_build_object('creator_id', p_creator), c_nothing);
    ELSIF p_fan = ANY (v_mine) IS NOT TRUE THEN
        SELECT q.* INTO v_busy FROM core.call_parties AS q WHERE q.user_id = p_fan;
        PERFORM core._raise('TS332', 'CALL_IN_PROGRESS', jsonb_build_object('call_id', v_busy.call_id), 'End that one first.');
    ELSIF p_creator = ANY (v_mine) IS NOT TRUE THEN
        PERFORM core._raise('TS333', 'CREATOR_BUSY', jsonb_build_object('creator_id', p_creator), 'Try again later.');
    END IF;
    v_now := clock_timestamp();
    v_until := (
        SELECT max(c.ended_at) + v_cooldown
        FROM core.calls AS c
        WHERE
            c.fan_id = p_fan AND c.id >= core._uuid_floor(greatest(v_now - v_cooldown - interval '1 day', 'epoch')) AND c.creator_id = p_creator
            AND c.status IN ('declined', 'missed')
    );
    IF v_until > v_now THEN
        PERFORM core._raise(
            'TS605', 'CALL_COOLDOWN',
            jsonb_build_object('creator_id', p_creator, 'until', v_until, 'retry_after', least(ceil(extract(EPOCH FROM v_until - v_now)), 2147483647)::integer),
            c_nothing
        );
    END IF;
    v_price := ceil(v_settings.rate_per_minute::numeric * v_block_us / 60000000);
    SELECT w.* INTO v_fan_wallet FROM core.wallets AS w WHERE w.owner_id = p_fan AND w.asset = 'TOKEN';
    v_creator_wallet := (SELECT w.id FROM core.wallets AS w WHERE w.owner_id = p_creator AND w.asset = 'TOKEN');
    IF v_fan_wallet.id IS NULL OR v_creator_wallet IS NULL THEN
        PERFORM core._raise('TS210', 'WALLET_NOT_FOUND', jsonb_build_object('asset', 'TOKEN'), c_nothing);
    ELSIF v_fan_wallet.balance - v_fan_wallet.held - v_fan_wallet.minimum < v_price THEN
        PERFORM core._raise(
            'TS401', 'INSUFFICIENT_TOKENS',
            jsonb_build_object(
                'required', v_price, 'current', v_fan_wallet.balance - v_fan_wallet.held - v_fan_wallet.minimum,
                'shortfall', v_price - (v_fan_wallet.balance - v_fan_wallet.held - v_fan_wallet.minimum), 'asset', 'TOKEN'
            ),
            'A call needs tokens for one block at least.'
        );
    END IF;

    v_offer := ROW(
        v_id, 'call:' || v_id::text, p_creator, 'ringing', v_settings.rate_per_minute, v_block_us / 1000, v_price,
        v_now, v_now + v_ringing, false
    );
    INSERT INTO core.calls (
        id, fan_id, creator_id, fan_wallet_id, creator_wallet_id, rate_per_minute, block_us, block_price, block_limit, opened_at
    )
    VALUES (
        v_id, p_fan, p_creator, v_fan_wallet.id, v_creator_wallet, v_settings.rate_per_minute, v_block_us, v_price,
        least(v_longest_us / v_block_us, 1000000), v_now
    );
    INSERT INTO core.call_clocks (call_id, due_at, fan_seen_at) VALUES (v_id, v_offer.rings_until, v_now);
    PERFORM core._store_result(p_fan, p_key, v_hash, to_jsonb(v_offer));
    PERFORM core._call_event('call.ringing', ARRAY[v_id]);
    RETURN v_offer;
END;
$$;

ALTER FUNCTION api.open_call(p_fan uuid, p_creator uuid, p_key text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.open_call(p_fan uuid, p_creator uuid, p_key text) IS 'User p_fan calls creator p_creator. It rings for the rate call_ringing; nothing is paid before it is accepted. The creator''s price a minute, the length of a block (rate call_block) and the longest duration (rate call_longest) are those of now, whatever becomes of them. The fan needs tokens for one block. Nobody is in two calls. p_key makes it safe to repeat.';

CREATE FUNCTION api.open_payment(p_buyer uuid, p_package uuid, p_provider text, p_success_url text, p_cancel_url text, p_key text DEFAULT NULL::text) RETURNS api.payment_order
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(
        p_key, record_send(ROW('payment'::text, p_package, p_provider, p_success_url, p_cancel_url))
    );
    v_now CONSTANT timestamptz := clock_timestamp();
    v_field CONSTANT text := CASE
        WHEN p_buyer IS NULL THEN 'buyer_id'
        WHEN (p_provider IN ('stripe', 'paystack', 'paypal', 'sandbox')) IS NOT TRUE THEN 'provider'
        WHEN (octet_length(p_success_url) BETWEEN 1 AND 2000) IS NOT TRUE THEN 'success_url'
        WHEN (octet_length(p_cancel_url) BETWEEN 1 AND 2000) IS NOT TRUE THEN 'cancel_url'
    END;
    v_stored jsonb;
    v_package core.token_packages;
    v_payment core.payments;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.key.' || p_buyer::text || p_key, 0));
    v_stored := core._stored_result(p_buyer, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        SELECT p.* INTO v_payment FROM core.payments AS p WHERE p.id = (v_stored ->> 'payment_id')::uuid;
        RETURN core._payment_order(v_payment, true);
    ELSIF v_field IS NOT NULL THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', v_field), 'Nothing was opened.');
    END IF;
    PERFORM core._check_actor(p_buyer);
    SELECT k.* INTO v_package FROM core.token_packages AS k WHERE k.id = p_package;
    IF v_package.id IS NULL OR v_package.active_from > v_now OR v_package.active_to <= v_now THEN
        PERFORM core._raise(
            'TS250', 'PACKAGE_NOT_FOUND', jsonb_build_object('package_id', p_package), 'Choose one that is on sale.'
        );
    END IF;
    INSERT INTO core.payments (
        id, buyer_id, package_id, tokens, amount, currency, provider, created_at, expires_at, check_at, success_url, cancel_url
    )
    VALUES (
        core.uuid7(), p_buyer, p_package, v_package.tokens + v_package.bonus, v_package.price, v_package.currency, p_provider,
        v_now, v_now + make_interval(secs => least(core._rate('payment_valid'), 2592000)::integer), v_now + interval '1 minute',
        p_success_url, p_cancel_url
    )
    RETURNING * INTO v_payment;
    PERFORM core._store_result(p_buyer, p_key, v_hash, jsonb_build_object('payment_id', v_payment.id));
    RETURN core._payment_order(v_payment, false);
END;
$$;

ALTER FUNCTION api.open_payment(p_buyer uuid, p_package uuid, p_provider text, p_success_url text, p_cancel_url text, p_key text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.open_payment(p_buyer uuid, p_package uuid, p_provider text, p_success_url text, p_cancel_url text, p_key text) IS 'Opens a payment of user p_buyer for package p_package by p_provider (stripe, paystack, paypal, sandbox) and returns it as the provider has to be told of it, with the payment''s id as idempotency key. Nothing is paid yet. Repeating p_key returns the same payment, with checkout_url once it is known.';

CREATE FUNCTION api.open_system_wallet(p_purpose text, p_asset text, p_minimum bigint DEFAULT 0, p_shards integer DEFAULT 1, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.wallets
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    v_field text := CASE
        WHEN p_purpose ~ '^[a-z][a-z0-9_]{1,31}$' IS NOT TRUE OR p_purpose = 'user' THEN 'purpose'
        WHEN (p_minimum BETWEEN -9000000000000000000 AND 0) IS NOT TRUE THEN 'minimum'
        WHEN (p_shards BETWEEN 1 AND 64) IS NOT TRUE THEN 'shards'
    END;
    v_count integer;
BEGIN
    PERFORM core._check_admin(p_actor);
    IF v_field IS NOT NULL THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', v_field), 'Nothing was opened.');
    ELSIF NOT EXISTS (SELECT FROM core.assets AS a WHERE a.code = p_asset) THEN
        PERFORM core._raise('TS213', 'ASSET_NOT_FOUND', jsonb_build_object('asset', p_asset), 'Nothing was opened.');
    END IF;
    -- Before the wallet's id is made, which may then wait for somebody who opens the same: what is sealed (api.seal_entries)
    -- is told by ids that are no older than the number of their transaction.
    PERFORM pg_current_xact_id();
    INSERT INTO core.wallets (purpose, asset, shard, minimum)
    SELECT p_purpose, p_asset, g.shard, p_minimum FROM generate_series(0, p_shards - 1) AS g (shard)
    ON CONFLICT (purpose, asset, shard) WHERE owner_id IS NULL DO NOTHING;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF v_count > 0 THEN
        INSERT INTO core.audit_log (actor_id, action, details)
        VALUES (
            p_actor, 'wallet.opened',
            jsonb_build_object('purpose', p_purpose, 'asset', p_asset, 'minimum', p_minimum, 'opened', v_count)
        );
    END IF;
    RETURN QUERY
    SELECT w.* FROM api.wallets AS w WHERE w.owner_id IS NULL AND w.purpose = p_purpose AND w.asset = p_asset ORDER BY w.shard;
END;
$_$;

ALTER FUNCTION api.open_system_wallet(p_purpose text, p_asset text, p_minimum bigint, p_shards integer, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.open_system_wallet(p_purpose text, p_asset text, p_minimum bigint, p_shards integer, p_actor uuid) IS 'The platform''s wallet for p_purpose (liquidity, escrow…) of asset p_asset, opened if there is none; p_minimum at most 0: how far below zero it may go; p_shards: how many it is split into where it would be hot (their sum counts).';

CREATE FUNCTION api.open_wallet(p_owner uuid, p_asset text) RETURNS SETOF api.wallets
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM core.users AS u WHERE u.id = p_owner) THEN
        PERFORM core._raise('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_owner), 'Nothing was opened.');
    ELSIF NOT EXISTS (SELECT FROM core.assets AS a WHERE a.code = p_asset) THEN
        PERFORM core._raise('TS213', 'ASSET_NOT_FOUND', jsonb_build_object('asset', p_asset), 'Nothing was opened.');
    END IF;
    -- Before the wallet's id is made, which may then wait for somebody who opens the same: what is sealed (api.seal_entries)
    -- is told by ids that are no older than the number of their transaction.
    PERFORM pg_current_xact_id();
    INSERT INTO core.wallets (owner_id, asset) VALUES (p_owner, p_asset)
    ON CONFLICT (owner_id, asset) WHERE owner_id IS NOT NULL DO NOTHING;
    RETURN QUERY SELECT w.* FROM api.wallets AS w WHERE w.owner_id = p_owner AND w.asset = p_asset;
END;
$$;

ALTER FUNCTION api.open_wallet(p_owner uuid, p_asset text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.open_wallet(p_owner uuid, p_asset text) IS 'The wallet of user p_owner for asset p_asset; opened, empty, if there is none. Assets that open with a user need no call.';

CREATE FUNCTION api.partitions() RETURNS TABLE(table_name text, partition_name text, from_at timestamp with time zone, to_at timestamp with time zone, state text, estimated_rows bigint, bytes bigint, misplaced boolean)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_one record;
    v_relation regclass;
BEGIN
    FOR v_one IN
        SELECT p.table_name, p.name, p.from_at, p.to_at, CASE WHEN p.detached_to IS NULL THEN 'attached' ELSE 'detached' END AS state
        FROM core.partitions AS p
        UNION ALL
        SELECT t.name, t.name || '_default', NULL, NULL, 'default' FROM core.partitioned AS t
        ORDER BY 1, 4
    LOOP
        v_relation := to_regclass(format('core.%I', v_one.name));
        misplaced := false;
        IF v_one.state = 'default' THEN
            EXECUTE format('SELECT EXISTS (SELECT FROM core.%I)', v_one.name) INTO misplaced;
        END IF;
        table_name := v_one.table_name;
        partition_name := v_one.name;
        from_at := v_one.from_at;
        to_at := v_one.to_at;
        state := CASE WHEN v_relation IS NULL THEN 'elsewhere' ELSE v_one.state END;
        estimated_rows := (SELECT greatest(c.reltuples, 0)::bigint FROM pg_class AS c WHERE c.oid = v_relation);
        bytes := pg_total_relation_size(v_relation);
        RETURN NEXT;
    END LOOP;
END;
$$;

ALTER FUNCTION api.partitions() OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.partitions() IS 'Partitions of each table by month (UTC), with their size: attached, detached, elsewhere (detached and dropped), and the default one, which takes what no other one does: misplaced is true where it holds rows.';

CREATE FUNCTION api.pause_call(p_call uuid, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.calls
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_call CONSTANT core.calls := core._lock_call(p_call, p_actor);
    v_now CONSTANT timestamptz := clock_timestamp();
BEGIN
    PERFORM core._must_be_accepted(v_call);
    IF core._settle_call(v_call, v_now, p_actor) AND v_call.status = 'active' THEN
        UPDATE core.calls AS c SET status = 'paused' WHERE c.id = p_call;
        UPDATE core.call_clocks AS k
        SET
            active_us = core._active_us(k, v_call.block_us, v_now),
            running_since = NULL,
            due_at = least(core._alive_until(k) + make_interval(secs => core._rate('call_grace')), v_now + interval '1 hour')
        WHERE k.call_id = p_call;
        PERFORM core._call_event('call.paused', ARRAY[p_call]);
    END IF;
    RETURN QUERY SELECT c.* FROM api.calls AS c WHERE c.call_id = p_call;
END;
$$;

ALTER FUNCTION api.pause_call(p_call uuid, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.pause_call(p_call uuid, p_actor uuid) IS 'Stops the clock of call p_call at this moment; blocks that have begun by then are paid. p_actor must be one of its people where named. Paused already: nothing changes. Look at the status that is returned: ended where what was due could not be paid.';

CREATE FUNCTION api.payout_balance(p_user uuid, OUT pending bigint, OUT payable bigint, OUT in_payouts bigint, OUT minimum bigint, OUT maturity_days integer) RETURNS record
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
    v_wallet uuid;
    v_free bigint;
BEGIN
    SELECT b.wallet_id, b.spendable INTO v_wallet, v_free FROM api.wallet_balances(p_user) AS b WHERE b.asset = 'TOKEN';
    IF v_wallet IS NULL THEN
        PERFORM core._raise('TS210', 'WALLET_NOT_FOUND', jsonb_build_object('user_id', p_user, 'asset', 'TOKEN'), 'Look it up in api.wallets.');
    END IF;
    -- never on overdraft
    v_free := v_free + (SELECT least(w.minimum, 0) FROM core.wallets AS w WHERE w.id = v_wallet);
    pending := core._pending_earnings(v_wallet, 'TOKEN');
    payable := greatest(v_free - pending, 0);
    minimum := core._rate('minimum_payout', 'TOKEN');
    maturity_days := core._rate('earnings_maturity', 'TOKEN');
    SELECT coalesce(sum(p.amount), 0)::bigint INTO in_payouts
    FROM core.payouts AS p
    WHERE p.user_id = p_user AND p.status IN ('requested', 'held', 'processing');
END;
$$;

ALTER FUNCTION api.payout_balance(p_user uuid, OUT pending bigint, OUT payable bigint, OUT in_payouts bigint, OUT minimum bigint, OUT maturity_days integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.payout_balance(p_user uuid, OUT pending bigint, OUT payable bigint, OUT in_payouts bigint, OUT minimum bigint, OUT maturity_days integer) IS 'Of the tokens of user p_user: pending (came in less than maturity_days ago), payable (can be asked for now, if it is the minimum at least), in_payouts (on their way).';

CREATE FUNCTION api.payout_lag(OUT lag interval, OUT requested bigint, OUT held bigint, OUT processing bigint, OUT unknown bigint, OUT tokens bigint) RETURNS record
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
    SELECT
        greatest(clock_timestamp() - (SELECT min(d.next_at) FROM core.payouts AS d WHERE d.next_at IS NOT NULL), interval '0'),
        count(*) FILTER (WHERE p.status = 'requested'),
        count(*) FILTER (WHERE p.status = 'held'),
        count(*) FILTER (WHERE p.status = 'processing'),
        count(*) FILTER (WHERE p.status = 'processing' AND r.state = 'unknown'),
        coalesce(sum(p.amount), 0)::bigint
    FROM core.payouts AS p
    LEFT JOIN core.payout_reports AS r ON r.payout_id = p.id
    WHERE p.status IN ('requested', 'held', 'processing')
$$;

ALTER FUNCTION api.payout_lag(OUT lag interval, OUT requested bigint, OUT held bigint, OUT processing bigint, OUT unknown bigint, OUT tokens bigint) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.payout_lag(OUT lag interval, OUT requested bigint, OUT held bigint, OUT processing bigint, OUT unknown bigint, OUT tokens bigint) IS 'Age of the payout that is due longest (NULL: none is watched), how many are requested, held, processing, and processing with an unknown outcome, and the tokens in all of them.';

CREATE FUNCTION api.place_hold(p_wallet uuid, p_amount bigint, p_expires_in interval, p_key text DEFAULT NULL::text, p_kind text DEFAULT 'hold'::text, p_reference text DEFAULT NULL::text, p_actor uuid DEFAULT NULL::uuid, p_metadata jsonb DEFAULT NULL::jsonb) RETURNS api.hold_receipt
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
BEGIN
    RETURN core._place_hold(p_wallet, p_amount, p_expires_in, p_key, p_kind, p_reference, p_actor, p_metadata, false);
END;
$$;

ALTER FUNCTION api.place_hold(p_wallet uuid, p_amount bigint, p_expires_in interval, p_key text, p_kind text, p_reference text, p_actor uuid, p_metadata jsonb) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.place_hold(p_wallet uuid, p_amount bigint, p_expires_in interval, p_key text, p_kind text, p_reference text, p_actor uuid, p_metadata jsonb) IS 'Sets p_amount (minor units) of wallet p_wallet aside for p_expires_in (up to 366 days): it cannot be spent until api.capture_hold pays it out, api.release_hold gives it back, or it expires. Never on overdraft. p_key makes it safe to repeat. p_kind, p_reference, p_metadata as in api.transfer; p_actor: who asks, on whose authority is for the caller to know.';

CREATE FUNCTION api.post_journal(p_legs api.journal_leg[], p_key text DEFAULT NULL::text, p_actor uuid DEFAULT NULL::uuid, p_metadata jsonb DEFAULT NULL::jsonb, p_event_at timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS SETOF api.journal_entry
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_status CONSTANT text := (SELECT u.status FROM core.users AS u WHERE u.id = p_actor);
    v_hash CONSTANT bytea := core._request_hash(
        p_key, record_send(ROW('journal'::text, p_legs::text, p_metadata, p_event_at))
    );
    v_requests core.transfer_request[];
    v_refusals core.refusal[];
    v_results core.transfer_result[];
    v_refusal core.transfer_result;
    v_stored jsonb;
    v_ids uuid[];
BEGIN
    IF coalesce(cardinality(p_legs), 0) = 0 THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'legs'), 'A journal has at least one leg.');
    END IF;
    SELECT array_agg(l.from_wallet_id) || array_agg(l.to_wallet_id) INTO v_ids FROM unnest(p_legs) AS l;
    PERFORM core._lock_wallets(v_ids);
    v_stored := core._stored_result(p_actor, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN QUERY
        SELECT
            e.leg, e.transfer_id, e.from_wallet_id, e.to_wallet_id, e.amount, e.asset, e.from_balance, e.to_balance,
            e.created_at, true
        FROM jsonb_populate_recordset(NULL::api.journal_entry, v_stored) AS e;
        RETURN;
    END IF;
    SELECT
        array_agg(ROW(
            l.from_wallet_id, l.to_wallet_id, l.amount, coalesce(l.asset, 'TOKEN'), coalesce(l.kind, 'journal'), l.reference,
            p_actor, NULL, NULL, 1, p_metadata, p_event_at
        )::core.transfer_request),
        array_agg(core._check_transfer(
            coalesce(l.kind, 'journal'), l.reference, p_metadata, p_key, p_actor, v_status, p_event_at
        ))
    INTO v_requests, v_refusals
    FROM unnest(p_legs) AS l;

    v_results := core._post_transfers(v_requests, v_refusals);
    SELECT r.* INTO v_refusal FROM unnest(v_results) AS r WHERE r.error_code IS NOT NULL LIMIT 1;
    IF v_refusal.error_code IS NOT NULL THEN
        PERFORM core._raise(v_refusal.error_code, v_refusal.error, v_refusal.detail, 'No leg was posted.');
    END IF;

    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'transfer.posted', core._user_channels(r.from_owner_id, r.to_owner_id),
        core._transfer_payload(
            r.transfer_id, q.from_wallet_id, q.to_wallet_id, q.amount, q.asset, q.kind, q.reference, r.created_at
        )
    FROM unnest(v_requests) WITH ORDINALITY AS q (
        from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash, link, metadata,
        event_at, ord
    )
    CROSS JOIN LATERAL (SELECT (v_results[q.ord]).*) AS r;
    PERFORM core._store_result(p_actor, p_key, v_hash, (
        SELECT jsonb_agg(to_jsonb(e) ORDER BY e.leg) FROM core._journal_entries(v_requests, v_results) AS e
    ));
    RETURN QUERY SELECT e.* FROM core._journal_entries(v_requests, v_results) AS e;
END;
$$;

ALTER FUNCTION api.post_journal(p_legs api.journal_leg[], p_key text, p_actor uuid, p_metadata jsonb, p_event_at timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.post_journal(p_legs api.journal_leg[], p_key text, p_actor uuid, p_metadata jsonb, p_event_at timestamp with time zone) IS 'Posts the legs in order, up to 5000, all of them or (raising the first refusal) none; a later leg may use what an earlier one brought. A leg moves an amount between two wallets of one asset, so each asset sums to zero; an exchange goes through liquidity wallets: one leg in each asset. Any wallet may pay: the caller answers for that. p_key makes it safe to repeat; p_metadata (up to 4 KiB) and p_event_at go to every leg.';

CREATE FUNCTION api.post_message(p_stream uuid, p_user uuid, p_body text, p_key text DEFAULT NULL::text, OUT message_id uuid, OUT created_at timestamp with time zone, OUT replayed boolean) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    c_window CONSTANT interval := '1 minute';
    v_limit CONSTANT integer := core._rate('chat_messages_minute')::integer;
    v_hash CONSTANT bytea := core._request_hash(p_key, record_send(ROW('chat'::text, p_stream, p_user, p_body)));
    v_now timestamptz;
    v_since timestamptz;
    v_used integer;
    v_stored jsonb;
    v_stream core.streams;
BEGIN
    IF p_user IS NULL OR (char_length(p_body) BETWEEN 1 AND 500 AND p_body ~ '\S') IS NOT TRUE THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', CASE WHEN p_user IS NULL THEN 'user' ELSE 'body' END),
            'A message has an author and 1 to 500 characters.'
        );
    END IF;
    PERFORM core._check_actor(p_user);
    SELECT s.* INTO v_stream FROM core.streams AS s WHERE s.id = p_stream;
    IF v_stream.id IS NULL THEN
        PERFORM core._raise('TS218', 'STREAM_NOT_FOUND', jsonb_build_object('stream_id', p_stream), 'api.streams lists them.');
    END IF;
    INSERT INTO core.chat_counters AS c (stream_id, user_id, since, used)
    VALUES (p_stream, p_user, date_bin(c_window, clock_timestamp(), '2000-01-01 00:00:00+00'), 1)
    ON CONFLICT ON CONSTRAINT chat_counters_pkey DO UPDATE
    SET
        -- the next minute may have begun while this one waited for the counter
        since = CASE WHEN c.since = excluded.since + c_window THEN c.since ELSE excluded.since END,
        used = CASE WHEN c.since IN (excluded.since, excluded.since + c_window) THEN c.used + 1 ELSE 1 END
    RETURNING c.since, c.used INTO v_since, v_used;
    v_now := clock_timestamp();

    v_stored := core._stored_result(p_user, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        UPDATE core.chat_counters AS c SET used = v_used - 1 WHERE c.stream_id = p_stream AND c.user_id = p_user;
        message_id := v_stored ->> 'message_id';
        created_at := v_stored ->> 'created_at';
        replayed := true;
        RETURN;
    ELSIF v_stream.status = 'ended' THEN
        PERFORM core._raise(
            'TS328', 'STREAM_ENDED', jsonb_build_object('stream_id', p_stream, 'ended_at', v_stream.ended_at), 'Nothing was posted.'
        );
    END IF;
    PERFORM core._admit(p_stream, p_user);
    IF EXISTS (SELECT FROM core.bans AS b WHERE b.creator_id = v_stream.creator_id AND b.user_id = p_user) THEN
        PERFORM core._raise(
            'TS507', 'BANNED', jsonb_build_object('creator_id', v_stream.creator_id), 'The creator does not want to hear from you.'
        );
    ELSIF v_used > v_limit THEN
        PERFORM core._raise(
            'TS604', 'CHAT_LIMIT',
            jsonb_build_object(
                'stream_id', p_stream, 'maximum', v_limit, 'resets_at', v_since + c_window,
                'retry_after', greatest(1, ceil(extract(EPOCH FROM v_since + c_window - v_now))::integer)
            ),
            'Nothing was posted.'
        );
    END IF;
    INSERT INTO core.messages AS m (stream_id, user_id, body, created_at) VALUES (p_stream, p_user, p_body, v_now)
    RETURNING m.id INTO message_id;
    created_at := v_now;
    replayed := false;
    PERFORM core._store_result(p_user, p_key, v_hash, jsonb_build_object('message_id', message_id, 'created_at', created_at));
    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'chat.message', ARRAY['stream:' || p_stream::text],
        jsonb_build_object(
            'message_id', message_id, 'stream_id', p_stream, 'user_id', p_user, 'username', u.username, 'body', p_body,
            'created_at', v_now
        )
    FROM core.users AS u
    WHERE u.id = p_user;
END;
$$;

ALTER FUNCTION api.post_message(p_stream uuid, p_user uuid, p_body text, p_key text, OUT message_id uuid, OUT created_at timestamp with time zone, OUT replayed boolean) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.post_message(p_stream uuid, p_user uuid, p_body text, p_key text, OUT message_id uuid, OUT created_at timestamp with time zone, OUT replayed boolean) IS 'Posts p_body, 1 to 500 characters, to the chat of stream p_stream for user p_user, who may watch it and is not banned by its creator. As many in a minute as the rate chat_messages_minute says. p_key makes it safe to repeat.';

CREATE FUNCTION api.prune_webhooks(p_limit integer DEFAULT 1000) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
    v_before CONSTANT timestamptz := v_now - core._rate('webhook_deliveries_kept') * interval '1 day';
    v_limit CONSTANT integer := least(greatest(coalesce(p_limit, 1000), 1), 10000);
    v_old uuid [];
    v_gone uuid [];
BEGIN
    v_old := ARRAY(SELECT d.id FROM core.webhook_deliveries AS d WHERE d.ended_at < v_before ORDER BY d.ended_at LIMIT v_limit FOR UPDATE SKIP LOCKED);
    v_old := v_old || ARRAY(
        SELECT d.id
        FROM core.webhook_endpoints AS e
        INNER JOIN core.webhook_deliveries AS d ON d.endpoint_id = e.id
        WHERE (e.status = 'disabled' OR e.deleted_at IS NOT NULL)
            AND (e.deleted_at IS NOT NULL OR d.status = 'pending' AND (d.leased_until IS NULL OR d.leased_until <= v_now) AND d.created_at < v_before)
        LIMIT greatest(v_limit - cardinality(v_old), 0)
        FOR UPDATE OF d SKIP LOCKED
    );
    DELETE FROM core.webhook_attempts AS a WHERE a.delivery_id = ANY (v_old);
    DELETE FROM core.webhook_deliveries AS d WHERE d.id = ANY (v_old);
    DELETE FROM core.webhook_secrets AS s WHERE s.until <= v_now;
    v_gone := ARRAY(
        SELECT e.id
        FROM core.webhook_endpoints AS e
        WHERE (e.status = 'disabled' OR e.deleted_at IS NOT NULL) AND e.deleted_at < v_now - interval '1 hour'
            AND NOT EXISTS (SELECT FROM core.webhook_deliveries AS d WHERE d.endpoint_id = e.id)
        LIMIT v_limit
        FOR UPDATE SKIP LOCKED
    );
    DELETE FROM core.webhook_cursors AS c WHERE c.endpoint_id = ANY (v_gone);
    DELETE FROM core.webhook_queues AS q WHERE q.endpoint_id = ANY (v_gone);
    DELETE FROM core.webhook_secrets AS s WHERE s.endpoint_id = ANY (v_gone);
    DELETE FROM core.webhook_endpoints AS e WHERE e.id = ANY (v_gone);
    RETURN cardinality(v_old) + cardinality(v_gone);
END;
$$;

ALTER FUNCTION api.prune_webhooks(p_limit integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.prune_webhooks(p_limit integer) IS 'Deletes up to p_limit deliveries that ended longer ago than the rate webhook_deliveries_kept says, or have waited for so long for an endpoint that is disabled, or whose endpoint was deleted; and endpoints that were deleted more than an hour ago and have none left. Returns how many that were. The scheduler calls it.';

CREATE FUNCTION api.read_channel(p_channel text, p_epoch uuid, p_after_seq bigint, p_limit integer DEFAULT 100) RETURNS SETOF api.channel_event
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_at record;
    v_rows bigint;
BEGIN
    IF p_channel IS NULL OR (p_after_seq >= 0) IS NOT TRUE OR (p_limit BETWEEN 1 AND 10000) IS NOT TRUE THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST',
            jsonb_build_object('field', CASE WHEN p_channel IS NULL THEN 'p_channel' WHEN p_after_seq >= 0 THEN 'p_limit' ELSE 'p_after_seq' END),
            'A channel, a position of 0 or more, and a limit of 1 to 10000.'
        );
    END IF;
    SELECT p.epoch, p.seq, p.first_seq INTO v_at FROM api.channel_position(p_channel) AS p;
    IF v_at.epoch = p_epoch AND p_after_seq BETWEEN v_at.first_seq - 1 AND v_at.seq THEN
        RETURN QUERY
        SELECT e.seq, o.type, o.payload, e.created_at
        FROM core.channels AS c
        INNER JOIN core.channel_events AS e ON e.channel_id = c.id
        CROSS JOIN LATERAL (
            SELECT x.type, x.payload FROM core.outbox AS x WHERE x.xid = e.xid AND x.id = e.id AND x.created_at = e.created_at
        ) AS o
        WHERE c.channel = p_channel AND e.seq > p_after_seq
        ORDER BY e.seq
        LIMIT p_limit;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
    END IF;
    -- never a gap that nobody is told of
    IF v_rows IS DISTINCT FROM least(p_limit, v_at.seq - p_after_seq) THEN
        PERFORM core._raise(
            'TS345', 'POSITION_LOST',
            jsonb_build_object('channel', p_channel, 'epoch', v_at.epoch, 'seq', v_at.seq, 'first_seq', v_at.first_seq),
            'Fetch the present state by the ordinary requests, then go on from this epoch and seq.'
        );
    END IF;
END;
$$;

ALTER FUNCTION api.read_channel(p_channel text, p_epoch uuid, p_after_seq bigint, p_limit integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.read_channel(p_channel text, p_epoch uuid, p_after_seq bigint, p_limit integer) IS 'Events of a channel with numbers above p_after_seq, in order, at most p_limit (1 to 10000). TS345 POSITION_LOST, with the present epoch and seq, where the position is of another epoch or some of what follows is not kept any more. Who may read which channel is for the caller to see to.';

CREATE FUNCTION api.read_channels(p_channels text[], p_after_seqs bigint[], p_limit integer DEFAULT 100) RETURNS SETOF api.channel_read
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
BEGIN
    IF p_channels IS NULL OR cardinality(p_channels) IS DISTINCT FROM cardinality(p_after_seqs) OR cardinality(p_channels) > 1000
        OR (p_limit BETWEEN 1 AND 10000) IS NOT TRUE THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', CASE WHEN p_limit BETWEEN 1 AND 10000 THEN 'p_channels' ELSE 'p_limit' END),
            'Up to 1000 channels, a position for each, and a limit of 1 to 10000.'
        );
    END IF;
    RETURN QUERY SELECT 0, NULL::bigint, r.entries, r.epoch::text FROM core.relay_state AS r;
    RETURN QUERY
    SELECT a.place::integer, v.first_seq, v.last_seq, v.events
    FROM unnest(p_channels, p_after_seqs) WITH ORDINALITY AS a (channel, after_seq, place)
    INNER JOIN core.channels AS c ON c.channel = a.channel AND c.seq > a.after_seq
    CROSS JOIN LATERAL (
        SELECT
            min(n.seq) AS first_seq, max(n.seq) AS last_seq,
            string_agg(concat('{"seq":', n.seq, ',', core._event_text(n.type, n.created_at, n.payload)), E'\n') AS events
        FROM (
            SELECT e.seq, o.type, o.payload, e.created_at
            FROM core.channel_events AS e
            CROSS JOIN LATERAL (
                SELECT x.type, x.payload FROM core.outbox AS x WHERE x.xid = e.xid AND x.id = e.id AND x.created_at = e.created_at LIMIT 1
            ) AS o
            WHERE e.channel_id = c.id AND e.seq > a.after_seq
            ORDER BY e.seq
            LIMIT p_limit
        ) AS n
    ) AS v
    WHERE v.first_seq IS NOT NULL
    ORDER BY a.place;
END;
$$;

ALTER FUNCTION api.read_channels(p_channels text[], p_after_seqs bigint[], p_limit integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.read_channels(p_channels text[], p_after_seqs bigint[], p_limit integer) IS 'Events of up to 1000 channels with numbers above the position of each, in order, at most p_limit a channel: a row for each channel that has any, the events as JSON objects, one a line; before them a row of place 0 with the epoch, and how many rows the log ever had, of the same moment. What is not kept any more is left out: the first number is then not the one after the position. Who may read which channel is for the caller to see to. For other readers there is api.read_channel.';

CREATE FUNCTION api.reconcile(p_provider text, p_day date) RETURNS TABLE(finding text, payment_id uuid, record_id text, detail jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
    WITH told AS (
        SELECT
            r.kind, r.record_id, r.amount, r.currency, coalesce(c.id, i.id, f.id) AS payment_id, coalesce(o.id, d.id) AS refund_id
        FROM core.provider_records AS r
        LEFT JOIN core.payments AS c ON r.kind = 'payment' AND c.provider = r.provider AND c.charge = r.record_id
        LEFT JOIN core.payments AS i ON i.provider = r.provider AND i.id = r.payment_id
        LEFT JOIN core.payment_refunds AS d ON r.kind = 'refund' AND d.provider_refund = r.record_id
        -- where the provider's own name is not told, a record has our id
        LEFT JOIN core.payment_refunds AS o
            ON r.kind = 'refund' AND o.id = CASE WHEN r.record_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN r.record_id::uuid END
        LEFT JOIN core.payments AS f ON f.provider = r.provider AND f.id = coalesce(o.payment_id, d.payment_id)
        WHERE r.provider = p_provider AND r.day = p_day
    )
    SELECT 'day_not_fetched', NULL::uuid, NULL::text, '{}'::jsonb
    WHERE NOT EXISTS (SELECT FROM core.provider_days AS d WHERE d.provider = p_provider AND d.day = p_day)
    UNION ALL
    SELECT t.kind || '_unknown_here', NULL, t.record_id, jsonb_build_object('amount', t.amount, 'currency', t.currency)
    FROM told AS t
    WHERE t.payment_id IS NULL
    UNION ALL
    SELECT
        'payment_not_credited', p.id, t.record_id,
        jsonb_build_object('amount', t.amount, 'currency', t.currency, 'status', p.status)
    FROM told AS t
    INNER JOIN core.payments AS p ON p.id = t.payment_id
    WHERE t.kind = 'payment' AND p.transfer_id IS NULL
    UNION ALL
    SELECT
        'payment_differs', p.id, t.record_id,
        jsonb_build_object('provider', jsonb_build_array(t.amount, t.currency), 'here', jsonb_build_array(p.amount, p.currency))
    FROM told AS t
    INNER JOIN core.payments AS p ON p.id = t.payment_id
    WHERE t.kind = 'payment' AND (t.amount, t.currency) <> (p.amount, p.currency)
    UNION ALL
    SELECT
        'payment_charged_twice', p.id, t.record_id, jsonb_build_object('charge', p.charge)
    FROM told AS t
    INNER JOIN core.payments AS p ON p.id = t.payment_id
    WHERE t.kind = 'payment' AND p.charge <> t.record_id
    UNION ALL
    SELECT
        'refund_not_here', p.id, t.record_id, jsonb_build_object('amount', t.amount, 'currency', t.currency)
    FROM told AS t
    INNER JOIN core.payments AS p ON p.id = t.payment_id
    WHERE
        t.kind = 'refund' AND NOT EXISTS (
            SELECT FROM core.payment_refunds AS r
            WHERE
                r.payment_id = p.id AND r.amount = t.amount AND r.status <> 'failed'
                AND (r.id = t.refund_id OR t.refund_id IS NULL AND p_provider = 'paystack')
        )
    UNION ALL
    -- the provider's day and ours need not be the same
    SELECT
        'payment_unknown_there', p.id, p.charge, jsonb_build_object('amount', p.amount, 'currency', p.currency)
    FROM core.payments AS p
    WHERE
        p.provider = p_provider AND p.paid_at >= p_day::timestamp AT TIME ZONE 'UTC'
        AND p.paid_at < (p_day + 1)::timestamp AT TIME ZONE 'UTC'
        AND EXISTS (SELECT FROM core.provider_days AS d WHERE d.provider = p_provider AND d.day = p_day)
        AND NOT EXISTS (
            SELECT FROM core.provider_records AS r
            WHERE r.provider = p_provider AND r.kind = 'payment' AND (r.record_id = p.charge OR r.payment_id = p.id)
                AND r.day BETWEEN p_day - 2 AND p_day + 2
        )
    UNION ALL
    -- made when it was asked for, or up to the day on which we heard that it is done
    SELECT
        'refund_unknown_there', p.id, coalesce(f.provider_refund, f.id::text),
        jsonb_build_object('refund_id', f.id, 'amount', f.amount, 'currency', p.currency)
    FROM core.payment_refunds AS f
    INNER JOIN core.payments AS p ON p.id = f.payment_id
    WHERE
        p.provider = p_provider AND f.status = 'done'
        AND f.closed_at >= p_day::timestamp AT TIME ZONE 'UTC' AND f.closed_at < (p_day + 1)::timestamp AT TIME ZONE 'UTC'
        AND EXISTS (
            SELECT FROM core.provider_days AS d
            WHERE d.provider = p_provider AND d.day = (f.created_at AT TIME ZONE 'UTC')::date
        )
        AND EXISTS (SELECT FROM core.provider_days AS d WHERE d.provider = p_provider AND d.day = p_day)
        AND NOT EXISTS (
            SELECT FROM core.provider_records AS r
            WHERE
                r.provider = p_provider AND r.kind = 'refund' AND r.day BETWEEN (f.created_at AT TIME ZONE 'UTC')::date - 2 AND p_day + 2
                AND (
                    r.record_id IN (f.provider_refund, f.id::text)
                    -- Paystack names some otherwise in its list
                    OR p_provider = 'paystack' AND r.payment_id = p.id AND r.amount = f.amount
                )
        )
$_$;

ALTER FUNCTION api.reconcile(p_provider text, p_day date) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.reconcile(p_provider text, p_day date) IS 'Compares what p_provider says of the day p_day (UTC; kept by api.note_provider_day) with the ledger, and returns a row for whatever does not match: payments and refunds that one side does not know, amounts that differ, payments charged twice. No rows: all is well.';

CREATE FUNCTION api.reconcile_payouts(p_provider text, p_day date, p_records api.payout_record[] DEFAULT NULL::api.payout_record[]) RETURNS TABLE(payout_id uuid, mismatch text, detail jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    WITH ours AS (
        SELECT p.*
        FROM core.payouts AS p
        WHERE
            p.provider = p_provider AND p.processing_at >= p_day::timestamp AT TIME ZONE 'UTC'
            AND p.processing_at < (p_day + 1)::timestamp AT TIME ZONE 'UTC'
    ), theirs AS (
        SELECT r.payout_id AS id, r.reference, r.state, r.amount, r.currency FROM unnest(p_records) AS r
        UNION ALL
        SELECT r.payout_id, r.reference, r.state, r.amount, r.currency
        FROM core.payout_reports AS r
        INNER JOIN ours AS o ON o.id = r.payout_id
        WHERE p_records IS NULL
    ), compared AS (
        SELECT
            coalesce(o.id, t.id) AS id,
            CASE
                WHEN o.id IS NULL AND x.id IS NULL THEN 'unknown_here'
                WHEN o.id IS NULL THEN NULL -- of another day
                WHEN t.id IS NULL AND o.status IN ('processing', 'paid') AND o.provider <> 'manual' THEN 'missing_there'
                WHEN t.id IS NULL THEN NULL
                WHEN count(*) OVER (PARTITION BY t.id) > 1 THEN 'twice_there'
                WHEN t.amount <> o.payout_amount OR upper(t.currency) <> o.currency THEN 'amount'
                WHEN t.state IN ('pending', 'paid') AND o.status NOT IN ('processing', 'paid') THEN 'failed_here'
                WHEN t.state = 'paid' AND o.status <> 'paid' THEN 'paid_there'
                WHEN t.state IN ('failed', 'not_found') AND o.status IN ('processing', 'paid') THEN 'failed_there'
                WHEN t.state = 'unknown' AND o.status = 'processing' THEN 'unknown'
                WHEN o.status = 'processing' AND o.expected_at < clock_timestamp() THEN 'late'
            END AS mismatch,
            jsonb_build_object(
                'here', o.status, 'there', t.state, 'payout_amount', o.payout_amount, 'currency', o.currency, 'amount_there', t.amount,
                'currency_there', t.currency, 'reference', coalesce(t.reference, o.provider_reference)
            ) AS detail
        FROM ours AS o
        FULL JOIN theirs AS t ON t.id = o.id
        LEFT JOIN core.payouts AS x ON x.id = t.id
    )
    SELECT c.id, c.mismatch, c.detail FROM compared AS c WHERE c.mismatch IS NOT NULL ORDER BY c.id, c.mismatch
$$;

ALTER FUNCTION api.reconcile_payouts(p_provider text, p_day date, p_records api.payout_record[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.reconcile_payouts(p_provider text, p_day date, p_records api.payout_record[]) IS 'Payouts that went to p_provider on p_day (UTC) and do not match what it says: unknown_here, missing_there, twice_there, amount, failed_here (it has or will have paid, and the tokens were given back), paid_there, failed_there, unknown, late. p_records is the provider''s own list; without one, what it said last of each. No rows: all match.';

CREATE FUNCTION api.reencrypt_payout_account(p_account uuid, p_old_key_id text, p_key_id text, p_details bytea) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    UPDATE core.payout_accounts AS a
    SET key_id = p_key_id, details = p_details
    WHERE a.id = p_account AND a.key_id = p_old_key_id;
    RETURN FOUND;
END;
$$;

ALTER FUNCTION api.reencrypt_payout_account(p_account uuid, p_old_key_id text, p_key_id text, p_details bytea) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.reencrypt_payout_account(p_account uuid, p_old_key_id text, p_key_id text, p_details bytea) IS 'Replaces the encrypted details of p_account, if they are under p_old_key_id still; whether they were. The scheduler does so after a change of keys.';

CREATE FUNCTION api.refund_transfer(p_transfer uuid, p_amount bigint DEFAULT NULL::bigint, p_key text DEFAULT NULL::text, p_policy text DEFAULT 'refuse'::text, p_reason text DEFAULT NULL::text, p_actor uuid DEFAULT NULL::uuid) RETURNS api.refund_receipt
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(
        p_key, record_send(ROW('refund'::text, p_transfer, p_amount, p_policy, p_reason))
    );
    v_status CONSTANT text := (SELECT u.status FROM core.users AS u WHERE u.id = p_actor);
    v_refusal core.refusal := core._check_transfer('refund', p_reason, NULL, p_key, p_actor, v_status, p_own => true);
    v_original core.transfers;
    v_stored jsonb;
    v_payee core.wallets;
    v_left bigint;
    v_amount bigint;
    v_owed bigint;
    v_result core.transfer_result;
    v_receipt api.refund_receipt;
BEGIN
    -- a transfer never changes, so it may be read before the lock
    SELECT t.* INTO v_original FROM core.transfers AS t WHERE t.id = p_transfer;
    PERFORM core._lock_wallets(ARRAY[v_original.from_wallet_id, v_original.to_wallet_id]);

    v_stored := core._stored_result(p_actor, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN jsonb_populate_record(NULL::api.refund_receipt, v_stored || '{"replayed": true}');
    END IF;
    PERFORM core._expire_holds(ARRAY[v_original.to_wallet_id]);
    SELECT w.* INTO v_payee FROM core.wallets AS w WHERE w.id = v_original.to_wallet_id;
    v_left := v_original.amount - coalesce((
        SELECT sum(r.amount) FROM core.refunds AS r WHERE r.original_id = p_transfer
    ), 0);
    v_amount := coalesce(p_amount, v_left);
    v_refusal := CASE
        WHEN v_refusal.error_code IS NOT NULL THEN v_refusal
        WHEN (p_policy IN ('refuse', 'within_balance', 'create_debt')) IS NOT TRUE
            THEN ROW('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'policy'))::core.refusal
        WHEN v_original.id IS NULL
            THEN ROW('TS214', 'TRANSFER_NOT_FOUND', jsonb_build_object('transfer_id', p_transfer))::core.refusal
        -- tokens of payments and payouts go back with their money: api.reverse_payment, api.fail_payout
        WHEN v_original.kind IN ('refund', 'purchase', 'purchase_restored', 'payout', 'payout_paid')
            THEN ROW('TS318', 'NOT_REFUNDABLE', jsonb_build_object('transfer_id', p_transfer, 'kind', v_original.kind))::core.refusal
        WHEN v_amount > v_left OR v_left = 0
            THEN ROW('TS315', 'REFUND_EXCEEDED', jsonb_build_object(
                'transfer_id', p_transfer, 'amount', v_original.amount::bigint, 'requested', v_amount, 'refundable', v_left
            ))::core.refusal
    END;
    IF v_refusal.error_code IS NOT NULL THEN
        PERFORM core._raise(v_refusal.error_code, v_refusal.error, v_refusal.detail, 'Nothing was refunded.');
    END IF;
    IF p_policy = 'within_balance' THEN
        -- nothing there: the whole amount, which is then refused as it should be
        v_amount := coalesce(nullif(least(v_amount, greatest(v_payee.balance - v_payee.held - v_payee.minimum, 0)), 0), v_amount);
    END IF;
    SELECT r.* INTO v_result FROM core._give_back(ARRAY[p_transfer], p_reason, p_actor, ARRAY[v_amount], p_policy) AS r;
    IF v_result.error_code IS NOT NULL THEN
        PERFORM core._raise(v_result.error_code, v_result.error, v_result.detail, 'Nothing was refunded.');
    END IF;
    v_owed := (SELECT r.owed FROM core.refunds AS r WHERE r.transfer_id = v_result.transfer_id);
    v_receipt := ROW(
        v_result.transfer_id, p_transfer, v_amount, v_owed, v_left - v_amount, v_result.from_balance, v_result.to_balance,
        v_result.created_at, false
    );
    PERFORM core._store_result(p_actor, p_key, v_hash, to_jsonb(v_receipt));
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (
        p_actor, 'transfer.refunded', p_transfer,
        jsonb_build_object(
            'transfer_id', v_result.transfer_id, 'amount', v_amount, 'owed', v_owed, 'policy', p_policy, 'reason', p_reason
        )
    );
    RETURN v_receipt;
END;
$$;

ALTER FUNCTION api.refund_transfer(p_transfer uuid, p_amount bigint, p_key text, p_policy text, p_reason text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.refund_transfer(p_transfer uuid, p_amount bigint, p_key text, p_policy text, p_reason text, p_actor uuid) IS 'Gives back p_amount (minor units; NULL: all that is left) of transfer p_transfer by a linked transfer the other way. The refunds of a transfer never sum to more than it. Where the payee has spent it, p_policy decides: refuse (TS401), within_balance (what there is, TS401 if nothing), create_debt (all; the wallet goes below its floor, and every credit pays that debt off before anything can be spent). A refund is not refundable, nor is what a payment has paid for (api.reverse_payment). p_key makes it safe to repeat.';

CREATE FUNCTION api.register_user(p_email text, p_username text, p_display_name text, p_password_hash text) RETURNS TABLE(user_id uuid, email text, username text, display_name text, created_at timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
#variable_conflict use_column
DECLARE
    v_email text := lower(btrim(p_email));
    v_username text := lower(btrim(p_username));
    v_display_name text := coalesce(nullif(btrim(p_display_name), ''), v_username);
    v_constraint text;
BEGIN
    IF v_email IS NULL OR v_email !~ '^[^@[:space:][:cntrl:]]+@[^@[:space:][:cntrl:]]+$' OR octet_length(v_email) > 254 THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'email'), 'Give an email address.');
    END IF;
    IF v_username IS NULL OR v_username !~ '^[a-z0-9][a-z0-9_.-]{1,31}$' THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'username'),
            'Use 2 to 32 of a-z, 0-9, dot, dash and underscore, the first a letter or digit.');
    END IF;
    IF char_length(v_display_name) > 80 THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'display_name'), 'At most 80 characters.');
    END IF;
    RETURN QUERY
        INSERT INTO core.users AS u (email, username, display_name, password_hash)
        VALUES (v_email, v_username, v_display_name, p_password_hash)
        RETURNING u.id, u.email, u.username, u.display_name, u.created_at;
EXCEPTION
    WHEN unique_violation THEN
        GET STACKED DIAGNOSTICS v_constraint = CONSTRAINT_NAME;
        IF v_constraint = 'users_email_key' THEN
            PERFORM core._raise('TS312', 'EMAIL_TAKEN', '{}', 'Log in, or use another email address.');
        ELSIF v_constraint = 'users_username_key' THEN
            PERFORM core._raise('TS313', 'USERNAME_TAKEN', jsonb_build_object('username', v_username), 'Choose another username.');
        END IF;
        RAISE;
END;
$_$;

ALTER FUNCTION api.register_user(p_email text, p_username text, p_display_name text, p_password_hash text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.register_user(p_email text, p_username text, p_display_name text, p_password_hash text) IS 'Make an account and its wallets. Email and username are stored in lower case; without a display name the username is shown. The password hash is argon2id in PHC form, or NULL for an account that cannot log in. Errors: TS101 INVALID_REQUEST, TS312 EMAIL_TAKEN, TS313 USERNAME_TAKEN.';

CREATE FUNCTION api.reject_adjustment(p_adjustment uuid, p_reason text, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.adjustments
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM core._check_admin(p_actor);
    PERFORM core._check_reason(p_reason);
    PERFORM core._open_adjustment(p_adjustment);
    UPDATE core.adjustments AS a
    SET
        status = 'rejected', decided_by = p_actor, decided_db_user = session_user, decided_at = clock_timestamp(),
        decision_reason = p_reason
    WHERE a.id = p_adjustment;
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (p_actor, 'adjustment.rejected', p_adjustment, jsonb_build_object('reason', p_reason));
    PERFORM core._adjustment_event('adjustment.rejected', p_adjustment);
    RETURN QUERY SELECT a.* FROM api.adjustments AS a WHERE a.adjustment_id = p_adjustment;
END;
$$;

ALTER FUNCTION api.reject_adjustment(p_adjustment uuid, p_reason text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.reject_adjustment(p_adjustment uuid, p_reason text, p_actor uuid) IS 'Rejects adjustment p_adjustment; p_reason is required. Nothing moves. One that was decided before or has expired is TS322.';

CREATE FUNCTION api.relay_events(p_limit integer DEFAULT 5000, p_backlog boolean DEFAULT true, p_age interval DEFAULT '00:00:00'::interval, p_channels text[] DEFAULT '{}'::text[]) RETURNS TABLE(busy boolean, events bigint, entries bigint, more boolean, epoch uuid, hint text, told api.channel_told[], texts api.event_told[])
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_nestloop TO 'off'
    AS $$
DECLARE
    v_state core.relay_state;
    v_chunk core.relay_chunks;
    v_found boolean;
    v_same boolean;
    v_xips xid8 [];
    v_last boolean;
    v_first timestamptz;
    v_top_id bigint;
    v_oldest timestamptz;
    v_before bigint;
    v_marks text;
    v_cluster CONSTANT text := core._cluster();
    v_history CONSTANT text := core._history();
BEGIN
    IF (p_limit BETWEEN 1 AND 100000 AND p_age >= '0' AND cardinality(p_channels) <= 1000) IS NOT TRUE OR current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST',
            jsonb_build_object('field', CASE
                WHEN (p_limit BETWEEN 1 AND 100000) IS NOT TRUE THEN 'p_limit' WHEN (p_age >= '0') IS NOT TRUE THEN 'p_age'
                WHEN cardinality(p_channels) <= 1000 THEN 'transaction_isolation' ELSE 'p_channels'
            END),
            'A limit of 1 to 100000 events, an age of 0 or more, at most 1000 channels, in a READ COMMITTED transaction.'
        );
    END IF;
    busy := false;
    events := 0;
    entries := 0;
    more := false;
    -- Nothing to do costs no lock and no number of a transaction.
    SELECT r.* INTO v_state FROM core.relay_state AS r;
    v_same := v_state.cluster = v_cluster AND v_state.history = v_history;
    IF v_same AND v_state.phase = 'own' AND v_state.target IS NULL THEN
        v_first := core._first_unrelayed(v_state.base, v_state.floor_id);
        IF v_first IS NULL OR (p_age > '0' AND v_first > clock_timestamp() - p_age) THEN
            epoch := v_state.epoch;
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    SELECT r.* INTO v_state FROM core.relay_state AS r FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        busy := true;
        RETURN NEXT;
        RETURN;
    END IF;
    IF NOT p_backlog AND (
        v_state.cluster <> v_cluster OR v_state.history <> v_history OR v_state.phase <> 'own' OR v_state.target IS NOT NULL
    ) THEN
        busy := true;
        more := true;
        epoch := v_state.epoch;
        RETURN NEXT;
        RETURN;
    END IF;
    v_before := v_state.entries;
    -- What readers are told of must be there after a crash.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    -- Another relay may have worked since the first look.
    v_same := v_state.cluster = v_cluster AND v_state.history = v_history;
    IF NOT v_same THEN
        v_state.epoch := gen_random_uuid();
        v_state.history := v_history;
    END IF;
    IF v_state.cluster <> v_cluster THEN
        -- what the other cluster had cut into chunks comes first: those are ranges of ids, which new events are beyond
        v_state.phase := 'foreign';
        v_state.cluster := v_cluster;
    END IF;

    IF v_state.target IS NULL THEN
        IF v_state.phase = 'foreign' THEN
            PERFORM core._hold_outbox();
            v_state.phase := 'restored';
        END IF;
        v_state.target := core._snapshot_of_others();
        IF v_state.phase = 'restored' OR core._is_backlog(v_state, p_limit) THEN
            IF NOT p_backlog THEN
                busy := true;
                more := true;
                epoch := v_state.epoch;
                RETURN NEXT;
                RETURN;
            END IF;
            PERFORM core._cut_chunks(v_state, p_limit);
        END IF;
        IF v_state.phase = 'restored' THEN
            v_state.floor_id := (SELECT coalesce(max(o.id), 0) FROM core.outbox AS o);
        END IF;
    END IF;
    SELECT c.* INTO v_chunk FROM core.relay_chunks AS c ORDER BY c.from_id LIMIT 1;
    v_found := FOUND;
    IF v_found THEN
        -- of a chunk it is known how large it is; of what has just been committed, which is little, planning would take longer than the rest
        PERFORM set_config('plan_cache_mode', 'force_custom_plan', true);
        DELETE FROM core.relay_chunks AS c WHERE c.from_id = v_chunk.from_id;
    ELSE
        v_chunk := (0, 9223372036854775807, pg_snapshot_xmax(v_state.base), pg_snapshot_xmax(v_state.target), 1);
    END IF;
    v_xips := CASE WHEN v_state.phase = 'restored' THEN '{}' ELSE ARRAY(SELECT x.xid FROM pg_snapshot_xip(v_state.base) AS x (xid)) END;
    v_state.relayed_at := greatest(clock_timestamp(), v_state.relayed_at);
    IF NOT EXISTS (SELECT FROM core.channel_days AS d WHERE d.from_at <= v_state.relayed_at AND d.to_at > v_state.relayed_at) THEN
        PERFORM core._make_channel_days(v_state.relayed_at, 1);
    END IF;

    WITH picked AS MATERIALIZED (
        SELECT o.xid, o.id, o.created_at, o.channels, o.type, o.payload
        FROM core.outbox AS o
        WHERE (v_found OR v_state.phase <> 'restored')
            AND o.xid >= v_chunk.from_xid AND o.xid <= v_chunk.to_xid AND o.id >= v_chunk.from_id AND o.id <= v_chunk.to_id
            AND CASE
                WHEN v_state.phase = 'restored' THEN o.id > v_state.last_id OR NOT pg_visible_in_snapshot(o.xid, v_state.base)
                ELSE o.xid >= pg_snapshot_xmax(v_state.base) AND o.id > v_state.floor_id AND pg_visible_in_snapshot(o.xid, v_state.target)
            END
        UNION ALL
        SELECT o.xid, o.id, o.created_at, o.channels, o.type, o.payload
        FROM core.outbox AS o
        WHERE o.xid = ANY (v_xips) AND o.id >= v_chunk.from_id AND o.id <= v_chunk.to_id
            AND o.id > v_state.floor_id AND pg_visible_in_snapshot(o.xid, v_state.target)
    ), numbered AS MATERIALIZED (
        SELECT d.channel, d.xid, d.id, d.created_at, row_number() OVER (PARTITION BY d.channel ORDER BY d.id) AS place
        FROM (
            SELECT DISTINCT c.channel COLLATE "C" AS channel, p.id, p.xid, p.created_at
            FROM picked AS p
            CROSS JOIN LATERAL unnest(p.channels) AS c (channel)
            WHERE c.channel IS NOT NULL
        ) AS d
    ), counted AS (
        INSERT INTO core.channels AS c (channel, seq)
        SELECT n.channel, max(n.place) FROM numbered AS n GROUP BY n.channel
        ON CONFLICT (channel) DO UPDATE SET seq = c.seq + excluded.seq
        RETURNING c.id, c.channel, c.seq
    ), before AS (
        SELECT t.id, t.channel, t.seq - m.places AS seq
        FROM counted AS t
        INNER JOIN (SELECT n.channel, max(n.place) AS places FROM numbered AS n GROUP BY n.channel) AS m ON m.channel = t.channel
    ), written AS (
        INSERT INTO core.channel_events (channel_id, seq, xid, id, created_at, relayed_at)
        SELECT b.id, b.seq + n.place, n.xid, n.id, n.created_at, v_state.relayed_at
        FROM numbered AS n
        INNER JOIN before AS b ON b.channel = n.channel
        RETURNING 1
    ), asked AS (
        SELECT b.channel, b.seq + 1 AS first_seq, n.place, n.id
        FROM (SELECT DISTINCT w.channel COLLATE "C" AS channel FROM unnest(p_channels) AS w (channel)) AS w
        INNER JOIN before AS b ON b.channel = w.channel
        INNER JOIN numbered AS n ON n.channel = b.channel
        WHERE v_state.phase = 'own'
    )
    SELECT
        p.events, (SELECT count(*) FROM written AS w), p.top_id, p.oldest,
        (
            SELECT CASE WHEN count(*) <= 900 THEN string_agg(left(md5(t.channel), 8), '') ELSE '*' END
            FROM counted AS t
        ),
        (
            SELECT array_agg((c.channel, c.first_seq, c.ids)::api.channel_told)
            FROM (SELECT a.channel, a.first_seq, array_agg(a.id ORDER BY a.place) AS ids FROM asked AS a GROUP BY a.channel, a.first_seq) AS c
        ),
        (
            SELECT array_agg((k.id, core._event_text(k.type, k.created_at, k.payload))::api.event_told)
            FROM picked AS k
            WHERE k.id IN (SELECT a.id FROM asked AS a)
        )
    INTO events, entries, v_top_id, v_oldest, v_marks, told, texts
    FROM (SELECT count(*) AS events, max(k.id) AS top_id, min(k.created_at) AS oldest FROM picked AS k) AS p;

    v_last := NOT EXISTS (SELECT FROM core.relay_chunks);
    IF v_last THEN
        v_state.base := v_state.target;
        v_state.target := NULL;
        v_state.last_id := greatest(v_state.last_id, v_top_id, CASE WHEN v_state.phase = 'restored' THEN v_state.floor_id END);
        IF v_state.phase = 'restored' THEN
            v_state.phase := 'own';
        END IF;
    END IF;
    UPDATE core.relay_state AS r
    SET
        epoch = v_state.epoch, cluster = v_state.cluster, history = v_state.history, base = v_state.base, target = v_state.target,
        last_id = v_state.last_id, floor_id = v_state.floor_id, phase = v_state.phase, relayed_at = v_state.relayed_at,
        events = r.events + relay_events.events, entries = r.entries + relay_events.entries;
    UPDATE core.channel_days AS d SET oldest_at = v_oldest
    WHERE d.from_at <= v_state.relayed_at AND d.to_at > v_state.relayed_at AND (d.oldest_at IS NULL OR d.oldest_at > v_oldest);
    IF entries > 0 OR NOT v_same THEN
        -- which channels moved, so that readers need not look at all of theirs; they see by the numbers whether they missed a hint
        hint := v_before || ':' || v_before + relay_events.entries || ':' || coalesce(v_marks, '*');
        PERFORM pg_notify('tessera_events', hint);
    END IF;
    more := NOT v_last OR v_state.phase <> 'own';
    epoch := v_state.epoch;
    RETURN NEXT;
END;
$$;

ALTER FUNCTION api.relay_events(p_limit integer, p_backlog boolean, p_age interval, p_channels text[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.relay_events(p_limit integer, p_backlog boolean, p_age interval, p_channels text[]) IS 'Gives the next events their numbers in their channels and returns how many events there were and how many rows of channels they made, whether more are waiting in chunks, the epoch, and the hint that readers are notified of; busy: another relay is at work. Call it until it finds none; the scheduler does. At most p_limit events a call (1 to 100000), all that became visible between two snapshots in the order of their ids. With p_backlog false a backlog of more than that is left to others, and busy told. With p_age nothing is done as long as the first event is younger than that: whoever committed it may be about to relay it. Of p_channels, at most 1000, it also tells what is new, each event once however many channels it is in, so that who relays need not read it; not of a restore.';

CREATE FUNCTION api.relay_lag() RETURNS TABLE(lag interval, backlog bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_state core.relay_state;
    v_first timestamptz;
    v_chunks record;
BEGIN
    SELECT r.* INTO v_state FROM core.relay_state AS r;
    SELECT sum(c.events)::bigint AS events, max(c.to_id) AS to_id INTO v_chunks FROM core.relay_chunks AS c;
    v_first := core._first_unrelayed(v_state.base, v_state.floor_id);
    lag := CASE WHEN v_first IS NOT NULL THEN greatest(clock_timestamp() - v_first, interval '0') END;
    backlog := CASE WHEN v_first IS NULL AND v_chunks.events IS NULL THEN 0 ELSE
        coalesce(v_chunks.events, 0)
        + greatest(
            (SELECT s.last_value FROM core.outbox_id_seq AS s) - greatest(v_state.last_id, v_chunks.to_id),
            CASE WHEN v_chunks.events IS NULL THEN 1 ELSE 0 END
        )
    END;
    RETURN NEXT;
END;
$$;

ALTER FUNCTION api.relay_lag() OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.relay_lag() IS 'Age of the first event that is committed and not relayed (NULL: all are; while a backlog is relayed in chunks: of its first event), and about how many there are: by the numbers given out, of which those of aborted and open transactions are never relayed or not yet.';

CREATE FUNCTION api.release_hold(p_hold uuid, p_key text DEFAULT NULL::text, p_actor uuid DEFAULT NULL::uuid) RETURNS api.hold_receipt
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(p_key, record_send(ROW('release'::text, p_hold)));
    v_wallet_id CONSTANT uuid := (SELECT h.wallet_id FROM core.holds AS h WHERE h.id = p_hold);
    v_hold core.holds;
    v_refusal core.refusal;
    v_stored jsonb;
    v_left bigint;
    v_wallet core.wallets;
    v_receipt api.hold_receipt;
BEGIN
    PERFORM core._lock_wallets(ARRAY[v_wallet_id]);

    v_stored := core._stored_result(p_actor, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN jsonb_populate_record(NULL::api.hold_receipt, v_stored || '{"replayed": true}');
    END IF;
    PERFORM core._check_actor(p_actor);
    SELECT h.* INTO v_hold FROM core.holds AS h WHERE h.id = p_hold;
    v_left := v_hold.amount - v_hold.captured - v_hold.released;
    v_refusal := core._hold_refusal(v_hold, p_hold, v_left, v_left);
    IF v_refusal.error_code IS NOT NULL THEN
        PERFORM core._raise(v_refusal.error_code, v_refusal.error, v_refusal.detail, 'Nothing was released.');
    END IF;

    UPDATE core.holds AS h
    SET status = 'released', released = h.released + v_left, closed_at = clock_timestamp()
    WHERE h.id = p_hold
    RETURNING h.* INTO v_hold;
    UPDATE core.wallets AS w
    SET
        held = w.held - v_left,
        debt = CASE WHEN w.debt > 0 THEN greatest(0, w.minimum + w.held - v_left - w.balance) ELSE 0 END
    WHERE w.id = v_wallet_id
    RETURNING w.* INTO v_wallet;
    v_receipt := core._hold_receipt(v_hold, v_wallet, NULL);
    PERFORM core._store_result(p_actor, p_key, v_hash, to_jsonb(v_receipt));
    PERFORM core._wallet_event(v_wallet_id);
    INSERT INTO core.outbox (type, channels, payload)
    VALUES ('hold.released', core._user_channels(v_wallet.owner_id, NULL), core._hold_payload(v_hold));
    RETURN v_receipt;
END;
$$;

ALTER FUNCTION api.release_hold(p_hold uuid, p_key text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.release_hold(p_hold uuid, p_key text, p_actor uuid) IS 'Gives back what hold p_hold still sets aside and closes it. One that has expired or is closed is TS316. p_key makes it safe to repeat.';

CREATE FUNCTION api.remove_message(p_stream uuid, p_message uuid, p_actor uuid DEFAULT NULL::uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_message core.messages;
BEGIN
    PERFORM core._check_actor(p_actor);
    SELECT m.* INTO v_message FROM core.messages AS m
    WHERE m.id = p_message AND m.stream_id = p_stream
    FOR NO KEY UPDATE;
    IF v_message.id IS NULL THEN
        PERFORM core._raise(
            'TS225', 'MESSAGE_NOT_FOUND', jsonb_build_object('stream_id', p_stream, 'message_id', p_message), 'api.messages lists them.'
        );
    ELSIF
        p_actor <> v_message.user_id
        AND NOT EXISTS (SELECT FROM core.streams AS s WHERE s.id = p_stream AND s.creator_id = p_actor)
        AND NOT EXISTS (SELECT FROM core.users AS u WHERE u.id = p_actor AND u.roles && ARRAY['moderator', 'admin'])
    THEN
        PERFORM core._raise(
            'TS504', 'FORBIDDEN', jsonb_build_object('message_id', p_message, 'required_role', 'moderator'),
            'Its author, the stream''s creator and moderators may.'
        );
    ELSIF v_message.removed_at IS NOT NULL THEN
        RETURN false;
    END IF;
    UPDATE core.messages AS m SET removed_at = clock_timestamp(), removed_by = p_actor WHERE m.id = p_message;
    INSERT INTO core.outbox (type, channels, payload)
    VALUES (
        'chat.message_removed', ARRAY['stream:' || p_stream::text],
        jsonb_build_object('message_id', p_message, 'stream_id', p_stream, 'removed_by', p_actor)
    );
    RETURN true;
END;
$$;

ALTER FUNCTION api.remove_message(p_stream uuid, p_message uuid, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.remove_message(p_stream uuid, p_message uuid, p_actor uuid) IS 'Removes message p_message from the chat of stream p_stream; false where it was removed before. p_actor, where named, must be its author, the stream''s creator, or a moderator.';

CREATE FUNCTION api.remove_payout_account(p_account uuid, p_user uuid) RETURNS SETOF api.payout_accounts
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM core._check_actor(p_user);
    UPDATE core.payout_accounts AS a
    SET removed_at = clock_timestamp()
    WHERE a.id = p_account AND a.user_id = p_user AND a.removed_at IS NULL;
    IF NOT FOUND THEN
        PERFORM core._raise(
            'TS261', 'PAYOUT_ACCOUNT_NOT_FOUND', jsonb_build_object('account_id', p_account), 'Nothing was removed.'
        );
    END IF;
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (p_user, 'payout_account.removed', p_account, '{}');
    RETURN QUERY SELECT a.* FROM api.payout_accounts AS a WHERE a.account_id = p_account;
END;
$$;

ALTER FUNCTION api.remove_payout_account(p_account uuid, p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.remove_payout_account(p_account uuid, p_user uuid) IS 'Removes account p_account of user p_user. A payout that has not been sent there is held (account_removed) when its turn comes. The row stays, for the books.';

CREATE FUNCTION api.repeat_payout(p_user uuid, p_amount bigint, p_account uuid, p_key text) RETURNS SETOF api.payout_receipt
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_stored CONSTANT jsonb := core._stored_result(
        p_user, p_key, core._request_hash(p_key, record_send(ROW('payout'::text, p_amount, p_account)))
    );
BEGIN
    IF v_stored IS NOT NULL THEN
        RETURN NEXT jsonb_populate_record(NULL::api.payout_receipt, v_stored || '{"replayed": true}');
    END IF;
END;
$$;

ALTER FUNCTION api.repeat_payout(p_user uuid, p_amount bigint, p_account uuid, p_key text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.repeat_payout(p_user uuid, p_amount bigint, p_account uuid, p_key text) IS 'The receipt that api.request_payout gave for this key, if it has; a repeated request needs no second code, which would be refused as used.';

CREATE TABLE core.webhook_deliveries (
    id uuid DEFAULT core.uuid7() NOT NULL,
    endpoint_id uuid NOT NULL,
    event_id bigint,
    type text NOT NULL,
    payload jsonb NOT NULL,
    event_at timestamp with time zone NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    tries smallint DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    due_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    leased_at timestamp with time zone,
    leased_until timestamp with time zone,
    last_status smallint,
    last_error text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT webhook_deliveries_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT webhook_deliveries_ended CHECK (((status = 'pending'::text) = (ended_at IS NULL))),
    CONSTRAINT webhook_deliveries_lease CHECK ((((leased_at IS NULL) = (leased_until IS NULL)) AND ((leased_until IS NULL) OR (status = 'pending'::text)))),
    CONSTRAINT webhook_deliveries_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'delivered'::text, 'dead'::text]))),
    CONSTRAINT webhook_deliveries_tries_check CHECK ((tries >= 0))
)
WITH (fillfactor='80');

ALTER TABLE core.webhook_deliveries OWNER TO tessera_owner;

COMMENT ON TABLE core.webhook_deliveries IS 'An event on its way to an endpoint, once for each of the two. Its id is the webhook-id of every attempt. Written by the functions of webhooks only.';

COMMENT ON COLUMN core.webhook_deliveries.event_id IS 'Id of the event in core.outbox; NULL: a test event, which is tried once.';

COMMENT ON COLUMN core.webhook_deliveries.tries IS 'Attempts that came to an end since it was made or last replayed: they decide when the next one is due.';

COMMENT ON COLUMN core.webhook_deliveries.attempts IS 'Attempts ever begun; the number of the last one.';

COMMENT ON COLUMN core.webhook_deliveries.leased_until IS 'Somebody is sending it; if nothing is heard of them until then, it is sent again.';

CREATE TABLE core.webhook_endpoints (
    id uuid DEFAULT core.uuid7() NOT NULL,
    user_id uuid NOT NULL,
    url text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    event_types text[] NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    disabled_at timestamp with time zone,
    disabled_reason text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    deleted_at timestamp with time zone,
    CONSTRAINT webhook_endpoints_description_check CHECK ((char_length(description) <= 200)),
    CONSTRAINT webhook_endpoints_disabled CHECK (((status = 'disabled'::text) = ((disabled_at IS NOT NULL) AND (disabled_reason IS NOT NULL)))),
    CONSTRAINT webhook_endpoints_disabled_reason_check CHECK ((disabled_reason = ANY (ARRAY['by_user'::text, 'gone'::text, 'failing'::text]))),
    CONSTRAINT webhook_endpoints_event_types_check CHECK (((cardinality(event_types) >= 1) AND (cardinality(event_types) <= 50))),
    CONSTRAINT webhook_endpoints_status_check CHECK ((status = ANY (ARRAY['active'::text, 'disabled'::text]))),
    CONSTRAINT webhook_endpoints_url_check CHECK ((((octet_length(url) >= 8) AND (octet_length(url) <= 2048)) AND (url ~ '^https?://[^[:space:]]+$'::text)))
);

ALTER TABLE core.webhook_endpoints OWNER TO tessera_owner;

COMMENT ON TABLE core.webhook_endpoints IS 'Where users want the events of their channels sent. Written by the functions of webhooks only.';

COMMENT ON COLUMN core.webhook_endpoints.event_types IS 'Which events: * (all), a group such as call.*, or a type such as tip.sent.';

COMMENT ON COLUMN core.webhook_endpoints.disabled_reason IS 'by_user; gone: it answered 410; failing: for so long and so often as the rates webhook_disable_after and webhook_disable_failures say.';

COMMENT ON COLUMN core.webhook_endpoints.deleted_at IS 'Nobody sees it from then on; api.prune_webhooks takes it out with all that belongs to it.';

CREATE VIEW api.webhook_deliveries AS
 SELECT d.id AS delivery_id,
    d.endpoint_id,
    e.user_id,
    d.type,
    d.status,
    d.attempts,
    d.last_status,
    d.last_error,
        CASE
            WHEN (d.status = 'pending'::text) THEN d.due_at
            ELSE NULL::timestamp with time zone
        END AS next_attempt_at,
    (d.leased_until IS NOT NULL) AS in_flight,
    d.event_at,
    d.created_at,
    d.ended_at,
    d.payload
   FROM (core.webhook_deliveries d
     JOIN core.webhook_endpoints e ON ((e.id = d.endpoint_id)))
  WHERE (e.deleted_at IS NULL);

ALTER VIEW api.webhook_deliveries OWNER TO tessera_owner;

COMMENT ON VIEW api.webhook_deliveries IS 'Events on their way to endpoints: pending, delivered or dead; how many attempts were begun, how the last one ended, and when the next one is due.';

CREATE FUNCTION api.replay_webhook_delivery(p_delivery uuid, p_user uuid DEFAULT NULL::uuid) RETURNS SETOF api.webhook_deliveries
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
    v_endpoint core.webhook_endpoints;
BEGIN
    SELECT e.* INTO v_endpoint
    FROM core.webhook_deliveries AS d
    INNER JOIN core.webhook_endpoints AS e ON e.id = d.endpoint_id
    WHERE d.id = p_delivery AND e.deleted_at IS NULL AND (p_user IS NULL OR e.user_id = p_user);
    IF v_endpoint.id IS NULL THEN
        PERFORM core._raise('TS242', 'WEBHOOK_DELIVERY_NOT_FOUND', jsonb_build_object('delivery_id', p_delivery), 'Nothing was done.');
    END IF;
    v_endpoint := core._lock_webhook(v_endpoint.id, p_user);
    IF v_endpoint.status <> 'active' THEN
        PERFORM core._raise(
            'TS348', 'WEBHOOK_ENDPOINT_DISABLED', jsonb_build_object('endpoint_id', v_endpoint.id, 'reason', v_endpoint.disabled_reason),
            'Enable the endpoint first.'
        );
    END IF;
    UPDATE core.webhook_deliveries AS d SET status = 'pending', tries = 0, due_at = v_now, ended_at = NULL
    WHERE d.id = p_delivery AND d.leased_until IS NULL;
    UPDATE core.webhook_queues AS q SET next_at = least(q.next_at, v_now) WHERE q.endpoint_id = v_endpoint.id;
    RETURN QUERY SELECT d.* FROM api.webhook_deliveries AS d WHERE d.delivery_id = p_delivery;
END;
$$;

ALTER FUNCTION api.replay_webhook_delivery(p_delivery uuid, p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.replay_webhook_delivery(p_delivery uuid, p_user uuid) IS 'Makes a delivery of p_user (NULL: of whomever) due at once, with the whole schedule before it again, whether it was delivered, is dead or waits; what is on its way just now stays as it is. Its webhook-id stays the same.';

CREATE FUNCTION api.request_adjustment(p_from uuid, p_to uuid, p_amount bigint, p_reason text, p_key text DEFAULT NULL::text, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.adjustments
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(
        p_key, record_send(ROW('adjustment'::text, p_from, p_to, p_amount, p_reason))
    );
    v_from core.wallets;
    v_to core.wallets;
    v_stored jsonb;
    v_id uuid;
    v_now timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.key.' || coalesce(p_actor, core._database_actor())::text || p_key, 0));
    v_stored := core._stored_result(p_actor, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN QUERY SELECT a.* FROM api.adjustments AS a WHERE a.adjustment_id = (v_stored ->> 'adjustment_id')::uuid;
        RETURN;
    END IF;
    PERFORM core._check_admin(p_actor);
    SELECT w.* INTO v_from FROM core.wallets AS w WHERE w.id = p_from;
    SELECT w.* INTO v_to FROM core.wallets AS w WHERE w.id = p_to;
    PERFORM core._check_reason(p_reason);
    IF (p_amount BETWEEN 1 AND 1000000000000000) IS NOT TRUE THEN
        PERFORM core._raise(
            'TS102', 'INVALID_AMOUNT',
            jsonb_build_object('amount', p_amount, 'minimum', 1, 'maximum', 1000000000000000), 'Nothing was asked for.'
        );
    ELSIF v_from.id IS NULL OR v_to.id IS NULL THEN
        PERFORM core._raise(
            'TS210', 'WALLET_NOT_FOUND',
            jsonb_build_object('wallet_id', CASE WHEN v_from.id IS NULL THEN p_from ELSE p_to END), 'Nothing was asked for.'
        );
    ELSIF p_from = p_to THEN
        PERFORM core._raise('TS104', 'SELF_TRANSFER', jsonb_build_object('wallet_id', p_from), 'Nothing was asked for.');
    ELSIF v_from.asset <> v_to.asset THEN
        PERFORM core._raise(
            'TS103', 'ASSET_MISMATCH', jsonb_build_object('from_asset', v_from.asset, 'to_asset', v_to.asset),
            'Nothing was asked for.'
        );
    END IF;
    v_now := clock_timestamp();
    INSERT INTO core.adjustments (
        from_wallet_id, to_wallet_id, amount, asset, reason, requested_by, requested_db_user, created_at, expires_at
    )
    VALUES (
        p_from, p_to, p_amount, v_from.asset, p_reason, p_actor, session_user, v_now,
        v_now + make_interval(days => least(core._rate('adjustment_valid'), 36500)::integer)
    )
    RETURNING id INTO v_id;
    PERFORM core._store_result(p_actor, p_key, v_hash, jsonb_build_object('adjustment_id', v_id));
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (
        p_actor, 'adjustment.requested', v_id,
        jsonb_build_object('from_wallet_id', p_from, 'to_wallet_id', p_to, 'amount', p_amount, 'asset', v_from.asset, 'reason', p_reason)
    );
    PERFORM core._adjustment_event('adjustment.requested', v_id);
    RETURN QUERY SELECT a.* FROM api.adjustments AS a WHERE a.adjustment_id = v_id;
END;
$$;

ALTER FUNCTION api.request_adjustment(p_from uuid, p_to uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.request_adjustment(p_from uuid, p_to uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid) IS 'Asks for p_amount (minor units) to be moved by hand from wallet p_from to wallet p_to. Nothing moves until somebody else calls api.approve_adjustment, within the rate adjustment_valid (days). p_reason is required. p_key makes it safe to repeat; the adjustment is returned as it is now.';

CREATE FUNCTION api.request_payout(p_user uuid, p_amount bigint, p_account uuid, p_key text DEFAULT NULL::text) RETURNS api.payout_receipt
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(p_key, record_send(ROW('payout'::text, p_amount, p_account)));
    v_wallet_id CONSTANT uuid := (SELECT w.id FROM core.wallets AS w WHERE w.owner_id = p_user AND w.asset = 'TOKEN');
    v_account core.payout_accounts;
    v_stored jsonb;
    v_price numeric;
    v_money numeric;
    v_minimum bigint;
    v_day timestamptz;
    v_count bigint;
    v_asked bigint;
    v_free bigint;
    v_pending bigint;
    v_hold api.hold_receipt;
    v_payout core.payouts;
    v_receipt api.payout_receipt;
BEGIN
    v_account := core._share_payout_account(p_account, p_user);
    PERFORM core._lock_wallets(ARRAY[v_wallet_id]);

    v_stored := core._stored_result(p_user, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN jsonb_populate_record(NULL::api.payout_receipt, v_stored || '{"replayed": true}');
    END IF;
    PERFORM core._check_actor(p_user);
    IF v_wallet_id IS NULL THEN
        PERFORM core._raise('TS210', 'WALLET_NOT_FOUND', jsonb_build_object('user_id', p_user, 'asset', 'TOKEN'), 'Nothing was held.');
    ELSIF v_account.id IS NULL OR v_account.removed_at IS NOT NULL THEN
        PERFORM core._raise(
            'TS261', 'PAYOUT_ACCOUNT_NOT_FOUND', jsonb_build_object('account_id', p_account), 'Add an account first.'
        );
    ELSIF (p_amount BETWEEN 1 AND 1000000000000000) IS NOT TRUE THEN
        PERFORM core._raise(
            'TS102', 'INVALID_AMOUNT',
            jsonb_build_object('amount', p_amount, 'minimum', 1, 'maximum', 1000000000000000), 'Nothing was held.'
        );
    END IF;

    v_price := core._rate('token_value', 'TOKEN');
    v_minimum := core._rate('minimum_payout', 'TOKEN');
    v_money := floor(p_amount * v_price / nullif(core._rate('currency_value', p_scope => lower(v_account.currency)), 0) * 100) * 100;
    IF p_amount < v_minimum OR (v_money > 0) IS NOT TRUE THEN
        PERFORM core._raise(
            'TS160', 'PAYOUT_TOO_SMALL', jsonb_build_object('amount', p_amount, 'minimum', v_minimum), 'Ask for more at once.'
        );
    END IF;

    v_day := date_trunc('day', clock_timestamp(), 'UTC');
    SELECT count(*), coalesce(sum(p.amount), 0)::bigint INTO v_count, v_asked
    FROM core.payouts AS p
    WHERE
        p.user_id = p_user AND p.id >= core._uuid_floor(v_day) AND p.created_at >= v_day
        AND p.status NOT IN ('failed', 'cancelled');
    IF v_count >= core._rate('payout_day_count', 'TOKEN') OR v_asked + p_amount > core._rate('payout_day_amount', 'TOKEN') THEN
        PERFORM core._raise(
            'TS660', 'PAYOUT_LIMIT',
            jsonb_build_object(
                'count', v_count, 'count_limit', core._rate('payout_day_count', 'TOKEN')::bigint, 'amount', v_asked,
                'amount_limit', core._rate('payout_day_amount', 'TOKEN')::bigint, 'resets_at', v_day + interval '1 day',
                'retry_after', ceil(extract(EPOCH FROM v_day + interval '1 day' - clock_timestamp()))::integer
            ),
            'Ask again tomorrow (UTC).'
        );
    END IF;

    PERFORM core._expire_holds(ARRAY[v_wallet_id]);
    v_free := (
        SELECT w.balance - w.held - greatest(w.minimum, 0) FROM core.wallets AS w WHERE w.id = v_wallet_id
    );
    v_pending := core._pending_earnings(v_wallet_id, 'TOKEN');
    IF p_amount <= v_free AND p_amount > v_free - v_pending THEN
        PERFORM core._raise(
            'TS460', 'EARNINGS_PENDING',
            jsonb_build_object(
                'required', p_amount, 'payable', greatest(v_free - v_pending, 0), 'pending', v_pending,
                'days', core._rate('earnings_maturity', 'TOKEN')::integer
            ),
            'What came in lately can be paid out when it is old enough.'
        );
    END IF;

    -- a currency may be worth next to nothing
    IF greatest(v_money, p_amount * v_price * 10000) > 1000000000000000000 THEN
        PERFORM core._raise(
            'TS102', 'INVALID_AMOUNT',
            jsonb_build_object(
                'amount', p_amount, 'minimum', v_minimum,
                'maximum', floor(p_amount::numeric * 1000000000000000000 / greatest(v_money, p_amount * v_price * 10000))::bigint
            ),
            'It is too much at once.'
        );
    END IF;
    v_payout.value := floor(p_amount * v_price * 10000);
    v_payout.payout_amount := v_money;
    v_payout.id := core.uuid7();
    v_hold := core._place_hold(
        v_wallet_id, p_amount, make_interval(days => core._rate('payout_open')::integer), NULL, 'payout', v_payout.id::text,
        p_user, NULL, true
    );
    v_payout.reason := core._payout_review(v_account, p_amount);
    INSERT INTO core.payouts AS n (
        id, user_id, wallet_id, account_id, hold_id, amount, value, payout_amount, token_value, currency, provider, status, reason,
        created_at, expected_at, next_at
    )
    VALUES (
        v_payout.id, p_user, v_wallet_id, p_account, v_hold.hold_id, p_amount, v_payout.value, v_payout.payout_amount, v_price,
        v_account.currency, v_account.provider, CASE WHEN v_payout.reason IS NULL THEN 'requested' ELSE 'held' END,
        v_payout.reason, v_hold.created_at,
        v_hold.created_at + make_interval(days => core._rate('payout_expected')::integer),
        CASE WHEN v_payout.reason IS NULL THEN v_hold.created_at ELSE v_hold.expires_at END
    )
    RETURNING n.* INTO v_payout;
    v_receipt := ROW(
        v_payout.id, v_payout.status, v_payout.reason, p_amount, v_payout.value, v_payout.currency, v_payout.payout_amount,
        v_hold.balance, v_hold.spendable, v_payout.expected_at, v_payout.created_at, false
    );
    PERFORM core._store_result(p_user, p_key, v_hash, to_jsonb(v_receipt));
    PERFORM core._payout_event('payout.requested', v_payout);
    IF v_payout.status = 'held' THEN
        PERFORM core._payout_event('payout.held', v_payout);
    END IF;
    RETURN v_receipt;
END;
$$;

ALTER FUNCTION api.request_payout(p_user uuid, p_amount bigint, p_account uuid, p_key text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.request_payout(p_user uuid, p_amount bigint, p_account uuid, p_key text) IS 'User p_user asks for p_amount tokens as money, at account p_account. They are held at once, at the rate token_value of this moment; payout_amount is rounded down to whole hundredths of the account''s currency. By the rates payout_review_* it is held for an operator, with the reason; otherwise a scheduler sends it. That it is the user who asks is for the caller to know (password or code). p_key makes it safe to repeat.';

CREATE TABLE core.payment_events (
    provider text NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    kind text NOT NULL,
    payment_id uuid,
    refund_id uuid,
    amount bigint,
    received_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    applied_at timestamp with time zone,
    due_at timestamp with time zone DEFAULT clock_timestamp(),
    tries integer DEFAULT 0 NOT NULL,
    currency text,
    reference text,
    charge text,
    item text,
    reason text,
    outcome text DEFAULT 'received'::text NOT NULL,
    error text,
    body bytea NOT NULL,
    CONSTRAINT payment_events_event_id_check CHECK (((octet_length(event_id) >= 1) AND (octet_length(event_id) <= 255))),
    CONSTRAINT payment_events_kind CHECK ((kind = ANY (ARRAY['paid'::text, 'failed'::text, 'refunded'::text, 'refund_failed'::text, 'disputed'::text, 'dispute_won'::text, 'dispute_lost'::text, 'look'::text, 'other'::text]))),
    CONSTRAINT payment_events_outcome CHECK ((outcome = ANY (ARRAY['received'::text, 'applied'::text, 'repeated'::text, 'ignored'::text, 'unknown'::text, 'mismatch'::text, 'duplicate'::text, 'contradiction'::text, 'refused'::text, 'resolved'::text]))),
    CONSTRAINT payment_events_provider_check CHECK ((provider = ANY (ARRAY['stripe'::text, 'paystack'::text, 'paypal'::text, 'sandbox'::text])))
);

ALTER TABLE core.payment_events OWNER TO tessera_owner;

COMMENT ON TABLE core.payment_events IS 'What providers have told, each event once, as it came and as it was understood. Written by the functions of payments only.';

COMMENT ON COLUMN core.payment_events.kind IS 'What it means to us; look: the provider has to be asked; other: nothing.';

COMMENT ON COLUMN core.payment_events.due_at IS 'When it is applied (again) at the latest; NULL: done with.';

COMMENT ON COLUMN core.payment_events.item IS 'The provider''s name of the refund or dispute it is about.';

COMMENT ON COLUMN core.payment_events.outcome IS 'applied; repeated (nothing new); ignored; for a person: unknown (no such payment), mismatch (other amount or currency), duplicate (a second charge), contradiction (a dispute both won and lost), refused (the ledger said no: see error); resolved by a person.';

COMMENT ON COLUMN core.payment_events.body IS 'The body, byte for byte.';

CREATE VIEW api.payment_events AS
 SELECT provider,
    event_id,
    type,
    kind,
    payment_id,
    amount,
    currency,
    reference,
    charge,
    item,
    reason,
    outcome,
    error,
    tries,
    received_at,
    applied_at,
    due_at,
    (outcome = ANY (ARRAY['unknown'::text, 'mismatch'::text, 'duplicate'::text, 'contradiction'::text, 'refused'::text])) AS open
   FROM core.payment_events e;

ALTER VIEW api.payment_events OWNER TO tessera_owner;

COMMENT ON VIEW api.payment_events IS 'What providers have told and what became of it, without the bodies. open: it waits for a person.';

CREATE FUNCTION api.resolve_payment_event(p_provider text, p_event text, p_reason text, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.payment_events
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_event core.payment_events;
BEGIN
    PERFORM core._check_admin(p_actor);
    PERFORM core._check_reason(p_reason);
    SELECT e.* INTO v_event
    FROM core.payment_events AS e
    WHERE e.provider = p_provider AND e.event_id = p_event
    FOR NO KEY UPDATE;
    IF v_event.event_id IS NULL THEN
        PERFORM core._raise(
            'TS252', 'PAYMENT_EVENT_NOT_FOUND', jsonb_build_object('provider', p_provider, 'event_id', p_event), 'Nothing was done.'
        );
    ELSIF v_event.outcome IN ('unknown', 'mismatch', 'duplicate', 'contradiction', 'refused') THEN
        UPDATE core.payment_events AS e SET outcome = 'resolved', due_at = NULL
        WHERE e.provider = p_provider AND e.event_id = p_event;
        INSERT INTO core.audit_log (actor_id, action, subject_id, details)
        VALUES (
            p_actor, 'payment_event.resolved', v_event.payment_id,
            jsonb_build_object('provider', p_provider, 'event_id', p_event, 'outcome', v_event.outcome, 'reason', p_reason)
        );
    END IF;
    RETURN QUERY SELECT e.* FROM api.payment_events AS e WHERE e.provider = p_provider AND e.event_id = p_event;
END;
$$;

ALTER FUNCTION api.resolve_payment_event(p_provider text, p_event text, p_reason text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.resolve_payment_event(p_provider text, p_event text, p_reason text, p_actor uuid) IS 'Closes an event that waits for a person, with a reason, which goes to the audit log. It moves nothing. One that does not wait stays as it is.';

CREATE FUNCTION api.resume_call(p_call uuid, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.calls
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_call CONSTANT core.calls := core._lock_call(p_call, p_actor);
    v_now CONSTANT timestamptz := clock_timestamp();
BEGIN
    PERFORM core._must_be_accepted(v_call);
    IF core._settle_call(v_call, v_now, p_actor) AND v_call.status = 'paused' THEN
        UPDATE core.calls AS c SET status = 'active' WHERE c.id = p_call;
        UPDATE core.call_clocks AS k SET running_since = v_now WHERE k.call_id = p_call;
        PERFORM core._call_event('call.resumed', ARRAY[p_call]);
        PERFORM core._meter_calls(ARRAY[p_call], v_now);
    END IF;
    RETURN QUERY SELECT c.* FROM api.calls AS c WHERE c.call_id = p_call;
END;
$$;

ALTER FUNCTION api.resume_call(p_call uuid, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.resume_call(p_call uuid, p_actor uuid) IS 'The clock of call p_call goes on from where it stopped: what is left of a paid block is used up first. p_actor must be one of its people where named. Active already: nothing changes.';

CREATE FUNCTION api.reverse_payment(p_payment uuid, p_amount bigint, p_reason text, p_key text DEFAULT NULL::text, p_actor uuid DEFAULT NULL::uuid) RETURNS api.refund_order
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(
        p_key, record_send(ROW('payment_refund'::text, p_payment, p_amount, p_reason))
    );
    v_payment core.payments;
    v_stored jsonb;
    v_left bigint;
    v_amount bigint;
    v_id uuid;
BEGIN
    PERFORM core._check_admin(p_actor);
    PERFORM core._check_reason(p_reason);
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.key.' || coalesce(p_actor, core._database_actor())::text || p_key, 0));
    SELECT p.* INTO v_payment FROM core.payments AS p WHERE p.id = p_payment FOR NO KEY UPDATE;
    v_stored := core._stored_result(p_actor, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN core._refund_order((v_stored ->> 'refund_id')::uuid, true);
    END IF;
    v_left := greatest(0, v_payment.amount - v_payment.refunded - v_payment.disputed);
    v_amount := coalesce(p_amount, v_left);
    IF v_payment.id IS NULL THEN
        PERFORM core._raise('TS251', 'PAYMENT_NOT_FOUND', jsonb_build_object('payment_id', p_payment), 'Nothing was refunded.');
    ELSIF v_payment.transfer_id IS NULL THEN
        PERFORM core._raise(
            'TS350', 'PAYMENT_NOT_PAID', jsonb_build_object('payment_id', p_payment, 'payment_status', v_payment.status),
            'Nothing was refunded.'
        );
    ELSIF v_amount NOT BETWEEN 1 AND v_left THEN
        PERFORM core._raise(
            'TS351', 'PAYMENT_REFUND_EXCEEDED',
            jsonb_build_object(
                'payment_id', p_payment, 'amount', v_payment.amount, 'requested', v_amount, 'refundable', v_left,
                'currency', v_payment.currency
            ),
            'Nothing was refunded.'
        );
    END IF;
    INSERT INTO core.payment_refunds (id, payment_id, actor_id, amount, created_at, due_at, reason)
    VALUES (
        core.uuid7(), p_payment, p_actor, v_amount, clock_timestamp(), clock_timestamp() + interval '45 seconds', p_reason
    )
    RETURNING id INTO v_id;
    PERFORM core._weigh_payment(p_payment, p_reason, p_actor);
    PERFORM core._store_result(p_actor, p_key, v_hash, jsonb_build_object('refund_id', v_id));
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (
        p_actor, 'payment.refunded', p_payment,
        jsonb_build_object('refund_id', v_id, 'amount', v_amount, 'currency', v_payment.currency, 'reason', p_reason)
    );
    RETURN core._refund_order(v_id, false);
END;
$$;

ALTER FUNCTION api.reverse_payment(p_payment uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.reverse_payment(p_payment uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid) IS 'Refunds p_amount (minor unit of the payment''s currency; NULL: all that is left) of payment p_payment: takes the same part of its tokens back at once, into debt where they are spent, and leaves the refund to be asked of the provider with its id as idempotency key. If the provider refuses, api.note_payment_refund restores the tokens.';

CREATE FUNCTION api.rotate_webhook_secret(p_endpoint uuid, p_user uuid DEFAULT NULL::uuid) RETURNS TABLE(secret text, old_secrets_until timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
    c_signing CONSTANT integer := 5;
    v_endpoint CONSTANT core.webhook_endpoints := core._lock_webhook(p_endpoint, p_user);
    v_until CONSTANT timestamptz := clock_timestamp() + core._rate('webhook_secret_overlap') * interval '1 second';
BEGIN
    UPDATE core.webhook_secrets AS s SET until = v_until WHERE s.endpoint_id = v_endpoint.id AND s.until IS NULL;
    DELETE FROM core.webhook_secrets AS s
    USING (
        SELECT x.secret
        FROM core.webhook_secrets AS x
        WHERE x.endpoint_id = v_endpoint.id
        ORDER BY x.created_at DESC
        OFFSET c_signing - 1
    ) AS o
    WHERE s.endpoint_id = v_endpoint.id AND (s.secret = o.secret OR s.until <= clock_timestamp());
    DELETE FROM core.webhook_secrets AS s WHERE s.endpoint_id = v_endpoint.id AND s.until <= clock_timestamp();
    UPDATE core.webhook_endpoints AS e SET updated_at = clock_timestamp() WHERE e.id = v_endpoint.id;
    secret := core._new_webhook_secret(v_endpoint.id);
    old_secrets_until := v_until;
    RETURN NEXT;
END;
$$;

ALTER FUNCTION api.rotate_webhook_secret(p_endpoint uuid, p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.rotate_webhook_secret(p_endpoint uuid, p_user uuid) IS 'Gives an endpoint of p_user (NULL: of whomever) a new secret and returns it, here and nowhere else. Until old_secrets_until (the rate webhook_secret_overlap from now) deliveries are signed with the old one too; with at most 5 in all.';

CREATE TABLE core.audits (
    id uuid DEFAULT core.uuid7() NOT NULL,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone NOT NULL,
    violations bigint NOT NULL,
    found jsonb NOT NULL,
    CONSTRAINT audits_order CHECK ((started_at <= finished_at)),
    CONSTRAINT audits_violations_check CHECK ((violations >= 0))
);

ALTER TABLE core.audits OWNER TO tessera_owner;

COMMENT ON TABLE core.audits IS 'Runs of the auditor (api.run_audit), the newest thousand.';

COMMENT ON COLUMN core.audits.found IS 'The first hundred violations, as api.audit_ledger returns them.';

CREATE VIEW api.audits AS
 SELECT id AS audit_id,
    started_at,
    finished_at,
    violations,
    found
   FROM core.audits a;

ALTER VIEW api.audits OWNER TO tessera_owner;

COMMENT ON VIEW api.audits IS 'Runs of the auditor: when, how many invariants were broken, and the first hundred of them.';

CREATE FUNCTION api.run_audit() RETURNS SETOF api.audits
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_started CONSTANT timestamptz := clock_timestamp();
    v_found jsonb [];
    v_id uuid;
BEGIN
    v_found := ARRAY(SELECT to_jsonb(v) FROM api.audit_ledger() AS v);
    INSERT INTO core.audits (started_at, finished_at, violations, found)
    VALUES (v_started, greatest(v_started, clock_timestamp()), cardinality(v_found), to_jsonb(v_found [1:100]))
    RETURNING id INTO v_id;
    IF cardinality(v_found) > 0 THEN
        INSERT INTO core.outbox (type, channels, payload)
        VALUES (
            'audit.failed', ARRAY['ops'],
            jsonb_build_object(
                'audit_id', v_id, 'violations', cardinality(v_found),
                'rules', (SELECT jsonb_object_agg(f.rule, f.times) FROM (
                    SELECT x.v ->> 'rule' AS rule, count(*) AS times FROM unnest(v_found) AS x (v) GROUP BY x.v ->> 'rule'
                ) AS f),
                'started_at', v_started
            )
        );
    END IF;
    DELETE FROM core.audits AS a
    WHERE a.id < (SELECT o.id FROM core.audits AS o ORDER BY o.id DESC OFFSET 999 LIMIT 1);
    RETURN QUERY SELECT a.* FROM api.audits AS a WHERE a.audit_id = v_id;
END;
$$;

ALTER FUNCTION api.run_audit() OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.run_audit() IS 'Runs api.audit_ledger(), keeps the outcome in api.audits and returns it. The scheduler calls it; people may.';

CREATE TABLE core.seals (
    block bigint NOT NULL,
    from_id uuid NOT NULL,
    to_id uuid NOT NULL,
    transfers bigint NOT NULL,
    wallets bigint NOT NULL,
    acts bigint NOT NULL,
    transfers_digest bytea NOT NULL,
    wallets_digest bytea NOT NULL,
    acts_digest bytea NOT NULL,
    sealed_at timestamp with time zone NOT NULL,
    previous bytea NOT NULL,
    digest bytea NOT NULL,
    CONSTRAINT seals_acts_check CHECK ((acts >= 0)),
    CONSTRAINT seals_acts_digest_check CHECK ((octet_length(acts_digest) = 32)),
    CONSTRAINT seals_block_check CHECK ((block > 0)),
    CONSTRAINT seals_digest_check CHECK ((octet_length(digest) = 32)),
    CONSTRAINT seals_order CHECK ((from_id < to_id)),
    CONSTRAINT seals_previous_check CHECK ((octet_length(previous) = 32)),
    CONSTRAINT seals_transfers_check CHECK ((transfers >= 0)),
    CONSTRAINT seals_transfers_digest_check CHECK ((octet_length(transfers_digest) = 32)),
    CONSTRAINT seals_wallets_check CHECK ((wallets >= 0)),
    CONSTRAINT seals_wallets_digest_check CHECK ((octet_length(wallets_digest) = 32))
);

ALTER TABLE core.seals OWNER TO tessera_owner;

COMMENT ON TABLE core.seals IS 'Blocks of history, one after another without a gap. Append-only; written by api.seal_entries only.';

COMMENT ON COLUMN core.seals.from_id IS 'The block holds what has an id from here on (a UUID version 7 begins with its time)…';

COMMENT ON COLUMN core.seals.to_id IS '… up to here, this one not included.';

COMMENT ON COLUMN core.seals.transfers IS 'Transfers of the block, each with its two entries.';

COMMENT ON COLUMN core.seals.wallets IS 'Wallets that were opened: whose they are, of what asset.';

COMMENT ON COLUMN core.seals.acts IS 'Rows of the audit log.';

COMMENT ON COLUMN core.seals.previous IS 'Digest of the block before; 32 zero bytes in the first.';

COMMENT ON COLUMN core.seals.digest IS 'SHA-256 over all other columns, hence over all that was sealed up to here. Keep the newest one elsewhere.';

CREATE VIEW api.seals AS
 SELECT block,
    from_id,
    to_id,
    ('1970-01-01 00:00:00+00'::timestamp with time zone + ((((('x'::text || translate("left"((to_id)::text, 13), '-'::text, ''::text)))::bit(48))::bigint)::double precision * '00:00:00.001'::interval)) AS up_to,
    transfers,
    wallets,
    acts,
    encode(transfers_digest, 'hex'::text) AS transfers_digest,
    encode(wallets_digest, 'hex'::text) AS wallets_digest,
    encode(acts_digest, 'hex'::text) AS acts_digest,
    sealed_at,
    encode(previous, 'hex'::text) AS previous,
    encode(digest, 'hex'::text) AS digest
   FROM core.seals s;

ALTER VIEW api.seals OWNER TO tessera_owner;

COMMENT ON VIEW api.seals IS 'The chain of seals: each block''s range of ids and times (up_to: not included), what it holds, and its digests as hexadecimal numbers.';

CREATE FUNCTION api.seal_entries(p_limit integer DEFAULT 20000, p_margin interval DEFAULT '00:00:10'::interval) RETURNS SETOF api.seals
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    c_lock CONSTANT bigint := 139166245879811;
    -- in seconds: a month is no fixed time, and years before 1970 have no ids
    v_margin CONSTANT numeric := extract(EPOCH FROM p_margin);
    v_until timestamptz;
    v_last core.seals;
    v_from uuid;
    v_to uuid;
    v_low uuid;
    v_seal core.seals;
BEGIN
    IF (p_limit BETWEEN 1 AND 1000000) IS NOT TRUE OR (v_margin BETWEEN 0 AND 86400) IS NOT TRUE THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST',
            jsonb_build_object('field', CASE WHEN (p_limit BETWEEN 1 AND 1000000) IS NOT TRUE THEN 'p_limit' ELSE 'p_margin' END),
            'A limit of 1 to 1000000 rows, and a margin of 0 to a day.'
        );
    END IF;
    PERFORM pg_advisory_xact_lock(c_lock);
    -- This transaction gets its number after now(), and whatever has a higher number got it later still. (The xmax of a
    -- snapshot would not do: transactions that are open may have higher ones.)
    INSERT INTO core.seal_marks (taken_at, xid) VALUES (now(), pg_current_xact_id()) ON CONFLICT DO NOTHING;
    -- Open transactions have numbers from the snapshot's xmin on, so they began to write after these moments.
    v_until := (SELECT max(m.taken_at) FROM core.seal_marks AS m WHERE m.xid < pg_snapshot_xmin(pg_current_snapshot()));
    DELETE FROM core.seal_marks AS m WHERE m.taken_at < v_until;

    SELECT s.* INTO v_last FROM core.seals AS s ORDER BY s.block DESC LIMIT 1;
    v_from := coalesce(v_last.to_id, '00000000-0000-0000-0000-000000000000');
    v_to := core._uuid_floor(v_until - v_margin * interval '1 second');
    v_low := least(
        (SELECT t.id FROM core.transfers AS t WHERE t.id >= v_from AND t.id < v_to ORDER BY t.id LIMIT 1),
        (SELECT w.id FROM core.wallets AS w WHERE w.id >= v_from AND w.id < v_to ORDER BY w.id LIMIT 1),
        (SELECT l.id FROM core.audit_log AS l WHERE l.id >= v_from AND l.id < v_to ORDER BY l.id LIMIT 1)
    );
    IF v_low IS NULL THEN
        RETURN;
    END IF;
    -- a block does not go beyond a month, so that one which is detached takes whole blocks with it
    v_to := least(v_to, core._uuid_floor(date_trunc('month', core._uuid_time(v_low), 'UTC') + interval '1 month'));
    v_to := least(
        v_to,
        (SELECT t.id FROM core.transfers AS t WHERE t.id >= v_from AND t.id < v_to ORDER BY t.id OFFSET p_limit LIMIT 1),
        (SELECT w.id FROM core.wallets AS w WHERE w.id >= v_from AND w.id < v_to ORDER BY w.id OFFSET p_limit LIMIT 1),
        (SELECT l.id FROM core.audit_log AS l WHERE l.id >= v_from AND l.id < v_to ORDER BY l.id OFFSET p_limit LIMIT 1)
    );

    SELECT
        coalesce(v_last.block, 0) + 1, v_from, v_to, c.transfers, c.wallets, c.acts, c.transfers_digest, c.wallets_digest,
        c.acts_digest, clock_timestamp(), coalesce(v_last.digest, decode(repeat('00', 32), 'hex')), NULL
    INTO v_seal
    FROM core._seal_content(v_from, v_to) AS c;
    v_seal.digest := core._seal_digest(v_seal);
    INSERT INTO core.seals SELECT v_seal.* ON CONFLICT (block) DO NOTHING;
    RETURN QUERY SELECT s.* FROM api.seals AS s WHERE s.block = v_seal.block;
END;
$$;

ALTER FUNCTION api.seal_entries(p_limit integer, p_margin interval) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.seal_entries(p_limit integer, p_margin interval) IS 'Seals the next block of history and returns it; nothing where nothing new is finished. A block holds the transfers (with their entries), the wallets opened and the acts of the audit log whose ids follow the last block''s, up to p_limit of each, up to p_margin ago and not past the oldest open transaction. Call it until it returns nothing; the scheduler does so every 10 seconds. p_margin (up to a day) covers a clock that is set back by as much: what is written later with an id of a sealed block looks like a forgery, and api.verify_seals says so.';

CREATE FUNCTION api.seal_lag() RETURNS interval
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
    SELECT greatest(clock_timestamp() - core._uuid_time(o.id), interval '0')
    FROM (
        SELECT least(
            (SELECT t.id FROM core.transfers AS t WHERE t.id >= s.to_id ORDER BY t.id LIMIT 1),
            (SELECT w.id FROM core.wallets AS w WHERE w.id >= s.to_id ORDER BY w.id LIMIT 1),
            (SELECT l.id FROM core.audit_log AS l WHERE l.id >= s.to_id ORDER BY l.id LIMIT 1)
        ) AS id
        FROM (
            SELECT coalesce((SELECT z.to_id FROM core.seals AS z ORDER BY z.block DESC LIMIT 1), '00000000-0000-0000-0000-000000000000') AS to_id
        ) AS s
    ) AS o
    WHERE o.id IS NOT NULL
$$;

ALTER FUNCTION api.seal_lag() OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.seal_lag() IS 'Age of the oldest transfer, wallet or act that no seal covers yet; NULL when there is none. More than a minute or two: the scheduler does not run, or a transaction has been open for that long.';

CREATE FUNCTION api.sealed_rows(p_block bigint) RETURNS TABLE(what text, fields jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
    SELECT r.what, r.fields
    FROM (
        SELECT
            1 AS part, t.id, 'transfer' AS what,
            jsonb_build_array(
                t.id, t.from_wallet_id, t.from_seq, t.from_balance, t.to_wallet_id, t.to_seq, t.to_balance, t.amount, t.asset,
                t.kind, t.reference, t.metadata, t.actor_id, t.db_user, core._microseconds(t.event_at),
                core._microseconds(t.created_at)
            ) AS fields
        FROM core.seals AS s
        CROSS JOIN LATERAL core._transfer_rows(s.from_id, s.to_id) AS t
        WHERE s.block = p_block
        UNION ALL
        SELECT
            2, w.id, 'wallet',
            jsonb_build_array(w.id, w.owner_id, w.purpose, w.asset, w.shard, core._microseconds(w.created_at))
        FROM core.seals AS s
        CROSS JOIN LATERAL core._wallet_rows(s.from_id, s.to_id) AS w
        WHERE s.block = p_block
        UNION ALL
        SELECT
            3, l.id, 'act',
            jsonb_build_array(
                l.id, core._microseconds(l.created_at), l.actor_id, l.db_user, l.action, l.subject_id, l.details, l.request_id,
                l.address
            )
        FROM core.seals AS s
        CROSS JOIN LATERAL core._act_rows(s.from_id, s.to_id) AS l
        WHERE s.block = p_block
    ) AS r
    ORDER BY r.part, r.id
$$;

ALTER FUNCTION api.sealed_rows(p_block bigint) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.sealed_rows(p_block bigint) IS 'The rows of a sealed block in the order in which they were sealed, each as an array of its columns; times as microseconds since 2000-01-01 00:00 UTC. tessera audit --export writes them to a file (docs/seals.md).';

CREATE FUNCTION api.send_tip(p_sender uuid, p_creator uuid, p_amount bigint, p_key text DEFAULT NULL::text, p_message text DEFAULT NULL::text, p_stream uuid DEFAULT NULL::uuid, p_call uuid DEFAULT NULL::uuid, OUT tip_id uuid, OUT amount bigint, OUT creator_cut bigint, OUT platform_fee bigint, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_tip api.tip_outcome;
BEGIN
    SELECT t.* INTO v_tip
    FROM api.send_tips(ARRAY[ROW(p_sender, p_creator, p_amount, p_key, p_message, p_stream, p_call)::api.tip_request]) AS t;
    IF v_tip.error_code IS NOT NULL THEN
        PERFORM core._raise(v_tip.error_code, v_tip.error, v_tip.detail, 'No tip was sent.');
    END IF;
    tip_id := v_tip.tip_id;
    amount := v_tip.amount;
    creator_cut := v_tip.creator_cut;
    platform_fee := v_tip.platform_fee;
    new_balance := v_tip.new_balance;
    created_at := v_tip.created_at;
    replayed := v_tip.replayed;
END;
$$;

ALTER FUNCTION api.send_tip(p_sender uuid, p_creator uuid, p_amount bigint, p_key text, p_message text, p_stream uuid, p_call uuid, OUT tip_id uuid, OUT amount bigint, OUT creator_cut bigint, OUT platform_fee bigint, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.send_tip(p_sender uuid, p_creator uuid, p_amount bigint, p_key text, p_message text, p_stream uuid, p_call uuid, OUT tip_id uuid, OUT amount bigint, OUT creator_cut bigint, OUT platform_fee bigint, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) IS 'Tips creator p_creator with p_amount tokens from user p_sender; returns the tip, who got what, and the sender''s balance after it. p_key makes it safe to repeat; p_message up to 500 characters; p_stream or p_call says where it was sent.';

CREATE FUNCTION api.send_tips(p_tips api.tip_request[]) RETURNS SETOF api.tip_outcome
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    c_asset CONSTANT text := 'TOKEN';
    v_fee_bps CONSTANT numeric := core._rate('platform_fee', c_asset);
    v_requests core.transfer_request[];
    v_refusals core.refusal[];
    v_fees bigint[];
    v_leads boolean[];
    v_names text[];
    v_streamed boolean;
    v_results core.transfer_result[];
BEGIN
    SELECT
        array_agg(ROW(
            t.sender_wallet_id, l.wallet_id, l.amount, c_asset, l.kind, NULL, t.sender_id,
            CASE WHEN l.lead THEN t.idempotency_key END,
            CASE WHEN l.lead THEN core._request_hash(t.idempotency_key, record_send(ROW(
                'tip'::text, t.sender_id, t.creator_id, t.amount, t.message, t.stream_id, t.call_id
            ))) END,
            CASE WHEN t.fee > 0 AND t.fee < t.amount THEN t.ord::integer END, NULL, NULL
        )::core.transfer_request),
        array_agg(core._check_tip(t.tip, t.sender_status, t.creator_active)),
        array_agg(t.fee) FILTER (WHERE l.lead),
        array_agg(t.sender_name) FILTER (WHERE l.lead),
        array_agg(l.lead),
        bool_or(t.stream_id IS NOT NULL)
    INTO v_requests, v_refusals, v_fees, v_names, v_leads, v_streamed
    FROM (
        SELECT
            r.ord, r.sender_id, r.creator_id, r.amount, r.idempotency_key, r.message, r.stream_id, r.call_id,
            ROW(r.sender_id, r.creator_id, r.amount, r.idempotency_key, r.message, r.stream_id, r.call_id)::api.tip_request AS tip,
            s.status AS sender_status, s.username AS sender_name,
            c.status = 'active' AND 'creator' = ANY (c.roles) AS creator_active,
            sw.id AS sender_wallet_id, cw.id AS creator_wallet_id,
            CASE WHEN v_fee_bps > 0 AND r.amount > 0 THEN floor(r.amount * v_fee_bps / 10000)::bigint ELSE 0 END AS fee
        FROM unnest(p_tips) WITH ORDINALITY
            AS r (sender_id, creator_id, amount, idempotency_key, message, stream_id, call_id, ord)
        -- LIMIT: a plain join, planned while the tables are small, reads all of one; and a session keeps its plans
        LEFT JOIN LATERAL (SELECT u.status, u.username FROM core.users AS u WHERE u.id = r.sender_id LIMIT 1) AS s ON true
        LEFT JOIN LATERAL (SELECT u.status, u.roles FROM core.users AS u WHERE u.id = r.creator_id LIMIT 1) AS c ON true
        LEFT JOIN LATERAL (
            SELECT w.id FROM core.wallets AS w WHERE w.owner_id = r.sender_id AND w.asset = c_asset LIMIT 1
        ) AS sw ON true
        LEFT JOIN LATERAL (
            SELECT w.id FROM core.wallets AS w WHERE w.owner_id = r.creator_id AND w.asset = c_asset LIMIT 1
        ) AS cw ON true
    ) AS t
    CROSS JOIN LATERAL (
        SELECT t.creator_wallet_id AS wallet_id, t.amount - t.fee AS amount, 'tip' AS kind, true AS lead
        WHERE t.fee = 0 OR t.fee < t.amount
        UNION ALL
        SELECT core._system_wallet('revenue', c_asset, t.sender_id), t.fee, 'fee', t.fee = t.amount
        WHERE t.fee > 0
    ) AS l;

    v_results := core._post_transfers(v_requests, v_refusals);
    IF cardinality(v_results) > cardinality(p_tips) THEN
        SELECT array_agg(r.result) INTO v_results
        FROM (SELECT v_results[g.i] AS result FROM generate_subscripts(v_results, 1) AS g (i) WHERE v_leads[g.i]) AS r;
    END IF;

    INSERT INTO core.tips (id, sender_id, creator_id, amount, platform_fee, created_at, stream_id, call_id, message)
    SELECT o.transfer_id, o.sender_id, o.creator_id, o.amount, o.fee, o.created_at, o.stream_id, o.call_id, o.message
    FROM ROWS FROM (unnest(p_tips), unnest(v_fees), unnest(v_results)) AS o (
        sender_id, creator_id, amount, idempotency_key, message, stream_id, call_id, fee,
        transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed, error_code, error, detail
    )
    WHERE o.error_code IS NULL AND NOT o.replayed;

    IF v_streamed THEN
        INSERT INTO core.stream_totals AS s (stream_id, shard, tips, tip_count)
        SELECT o.stream_id, pg_backend_pid() % 16, sum(o.amount), count(*)
        FROM ROWS FROM (unnest(p_tips), unnest(v_results)) AS o (
            sender_id, creator_id, amount, idempotency_key, message, stream_id, call_id,
            transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed, error_code, error, detail
        )
        WHERE o.error_code IS NULL AND NOT o.replayed AND o.stream_id IS NOT NULL
        GROUP BY o.stream_id
        ORDER BY o.stream_id
        ON CONFLICT ON CONSTRAINT stream_totals_pkey DO UPDATE
        SET tips = s.tips + excluded.tips, tip_count = s.tip_count + excluded.tip_count;
    END IF;

    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'tip.sent',
        array_remove(ARRAY[
            'creator:' || o.creator_id::text, 'user:' || o.sender_id::text, 'stream:' || o.stream_id::text, 'call:' || o.call_id::text
        ], NULL),
        jsonb_build_object(
            'tip_id', o.transfer_id, 'sender_id', o.sender_id, 'sender_name', o.sender_name, 'creator_id', o.creator_id,
            'amount', o.amount, 'message', o.message, 'stream_id', o.stream_id, 'call_id', o.call_id, 'created_at', o.created_at
        )
    FROM ROWS FROM (unnest(p_tips), unnest(v_names), unnest(v_results)) AS o (
        sender_id, creator_id, amount, idempotency_key, message, stream_id, call_id, sender_name,
        transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed, error_code, error, detail
    )
    WHERE o.error_code IS NULL AND NOT o.replayed;

    RETURN QUERY
    SELECT
        f.ord::integer, f.transfer_id, f.amount, f.amount - f.fee, f.fee, f.from_balance - CASE WHEN f.fee < f.amount THEN f.fee ELSE 0 END,
        f.created_at, f.replayed, f.error_code, f.error, f.detail
    FROM (
        SELECT
            o.ord, o.transfer_id, o.from_balance, o.created_at, o.replayed, o.error_code, o.error, o.detail,
            CASE WHEN o.error_code IS NULL THEN o.amount END AS amount,
            CASE
                WHEN o.replayed THEN core._tip_fee(o.transfer_id)
                WHEN o.error_code IS NULL THEN o.fee
            END AS fee
        FROM ROWS FROM (unnest(p_tips), unnest(v_fees), unnest(v_results)) WITH ORDINALITY AS o (
            sender_id, creator_id, amount, idempotency_key, message, stream_id, call_id, fee,
            transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed, error_code, error, detail,
            ord
        )
    ) AS f;
END;
$$;

ALTER FUNCTION api.send_tips(p_tips api.tip_request[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.send_tips(p_tips api.tip_request[]) IS 'Tips creators, many tips in one commit, up to 2500; returns one outcome a tip, in order. The creator gets the amount less the rate platform_fee (rounded down to a whole token). A tip that cannot be done is refused alone (error_code, error, detail); repeating a key returns the tip it made the first time.';

CREATE FUNCTION api.set_rate(p_name text, p_value numeric, p_asset text DEFAULT NULL::text, p_scope text DEFAULT NULL::text, p_valid_from timestamp with time zone DEFAULT NULL::timestamp with time zone, p_valid_to timestamp with time zone DEFAULT NULL::timestamp with time zone, p_note text DEFAULT NULL::text, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.rates
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    v_now timestamptz;
    v_from timestamptz;
    v_known core.rate_names;
    v_same core.rates;
    v_rate_id uuid;
    v_field text;
BEGIN
    PERFORM core._check_admin(p_actor);
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.rate.' || p_name, 0));
    UPDATE core.rates AS r SET valid_to = r.valid_to WHERE r.name = p_name;
    v_now := clock_timestamp();
    v_from := coalesce(p_valid_from, v_now);
    SELECT n.* INTO v_known FROM core.rate_names AS n WHERE n.name = p_name;
    IF v_known.name IS NULL THEN
        PERFORM core._raise('TS216', 'RATE_NOT_FOUND', jsonb_build_object('rate', p_name), 'api.rate_names lists them.');
    END IF;
    IF p_asset IS NOT NULL AND NOT EXISTS (SELECT FROM core.assets AS a WHERE a.code = p_asset) THEN
        PERFORM core._raise('TS213', 'ASSET_NOT_FOUND', jsonb_build_object('asset', p_asset), 'Nothing was set.');
    END IF;
    SELECT r.* INTO v_same
    FROM core.rates AS r
    WHERE
        r.name = p_name AND r.asset IS NOT DISTINCT FROM p_asset AND r.scope IS NOT DISTINCT FROM p_scope
        AND CASE
            WHEN p_valid_from IS NULL THEN r.valid_from <= v_now AND (r.valid_to IS NULL OR r.valid_to > v_now)
            ELSE r.valid_from = v_from
        END
    ORDER BY r.valid_from DESC
    LIMIT 1;
    IF v_same.id IS NOT NULL AND (v_same.value, v_same.valid_to) IS NOT DISTINCT FROM (p_value, p_valid_to) THEN
        RETURN QUERY SELECT r.* FROM api.rates AS r WHERE r.rate_id = v_same.id;
        RETURN;
    END IF;
    v_field := CASE
        WHEN (p_value >= 0 AND p_value < 1e15 AND scale(p_value) <= 12) IS NOT TRUE THEN 'value'
        WHEN v_known.unit = 'bps' AND p_value > 10000 THEN 'value'
        WHEN v_known.unit NOT IN ('usd', 'bps') AND p_value <> trunc(p_value) THEN 'value'
        WHEN v_known.unit = 'days' AND p_value > 36500 THEN 'value'
        -- what is counted is an integer, and a moment and a rate make another moment
        WHEN v_known.unit = 'seconds' AND p_value > 36500 * 86400::bigint THEN 'value'
        WHEN v_known.unit = 'count' AND p_value > 2147483647 THEN 'value'
        WHEN p_scope IS NOT NULL AND (v_known.scoped IS NULL OR p_scope !~ '^[a-z][a-z0-9_.]{0,62}$') THEN 'scope'
        WHEN v_from < v_now OR v_from >= '10000-01-01 00:00:00+00' THEN 'valid_from'
        WHEN p_valid_to <= v_from OR p_valid_to >= '10000-01-01 00:00:00+00' AND p_valid_to <> 'infinity' THEN 'valid_to'
        WHEN octet_length(p_note) > 500 THEN 'note'
    END;
    IF v_field IS NOT NULL THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', v_field, 'rate', p_name, 'unit', v_known.unit),
            'A rate begins now or later, ends after that, and its value fits its unit.'
        );
    END IF;
    IF p_valid_from IS NOT NULL AND v_same.id IS NOT NULL THEN
        PERFORM core._raise(
            'TS319', 'RATE_EXISTS', jsonb_build_object('rate', p_name, 'valid_from', v_from, 'value', v_same.value),
            'Choose another moment.'
        );
    END IF;
    INSERT INTO core.audit_log (actor_id, action, details)
    SELECT
        p_actor, 'rate.set',
        jsonb_build_object(
            'rate', p_name, 'asset', p_asset, 'scope', p_scope, 'value', p_value, 'valid_from', v_from,
            'valid_to', p_valid_to, 'value_before', (
                SELECT r.value
                FROM core.rates AS r
                WHERE
                    r.name = p_name AND r.asset IS NOT DISTINCT FROM p_asset AND r.scope IS NOT DISTINCT FROM p_scope
                    AND r.valid_from <= v_from AND (r.valid_to IS NULL OR r.valid_to > v_from)
                ORDER BY r.valid_from DESC
                LIMIT 1
            )
        );
    INSERT INTO core.rates (name, asset, scope, value, unit, valid_from, valid_to, note, created_by)
    VALUES (p_name, p_asset, p_scope, p_value, v_known.unit, v_from, p_valid_to, p_note, coalesce(p_actor::text, session_user))
    -- its first rows: there was none to lock
    ON CONFLICT ON CONSTRAINT rates_key DO NOTHING
    RETURNING id INTO STRICT v_rate_id;
    RETURN QUERY SELECT r.* FROM api.rates AS r WHERE r.rate_id = v_rate_id;
END;
$_$;

ALTER FUNCTION api.set_rate(p_name text, p_value numeric, p_asset text, p_scope text, p_valid_from timestamp with time zone, p_valid_to timestamp with time zone, p_note text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.set_rate(p_name text, p_value numeric, p_asset text, p_scope text, p_valid_from timestamp with time zone, p_valid_to timestamp with time zone, p_note text, p_actor uuid) IS 'Sets rate p_name to p_value (in the unit api.rate_names states) from p_valid_from (now by default, never the past) to p_valid_to (open by default). p_asset: only for that asset; p_scope: only for that kind of transfer or role. What was in force before stays as it is; of several in force the latest valid_from counts, so a rate with an end gives way to the one before it. Saying the same again changes nothing, and without p_valid_from neither does saying what is in force.';

CREATE FUNCTION api.set_referrer(p_user uuid, p_referrer uuid, p_actor uuid DEFAULT NULL::uuid) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_missing uuid;
    v_before uuid;
BEGIN
    PERFORM core._check_actor(p_actor);
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.referral', 0));
    SELECT n.id INTO v_missing
    FROM (VALUES (1, p_user), (2, p_referrer)) AS n (ord, id)
    WHERE NOT EXISTS (SELECT FROM core.users AS u WHERE u.id = n.id)
    ORDER BY n.ord
    LIMIT 1;
    IF FOUND THEN
        PERFORM core._raise('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', v_missing), 'Nothing was set.');
    END IF;
    SELECT u.referred_by_id INTO v_before FROM core.users AS u WHERE u.id = p_user;
    UPDATE core.users AS u SET referred_by_id = p_referrer WHERE u.id = p_user;
    IF v_before IS DISTINCT FROM p_referrer THEN
        INSERT INTO core.audit_log (actor_id, action, subject_id, details)
        VALUES (p_actor, 'referrer.set', p_user, jsonb_build_object('referrer_id', p_referrer));
    END IF;
END;
$$;

ALTER FUNCTION api.set_referrer(p_user uuid, p_referrer uuid, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.set_referrer(p_user uuid, p_referrer uuid, p_actor uuid) IS 'Records that p_referrer brought p_user here; from then on the user''s rewards are matched (api.credit_with_referral). Never oneself, never in a circle, never changed; the same again is no error.';

CREATE FUNCTION api.set_wallet_minimum(p_wallet uuid, p_minimum bigint, p_reason text, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.wallets
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF p_minimum IS NULL THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'minimum'), 'Say how low.');
    END IF;
    PERFORM core._set_wallet(p_wallet, 'wallet.minimum_set', NULL, p_minimum, p_reason, p_actor);
    RETURN QUERY SELECT w.* FROM api.wallets AS w WHERE w.wallet_id = p_wallet;
END;
$$;

ALTER FUNCTION api.set_wallet_minimum(p_wallet uuid, p_minimum bigint, p_reason text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.set_wallet_minimum(p_wallet uuid, p_minimum bigint, p_reason text, p_actor uuid) IS 'Sets how low wallet p_wallet may go, in minor units: negative for an overdraft, positive for a reserve that cannot be spent, 0 for neither. Refused with TS401 while the wallet has less than that.';

CREATE FUNCTION api.settle_payment(p_provider text, p_event text, OUT payment_id uuid, OUT outcome text, OUT status text, OUT error text) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
    c_tries CONSTANT integer := 30;
    v_event core.payment_events;
    v_payment core.payments;
BEGIN
    SELECT e.* INTO v_event
    FROM core.payment_events AS e
    WHERE e.provider = p_provider AND e.event_id = p_event
    FOR NO KEY UPDATE;
    IF v_event.event_id IS NULL THEN
        PERFORM core._raise(
            'TS252', 'PAYMENT_EVENT_NOT_FOUND', jsonb_build_object('provider', p_provider, 'event_id', p_event), 'Nothing was done.'
        );
    END IF;
    v_payment := core._lock_payment_of(v_event);
    payment_id := v_payment.id;
    IF v_event.due_at IS NULL THEN
        outcome := 'repeated';
        status := v_payment.status;
        RETURN;
    END IF;
    BEGIN
        outcome := CASE
            WHEN v_event.kind = 'other' THEN 'ignored'
            WHEN v_payment.id IS NULL THEN 'unknown'
            WHEN v_event.kind = 'paid' THEN core._credit_payment(v_payment, v_event)
            WHEN v_event.kind = 'failed' THEN core._fail_payment(v_payment, v_event)
            WHEN v_event.kind IN ('refunded', 'refund_failed') THEN core._note_refund(v_payment, v_event)
            WHEN v_event.kind IN ('disputed', 'dispute_won', 'dispute_lost') THEN core._note_dispute(v_payment, v_event)
            ELSE 'applied'
        END;
    EXCEPTION WHEN OTHERS THEN
        IF sqlstate NOT LIKE 'TS%' THEN
            RAISE;
        END IF;
        outcome := 'refused';
        error := sqlerrm;
    END;
    IF v_event.kind = 'look' THEN
        UPDATE core.payments AS p SET check_at = clock_timestamp() WHERE p.id = v_payment.id AND p.transfer_id IS NULL;
    END IF;
    UPDATE core.payment_events AS e
    SET
        payment_id = coalesce(v_payment.id, e.payment_id), outcome = settle_payment.outcome, error = settle_payment.error,
        tries = e.tries + 1, applied_at = CASE WHEN settle_payment.outcome = 'applied' THEN clock_timestamp() END,
        due_at = CASE
            WHEN settle_payment.outcome IN ('unknown', 'refused') AND e.tries < c_tries
                THEN clock_timestamp() + least(interval '30 seconds' * 2 ^ least(e.tries, 12), interval '1 day')
        END
    WHERE e.provider = p_provider AND e.event_id = p_event;
    IF
        outcome IN ('unknown', 'mismatch', 'duplicate', 'contradiction', 'refused') AND outcome <> v_event.outcome
    THEN
        INSERT INTO core.outbox (type, channels, payload)
        VALUES (
            'payment.event_opened', ARRAY['ops'],
            jsonb_build_object(
                'provider', p_provider, 'event_id', p_event, 'kind', v_event.kind, 'outcome', outcome, 'error', error,
                'payment_id', v_payment.id, 'amount', v_event.amount, 'currency', v_event.currency
            )
        );
    END IF;
    status := (SELECT p.status FROM core.payments AS p WHERE p.id = v_payment.id);
END;
$$;

ALTER FUNCTION api.settle_payment(p_provider text, p_event text, OUT payment_id uuid, OUT outcome text, OUT status text, OUT error text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.settle_payment(p_provider text, p_event text, OUT payment_id uuid, OUT outcome text, OUT status text, OUT error text) IS 'Applies event p_event of p_provider, once, and returns what became of it (outcome as in api.payment_events; repeated where it was done with before), the payment and its status. Paid: the tokens move from issuance to the buyer in the same commit. Events may come in any order.';

CREATE FUNCTION api.settle_payout(p_payout uuid, p_reference text DEFAULT NULL::text, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.payouts
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_payout core.payouts := core._lock_payout(p_payout);
    v_result core.transfer_result;
BEGIN
    PERFORM core._check_payout_by_hand(v_payout, p_actor);
    IF v_payout.status = 'processing' THEN
        v_result := (core._post_transfers(
            ARRAY[ROW(
                (SELECT t.to_wallet_id FROM core.transfers AS t WHERE t.id = v_payout.transfer_id),
                core._system_wallet('issuance', 'TOKEN', v_payout.user_id), v_payout.amount, 'TOKEN', 'payout_paid',
                p_payout::text, p_actor, NULL, NULL, NULL, NULL, NULL
            )::core.transfer_request]
        ))[1];
        IF v_result.error_code IS NOT NULL THEN
            PERFORM core._raise(v_result.error_code, v_result.error, v_result.detail, 'Nothing was settled.');
        END IF;
        UPDATE core.payouts AS p
        SET
            status = 'paid', reason = NULL, paid_at = v_result.created_at, paid_transfer_id = v_result.transfer_id,
            provider_reference = coalesce(left(nullif(p_reference, ''), 255), p.provider_reference),
            decided_by = coalesce(p_actor, p.decided_by),
            next_at = CASE WHEN p.provider <> 'manual' THEN v_result.created_at + interval '1 hour' END
        WHERE p.id = p_payout
        RETURNING p.* INTO v_payout;
        PERFORM core._payout_event('payout.paid', v_payout);
        IF p_actor IS NOT NULL THEN
            INSERT INTO core.audit_log (actor_id, action, subject_id, details)
            VALUES (p_actor, 'payout.paid', p_payout, jsonb_build_object('amount', v_payout.amount, 'reference', p_reference));
        END IF;
    ELSIF v_payout.status <> 'paid' THEN
        PERFORM core._refuse_payout(v_payout, 'Only a payout that has been sent can be paid.');
    END IF;
    RETURN QUERY SELECT p.* FROM api.payouts AS p WHERE p.payout_id = p_payout;
END;
$$;

ALTER FUNCTION api.settle_payout(p_payout uuid, p_reference text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.settle_payout(p_payout uuid, p_reference text, p_actor uuid) IS 'The provider, or the bank, has paid: the payout''s tokens leave payout_clearing for issuance, once. p_reference is the provider''s. p_actor: the operator who says so; a provider''s own payouts only after payout_override days (TS361). Paid already: nothing changes.';

CREATE FUNCTION api.start_payment(p_payment uuid, p_reference text, p_checkout_url text, p_customer text DEFAULT NULL::text) RETURNS api.payment_order
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_payment core.payments;
BEGIN
    UPDATE core.payments AS p
    SET reference = coalesce(p.reference, p_reference), checkout_url = coalesce(p.checkout_url, p_checkout_url)
    WHERE p.id = p_payment
    RETURNING * INTO v_payment;
    IF v_payment.id IS NULL THEN
        PERFORM core._raise('TS251', 'PAYMENT_NOT_FOUND', jsonb_build_object('payment_id', p_payment), 'Nothing was changed.');
    END IF;
    IF p_customer IS NOT NULL THEN
        INSERT INTO core.payment_customers (user_id, provider, customer)
        VALUES (v_payment.buyer_id, v_payment.provider, p_customer)
        ON CONFLICT ON CONSTRAINT payment_customers_pkey DO NOTHING;
    END IF;
    RETURN core._payment_order(v_payment, false);
END;
$$;

ALTER FUNCTION api.start_payment(p_payment uuid, p_reference text, p_checkout_url text, p_customer text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.start_payment(p_payment uuid, p_reference text, p_checkout_url text, p_customer text) IS 'Notes what the provider answered to payment p_payment: its own name of the checkout, where the buyer pays, and what it calls the buyer. The first answer stays.';

CREATE FUNCTION api.start_stream(p_stream uuid, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.streams
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    IF (core._open_stream(p_stream, p_actor)).status = 'scheduled' THEN
        UPDATE core.streams AS s SET status = 'live', started_at = clock_timestamp(), updated_at = clock_timestamp()
        WHERE s.id = p_stream;
        PERFORM core._stream_event('stream.started', p_stream);
    END IF;
    RETURN QUERY SELECT s.* FROM api.streams AS s WHERE s.stream_id = p_stream;
END;
$$;

ALTER FUNCTION api.start_stream(p_stream uuid, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.start_stream(p_stream uuid, p_actor uuid) IS 'Stream p_stream is live from now on. p_actor must be its creator where named. Live already: nothing changes.';

CREATE FUNCTION api.statement(p_wallet uuid, p_from timestamp with time zone DEFAULT NULL::timestamp with time zone, p_to timestamp with time zone DEFAULT NULL::timestamp with time zone, p_before_seq bigint DEFAULT NULL::bigint, p_limit integer DEFAULT 100, p_kind text DEFAULT NULL::text) RETURNS TABLE(seq bigint, created_at timestamp with time zone, amount bigint, balance bigint, transfer_id uuid, kind text, counterparty_wallet_id uuid, counterparty_user_id uuid, reference text, metadata jsonb)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_material TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_sort TO 'off'
    AS $$
DECLARE
    v_left integer := least(greatest(coalesce(p_limit, 100), 1), 1000);
    v_first timestamptz;
    v_month timestamptz;
    v_oldest timestamptz;
    v_version bigint;
    v_months integer := 1;
    v_low uuid;
    v_high uuid;
    v_rows bigint;
BEGIN
    -- v_first: the month up to which, with all before it, there is one partition
    SELECT p.since - interval '1 month', date_trunc('month', greatest(least(w.last_entry_at, p_to), p.since - interval '1 month')), w.version
    INTO v_first, v_month, v_version
    FROM core.wallets AS w
    INNER JOIN core.partitioned AS p ON p.name = 'entries'
    WHERE w.id = p_wallet;
    IF p_before_seq <= v_version AND v_month > v_first THEN
        -- where it is, a look into each index tells; there is no need to pass through what is newer
        SELECT least(v_month, date_trunc('month', e.created_at)) INTO v_month
        FROM core.entries AS e
        WHERE e.wallet_id = p_wallet AND e.seq = p_before_seq;
    END IF;
    v_month := CASE WHEN v_version IS NOT NULL THEN greatest(v_month, v_first) END;
    v_oldest := date_trunc('month', greatest(p_from, v_first));
    v_high := core._uuid_floor(v_month + interval '1 month');

    WHILE v_left > 0 AND v_month >= v_oldest LOOP
        v_month := greatest(v_month - (v_months - 1) * interval '1 month', v_oldest);
        v_low := CASE WHEN v_month > v_first THEN core._uuid_floor(v_month) ELSE '00000000-0000-0000-0000-000000000000' END;
        RETURN QUERY
        SELECT
            e.seq::bigint, e.created_at, e.amount::bigint, e.balance, e.transfer_id, t.kind, c.id, c.owner_id, t.reference,
            t.metadata
        FROM core.entries AS e
        -- LIMIT: a plain join, planned while the tables are small, may begin with the transfers; and a session keeps its plans
        CROSS JOIN LATERAL (
            SELECT x.kind, x.reference, x.metadata, x.from_wallet_id, x.to_wallet_id
            FROM core.transfers AS x
            WHERE x.id = e.transfer_id AND x.id >= v_low AND x.id < v_high
            LIMIT 1
        ) AS t
        CROSS JOIN LATERAL (
            SELECT w.id, w.owner_id FROM core.wallets AS w
            WHERE w.id = CASE WHEN e.amount < 0 THEN t.to_wallet_id ELSE t.from_wallet_id END
            LIMIT 1
        ) AS c
        WHERE
            e.wallet_id = p_wallet
            AND e.transfer_id >= v_low AND e.transfer_id < v_high
            AND e.seq < coalesce(p_before_seq, 9223372036854775807)
            AND (p_from IS NULL OR e.created_at >= p_from)
            AND (p_to IS NULL OR e.created_at < p_to)
            AND (p_kind IS NULL OR t.kind = p_kind)
        ORDER BY e.seq DESC
        LIMIT v_left;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        v_left := v_left - v_rows;
        v_high := v_low;
        v_month := v_month - interval '1 month';
        v_months := 2 * v_months;
    END LOOP;
END;
$$;

ALTER FUNCTION api.statement(p_wallet uuid, p_from timestamp with time zone, p_to timestamp with time zone, p_before_seq bigint, p_limit integer, p_kind text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.statement(p_wallet uuid, p_from timestamp with time zone, p_to timestamp with time zone, p_before_seq bigint, p_limit integer, p_kind text) IS 'Entries of a wallet from p_from (inclusive) to p_to (exclusive), newest first, at most p_limit (1 to 1000, 100 if NULL); go on with p_before_seq = the last seq seen. amount is signed, balance is after the entry, both in minor units. Months that are detached (docs/growth.md) are not there.';

CREATE FUNCTION api.statement_summary(p_wallet uuid, p_from timestamp with time zone, p_to timestamp with time zone, OUT opening_balance bigint, OUT credits bigint, OUT debits bigint, OUT entries bigint, OUT closing_balance bigint) RETURNS record
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
    SELECT
        o.balance, coalesce(e.credits, 0), coalesce(e.debits, 0), coalesce(e.entries, 0),
        o.balance + coalesce(e.credits, 0) - coalesce(e.debits, 0)
    FROM core._entry_at(p_wallet, greatest(p_from, '2000-01-01') - interval '1 microsecond') AS o
    CROSS JOIN core._entry_at(p_wallet, greatest(coalesce(p_to, 'infinity'), '2000-01-01') - interval '1 microsecond') AS c
    CROSS JOIN core._month_bounds(p_from, p_to) AS m
    CROSS JOIN LATERAL (
        SELECT
            (sum(d.amount) FILTER (WHERE d.amount > 0))::bigint AS credits,
            (- sum(d.amount) FILTER (WHERE d.amount < 0))::bigint AS debits,
            count(*) AS entries
        FROM core.entries AS d
        WHERE
            d.wallet_id = p_wallet AND d.seq > o.seq AND d.seq <= c.seq
            AND d.transfer_id >= m.low AND d.transfer_id < m.high
    ) AS e
$$;

ALTER FUNCTION api.statement_summary(p_wallet uuid, p_from timestamp with time zone, p_to timestamp with time zone, OUT opening_balance bigint, OUT credits bigint, OUT debits bigint, OUT entries bigint, OUT closing_balance bigint) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.statement_summary(p_wallet uuid, p_from timestamp with time zone, p_to timestamp with time zone, OUT opening_balance bigint, OUT credits bigint, OUT debits bigint, OUT entries bigint, OUT closing_balance bigint) IS 'Opening balance of a wallet at p_from, its credits, debits (as a positive number) and number of entries from p_from (inclusive) to p_to (exclusive), and the closing balance, which is opening + credits - debits. Minor units. NULL: no limit.';

CREATE FUNCTION api.stream_access(p_stream uuid, p_viewer uuid, OUT has_access boolean, OUT reason text) RETURNS record
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    reason := core._access_reason(p_stream, p_viewer);
    IF reason IS NULL THEN
        PERFORM core._raise('TS218', 'STREAM_NOT_FOUND', jsonb_build_object('stream_id', p_stream), 'api.streams lists them.');
    END IF;
    has_access := reason <> 'no_ticket';
END;
$$;

ALTER FUNCTION api.stream_access(p_stream uuid, p_viewer uuid, OUT has_access boolean, OUT reason text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.stream_access(p_stream uuid, p_viewer uuid, OUT has_access boolean, OUT reason text) IS 'Whether user p_viewer may watch stream p_stream, and why: owner, public_stream, ticket_purchased or no_ticket.';

CREATE FUNCTION api.stream_audience(p_streams uuid[], p_names integer DEFAULT 100) RETURNS SETOF api.audience
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    AS $$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    SELECT
        s.id,
        CASE
            WHEN cardinality(w.ids) <= p_names THEN cardinality(w.ids)
            -- counting them all is for the job api.count_viewers
            ELSE greatest(cardinality(w.ids), (SELECT n.viewers FROM core.stream_viewers AS n WHERE n.stream_id = s.id))
        END,
        CASE WHEN cardinality(w.ids) <= p_names THEN w.ids END
    FROM unnest(p_streams) AS s (id)
    CROSS JOIN LATERAL (
        SELECT ARRAY(
            SELECT v.user_id FROM core.viewers AS v
            WHERE v.stream_id = s.id AND v.seen_until > v_now
            ORDER BY v.stream_id, v.user_id
            LIMIT p_names + 1
        ) AS ids
    ) AS w;
END;
$$;

ALTER FUNCTION api.stream_audience(p_streams uuid[], p_names integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.stream_audience(p_streams uuid[], p_names integer) IS 'Viewers of streams as of now: their ids where they are at most p_names, else how many there were when they were last counted.';

CREATE TABLE core.messages (
    id uuid DEFAULT core.uuid7() NOT NULL,
    stream_id uuid NOT NULL,
    user_id uuid NOT NULL,
    body text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    removed_at timestamp with time zone,
    removed_by uuid,
    CONSTRAINT messages_body_check CHECK (((char_length(body) >= 1) AND (char_length(body) <= 500))),
    CONSTRAINT messages_removed CHECK (((removed_by IS NULL) OR (removed_at IS NOT NULL)))
);

ALTER TABLE core.messages OWNER TO tessera_owner;

COMMENT ON TABLE core.messages IS 'Messages in the chats of streams. Written by api.post_message and api.remove_message.';

COMMENT ON COLUMN core.messages.removed_at IS 'From then on nobody is shown the body; it is kept for whoever looks into complaints.';

COMMENT ON COLUMN core.messages.removed_by IS 'Its author, the stream''s creator or a moderator; NULL: an operator, by hand.';

CREATE TABLE core.users (
    id uuid DEFAULT core.uuid7() NOT NULL,
    email text NOT NULL,
    username text NOT NULL,
    display_name text NOT NULL,
    password_hash text,
    roles text[] DEFAULT '{}'::text[] NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    token_epoch integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    referred_by_id uuid,
    CONSTRAINT users_display_name_check CHECK (((char_length(display_name) >= 1) AND (char_length(display_name) <= 80))),
    CONSTRAINT users_email_check CHECK (((octet_length(email) >= 3) AND (octet_length(email) <= 254))),
    CONSTRAINT users_roles_check CHECK ((roles <@ ARRAY['creator'::text, 'validator'::text, 'moderator'::text, 'operator'::text, 'admin'::text])),
    CONSTRAINT users_status_check CHECK ((status = ANY (ARRAY['active'::text, 'suspended'::text]))),
    CONSTRAINT users_username_check CHECK ((username ~ '^[a-z0-9][a-z0-9_.-]{1,31}$'::text))
);

ALTER TABLE core.users OWNER TO tessera_owner;

COMMENT ON TABLE core.users IS 'People. A new row opens a wallet for each asset that opens with a user.';

COMMENT ON COLUMN core.users.email IS 'Lower case, unique.';

COMMENT ON COLUMN core.users.roles IS 'creator, validator, moderator, operator, admin; none for a fan.';

COMMENT ON COLUMN core.users.token_epoch IS 'Raised to make every access token issued so far worthless.';

COMMENT ON COLUMN core.users.referred_by_id IS 'Who brought them here; set once (api.set_referrer), never a circle.';

CREATE VIEW api.messages AS
 SELECT m.id AS message_id,
    m.stream_id,
    m.user_id,
    u.username,
        CASE
            WHEN (m.removed_at IS NULL) THEN m.body
            ELSE NULL::text
        END AS body,
    m.created_at,
    m.removed_at,
    m.removed_by
   FROM (core.messages m
     LEFT JOIN core.users u ON ((u.id = m.user_id)));

ALTER VIEW api.messages OWNER TO tessera_owner;

COMMENT ON VIEW api.messages IS 'Messages in the chats of streams; no body where one was removed.';

CREATE FUNCTION api.stream_messages(p_stream uuid, p_viewer uuid, p_before uuid DEFAULT NULL::uuid, p_limit integer DEFAULT 50) RETURNS SETOF api.messages
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
BEGIN
    PERFORM core._admit(p_stream, p_viewer);
    RETURN QUERY
    SELECT m.* FROM api.messages AS m
    WHERE
        m.stream_id = p_stream AND m.removed_at IS NULL
        AND m.message_id < coalesce(p_before, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    ORDER BY m.message_id DESC
    LIMIT least(greatest(coalesce(p_limit, 50), 1), 1000);
END;
$$;

ALTER FUNCTION api.stream_messages(p_stream uuid, p_viewer uuid, p_before uuid, p_limit integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.stream_messages(p_stream uuid, p_viewer uuid, p_before uuid, p_limit integer) IS 'Messages of stream p_stream that are not removed, newest first, up to p_limit (1000 at most), those before p_before, as user p_viewer may read them.';

CREATE FUNCTION api.test_webhook_endpoint(p_endpoint uuid, p_user uuid DEFAULT NULL::uuid) RETURNS SETOF api.webhook_deliveries
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_endpoint CONSTANT core.webhook_endpoints := core._lock_webhook(p_endpoint, p_user);
    v_now CONSTANT timestamptz := clock_timestamp();
    v_id uuid;
BEGIN
    IF v_endpoint.status <> 'active' THEN
        PERFORM core._raise(
            'TS348', 'WEBHOOK_ENDPOINT_DISABLED', jsonb_build_object('endpoint_id', p_endpoint, 'reason', v_endpoint.disabled_reason),
            'Enable the endpoint first.'
        );
    END IF;
    INSERT INTO core.webhook_deliveries AS d (endpoint_id, type, payload, event_at, due_at)
    VALUES (p_endpoint, 'webhook.test', jsonb_build_object('endpoint_id', p_endpoint, 'user_id', v_endpoint.user_id), v_now, v_now)
    RETURNING d.id INTO v_id;
    UPDATE core.webhook_queues AS q SET next_at = least(q.next_at, v_now) WHERE q.endpoint_id = p_endpoint;
    RETURN QUERY SELECT d.* FROM api.webhook_deliveries AS d WHERE d.delivery_id = v_id;
END;
$$;

ALTER FUNCTION api.test_webhook_endpoint(p_endpoint uuid, p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.test_webhook_endpoint(p_endpoint uuid, p_user uuid) IS 'Sends the event webhook.test to an endpoint of p_user (NULL: of whomever), whatever types it wants, and returns the delivery. It is tried once.';

CREATE FUNCTION api.tip_stats(p_creator uuid, p_since timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS TABLE(count bigint, sum bigint, average numeric, max bigint, unique_tippers bigint, top jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    WITH tippers AS (
        SELECT t.sender_id, sum(t.amount)::bigint AS total, count(*) AS tips, max(t.amount::bigint) AS largest
        FROM core.tips AS t
        WHERE t.creator_id = p_creator AND (p_since IS NULL OR t.created_at >= p_since)
        GROUP BY t.sender_id
    ), leaders AS (
        SELECT s.sender_id, s.total, s.tips, u.username
        FROM tippers AS s
        INNER JOIN core.users AS u ON u.id = s.sender_id
        ORDER BY s.total DESC, s.sender_id
        LIMIT 5
    )
    SELECT
        coalesce(sum(s.tips), 0)::bigint,
        coalesce(sum(s.total), 0)::bigint,
        coalesce(round(sum(s.total) / nullif(sum(s.tips), 0), 2), 0),
        coalesce(max(s.largest), 0),
        count(*),
        coalesce((
            SELECT jsonb_agg(
                jsonb_build_object('user_id', l.sender_id, 'username', l.username, 'total', l.total, 'count', l.tips)
                ORDER BY l.total DESC, l.sender_id
            )
            FROM leaders AS l
        ), '[]')
    FROM tippers AS s
$$;

ALTER FUNCTION api.tip_stats(p_creator uuid, p_since timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.tip_stats(p_creator uuid, p_since timestamp with time zone) IS 'Tips that a creator got since p_since (NULL: ever), in tokens as paid by the senders: count, sum, average (2 decimals), largest, number of tippers, and the five who gave most as JSON [{user_id, username, total, count}].';

CREATE FUNCTION api.token_sales(p_from timestamp with time zone, p_to timestamp with time zone) RETURNS TABLE(currency text, payments bigint, gross numeric, given_back numeric, net numeric, tokens_sold numeric, tokens_taken_back numeric, token_value_usd numeric)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT
        p.currency,
        count(*),
        sum(p.amount),
        sum(least(p.refunded + p.disputed, p.amount)),
        sum(p.amount - least(p.refunded + p.disputed, p.amount)),
        sum(p.tokens),
        sum(p.reversed),
        sum(p.tokens - p.reversed) * core._rate('token_value', 'TOKEN')
    FROM core.payments AS p
    WHERE p.paid_at >= p_from AND p.paid_at < p_to
    GROUP BY p.currency
$$;

ALTER FUNCTION api.token_sales(p_from timestamp with time zone, p_to timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.token_sales(p_from timestamp with time zone, p_to timestamp with time zone) IS 'Payments paid from p_from up to p_to, a row a currency: gross, given_back (refunded or in dispute) and net in its minor unit; tokens sold and taken back; and what the rest would be paid out at in USD (rate token_value). The platform''s margin is in api.margin.';

CREATE FUNCTION api.transfer(p_from uuid, p_to uuid, p_amount bigint, p_asset text DEFAULT 'TOKEN'::text, p_key text DEFAULT NULL::text, p_kind text DEFAULT 'transfer'::text, p_reference text DEFAULT NULL::text, p_actor uuid DEFAULT NULL::uuid, p_metadata jsonb DEFAULT NULL::jsonb, p_event_at timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS api.transfer_receipt
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_status text;
    v_result core.transfer_result;
BEGIN
    IF p_actor IS NOT NULL THEN
        SELECT u.status INTO v_status FROM core.users AS u WHERE u.id = p_actor;
    END IF;
    v_result := core._post_one(
        ROW(
            p_from, p_to, p_amount, p_asset, p_kind, p_reference, p_actor, p_key,
            core._request_hash(p_key, record_send(ROW(
                'transfer'::text, p_from, p_to, p_amount, p_asset, p_kind, p_reference, p_metadata, p_event_at
            ))),
            NULL, p_metadata, p_event_at
        ),
        core._check_transfer(p_kind, p_reference, p_metadata, p_key, p_actor, v_status, p_event_at), true
    );
    RETURN ROW(
        v_result.transfer_id, v_result.from_balance, v_result.to_balance, v_result.created_at, v_result.replayed
    )::api.transfer_receipt;
END;
$$;

ALTER FUNCTION api.transfer(p_from uuid, p_to uuid, p_amount bigint, p_asset text, p_key text, p_kind text, p_reference text, p_actor uuid, p_metadata jsonb, p_event_at timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.transfer(p_from uuid, p_to uuid, p_amount bigint, p_asset text, p_key text, p_kind text, p_reference text, p_actor uuid, p_metadata jsonb, p_event_at timestamp with time zone) IS 'Moves p_amount (minor units of p_asset, 1 to 10^15) from wallet p_from to wallet p_to; returns the transfer and both balances after it. p_key makes it safe to repeat: the same key and request return the first transfer again (replayed), the same key with another request is TS301. p_actor, if given, must own p_from; else the transfer records session_user. p_kind: why, lower case, and none of tip, fee, refund, reward, referral, adjustment, stream_ticket, call_block, which are made by functions of their own; p_reference: up to 255 bytes; p_metadata: up to 4 KiB; p_event_at: when it happened, if that was earlier. Call it inside any transaction, at any isolation level.';

CREATE FUNCTION api.transfer_batch(p_requests api.transfer_request[]) RETURNS SETOF api.transfer_outcome
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_requests core.transfer_request[];
    v_refusals core.refusal[];
    v_results core.transfer_result[];
BEGIN
    SELECT
        array_agg(ROW(
            s.from_wallet_id, s.to_wallet_id, s.amount, s.asset, s.kind, s.reference, s.actor_id, s.idempotency_key,
            core._request_hash(s.idempotency_key, record_send(ROW(
                'transfer'::text, s.from_wallet_id, s.to_wallet_id, s.amount, s.asset, s.kind, s.reference, s.metadata,
                s.event_at
            ))),
            NULL, s.metadata, s.event_at
        )::core.transfer_request),
        array_agg(core._check_transfer(
            s.kind, s.reference, s.metadata, s.idempotency_key, s.actor_id, s.actor_status, s.event_at
        ))
    INTO v_requests, v_refusals
    FROM (
        SELECT
            coalesce(r.from_wallet_id, (
                SELECT w.id FROM core.wallets AS w WHERE w.owner_id = r.actor_id AND w.asset = coalesce(r.asset, 'TOKEN')
            )) AS from_wallet_id,
            coalesce(r.to_wallet_id, (
                SELECT w.id FROM core.wallets AS w WHERE w.owner_id = r.to_user_id AND w.asset = coalesce(r.asset, 'TOKEN')
            )) AS to_wallet_id,
            r.amount,
            coalesce(r.asset, 'TOKEN') AS asset,
            coalesce(r.kind, 'transfer') AS kind,
            r.reference,
            r.actor_id,
            r.idempotency_key,
            r.metadata,
            r.event_at,
            CASE WHEN r.actor_id IS NOT NULL THEN (SELECT u.status FROM core.users AS u WHERE u.id = r.actor_id) END
                AS actor_status
        FROM unnest(p_requests) AS r
        OFFSET 0 -- so that each column is worked out once, and core._check_transfer, given columns, is inlined
    ) AS s;

    v_results := core._post_transfers(v_requests, v_refusals, true);

    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'transfer.posted', core._user_channels(o.from_owner_id, o.to_owner_id),
        core._transfer_payload(
            o.transfer_id, o.from_wallet_id, o.to_wallet_id, o.amount, o.asset, o.kind, o.reference, o.created_at
        )
    FROM ROWS FROM (unnest(v_requests), unnest(v_results)) AS o (
        from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash, link, metadata,
        event_at, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed, error_code, error, detail
    )
    WHERE o.error_code IS NULL AND NOT o.replayed;

    RETURN QUERY
    SELECT
        o.ord::integer, o.transfer_id, o.from_wallet_id, o.to_wallet_id, o.amount, o.asset, o.from_balance, o.to_balance,
        o.created_at, o.replayed, o.error_code, o.error, o.detail
    FROM ROWS FROM (unnest(v_requests), unnest(v_results)) WITH ORDINALITY AS o (
        from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash, link, metadata,
        event_at, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed, error_code, error, detail,
        ord
    );
END;
$$;

ALTER FUNCTION api.transfer_batch(p_requests api.transfer_request[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.transfer_batch(p_requests api.transfer_request[]) IS 'Moves money many times in one commit, up to 5000 requests; returns one outcome a request, in order. Requests apply one after another: a later one may spend what an earlier one brought. One that cannot be done is refused alone (error_code, error, detail) and the others go on. Repeating a key returns what it did the first time. See api.transfer for the rules.';

CREATE FUNCTION api.unban_user(p_creator uuid, p_user uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    DELETE FROM core.bans AS b WHERE b.creator_id = p_creator AND b.user_id = p_user;
    IF FOUND THEN
        INSERT INTO core.outbox (type, channels, payload)
        VALUES (
            'user.unbanned', ARRAY['creator:' || p_creator::text],
            jsonb_build_object('creator_id', p_creator, 'user_id', p_user)
        );
        RETURN true;
    END IF;
    RETURN false;
END;
$$;

ALTER FUNCTION api.unban_user(p_creator uuid, p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.unban_user(p_creator uuid, p_user uuid) IS 'Takes back the ban of user p_user by creator p_creator; false where there was none.';

CREATE FUNCTION api.unfreeze_wallet(p_wallet uuid, p_reason text, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.wallets
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM core._set_wallet(p_wallet, 'wallet.unfrozen', 'active', NULL, p_reason, p_actor);
    RETURN QUERY SELECT w.* FROM api.wallets AS w WHERE w.wallet_id = p_wallet;
END;
$$;

ALTER FUNCTION api.unfreeze_wallet(p_wallet uuid, p_reason text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.unfreeze_wallet(p_wallet uuid, p_reason text, p_actor uuid) IS 'Ends the freeze of wallet p_wallet. Not frozen: nothing changes. A closed one is TS311.';

CREATE FUNCTION api.update_stream(p_stream uuid, p_changes jsonb, p_actor uuid DEFAULT NULL::uuid) RETURNS SETOF api.streams
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    c_fields CONSTANT text[] := ARRAY[
        'title', 'visibility', 'ticket_price', 'seats', 'starts_at', 'sales_from', 'sales_to'
    ];
    v_old core.streams := core._open_stream(p_stream, p_actor);
    v_new core.streams;
    v_field text;
BEGIN
    IF jsonb_typeof(p_changes) = 'object' THEN
        SELECT k.name INTO v_field FROM jsonb_object_keys(p_changes) AS k (name) WHERE k.name <> ALL (c_fields) LIMIT 1;
    ELSE
        v_field := 'changes';
    END IF;
    IF v_field IS NULL THEN
        BEGIN
            v_new := jsonb_populate_record(v_old, p_changes);
            v_new.title := btrim(v_new.title);
            v_field := core._stream_fault(
                v_new.title, v_new.visibility, v_new.ticket_price, v_new.seats, v_new.starts_at, v_new.sales_from, v_new.sales_to
            );
        EXCEPTION WHEN data_exception THEN
            v_field := 'changes';
        END;
    END IF;
    IF v_field IS NOT NULL THEN
        PERFORM core._refuse_stream(v_field, 'Nothing was changed.');
    ELSIF v_new.seats < v_new.seats_sold THEN
        PERFORM core._raise(
            'TS331', 'SEATS_SOLD',
            jsonb_build_object('stream_id', p_stream, 'seats', v_new.seats, 'seats_sold', v_new.seats_sold), 'Nothing was changed.'
        );
    END IF;
    IF v_new IS DISTINCT FROM v_old THEN
        UPDATE core.streams AS s
        SET
            title = v_new.title, visibility = v_new.visibility, ticket_price = v_new.ticket_price, seats = v_new.seats,
            starts_at = v_new.starts_at, sales_from = v_new.sales_from, sales_to = v_new.sales_to, updated_at = clock_timestamp()
        WHERE s.id = p_stream;
        PERFORM core._stream_event('stream.updated', p_stream);
    END IF;
    RETURN QUERY SELECT s.* FROM api.streams AS s WHERE s.stream_id = p_stream;
END;
$$;

ALTER FUNCTION api.update_stream(p_stream uuid, p_changes jsonb, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.update_stream(p_stream uuid, p_changes jsonb, p_actor uuid) IS 'Changes the fields of stream p_stream that the object p_changes names: title, visibility, ticket_price, seats, starts_at, sales_from, sales_to; null takes away the last four. Never fewer seats than tickets sold. Tickets sold stay paid for at the price they had, also when the stream becomes public. p_actor must be its creator where named.';

CREATE TABLE core.webhook_cursors (
    endpoint_id uuid NOT NULL,
    channel text NOT NULL COLLATE pg_catalog."C",
    epoch uuid NOT NULL,
    seq bigint NOT NULL,
    lost_at timestamp with time zone,
    CONSTRAINT webhook_cursors_seq_check CHECK ((seq >= 0))
)
WITH (fillfactor='50');

ALTER TABLE core.webhook_cursors OWNER TO tessera_owner;

COMMENT ON TABLE core.webhook_cursors IS 'Up to where the events of a channel have become deliveries to an endpoint. Written by api.fan_webhooks.';

COMMENT ON COLUMN core.webhook_cursors.seq IS 'Number of the last event of the channel that was looked at, within epoch.';

COMMENT ON COLUMN core.webhook_cursors.lost_at IS 'When events could last not be read any more, so that it went on at the present position.';

CREATE TABLE core.webhook_queues (
    endpoint_id uuid NOT NULL,
    next_at timestamp with time zone,
    failures integer DEFAULT 0 NOT NULL,
    failing_since timestamp with time zone,
    CONSTRAINT webhook_queues_failing CHECK (((failures > 0) = (failing_since IS NOT NULL))),
    CONSTRAINT webhook_queues_failures_check CHECK ((failures >= 0))
)
WITH (fillfactor='50');

ALTER TABLE core.webhook_queues OWNER TO tessera_owner;

COMMENT ON TABLE core.webhook_queues IS 'One row an endpoint, whose lock comes before those of its deliveries. Written by the functions of webhooks only.';

COMMENT ON COLUMN core.webhook_queues.next_at IS 'There is nothing to be sent before; NULL: nothing at all.';

COMMENT ON COLUMN core.webhook_queues.failures IS 'Attempts that failed since the last that succeeded.';

CREATE VIEW api.webhook_endpoints AS
 SELECT e.id AS endpoint_id,
    e.user_id,
    e.url,
    e.description,
    e.event_types,
    e.status,
    e.disabled_at,
    e.disabled_reason,
    q.failures AS failures_in_a_row,
    q.failing_since,
    ( SELECT max(c.lost_at) AS max
           FROM core.webhook_cursors c
          WHERE (c.endpoint_id = e.id)) AS position_lost_at,
    e.created_at,
    e.updated_at
   FROM (core.webhook_endpoints e
     JOIN core.webhook_queues q ON ((q.endpoint_id = e.id)))
  WHERE (e.deleted_at IS NULL);

ALTER VIEW api.webhook_endpoints OWNER TO tessera_owner;

COMMENT ON VIEW api.webhook_endpoints IS 'Where users want the events of their channels sent, which of them, and how that goes: since when and how often in a row it has failed, why it is disabled, and when events could last not be read any more (position_lost_at; NULL: never). Without secrets.';

CREATE FUNCTION api.update_webhook_endpoint(p_endpoint uuid, p_changes jsonb, p_user uuid DEFAULT NULL::uuid) RETURNS SETOF api.webhook_endpoints
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
    c_fields CONSTANT text [] := '{url,event_types,description,status}';
    v_endpoint CONSTANT core.webhook_endpoints := core._lock_webhook(p_endpoint, p_user);
    v_new core.webhook_endpoints := v_endpoint;
BEGIN
    IF jsonb_typeof(p_changes) IS DISTINCT FROM 'object' OR p_changes - c_fields <> '{}' OR jsonb_path_exists(p_changes, '$.* ? (@ == null)') THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'p_changes'), 'An object of url, event_types, description, status.'
        );
    END IF;
    IF p_changes ? 'event_types' AND jsonb_typeof(p_changes -> 'event_types') <> 'array' THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'event_types'), 'A list of types of events.');
    END IF;
    v_new.url := coalesce(p_changes ->> 'url', v_endpoint.url);
    v_new.description := coalesce(p_changes ->> 'description', v_endpoint.description);
    v_new.status := coalesce(p_changes ->> 'status', v_endpoint.status);
    IF p_changes ? 'event_types' THEN
        v_new.event_types := ARRAY(SELECT t.pattern FROM jsonb_array_elements_text(p_changes -> 'event_types') AS t (pattern));
    END IF;
    PERFORM core._check_webhook(v_new.url, v_new.event_types, v_new.description, v_new.status);
    UPDATE core.webhook_endpoints AS e
    SET
        url = v_new.url, description = v_new.description, event_types = v_new.event_types, status = v_new.status,
        disabled_at = CASE WHEN v_new.status = 'disabled' THEN coalesce(e.disabled_at, clock_timestamp()) END,
        disabled_reason = CASE WHEN v_new.status = 'disabled' THEN coalesce(e.disabled_reason, 'by_user') END,
        updated_at = clock_timestamp()
    WHERE e.id = p_endpoint;
    IF v_new.status = 'active' AND (v_endpoint.status <> 'active' OR v_new.url <> v_endpoint.url) THEN
        UPDATE core.webhook_queues AS q SET next_at = clock_timestamp(), failures = 0, failing_since = NULL WHERE q.endpoint_id = p_endpoint;
    END IF;
    RETURN QUERY SELECT w.* FROM api.webhook_endpoints AS w WHERE w.endpoint_id = p_endpoint;
END;
$_$;

ALTER FUNCTION api.update_webhook_endpoint(p_endpoint uuid, p_changes jsonb, p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.update_webhook_endpoint(p_endpoint uuid, p_changes jsonb, p_user uuid) IS 'Changes url, event_types, description or status (active, disabled) of an endpoint of p_user (NULL: of whomever). While it is disabled nothing is sent; once it is active again, what was waiting is, and the events that came meanwhile, as far back as channels are kept. Another URL, or being enabled, makes it forget its failures.';

CREATE FUNCTION api.verify_seals(p_from_block bigint DEFAULT NULL::bigint, p_to_block bigint DEFAULT NULL::bigint) RETURNS TABLE(rule text, subject text, detail jsonb)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    v_seal core.seals;
    v_last core.seals;
    v_found record;
    v_books CONSTANT uuid := core._uuid_floor((SELECT max(p.attached_from) FROM core.partitioned AS p WHERE p.books AND isfinite(p.attached_from)));
    v_acts CONSTANT uuid := core._uuid_floor((SELECT p.attached_from FROM core.partitioned AS p WHERE p.name = 'audit_log' AND isfinite(p.attached_from)));
    v_first uuid;
    v_entries bigint := 0;
    v_counted bigint;
BEGIN
    FOR v_seal IN
        SELECT s.* FROM core.seals AS s
        WHERE s.block BETWEEN greatest(p_from_block, 1) - 1 AND coalesce(p_to_block, 9223372036854775807)
        ORDER BY s.block
    LOOP
        IF v_seal.block >= coalesce(p_from_block, 1) THEN
            subject := 'block ' || v_seal.block;
            IF v_seal.digest <> core._seal_digest(v_seal) THEN
                rule := 'seal_is_its_digest';
                detail := jsonb_build_object('digest', encode(v_seal.digest, 'hex'), 'must_be', encode(core._seal_digest(v_seal), 'hex'));
                RETURN NEXT;
            END IF;
            IF v_seal.block > 1 AND (v_last.block, v_last.to_id, v_last.digest) IS DISTINCT FROM (v_seal.block - 1, v_seal.from_id, v_seal.previous)
                OR v_seal.block = 1 AND v_seal.previous <> decode(repeat('00', 32), 'hex')
            THEN
                rule := 'seal_follows_the_one_before';
                detail := jsonb_build_object('before', v_last.block, 'previous', encode(v_seal.previous, 'hex'), 'its_digest', encode(v_last.digest, 'hex'));
                RETURN NEXT;
            END IF;
            SELECT c.* INTO v_found FROM core._seal_content(v_seal.from_id, v_seal.to_id) AS c;
            detail := jsonb_build_object('from_id', v_seal.from_id, 'to_id', v_seal.to_id, 'up_to', core._uuid_time(v_seal.to_id));
            -- by its end: a block may begin in a month that had nothing more to seal, and hold what is in the next
            IF (v_seal.to_id <= v_books) IS NOT TRUE THEN
                v_first := coalesce(v_first, v_seal.from_id);
                v_entries := v_entries + 2 * v_found.transfers;
                IF (v_found.transfers, v_found.transfers_digest) <> (v_seal.transfers, v_seal.transfers_digest) THEN
                    rule := 'sealed_transfers_are_unchanged';
                    detail := detail || jsonb_build_object('sealed', v_seal.transfers, 'found', v_found.transfers);
                    RETURN NEXT;
                END IF;
            END IF;
            IF (v_found.wallets, v_found.wallets_digest) <> (v_seal.wallets, v_seal.wallets_digest) THEN
                rule := 'sealed_wallets_are_unchanged';
                detail := detail || jsonb_build_object('sealed', v_seal.wallets, 'found', v_found.wallets);
                RETURN NEXT;
            END IF;
            IF (v_seal.to_id <= v_acts) IS NOT TRUE AND (v_found.acts, v_found.acts_digest) <> (v_seal.acts, v_seal.acts_digest) THEN
                rule := 'sealed_acts_are_unchanged';
                detail := detail || jsonb_build_object('sealed', v_seal.acts, 'found', v_found.acts);
                RETURN NEXT;
            END IF;
        END IF;
        v_last := v_seal;
    END LOOP;
    IF v_first IS NOT NULL AND p_from_block IS NULL AND p_to_block IS NULL THEN
        v_counted := (SELECT count(*) FROM core.entries AS e WHERE e.transfer_id >= v_first AND e.transfer_id < v_last.to_id);
        IF v_counted <> v_entries THEN
            rule := 'sealed_transfers_have_two_entries';
            subject := 'blocks up to ' || v_last.block;
            detail := jsonb_build_object('entries', v_counted, 'transfers', v_entries / 2);
            RETURN NEXT;
        END IF;
    END IF;
END;
$$;

ALTER FUNCTION api.verify_seals(p_from_block bigint, p_to_block bigint) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.verify_seals(p_from_block bigint, p_to_block bigint) IS 'Computes every sealed block anew from what is there now and returns a row for each that differs, or is not chained to the one before: the rule, the block, its range. No rows: nothing sealed was changed, removed or added since, as far as the seals themselves can be trusted; compare the newest digest with one that was kept elsewhere (tessera audit --anchor). Detached months are passed over. p_from_block and p_to_block: only these. Reads one snapshot and locks nothing.';

CREATE FUNCTION api.wallet_balances(p_user uuid) RETURNS TABLE(wallet_id uuid, asset text, scale smallint, balance bigint, held bigint, spendable bigint, lifetime_earned bigint, lifetime_spent bigint, status text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
    SELECT
        w.id, w.asset, a.scale, w.balance, h.held, w.balance - h.held - w.minimum, w.lifetime_earned, w.lifetime_spent, w.status::text
    FROM core.wallets AS w
    INNER JOIN core.assets AS a ON a.code = w.asset
    CROSS JOIN LATERAL (
        SELECT
            w.held - CASE
                WHEN w.held > 0 THEN (
                    SELECT coalesce(sum(o.amount - o.captured - o.released), 0)
                    FROM core.holds AS o
                    WHERE o.wallet_id = w.id AND o.status = 'open' AND o.expires_at <= now()
                )
                ELSE 0
            END::bigint AS held
    ) AS h
    WHERE w.owner_id = p_user
    ORDER BY w.asset
$$;

ALTER FUNCTION api.wallet_balances(p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.wallet_balances(p_user uuid) IS 'The wallets of a user, one row an asset; amounts in minor units (10^-scale of the asset). held counts the holds that have not expired; spendable = balance - held - minimum, below zero while a debt is open. No rows for an unknown user.';

CREATE FUNCTION api.watch_streams(p_beats api.watch_beat[]) RETURNS SETOF api.watch_outcome
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_hashjoin TO 'off'
    SET enable_mergejoin TO 'off'
    AS $$
DECLARE
    c_batch CONSTANT integer := 2500;
    v_until CONSTANT timestamptz := clock_timestamp() + make_interval(secs => core._rate('viewer_lease')::integer);
    v_outcomes api.watch_outcome[];
    v_counted boolean[];
BEGIN
    IF cardinality(p_beats) > c_batch THEN
        PERFORM core._raise('TS107', 'BATCH_TOO_LARGE', jsonb_build_object('size', cardinality(p_beats), 'maximum', c_batch), 'Send less at once.');
    END IF;
    SELECT
        array_agg(ROW(
            c.ord,
            CASE WHEN (c.refusal).error_code IS NULL THEN c.viewers END, CASE WHEN (c.refusal).error_code IS NULL THEN v_until END,
            (c.refusal).error_code, (c.refusal).error, (c.refusal).detail
        )::api.watch_outcome ORDER BY c.ord),
        array_agg((c.refusal).error_code IS NULL AND c.reason <> 'owner' ORDER BY c.ord)
    INTO v_outcomes, v_counted
    FROM (
        SELECT
            b.ord::integer AS ord, a.reason, coalesce(n.viewers, 0) AS viewers,
            CASE
                WHEN u.status IS NULL
                    THEN ROW('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', b.user_id))::core.refusal
                WHEN u.status <> 'active'
                    THEN ROW('TS502', 'USER_SUSPENDED', jsonb_build_object('user_id', b.user_id))::core.refusal
                WHEN a.reason IS NULL
                    THEN ROW('TS218', 'STREAM_NOT_FOUND', jsonb_build_object('stream_id', b.stream_id))::core.refusal
                WHEN a.reason = 'no_ticket'
                    THEN ROW('TS506', 'NO_ACCESS_TO_STREAM', jsonb_build_object('stream_id', b.stream_id, 'reason', a.reason))::core.refusal
                WHEN s.status <> 'live'
                    THEN ROW('TS330', 'STREAM_NOT_LIVE', jsonb_build_object('stream_id', b.stream_id, 'stream_status', s.status))::core.refusal
            END AS refusal
        FROM unnest(p_beats) WITH ORDINALITY AS b (user_id, stream_id, ord)
        CROSS JOIN LATERAL (SELECT core._access_reason(b.stream_id, b.user_id)) AS a (reason)
        LEFT JOIN LATERAL (SELECT x.status FROM core.users AS x WHERE x.id = b.user_id LIMIT 1) AS u ON true
        LEFT JOIN LATERAL (SELECT x.status FROM core.streams AS x WHERE x.id = b.stream_id LIMIT 1) AS s ON true
        LEFT JOIN LATERAL (SELECT x.viewers FROM core.stream_viewers AS x WHERE x.stream_id = b.stream_id LIMIT 1) AS n ON true
    ) AS c;
    INSERT INTO core.viewers AS v (stream_id, user_id, seen_until)
    SELECT DISTINCT b.stream_id, b.user_id, v_until
    FROM ROWS FROM (unnest(p_beats), unnest(v_counted)) AS b (user_id, stream_id, counted)
    WHERE b.counted
    ORDER BY b.stream_id, b.user_id
    ON CONFLICT ON CONSTRAINT viewers_pkey DO UPDATE SET seen_until = greatest(v.seen_until, excluded.seen_until);
    RETURN QUERY SELECT o.* FROM unnest(v_outcomes) AS o;
END;
$$;

ALTER FUNCTION api.watch_streams(p_beats api.watch_beat[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.watch_streams(p_beats api.watch_beat[]) IS 'Viewers of live streams are counted from now for as long as the rate viewer_lease says, or until their next beat; up to 2500 at once, one outcome a beat, in order. Beat about three times in a lease.';

CREATE FUNCTION api.webhook_lag() RETURNS TABLE(lag interval, waiting bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
    c_counted CONSTANT integer := 10000;
    v_now CONSTANT timestamptz := clock_timestamp();
BEGIN
    lag := (
        SELECT v_now - q.next_at FROM core.webhook_queues AS q WHERE q.next_at <= v_now ORDER BY q.next_at LIMIT 1
    );
    waiting := (
        SELECT count(*)
        FROM (
            SELECT FROM core.webhook_deliveries AS d
            WHERE d.status = 'pending' AND d.leased_until IS NULL AND d.due_at <= v_now
            LIMIT c_counted
        ) AS w
    );
    RETURN NEXT;
END;
$$;

ALTER FUNCTION api.webhook_lag() OWNER TO tessera_ledger;

COMMENT ON FUNCTION api.webhook_lag() IS 'For how long the endpoint that has waited longest has had something due that nobody looked at (NULL: none has), and how many deliveries are due and not on their way (10,000 are counted at most): those for which their endpoint has no room, and those of endpoints that are disabled, wait without a lag.';

CREATE FUNCTION core._access_reason(p_stream uuid, p_viewer uuid) RETURNS text
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    RETURN (
        SELECT CASE
            WHEN s.creator_id = p_viewer THEN 'owner'
            WHEN s.visibility = 'public' THEN 'public_stream'
            WHEN EXISTS (
                SELECT FROM core.tickets AS t WHERE t.stream_id = s.id AND t.viewer_id = p_viewer AND t.refunded_at IS NULL
            ) THEN 'ticket_purchased'
            ELSE 'no_ticket'
        END
        FROM core.streams AS s
        WHERE s.id = p_stream
    );
END;
$$;

ALTER FUNCTION core._access_reason(p_stream uuid, p_viewer uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._access_reason(p_stream uuid, p_viewer uuid) IS 'Why user p_viewer may watch stream p_stream (owner, public_stream, ticket_purchased), no_ticket where they may not; NULL: no such stream.';

CREATE FUNCTION core._act_rows(p_from uuid, p_to uuid) RETURNS TABLE(id uuid, created_at timestamp with time zone, actor_id uuid, db_user text, action text, subject_id uuid, details text, request_id text, address text)
    LANGUAGE sql STABLE
    AS $$
    SELECT l.id, l.created_at, l.actor_id, l.db_user, l.action, l.subject_id, l.details::text, l.request_id, l.address
    FROM core.audit_log AS l
    WHERE l.id >= p_from AND l.id < p_to
$$;

ALTER FUNCTION core._act_rows(p_from uuid, p_to uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._act_rows(p_from uuid, p_to uuid) IS 'Rows of the audit log with an id from p_from up to p_to, in the columns and types that are sealed.';

CREATE FUNCTION core._active_us(p_clock core.call_clocks, p_block_us bigint, p_at timestamp with time zone) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT greatest(
        (p_clock).active_us
        + greatest(0, coalesce((extract(EPOCH FROM p_at - (p_clock).running_since) * 1000000)::bigint, 0)),
        ((p_clock).blocks - 1) * p_block_us
    )
$$;

ALTER FUNCTION core._active_us(p_clock core.call_clocks, p_block_us bigint, p_at timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._active_us(p_clock core.call_clocks, p_block_us bigint, p_at timestamp with time zone) IS 'Active time at p_at in microseconds, without pauses. With the length of a block: not less than up to the last paid one, which has begun, also by a clock that was set back since.';

CREATE FUNCTION core._adjustment_event(p_type text, p_adjustment uuid) RETURNS void
    LANGUAGE sql
    AS $$
    INSERT INTO core.outbox (type, channels, payload)
    SELECT p_type, ARRAY['ops'], to_jsonb(a)
    FROM api.adjustments AS a
    WHERE a.adjustment_id = p_adjustment
$$;

ALTER FUNCTION core._adjustment_event(p_type text, p_adjustment uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._adjustment_event(p_type text, p_adjustment uuid) IS 'Writes the event p_type with the adjustment as it is now.';

CREATE FUNCTION core._admit(p_stream uuid, p_user uuid) RETURNS void
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    v_reason text := (api.stream_access(p_stream, p_user)).reason;
BEGIN
    IF v_reason = 'no_ticket' THEN
        PERFORM core._raise(
            'TS506', 'NO_ACCESS_TO_STREAM', jsonb_build_object('stream_id', p_stream, 'reason', v_reason), 'Buy a ticket first.'
        );
    END IF;
END;
$$;

ALTER FUNCTION core._admit(p_stream uuid, p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._admit(p_stream uuid, p_user uuid) IS 'Raises where user p_user may not watch stream p_stream.';

CREATE FUNCTION core._alive_until(p_clock core.call_clocks) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT least(
        greatest((p_clock).fan_seen_at, (p_clock).creator_seen_at),
        CASE WHEN (p_clock).fan_left_at > (p_clock).fan_seen_at THEN (p_clock).fan_left_at END,
        CASE WHEN (p_clock).creator_left_at > (p_clock).creator_seen_at THEN (p_clock).creator_left_at END
    )
$$;

ALTER FUNCTION core._alive_until(p_clock core.call_clocks) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._alive_until(p_clock core.call_clocks) IS 'When a call was last seen: the newest sign of life of either of its people, or when one of them left the room and was not seen since.';

CREATE TABLE core.partitioned (
    name text NOT NULL,
    key text NOT NULL,
    leaf_key text[],
    books boolean NOT NULL,
    keep interval NOT NULL,
    since timestamp with time zone NOT NULL,
    attached_from timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    made_to timestamp with time zone NOT NULL,
    CONSTRAINT partitioned_order CHECK (((attached_from < made_to) AND (since <= made_to)))
);

ALTER TABLE core.partitioned OWNER TO tessera_owner;

COMMENT ON TABLE core.partitioned IS 'The tables of core that are partitioned by month, and from when to when there are partitions. Written by api.make_partitions, api.detach_month and api.attach_month only.';

COMMENT ON COLUMN core.partitioned.key IS 'Column that the partitions are ranges of: a UUID version 7, or created_at.';

COMMENT ON COLUMN core.partitioned.leaf_key IS 'Primary key of each partition, where the table itself cannot have it because the column key is not in it. NULL: the table has it.';

COMMENT ON COLUMN core.partitioned.books IS 'One of those that are only detached together.';

COMMENT ON COLUMN core.partitioned.keep IS 'A month is not detached before it is over for that long.';

COMMENT ON COLUMN core.partitioned.since IS 'End of the first partition, which holds all that was there before.';

COMMENT ON COLUMN core.partitioned.attached_from IS 'Everything before it is detached.';

COMMENT ON COLUMN core.partitioned.made_to IS 'End of the last partition. What comes later goes to the default partition, until api.make_partitions has seen to it.';

CREATE FUNCTION core._attach_partition(p_table core.partitioned, p_partition text, p_from timestamp with time zone, p_to timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_uuid CONSTANT boolean := p_table.key <> 'created_at';
BEGIN
    EXECUTE format(
        'ALTER TABLE core.%I ATTACH PARTITION core.%I %s', p_table.name, p_partition,
        CASE
            WHEN p_to IS NULL THEN 'DEFAULT'
            ELSE format(
                'FOR VALUES FROM (%s) TO (%L)',
                CASE
                    WHEN p_from = '-infinity' THEN 'MINVALUE'
                    ELSE quote_literal(CASE WHEN v_uuid THEN core._uuid_floor(p_from)::text ELSE p_from::text END)
                END,
                CASE WHEN v_uuid THEN core._uuid_floor(p_to)::text ELSE p_to::text END
            )
        END
    );
    IF p_to IS NOT NULL THEN
        INSERT INTO core.partitions AS p (name, table_name, from_at, to_at) VALUES (p_partition, p_table.name, p_from, p_to)
        ON CONFLICT (name) DO UPDATE SET detached_to = NULL;
    END IF;
    EXECUTE format(
        'COMMENT ON TABLE core.%I IS %L', p_partition,
        format('Partition of core.%s, by %s: %s.', p_table.name, p_table.key, CASE
            WHEN p_to IS NULL THEN 'what no other one takes; empty unless api.make_partitions was not run for long'
            ELSE format('%s up to %s', coalesce(nullif(p_from, '-infinity')::text, 'from the beginning'), p_to)
        END)
    );
END;
$$;

ALTER FUNCTION core._attach_partition(p_table core.partitioned, p_partition text, p_from timestamp with time zone, p_to timestamp with time zone) OWNER TO tessera_owner;

COMMENT ON FUNCTION core._attach_partition(p_table core.partitioned, p_partition text, p_from timestamp with time zone, p_to timestamp with time zone) IS 'Attaches a table as a partition from p_from to p_to, and notes it; as the default one where p_to is NULL.';

CREATE FUNCTION core._audit_adjustments() RETURNS TABLE(rule text, subject text, detail jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        'adjustment_has_its_transfer', 'adjustment ' || a.id::text,
        jsonb_build_object('transfer_id', a.transfer_id, 'amount', a.amount, 'transfer_amount', t.amount)
    FROM core.adjustments AS a
    LEFT JOIN core.transfers AS t ON t.id = a.transfer_id
    WHERE
        a.status = 'approved' AND (
            t.amount::bigint IS DISTINCT FROM a.amount OR t.from_wallet_id IS DISTINCT FROM a.from_wallet_id
            OR t.to_wallet_id IS DISTINCT FROM a.to_wallet_id OR t.kind IS DISTINCT FROM 'adjustment'
        )
        AND NOT core._is_detached(a.transfer_id)
    UNION ALL
    SELECT
        'adjustment_took_two_people', 'adjustment ' || a.id::text,
        jsonb_build_object(
            'requested_by', a.requested_by, 'requested_db_user', a.requested_db_user,
            'decided_by', a.decided_by, 'decided_db_user', a.decided_db_user
        )
    FROM core.adjustments AS a
    WHERE
        a.status = 'approved'
        AND (
            a.requested_by = a.decided_by
            OR (a.requested_by IS NULL OR a.decided_by IS NULL) AND a.requested_db_user = a.decided_db_user
        )
    UNION ALL
    SELECT 'referral_is_no_circle', 'user ' || c.id::text, jsonb_build_object('referred_by_id', c.referred_by_id)
    FROM (
        WITH RECURSIVE line AS (
            SELECT u.id, u.referred_by_id, u.referred_by_id AS above
            FROM core.users AS u
            WHERE u.referred_by_id IS NOT NULL
            UNION
            SELECT l.id, l.referred_by_id, u.referred_by_id
            FROM line AS l
            INNER JOIN core.users AS u ON u.id = l.above
            WHERE u.referred_by_id IS NOT NULL AND l.above <> l.id
        )
        SELECT l.id, l.referred_by_id FROM line AS l WHERE l.above = l.id
    ) AS c
$$;

ALTER FUNCTION core._audit_adjustments() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._audit_adjustments() IS 'Broken invariants of adjustments and referrals, as api.audit_ledger() returns them.';

CREATE FUNCTION core._audit_calls() RETURNS TABLE(rule text, subject text, detail jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        'call_total_is_sum_of_blocks', 'call ' || c.id::text,
        jsonb_build_object(
            'blocks', coalesce(k.blocks, c.blocks), 'billed', coalesce(k.billed, c.billed), 'fees', coalesce(k.platform_fees, c.platform_fees),
            'sum_of_blocks', b.billed, 'sum_of_fees', b.fees, 'count', b.blocks
        )
    FROM core.calls AS c
    LEFT JOIN core.call_clocks AS k ON k.call_id = c.id
    LEFT JOIN (
        SELECT m.call_id, count(*) AS blocks, sum(m.price) AS billed, sum(m.platform_fee) AS fees
        FROM core.meter_blocks AS m
        WHERE m.refunded_at IS NULL
        GROUP BY m.call_id
    ) AS b ON b.call_id = c.id
    WHERE
        (coalesce(k.blocks, c.blocks), coalesce(k.billed, c.billed), coalesce(k.platform_fees, c.platform_fees))
        IS DISTINCT FROM (coalesce(b.blocks, 0), coalesce(b.billed, 0), coalesce(b.fees, 0))
    UNION ALL
    SELECT 'block_has_transfer', 'call ' || b.call_id::text, jsonb_build_object('block_no', b.block_no, 'price', b.price, 'moved', m.amount)
    FROM core.meter_blocks AS b
    LEFT JOIN core.calls AS c ON c.id = b.call_id
    LEFT JOIN core.transfers AS m ON m.id = b.transfer_id
    LEFT JOIN core.transfers AS f ON f.id = b.fee_transfer_id
    WHERE
        NOT core._is_detached(b.transfer_id) AND (
            m.id IS NULL OR m.from_wallet_id IS DISTINCT FROM c.fan_wallet_id
            OR m.kind IS DISTINCT FROM CASE WHEN b.platform_fee = b.price THEN 'fee' ELSE 'call_block' END
            OR (m.kind = 'call_block' AND m.to_wallet_id IS DISTINCT FROM c.creator_wallet_id)
            OR m.amount + coalesce(f.amount::bigint, 0) <> b.price OR coalesce(f.amount::bigint, 0) <> b.platform_fee AND m.kind <> 'fee'
            OR (f.id IS NOT NULL AND (f.kind <> 'fee' OR f.from_wallet_id <> c.fan_wallet_id))
            OR b.price IS DISTINCT FROM c.block_price
        )
    UNION ALL
    SELECT 'call_transfer_has_block', 'transfer ' || m.id::text, jsonb_build_object('amount', m.amount, 'call', m.reference)
    FROM core.transfers AS m
    WHERE
        m.kind = 'call_block'
        AND NOT EXISTS (SELECT FROM core.meter_blocks AS b WHERE b.call_id::text = m.reference AND b.transfer_id = m.id)
    UNION ALL
    SELECT
        'blocks_are_in_order_and_within_limit', 'call ' || b.call_id::text,
        jsonb_build_object('blocks', count(*), 'last', max(b.block_no), 'limit', c.block_limit)
    FROM core.meter_blocks AS b
    LEFT JOIN core.calls AS c ON c.id = b.call_id
    GROUP BY b.call_id, c.id
    HAVING c.id IS NULL OR max(b.block_no) + 1 <> count(*) OR count(*) > c.block_limit
    UNION ALL
    SELECT
        'blocks_are_for_active_time', 'call ' || c.id::text,
        jsonb_build_object('blocks', c.blocks, 'active_us', c.active_us, 'block_us', c.block_us)
    FROM core.calls AS c
    WHERE
        c.status = 'ended'
        AND (c.blocks > c.active_us / c.block_us + 1 OR c.active_us > c.blocks * c.block_us)
        AND NOT EXISTS (SELECT FROM core.audit_log AS l WHERE l.action = 'call.refund_refused' AND l.details -> 'calls' ? c.id::text)
    UNION ALL
    SELECT
        'returned_block_is_refunded', 'call ' || b.call_id::text,
        jsonb_build_object('block_no', b.block_no, 'price', b.price, 'refunded', coalesce(r.amount, 0))
    FROM core.meter_blocks AS b
    CROSS JOIN LATERAL (
        SELECT sum(x.amount) AS amount FROM core.refunds AS x WHERE x.original_id IN (b.transfer_id, b.fee_transfer_id)
    ) AS r
    WHERE b.refunded_at IS NOT NULL AND r.amount IS DISTINCT FROM b.price
    UNION ALL
    SELECT 'live_call_has_clock_and_people', 'call ' || c.id::text, jsonb_build_object('status', c.status, 'clock', k.call_id IS NOT NULL, 'people', p.people)
    FROM core.calls AS c
    LEFT JOIN core.call_clocks AS k ON k.call_id = c.id
    LEFT JOIN (
        SELECT q.call_id, count(*) AS people FROM core.call_parties AS q GROUP BY q.call_id
    ) AS p ON p.call_id = c.id
    WHERE
        (c.ended_at IS NULL) <> (k.call_id IS NOT NULL) OR coalesce(p.people, 0) <> CASE WHEN c.ended_at IS NULL THEN 2 ELSE 0 END
        OR (c.status = 'active') <> (k.running_since IS NOT NULL)
$$;

ALTER FUNCTION core._audit_calls() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._audit_calls() IS 'Broken invariants of calls, as api.audit_ledger() returns them.';

CREATE FUNCTION core._audit_entries() RETURNS TABLE(rule text, subject text, detail jsonb)
    LANGUAGE sql STABLE
    AS $$
    WITH history AS (
        SELECT
            e.wallet_id, e.seq, e.transfer_id, e.amount, e.balance, e.created_at,
            lag(e.seq::bigint) OVER w AS seq_before,
            lag(e.balance) OVER w AS balance_before,
            lag(e.created_at) OVER w AS created_before
        FROM core.entries AS e
        WINDOW w AS (PARTITION BY e.wallet_id ORDER BY e.seq)
    ), forward AS (
        -- where each wallet's attached entries go on, if months of it are detached
        SELECT DISTINCT ON (b.wallet_id) b.wallet_id, b.seq, b.balance
        FROM core.brought_forward AS b
        ORDER BY b.wallet_id, b.detached_to DESC
    )
    SELECT
        'seq_gapless', 'wallet ' || h.wallet_id::text, jsonb_build_object('seq', h.seq, 'seq_before', h.seq_before)
    FROM history AS h
    WHERE h.seq <> coalesce(h.seq_before, (SELECT f.seq FROM forward AS f WHERE f.wallet_id = h.wallet_id), 0) + 1
    UNION ALL
    SELECT
        'running_balance', 'wallet ' || h.wallet_id::text,
        jsonb_build_object('seq', h.seq, 'balance_before', h.balance_before, 'amount', h.amount, 'balance', h.balance)
    FROM history AS h
    WHERE
        h.balance
        <> coalesce(h.balance_before, (SELECT f.balance FROM forward AS f WHERE f.wallet_id = h.wallet_id), 0) + h.amount
    UNION ALL
    SELECT
        'entries_in_time_order', 'wallet ' || h.wallet_id::text,
        jsonb_build_object('seq', h.seq, 'created_at', h.created_at, 'created_before', h.created_before)
    FROM history AS h
    WHERE h.created_at < h.created_before
    UNION ALL
    SELECT
        'entry_has_transfer', 'wallet ' || e.wallet_id::text, jsonb_build_object('seq', e.seq, 'transfer_id', e.transfer_id)
    FROM core.entries AS e
    LEFT JOIN core.transfers AS t
        ON
            t.id = e.transfer_id
            AND (
                (t.from_wallet_id = e.wallet_id AND t.from_seq = e.seq AND t.amount = - e.amount)
                OR (t.to_wallet_id = e.wallet_id AND t.to_seq = e.seq AND t.amount = e.amount)
            )
    WHERE t.id IS NULL
    UNION ALL
    SELECT
        'transfer_has_two_entries', 'transfer ' || t.id::text,
        jsonb_build_object('amount', t.amount, 'debit', d.amount, 'credit', c.amount)
    FROM core.transfers AS t
    LEFT JOIN core.entries AS d ON d.wallet_id = t.from_wallet_id AND d.seq = t.from_seq AND d.transfer_id = t.id
    LEFT JOIN core.entries AS c ON c.wallet_id = t.to_wallet_id AND c.seq = t.to_seq AND c.transfer_id = t.id
    WHERE d.amount IS DISTINCT FROM - t.amount OR c.amount IS DISTINCT FROM t.amount::bigint
    UNION ALL
    SELECT
        'transfer_is_within_an_asset', 'transfer ' || t.id::text,
        jsonb_build_object('asset', t.asset, 'from_asset', f.asset, 'to_asset', o.asset)
    FROM core.transfers AS t
    LEFT JOIN core.wallets AS f ON f.id = t.from_wallet_id
    LEFT JOIN core.wallets AS o ON o.id = t.to_wallet_id
    WHERE f.asset IS DISTINCT FROM t.asset OR o.asset IS DISTINCT FROM t.asset OR t.from_wallet_id = t.to_wallet_id
    UNION ALL
    SELECT 'transfer_names_who_asked', 'transfer ' || t.id::text, '{}'
    FROM core.transfers AS t
    WHERE t.actor_id IS NULL AND t.db_user IS NULL
    UNION ALL
    SELECT
        'event_is_not_after_transfer', 'transfer ' || t.id::text,
        jsonb_build_object('event_at', t.event_at, 'created_at', t.created_at)
    FROM core.transfers AS t
    WHERE t.event_at > t.created_at
    UNION ALL
    SELECT
        'key_has_transfer', 'idempotency key ' || k.key,
        jsonb_build_object('actor_id', k.actor_id, 'transfer_id', k.transfer_id)
    FROM core.idempotency_keys AS k
    LEFT JOIN core.transfers AS t ON t.id = k.transfer_id
    WHERE
        k.transfer_id IS NOT NULL AND t.id IS NULL
        AND NOT core._is_detached(k.transfer_id)
    UNION ALL
    SELECT 'transfer_in_its_month', 'transfer ' || t.id::text, jsonb_build_object('created_at', t.created_at)
    FROM core.transfers AS t
    WHERE
        t.id >= (SELECT core._uuid_floor(p.since) FROM core.partitioned AS p WHERE p.name = 'transfers')
        AND date_trunc('month', core._uuid_time(t.id), 'UTC') <> date_trunc('month', t.created_at, 'UTC')
$$;

ALTER FUNCTION core._audit_entries() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._audit_entries() IS 'Broken invariants of entries, transfers and idempotency keys, as api.audit_ledger() returns them.';

CREATE FUNCTION core._audit_holds() RETURNS TABLE(rule text, subject text, detail jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        'held_is_open_holds', 'wallet ' || w.id::text,
        jsonb_build_object('held', w.held, 'open_holds', coalesce(s.open_holds, 0))
    FROM core.wallets AS w
    LEFT JOIN (
        SELECT h.wallet_id, sum(h.amount - h.captured - h.released) AS open_holds
        FROM core.holds AS h
        WHERE h.status = 'open'
        GROUP BY h.wallet_id
    ) AS s ON s.wallet_id = w.id
    WHERE w.held <> coalesce(s.open_holds, 0)
    UNION ALL
    SELECT
        'hold_is_in_a_wallet_of_its_asset', 'hold ' || h.id::text,
        jsonb_build_object('wallet_id', h.wallet_id, 'asset', h.asset, 'wallet_asset', w.asset)
    FROM core.holds AS h
    LEFT JOIN core.wallets AS w ON w.id = h.wallet_id
    WHERE w.asset IS DISTINCT FROM h.asset
    UNION ALL
    SELECT
        'captured_is_sum_of_captures', 'hold ' || h.id::text,
        jsonb_build_object('captured', h.captured, 'captures', coalesce(s.captures, 0))
    FROM core.holds AS h
    LEFT JOIN (
        SELECT c.hold_id, sum(c.amount) AS captures FROM core.captures AS c GROUP BY c.hold_id
    ) AS s ON s.hold_id = h.id
    WHERE h.captured <> coalesce(s.captures, 0)
    UNION ALL
    SELECT
        'capture_has_hold_and_transfer', 'transfer ' || c.transfer_id::text,
        jsonb_build_object('hold_id', c.hold_id, 'amount', c.amount, 'transfer_amount', t.amount)
    FROM core.captures AS c
    LEFT JOIN core.holds AS h ON h.id = c.hold_id
    LEFT JOIN core.transfers AS t ON t.id = c.transfer_id
    WHERE
        (h.id IS NULL OR t.amount::bigint IS DISTINCT FROM c.amount OR t.from_wallet_id IS DISTINCT FROM h.wallet_id)
        AND NOT core._is_detached(c.transfer_id)
    UNION ALL
    SELECT 'hold_names_who_asked', 'hold ' || h.id::text, '{}'
    FROM core.holds AS h
    WHERE h.actor_id IS NULL AND h.db_user IS NULL
    UNION ALL
    SELECT
        'hold_is_open_or_used_up', 'hold ' || h.id::text,
        jsonb_build_object('status', h.status, 'amount', h.amount, 'captured', h.captured, 'released', h.released)
    FROM core.holds AS h
    WHERE
        (h.status = 'open') <> (h.captured + h.released < h.amount) OR h.captured + h.released > h.amount
        OR (h.status = 'open') <> (h.closed_at IS NULL)
$$;

ALTER FUNCTION core._audit_holds() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._audit_holds() IS 'Broken invariants of holds and captures, as api.audit_ledger() returns them.';

CREATE FUNCTION core._audit_payments() RETURNS TABLE(rule text, subject text, detail jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        'payment_has_its_transfer', 'payment ' || p.id::text,
        jsonb_build_object('tokens', p.tokens, 'moved', m.amount::bigint, 'kind', m.kind)
    FROM core.payments AS p
    LEFT JOIN core.transfers AS m ON m.id = p.transfer_id
    LEFT JOIN core.wallets AS f ON f.id = m.from_wallet_id
    LEFT JOIN core.wallets AS o ON o.id = m.to_wallet_id
    WHERE
        p.transfer_id IS NOT NULL AND NOT core._is_detached(p.transfer_id)
        AND (m.amount::bigint, m.kind, o.owner_id, f.purpose::text) IS DISTINCT FROM (p.tokens, 'purchase', p.buyer_id, 'issuance')
    UNION ALL
    SELECT 'purchase_has_its_payment', 'transfer ' || m.id::text, jsonb_build_object('amount', m.amount::bigint, 'kind', m.kind)
    FROM core.transfers AS m
    LEFT JOIN core.payment_transfers AS t ON t.transfer_id = m.id
    LEFT JOIN core.payments AS p ON p.id = t.payment_id
    WHERE
        m.kind IN ('purchase', 'purchase_restored')
        AND (
            p.id IS NULL OR t.tokens <> m.amount::bigint
            OR m.kind = 'purchase' AND p.transfer_id IS DISTINCT FROM m.id
        )
    UNION ALL
    SELECT
        'payment_reversal_is_a_refund', 'payment ' || t.payment_id::text,
        jsonb_build_object('transfer_id', t.transfer_id, 'tokens', t.tokens, 'refunded', r.amount)
    FROM core.payment_transfers AS t
    LEFT JOIN core.refunds AS r ON r.transfer_id = t.transfer_id
    WHERE t.kind = 'reversal' AND (r.amount, r.owed) IS DISTINCT FROM (t.tokens, t.owed)
    UNION ALL
    SELECT
        'payment_reversed_is_what_moved', 'payment ' || p.id::text,
        jsonb_build_object('reversed', p.reversed, 'moved', coalesce(s.moved, 0))
    FROM core.payments AS p
    LEFT JOIN (
        SELECT t.payment_id, sum(CASE t.kind WHEN 'reversal' THEN t.tokens ELSE - t.tokens END) AS moved
        FROM core.payment_transfers AS t
        WHERE t.kind <> 'purchase'
        GROUP BY t.payment_id
    ) AS s ON s.payment_id = p.id
    WHERE p.reversed <> coalesce(s.moved, 0)
    UNION ALL
    SELECT
        'payment_reversed_is_what_is_due', 'payment ' || p.id::text,
        jsonb_build_object('tokens', p.tokens, 'amount', p.amount, 'refunded', p.refunded, 'disputed', p.disputed, 'reversed', p.reversed)
    FROM core.payments AS p
    WHERE
        p.reversed <> CASE
            WHEN p.transfer_id IS NULL THEN 0
            ELSE div(p.tokens::numeric * least(p.refunded::numeric + p.disputed, p.amount), p.amount)
        END
    UNION ALL
    SELECT
        'payment_refunded_is_its_refunds', 'payment ' || p.id::text,
        jsonb_build_object('refunded', p.refunded, 'refunds', coalesce(r.amount, 0), 'disputed', p.disputed, 'disputes', coalesce(d.amount, 0))
    FROM core.payments AS p
    LEFT JOIN (
        SELECT r.payment_id, sum(r.amount) AS amount FROM core.payment_refunds AS r WHERE r.status <> 'failed' GROUP BY r.payment_id
    ) AS r ON r.payment_id = p.id
    LEFT JOIN (
        SELECT d.payment_id, sum(d.amount) AS amount FROM core.payment_disputes AS d WHERE d.status <> 'won' GROUP BY d.payment_id
    ) AS d ON d.payment_id = p.id
    WHERE p.refunded <> coalesce(r.amount, 0) OR p.disputed <> coalesce(d.amount, 0)
    UNION ALL
    SELECT
        'refunds_are_within_payment', 'payment ' || p.id::text, jsonb_build_object('amount', p.amount, 'refunded', p.refunded)
    FROM core.payments AS p
    WHERE p.refunded > p.amount
    UNION ALL
    SELECT
        'payment_status_fits', 'payment ' || p.id::text,
        jsonb_build_object('status', p.status, 'amount', p.amount, 'refunded', p.refunded, 'disputed', p.disputed)
    FROM core.payments AS p
    WHERE
        p.transfer_id IS NOT NULL
        AND p.status <> CASE WHEN p.disputed > 0 THEN 'disputed' WHEN p.refunded >= p.amount THEN 'refunded' ELSE 'paid' END
$$;

ALTER FUNCTION core._audit_payments() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._audit_payments() IS 'Broken invariants of payments, as api.audit_ledger() returns them.';

CREATE FUNCTION core._audit_payouts() RETURNS TABLE(rule text, subject text, detail jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        'waiting_payout_has_hold', 'payout ' || p.id::text,
        jsonb_build_object('amount', p.amount, 'status', p.status, 'hold_status', h.status, 'held', h.amount)
    FROM core.payouts AS p
    LEFT JOIN core.holds AS h ON h.id = p.hold_id
    WHERE
        h.id IS NULL OR h.amount <> p.amount OR h.wallet_id <> p.wallet_id OR h.kind <> 'payout'
        OR p.status IN ('requested', 'held') AND h.status NOT IN ('open', 'expired')
    UNION ALL
    SELECT 'payout_hold_has_payout', 'hold ' || h.id::text, jsonb_build_object('amount', h.amount)
    FROM core.holds AS h
    LEFT JOIN core.payouts AS p ON p.hold_id = h.id
    WHERE h.kind = 'payout' AND (p.id IS NULL OR h.status = 'open' AND p.status NOT IN ('requested', 'held'))
    UNION ALL
    SELECT
        'sent_payout_is_one_capture', 'payout ' || p.id::text,
        jsonb_build_object('amount', p.amount, 'status', p.status, 'captured', h.captured, 'transfer_id', p.transfer_id)
    FROM core.payouts AS p
    INNER JOIN core.holds AS h ON h.id = p.hold_id
    LEFT JOIN core.captures AS c ON c.hold_id = p.hold_id AND c.transfer_id = p.transfer_id
    WHERE
        p.transfer_id IS NOT NULL AND (c.amount IS DISTINCT FROM p.amount OR h.captured <> p.amount)
        OR p.transfer_id IS NULL AND h.captured <> 0
    UNION ALL
    SELECT
        'paid_payout_left_clearing', 'payout ' || p.id::text,
        jsonb_build_object('amount', p.amount, 'status', p.status, 'transfer_id', p.paid_transfer_id, 'moved', t.amount)
    FROM core.payouts AS p
    LEFT JOIN core.transfers AS t ON t.id = p.paid_transfer_id
    WHERE
        p.paid_transfer_id IS NOT NULL AND NOT core._is_detached(p.paid_transfer_id)
        AND (t.id IS NULL OR t.amount <> p.amount OR t.kind <> 'payout_paid' OR t.reference IS DISTINCT FROM p.id::text)
    UNION ALL
    SELECT 'payout_transfer_has_payout', 'transfer ' || t.id::text, jsonb_build_object('kind', t.kind, 'amount', t.amount)
    FROM core.transfers AS t
    LEFT JOIN core.payouts AS p ON p.transfer_id = t.id
    LEFT JOIN core.payouts AS q ON q.paid_transfer_id = t.id
    WHERE t.kind = 'payout' AND p.id IS NULL OR t.kind = 'payout_paid' AND q.id IS NULL
    UNION ALL
    SELECT
        'closed_payout_is_given_back_once', 'payout ' || p.id::text,
        jsonb_build_object('amount', p.amount, 'status', p.status, 'given_back', r.amount, 'of_paid', s.amount, 'hold_status', h.status)
    FROM core.payouts AS p
    INNER JOIN core.holds AS h ON h.id = p.hold_id
    LEFT JOIN (
        SELECT x.original_id, sum(x.amount) AS amount FROM core.refunds AS x GROUP BY x.original_id
    ) AS r ON r.original_id = p.transfer_id
    LEFT JOIN (
        SELECT x.original_id, sum(x.amount) AS amount FROM core.refunds AS x GROUP BY x.original_id
    ) AS s ON s.original_id = p.paid_transfer_id
    WHERE CASE
        WHEN p.status NOT IN ('failed', 'cancelled') THEN coalesce(r.amount, s.amount) IS NOT NULL
        WHEN p.transfer_id IS NULL THEN h.status NOT IN ('released', 'expired') OR h.captured <> 0
        ELSE r.amount IS DISTINCT FROM p.amount OR s.amount IS DISTINCT FROM CASE WHEN p.paid_transfer_id IS NOT NULL THEN p.amount END
    END
    UNION ALL
    SELECT
        'clearing_is_processing_payouts', 'asset TOKEN',
        jsonb_build_object('payout_clearing', w.balance, 'processing', coalesce(p.amount, 0))
    FROM (SELECT sum(c.balance) AS balance FROM core.wallets AS c WHERE c.purpose = 'payout_clearing' AND c.asset = 'TOKEN') AS w
    CROSS JOIN (SELECT sum(o.amount) AS amount FROM core.payouts AS o WHERE o.status = 'processing') AS p
    WHERE w.balance <> coalesce(p.amount, 0)
$$;

ALTER FUNCTION core._audit_payouts() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._audit_payouts() IS 'Broken invariants of payouts, as api.audit_ledger() returns them.';

CREATE FUNCTION core._audit_refunds() RETURNS TABLE(rule text, subject text, detail jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        'refunds_are_within_original', 'transfer ' || s.original_id::text,
        jsonb_build_object('amount', t.amount, 'refunded', s.refunded)
    FROM (
        SELECT r.original_id, sum(r.amount) AS refunded FROM core.refunds AS r GROUP BY r.original_id
    ) AS s
    LEFT JOIN core.transfers AS t ON t.id = s.original_id
    WHERE (t.id IS NULL OR s.refunded > t.amount) AND NOT core._is_detached(s.original_id)
    UNION ALL
    SELECT
        'refund_undoes_its_original', 'transfer ' || r.transfer_id::text,
        jsonb_build_object('original_id', r.original_id, 'amount', r.amount, 'transfer_amount', t.amount)
    FROM core.refunds AS r
    LEFT JOIN core.transfers AS o ON o.id = r.original_id
    LEFT JOIN core.transfers AS t ON t.id = r.transfer_id
    WHERE
        (
            t.amount::bigint IS DISTINCT FROM r.amount OR t.kind IS DISTINCT FROM 'refund'
            OR t.from_wallet_id IS DISTINCT FROM o.to_wallet_id OR t.to_wallet_id IS DISTINCT FROM o.from_wallet_id
        )
        AND NOT core._is_detached(r.original_id)
    UNION ALL
    SELECT
        'debt_is_what_is_missing', 'wallet ' || w.id::text,
        jsonb_build_object('debt', w.debt, 'balance', w.balance, 'held', w.held, 'minimum', w.minimum)
    FROM core.wallets AS w
    WHERE w.debt <> 0 AND w.debt <> greatest(0, w.minimum + w.held - w.balance)
    UNION ALL
    SELECT
        'debt_comes_from_refunds', 'wallet ' || w.id::text,
        jsonb_build_object('debt', w.debt, 'owed', coalesce(s.owed, 0))
    FROM core.wallets AS w
    LEFT JOIN (
        SELECT t.from_wallet_id, sum(r.owed) AS owed
        FROM core.refunds AS r
        INNER JOIN core.transfers AS t ON t.id = r.transfer_id
        WHERE r.owed > 0
        GROUP BY t.from_wallet_id
    ) AS s ON s.from_wallet_id = w.id
    WHERE
        w.debt > coalesce(s.owed, 0)
        AND (SELECT p.attached_from FROM core.partitioned AS p WHERE p.name = 'transfers') = '-infinity'
$$;

ALTER FUNCTION core._audit_refunds() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._audit_refunds() IS 'Broken invariants of refunds and debts, as api.audit_ledger() returns them.';

CREATE FUNCTION core._audit_tickets() RETURNS TABLE(rule text, subject text, detail jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        'ticket_has_transfer', 'ticket ' || t.id::text,
        jsonb_build_object('price', t.price, 'platform_fee', t.platform_fee, 'moved', m.amount, 'kind', m.kind)
    FROM core.tickets AS t
    INNER JOIN core.streams AS s ON s.id = t.stream_id
    LEFT JOIN core.transfers AS m ON m.id = t.transfer_id
    LEFT JOIN core.wallets AS f ON f.id = m.from_wallet_id
    LEFT JOIN core.wallets AS o ON o.id = m.to_wallet_id
    WHERE
        t.price > 0 AND NOT core._is_detached(t.transfer_id) AND (
            m.id IS NULL OR f.owner_id IS DISTINCT FROM t.viewer_id
            OR m.amount <> CASE m.kind WHEN 'stream_ticket' THEN t.price - t.platform_fee ELSE t.platform_fee END
            OR (m.kind = 'stream_ticket' AND o.owner_id IS DISTINCT FROM s.creator_id) OR m.kind NOT IN ('stream_ticket', 'fee')
        )
    UNION ALL
    SELECT 'ticket_transfer_has_ticket', 'transfer ' || m.id::text, jsonb_build_object('amount', m.amount)
    FROM core.transfers AS m
    LEFT JOIN core.tickets AS t ON t.transfer_id = m.id
    WHERE m.kind = 'stream_ticket' AND t.id IS NULL
    UNION ALL
    SELECT
        'seats_sold_are_tickets', 'stream ' || s.id::text,
        jsonb_build_object('seats', s.seats, 'seats_sold', s.seats_sold, 'tickets', count(t.id))
    FROM core.streams AS s
    LEFT JOIN core.tickets AS t ON t.stream_id = s.id
    GROUP BY s.id
    HAVING s.seats_sold <> count(t.id)
    UNION ALL
    SELECT
        'cancelled_stream_has_no_paid_ticket', 'ticket ' || t.id::text,
        jsonb_build_object('stream_id', s.id, 'price', t.price, 'refunded', coalesce(r.amount, 0))
    FROM core.tickets AS t
    INNER JOIN core.streams AS s ON s.id = t.stream_id
    LEFT JOIN (
        SELECT x.original_id, sum(x.amount) AS amount FROM core.refunds AS x GROUP BY x.original_id
    ) AS r ON r.original_id = t.transfer_id
    WHERE
        s.cancelled_at IS NOT NULL AND (t.refunded_at IS NULL OR (
            t.price > 0 AND r.amount IS DISTINCT FROM t.price - CASE WHEN t.platform_fee < t.price THEN t.platform_fee ELSE 0 END
        ))
    UNION ALL
    -- the fee beside the payment: the viewer's next entry
    SELECT
        'cancelled_stream_has_no_paid_ticket', 'ticket ' || t.id::text,
        jsonb_build_object('stream_id', s.id, 'platform_fee', t.platform_fee, 'refunded', coalesce(r.amount, 0))
    FROM core.tickets AS t
    INNER JOIN core.streams AS s ON s.id = t.stream_id
    INNER JOIN core.transfers AS m ON m.id = t.transfer_id
    LEFT JOIN core.entries AS e ON e.wallet_id = m.from_wallet_id AND e.seq = m.from_seq + 1
    LEFT JOIN (
        SELECT x.original_id, sum(x.amount) AS amount FROM core.refunds AS x GROUP BY x.original_id
    ) AS r ON r.original_id = e.transfer_id
    WHERE
        s.cancelled_at IS NOT NULL AND t.platform_fee > 0 AND t.platform_fee < t.price
        AND r.amount IS DISTINCT FROM t.platform_fee
$$;

ALTER FUNCTION core._audit_tickets() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._audit_tickets() IS 'Broken invariants of tickets, as api.audit_ledger() returns them.';

CREATE FUNCTION core._audit_tips() RETURNS TABLE(rule text, subject text, detail jsonb)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        'tip_has_transfer', 'tip ' || t.id::text,
        jsonb_build_object('amount', t.amount, 'platform_fee', t.platform_fee, 'moved', m.amount, 'kind', m.kind)
    FROM core.tips AS t
    LEFT JOIN core.transfers AS m ON m.id = t.id
    LEFT JOIN core.wallets AS f ON f.id = m.from_wallet_id
    LEFT JOIN core.wallets AS o ON o.id = m.to_wallet_id
    WHERE
        m.id IS NULL OR f.owner_id IS DISTINCT FROM t.sender_id
        OR m.amount <> CASE m.kind WHEN 'tip' THEN t.amount - t.platform_fee ELSE t.platform_fee END
        OR (m.kind = 'tip' AND o.owner_id IS DISTINCT FROM t.creator_id)
        OR m.kind NOT IN ('tip', 'fee') OR t.platform_fee < 0 OR t.platform_fee > t.amount
    UNION ALL
    SELECT 'tip_transfer_has_tip', 'transfer ' || m.id::text, jsonb_build_object('amount', m.amount)
    FROM core.transfers AS m
    LEFT JOIN core.tips AS t ON t.id = m.id
    WHERE m.kind = 'tip' AND t.id IS NULL
    UNION ALL
    SELECT 'fees_are_those_of_tips', 'platform_fee', jsonb_build_object('tips_tickets_and_blocks', t.fees, 'transfers', m.fees)
    FROM (
        SELECT
            (SELECT coalesce(sum(p.platform_fee), 0) FROM core.tips AS p)
            + (SELECT coalesce(sum(k.platform_fee), 0) FROM core.tickets AS k WHERE NOT core._is_detached(k.transfer_id))
            + (SELECT coalesce(sum(b.platform_fee), 0) FROM core.meter_blocks AS b WHERE NOT core._is_detached(b.transfer_id)) AS fees
    ) AS t
    CROSS JOIN (SELECT coalesce(sum(amount), 0) AS fees FROM core.transfers WHERE kind = 'fee') AS m
    WHERE t.fees <> m.fees
    UNION ALL
    -- tips of detached months are not there to be added up, but their streams are no younger than they
    SELECT
        'stream_total_is_sum_of_tips', 'stream ' || coalesce(k.stream_id, t.stream_id)::text,
        jsonb_build_object('tips', t.tips, 'total', k.tips, 'tip_count', t.tip_count, 'total_count', k.tip_count)
    FROM (
        SELECT x.stream_id, sum(x.tips) AS tips, sum(x.tip_count) AS tip_count FROM core.stream_totals AS x GROUP BY x.stream_id
    ) AS k
    FULL JOIN (
        SELECT x.stream_id, sum(x.amount) AS tips, count(*) AS tip_count FROM core.tips AS x
        WHERE x.stream_id IS NOT NULL
        GROUP BY x.stream_id
    ) AS t ON t.stream_id = k.stream_id
    WHERE
        coalesce(t.tips, 0) > coalesce(k.tips, 0) OR coalesce(t.tip_count, 0) > coalesce(k.tip_count, 0)
        OR (t.tips IS DISTINCT FROM k.tips OR t.tip_count IS DISTINCT FROM k.tip_count)
        AND NOT core._is_detached(coalesce(k.stream_id, t.stream_id))
$$;

ALTER FUNCTION core._audit_tips() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._audit_tips() IS 'Broken invariants between tips and their transfers, as api.audit_ledger() returns them.';

CREATE FUNCTION core._audit_wallets() RETURNS TABLE(rule text, subject text, detail jsonb)
    LANGUAGE sql STABLE
    AS $$
    WITH forward AS (
        -- what detached months left in each wallet
        SELECT DISTINCT ON (b.wallet_id) b.wallet_id, b.seq, b.balance, b.earned, b.spent
        FROM core.brought_forward AS b
        ORDER BY b.wallet_id, b.detached_to DESC
    )
    SELECT 'asset_sums_to_zero', 'asset ' || w.asset, jsonb_build_object('sum', sum(w.balance))
    FROM core.wallets AS w
    GROUP BY w.asset
    HAVING sum(w.balance) <> 0
    UNION ALL
    SELECT
        'balance_is_last_entry', 'wallet ' || w.id::text,
        jsonb_build_object('balance', w.balance, 'version', w.version, 'entry_balance', e.balance)
    FROM core.wallets AS w
    LEFT JOIN core.entries AS e ON e.wallet_id = w.id AND e.seq = w.version
    LEFT JOIN forward AS f ON f.wallet_id = w.id
    WHERE w.balance <> coalesce(e.balance, f.balance, 0) OR w.version <> coalesce(e.seq, f.seq, 0)
    UNION ALL
    SELECT
        'spendable_not_negative', 'wallet ' || w.id::text,
        jsonb_build_object('balance', w.balance, 'held', w.held, 'minimum', w.minimum, 'debt', w.debt)
    FROM core.wallets AS w
    WHERE w.balance - w.held < w.minimum - w.debt OR w.held < 0 OR w.debt < 0
    UNION ALL
    SELECT
        'lifetime_is_sum_of_entries', 'wallet ' || w.id::text,
        jsonb_build_object('earned', w.lifetime_earned, 'spent', w.lifetime_spent, 'credits', s.credits, 'debits', s.debits)
    FROM core.wallets AS w
    LEFT JOIN (
        SELECT
            e.wallet_id,
            sum(e.amount) FILTER (WHERE e.amount > 0) AS credits,
            - sum(e.amount) FILTER (WHERE e.amount < 0) AS debits
        FROM core.entries AS e
        GROUP BY e.wallet_id
    ) AS s ON s.wallet_id = w.id
    LEFT JOIN forward AS f ON f.wallet_id = w.id
    WHERE
        w.lifetime_earned <> coalesce(s.credits, 0) + coalesce(f.earned, 0)
        OR w.lifetime_spent <> coalesce(s.debits, 0) + coalesce(f.spent, 0)
    UNION ALL
    SELECT 'user_has_wallets', 'user ' || u.id::text, jsonb_build_object('asset', a.code)
    FROM core.users AS u
    CROSS JOIN core.assets AS a
    WHERE
        a.opens_with_user AND u.created_at > a.created_at
        AND NOT EXISTS (SELECT FROM core.wallets AS w WHERE w.owner_id = u.id AND w.asset = a.code)
$$;

ALTER FUNCTION core._audit_wallets() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._audit_wallets() IS 'Broken invariants of wallets, as api.audit_ledger() returns them.';

CREATE FUNCTION core._call_cases(p_calls uuid[], p_now timestamp with time zone, p_closing boolean, p_most integer, p_grace interval, p_fee_bps numeric) RETURNS SETOF core.call_case
    LANGUAGE sql STABLE
    AS $$
    SELECT
        b.call_id, b.fan_id, b.creator_id, b.fan_wallet_id, b.creator_wallet_id, b.block_us, b.block_price, b.block_limit,
        CASE WHEN p_fee_bps > 0 THEN floor(b.block_price * p_fee_bps / 10000)::bigint ELSE 0 END,
        b.status, b.due_at, b.running_since, b.active_before_us, b.active_us, b.alive_until, b.lost, b.blocks, b.billed,
        b.platform_fees, b.warned, b.begun,
        CASE WHEN b.suspended THEN 0 ELSE least(greatest(b.begun - b.blocks, 0), p_most) END,
        CASE
            WHEN b.status = 'ringing' AND p_now >= b.due_at THEN 'no_answer'
            WHEN b.status = 'ringing' THEN NULL
            WHEN b.suspended THEN CASE WHEN b.lost THEN 'not_seen' ELSE 'user_suspended' END
            WHEN b.begun - b.blocks > p_most THEN NULL
            WHEN b.lost THEN 'not_seen'
            WHEN b.active_us >= b.block_limit * b.block_us THEN 'time_limit'
        END,
        b.place
    FROM (
        SELECT
            a.*,
            CASE
                WHEN a.running_since IS NULL THEN a.blocks
                WHEN p_closing AND NOT a.lost THEN least((a.active_us + a.block_us - 1) / a.block_us, a.block_limit)
                ELSE least(a.active_us / a.block_us + 1, a.block_limit)
            END::integer AS begun
        FROM (
            SELECT
                c.id AS call_id, c.fan_id, c.creator_id, c.fan_wallet_id, c.creator_wallet_id, c.block_us, c.block_price,
                c.block_limit, c.status, k.due_at, k.running_since, k.active_us AS active_before_us,
                CASE
                    WHEN l.lost THEN core._active_us(k.whole, NULL, l.alive_until)
                    ELSE core._active_us(k.whole, c.block_us, p_now)
                END AS active_us,
                l.alive_until, l.lost, k.blocks, k.billed, k.platform_fees, k.warned, k.place,
                f.status <> 'active' OR m.status <> 'active' AS suspended
            FROM unnest(p_calls) AS p (id)
            CROSS JOIN LATERAL (SELECT x.*, x.ctid AS place, x AS whole FROM core.call_clocks AS x WHERE x.call_id = p.id LIMIT 1) AS k
            CROSS JOIN LATERAL (SELECT x.* FROM core.calls AS x WHERE x.id = p.id LIMIT 1) AS c
            CROSS JOIN LATERAL (SELECT u.status FROM core.users AS u WHERE u.id = c.fan_id LIMIT 1) AS f
            CROSS JOIN LATERAL (SELECT u.status FROM core.users AS u WHERE u.id = c.creator_id LIMIT 1) AS m
            CROSS JOIN LATERAL (
                SELECT
                    core._alive_until(k.whole) AS alive_until,
                    c.status IN ('active', 'paused') AND p_now >= core._alive_until(k.whole) + p_grace AS lost
            ) AS l
        ) AS a
    ) AS b
$$;

ALTER FUNCTION core._call_cases(p_calls uuid[], p_now timestamp with time zone, p_closing boolean, p_most integer, p_grace interval, p_fee_bps numeric) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._call_cases(p_calls uuid[], p_now timestamp with time zone, p_closing boolean, p_most integer, p_grace interval, p_fee_bps numeric) IS 'Calls p_calls as they are at p_now, with at most p_most blocks each to pay now; p_grace: the rate call_grace; p_fee_bps: the rate platform_fee.';

CREATE FUNCTION core._call_event(p_type text, p_calls uuid[]) RETURNS void
    LANGUAGE sql
    AS $$
    INSERT INTO core.outbox (type, channels, payload)
    SELECT p_type, ARRAY[v.channel, 'user:' || v.fan_id::text, 'user:' || v.creator_id::text], to_jsonb(v)
    FROM unnest(p_calls) AS p (id)
    CROSS JOIN LATERAL (SELECT x.* FROM api.calls AS x WHERE x.call_id = p.id LIMIT 1) AS v
$$;

ALTER FUNCTION core._call_event(p_type text, p_calls uuid[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._call_event(p_type text, p_calls uuid[]) IS 'Writes the event p_type for each of the calls, with the call as it is now.';

CREATE FUNCTION core._cancel_stream(p_stream uuid, p_reason text, p_actor uuid) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    c_batch CONSTANT integer := 2000;
    v_ids uuid[];
    v_transfers uuid[];
    v_refused core.transfer_result;
BEGIN
    UPDATE core.streams AS s
    SET status = 'ended', ended_at = clock_timestamp(), cancelled_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE s.id = p_stream;
    IF EXISTS (SELECT FROM core.tickets AS t WHERE t.stream_id = p_stream AND t.refunded_at IS NULL AND core._is_detached(t.transfer_id)) THEN
        PERFORM core._raise(
            'TS240', 'HISTORY_DETACHED', jsonb_build_object('stream_id', p_stream), 'Tickets were paid for in months that are detached: attach them first.'
        );
    END IF;
    PERFORM core._lock_ticket_wallets(ARRAY[p_stream]);
    LOOP
        v_ids := ARRAY(
            SELECT t.id FROM core.tickets AS t
            WHERE t.stream_id = p_stream AND t.refunded_at IS NULL
            ORDER BY t.id
            LIMIT c_batch
        );
        EXIT WHEN cardinality(v_ids) = 0;
        -- the payment, and the fee beside it: its next entry in the viewer's wallet
        v_transfers := ARRAY(
            SELECT m.id
            FROM core.tickets AS t
            INNER JOIN core.transfers AS p ON p.id = t.transfer_id
            CROSS JOIN LATERAL (
                SELECT p.id
                UNION ALL
                SELECT e.transfer_id FROM core.entries AS e
                WHERE e.wallet_id = p.from_wallet_id AND e.seq = p.from_seq + 1 AND t.platform_fee > 0 AND t.platform_fee < t.price
            ) AS x
            INNER JOIN core.transfers AS m ON m.id = x.id AND m.kind IN ('stream_ticket', 'fee')
            WHERE t.id = ANY (v_ids)
            ORDER BY m.id
        );
        SELECT r.* INTO v_refused FROM core._give_back(v_transfers, p_reason, p_actor) AS r WHERE r.error_code IS NOT NULL LIMIT 1;
        IF v_refused.error_code IS NOT NULL THEN
            PERFORM core._raise(v_refused.error_code, v_refused.error, v_refused.detail, 'Nothing was changed.');
        END IF;
        WITH refunded AS (
            UPDATE core.tickets AS t SET refunded_at = clock_timestamp()
            WHERE t.id = ANY (v_ids)
            RETURNING t.id, t.stream_id, t.viewer_id, t.price, t.refunded_at
        )
        INSERT INTO core.outbox (type, channels, payload)
        SELECT
            'ticket.refunded', ARRAY['user:' || r.viewer_id::text, 'creator:' || s.creator_id::text],
            jsonb_build_object(
                'ticket_id', r.id, 'stream_id', r.stream_id, 'creator_id', s.creator_id, 'viewer_id', r.viewer_id,
                'price', r.price, 'reason', p_reason, 'refunded_at', r.refunded_at
            )
        FROM refunded AS r
        CROSS JOIN (SELECT x.creator_id FROM core.streams AS x WHERE x.id = p_stream) AS s;
    END LOOP;
    PERFORM core._stream_event('stream.cancelled', p_stream);
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (p_actor, 'stream.cancelled', p_stream, jsonb_build_object('reason', p_reason));
END;
$$;

ALTER FUNCTION core._cancel_stream(p_stream uuid, p_reason text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._cancel_stream(p_stream uuid, p_reason text, p_actor uuid) IS 'Ends the locked stream p_stream, which has not ended, as cancelled, and gives every ticket''s price back, fees included; raises where one is refused.';

CREATE FUNCTION core._channel_day(p_from timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN ('channel_events_p'::text || to_char((p_from AT TIME ZONE 'UTC'::text), 'YYYY_MM_DD'::text));

ALTER FUNCTION core._channel_day(p_from timestamp with time zone) OWNER TO tessera_owner;

COMMENT ON FUNCTION core._channel_day(p_from timestamp with time zone) IS 'Name of the partition of core.channel_events that begins at p_from.';

CREATE FUNCTION core._check_actor(p_actor uuid) RETURNS void
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    v_status text;
BEGIN
    IF p_actor IS NULL THEN
        RETURN;
    END IF;
    SELECT u.status INTO v_status FROM core.users AS u WHERE u.id = p_actor;
    IF v_status IS NULL THEN
        PERFORM core._raise('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_actor), 'Nothing was done.');
    ELSIF v_status <> 'active' THEN
        PERFORM core._raise('TS502', 'USER_SUSPENDED', jsonb_build_object('user_id', p_actor), 'Nothing was done.');
    END IF;
END;
$$;

ALTER FUNCTION core._check_actor(p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._check_actor(p_actor uuid) IS 'Raises when the user who is said to ask does not exist or is suspended; nothing where none is named.';

CREATE FUNCTION core._check_admin(p_actor uuid) RETURNS void
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    PERFORM core._check_actor(p_actor);
    IF EXISTS (SELECT FROM core.users AS u WHERE u.id = p_actor AND NOT 'admin' = ANY (u.roles)) THEN
        PERFORM core._raise(
            'TS504', 'FORBIDDEN', jsonb_build_object('user_id', p_actor, 'role', 'admin'), 'Only an administrator may.'
        );
    END IF;
END;
$$;

ALTER FUNCTION core._check_admin(p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._check_admin(p_actor uuid) IS 'Raises when the user who is said to act does not exist, is suspended or is no administrator; nothing where none is named (then it is the database login that acts).';

CREATE FUNCTION core._check_operator(p_actor uuid, p_user uuid) RETURNS void
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    PERFORM core._check_actor(p_actor);
    IF EXISTS (SELECT FROM core.users AS u WHERE u.id = p_actor AND NOT u.roles && ARRAY['operator', 'admin']) THEN
        PERFORM core._raise(
            'TS504', 'FORBIDDEN', jsonb_build_object('user_id', p_actor, 'role', 'operator'), 'Only an operator may.'
        );
    ELSIF p_actor = p_user THEN
        PERFORM core._raise(
            'TS503', 'SAME_PERSON', jsonb_build_object('user_id', p_actor), 'Somebody else has to decide about your payout.'
        );
    END IF;
END;
$$;

ALTER FUNCTION core._check_operator(p_actor uuid, p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._check_operator(p_actor uuid, p_user uuid) IS 'Raises when the user who is said to act does not exist, is suspended, is neither operator nor admin, or is p_user; nothing where none is named (then it is the database login that acts).';

CREATE FUNCTION core._check_payout_by_hand(p_payout core.payouts, p_actor uuid) RETURNS void
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    PERFORM core._check_operator(p_actor, p_payout.user_id);
    IF
        p_actor IS NOT NULL AND p_payout.provider <> 'manual' AND p_payout.status IN ('processing', 'paid')
        AND p_payout.processing_at + make_interval(days => core._rate('payout_override')::integer) > clock_timestamp()
    THEN
        PERFORM core._raise(
            'TS361', 'PAYOUT_WITH_PROVIDER',
            jsonb_build_object(
                'payout_id', p_payout.id, 'provider', p_payout.provider,
                'from', p_payout.processing_at + make_interval(days => core._rate('payout_override')::integer)
            ),
            'The provider is asked about it; by hand it can be closed from then on.'
        );
    END IF;
END;
$$;

ALTER FUNCTION core._check_payout_by_hand(p_payout core.payouts, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._check_payout_by_hand(p_payout core.payouts, p_actor uuid) IS 'Raises when p_actor is named and may not say what became of the payout; nothing where none is named (then it is a scheduler, or a database login).';

CREATE FUNCTION core._check_reason(p_reason text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    AS $$
BEGIN
    IF p_reason IS NULL OR p_reason !~ '\S' OR octet_length(p_reason) > 255 THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'reason', 'maximum_bytes', 255), 'Say why.');
    END IF;
END;
$$;

ALTER FUNCTION core._check_reason(p_reason text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._check_reason(p_reason text) IS 'Raises when the reason is missing, blank or longer than 255 bytes.';

CREATE FUNCTION core._check_seat_in_call(p_call uuid, p_user uuid) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_call core.calls;
BEGIN
    SELECT c.* INTO v_call FROM core.calls AS c WHERE c.id = p_call;
    IF v_call.id IS NULL THEN
        PERFORM core._raise('TS219', 'CALL_NOT_FOUND', jsonb_build_object('call_id', p_call), 'api.calls lists them.');
    ELSIF p_user NOT IN (v_call.fan_id, v_call.creator_id) THEN
        PERFORM core._raise('TS508', 'NOT_CALL_PARTICIPANT', jsonb_build_object('call_id', p_call), 'Only its two people may.');
    END IF;
    PERFORM core._must_be_accepted(v_call);
END;
$$;

ALTER FUNCTION core._check_seat_in_call(p_call uuid, p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._check_seat_in_call(p_call uuid, p_user uuid) IS 'Raises where user p_user may not into the room of call p_call: nobody may while it rings, for nothing is paid yet.';

CREATE FUNCTION core._check_tip(p_tip api.tip_request, p_sender_status text, p_creator_active boolean) RETURNS core.refusal
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT CASE
        WHEN p_sender_status IS NULL
            THEN ROW('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_tip.sender_id))::core.refusal
        WHEN p_sender_status <> 'active'
            THEN ROW('TS502', 'USER_SUSPENDED', jsonb_build_object('user_id', p_tip.sender_id))::core.refusal
        WHEN p_creator_active IS NOT TRUE
            THEN ROW('TS212', 'CREATOR_NOT_FOUND', jsonb_build_object('creator_id', p_tip.creator_id))::core.refusal
        WHEN p_tip.amount BETWEEN 1 AND 1000000000000000 IS NOT TRUE
            THEN ROW('TS102', 'INVALID_AMOUNT', jsonb_build_object('amount', p_tip.amount, 'minimum', 1, 'maximum', 1000000000000000))::core.refusal
        WHEN char_length(p_tip.message) > 500
            THEN ROW('TS108', 'MESSAGE_TOO_LONG', jsonb_build_object('length', char_length(p_tip.message), 'maximum', 500))::core.refusal
        WHEN p_tip.stream_id IS NOT NULL AND p_tip.call_id IS NOT NULL
            THEN ROW('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'context'))::core.refusal
        WHEN octet_length(p_tip.idempotency_key) NOT BETWEEN 1 AND 255
            THEN ROW('TS106', 'IDEMPOTENCY_KEY_INVALID', jsonb_build_object('bytes', octet_length(p_tip.idempotency_key), 'maximum_bytes', 255))::core.refusal
        WHEN p_tip.stream_id IS NOT NULL THEN core._tip_stream_refusal(p_tip.stream_id, p_tip.creator_id)
        WHEN p_tip.call_id IS NOT NULL THEN core._tip_call_refusal(p_tip.call_id, p_tip.creator_id, p_tip.sender_id)
    END
$$;

ALTER FUNCTION core._check_tip(p_tip api.tip_request, p_sender_status text, p_creator_active boolean) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._check_tip(p_tip api.tip_request, p_sender_status text, p_creator_active boolean) IS 'The refusal of a tip that is malformed or whose sender or creator is not there; NULL when nothing speaks against it.';

CREATE FUNCTION core._check_transfer(p_kind text, p_reference text, p_metadata jsonb, p_key text, p_actor_id uuid, p_actor_status text, p_event_at timestamp with time zone DEFAULT NULL::timestamp with time zone, p_own boolean DEFAULT false) RETURNS core.refusal
    LANGUAGE sql PARALLEL SAFE
    AS $_$
    SELECT CASE
        WHEN p_kind = 'transfer' IS NOT TRUE AND p_kind ~ '^[a-z][a-z0-9_.]{0,62}$' IS NOT TRUE
            THEN ROW('TS109', 'INVALID_KIND', jsonb_build_object('kind', left(p_kind, 80)))::core.refusal
        WHEN NOT p_own AND p_kind IN (
            'tip', 'fee', 'refund', 'reward', 'referral', 'adjustment', 'stream_ticket', 'call_block', 'purchase', 'purchase_restored',
            'payout', 'payout_paid'
        )
            THEN ROW('TS109', 'INVALID_KIND', jsonb_build_object('kind', p_kind, 'reserved', true))::core.refusal
        WHEN octet_length(p_reference) > 255
            THEN ROW('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'reference', 'maximum_bytes', 255))::core.refusal
        WHEN pg_column_size(p_metadata) > 4096
            THEN ROW('TS105', 'METADATA_TOO_LARGE', jsonb_build_object('bytes', pg_column_size(p_metadata), 'maximum_bytes', 4096))::core.refusal
        WHEN octet_length(p_key) NOT BETWEEN 1 AND 255
            THEN ROW('TS106', 'IDEMPOTENCY_KEY_INVALID', jsonb_build_object('bytes', octet_length(p_key), 'maximum_bytes', 255))::core.refusal
        WHEN p_event_at > clock_timestamp() OR p_event_at = '-infinity'
            THEN ROW('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'event_at', 'maximum', clock_timestamp()))::core.refusal
        WHEN p_actor_id IS NOT NULL AND p_actor_status IS NULL
            THEN ROW('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_actor_id))::core.refusal
        WHEN p_actor_status <> 'active'
            THEN ROW('TS502', 'USER_SUSPENDED', jsonb_build_object('user_id', p_actor_id))::core.refusal
    END
$_$;

ALTER FUNCTION core._check_transfer(p_kind text, p_reference text, p_metadata jsonb, p_key text, p_actor_id uuid, p_actor_status text, p_event_at timestamp with time zone, p_own boolean) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._check_transfer(p_kind text, p_reference text, p_metadata jsonb, p_key text, p_actor_id uuid, p_actor_status text, p_event_at timestamp with time zone, p_own boolean) IS 'The refusal of a transfer request that is malformed or whose actor may not act; NULL when nothing speaks against it. Kinds of functions that write more than the transfer are refused unless it is such a function that asks (p_own).';

CREATE FUNCTION core._check_webhook(p_url text, p_event_types text[], p_description text, p_status text) RETURNS void
    LANGUAGE plpgsql STABLE
    AS $_$
DECLARE
    v_field CONSTANT text := CASE
        WHEN octet_length(p_url) NOT BETWEEN 8 AND 2048 OR p_url !~ '^https?://[^[:space:]]+$' THEN 'url'
        WHEN cardinality(p_event_types) NOT BETWEEN 1 AND 50 OR EXISTS (
            SELECT FROM unnest(p_event_types) AS t (pattern)
            WHERE (t.pattern ~ '^([*]|[a-z][a-z0-9_]*[.]([*]|[a-z0-9_.]+))$' AND char_length(t.pattern) <= 100) IS NOT TRUE
        ) THEN 'event_types'
        WHEN char_length(p_description) > 200 THEN 'description'
        WHEN p_status NOT IN ('active', 'disabled') THEN 'status'
    END;
BEGIN
    IF v_field IS NOT NULL THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', v_field),
            'A URL of http or https, up to 50 types of events (*, call.*, tip.sent), a description of up to 200 characters, active or disabled.'
        );
    END IF;
END;
$_$;

ALTER FUNCTION core._check_webhook(p_url text, p_event_types text[], p_description text, p_status text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._check_webhook(p_url text, p_event_types text[], p_description text, p_status text) IS 'Raises where a field of an endpoint has not the form it must have.';

CREATE FUNCTION core._close_calls(p_endings core.call_ending[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_ids CONSTANT uuid[] := ARRAY(SELECT e.call_id FROM unnest(p_endings) AS e);
BEGIN
    IF cardinality(v_ids) = 0 THEN
        RETURN;
    END IF;
    UPDATE core.calls AS c
    SET
        status = e.status, end_reason = e.reason, ended_by = e.ended_by, ended_at = greatest(e.ended_at, c.accepted_at, c.opened_at),
        active_us = e.active_us, blocks = e.blocks, billed = e.billed, platform_fees = e.platform_fees
    FROM (
        SELECT p.*, x.place, b.blocks, b.billed, b.platform_fees
        FROM unnest(p_endings) AS p
        CROSS JOIN LATERAL (SELECT a.ctid AS place FROM core.calls AS a WHERE a.id = p.call_id LIMIT 1) AS x
        CROSS JOIN LATERAL (
            SELECT
                count(*)::integer AS blocks, coalesce(sum(m.price), 0)::bigint AS billed,
                coalesce(sum(m.platform_fee), 0)::bigint AS platform_fees
            FROM core.meter_blocks AS m
            WHERE m.call_id = p.call_id AND m.refunded_at IS NULL
        ) AS b
    ) AS e
    WHERE c.ctid = e.place;
    DELETE FROM core.call_clocks AS k WHERE k.call_id = ANY (v_ids);
    DELETE FROM core.call_parties AS q
    WHERE q.call_id = ANY (v_ids) AND q.user_id = ANY (ARRAY(
        SELECT x.user_id
        FROM core.calls AS c
        CROSS JOIN LATERAL (VALUES (c.fan_id), (c.creator_id)) AS x (user_id)
        WHERE c.id = ANY (v_ids)
    ));
    PERFORM core._call_event('call.' || e.status, array_agg(e.call_id)) FROM unnest(p_endings) AS e GROUP BY e.status;
END;
$$;

ALTER FUNCTION core._close_calls(p_endings core.call_ending[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._close_calls(p_endings core.call_ending[]) IS 'Ends calls: writes how, and their totals, frees their people, and tells both of them.';

CREATE FUNCTION core._cluster() RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT c.system_identifier::text FROM pg_control_system() AS c
$$;

ALTER FUNCTION core._cluster() OWNER TO tessera_owner;

COMMENT ON FUNCTION core._cluster() IS 'The system identifier of this cluster: numbers of transactions mean something in one cluster only.';

CREATE FUNCTION core._count_velocity(p_wallets uuid[], p_owners uuid[], p_rules core.velocity_rules, p_rooms bigint[], p_now timestamp with time zone) RETURNS void
    LANGUAGE sql
    AS $$
    INSERT INTO core.velocity_counters AS c (wallet_id, rule, since, used)
    SELECT
        p_wallets[1 + (o.ord::integer - 1) / cardinality(p_rules.rules)],
        p_rules.rules[1 + (o.ord::integer - 1) % cardinality(p_rules.rules)],
        date_bin(
            make_interval(secs => p_rules.seconds[1 + (o.ord::integer - 1) % cardinality(p_rules.rules)]),
            p_now, '2000-01-01 00:00:00+00'
        ),
        p_rules.maxima[1 + (o.ord::integer - 1) % cardinality(p_rules.rules)] - o.room
    FROM unnest(p_rooms) WITH ORDINALITY AS o (room, ord)
    WHERE
        p_owners[1 + (o.ord::integer - 1) / cardinality(p_rules.rules)] IS NOT NULL
        AND o.room < p_rules.maxima[1 + (o.ord::integer - 1) % cardinality(p_rules.rules)]
    ON CONFLICT (wallet_id, rule) DO UPDATE SET since = excluded.since, used = excluded.used
    WHERE (c.since, c.used) IS DISTINCT FROM (excluded.since, excluded.used)
$$;

ALTER FUNCTION core._count_velocity(p_wallets uuid[], p_owners uuid[], p_rules core.velocity_rules, p_rooms bigint[], p_now timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._count_velocity(p_wallets uuid[], p_owners uuid[], p_rules core.velocity_rules, p_rooms bigint[], p_now timestamp with time zone) IS 'Stores the counters behind what is left in p_rooms (core._velocity_rooms, after the payments).';

CREATE FUNCTION core._credit_payment(p_payment core.payments, p_event core.payment_events) RETURNS text
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_result core.transfer_result;
BEGIN
    IF (p_event.amount, p_event.currency) IS DISTINCT FROM (p_payment.amount, p_payment.currency) THEN
        RETURN 'mismatch';
    ELSIF p_payment.transfer_id IS NOT NULL THEN
        RETURN CASE WHEN p_event.charge <> p_payment.charge THEN 'duplicate' ELSE 'repeated' END;
    END IF;
    v_result := core._give_tokens(p_payment, p_payment.tokens, 'purchase');
    UPDATE core.payments AS p
    SET
        status = 'paid', transfer_id = v_result.transfer_id, paid_at = v_result.created_at, check_at = NULL,
        charge = coalesce(p_event.charge, p.charge), reference = coalesce(p.reference, p_event.reference)
    WHERE p.id = p_payment.id;
    PERFORM core._payment_event('payment.paid', p_payment.id);
    PERFORM core._weigh_payment(p_payment.id, 'told before it was paid', NULL);
    UPDATE core.payment_events AS e
    SET due_at = clock_timestamp()
    WHERE e.ctid = ANY (ARRAY(
        SELECT w.ctid FROM core.payment_events AS w
        WHERE w.provider = p_payment.provider AND w.charge = p_event.charge AND w.outcome = 'unknown'
        FOR NO KEY UPDATE SKIP LOCKED
    ));
    RETURN 'applied';
END;
$$;

ALTER FUNCTION core._credit_payment(p_payment core.payments, p_event core.payment_events) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._credit_payment(p_payment core.payments, p_event core.payment_events) IS 'Gives a payment''s tokens to its buyer, once; what came of it: applied, repeated, duplicate (paid by a second charge), mismatch.';

CREATE FUNCTION core._history() RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (("left"(pg_walfile_name(pg_current_wal_insert_lsn()), 8) || '/'::text) || (SELECT (d.oid)::text AS oid FROM pg_database d WHERE (d.datname = current_database())));

ALTER FUNCTION core._history() OWNER TO tessera_owner;

COMMENT ON FUNCTION core._history() IS 'Timeline and database: another one after a restore to a moment, a failover, or a copy, none of which must have seen the newest events.';

CREATE TABLE core.relay_state (
    one boolean DEFAULT true NOT NULL,
    epoch uuid DEFAULT gen_random_uuid() NOT NULL,
    cluster text DEFAULT core._cluster() NOT NULL,
    history text DEFAULT core._history() NOT NULL,
    base pg_snapshot DEFAULT pg_current_snapshot() NOT NULL,
    target pg_snapshot,
    last_id bigint DEFAULT 0 NOT NULL,
    floor_id bigint DEFAULT 0 NOT NULL,
    phase text DEFAULT 'own'::text NOT NULL,
    relayed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    events bigint DEFAULT 0 NOT NULL,
    entries bigint DEFAULT 0 NOT NULL,
    CONSTRAINT relay_state_floor_id_check CHECK ((floor_id >= 0)),
    CONSTRAINT relay_state_last_id_check CHECK ((last_id >= 0)),
    CONSTRAINT relay_state_one_check CHECK (one),
    CONSTRAINT relay_state_phase_check CHECK ((phase = ANY (ARRAY['own'::text, 'foreign'::text, 'restored'::text]))),
    CONSTRAINT relay_state_restored CHECK (((target IS NOT NULL) OR (phase <> 'restored'::text)))
)
WITH (fillfactor='20');

ALTER TABLE core.relay_state OWNER TO tessera_owner;

COMMENT ON TABLE core.relay_state IS 'How far the relay is: everything that is visible in base has been relayed. One row, whose lock lets one relay work at a time. Written by api.relay_events only.';

COMMENT ON COLUMN core.relay_state.epoch IS 'Positions in channels mean something within one epoch only: a new one begins when the database may have lost events that were read.';

COMMENT ON COLUMN core.relay_state.cluster IS 'core._cluster() when the relay last ran.';

COMMENT ON COLUMN core.relay_state.history IS 'core._history() when the relay last ran.';

COMMENT ON COLUMN core.relay_state.target IS 'While chunks are under way: what is visible in it and not in base is in core.relay_chunks.';

COMMENT ON COLUMN core.relay_state.last_id IS 'Highest id of an event that is visible in base.';

COMMENT ON COLUMN core.relay_state.floor_id IS 'Events up to this id were written in another cluster; all of them are relayed or in core.relay_chunks.';

COMMENT ON COLUMN core.relay_state.phase IS 'own: base is a snapshot of this cluster. foreign: of another one, and so is target. restored: target is of this cluster, and the chunks under way are all that the other one had not relayed.';

COMMENT ON COLUMN core.relay_state.relayed_at IS 'When the last chunk was relayed; never runs backwards.';

COMMENT ON COLUMN core.relay_state.events IS 'Events relayed so far.';

COMMENT ON COLUMN core.relay_state.entries IS 'Rows of core.channel_events made so far.';

CREATE FUNCTION core._cut_chunks(p_state core.relay_state, p_limit integer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
DECLARE
    v_xips CONSTANT xid8 [] := ARRAY(SELECT x.xid FROM pg_snapshot_xip(p_state.base) AS x (xid));
    v_xmax CONSTANT xid8 := pg_snapshot_xmax(p_state.base);
BEGIN
    -- Ids are unique, so a range of p_limit numbers has no more events than that: nothing is sorted, however many there are.
    INSERT INTO core.relay_chunks (from_id, to_id, from_xid, to_xid, events)
    SELECT
        min(u.id), max(u.id),
        -- transactions that were open at base are found by their numbers
        coalesce(min(u.xid) FILTER (WHERE p_state.phase = 'restored' OR u.xid >= v_xmax), min(u.xid)),
        coalesce(max(u.xid) FILTER (WHERE p_state.phase = 'restored' OR u.xid >= v_xmax), min(u.xid)),
        count(*)
    FROM (
        SELECT o.xid, o.id
        FROM core.outbox AS o
        WHERE p_state.phase = 'restored' AND (o.id > p_state.last_id OR NOT pg_visible_in_snapshot(o.xid, p_state.base))
        UNION ALL
        SELECT o.xid, o.id
        FROM core.outbox AS o
        WHERE p_state.phase <> 'restored' AND o.xid >= v_xmax AND o.xid < pg_snapshot_xmax(p_state.target)
            AND o.id > p_state.floor_id AND pg_visible_in_snapshot(o.xid, p_state.target)
        UNION ALL
        SELECT o.xid, o.id
        FROM core.outbox AS o
        WHERE o.xid = ANY (v_xips) AND p_state.phase <> 'restored' AND o.id > p_state.floor_id AND pg_visible_in_snapshot(o.xid, p_state.target)
    ) AS u
    GROUP BY u.id / p_limit;
END;
$$;

ALTER FUNCTION core._cut_chunks(p_state core.relay_state, p_limit integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._cut_chunks(p_state core.relay_state, p_limit integer) IS 'Writes core.relay_chunks: the events between base and target of p_state by ranges of ids, at most p_limit in each.';

CREATE FUNCTION core._database_actor() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (encode(SUBSTRING(sha256(convert_to(('database:'::text || (SESSION_USER)::text), 'UTF8'::name)) FROM 1 FOR 16), 'hex'::text))::uuid;

ALTER FUNCTION core._database_actor() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._database_actor() IS 'The actor whose idempotency keys a database login uses when it names no user: derived from session_user.';

CREATE FUNCTION core._disable_webhook(p_endpoint uuid, p_reason text) RETURNS void
    LANGUAGE sql
    AS $$
    WITH off AS (
        UPDATE core.webhook_endpoints AS e
        SET status = 'disabled', disabled_at = clock_timestamp(), disabled_reason = p_reason, updated_at = clock_timestamp()
        WHERE e.id = p_endpoint AND e.status = 'active' AND e.deleted_at IS NULL
        RETURNING e.*
    )
    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'webhook.disabled', ARRAY['user:' || o.user_id::text],
        jsonb_build_object(
            'endpoint_id', o.id, 'url', o.url, 'description', o.description, 'reason', o.disabled_reason, 'disabled_at', o.disabled_at
        )
    FROM off AS o
$$;

ALTER FUNCTION core._disable_webhook(p_endpoint uuid, p_reason text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._disable_webhook(p_endpoint uuid, p_reason text) IS 'Disables an endpoint that is active, with the event webhook.disabled for its user.';

CREATE FUNCTION core._drop_channel_days(p_before timestamp with time zone) RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '300ms'
    AS $$
DECLARE
    c_lock CONSTANT bigint := 139166245879812;
    v_day timestamptz;
    v_dropped text [] := '{}';
BEGIN
    PERFORM pg_advisory_xact_lock(c_lock);
    FOR v_day IN
        SELECT c.from_at
        FROM core.channel_days AS c
        WHERE c.to_at <= least(p_before, clock_timestamp())
        ORDER BY c.from_at
    LOOP
        EXECUTE format('DROP TABLE core.%I', core._channel_day(v_day));
        DELETE FROM core.channel_days AS c WHERE c.from_at = v_day;
        v_dropped := v_dropped || core._channel_day(v_day);
    END LOOP;
    RETURN v_dropped;
END;
$$;

ALTER FUNCTION core._drop_channel_days(p_before timestamp with time zone) OWNER TO tessera_owner;

COMMENT ON FUNCTION core._drop_channel_days(p_before timestamp with time zone) IS 'As the owner of the tables: drops the partitions of core.channel_events that end at p_before or earlier; returns their names.';

CREATE FUNCTION core._entry_at(p_wallet uuid, p_at timestamp with time zone, OUT seq bigint, OUT balance bigint) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET enable_sort TO 'off'
    AS $$
DECLARE
    v_wallet core.wallets;
    v_first timestamptz;
    v_month timestamptz;
    v_months integer := 1;
    v_detached timestamptz;
    v_low uuid;
    v_high uuid;
    v_from bigint;
    v_to bigint;
    v_middle bigint;
    v_at timestamptz;
    v_balance bigint;
BEGIN
    SELECT w.* INTO v_wallet FROM core.wallets AS w WHERE w.id = p_wallet;
    IF v_wallet.id IS NULL THEN
        PERFORM core._raise('TS210', 'WALLET_NOT_FOUND', jsonb_build_object('wallet_id', p_wallet), 'Look it up in api.wallets.');
    ELSIF p_at >= v_wallet.last_entry_at THEN
        seq := v_wallet.version;
        balance := v_wallet.balance;
        RETURN;
    END IF;
    SELECT p.since - interval '1 month', p.attached_from INTO v_first, v_detached FROM core.partitioned AS p WHERE p.name = 'entries';

    v_month := date_trunc('month', greatest(p_at, v_first));
    WHILE v_month >= v_first AND v_month >= v_detached LOOP
        v_high := core._uuid_floor(v_month + interval '1 month');
        v_month := greatest(v_month - (v_months - 1) * interval '1 month', v_first, v_detached);
        v_low := CASE WHEN v_month > v_first THEN core._uuid_floor(v_month) ELSE '00000000-0000-0000-0000-000000000000' END;
        SELECT e.seq, e.created_at, e.balance INTO seq, v_at, balance
        FROM core.entries AS e
        WHERE e.wallet_id = p_wallet AND e.transfer_id >= v_low AND e.transfer_id < v_high
        ORDER BY e.seq DESC
        LIMIT 1;
        IF v_at <= p_at THEN
            RETURN;
        ELSIF v_at IS NOT NULL THEN
            SELECT e.seq - 1 INTO v_from
            FROM core.entries AS e
            WHERE e.wallet_id = p_wallet AND e.transfer_id >= v_low AND e.transfer_id < v_high
            ORDER BY e.seq
            LIMIT 1;
            v_to := seq - 1;
            seq := NULL;
            -- the last entry of this month at or before p_at is in (v_from, v_to], or there is none; 63 steps at most
            WHILE v_from < v_to LOOP
                v_middle := v_from + (v_to - v_from + 1) / 2;
                SELECT e.created_at, e.balance INTO v_at, v_balance
                FROM core.entries AS e
                WHERE e.wallet_id = p_wallet AND e.seq = v_middle AND e.transfer_id >= v_low AND e.transfer_id < v_high;
                IF v_at <= p_at THEN
                    v_from := v_middle;
                    seq := v_middle;
                    balance := v_balance;
                ELSE
                    v_to := v_middle - 1;
                END IF;
            END LOOP;
            IF seq IS NOT NULL THEN
                RETURN;
            END IF;
        END IF;
        v_month := v_month - interval '1 month';
        v_months := 2 * v_months;
    END LOOP;
    SELECT b.seq, b.balance, b.last_entry_at INTO seq, balance, v_at
    FROM core.brought_forward AS b
    WHERE b.wallet_id = p_wallet
    ORDER BY b.detached_to DESC
    LIMIT 1;
    IF p_at < v_at THEN
        PERFORM core._raise(
            'TS240', 'HISTORY_DETACHED', jsonb_build_object('wallet_id', p_wallet, 'attached_from', v_detached),
            'Ask an operator to attach the months that are asked for.'
        );
    END IF;
    seq := coalesce(seq, 0);
    balance := coalesce(balance, 0);
END;
$$;

ALTER FUNCTION core._entry_at(p_wallet uuid, p_at timestamp with time zone, OUT seq bigint, OUT balance bigint) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._entry_at(p_wallet uuid, p_at timestamp with time zone, OUT seq bigint, OUT balance bigint) IS 'seq of the last entry of a wallet with created_at <= p_at, and the balance after it; 0 before its first. TS210 for an unknown wallet, TS240 for a moment in months that are detached.';

CREATE FUNCTION core._event_text(p_type text, p_at timestamp with time zone, p_payload jsonb) RETURNS text
    LANGUAGE sql STABLE
    RETURN concat('"type":"', p_type, '","at":"', to_char((p_at AT TIME ZONE 'UTC'::text), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'::text), '","data":', p_payload, '}');

ALTER FUNCTION core._event_text(p_type text, p_at timestamp with time zone, p_payload jsonb) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._event_text(p_type text, p_at timestamp with time zone, p_payload jsonb) IS 'The rest of an event as a JSON object, after {"seq":<number>, : type, at (ISO 8601, UTC, microseconds) and data, without a line break. Plain SQL, so that it is inlined.';

CREATE FUNCTION core._expire_holds(p_wallets uuid[]) RETURNS integer
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_count integer;
BEGIN
    WITH due AS MATERIALIZED (
        UPDATE core.holds AS h
        SET status = 'expired', released = h.amount - h.captured, closed_at = clock_timestamp()
        WHERE h.wallet_id = ANY (p_wallets) AND h.status = 'open' AND h.expires_at <= clock_timestamp()
        RETURNING h.wallet_id, h.amount - h.captured AS given_back, core._hold_payload(h) AS payload
    ), per_wallet AS MATERIALIZED (
        SELECT d.wallet_id, sum(d.given_back)::bigint AS given_back FROM due AS d GROUP BY d.wallet_id
    ), wallet AS (
        UPDATE core.wallets AS w
        SET
            held = w.held - p.given_back,
            debt = CASE WHEN w.debt > 0 THEN greatest(0, w.minimum + w.held - p.given_back - w.balance) ELSE 0 END
        FROM per_wallet AS p
        WHERE w.id = p.wallet_id
        RETURNING w.id, w.owner_id, core._wallet_payload(w.id, w.asset, w.balance, w.held, w.minimum, w.version, 0) AS payload
    ), event AS (
        INSERT INTO core.outbox (type, channels, payload)
        SELECT 'wallet.changed', core._user_channels(w.owner_id, NULL), w.payload
        FROM wallet AS w
        WHERE w.owner_id IS NOT NULL
        UNION ALL
        SELECT 'hold.expired', core._user_channels(w.owner_id, NULL), d.payload
        FROM due AS d
        INNER JOIN wallet AS w ON w.id = d.wallet_id
    )
    SELECT count(*) INTO v_count FROM due;
    RETURN v_count;
END;
$$;

ALTER FUNCTION core._expire_holds(p_wallets uuid[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._expire_holds(p_wallets uuid[]) IS 'Closes the holds of these locked wallets that are past expires_at and gives back what they set aside; how many there were.';

CREATE FUNCTION core._explain_refusal(p_requests core.transfer_request[], p_position integer, p_start integer, p_wallets core.locked_wallets, p_slots integer[], p_balances bigint[], p_payer_is_actor boolean) RETURNS core.refusal
    LANGUAGE plpgsql IMMUTABLE
    AS $$
DECLARE
    v_request CONSTANT core.transfer_request := p_requests[p_position];
    v_from CONSTANT integer := p_slots[2 * p_position - 1];
    v_to CONSTANT integer := p_slots[2 * p_position];
    v_shut integer := CASE
        WHEN p_wallets.statuses[v_from] <> 'active' THEN v_from
        WHEN p_wallets.statuses[v_to] NOT IN ('active', 'debits_frozen') THEN v_to
    END;
    v_spendable CONSTANT bigint := p_balances[v_from] - p_wallets.floors[v_from];
    v_required bigint := 0;
BEGIN
    IF v_request.amount IS NULL OR v_request.amount NOT BETWEEN 1 AND 1000000000000000 THEN
        RETURN ROW(
            'TS102', 'INVALID_AMOUNT',
            jsonb_build_object('amount', v_request.amount, 'minimum', 1, 'maximum', 1000000000000000)
        )::core.refusal;
    ELSIF v_from = 0 OR v_to = 0 THEN
        RETURN ROW(
            'TS210', 'WALLET_NOT_FOUND',
            jsonb_build_object('wallet_id', CASE WHEN v_from = 0 THEN v_request.from_wallet_id ELSE v_request.to_wallet_id END)
        )::core.refusal;
    ELSIF v_from = v_to THEN
        RETURN ROW('TS104', 'SELF_TRANSFER', jsonb_build_object('wallet_id', v_request.from_wallet_id))::core.refusal;
    ELSIF v_request.asset IS DISTINCT FROM p_wallets.assets[v_from] OR v_request.asset IS DISTINCT FROM p_wallets.assets[v_to] THEN
        RETURN ROW(
            'TS103', 'ASSET_MISMATCH',
            jsonb_build_object(
                'asset', v_request.asset, 'from_asset', p_wallets.assets[v_from], 'to_asset', p_wallets.assets[v_to]
            )
        )::core.refusal;
    ELSIF p_payer_is_actor AND v_request.actor_id IS DISTINCT FROM p_wallets.owner_ids[v_from] AND v_request.actor_id IS NOT NULL THEN
        RETURN ROW('TS501', 'NOT_WALLET_OWNER', jsonb_build_object('wallet_id', v_request.from_wallet_id))::core.refusal;
    ELSIF v_shut IS NOT NULL THEN
        RETURN ROW(
            CASE p_wallets.statuses[v_shut] WHEN 'closed' THEN 'TS311' ELSE 'TS310' END,
            CASE p_wallets.statuses[v_shut] WHEN 'closed' THEN 'WALLET_CLOSED' ELSE 'WALLET_FROZEN' END,
            jsonb_build_object('wallet_id', p_wallets.ids[v_shut], 'wallet_status', p_wallets.statuses[v_shut])
        )::core.refusal;
    END IF;
    -- all legs of a group that the same wallet pays
    FOR v_i IN p_start..cardinality(p_requests) LOOP
        EXIT WHEN v_i > p_start AND (p_requests[v_i]).link IS DISTINCT FROM v_request.link OR v_i > p_position AND v_request.link IS NULL;
        IF p_slots[2 * v_i - 1] = v_from THEN
            v_required := v_required + (p_requests[v_i]).amount;
        END IF;
    END LOOP;
    IF v_spendable < v_required THEN
        RETURN ROW(
            'TS401', 'INSUFFICIENT_TOKENS',
            jsonb_build_object(
                'required', v_required, 'current', v_spendable, 'shortfall', v_required - v_spendable,
                'asset', v_request.asset
            )
        )::core.refusal;
    END IF;
    RETURN ROW('TS314', 'BALANCE_LIMIT', jsonb_build_object('wallet_id', p_wallets.ids[v_to]))::core.refusal;
END;
$$;

ALTER FUNCTION core._explain_refusal(p_requests core.transfer_request[], p_position integer, p_start integer, p_wallets core.locked_wallets, p_slots integer[], p_balances bigint[], p_payer_is_actor boolean) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._explain_refusal(p_requests core.transfer_request[], p_position integer, p_start integer, p_wallets core.locked_wallets, p_slots integer[], p_balances bigint[], p_payer_is_actor boolean) IS 'Names the rule that a refused transfer request breaks: error code, slug, and the facts a caller can act on.';

CREATE FUNCTION core._fail_payment(p_payment core.payments, p_event core.payment_events) RETURNS text
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF p_payment.status <> 'pending' THEN
        RETURN 'repeated';
    END IF;
    UPDATE core.payments AS p
    SET status = 'failed', failed_at = clock_timestamp(), failure = coalesce(left(p_event.reason, 255), 'failed'), check_at = NULL
    WHERE p.id = p_payment.id;
    PERFORM core._payment_event('payment.failed', p_payment.id);
    RETURN 'applied';
END;
$$;

ALTER FUNCTION core._fail_payment(p_payment core.payments, p_event core.payment_events) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._fail_payment(p_payment core.payments, p_event core.payment_events) IS 'Ends a pending payment; what came of it: applied, or repeated where it was not pending.';

CREATE FUNCTION core._fill_replays(p_results core.transfer_result[], p_replays uuid[]) RETURNS core.transfer_result[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_results core.transfer_result[] := p_results;
    v_result core.transfer_result;
    v_transfer core.transfers;
BEGIN
    FOR v_i IN 1..cardinality(p_results) LOOP
        CONTINUE WHEN p_replays[v_i] IS NULL;
        -- one after the other, each by a value that is known when it starts: so it opens one partition, not all
        SELECT t.* INTO v_transfer FROM core.transfers AS t WHERE t.id = p_replays[v_i];
        IF v_transfer.id IS NULL THEN
            v_result := ROW(
                NULL, NULL, NULL, NULL, NULL, NULL, false, 'TS240', 'HISTORY_DETACHED',
                jsonb_build_object('transfer_id', p_replays[v_i])
            );
        ELSE
            -- subqueries: joins, planned while the tables are small, may read all of a wallet's entries
            SELECT
                v_transfer.id,
                (
                    SELECT d.balance FROM core.entries AS d
                    WHERE d.wallet_id = v_transfer.from_wallet_id AND d.seq = v_transfer.from_seq AND d.transfer_id = v_transfer.id
                ),
                (
                    SELECT c.balance FROM core.entries AS c
                    WHERE c.wallet_id = v_transfer.to_wallet_id AND c.seq = v_transfer.to_seq AND c.transfer_id = v_transfer.id
                ),
                (SELECT f.owner_id FROM core.wallets AS f WHERE f.id = v_transfer.from_wallet_id),
                (SELECT o.owner_id FROM core.wallets AS o WHERE o.id = v_transfer.to_wallet_id),
                v_transfer.created_at, true, NULL, NULL, NULL
            INTO v_result;
        END IF;
        v_results[v_i] := v_result;
    END LOOP;
    RETURN v_results;
END;
$$;

ALTER FUNCTION core._fill_replays(p_results core.transfer_result[], p_replays uuid[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._fill_replays(p_results core.transfer_result[], p_replays uuid[]) IS 'Puts in the results of replayed requests: the transfer as it was written, with the balances right after it; TS240 where its month is detached.';

CREATE FUNCTION core._find_twins(p_requests core.transfer_request[], p_refusals core.refusal[], p_db_actor uuid, OUT replays uuid[], OUT refusals core.refusal[], OUT firsts integer[]) RETURNS record
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_positions integer[];
    v_transfer_ids uuid[];
    v_same boolean[];
BEGIN
    refusals := p_refusals;
    SELECT array_agg(r.ord), array_agg(k.transfer_id), array_agg(k.request_hash = r.request_hash)
    INTO v_positions, v_transfer_ids, v_same
    FROM unnest(p_requests) WITH ORDINALITY AS r (
        from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash, link,
        metadata, event_at, ord
    )
    -- LIMIT: a plain join, planned while the table is small, may begin with all of it; and a session keeps its plans
    CROSS JOIN LATERAL (
        SELECT i.transfer_id, i.request_hash
        FROM core.idempotency_keys AS i
        WHERE i.actor_id = coalesce(r.actor_id, p_db_actor) AND i.key = r.idempotency_key
        LIMIT 1
    ) AS k;

    SELECT array_agg(nullif(f.first, f.ord)::integer ORDER BY f.ord)
    INTO firsts
    FROM (
        SELECT
            r.ord,
            CASE
                WHEN r.idempotency_key IS NULL THEN r.ord
                ELSE min(r.ord) OVER (PARTITION BY r.actor_id, r.idempotency_key)
            END AS first
        FROM unnest(p_requests) WITH ORDINALITY AS r (
            from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash,
            link, metadata, event_at, ord
        )
    ) AS f
    HAVING bool_or(f.first <> f.ord);

    FOR v_i IN 1..coalesce(cardinality(v_positions), 0) LOOP
        IF v_same[v_i] AND v_transfer_ids[v_i] IS NOT NULL THEN
            replays[v_positions[v_i]] := v_transfer_ids[v_i];
        ELSE
            refusals := coalesce(refusals, array_fill(NULL::core.refusal, ARRAY[cardinality(p_requests)]));
            refusals[v_positions[v_i]] := core._key_reused((p_requests[v_positions[v_i]]).idempotency_key);
        END IF;
    END LOOP;
END;
$$;

ALTER FUNCTION core._find_twins(p_requests core.transfer_request[], p_refusals core.refusal[], p_db_actor uuid, OUT replays uuid[], OUT refusals core.refusal[], OUT firsts integer[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._find_twins(p_requests core.transfer_request[], p_refusals core.refusal[], p_db_actor uuid, OUT replays uuid[], OUT refusals core.refusal[], OUT firsts integer[]) IS 'For each request by position: the transfer that its key already led to (replays), TS301 if the key stands for another request (refusals), and the position of an earlier request of the batch with the same key (firsts).';

CREATE FUNCTION core._first_unrelayed(p_base pg_snapshot, p_floor bigint) RETURNS timestamp with time zone
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    AS $$
DECLARE
    v_new timestamptz;
    v_slow timestamptz;
BEGIN
    -- numbers that this cluster has not given out yet are those of another one
    SELECT o.created_at INTO v_new
    FROM core.outbox AS o
    WHERE o.xid >= pg_snapshot_xmax(p_base) AND o.xid < pg_snapshot_xmax(pg_current_snapshot()) AND o.id > p_floor
    ORDER BY o.xid, o.id
    LIMIT 1;
    SELECT min(f.created_at) INTO v_slow
    FROM pg_snapshot_xip(p_base) AS x (xid)
    CROSS JOIN LATERAL (
        SELECT o.created_at
        FROM core.outbox AS o
        WHERE o.xid = x.xid AND o.id > p_floor
        ORDER BY o.xid, o.id
        LIMIT 1
    ) AS f;
    RETURN least(v_new, v_slow);
END;
$$;

ALTER FUNCTION core._first_unrelayed(p_base pg_snapshot, p_floor bigint) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._first_unrelayed(p_base pg_snapshot, p_floor bigint) IS 'When the first event was written that is committed and not visible in p_base, of those with ids above p_floor; NULL when there is none. An index probe in each partition, and as many for each transaction that was open at p_base.';

CREATE FUNCTION core._follow_refusal(p_user uuid, p_channel text) RETURNS core.refusal
    LANGUAGE plpgsql STABLE
    AS $_$
DECLARE
    v_kind CONSTANT text := split_part(p_channel, ':', 1);
    v_facts CONSTANT jsonb := jsonb_build_object('channel', left(p_channel, 100));
    v_user core.users;
    v_call core.calls;
    v_reason text;
BEGIN
    IF (p_channel = 'ops' OR p_channel ~ '^(user|creator|stream|call):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$') IS NOT TRUE THEN
        RETURN ROW('TS120', 'INVALID_CHANNEL', v_facts)::core.refusal;
    END IF;
    SELECT u.* INTO v_user FROM core.users AS u WHERE u.id = p_user;
    IF NOT FOUND THEN
        RETURN ROW('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_user))::core.refusal;
    ELSIF v_user.status <> 'active' THEN
        RETURN ROW('TS502', 'USER_SUSPENDED', jsonb_build_object('user_id', p_user))::core.refusal;
    END IF;
    CASE v_kind
        WHEN 'stream' THEN
            v_reason := core._access_reason(substr(p_channel, 8)::uuid, p_user);
            IF v_reason IS NULL THEN
                RETURN ROW('TS218', 'STREAM_NOT_FOUND', v_facts)::core.refusal;
            ELSIF v_reason = 'no_ticket' THEN
                RETURN ROW('TS506', 'NO_ACCESS_TO_STREAM', v_facts || '{"reason": "no_ticket"}')::core.refusal;
            END IF;
        WHEN 'call' THEN
            SELECT c.* INTO v_call FROM core.calls AS c WHERE c.id = substr(p_channel, 6)::uuid;
            IF NOT FOUND THEN
                RETURN ROW('TS219', 'CALL_NOT_FOUND', v_facts)::core.refusal;
            ELSIF p_user NOT IN (v_call.fan_id, v_call.creator_id) THEN
                RETURN ROW('TS508', 'NOT_CALL_PARTICIPANT', v_facts)::core.refusal;
            END IF;
        WHEN 'ops' THEN
            IF NOT v_user.roles && '{operator,admin}' THEN
                RETURN ROW('TS504', 'FORBIDDEN', v_facts)::core.refusal;
            END IF;
        ELSE
            IF split_part(p_channel, ':', 2)::uuid <> p_user THEN
                RETURN ROW('TS504', 'FORBIDDEN', v_facts)::core.refusal;
            END IF;
    END CASE;
    RETURN NULL;
END;
$_$;

ALTER FUNCTION core._follow_refusal(p_user uuid, p_channel text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._follow_refusal(p_user uuid, p_channel text) IS 'Why user p_user may not follow channel p_channel; NULL: they may. stream: as core._access_reason; call: its two people; user, creator: oneself; ops: operators and admins.';

CREATE FUNCTION core._free_payout(p_payout core.payouts) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM core._lock_wallets(ARRAY[p_payout.wallet_id]);
    PERFORM core._expire_holds(ARRAY[p_payout.wallet_id]);
    IF EXISTS (SELECT FROM core.holds AS h WHERE h.id = p_payout.hold_id AND h.status = 'open') THEN
        PERFORM api.release_hold(p_payout.hold_id);
    END IF;
END;
$$;

ALTER FUNCTION core._free_payout(p_payout core.payouts) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._free_payout(p_payout core.payouts) IS 'Releases the hold of a payout that was never sent; nothing where it has expired.';

CREATE FUNCTION core._give_back(p_transfers uuid[], p_reason text, p_actor uuid, p_amounts bigint[] DEFAULT NULL::bigint[], p_policy text DEFAULT 'create_debt'::text) RETURNS SETOF core.transfer_result
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_originals uuid[];
    v_requests core.transfer_request[];
    v_results core.transfer_result[];
BEGIN
    SELECT
        array_agg(m.id),
        array_agg(ROW(
            m.to_wallet_id, m.from_wallet_id, b.rest, m.asset, 'refund', p_reason, p_actor, NULL, NULL, NULL,
            jsonb_build_object('refund_of', m.id), NULL
        )::core.transfer_request)
    INTO v_originals, v_requests
    FROM unnest(p_transfers, p_amounts) AS p (id, amount)
    CROSS JOIN LATERAL (SELECT t.* FROM core.transfers AS t WHERE t.id = p.id LIMIT 1) AS m
    CROSS JOIN LATERAL (
        SELECT coalesce(p.amount, m.amount::bigint - coalesce(sum(r.amount), 0)::bigint) AS rest
        FROM core.refunds AS r WHERE r.original_id = m.id
    ) AS b
    WHERE p.amount IS NOT NULL OR b.rest > 0;
    v_results := core._post_transfers(coalesce(v_requests, '{}'), NULL, false, p_policy = 'create_debt');
    INSERT INTO core.refunds (original_id, transfer_id, amount, owed, policy, reason, created_at)
    SELECT
        o.original_id, o.transfer_id, o.amount,
        least(o.amount, greatest(0, w.minimum + w.held - o.from_balance)), p_policy, p_reason, o.created_at
    FROM ROWS FROM (unnest(v_originals), unnest(v_requests), unnest(v_results)) AS o (
        original_id, from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash,
        link, metadata, event_at, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed,
        error_code, error, detail
    )
    INNER JOIN core.wallets AS w ON w.id = o.from_wallet_id
    WHERE o.error_code IS NULL;
    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'transfer.refunded', core._user_channels(o.from_owner_id, o.to_owner_id),
        core._transfer_payload(
            o.transfer_id, o.from_wallet_id, o.to_wallet_id, o.amount, o.asset, 'refund', p_reason, o.created_at
        ) || jsonb_build_object('original_id', o.original_id)
    FROM ROWS FROM (unnest(v_originals), unnest(v_requests), unnest(v_results)) AS o (
        original_id, from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash,
        link, metadata, event_at, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed,
        error_code, error, detail
    )
    -- between two wallets of the system's own there is nobody to tell
    WHERE o.error_code IS NULL AND coalesce(o.from_owner_id, o.to_owner_id) IS NOT NULL;
    RETURN QUERY SELECT r.* FROM unnest(v_results) AS r;
END;
$$;

ALTER FUNCTION core._give_back(p_transfers uuid[], p_reason text, p_actor uuid, p_amounts bigint[], p_policy text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._give_back(p_transfers uuid[], p_reason text, p_actor uuid, p_amounts bigint[], p_policy text) IS 'Gives back of transfers what p_amounts says, of which the caller knows that so much is left, or (NULL) what is left; each alone. One result for each that had anything left. p_policy is that of api.refund_transfer: with create_debt, payees who have spent it owe it.';

CREATE FUNCTION core._give_tokens(p_payment core.payments, p_tokens bigint, p_kind text) RETURNS core.transfer_result
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_wallet CONSTANT uuid := (
        SELECT w.id FROM core.wallets AS w WHERE w.owner_id = p_payment.buyer_id AND w.asset = 'TOKEN'
    );
    v_result core.transfer_result;
BEGIN
    v_result := (core._post_transfers(ARRAY[ROW(
        core._system_wallet('issuance', 'TOKEN', p_payment.id), v_wallet, p_tokens, 'TOKEN', p_kind, p_payment.id::text,
        NULL, NULL, NULL, NULL, jsonb_build_object('payment_id', p_payment.id, 'provider', p_payment.provider), NULL
    )::core.transfer_request]))[1];
    IF v_result.error_code IS NOT NULL THEN
        PERFORM core._raise(v_result.error_code, v_result.error, v_result.detail, 'No tokens were given.');
    END IF;
    INSERT INTO core.payment_transfers (payment_id, transfer_id, tokens, kind)
    VALUES (
        p_payment.id, v_result.transfer_id, p_tokens, CASE p_kind WHEN 'purchase' THEN 'purchase' ELSE 'restoration' END
    );
    RETURN v_result;
END;
$$;

ALTER FUNCTION core._give_tokens(p_payment core.payments, p_tokens bigint, p_kind text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._give_tokens(p_payment core.payments, p_tokens bigint, p_kind text) IS 'Gives p_tokens of a payment to its buyer: kind purchase when it is paid, purchase_restored when what was taken back returns.';

CREATE FUNCTION core._guard_ledger() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM core._raise(
        'TS901', 'LEDGER_IMMUTABLE',
        jsonb_build_object('table', TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, 'operation', lower(TG_OP)),
        coalesce(TG_ARGV[0], 'Use the functions of schema api; a mistake is put right by a transfer the other way.')
    );
    RETURN NULL;
END;
$$;

ALTER FUNCTION core._guard_ledger() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._guard_ledger() IS 'Trigger: refuses each change of ledger tables that does not come from the ledger''s own functions, and each change of its history (TS901).';

CREATE FUNCTION core._guard_partition() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'TS901',
        MESSAGE = 'LEDGER_IMMUTABLE',
        DETAIL = jsonb_build_object('table', TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, 'operation', lower(TG_OP))::text,
        HINT = 'Partitions are written through their table, and that by the functions of schema api.';
END;
$$;

ALTER FUNCTION core._guard_partition() OWNER TO tessera_owner;

COMMENT ON FUNCTION core._guard_partition() IS 'Trigger: refuses every statement that changes a partition by its own name (TS901).';

CREATE FUNCTION core._guard_referral() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_next uuid := NEW.referred_by_id;
    v_mark uuid;
    v_steps integer := 0;
    v_facts jsonb := jsonb_build_object('user_id', NEW.id, 'referrer_id', NEW.referred_by_id);
BEGIN
    IF NEW.referred_by_id = NEW.id THEN
        PERFORM core._raise('TS110', 'SELF_REFERRAL', v_facts, 'Somebody else must have referred them.');
    ELSIF TG_OP = 'UPDATE' AND OLD.referred_by_id IS NOT NULL THEN
        PERFORM core._raise('TS320', 'REFERRER_SET', v_facts || jsonb_build_object('set', OLD.referred_by_id), 'It is set once.');
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.referral', 0));
    WHILE v_next IS NOT NULL LOOP
        -- v_mark: a user passed earlier, moved on ever more rarely, so that a circle made by force ends this walk too
        IF v_next = NEW.id OR v_next = v_mark THEN
            PERFORM core._raise('TS321', 'REFERRAL_CIRCLE', v_facts, 'The line of referrers above this user would never end.');
        END IF;
        v_steps := v_steps + 1;
        IF v_steps & (v_steps - 1) = 0 THEN
            v_mark := v_next;
        END IF;
        SELECT u.referred_by_id INTO v_next FROM core.users AS u WHERE u.id = v_next FOR SHARE;
    END LOOP;
    RETURN NEW;
END;
$$;

ALTER FUNCTION core._guard_referral() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._guard_referral() IS 'Trigger: refuses a referrer that is the user, a second one, or one who was referred by the user, at however many removes.';

CREATE FUNCTION core._hold_outbox() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
BEGIN
    -- changes nothing, and waits for all who write
    ALTER TABLE core.outbox OWNER TO tessera_owner;
END;
$$;

ALTER FUNCTION core._hold_outbox() OWNER TO tessera_owner;

COMMENT ON FUNCTION core._hold_outbox() IS 'As the owner of the table: until the transaction ends nobody writes events, and nobody has written any that are not committed. Once after a restore into another cluster.';

CREATE TABLE core.holds (
    id uuid NOT NULL,
    wallet_id uuid NOT NULL,
    amount bigint NOT NULL,
    captured bigint DEFAULT 0 NOT NULL,
    released bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    closed_at timestamp with time zone,
    actor_id uuid,
    asset text NOT NULL,
    kind text NOT NULL,
    status text DEFAULT 'open'::text NOT NULL,
    db_user text,
    reference text,
    metadata jsonb,
    CONSTRAINT holds_amount CHECK (((amount > 0) AND (captured >= 0) AND (released >= 0) AND ((captured + released) <= amount))),
    CONSTRAINT holds_closed CHECK ((((status <> 'open'::text) = (closed_at IS NOT NULL)) AND ((status <> 'open'::text) = ((captured + released) = amount)))),
    CONSTRAINT holds_expires CHECK ((expires_at > created_at)),
    CONSTRAINT holds_status CHECK ((status = ANY (ARRAY['open'::text, 'captured'::text, 'released'::text, 'expired'::text])))
)
WITH (fillfactor='80');

ALTER TABLE core.holds OWNER TO tessera_owner;

COMMENT ON TABLE core.holds IS 'Amounts set aside in a wallet until they are captured, released, or expire. Written under the wallet''s lock, by the hold functions only.';

COMMENT ON COLUMN core.holds.captured IS 'Part that was paid out, in minor units; see core.captures.';

COMMENT ON COLUMN core.holds.released IS 'Part that was given back. A closed hold is captured + released = amount.';

COMMENT ON COLUMN core.holds.expires_at IS 'From then on it holds nothing, whether its status says so yet or not.';

COMMENT ON COLUMN core.holds.status IS 'open; captured (closed by a capture), released (closed by a release), expired.';

CREATE FUNCTION core._hold_payload(p_hold core.holds) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT jsonb_build_object(
        'hold_id', p_hold.id, 'wallet_id', p_hold.wallet_id, 'asset', p_hold.asset, 'status', p_hold.status,
        'amount', p_hold.amount, 'captured', p_hold.captured, 'released', p_hold.released, 'kind', p_hold.kind,
        'reference', p_hold.reference, 'expires_at', p_hold.expires_at
    )
$$;

ALTER FUNCTION core._hold_payload(p_hold core.holds) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._hold_payload(p_hold core.holds) IS 'Payload of the events hold.placed, hold.captured (with the transfer), hold.released and hold.expired: the hold as it is now.';

CREATE FUNCTION core._hold_receipt(p_hold core.holds, p_wallet core.wallets, p_transfer_id uuid) RETURNS api.hold_receipt
    LANGUAGE sql STABLE
    AS $$
    SELECT ROW(
        p_hold.id, p_hold.wallet_id, p_hold.status, p_hold.amount, p_hold.captured,
        p_hold.amount - p_hold.captured - p_hold.released, p_wallet.balance,
        p_wallet.balance - p_wallet.held - p_wallet.minimum, p_transfer_id, p_hold.expires_at, p_hold.created_at, false
    )::api.hold_receipt
$$;

ALTER FUNCTION core._hold_receipt(p_hold core.holds, p_wallet core.wallets, p_transfer_id uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._hold_receipt(p_hold core.holds, p_wallet core.wallets, p_transfer_id uuid) IS 'The receipt of a hold function, not replayed.';

CREATE FUNCTION core._hold_refusal(p_hold core.holds, p_id uuid, p_amount bigint, p_left bigint) RETURNS core.refusal
    LANGUAGE sql
    AS $$
    SELECT CASE
        WHEN p_hold.id IS NULL
            THEN ROW('TS215', 'HOLD_NOT_FOUND', jsonb_build_object('hold_id', p_id))::core.refusal
        WHEN p_hold.status <> 'open' OR p_hold.expires_at <= clock_timestamp()
            THEN ROW('TS316', 'HOLD_CLOSED', jsonb_build_object(
                'hold_id', p_id, 'hold_status', CASE p_hold.status WHEN 'open' THEN 'expired' ELSE p_hold.status END,
                'expires_at', p_hold.expires_at
            ))::core.refusal
        -- its own functions have moved the payout on by then
        WHEN p_hold.kind = 'payout' AND EXISTS (
            SELECT FROM core.payouts AS p WHERE p.hold_id = p_hold.id AND p.status IN ('requested', 'held')
        )
            THEN ROW('TS362', 'HOLD_IN_USE', jsonb_build_object('hold_id', p_id, 'kind', p_hold.kind))::core.refusal
        WHEN p_amount < 1
            THEN ROW('TS102', 'INVALID_AMOUNT', jsonb_build_object(
                'amount', p_amount, 'minimum', 1, 'maximum', 1000000000000000
            ))::core.refusal
        WHEN p_amount > p_left
            THEN ROW('TS317', 'HOLD_EXCEEDED', jsonb_build_object(
                'hold_id', p_id, 'requested', p_amount, 'remaining', p_left
            ))::core.refusal
    END
$$;

ALTER FUNCTION core._hold_refusal(p_hold core.holds, p_id uuid, p_amount bigint, p_left bigint) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._hold_refusal(p_hold core.holds, p_id uuid, p_amount bigint, p_left bigint) IS 'The refusal of a capture or release of p_amount; NULL when nothing speaks against it.';

CREATE FUNCTION core._in_month(p_ids uuid[], p_now timestamp with time zone) RETURNS uuid[]
    LANGUAGE sql
    AS $$
    SELECT CASE
        WHEN date_trunc('month', core._uuid_time(p_ids[1]), 'UTC') = date_trunc('month', p_now, 'UTC')
            AND date_trunc('month', core._uuid_time(p_ids[cardinality(p_ids)]), 'UTC') = date_trunc('month', p_now, 'UTC')
            THEN p_ids
        ELSE ARRAY(SELECT core._uuid_at(p_now) FROM unnest(p_ids))
    END
$$;

ALTER FUNCTION core._in_month(p_ids uuid[], p_now timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._in_month(p_ids uuid[], p_now timestamp with time zone) IS 'The ids as they are, or, when a month (UTC) ended between the first of them and p_now, others of p_now.';

CREATE FUNCTION core._is_backlog(p_state core.relay_state, p_limit integer) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET plan_cache_mode TO 'force_generic_plan'
    SET enable_seqscan TO 'off'
    AS $$
DECLARE
    v_xips CONSTANT xid8 [] := ARRAY(SELECT x.xid FROM pg_snapshot_xip(p_state.base) AS x (xid));
    v_old bigint;
BEGIN
    -- Ids that were given out since, and events of transactions that were open then: if those are few there is nothing to count.
    SELECT count(*) INTO v_old
    FROM (SELECT FROM core.outbox AS o WHERE o.xid = ANY (v_xips) AND o.id > p_state.floor_id LIMIT p_limit + 1) AS u;
    IF v_old + (SELECT s.last_value FROM core.outbox_id_seq AS s) - p_state.last_id <= p_limit THEN
        RETURN false;
    END IF;
    RETURN (
        SELECT count(*)
        FROM (
            SELECT
            FROM core.outbox AS o
            WHERE o.xid >= pg_snapshot_xmax(p_state.base) AND o.xid < pg_snapshot_xmax(p_state.target)
                AND o.id > p_state.floor_id AND pg_visible_in_snapshot(o.xid, p_state.target)
            UNION ALL
            SELECT
            FROM core.outbox AS o
            WHERE o.xid = ANY (v_xips) AND o.id > p_state.floor_id AND pg_visible_in_snapshot(o.xid, p_state.target)
            LIMIT p_limit + 1
        ) AS u
    ) > p_limit;
END;
$$;

ALTER FUNCTION core._is_backlog(p_state core.relay_state, p_limit integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._is_backlog(p_state core.relay_state, p_limit integer) IS 'Whether more than p_limit events are visible in the target of p_state and not in its base. Counts no further than that.';

CREATE FUNCTION core._is_detached(p_transfer uuid) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
    SELECT p_transfer < core._uuid_floor(p.attached_from) FROM core.partitioned AS p
    WHERE p.name = 'transfers' AND isfinite(p.attached_from)
    UNION ALL
    SELECT false
    LIMIT 1
$$;

ALTER FUNCTION core._is_detached(p_transfer uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._is_detached(p_transfer uuid) IS 'Whether a transfer of this id belongs to months that are detached (api.detach_month).';

CREATE FUNCTION core._journal_entries(p_requests core.transfer_request[], p_results core.transfer_result[]) RETURNS SETOF api.journal_entry
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT
        q.ord::integer, r.transfer_id, q.from_wallet_id, q.to_wallet_id, q.amount, q.asset, r.from_balance, r.to_balance,
        r.created_at, false
    FROM unnest(p_requests) WITH ORDINALITY AS q (
        from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash, link, metadata,
        event_at, ord
    )
    CROSS JOIN LATERAL (SELECT (p_results[q.ord]).*) AS r
$$;

ALTER FUNCTION core._journal_entries(p_requests core.transfer_request[], p_results core.transfer_result[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._journal_entries(p_requests core.transfer_request[], p_results core.transfer_result[]) IS 'Requests and their results side by side.';

CREATE FUNCTION core._kept_ticket(p_ord integer, p_ticket uuid) RETURNS api.ticket_outcome
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    v_ticket core.tickets;
    v_transfer core.transfers;
    v_balance bigint;
BEGIN
    -- one after the other: a join, planned while the tables are small, may read all of a wallet's entries
    SELECT t.* INTO v_ticket FROM core.tickets AS t WHERE t.id = p_ticket;
    SELECT m.* INTO v_transfer FROM core.transfers AS m WHERE m.id = v_ticket.transfer_id;
    SELECT e.balance - CASE WHEN v_ticket.platform_fee < v_ticket.price THEN v_ticket.platform_fee ELSE 0 END
    INTO v_balance
    FROM core.entries AS e
    WHERE e.wallet_id = v_transfer.from_wallet_id AND e.seq = v_transfer.from_seq AND e.transfer_id = v_transfer.id;
    RETURN ROW(p_ord, v_ticket.id, v_ticket.price, v_balance, v_ticket.created_at, true, NULL, NULL, NULL)::api.ticket_outcome;
END;
$$;

ALTER FUNCTION core._kept_ticket(p_ord integer, p_ticket uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._kept_ticket(p_ord integer, p_ticket uuid) IS 'What buying this ticket was answered with.';

CREATE FUNCTION core._key_reused(p_key text) RETURNS core.refusal
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT ROW('TS301', 'IDEMPOTENCY_KEY_REUSED', jsonb_build_object('idempotency_key', p_key))::core.refusal
$$;

ALTER FUNCTION core._key_reused(p_key text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._key_reused(p_key text) IS 'The refusal TS301: the key was used before for another request.';

CREATE FUNCTION core._lock_buyers(p_cases core.ticket_case[]) RETURNS uuid[]
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM core._lock_wallets(ARRAY(
        SELECT v.id
        FROM unnest(p_cases) AS c
        CROSS JOIN LATERAL (VALUES
            (c.viewer_wallet_id), (c.creator_wallet_id),
            (CASE WHEN c.fee > 0 THEN core._system_wallet('revenue', 'TOKEN', c.viewer_id) END)
        ) AS v (id)
        WHERE c.price > 0
    ));
    RETURN ARRAY(SELECT DISTINCT c.creator_id FROM unnest(p_cases) AS c);
END;
$$;

ALTER FUNCTION core._lock_buyers(p_cases core.ticket_case[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._lock_buyers(p_cases core.ticket_case[]) IS 'Locks the wallets of these requests in one go; returns the creators who may be paid.';

CREATE FUNCTION core._lock_call(p_call uuid, p_actor uuid) RETURNS core.calls
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_call core.calls;
BEGIN
    PERFORM core._check_actor(p_actor);
    PERFORM FROM core.call_clocks AS k WHERE k.call_id = p_call FOR NO KEY UPDATE;
    SELECT c.* INTO v_call FROM core.calls AS c WHERE c.id = p_call;
    IF v_call.id IS NULL THEN
        PERFORM core._raise('TS219', 'CALL_NOT_FOUND', jsonb_build_object('call_id', p_call), 'api.calls lists them.');
    ELSIF p_actor NOT IN (v_call.fan_id, v_call.creator_id) THEN
        PERFORM core._raise('TS508', 'NOT_CALL_PARTICIPANT', jsonb_build_object('call_id', p_call), 'Only its two people may.');
    END IF;
    RETURN v_call;
END;
$$;

ALTER FUNCTION core._lock_call(p_call uuid, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._lock_call(p_call uuid, p_actor uuid) IS 'The call, its clock locked where it is not over; raises when there is none or it is other people''s.';

CREATE FUNCTION core._lock_payment_of(p_event core.payment_events) RETURNS core.payments
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_id uuid := p_event.payment_id;
    v_payment core.payments;
BEGIN
    IF v_id IS NULL THEN
        v_id := (
            SELECT p.id FROM core.payments AS p
            WHERE p.provider = p_event.provider AND p.charge = p_event.charge
            ORDER BY p.id LIMIT 1
        );
    END IF;
    IF v_id IS NULL THEN
        v_id := (
            SELECT p.id FROM core.payments AS p
            WHERE p.provider = p_event.provider AND p.reference = p_event.reference
            ORDER BY p.id LIMIT 1
        );
    END IF;
    SELECT p.* INTO v_payment FROM core.payments AS p WHERE p.id = v_id AND p.provider = p_event.provider FOR NO KEY UPDATE;
    RETURN v_payment;
END;
$$;

ALTER FUNCTION core._lock_payment_of(p_event core.payment_events) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._lock_payment_of(p_event core.payment_events) IS 'The payment that an event is about, locked; all NULL where there is none.';

CREATE FUNCTION core._lock_payout(p_payout uuid, p_user uuid DEFAULT NULL::uuid) RETURNS core.payouts
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_payout core.payouts;
BEGIN
    SELECT p.* INTO v_payout FROM core.payouts AS p WHERE p.id = p_payout FOR NO KEY UPDATE;
    IF v_payout.id IS NULL OR v_payout.user_id <> p_user THEN
        PERFORM core._raise('TS260', 'PAYOUT_NOT_FOUND', jsonb_build_object('payout_id', p_payout), 'api.payouts lists them.');
    END IF;
    RETURN v_payout;
END;
$$;

ALTER FUNCTION core._lock_payout(p_payout uuid, p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._lock_payout(p_payout uuid, p_user uuid) IS 'The payout, locked; raises when there is none, or p_user is named and it is another''s.';

CREATE FUNCTION core._lock_streams(p_ids uuid[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM
    FROM core.streams AS s
    WHERE s.id = ANY (p_ids)
    ORDER BY s.id
    FOR NO KEY UPDATE;
END;
$$;

ALTER FUNCTION core._lock_streams(p_ids uuid[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._lock_streams(p_ids uuid[]) IS 'Locks streams in id order; wallets are locked after them.';

CREATE FUNCTION core._lock_ticket_wallets(p_streams uuid[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    -- all at once: what was given back already is summed up under their locks
    PERFORM core._lock_wallets(ARRAY(
        SELECT DISTINCT x.id
        FROM core.tickets AS t
        INNER JOIN core.transfers AS p ON p.id = t.transfer_id
        CROSS JOIN LATERAL (
            VALUES (p.from_wallet_id), (p.to_wallet_id), (CASE WHEN t.platform_fee > 0 THEN core._system_wallet('revenue', p.asset, t.viewer_id) END)
        ) AS x (id)
        WHERE t.stream_id = ANY (p_streams) AND t.refunded_at IS NULL
    ));
END;
$$;

ALTER FUNCTION core._lock_ticket_wallets(p_streams uuid[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._lock_ticket_wallets(p_streams uuid[]) IS 'Locks, in id order, every wallet that takes part when the tickets of these locked streams are given back.';

CREATE FUNCTION core._lock_wallets(p_ids uuid[]) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM
    FROM core.wallets AS w
    WHERE w.id = ANY (p_ids)
    ORDER BY w.id
    FOR NO KEY UPDATE;
END;
$$;

ALTER FUNCTION core._lock_wallets(p_ids uuid[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._lock_wallets(p_ids uuid[]) IS 'Locks wallets in id order. Every money function locks its domain rows first, then calls this once, and only then reads what it decides by.';

CREATE FUNCTION core._lock_webhook(p_endpoint uuid, p_user uuid) RETURNS core.webhook_endpoints
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_endpoint core.webhook_endpoints;
BEGIN
    PERFORM FROM core.webhook_queues AS q WHERE q.endpoint_id = p_endpoint FOR NO KEY UPDATE;
    SELECT e.* INTO v_endpoint
    FROM core.webhook_endpoints AS e
    WHERE e.id = p_endpoint AND e.deleted_at IS NULL AND (p_user IS NULL OR e.user_id = p_user)
    FOR NO KEY UPDATE;
    IF v_endpoint.id IS NULL THEN
        PERFORM core._raise('TS241', 'WEBHOOK_ENDPOINT_NOT_FOUND', jsonb_build_object('endpoint_id', p_endpoint), 'Nothing was done.');
    END IF;
    RETURN v_endpoint;
END;
$$;

ALTER FUNCTION core._lock_webhook(p_endpoint uuid, p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._lock_webhook(p_endpoint uuid, p_user uuid) IS 'The endpoint p_endpoint of p_user (NULL: of whomever), with its queue and itself locked.';

CREATE FUNCTION core._make_channel_days(p_at timestamp with time zone, p_days integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '2s'
    AS $$
DECLARE
    c_lock CONSTANT bigint := 139166245879812;
    v_day timestamptz;
    v_name text;
    v_made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(c_lock);
    FOR v_day IN
        SELECT d.day
        FROM generate_series(date_trunc('day', p_at), date_trunc('day', p_at) + p_days * interval '1 day', interval '1 day') AS d (day)
        WHERE NOT EXISTS (SELECT FROM core.channel_days AS c WHERE c.from_at = d.day)
        ORDER BY d.day
    LOOP
        v_name := core._channel_day(v_day);
        -- made apart and then attached: others go on reading
        EXECUTE format('CREATE TABLE core.%I (LIKE core.channel_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', v_name);
        EXECUTE format('ALTER TABLE core.%I ADD CONSTRAINT %I PRIMARY KEY (channel_id, seq)', v_name, v_name || '_pkey');
        PERFORM core._shut_partition(v_name);
        EXECUTE format(
            'ALTER TABLE core.channel_events ATTACH PARTITION core.%I FOR VALUES FROM (%L) TO (%L)', v_name, v_day, v_day + interval '1 day'
        );
        EXECUTE format('COMMENT ON TABLE core.%I IS %L', v_name, format('Partition of core.channel_events: what was relayed on that day (UTC), from %s.', v_day));
        INSERT INTO core.channel_days (from_at, to_at) VALUES (v_day, v_day + interval '1 day');
        v_made := v_made + 1;
    END LOOP;
    RETURN v_made;
END;
$$;

ALTER FUNCTION core._make_channel_days(p_at timestamp with time zone, p_days integer) OWNER TO tessera_owner;

COMMENT ON FUNCTION core._make_channel_days(p_at timestamp with time zone, p_days integer) IS 'As the owner of the tables: makes the partitions of core.channel_events for the day of p_at and p_days more; how many were missing.';

CREATE FUNCTION core._make_partitions(p_ahead interval) RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '2s'
    AS $$
DECLARE
    c_lock CONSTANT bigint := 139166245879810;
    v_table core.partitioned;
    v_default text;
    v_partition text;
    v_index text;
    v_last timestamptz;
    v_to timestamptz;
    v_made text [] := '{}';
BEGIN
    PERFORM pg_advisory_xact_lock(c_lock);
    FOR v_table IN SELECT p.* FROM core.partitioned AS p ORDER BY p.name LOOP
        v_default := v_table.name || '_default';
        EXECUTE format(
            'SELECT %s FROM core.%I AS d ORDER BY d.%I DESC LIMIT 1',
            CASE WHEN v_table.key = 'created_at' THEN 'd.created_at' ELSE format('core._uuid_time(d.%I)', v_table.key) END,
            v_default, v_table.key
        ) INTO v_last;
        IF v_last IS NOT NULL THEN
            -- The job was away for so long that rows went to the default partition: it becomes that of their months.
            v_to := date_trunc('month', greatest(v_last, clock_timestamp()), 'UTC') + interval '1 month';
            v_partition := core._partition_name(v_table.name, v_table.made_to);
            EXECUTE format('ALTER TABLE core.%I DETACH PARTITION core.%I', v_table.name, v_default);
            EXECUTE format('ALTER TABLE core.%I RENAME TO %I', v_default, v_partition);
            FOR v_index IN
                SELECT c.relname
                FROM pg_index AS i
                INNER JOIN pg_class AS c ON c.oid = i.indexrelid
                WHERE i.indrelid = format('core.%I', v_partition)::regclass
            LOOP
                EXECUTE format('ALTER INDEX core.%I RENAME TO %I', v_index, replace(v_index, v_default, v_partition));
            END LOOP;
            PERFORM core._attach_partition(v_table, v_partition, v_table.made_to, v_to);
            PERFORM core._new_partition(v_table, v_default, NULL, NULL);
            v_made := v_made || v_partition;
            v_table.made_to := v_to;
        END IF;
        WHILE v_table.made_to < date_trunc('month', clock_timestamp() + p_ahead, 'UTC') + interval '1 month' LOOP
            v_to := v_table.made_to + interval '1 month';
            v_partition := core._partition_name(v_table.name, v_table.made_to);
            PERFORM core._new_partition(v_table, v_partition, v_table.made_to, v_to);
            v_made := v_made || v_partition;
            v_table.made_to := v_to;
        END LOOP;
        UPDATE core.partitioned AS p SET made_to = v_table.made_to WHERE p.name = v_table.name AND p.made_to < v_table.made_to;
    END LOOP;
    RETURN v_made;
END;
$$;

ALTER FUNCTION core._make_partitions(p_ahead interval) OWNER TO tessera_owner;

COMMENT ON FUNCTION core._make_partitions(p_ahead interval) IS 'As the owner of the tables: what api.make_partitions does.';

CREATE FUNCTION core._meter_calls(p_calls uuid[], p_now timestamp with time zone, p_closing boolean DEFAULT false) RETURNS SETOF api.meter_outcome
    LANGUAGE plpgsql
    AS $$
DECLARE
    c_asset CONSTANT text := 'TOKEN';
    c_blocks CONSTANT integer := 2000;
    c_catch_up CONSTANT integer := 100;
    -- looked at so often in any case: rates change
    c_look CONSTANT interval := '1 hour';
    v_count CONSTANT integer := coalesce(cardinality(p_calls), 0);
    v_grace CONSTANT interval := make_interval(secs => core._rate('call_grace'));
    v_low CONSTANT integer := core._rate('call_low_balance');
    v_cases core.call_case[];
    v_requests core.transfer_request[];
    v_results core.transfer_result[];
    v_ords integer[];
    v_ids uuid[];
    v_numbers integer[];
    v_prices bigint[];
    v_fees bigint[];
    v_leads boolean[];
    v_paid integer[];
    v_refused text[];
    v_after boolean;
    v_returned integer[];
    v_endings core.call_ending[];
    v_outcomes api.meter_outcome[];
BEGIN
    IF v_count = 0 THEN
        RETURN;
    END IF;
    v_cases := ARRAY(
        SELECT c
        FROM core._call_cases(
            p_calls, p_now, p_closing, least(c_catch_up, greatest(1, c_blocks / v_count)), v_grace, core._rate('platform_fee', c_asset)
        ) AS c
    );
    IF EXISTS (SELECT FROM unnest(v_cases) AS c WHERE c.reason = 'not_seen' AND c.blocks > c.begun) THEN
        v_returned := core._return_blocks(v_cases);
    END IF;

    -- One or two legs a block, in the order of blocks.
    SELECT
        array_agg(ROW(
            l.fan_wallet_id, l.wallet_id, l.amount, c_asset, l.kind, l.call_id::text, NULL, NULL, NULL,
            CASE WHEN l.fee > 0 AND l.fee < l.block_price THEN (l.ord * 128 + l.number - l.blocks)::integer END, NULL, NULL
        )::core.transfer_request),
        array_agg(l.ord::integer), array_agg(l.call_id), array_agg(l.number), array_agg(l.block_price), array_agg(l.fee),
        array_agg(l.lead)
    INTO v_requests, v_ords, v_ids, v_numbers, v_prices, v_fees, v_leads
    FROM (
        SELECT c.ord, c.call_id, c.fan_wallet_id, c.blocks, c.block_price, c.fee, b.number, g.*
        FROM unnest(v_cases) WITH ORDINALITY AS c (
            call_id, fan_id, creator_id, fan_wallet_id, creator_wallet_id, block_us, block_price, block_limit, fee, status,
            due_at, running_since, active_before_us, active_us, alive_until, lost, blocks, billed, platform_fees, warned, begun,
            due, reason, place, ord
        )
        CROSS JOIN LATERAL generate_series(c.blocks, c.blocks + c.due - 1) AS b (number)
        CROSS JOIN LATERAL (
            SELECT c.creator_wallet_id AS wallet_id, c.block_price - c.fee AS amount, 'call_block' AS kind, true AS lead
            WHERE c.fee < c.block_price
            UNION ALL
            SELECT core._system_wallet('revenue', c_asset, c.fan_id), c.fee, 'fee', c.fee = c.block_price
            WHERE c.fee > 0
        ) AS g
        ORDER BY c.ord, b.number, g.lead DESC
    ) AS l;
    v_results := core._post_transfers(coalesce(v_requests, '{}'));

    INSERT INTO core.meter_blocks (call_id, block_no, price, platform_fee, transfer_id, fee_transfer_id, paid_at)
    SELECT
        r.call_id, r.number, r.price, r.fee, r.transfer_id, CASE WHEN r.fee > 0 AND r.fee < r.price THEN r.next_id END, r.created_at
    FROM (
        SELECT x.*, lead(x.transfer_id) OVER () AS next_id
        FROM ROWS FROM (
            unnest(v_ids), unnest(v_numbers), unnest(v_prices), unnest(v_fees), unnest(v_leads), unnest(v_results)
        ) AS x (
            call_id, number, price, fee, lead, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at,
            replayed, error_code, error, detail
        )
    ) AS r
    WHERE r.lead AND r.error_code IS NULL;

    -- Of each call how many blocks were paid, and what stood against the next one.
    SELECT array_agg(n.paid ORDER BY n.ord), array_agg(n.error ORDER BY n.ord), bool_or(n.last_paid > n.first_refused)
    INTO v_paid, v_refused, v_after
    FROM (
        SELECT
            r.ord, count(*) FILTER (WHERE r.transfer_id IS NOT NULL)::integer AS paid, lower(max(r.error)) AS error,
            max(r.number) FILTER (WHERE r.transfer_id IS NOT NULL) AS last_paid,
            min(r.number) FILTER (WHERE r.error IS NOT NULL) AS first_refused
        FROM (
            SELECT x.ord, x.number, x.transfer_id, x.error
            FROM ROWS FROM (unnest(v_ords), unnest(v_numbers), unnest(v_leads), unnest(v_results)) AS x (
                ord, number, lead, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed,
                error_code, error, detail
            )
            WHERE x.lead
            UNION ALL
            SELECT g.i, NULL, NULL, NULL FROM generate_subscripts(v_cases, 1) AS g (i)
        ) AS r
        GROUP BY r.ord
    ) AS n;
    IF v_after THEN
        PERFORM core._raise('TS902', 'INVARIANT_VIOLATED', '{"rule": "blocks_in_order"}', 'A block was paid after one that was refused.');
    END IF;

    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'call.block_paid', ARRAY['call:' || r.call_id::text],
        jsonb_build_object(
            'call_id', r.call_id, 'block_no', r.number, 'price', r.price, 'transfer_id', r.transfer_id, 'paid_at', r.created_at
        )
    FROM ROWS FROM (unnest(v_ids), unnest(v_numbers), unnest(v_prices), unnest(v_leads), unnest(v_results)) AS r (
        call_id, number, price, lead, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed,
        error_code, error, detail
    )
    WHERE r.lead AND r.error_code IS NULL;

    WITH state AS MATERIALIZED (
        SELECT
            c.call_id, c.fan_id, c.creator_id, c.block_us, c.block_price, c.status, c.due_at, c.alive_until, c.active_us, c.lost,
            c.warned, c.place, c.paid, coalesce(c.returned, 0) AS returned, c.blocks + c.paid AS blocks,
            c.billed + c.paid * c.block_price AS billed, c.platform_fees + c.paid * c.fee AS platform_fees,
            -- when what is paid is used up
            c.running_since + ((c.blocks + c.paid) * c.block_us - c.active_before_us) * interval '1 microsecond' AS next_block_at,
            CASE WHEN c.reason = 'user_suspended' THEN c.reason ELSE coalesce(c.refused, c.reason) END AS reason,
            CASE WHEN c.paid > 0 THEN (
                SELECT (w.balance - w.held - w.minimum) / c.block_price FROM core.wallets AS w WHERE w.id = c.fan_wallet_id
            ) END AS blocks_left
        FROM ROWS FROM (unnest(v_cases), unnest(v_paid), unnest(v_refused), unnest(v_returned)) AS c (
            call_id, fan_id, creator_id, fan_wallet_id, creator_wallet_id, block_us, block_price, block_limit, fee, status,
            due_at, running_since, active_before_us, active_us, alive_until, lost, blocks, billed, platform_fees, warned, begun,
            due, reason, place, paid, refused, returned
        )
    ), clock AS (
        UPDATE core.call_clocks AS k
        SET
            blocks = s.blocks, billed = s.billed, platform_fees = s.platform_fees,
            warned = coalesce(s.blocks_left <= v_low, s.warned),
            due_at = CASE s.status WHEN 'ringing' THEN s.due_at ELSE least(s.next_block_at, s.alive_until + v_grace, p_now + c_look) END
        FROM state AS s
        -- by their places: joined by id, all clocks are read while the table's statistics say that there are few
        WHERE k.ctid = s.place AND s.reason IS NULL
    ), warning AS (
        INSERT INTO core.outbox (type, channels, payload)
        SELECT
            'call.low_balance',
            ARRAY['call:' || s.call_id::text, 'user:' || s.fan_id::text, 'user:' || s.creator_id::text],
            jsonb_build_object('call_id', s.call_id, 'blocks_left', s.blocks_left, 'block_price', s.block_price)
        FROM state AS s
        WHERE s.reason IS NULL AND NOT s.warned AND s.blocks_left <= v_low
    )
    SELECT
        coalesce(array_agg(ROW(
            s.call_id, CASE s.status WHEN 'ringing' THEN 'missed' ELSE 'ended' END, s.reason, NULL,
            CASE
                WHEN s.status = 'ringing' THEN s.due_at
                WHEN s.lost THEN s.alive_until
                ELSE least(p_now, s.next_block_at)
            END,
            least(s.active_us, (s.blocks - s.returned) * s.block_us)
        )::core.call_ending) FILTER (WHERE s.reason IS NOT NULL), '{}'),
        array_agg(ROW(
            s.call_id,
            CASE WHEN s.reason IS NULL THEN s.status WHEN s.status = 'ringing' THEN 'missed' ELSE 'ended' END,
            s.reason, s.due_at, s.paid, s.paid * s.block_price, s.returned,
            CASE
                WHEN s.reason IS NOT NULL THEN NULL
                WHEN s.status = 'ringing' THEN s.due_at
                ELSE least(s.next_block_at, s.alive_until + v_grace, p_now + c_look)
            END
        )::api.meter_outcome)
    INTO v_endings, v_outcomes
    FROM state AS s;
    PERFORM core._close_calls(v_endings);
    RETURN QUERY SELECT o.* FROM unnest(v_outcomes) AS o;
END;
$$;

ALTER FUNCTION core._meter_calls(p_calls uuid[], p_now timestamp with time zone, p_closing boolean) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._meter_calls(p_calls uuid[], p_now timestamp with time zone, p_closing boolean) IS 'Brings calls up to p_now: pays the blocks that are due in one go, ends calls that nobody answered, that cannot be paid for, were not seen any more or have reached their limit; one outcome a call. p_closing: only blocks that have begun, not the one that begins at this very moment.';

CREATE FUNCTION core._microseconds(p_at timestamp with time zone) RETURNS bigint
    LANGUAGE sql STABLE
    RETURN ((('x'::text || encode(timestamptz_send(p_at), 'hex'::text)))::bit(64))::bigint;

ALTER FUNCTION core._microseconds(p_at timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._microseconds(p_at timestamp with time zone) IS 'Microseconds since 2000-01-01 00:00 UTC; -infinity and infinity are the least and the greatest bigint.';

CREATE FUNCTION core._month_bounds(p_from timestamp with time zone, p_to timestamp with time zone, OUT low uuid, OUT high uuid) RETURNS record
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    AS $$
    SELECT
        CASE
            WHEN p_from >= p.since AND p_from < '10000-01-01' THEN core._uuid_floor(date_trunc('month', p_from))
            ELSE '00000000-0000-0000-0000-000000000000'
        END,
        CASE
            WHEN p_to < '10000-01-01' THEN core._uuid_floor(date_trunc('month', greatest(p_to, p.since)) + interval '1 month')
            ELSE 'ffffffff-ffff-ffff-ffff-ffffffffffff'
        END
    FROM core.partitioned AS p
    WHERE p.name = 'transfers'
$$;

ALTER FUNCTION core._month_bounds(p_from timestamp with time zone, p_to timestamp with time zone, OUT low uuid, OUT high uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._month_bounds(p_from timestamp with time zone, p_to timestamp with time zone, OUT low uuid, OUT high uuid) IS 'Bounds of the ids of transfers that are dated from p_from up to p_to, wide enough to be those of partitions; all before the first partition''s end counts as one month.';

CREATE FUNCTION core._month_sums(p_from uuid, p_to uuid) RETURNS TABLE(wallet_id uuid, seq_before bigint, seq bigint, rows bigint, balance_before bigint, balance bigint, earned bigint, spent bigint, last_entry_at timestamp with time zone)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT
        s.wallet_id, s.first_seq - 1, s.seq, s.rows, f.balance - f.amount, l.balance, s.earned, s.spent, s.last_entry_at
    FROM (
        SELECT
            e.wallet_id, min(e.seq::bigint) AS first_seq, max(e.seq::bigint) AS seq, count(*) AS rows,
            coalesce(sum(e.amount) FILTER (WHERE e.amount > 0), 0)::bigint AS earned,
            coalesce(- sum(e.amount) FILTER (WHERE e.amount < 0), 0)::bigint AS spent,
            max(e.created_at) AS last_entry_at
        FROM core.entries AS e
        WHERE e.transfer_id >= p_from AND e.transfer_id < p_to
        GROUP BY e.wallet_id
    ) AS s
    INNER JOIN core.entries AS f ON f.wallet_id = s.wallet_id AND f.seq = s.first_seq AND f.transfer_id >= p_from AND f.transfer_id < p_to
    INNER JOIN core.entries AS l ON l.wallet_id = s.wallet_id AND l.seq = s.seq AND l.transfer_id >= p_from AND l.transfer_id < p_to
$$;

ALTER FUNCTION core._month_sums(p_from uuid, p_to uuid) OWNER TO tessera_owner;

COMMENT ON FUNCTION core._month_sums(p_from uuid, p_to uuid) IS 'What the entries of transfers from p_from up to p_to did to each wallet.';

CREATE FUNCTION core._months_fit(p_from uuid, p_to uuid, p_detached_to timestamp with time zone) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT jsonb_build_object('wallet_id', s.wallet_id, 'seq', s.seq, 'rows', s.rows, 'balance', s.balance)
    FROM core._month_sums(p_from, p_to) AS s
    FULL JOIN (SELECT b.* FROM core.brought_forward AS b WHERE b.detached_to = p_detached_to) AS n ON n.wallet_id = s.wallet_id
    LEFT JOIN LATERAL (
        SELECT b.seq, b.balance, b.earned, b.spent
        FROM core.brought_forward AS b
        WHERE b.wallet_id = coalesce(s.wallet_id, n.wallet_id) AND b.detached_to < p_detached_to
        ORDER BY b.detached_to DESC
        LIMIT 1
    ) AS o ON true
    WHERE (
        s.rows = s.seq - s.seq_before AND s.seq_before = coalesce(o.seq, 0) AND s.balance_before = coalesce(o.balance, 0)
        AND n.seq = s.seq AND n.balance = s.balance AND n.last_entry_at = s.last_entry_at
        AND n.earned = coalesce(o.earned, 0) + s.earned AND n.spent = coalesce(o.spent, 0) + s.spent
    ) IS NOT TRUE
    LIMIT 1
$$;

ALTER FUNCTION core._months_fit(p_from uuid, p_to uuid, p_detached_to timestamp with time zone) OWNER TO tessera_owner;

COMMENT ON FUNCTION core._months_fit(p_from uuid, p_to uuid, p_detached_to timestamp with time zone) IS 'A wallet whose entries from p_from up to p_to do not lead from what was brought forward before to what was brought forward by p_detached_to; NULL when all do.';

CREATE FUNCTION core._months_moved(p_action text, p_what text, p_moved text[]) RETURNS text[]
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF p_moved IS NULL THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'p_what', 'value', p_what),
            'Say books (transfers, entries and tips), outbox or audit_log.'
        );
    ELSIF cardinality(p_moved) > 0 THEN
        INSERT INTO core.audit_log (action, details)
        VALUES (p_action, jsonb_build_object('what', p_what, 'partitions', p_moved));
    END IF;
    RETURN p_moved;
END;
$$;

ALTER FUNCTION core._months_moved(p_action text, p_what text, p_moved text[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._months_moved(p_action text, p_what text, p_moved text[]) IS 'Notes the act p_action on the partitions p_moved, and returns them; raises where p_what is none of the names there are (NULL).';

CREATE FUNCTION core._move_month(p_what text, p_detach boolean) RETURNS text[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '300ms'
    AS $$
DECLARE
    c_lock CONSTANT bigint := 139166245879810;
    v_tables text [];
    v_keep interval;
    v_books boolean;
    v_from timestamptz;
    v_to timestamptz;
    v_low uuid;
    v_table core.partitioned;
    v_partition core.partitions;
    v_moved text [] := '{}';
    v_wrong jsonb;
BEGIN
    PERFORM pg_advisory_xact_lock(c_lock);
    SELECT array_agg(p.name), max(p.keep), bool_and(p.books), max(p.attached_from) INTO v_tables, v_keep, v_books, v_from
    FROM core.partitioned AS p
    WHERE p.name = p_what OR (p_what = 'books' AND p.books);
    IF v_tables IS NULL OR (v_books AND p_what <> 'books') THEN
        RETURN NULL;
    END IF;

    IF p_detach THEN
        -- the next moment at which a partition ends in each of the tables
        SELECT p.to_at INTO v_to
        FROM core.partitions AS p
        WHERE p.table_name = ANY (v_tables) AND p.detached_to IS NULL AND p.to_at <= clock_timestamp() - v_keep
        GROUP BY p.to_at
        HAVING count(*) = cardinality(v_tables)
        ORDER BY p.to_at
        LIMIT 1;
    ELSE
        v_to := v_from;
        SELECT coalesce(max(p.detached_to), '-infinity') INTO v_from
        FROM core.partitions AS p
        WHERE p.table_name = ANY (v_tables) AND p.detached_to < v_to;
    END IF;
    IF v_to IS NULL OR v_to = '-infinity' THEN
        RETURN v_moved;
    END IF;
    v_low := CASE WHEN v_from = '-infinity' THEN '00000000-0000-0000-0000-000000000000' ELSE core._uuid_floor(v_from) END;

    IF p_detach AND v_books THEN
        INSERT INTO core.brought_forward (wallet_id, detached_to, seq, balance, earned, spent, last_entry_at)
        SELECT
            s.wallet_id, v_to, s.seq, s.balance, s.earned + coalesce(o.earned, 0), s.spent + coalesce(o.spent, 0), s.last_entry_at
        FROM core._month_sums(v_low, core._uuid_floor(v_to)) AS s
        LEFT JOIN LATERAL (
            SELECT b.earned, b.spent
            FROM core.brought_forward AS b
            WHERE b.wallet_id = s.wallet_id
            ORDER BY b.detached_to DESC
            LIMIT 1
        ) AS o ON true;
        v_wrong := core._months_fit(v_low, core._uuid_floor(v_to), v_to);
    END IF;
    -- In the order in which money locks the tables (transfers first): money that waits for one of them then holds none of
    -- the others. Reading may have another order, so all waiting together ends before a deadlock is looked for
    -- (deadlock_timeout, 1 s): whoever moves months gives up, nobody else.
    FOR v_table IN SELECT p.* FROM core.partitioned AS p WHERE p.name = ANY (v_tables) ORDER BY p.name DESC LOOP
        FOR v_partition IN
            SELECT p.* FROM core.partitions AS p
            WHERE p.table_name = v_table.name AND p.to_at <= v_to
                AND CASE WHEN p_detach THEN p.detached_to IS NULL ELSE p.detached_to = v_to END
            ORDER BY p.from_at
        LOOP
            IF p_detach THEN
                EXECUTE format('ALTER TABLE core.%I DETACH PARTITION core.%I', v_table.name, v_partition.name);
                UPDATE core.partitions AS p SET detached_to = v_to WHERE p.name = v_partition.name;
                EXECUTE format(
                    'COMMENT ON TABLE core.%I IS %L', v_partition.name,
                    format('Detached from core.%s: %s up to %s. api.attach_month() brings it back.', v_table.name, v_partition.from_at, v_partition.to_at)
                );
            ELSE
                PERFORM core._shut_partition(v_partition.name);
                PERFORM core._attach_partition(v_table, v_partition.name, v_partition.from_at, v_partition.to_at);
            END IF;
            v_moved := v_moved || v_partition.name;
        END LOOP;
        UPDATE core.partitioned AS p SET attached_from = CASE WHEN p_detach THEN v_to ELSE v_from END WHERE p.name = v_table.name;
    END LOOP;
    IF NOT p_detach AND v_books THEN
        v_wrong := core._months_fit(v_low, core._uuid_floor(v_to), v_to);
        DELETE FROM core.brought_forward AS b WHERE b.detached_to = v_to;
    END IF;
    IF v_wrong IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'TS902', MESSAGE = 'INVARIANT_VIOLATED', DETAIL = v_wrong::text,
            HINT = 'Nothing was moved: the entries of this wallet are not what they were, or not in order. See tessera audit.';
    END IF;
    RETURN v_moved;
END;
$$;

ALTER FUNCTION core._move_month(p_what text, p_detach boolean) OWNER TO tessera_owner;

COMMENT ON FUNCTION core._move_month(p_what text, p_detach boolean) IS 'As the owner of the tables: what api.detach_month and api.attach_month do. NULL: there is nothing of that name.';

CREATE FUNCTION core._must_be_accepted(p_call core.calls) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM core._must_not_be_over(p_call);
    IF p_call.status = 'ringing' THEN
        PERFORM core._raise('TS337', 'CALL_NOT_ACTIVE', jsonb_build_object('call_id', p_call.id, 'call_status', p_call.status), 'It has to be accepted first.');
    END IF;
END;
$$;

ALTER FUNCTION core._must_be_accepted(p_call core.calls) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._must_be_accepted(p_call core.calls) IS 'Raises when a call is over, or rings still.';

CREATE FUNCTION core._must_be_called(p_call core.calls, p_actor uuid) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF p_call.fan_id = p_actor THEN
        PERFORM core._raise('TS509', 'NOT_THE_CALLED', jsonb_build_object('call_id', p_call.id), 'Only the creator who is called may.');
    END IF;
END;
$$;

ALTER FUNCTION core._must_be_called(p_call core.calls, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._must_be_called(p_call core.calls, p_actor uuid) IS 'Raises when the fan of a call would answer it.';

CREATE FUNCTION core._must_not_be_over(p_call core.calls) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF p_call.ended_at IS NOT NULL THEN
        PERFORM core._raise(
            'TS335', 'CALL_ENDED',
            jsonb_build_object('call_id', p_call.id, 'call_status', p_call.status, 'end_reason', p_call.end_reason),
            'Nothing was changed.'
        );
    END IF;
END;
$$;

ALTER FUNCTION core._must_not_be_over(p_call core.calls) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._must_not_be_over(p_call core.calls) IS 'Raises when a call is over.';

CREATE FUNCTION core._new_partition(p_table core.partitioned, p_partition text, p_from timestamp with time zone, p_to timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    -- made apart and then attached: that lets others go on writing, which CREATE TABLE … PARTITION OF does not
    EXECUTE format(
        'CREATE TABLE core.%I (LIKE core.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)',
        p_partition, p_table.name
    );
    IF p_table.leaf_key IS NOT NULL THEN
        EXECUTE format(
            'ALTER TABLE core.%I ADD CONSTRAINT %I PRIMARY KEY (%s)', p_partition, p_partition || '_pkey',
            (SELECT string_agg(quote_ident(c.name), ', ' ORDER BY c.ord) FROM unnest(p_table.leaf_key) WITH ORDINALITY AS c (name, ord))
        );
    END IF;
    PERFORM core._shut_partition(p_partition);
    PERFORM core._attach_partition(p_table, p_partition, p_from, p_to);
END;
$$;

ALTER FUNCTION core._new_partition(p_table core.partitioned, p_partition text, p_from timestamp with time zone, p_to timestamp with time zone) OWNER TO tessera_owner;

COMMENT ON FUNCTION core._new_partition(p_table core.partitioned, p_partition text, p_from timestamp with time zone, p_to timestamp with time zone) IS 'Makes a partition from p_from to p_to, with its key, guard and comment; the default one where p_to is NULL.';

CREATE FUNCTION core._new_webhook_secret(p_endpoint uuid) RETURNS text
    LANGUAGE sql
    AS $$
    INSERT INTO core.webhook_secrets AS s (endpoint_id, secret)
    -- three random UUIDs have more randomness than the digest can hold
    SELECT p_endpoint, 'whsec_' || encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'base64')
    RETURNING s.secret
$$;

ALTER FUNCTION core._new_webhook_secret(p_endpoint uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._new_webhook_secret(p_endpoint uuid) IS 'Makes and stores 32 random bytes as a secret of Standard Webhooks, and returns it.';

CREATE FUNCTION core._note_call_presence(p_call uuid, p_user uuid, p_event text, p_at timestamp with time zone) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_grace CONSTANT interval := make_interval(secs => core._rate('call_grace'));
    v_call core.calls;
    v_at timestamptz;
BEGIN
    PERFORM FROM core.call_clocks AS k WHERE k.call_id = p_call FOR NO KEY UPDATE;
    SELECT c.* INTO v_call
    FROM core.calls AS c
    WHERE c.id = p_call AND c.status IN ('active', 'paused') AND (p_user IS NULL OR p_user IN (c.fan_id, c.creator_id));
    IF v_call.id IS NULL THEN
        RETURN false;
    END IF;
    -- told in whole seconds; what was before the call tells nothing of it
    IF p_at <= v_call.accepted_at - interval '1 second' THEN
        RETURN false;
    END IF;
    v_at := least(p_at, clock_timestamp());
    IF p_event = 'joined' THEN
        UPDATE core.call_clocks AS k
        SET
            fan_seen_at = CASE WHEN p_user = v_call.fan_id THEN greatest(k.fan_seen_at, v_at) ELSE k.fan_seen_at END,
            creator_seen_at = CASE WHEN p_user = v_call.creator_id THEN greatest(k.creator_seen_at, v_at) ELSE k.creator_seen_at END
        WHERE k.call_id = p_call AND clock_timestamp() < core._alive_until(k) + v_grace;
    ELSE
        v_at := greatest(v_at, v_call.accepted_at);
        UPDATE core.call_clocks AS k
        SET
            fan_left_at = CASE
                WHEN coalesce(p_user, v_call.fan_id) = v_call.fan_id AND v_at > k.fan_seen_at
                    AND coalesce(k.fan_left_at <= k.fan_seen_at, true) THEN v_at
                ELSE k.fan_left_at
            END,
            creator_left_at = CASE
                WHEN coalesce(p_user, v_call.creator_id) = v_call.creator_id AND v_at > k.creator_seen_at
                    AND coalesce(k.creator_left_at <= k.creator_seen_at, true) THEN v_at
                ELSE k.creator_left_at
            END
        WHERE k.call_id = p_call;
    END IF;
    RETURN FOUND;
END;
$$;

ALTER FUNCTION core._note_call_presence(p_call uuid, p_user uuid, p_event text, p_at timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._note_call_presence(p_call uuid, p_user uuid, p_event text, p_at timestamp with time zone) IS 'Notes that p_user (NULL: both of its people) joined or left the room of call p_call at p_at; false where that tells nothing. A call whose people left ends after the rate call_grace, billed up to then, unless they are seen again: such events shorten a call, and never pay for anything.';

CREATE FUNCTION core._note_dispute(p_payment core.payments, p_event core.payment_events) RETURNS text
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_status CONSTANT text := CASE p_event.kind WHEN 'dispute_won' THEN 'won' WHEN 'dispute_lost' THEN 'lost' ELSE 'open' END;
    v_was CONSTANT text := (
        SELECT d.status FROM core.payment_disputes AS d
        WHERE d.payment_id = p_payment.id AND d.provider_dispute = p_event.item
    );
    v_now CONSTANT timestamptz := clock_timestamp();
BEGIN
    IF v_was IS NOT NULL AND (v_status = 'open' OR v_was = v_status) THEN
        RETURN 'repeated';
    ELSIF v_was IN ('won', 'lost') THEN
        RETURN 'contradiction';
    ELSIF v_was IS NULL AND (
        p_event.item IS NULL OR p_event.currency IS DISTINCT FROM p_payment.currency OR (p_event.amount BETWEEN 1 AND 1000000000000000) IS NOT TRUE
    ) THEN
        RETURN 'mismatch';
    END IF;
    INSERT INTO core.payment_disputes (payment_id, provider_dispute, amount, opened_at, closed_at, status)
    VALUES (p_payment.id, p_event.item, p_event.amount, v_now, CASE WHEN v_status <> 'open' THEN v_now END, v_status)
    ON CONFLICT ON CONSTRAINT payment_disputes_pkey DO UPDATE SET status = excluded.status, closed_at = excluded.closed_at;
    IF v_status = 'won' THEN
        UPDATE core.payment_refunds AS r
        SET status = 'failed', closed_at = v_now, due_at = NULL, failure = 'dispute_won'
        WHERE
            r.payment_id = p_payment.id AND r.status <> 'failed'
            AND r.provider_refund IN (
                SELECT e.item FROM core.payment_events AS e
                WHERE e.payment_id = p_payment.id AND e.kind = 'refunded' AND e.reason = 'reversal'
            );
    END IF;
    PERFORM core._weigh_payment(p_payment.id, 'dispute ' || p_event.item, NULL);
    RETURN 'applied';
END;
$$;

ALTER FUNCTION core._note_dispute(p_payment core.payments, p_event core.payment_events) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._note_dispute(p_payment core.payments, p_event core.payment_events) IS 'Takes in that a dispute was opened, won or lost; what came of it: applied, repeated, contradiction, mismatch.';

CREATE FUNCTION core._note_refund(p_payment core.payments, p_event core.payment_events) RETURNS text
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_status CONSTANT text := CASE
        WHEN p_event.kind <> 'refunded' THEN 'failed'
        WHEN
            p_event.reason = 'reversal'
            AND (SELECT bool_and(d.status = 'won') FROM core.payment_disputes AS d WHERE d.payment_id = p_payment.id)
            THEN 'failed'
        ELSE 'done'
    END;
    v_id uuid;
    v_was text;
BEGIN
    SELECT r.id, r.status INTO v_id, v_was
    FROM core.payment_refunds AS r
    WHERE
        r.payment_id = p_payment.id AND (
            r.provider_refund = p_event.item OR r.id = p_event.refund_id
            OR r.provider_refund IS NULL AND p_event.refund_id IS NULL AND r.status <> 'failed' AND r.amount = p_event.amount
        )
    ORDER BY r.provider_refund = p_event.item DESC NULLS LAST, r.id = p_event.refund_id DESC NULLS LAST, r.id
    LIMIT 1;
    IF v_id IS NULL AND p_event.currency IS DISTINCT FROM p_payment.currency
        OR v_id IS NULL AND (p_event.amount > 0) IS NOT TRUE
        OR v_id IS NULL AND v_status = 'done' AND p_event.amount > p_payment.amount - p_payment.refunded
    THEN
        RETURN 'mismatch';
    ELSIF v_id IS NULL THEN
        INSERT INTO core.payment_refunds (id, payment_id, amount, created_at, closed_at, status, provider_refund, reason, failure)
        VALUES (
            core.uuid7(), p_payment.id, p_event.amount, clock_timestamp(), clock_timestamp(), v_status, p_event.item,
            'by the provider', CASE v_status WHEN 'failed' THEN coalesce(p_event.reason, 'failed') END
        );
    ELSIF v_was = 'failed' OR v_was = v_status THEN
        -- its name is news where it had none, and keeps another refund of this amount apart from it
        UPDATE core.payment_refunds AS r SET provider_refund = p_event.item
        WHERE r.id = v_id AND r.provider_refund IS NULL AND p_event.item IS NOT NULL;
        RETURN 'repeated';
    ELSE
        UPDATE core.payment_refunds AS r
        SET
            status = v_status, closed_at = clock_timestamp(), due_at = NULL,
            provider_refund = coalesce(r.provider_refund, p_event.item),
            failure = CASE v_status WHEN 'failed' THEN coalesce(p_event.reason, 'failed') END
        WHERE r.id = v_id;
    END IF;
    PERFORM core._weigh_payment(p_payment.id, 'refund ' || coalesce(p_event.item, ''), NULL);
    RETURN 'applied';
END;
$$;

ALTER FUNCTION core._note_refund(p_payment core.payments, p_event core.payment_events) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._note_refund(p_payment core.payments, p_event core.payment_events) IS 'Takes in that a refund was made or has failed; what came of it: applied, repeated, mismatch. Nobody pays for the same refund twice.';

CREATE FUNCTION core._note_viewer(p_stream uuid, p_user uuid, p_watching boolean, p_at timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_until CONSTANT timestamptz :=
        least(p_at, clock_timestamp()) + make_interval(secs => core._rate('viewer_lease')::integer);
BEGIN
    IF p_watching THEN
        INSERT INTO core.viewers AS v (stream_id, user_id, seen_until)
        SELECT s.id, p_user, v_until FROM core.streams AS s
        WHERE s.id = p_stream AND s.creator_id <> p_user AND v_until > clock_timestamp()
        ON CONFLICT ON CONSTRAINT viewers_pkey DO UPDATE SET seen_until = greatest(v.seen_until, excluded.seen_until);
    ELSE
        DELETE FROM core.viewers AS v WHERE v.stream_id = p_stream AND v.user_id = p_user AND v.seen_until <= v_until;
    END IF;
END;
$$;

ALTER FUNCTION core._note_viewer(p_stream uuid, p_user uuid, p_watching boolean, p_at timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._note_viewer(p_stream uuid, p_user uuid, p_watching boolean, p_at timestamp with time zone) IS 'User p_user came to stream p_stream (counted for a lease, which their beats renew) or left it, at p_at.';

CREATE FUNCTION core._notify_rights() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    PERFORM pg_notify('tessera_auth', to_jsonb(OLD) ->> TG_ARGV[0]);
    RETURN NULL;
END;
$$;

ALTER FUNCTION core._notify_rights() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._notify_rights() IS 'Trigger: NOTIFY tessera_auth with the id of the user whose status, roles, session or key changed, so that API processes forget the credentials they had verified.';

CREATE FUNCTION core._oldest_needed() RETURNS timestamp with time zone
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_state core.relay_state;
BEGIN
    SELECT r.* INTO v_state FROM core.relay_state AS r FOR UPDATE;
    IF v_state.target IS NOT NULL OR v_state.phase <> 'own' OR v_state.cluster <> core._cluster() THEN
        RETURN '-infinity';
    END IF;
    RETURN least(
        (SELECT min(d.oldest_at) FROM core.channel_days AS d),
        (
            SELECT min(o.created_at)
            FROM core.outbox AS o
            WHERE o.xid >= pg_snapshot_xmax(v_state.base) AND o.xid < pg_snapshot_xmax(pg_current_snapshot()) AND o.id > v_state.floor_id
        ),
        (
            SELECT min(o.created_at)
            FROM pg_snapshot_xip(v_state.base) AS x (xid)
            INNER JOIN core.outbox AS o ON o.xid = x.xid AND o.id > v_state.floor_id
        )
    );
END;
$$;

ALTER FUNCTION core._oldest_needed() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._oldest_needed() IS 'When the oldest event was written that is not relayed, or that a partition of core.channel_events points to; -infinity while a backlog is under way, NULL where nothing is needed.';

CREATE FUNCTION core._open_adjustment(p_adjustment uuid) RETURNS core.adjustments
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_adjustment core.adjustments;
BEGIN
    SELECT a.* INTO v_adjustment FROM core.adjustments AS a WHERE a.id = p_adjustment FOR UPDATE;
    IF v_adjustment.id IS NULL THEN
        PERFORM core._raise(
            'TS217', 'ADJUSTMENT_NOT_FOUND', jsonb_build_object('adjustment_id', p_adjustment), 'api.adjustments lists them.'
        );
    ELSIF v_adjustment.status <> 'pending' OR v_adjustment.expires_at <= clock_timestamp() THEN
        PERFORM core._raise(
            'TS322', 'ADJUSTMENT_CLOSED',
            jsonb_build_object(
                'adjustment_id', p_adjustment,
                'adjustment_status', CASE v_adjustment.status WHEN 'pending' THEN 'expired' ELSE v_adjustment.status END,
                'expires_at', v_adjustment.expires_at
            ),
            'Ask for a new one.'
        );
    END IF;
    RETURN v_adjustment;
END;
$$;

ALTER FUNCTION core._open_adjustment(p_adjustment uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._open_adjustment(p_adjustment uuid) IS 'The adjustment, locked; raises when there is none or it has been decided or has expired.';

CREATE FUNCTION core._open_stream(p_stream uuid, p_actor uuid) RETURNS core.streams
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_stream core.streams;
BEGIN
    PERFORM core._check_actor(p_actor);
    PERFORM core._lock_streams(ARRAY[p_stream]);
    SELECT s.* INTO v_stream FROM core.streams AS s WHERE s.id = p_stream;
    IF v_stream.id IS NULL THEN
        PERFORM core._raise('TS218', 'STREAM_NOT_FOUND', jsonb_build_object('stream_id', p_stream), 'api.streams lists them.');
    ELSIF v_stream.creator_id <> p_actor THEN
        PERFORM core._raise('TS505', 'NOT_STREAM_OWNER', jsonb_build_object('stream_id', p_stream), 'Only its creator may.');
    ELSIF v_stream.status = 'ended' THEN
        PERFORM core._raise(
            'TS328', 'STREAM_ENDED', jsonb_build_object('stream_id', p_stream, 'ended_at', v_stream.ended_at), 'Nothing was changed.'
        );
    END IF;
    RETURN v_stream;
END;
$$;

ALTER FUNCTION core._open_stream(p_stream uuid, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._open_stream(p_stream uuid, p_actor uuid) IS 'The stream, locked; raises when there is none, it is somebody else''s or it has ended.';

CREATE FUNCTION core._open_wallets() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO core.wallets (owner_id, asset)
    SELECT NEW.id, a.code
    FROM core.assets AS a
    WHERE a.opens_with_user
    ORDER BY a.code;
    RETURN NULL;
END;
$$;

ALTER FUNCTION core._open_wallets() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._open_wallets() IS 'Trigger: opens the wallets of a new user, one for each asset with opens_with_user.';

CREATE FUNCTION core._partition_name(p_table text, p_from timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN ((p_table || '_p'::text) || to_char((p_from AT TIME ZONE 'UTC'::text), 'YYYY_MM'::text));

ALTER FUNCTION core._partition_name(p_table text, p_from timestamp with time zone) OWNER TO tessera_owner;

COMMENT ON FUNCTION core._partition_name(p_table text, p_from timestamp with time zone) IS 'Name of the partition of a table that begins at p_from.';

CREATE FUNCTION core._payment_event(p_type text, p_payment uuid) RETURNS void
    LANGUAGE sql
    AS $$
    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        p_type, ARRAY['user:' || p.buyer_id::text],
        to_jsonb(p) - 'reference' - 'charge' - 'buyer_id'
    FROM api.payments AS p
    WHERE p.payment_id = p_payment
$$;

ALTER FUNCTION core._payment_event(p_type text, p_payment uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._payment_event(p_type text, p_payment uuid) IS 'Writes the event p_type with the payment as it is now, without the provider''s names.';

CREATE FUNCTION core._payment_order(p_payment core.payments, p_replayed boolean) RETURNS api.payment_order
    LANGUAGE sql STABLE
    AS $$
    SELECT ROW(
        p_payment.id, p_payment.buyer_id, p_payment.package_id, p_payment.tokens, p_payment.amount, p_payment.created_at,
        p_payment.expires_at, p_payment.currency, p_payment.provider,
        (SELECT k.name FROM core.token_packages AS k WHERE k.id = p_payment.package_id),
        (SELECT u.email FROM core.users AS u WHERE u.id = p_payment.buyer_id),
        (
            SELECT c.customer FROM core.payment_customers AS c
            WHERE c.user_id = p_payment.buyer_id AND c.provider = p_payment.provider
        ),
        p_payment.reference, p_payment.charge, p_payment.checkout_url, p_payment.success_url, p_payment.cancel_url, p_replayed
    )::api.payment_order
$$;

ALTER FUNCTION core._payment_order(p_payment core.payments, p_replayed boolean) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._payment_order(p_payment core.payments, p_replayed boolean) IS 'The row with what a provider has to know besides: the package''s name, the buyer''s e-mail address and their name at the provider.';

CREATE FUNCTION core._payout_event(p_type text, p_payout core.payouts) RETURNS void
    LANGUAGE sql
    AS $$
    INSERT INTO core.outbox (type, channels, payload)
    VALUES (
        p_type,
        array_remove(
            ARRAY[
                'user:' || p_payout.user_id::text,
                (
                    SELECT 'creator:' || u.id::text FROM core.users AS u
                    WHERE u.id = p_payout.user_id AND 'creator' = ANY (u.roles)
                ),
                CASE WHEN p_type = 'payout.held' THEN 'ops' END
            ],
            NULL
        ),
        jsonb_build_object(
            'payout_id', p_payout.id, 'user_id', p_payout.user_id, 'status', p_payout.status, 'reason', p_payout.reason,
            'amount', p_payout.amount, 'currency', p_payout.currency, 'payout_amount', p_payout.payout_amount,
            'provider', p_payout.provider, 'expected_at', p_payout.expected_at
        )
    )
$$;

ALTER FUNCTION core._payout_event(p_type text, p_payout core.payouts) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._payout_event(p_type text, p_payout core.payouts) IS 'Writes an event of a payout, for its user alone: to user:<id>, and to creator:<id> where they are a creator, both of which nobody else may follow. Of one that is held operators hear too (ops).';

CREATE FUNCTION core._payout_review(p_account core.payout_accounts, p_amount bigint) RETURNS text
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    RETURN CASE
        WHEN p_account.created_at > clock_timestamp() - make_interval(days => core._rate('payout_review_account', 'TOKEN')::integer)
            THEN 'new_account'
        WHEN p_amount > core._rate('payout_review_amount', 'TOKEN') THEN 'large_amount'
        WHEN core._rate('payout_review_first', 'TOKEN') > (
            SELECT count(*) FROM core.payouts AS p WHERE p.user_id = p_account.user_id AND p.status = 'paid'
        ) THEN 'first_payout'
    END;
END;
$$;

ALTER FUNCTION core._payout_review(p_account core.payout_accounts, p_amount bigint) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._payout_review(p_account core.payout_accounts, p_amount bigint) IS 'new_account, large_amount or first_payout, by the rates payout_review_*; NULL for a payout that needs nobody''s eyes.';

CREATE FUNCTION core._pending_earnings(p_wallet uuid, p_asset text) RETURNS bigint
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    v_days CONSTANT integer := core._rate('earnings_maturity', p_asset);
    v_from timestamptz;
    v_seq bigint;
    v_pending bigint;
BEGIN
    IF v_days = 0 THEN
        RETURN 0;
    END IF;
    v_from := statement_timestamp() - make_interval(days => v_days);
    v_seq := (core._entry_at(p_wallet, v_from)).seq;
    -- the ids' bound leaves out months that are over: one month of entries is one partition
    SELECT coalesce(sum(t.amount - r.given_back), 0) INTO v_pending
    FROM core.entries AS e
    CROSS JOIN LATERAL (
        SELECT m.id, m.amount, m.kind FROM core.transfers AS m WHERE m.id = e.transfer_id LIMIT 1
    ) AS t
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(f.amount), 0) AS given_back FROM core.refunds AS f WHERE f.original_id = t.id
    ) AS r
    WHERE
        e.wallet_id = p_wallet AND e.seq > v_seq AND e.amount > 0 AND t.kind <> 'refund'
        AND e.transfer_id >= core._uuid_floor(date_trunc('month', v_from AT TIME ZONE 'UTC') AT TIME ZONE 'UTC');
    RETURN v_pending;
END;
$$;

ALTER FUNCTION core._pending_earnings(p_wallet uuid, p_asset text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._pending_earnings(p_wallet uuid, p_asset text) IS 'Minor units that came into a wallet within the last earnings_maturity days and were not taken back; what was given back to it (kind refund) does not count. Spending takes the oldest first, so what can be paid out is what can be spent less this. Reads the entries of those days only, and none while the rate is 0.';

CREATE FUNCTION core._place_hold(p_wallet uuid, p_amount bigint, p_expires_in interval, p_key text, p_kind text, p_reference text, p_actor uuid, p_metadata jsonb, p_own boolean) RETURNS api.hold_receipt
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(
        p_key, record_send(ROW('hold'::text, p_wallet, p_amount, p_expires_in, p_kind, p_reference, p_metadata))
    );
    v_status CONSTANT text := (SELECT u.status FROM core.users AS u WHERE u.id = p_actor);
    v_refusal CONSTANT core.refusal := core._check_transfer(
        p_kind, p_reference, p_metadata, p_key, p_actor, v_status, p_own => p_own
    );
    v_stored jsonb;
    v_wallet core.wallets;
    v_spendable bigint;
    v_now timestamptz;
    v_hold core.holds;
    v_receipt api.hold_receipt;
BEGIN
    PERFORM core._lock_wallets(ARRAY[p_wallet]);

    v_stored := core._stored_result(p_actor, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN jsonb_populate_record(NULL::api.hold_receipt, v_stored || '{"replayed": true}');
    ELSIF v_refusal.error_code IS NOT NULL THEN
        PERFORM core._raise(v_refusal.error_code, v_refusal.error, v_refusal.detail, 'Nothing was held.');
    ELSIF (p_amount BETWEEN 1 AND 1000000000000000) IS NOT TRUE THEN
        PERFORM core._raise(
            'TS102', 'INVALID_AMOUNT',
            jsonb_build_object('amount', p_amount, 'minimum', 1, 'maximum', 1000000000000000), 'Nothing was held.'
        );
    ELSIF (p_expires_in > interval '0' AND p_expires_in <= interval '366 days') IS NOT TRUE THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'expires_in', 'maximum_seconds', 31622400),
            'A hold lasts more than nothing and at most 366 days.'
        );
    END IF;
    PERFORM core._expire_holds(ARRAY[p_wallet]);
    SELECT w.* INTO v_wallet FROM core.wallets AS w WHERE w.id = p_wallet;
    -- not on overdraft: a negative minimum counts as none
    v_spendable := v_wallet.balance - v_wallet.held - greatest(v_wallet.minimum, 0);
    IF v_wallet.id IS NULL THEN
        PERFORM core._raise('TS210', 'WALLET_NOT_FOUND', jsonb_build_object('wallet_id', p_wallet), 'Nothing was held.');
    ELSIF v_wallet.status <> 'active' THEN
        PERFORM core._raise(
            CASE v_wallet.status WHEN 'closed' THEN 'TS311' ELSE 'TS310' END,
            CASE v_wallet.status WHEN 'closed' THEN 'WALLET_CLOSED' ELSE 'WALLET_FROZEN' END,
            jsonb_build_object('wallet_id', p_wallet, 'wallet_status', v_wallet.status), 'Nothing was held.'
        );
    ELSIF v_spendable < p_amount THEN
        PERFORM core._raise(
            'TS401', 'INSUFFICIENT_TOKENS',
            jsonb_build_object(
                'required', p_amount, 'current', v_spendable, 'shortfall', p_amount - v_spendable,
                'asset', v_wallet.asset
            ),
            'Nothing was held. A hold never draws on an overdraft.'
        );
    END IF;

    v_now := clock_timestamp();
    v_receipt := ROW(
        core.uuid7(), p_wallet, 'open', p_amount, 0, p_amount, v_wallet.balance, v_spendable - p_amount, NULL,
        v_now + p_expires_in, v_now, false
    );
    UPDATE core.wallets AS w SET held = w.held + p_amount WHERE w.id = p_wallet;
    INSERT INTO core.holds (
        id, wallet_id, amount, created_at, expires_at, actor_id, asset, kind, db_user, reference, metadata
    )
    VALUES (
        v_receipt.hold_id, p_wallet, p_amount, v_now, v_receipt.expires_at, p_actor, v_wallet.asset, p_kind,
        CASE WHEN p_actor IS NULL THEN session_user END, p_reference, p_metadata
    )
    RETURNING * INTO v_hold;
    PERFORM core._store_result(p_actor, p_key, v_hash, to_jsonb(v_receipt));
    PERFORM core._wallet_event(p_wallet);
    INSERT INTO core.outbox (type, channels, payload)
    VALUES ('hold.placed', core._user_channels(v_wallet.owner_id, NULL), core._hold_payload(v_hold));
    RETURN v_receipt;
END;
$$;

ALTER FUNCTION core._place_hold(p_wallet uuid, p_amount bigint, p_expires_in interval, p_key text, p_kind text, p_reference text, p_actor uuid, p_metadata jsonb, p_own boolean) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._place_hold(p_wallet uuid, p_amount bigint, p_expires_in interval, p_key text, p_kind text, p_reference text, p_actor uuid, p_metadata jsonb, p_own boolean) IS 'As api.place_hold; p_own: the kind is the caller''s own, so it may be one that is reserved.';

CREATE FUNCTION core._place_wallets(p_requests core.transfer_request[], p_ids uuid[]) RETURNS integer[]
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT array_agg(coalesce(array_position(p_ids, s.wallet_id), 0) ORDER BY s.ord, s.side)
    FROM (
        SELECT r.ord, v.side, v.wallet_id
        FROM unnest(p_requests) WITH ORDINALITY AS r (
            from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash, link,
            metadata, event_at, ord
        )
        CROSS JOIN LATERAL (VALUES (1, r.from_wallet_id), (2, r.to_wallet_id)) AS v (side, wallet_id)
    ) AS s
$$;

ALTER FUNCTION core._place_wallets(p_requests core.transfer_request[], p_ids uuid[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._place_wallets(p_requests core.transfer_request[], p_ids uuid[]) IS 'Positions of payer (2i - 1) and payee (2i) of each request among the locked wallets; 0 for one that does not exist. The slow way, for batches that name a missing wallet.';

CREATE FUNCTION core._post_one(p_request core.transfer_request, p_refusal core.refusal, p_payer_is_actor boolean) RETURNS core.transfer_result
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_key_actor_id CONSTANT uuid := coalesce(p_request.actor_id, core._database_actor());
    v_result core.transfer_result;
BEGIN
    PERFORM core._lock_wallets(ARRAY[p_request.from_wallet_id, p_request.to_wallet_id]);

    WITH ok AS MATERIALIZED (
        SELECT
            s.id, s.now,
            f.balance - p_request.amount AS from_balance, t.balance + p_request.amount AS to_balance,
            f.version + 1 AS from_seq, t.version + 1 AS to_seq,
            f.owner_id AS from_owner_id, t.owner_id AS to_owner_id, f.held AS from_held, t.held AS to_held,
            f.minimum AS from_minimum, t.minimum AS to_minimum
        FROM core.wallets AS f
        INNER JOIN core.wallets AS t ON t.id = p_request.to_wallet_id
        CROSS JOIN LATERAL (
            SELECT core.uuid7() AS id, greatest(clock_timestamp(), f.last_entry_at, t.last_entry_at) AS now
        ) AS s
        WHERE
            f.id = p_request.from_wallet_id AND f.id <> t.id
            AND p_refusal.error_code IS NULL
            AND p_request.amount BETWEEN 1 AND 1000000000000000
            AND f.asset = p_request.asset AND t.asset = p_request.asset
            AND f.status = 'active' AND t.status IN ('active', 'debits_frozen') AND t.debt = 0
            AND (NOT p_payer_is_actor OR p_request.actor_id IS NULL OR f.owner_id = p_request.actor_id)
            AND f.balance - p_request.amount >= f.minimum + f.held
            AND t.lifetime_earned <= 9000000000000000000 - p_request.amount
            AND f.balance - p_request.amount >= f.lifetime_earned - 9000000000000000000
            AND date_trunc('month', core._uuid_time(s.id), 'UTC') = date_trunc('month', s.now, 'UTC')
            AND NOT EXISTS (
                SELECT FROM core.idempotency_keys AS k
                WHERE k.actor_id = v_key_actor_id AND k.key = p_request.idempotency_key
            )
            AND NOT EXISTS (
                SELECT FROM core.rates AS r
                WHERE r.name IN (
                    'velocity_amount_minute', 'velocity_amount_hour', 'velocity_amount_day',
                    'velocity_count_minute', 'velocity_count_hour', 'velocity_count_day'
                ) AND r.valid_from <= s.now AND (r.valid_to IS NULL OR r.valid_to > s.now)
            )
    ), wallet AS (
        UPDATE core.wallets AS w
        SET
            balance = CASE WHEN w.id = p_request.from_wallet_id THEN o.from_balance ELSE o.to_balance END,
            version = w.version + 1,
            lifetime_spent = w.lifetime_spent + CASE WHEN w.id = p_request.from_wallet_id THEN p_request.amount ELSE 0 END,
            lifetime_earned = w.lifetime_earned + CASE WHEN w.id = p_request.from_wallet_id THEN 0 ELSE p_request.amount END,
            last_entry_at = o.now
        FROM ok AS o
        WHERE w.id IN (p_request.from_wallet_id, p_request.to_wallet_id)
    ), transfer AS (
        INSERT INTO core.transfers (
            id, from_wallet_id, to_wallet_id, amount, from_seq, to_seq, created_at, actor_id, asset, kind, db_user,
            reference, metadata, event_at
        )
        SELECT
            o.id, p_request.from_wallet_id, p_request.to_wallet_id, p_request.amount, o.from_seq, o.to_seq, o.now,
            p_request.actor_id, p_request.asset, p_request.kind,
            CASE WHEN p_request.actor_id IS NULL THEN session_user END, p_request.reference, p_request.metadata,
            p_request.event_at
        FROM ok AS o
    ), entry AS (
        INSERT INTO core.entries (wallet_id, seq, transfer_id, amount, balance, created_at)
        SELECT e.wallet_id, e.seq, o.id, e.amount, e.balance, o.now
        FROM ok AS o
        CROSS JOIN LATERAL (
            VALUES
            (p_request.from_wallet_id, o.from_seq, - p_request.amount, o.from_balance),
            (p_request.to_wallet_id, o.to_seq, p_request.amount, o.to_balance)
        ) AS e (wallet_id, seq, amount, balance)
    ), key AS (
        INSERT INTO core.idempotency_keys (actor_id, key, transfer_id, created_at, request_hash)
        SELECT v_key_actor_id, p_request.idempotency_key, o.id, o.now, p_request.request_hash
        FROM ok AS o
        WHERE p_request.idempotency_key IS NOT NULL
    ), event AS (
        INSERT INTO core.outbox (type, channels, payload)
        SELECT
            'wallet.changed', ARRAY['user:' || e.owner_id::text],
            core._wallet_payload(e.wallet_id, p_request.asset, e.balance, e.held, e.minimum, e.seq, e.change)
        FROM ok AS o
        CROSS JOIN LATERAL (
            VALUES
            (p_request.from_wallet_id, o.from_owner_id, o.from_balance, o.from_held, o.from_minimum, o.from_seq, - p_request.amount),
            (p_request.to_wallet_id, o.to_owner_id, o.to_balance, o.to_held, o.to_minimum, o.to_seq, p_request.amount)
        ) AS e (wallet_id, owner_id, balance, held, minimum, seq, change)
        WHERE e.owner_id IS NOT NULL
        UNION ALL
        SELECT
            'transfer.posted', core._user_channels(o.from_owner_id, o.to_owner_id),
            core._transfer_payload(
                o.id, p_request.from_wallet_id, p_request.to_wallet_id, p_request.amount, p_request.asset, p_request.kind,
                p_request.reference, o.now
            )
        FROM ok AS o
    )
    SELECT o.id, o.from_balance, o.to_balance, o.from_owner_id, o.to_owner_id, o.now, false, NULL, NULL, NULL
    INTO v_result
    FROM ok AS o;

    IF v_result.transfer_id IS NULL THEN
        v_result := (core._post_transfers(ARRAY[p_request], ARRAY[p_refusal], p_payer_is_actor))[1];
        IF v_result.error_code IS NOT NULL THEN
            PERFORM core._raise(v_result.error_code, v_result.error, v_result.detail, 'Nothing was moved.');
        ELSIF NOT v_result.replayed THEN
            INSERT INTO core.outbox (type, channels, payload)
            VALUES (
                'transfer.posted', core._user_channels(v_result.from_owner_id, v_result.to_owner_id),
                core._transfer_payload(
                    v_result.transfer_id, p_request.from_wallet_id, p_request.to_wallet_id, p_request.amount,
                    p_request.asset, p_request.kind, p_request.reference, v_result.created_at
                )
            );
        END IF;
    END IF;
    RETURN v_result;
END;
$$;

ALTER FUNCTION core._post_one(p_request core.transfer_request, p_refusal core.refusal, p_payer_is_actor boolean) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._post_one(p_request core.transfer_request, p_refusal core.refusal, p_payer_is_actor boolean) IS 'One transfer: as core._post_transfers with a batch of one, and by it whenever there is something to decide; several times cheaper when there is not.';

CREATE FUNCTION core._post_transfers(p_requests core.transfer_request[], p_refusals core.refusal[] DEFAULT NULL::core.refusal[], p_payer_is_actor boolean DEFAULT false, p_may_owe boolean DEFAULT false) RETURNS core.transfer_result[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    c_batch CONSTANT integer := 5000;
    c_amount CONSTANT bigint := 1000000000000000;
    c_balance CONSTANT bigint := 9000000000000000000;
    v_count CONSTANT integer := coalesce(cardinality(p_requests), 0);
    v_amounts bigint [];
    v_assets text [];
    v_actors uuid [];
    v_links integer [];
    v_ids uuid [];
    v_slots integer [];
    v_wallets core.locked_wallets;
    v_owners uuid [];
    v_wallet_assets text [];
    v_statuses text [];
    v_balances bigint [];
    v_floors bigint [];
    v_earned bigint [];
    v_versions bigint [];
    v_now timestamptz;
    v_db_actor CONSTANT uuid := core._database_actor();
    v_firsts integer [];
    v_twins integer [];
    v_replays uuid [];
    v_refusals core.refusal [] := p_refusals;
    v_transfer_ids uuid [];
    v_from_seqs bigint [];
    v_to_seqs bigint [];
    v_from_balances bigint [];
    v_to_balances bigint [];
    v_from integer;
    v_to integer;
    v_amount bigint;
    v_link integer;
    v_posted boolean := false;
    v_start integer;
    v_rules core.velocity_rules;
    v_rooms bigint [];
    v_limited core.refusal;
    v_results core.transfer_result [];
BEGIN
    IF v_count = 0 THEN
        RETURN '{}';
    ELSIF v_count > c_batch THEN
        PERFORM core._raise('TS107', 'BATCH_TOO_LARGE', jsonb_build_object('size', v_count, 'maximum', c_batch), 'Send less at once.');
    END IF;

    -- Columns of the requests, the wallets they name, and which of these each pays from and to (2i - 1, 2i).
    SELECT array_agg(r.amount), array_agg(r.asset), array_agg(r.actor_id), array_agg(r.link)
    INTO v_amounts, v_assets, v_actors, v_links
    FROM unnest(p_requests) AS r;

    WITH ranked AS MATERIALIZED (
        SELECT s.slot, s.wallet_id, dense_rank() OVER (ORDER BY s.wallet_id) AS place
        FROM (
            SELECT row_number() OVER () * 2 - 1 AS slot, r.from_wallet_id AS wallet_id FROM unnest(p_requests) AS r
            UNION ALL
            SELECT row_number() OVER () * 2, r.to_wallet_id FROM unnest(p_requests) AS r
        ) AS s
    )
    SELECT
        (SELECT array_agg(DISTINCT r.wallet_id) FROM ranked AS r),
        (SELECT array_agg(r.place::integer ORDER BY r.slot) FROM ranked AS r)
    INTO v_ids, v_slots;

    PERFORM core._lock_wallets(v_ids);
    LOOP
        SELECT
            array_agg(w.id), array_agg(w.owner_id), array_agg(w.balance), array_agg(w.minimum + w.held),
            array_agg(w.lifetime_earned), array_agg(w.version), array_agg(w.asset), array_agg(w.status::text),
            max(w.last_entry_at), max(w.held)
        INTO v_wallets
        FROM (
            SELECT
                k.id, k.owner_id, k.balance, k.minimum, k.held, k.lifetime_earned, k.version, k.asset, k.status,
                k.last_entry_at
            FROM core.wallets AS k
            WHERE k.id = ANY (v_ids)
            ORDER BY k.id
        ) AS w;
        EXIT WHEN v_wallets.held > 0 IS NOT TRUE OR core._expire_holds(v_ids) = 0;
    END LOOP;
    -- Not before the locks: they give the transaction its number, and what is sealed (api.seal_entries) is told by ids
    -- that are no older than the number of their transaction.
    v_transfer_ids := ARRAY(SELECT core.uuid7() FROM generate_series(1, v_count) AS g (i));
    IF v_wallets.ids IS NULL OR cardinality(v_wallets.ids) < cardinality(v_ids) THEN
        v_slots := core._place_wallets(p_requests, v_wallets.ids);
    END IF;
    v_owners := v_wallets.owner_ids;
    v_wallet_assets := v_wallets.assets;
    v_statuses := v_wallets.statuses;
    v_balances := v_wallets.balances;
    v_floors := v_wallets.floors;
    v_earned := v_wallets.earned;
    v_versions := v_wallets.versions;
    v_now := greatest(clock_timestamp(), v_wallets.last_entry_at);
    v_transfer_ids := core._in_month(v_transfer_ids, v_now);
    -- filled, so that positions count from 1 whichever is set first
    v_from_seqs := array_fill(NULL::bigint, ARRAY[v_count]);
    v_to_seqs := v_from_seqs;
    v_from_balances := v_from_seqs;
    v_to_balances := v_from_seqs;

    -- What keys have done before these locks were ours, or do twice in this batch.
    SELECT k.replays, k.refusals, k.firsts INTO v_replays, v_refusals, v_firsts
    FROM core._find_twins(p_requests, v_refusals, v_db_actor) AS k;

    -- How much each payer may still pay, where a velocity limit is in force: by now, not when it began to wait for locks.
    v_rules := core._velocity_rules(v_now);
    -- What gives back is not held up by them where it may leave a debt.
    IF v_rules.rules IS NOT NULL AND NOT (p_may_owe AND (p_requests[1]).kind = 'refund') THEN
        v_rooms := core._velocity_rooms(v_wallets.ids, v_owners, v_rules, v_now);
    END IF;

    FOR v_i IN 1..v_count LOOP
        v_from := v_slots[2 * v_i - 1];
        v_to := v_slots[2 * v_i];
        v_amount := v_amounts[v_i];
        IF v_links[v_i] = v_link THEN
            -- a further leg of the group that began at v_start: it shares what became of the first
            IF v_replays[v_start] IS NOT NULL THEN
                v_replays[v_i] := v_replays[v_start];
                CONTINUE;
            ELSIF (v_refusals[v_start]).error_code IS NOT NULL THEN
                v_refusals[v_i] := v_refusals[v_start];
                CONTINUE;
            END IF;
        ELSE
            v_link := v_links[v_i];
            v_start := v_i;
        END IF;
        -- v_twins: of requests with the same key, by the position of their first, the one that took effect
        IF v_firsts[v_i] IS NOT NULL AND v_from_seqs[v_twins[v_firsts[v_i]]] IS NOT NULL THEN
            IF (p_requests[v_i]).request_hash = (p_requests[v_twins[v_firsts[v_i]]]).request_hash THEN
                v_replays[v_i] := v_transfer_ids[v_twins[v_firsts[v_i]]];
            ELSE
                v_refusals := coalesce(v_refusals, array_fill(NULL::core.refusal, ARRAY[v_count]));
                v_refusals[v_i] := core._key_reused((p_requests[v_i]).idempotency_key);
            END IF;
        END IF;
        CONTINUE WHEN v_replays[v_i] IS NOT NULL;

        IF v_amount > 0 AND v_amount <= c_amount AND v_from > 0 AND v_to > 0 AND v_from <> v_to
            AND v_assets[v_i] = v_wallet_assets[v_from] AND v_assets[v_i] = v_wallet_assets[v_to]
            AND v_statuses[v_from] = 'active' AND v_statuses[v_to] IN ('active', 'debits_frozen')
            AND (NOT p_payer_is_actor OR v_actors[v_i] IS NULL OR v_actors[v_i] = v_owners[v_from])
            AND (p_may_owe OR v_balances[v_from] - v_amount >= v_floors[v_from])
            AND v_earned[v_to] <= c_balance - v_amount
            AND v_balances[v_from] - v_amount >= v_earned[v_from] - c_balance
            AND (v_refusals IS NULL OR (v_refusals[v_i]).error_code IS NULL)
            AND (v_rooms IS NULL OR core._take_room(v_rooms, v_rules, v_from, p_requests[v_i], 1) IS NOT NULL)
        THEN
            v_balances[v_from] := v_balances[v_from] - v_amount;
            v_balances[v_to] := v_balances[v_to] + v_amount;
            v_earned[v_to] := v_earned[v_to] + v_amount;
            v_versions[v_from] := v_versions[v_from] + 1;
            v_versions[v_to] := v_versions[v_to] + 1;
            v_posted := true;
            v_from_balances[v_i] := v_balances[v_from];
            v_to_balances[v_i] := v_balances[v_to];
            v_from_seqs[v_i] := v_versions[v_from];
            v_to_seqs[v_i] := v_versions[v_to];
            IF v_rooms IS NOT NULL THEN
                v_rooms := core._take_room(v_rooms, v_rules, v_from, p_requests[v_i], 1);
            END IF;
            IF v_firsts IS NOT NULL THEN
                v_twins[coalesce(v_firsts[v_i], v_i)] := v_i;
            END IF;
        ELSE
            IF v_rooms IS NOT NULL THEN
                v_limited := core._velocity_refusal(v_rooms, v_rules, v_from, p_requests[v_i], v_now);
            END IF;
            -- take back the legs of this group that had passed
            FOR v_j IN REVERSE v_i - 1..v_start LOOP
                v_from := v_slots[2 * v_j - 1];
                v_to := v_slots[2 * v_j];
                v_balances[v_from] := v_balances[v_from] + v_amounts[v_j];
                v_balances[v_to] := v_balances[v_to] - v_amounts[v_j];
                v_earned[v_to] := v_earned[v_to] - v_amounts[v_j];
                v_versions[v_from] := v_versions[v_from] - 1;
                v_versions[v_to] := v_versions[v_to] - 1;
                v_from_seqs[v_j] := NULL;
                v_from_balances[v_j] := NULL;
                v_to_balances[v_j] := NULL;
                IF v_rooms IS NOT NULL THEN
                    v_rooms := core._take_room(v_rooms, v_rules, v_from, p_requests[v_j], -1);
                END IF;
            END LOOP;
            v_refusals := coalesce(v_refusals, array_fill(NULL::core.refusal, ARRAY[v_count]));
            IF (v_refusals[v_i]).error_code IS NULL THEN
                v_refusals[v_i] := core._explain_refusal(
                    p_requests, v_i, v_start, v_wallets, v_slots, v_balances, p_payer_is_actor
                );
                IF (v_refusals[v_i]).error = 'BALANCE_LIMIT' AND v_limited.error_code IS NOT NULL THEN
                    v_refusals[v_i] := v_limited;
                END IF;
            END IF;
            FOR v_j IN v_start..v_i - 1 LOOP
                v_refusals[v_j] := v_refusals[v_i];
            END LOOP;
        END IF;
    END LOOP;

    IF v_posted THEN
        WITH changed AS (
            UPDATE core.wallets AS w
            SET
                balance = n.balance, version = n.version, lifetime_earned = n.earned, lifetime_spent = n.earned - n.balance,
                last_entry_at = v_now,
                debt = CASE WHEN p_may_owe OR w.debt > 0 THEN greatest(0, w.minimum + w.held - n.balance) ELSE 0 END
            FROM unnest(v_wallets.ids, v_balances, v_versions, v_earned, v_wallets.balances)
                AS n (id, balance, version, earned, balance_before)
            WHERE w.id = n.id AND w.version < n.version
            RETURNING w.id, w.owner_id, w.asset, w.balance, w.held, w.minimum, w.version, w.balance - n.balance_before AS change
        )
        INSERT INTO core.outbox (type, channels, payload)
        SELECT
            'wallet.changed', ARRAY['user:' || c.owner_id::text],
            core._wallet_payload(c.id, c.asset, c.balance, c.held, c.minimum, c.version, c.change)
        FROM changed AS c
        WHERE c.owner_id IS NOT NULL;

        INSERT INTO core.transfers (
            id, from_wallet_id, to_wallet_id, amount, from_seq, to_seq, created_at, actor_id, asset, kind, db_user,
            reference, metadata, event_at
        )
        SELECT
            r.id, r.from_wallet_id, r.to_wallet_id, r.amount, r.from_seq, r.to_seq, v_now, r.actor_id, r.asset, r.kind,
            CASE WHEN r.actor_id IS NULL THEN session_user END, r.reference, r.metadata, r.event_at
        FROM ROWS FROM (
            unnest(p_requests), unnest(v_transfer_ids), unnest(v_from_seqs), unnest(v_to_seqs)
        ) AS r (
            from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash, link,
            metadata, event_at, id, from_seq, to_seq
        )
        WHERE r.from_seq IS NOT NULL;

        INSERT INTO core.entries (wallet_id, seq, transfer_id, amount, balance, created_at)
        SELECT v_wallets.ids[e.place], e.seq, e.transfer_id, e.amount, e.balance, v_now
        FROM (
            SELECT v_slots[2 * d.ord - 1], d.seq, d.transfer_id, - d.amount, d.balance
            FROM unnest(v_from_seqs, v_transfer_ids, v_amounts, v_from_balances) WITH ORDINALITY
                AS d (seq, transfer_id, amount, balance, ord)
            WHERE d.seq IS NOT NULL
            UNION ALL
            SELECT v_slots[2 * c.ord], c.to_seq, c.transfer_id, c.amount, c.balance
            FROM unnest(v_from_seqs, v_to_seqs, v_transfer_ids, v_amounts, v_to_balances) WITH ORDINALITY
                AS c (seq, to_seq, transfer_id, amount, balance, ord)
            WHERE c.seq IS NOT NULL
        ) AS e (place, seq, transfer_id, amount, balance);

        INSERT INTO core.idempotency_keys (actor_id, key, transfer_id, created_at, request_hash)
        SELECT coalesce(r.actor_id, v_db_actor), r.idempotency_key, r.id, v_now, r.request_hash
        FROM ROWS FROM (unnest(p_requests), unnest(v_transfer_ids), unnest(v_from_seqs)) AS r (
            from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash, link,
            metadata, event_at, id, from_seq
        )
        WHERE r.from_seq IS NOT NULL AND r.idempotency_key IS NOT NULL;

        IF v_rooms IS NOT NULL THEN
            PERFORM core._count_velocity(v_wallets.ids, v_owners, v_rules, v_rooms, v_now);
        END IF;
    END IF;

    SELECT array_agg(ROW(
        CASE WHEN a.from_seq IS NOT NULL THEN a.transfer_id END, a.from_balance, a.to_balance,
        v_owners[v_slots[2 * a.ord - 1]], v_owners[v_slots[2 * a.ord]],
        CASE WHEN a.from_seq IS NOT NULL THEN v_now END, false, a.error_code, a.error, a.detail
    )::core.transfer_result)
    INTO v_results
    FROM ROWS FROM (
        unnest(v_transfer_ids), unnest(v_from_seqs), unnest(v_from_balances), unnest(v_to_balances), unnest(v_refusals)
    ) WITH ORDINALITY AS a (transfer_id, from_seq, from_balance, to_balance, error_code, error, detail, ord)
    WHERE a.ord <= v_count;
    IF v_replays IS NOT NULL THEN
        v_results := core._fill_replays(v_results, v_replays);
    END IF;
    RETURN v_results;
END;
$$;

ALTER FUNCTION core._post_transfers(p_requests core.transfer_request[], p_refusals core.refusal[], p_payer_is_actor boolean, p_may_owe boolean) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._post_transfers(p_requests core.transfer_request[], p_refusals core.refusal[], p_payer_is_actor boolean, p_may_owe boolean) IS 'Moves money: locks the wallets, applies the requests one after another, writes all that passed in one go; one result a request, in order. With its short way core._post_one the only writer of wallets, transfers and entries.';

CREATE FUNCTION core._raise(p_code text, p_slug text, p_detail jsonb, p_hint text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = p_code,
        MESSAGE = p_slug,
        DETAIL = coalesce(p_detail, '{}')::text,
        HINT = coalesce(p_hint, '');
END;
$$;

ALTER FUNCTION core._raise(p_code text, p_slug text, p_detail jsonb, p_hint text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._raise(p_code text, p_slug text, p_detail jsonb, p_hint text) IS 'Raises SQLSTATE p_code (TSnnn) with the slug as message, the facts as JSON in DETAIL and what to do in HINT.';

CREATE FUNCTION core._rate(p_name text, p_asset text DEFAULT NULL::text, p_at timestamp with time zone DEFAULT NULL::timestamp with time zone, p_scope text DEFAULT NULL::text) RETURNS numeric
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    v_value numeric;
    v_at timestamptz := coalesce(p_at, statement_timestamp());
BEGIN
    SELECT r.value
    INTO v_value
    FROM core.rates AS r
    WHERE
        r.name = p_name AND (r.asset = p_asset OR r.asset IS NULL) AND (r.scope = p_scope OR r.scope IS NULL)
        AND r.valid_from <= v_at AND (r.valid_to IS NULL OR r.valid_to > v_at)
    ORDER BY r.scope NULLS LAST, r.asset NULLS LAST, r.valid_from DESC
    LIMIT 1;
    IF v_value IS NULL THEN
        PERFORM core._raise(
            'TS801', 'CONFIGURATION_ERROR', jsonb_build_object('rate', p_name, 'asset', p_asset, 'scope', p_scope, 'at', v_at),
            'Set the rate: api.set_rate, or PUT /admin/rates.'
        );
    END IF;
    RETURN v_value;
END;
$$;

ALTER FUNCTION core._rate(p_name text, p_asset text, p_at timestamp with time zone, p_scope text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._rate(p_name text, p_asset text, p_at timestamp with time zone, p_scope text) IS 'The value of the rate p_name for p_asset and p_scope in force at p_at (now by default), in the unit its row states. TS801 if there is none: nothing falls back to a number in code.';

CREATE FUNCTION core._refund_order(p_refund uuid, p_replayed boolean) RETURNS api.refund_order
    LANGUAGE sql STABLE
    AS $$
    SELECT ROW(
        r.id, r.payment_id, r.amount, r.tries, p.currency, p.provider, p.reference, p.charge, r.provider_refund, r.reason,
        p_replayed
    )::api.refund_order
    FROM core.payment_refunds AS r
    INNER JOIN core.payments AS p ON p.id = r.payment_id
    WHERE r.id = p_refund
$$;

ALTER FUNCTION core._refund_order(p_refund uuid, p_replayed boolean) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._refund_order(p_refund uuid, p_replayed boolean) IS 'A refund with what its provider has to know of the payment.';

CREATE FUNCTION core._refuse_payout(p_payout core.payouts, p_hint text) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM core._raise(
        'TS360', 'PAYOUT_STATE',
        jsonb_build_object('payout_id', p_payout.id, 'payout_status', p_payout.status, 'reason', p_payout.reason), p_hint
    );
END;
$$;

ALTER FUNCTION core._refuse_payout(p_payout core.payouts, p_hint text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._refuse_payout(p_payout core.payouts, p_hint text) IS 'Raises TS360 with the state of the payout.';

CREATE FUNCTION core._refuse_stream(p_field text, p_hint text) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM core._raise(
        'TS101', 'INVALID_REQUEST',
        jsonb_build_object('field', p_field) || CASE WHEN p_field = 'title' THEN '{"maximum_bytes": 200}' ELSE '{}' END::jsonb, p_hint
    );
END;
$$;

ALTER FUNCTION core._refuse_stream(p_field text, p_hint text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._refuse_stream(p_field text, p_hint text) IS 'Raises for the field p_field of a stream; p_hint: what did not happen.';

CREATE FUNCTION core._request_hash(p_key text, p_request bytea) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN p_key IS NOT NULL THEN substring(sha256(p_request) FROM 1 FOR 16) END
$$;

ALTER FUNCTION core._request_hash(p_key text, p_request bytea) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._request_hash(p_key text, p_request bytea) IS 'First 16 bytes of the SHA-256 of a request, given as record_send(ROW(…)) of its fields; NULL where there is no key.';

CREATE FUNCTION core._return_blocks(p_cases core.call_case[]) RETURNS integer[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    -- as many transfers as core._post_transfers takes, or fewer
    c_batch CONSTANT integer := 4000;
    v_transfers uuid[];
    v_some jsonb;
    v_refused jsonb;
    v_returned integer[];
BEGIN
    PERFORM core._lock_wallets(ARRAY(
        SELECT DISTINCT x.id
        FROM unnest(p_cases) AS c
        CROSS JOIN LATERAL (
            VALUES (c.fan_wallet_id), (c.creator_wallet_id), (core._system_wallet('revenue', 'TOKEN', c.fan_id))
        ) AS x (id)
    ));
    v_transfers := ARRAY(
        SELECT x.id
        FROM unnest(p_cases) AS c
        CROSS JOIN LATERAL (
            SELECT m.transfer_id, m.fee_transfer_id FROM core.meter_blocks AS m
            WHERE m.call_id = c.call_id AND m.block_no >= c.begun AND m.block_no < c.blocks OFFSET 0
        ) AS b
        CROSS JOIN LATERAL (VALUES (b.transfer_id), (b.fee_transfer_id)) AS x (id)
        WHERE c.reason = 'not_seen' AND x.id IS NOT NULL
    );
    FOR v_i IN 1..cardinality(v_transfers) BY c_batch LOOP
        SELECT jsonb_agg(g.detail || jsonb_build_object('error', g.error)) FILTER (WHERE g.error IS NOT NULL) INTO v_some
        FROM core._give_back(v_transfers[v_i:v_i + c_batch - 1], 'call not seen', NULL) AS g;
        v_refused := coalesce(v_refused || v_some, v_refused, v_some);
    END LOOP;
    WITH returned AS (
        UPDATE core.meter_blocks AS b
        SET refunded_at = clock_timestamp()
        FROM unnest(p_cases) AS c
        CROSS JOIN LATERAL (
            SELECT m.ctid AS place FROM core.meter_blocks AS m
            WHERE m.call_id = c.call_id AND m.block_no >= c.begun AND m.refunded_at IS NULL OFFSET 0
        ) AS p
        WHERE
            b.ctid = p.place AND c.reason = 'not_seen'
            AND b.price = (
                SELECT coalesce(sum(r.amount), 0) FROM core.refunds AS r WHERE r.original_id IN (b.transfer_id, b.fee_transfer_id)
            )
        RETURNING b.call_id
    )
    SELECT array_agg(n.blocks ORDER BY n.ord) INTO v_returned
    FROM (
        SELECT c.ord, (SELECT count(*) FROM returned AS r WHERE r.call_id = c.call_id)::integer AS blocks
        FROM ROWS FROM (unnest(p_cases)) WITH ORDINALITY AS c (
            call_id, fan_id, creator_id, fan_wallet_id, creator_wallet_id, block_us, block_price, block_limit, fee, status,
            due_at, running_since, active_before_us, active_us, alive_until, lost, blocks, billed, platform_fees, warned, begun,
            due, reason, place, ord
        )
    ) AS n;
    IF v_refused IS NOT NULL THEN
        INSERT INTO core.audit_log (action, details) VALUES (
            'call.refund_refused',
            jsonb_build_object('refused', v_refused, 'calls', (
                SELECT jsonb_agg(c.call_id) FROM unnest(p_cases) AS c WHERE c.reason = 'not_seen' AND c.blocks > c.begun
            ))
        );
        INSERT INTO core.outbox (type, channels, payload)
        SELECT 'call.refund_refused', ARRAY['ops'], jsonb_build_object('calls', jsonb_agg(c.call_id), 'refused', v_refused)
        FROM unnest(p_cases) AS c
        WHERE c.reason = 'not_seen' AND c.blocks > c.begun;
    END IF;
    RETURN v_returned;
END;
$$;

ALTER FUNCTION core._return_blocks(p_cases core.call_case[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._return_blocks(p_cases core.call_case[]) IS 'Gives back the paid blocks from number begun on of each of the cases that ends because it was not seen; how many of each.';

CREATE FUNCTION core._seal_content(p_from uuid, p_to uuid, OUT transfers bigint, OUT wallets bigint, OUT acts bigint, OUT transfers_digest bytea, OUT wallets_digest bytea, OUT acts_digest bytea) RETURNS record
    LANGUAGE plpgsql STABLE
    SET client_encoding TO 'UTF8'
    AS $$
BEGIN
    SELECT count(*), sha256(coalesce(string_agg(record_send(r), ''::bytea ORDER BY r.id), ''))
    INTO transfers, transfers_digest
    FROM core._transfer_rows(p_from, p_to) AS r;
    SELECT count(*), sha256(coalesce(string_agg(record_send(r), ''::bytea ORDER BY r.id), ''))
    INTO wallets, wallets_digest
    FROM core._wallet_rows(p_from, p_to) AS r;
    SELECT count(*), sha256(coalesce(string_agg(record_send(r), ''::bytea ORDER BY r.id), ''))
    INTO acts, acts_digest
    FROM core._act_rows(p_from, p_to) AS r;
END;
$$;

ALTER FUNCTION core._seal_content(p_from uuid, p_to uuid, OUT transfers bigint, OUT wallets bigint, OUT acts bigint, OUT transfers_digest bytea, OUT wallets_digest bytea, OUT acts_digest bytea) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._seal_content(p_from uuid, p_to uuid, OUT transfers bigint, OUT wallets bigint, OUT acts bigint, OUT transfers_digest bytea, OUT wallets_digest bytea, OUT acts_digest bytea) IS 'Number and SHA-256 of the transfers, wallets and acts with ids from p_from up to p_to: of their rows in the order of id, each as record_send writes it.';

CREATE FUNCTION core._seal_digest(p_seal core.seals) RETURNS bytea
    LANGUAGE sql STABLE
    AS $$
    SELECT sha256(record_send(ROW(
        p_seal.block, p_seal.from_id, p_seal.to_id, p_seal.transfers, p_seal.wallets, p_seal.acts, p_seal.transfers_digest,
        p_seal.wallets_digest, p_seal.acts_digest, p_seal.sealed_at, p_seal.previous
    )))
$$;

ALTER FUNCTION core._seal_digest(p_seal core.seals) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._seal_digest(p_seal core.seals) IS 'SHA-256 over all columns of a seal but the digest, as record_send writes them.';

CREATE FUNCTION core._seat_in_stream(p_stream uuid, p_user uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    v_stream core.streams;
BEGIN
    PERFORM core._admit(p_stream, p_user);
    SELECT s.* INTO v_stream FROM core.streams AS s WHERE s.id = p_stream;
    IF v_stream.status = 'ended' THEN
        PERFORM core._raise(
            'TS328', 'STREAM_ENDED', jsonb_build_object('stream_id', p_stream, 'ended_at', v_stream.ended_at), 'There is nothing to see.'
        );
    END IF;
    RETURN v_stream.creator_id = p_user;
END;
$$;

ALTER FUNCTION core._seat_in_stream(p_stream uuid, p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._seat_in_stream(p_stream uuid, p_user uuid) IS 'Whether user p_user sends in the room of stream p_stream; raises where they may not even enter.';

CREATE FUNCTION core._sell_tickets(p_paid core.ticket_case[], p_free core.ticket_case[]) RETURNS api.ticket_outcome[]
    LANGUAGE plpgsql
    AS $$
DECLARE
    c_asset CONSTANT text := 'TOKEN';
    v_sales CONSTANT core.ticket_case[] := p_paid || p_free;
    v_now timestamptz;
    v_requests core.transfer_request[];
    v_leads boolean[];
    v_results core.transfer_result[];
    v_outcomes api.ticket_outcome[];
BEGIN
    IF v_sales IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT
        array_agg(ROW(
            c.viewer_wallet_id, l.wallet_id, l.amount, c_asset, l.kind, c.stream_id::text, c.viewer_id,
            CASE WHEN l.lead THEN c.idempotency_key END, CASE WHEN l.lead THEN c.request_hash END,
            CASE WHEN c.fee > 0 AND c.fee < c.price THEN c.ord END, NULL, NULL
        )::core.transfer_request),
        array_agg(l.lead)
    INTO v_requests, v_leads
    FROM unnest(p_paid) AS c
    CROSS JOIN LATERAL (
        SELECT c.creator_wallet_id AS wallet_id, c.price - c.fee AS amount, 'stream_ticket' AS kind, true AS lead
        WHERE c.fee < c.price
        UNION ALL
        SELECT core._system_wallet('revenue', c_asset, c.viewer_id), c.fee, 'fee', c.fee = c.price
        WHERE c.fee > 0
    ) AS l;
    v_results := core._post_transfers(v_requests);
    IF cardinality(v_results) > cardinality(p_paid) THEN
        SELECT array_agg(r.result) INTO v_results
        FROM (SELECT v_results[g.i] AS result FROM generate_subscripts(v_results, 1) AS g (i) WHERE v_leads[g.i]) AS r;
    END IF;
    v_now := clock_timestamp();

    -- Free tickets come last: there are no results for them. A paid one has the id of its payment, as a tip has.
    SELECT array_agg(
        CASE
            WHEN t.error_code IS NOT NULL
                THEN ROW(t.ord, NULL, NULL, NULL, NULL, false, t.error_code, t.error, t.detail)::api.ticket_outcome
            WHEN t.price = 0
                THEN ROW(t.ord, core.uuid7(), 0, NULL, v_now, false, NULL, NULL, NULL)::api.ticket_outcome
            ELSE ROW(
                t.ord, t.transfer_id, t.price, t.from_balance - CASE WHEN t.fee < t.price THEN t.fee ELSE 0 END, t.created_at,
                false, NULL, NULL, NULL
            )::api.ticket_outcome
        END
    )
    INTO v_outcomes
    FROM ROWS FROM (unnest(v_sales), unnest(v_results)) AS t (
        ord, viewer_id, stream_id, creator_id, idempotency_key, request_hash, price, fee, viewer_wallet_id, creator_wallet_id,
        ticket_id, refusal, turn, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed,
        error_code, error, detail
    );

    INSERT INTO core.tickets (id, stream_id, viewer_id, price, platform_fee, transfer_id, created_at)
    SELECT t.id, t.stream_id, t.viewer_id, t.price, t.fee, CASE WHEN t.price > 0 THEN t.id END, t.created_at
    FROM ROWS FROM (unnest(v_sales), unnest(v_outcomes)) AS t (
        ord, viewer_id, stream_id, creator_id, idempotency_key, request_hash, price, fee, viewer_wallet_id, creator_wallet_id,
        ticket_id, refusal, turn, told_ord, id, told_price, new_balance, created_at, replayed, error_code, error, detail
    )
    WHERE t.error_code IS NULL;

    UPDATE core.streams AS s SET seats_sold = s.seats_sold + n.tickets
    FROM (
        SELECT c.stream_id, count(*)::integer AS tickets
        FROM ROWS FROM (unnest(v_sales), unnest(v_outcomes)) AS c (
            ord, viewer_id, stream_id, creator_id, idempotency_key, request_hash, price, fee, viewer_wallet_id,
            creator_wallet_id, ticket_id, refusal, turn, told_ord, id, told_price, new_balance, created_at, replayed,
            error_code, error, detail
        )
        WHERE c.error_code IS NULL
        GROUP BY c.stream_id
    ) AS n
    WHERE s.id = n.stream_id;

    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'ticket.sold', ARRAY['creator:' || t.creator_id::text, 'user:' || t.viewer_id::text, 'stream:' || t.stream_id::text],
        jsonb_build_object(
            'ticket_id', t.id, 'stream_id', t.stream_id, 'creator_id', t.creator_id, 'viewer_id', t.viewer_id, 'price', t.price,
            'created_at', t.created_at
        )
    FROM ROWS FROM (unnest(v_sales), unnest(v_outcomes)) AS t (
        ord, viewer_id, stream_id, creator_id, idempotency_key, request_hash, price, fee, viewer_wallet_id, creator_wallet_id,
        ticket_id, refusal, turn, told_ord, id, told_price, new_balance, created_at, replayed, error_code, error, detail
    )
    WHERE t.error_code IS NULL;

    PERFORM core._store_result(t.viewer_id, t.idempotency_key, t.request_hash, jsonb_build_object('ticket_id', t.id))
    FROM ROWS FROM (unnest(p_free), unnest(v_outcomes[cardinality(v_sales) - cardinality(p_free) + 1:])) AS t (
        ord, viewer_id, stream_id, creator_id, idempotency_key, request_hash, price, fee, viewer_wallet_id, creator_wallet_id,
        ticket_id, refusal, turn, told_ord, id, told_price, new_balance, created_at, replayed, error_code, error, detail
    );
    RETURN v_outcomes;
END;
$$;

ALTER FUNCTION core._sell_tickets(p_paid core.ticket_case[], p_free core.ticket_case[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._sell_tickets(p_paid core.ticket_case[], p_free core.ticket_case[]) IS 'Sells the tickets that cost something (p_paid), then the free ones (p_free); one outcome each, in this order.';

CREATE FUNCTION core._set_wallet(p_wallet uuid, p_action text, p_status text, p_minimum bigint, p_reason text, p_actor uuid) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_wallet core.wallets;
BEGIN
    PERFORM core._check_admin(p_actor);
    PERFORM core._check_reason(p_reason);
    PERFORM core._lock_wallets(ARRAY[p_wallet]);
    PERFORM core._expire_holds(ARRAY[p_wallet]);
    SELECT w.* INTO v_wallet FROM core.wallets AS w WHERE w.id = p_wallet;
    IF v_wallet.id IS NULL THEN
        PERFORM core._raise('TS210', 'WALLET_NOT_FOUND', jsonb_build_object('wallet_id', p_wallet), 'Nothing was changed.');
    ELSIF v_wallet.status = coalesce(p_status, v_wallet.status) AND v_wallet.minimum = coalesce(p_minimum, v_wallet.minimum) THEN
        RETURN;
    ELSIF v_wallet.status = 'closed' THEN
        PERFORM core._raise('TS311', 'WALLET_CLOSED', jsonb_build_object('wallet_id', p_wallet), 'A closed wallet stays closed.');
    ELSIF p_status = 'closed' AND v_wallet.purpose IN ('issuance', 'revenue', 'rewards', 'payout_clearing') THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'wallet_id', 'purpose', v_wallet.purpose::text),
            'The system cannot do without this wallet.'
        );
    ELSIF p_status = 'closed' AND (v_wallet.balance, v_wallet.held, v_wallet.debt) <> (0, 0, 0) THEN
        PERFORM core._raise(
            'TS323', 'WALLET_NOT_EMPTY',
            jsonb_build_object('wallet_id', p_wallet, 'balance', v_wallet.balance, 'held', v_wallet.held, 'debt', v_wallet.debt),
            'Move what is in it, and release what is held, first.'
        );
    ELSIF p_minimum IS NOT NULL AND p_minimum NOT BETWEEN -9000000000000000000 AND 1000000000000000 THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'minimum'), 'Nothing was changed.');
    ELSIF v_wallet.balance - v_wallet.held < p_minimum THEN
        PERFORM core._raise(
            'TS401', 'INSUFFICIENT_TOKENS',
            jsonb_build_object(
                'required', p_minimum, 'current', v_wallet.balance - v_wallet.held,
                'shortfall', p_minimum - v_wallet.balance + v_wallet.held, 'asset', v_wallet.asset
            ),
            'The wallet has less than its new minimum.'
        );
    END IF;
    UPDATE core.wallets AS w
    SET
        status = coalesce(p_status, w.status), minimum = coalesce(p_minimum, w.minimum),
        debt = CASE WHEN w.debt > 0 THEN greatest(0, coalesce(p_minimum, w.minimum) + w.held - w.balance) ELSE 0 END
    WHERE w.id = p_wallet;
    IF p_status IS NULL THEN
        PERFORM core._wallet_event(p_wallet);
    ELSE
        INSERT INTO core.outbox (type, channels, payload)
        VALUES (
            CASE p_status WHEN 'active' THEN 'wallet.unfrozen' WHEN 'closed' THEN 'wallet.closed' ELSE 'wallet.frozen' END,
            core._user_channels(v_wallet.owner_id, NULL) || 'ops'::text,
            jsonb_build_object(
                'wallet_id', p_wallet, 'owner_id', v_wallet.owner_id, 'asset', v_wallet.asset, 'status', p_status,
                'status_before', v_wallet.status
            )
        );
    END IF;
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (
        p_actor, p_action, p_wallet,
        jsonb_strip_nulls(jsonb_build_object(
            'reason', p_reason, 'status', p_status, 'status_before', CASE WHEN p_status IS NOT NULL THEN v_wallet.status END,
            'minimum', p_minimum, 'minimum_before', CASE WHEN p_minimum IS NOT NULL THEN v_wallet.minimum END
        ))
    );
END;
$$;

ALTER FUNCTION core._set_wallet(p_wallet uuid, p_action text, p_status text, p_minimum bigint, p_reason text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._set_wallet(p_wallet uuid, p_action text, p_status text, p_minimum bigint, p_reason text, p_actor uuid) IS 'Sets status or minimum of a wallet (NULL: as it is), with a reason, and writes it to the audit log.';

CREATE FUNCTION core._settle_call(p_call core.calls, p_now timestamp with time zone, p_actor uuid) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_outcome api.meter_outcome;
BEGIN
    LOOP
        SELECT m.* INTO v_outcome FROM core._meter_calls(ARRAY[p_call.id], p_now, true) AS m;
        IF v_outcome.end_reason IS NOT NULL THEN
            RETURN false;
        END IF;
        EXIT WHEN coalesce(v_outcome.blocks_paid, 0) = 0;
    END LOOP;
    UPDATE core.call_clocks AS k
    SET
        fan_seen_at = CASE WHEN p_actor = p_call.fan_id THEN greatest(k.fan_seen_at, p_now) ELSE k.fan_seen_at END,
        creator_seen_at = CASE WHEN p_actor = p_call.creator_id THEN greatest(k.creator_seen_at, p_now) ELSE k.creator_seen_at END
    WHERE k.call_id = p_call.id AND p_actor IS NOT NULL;
    RETURN true;
END;
$$;

ALTER FUNCTION core._settle_call(p_call core.calls, p_now timestamp with time zone, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._settle_call(p_call core.calls, p_now timestamp with time zone, p_actor uuid) IS 'Brings a locked call up to p_now, as if it stopped then; whether it still goes on. p_actor, one of its people, counts as seen.';

CREATE FUNCTION core._share_payout_account(p_account uuid, p_user uuid) RETURNS core.payout_accounts
    LANGUAGE sql
    AS $$
    SELECT a.* FROM core.payout_accounts AS a WHERE a.id = p_account AND a.user_id = p_user FOR SHARE
$$;

ALTER FUNCTION core._share_payout_account(p_account uuid, p_user uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._share_payout_account(p_account uuid, p_user uuid) IS 'The account, if it is the user''s, removed or not; whoever removes it waits.';

CREATE FUNCTION core._shut_partition(p_partition text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    EXECUTE format('REVOKE ALL ON core.%I FROM tessera_ledger, tessera_app, tessera_scheduler', p_partition);
    EXECUTE format('GRANT SELECT ON core.%I TO tessera_ledger', p_partition);
    EXECUTE format('REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON core.%I FROM tessera_owner', p_partition);
    EXECUTE format(
        'CREATE OR REPLACE TRIGGER guard_partition BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON core.%I'
        ' FOR EACH STATEMENT EXECUTE FUNCTION core._guard_partition()', p_partition
    );
END;
$$;

ALTER FUNCTION core._shut_partition(p_partition text) OWNER TO tessera_owner;

COMMENT ON FUNCTION core._shut_partition(p_partition text) IS 'Takes away every way to write to a partition but through its table.';

CREATE FUNCTION core._snapshot_of_others() RETURNS pg_snapshot
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    SELECT (
        pg_snapshot_xmin(s.now)::text || ':' || pg_snapshot_xmax(s.now)::text || ':'
        || coalesce(
            (
                SELECT string_agg(u.xid::text, ',' ORDER BY u.xid)
                FROM (
                    SELECT x.xid FROM pg_snapshot_xip(s.now) AS x (xid)
                    UNION
                    SELECT s.own WHERE s.own < pg_snapshot_xmax(s.now)
                ) AS u
            ), ''
        )
    )::pg_snapshot
    FROM (SELECT pg_current_snapshot() AS now, pg_current_xact_id() AS own) AS s
$$;

ALTER FUNCTION core._snapshot_of_others() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._snapshot_of_others() IS 'pg_current_snapshot() with the calling transaction among those in progress: what it writes later is then not taken for seen.';

CREATE FUNCTION core._store_result(p_actor uuid, p_key text, p_hash bytea, p_result jsonb) RETURNS void
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF p_key IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO core.idempotency_keys (actor_id, key, created_at, request_hash, result)
    VALUES (coalesce(p_actor, core._database_actor()), p_key, clock_timestamp(), p_hash, p_result)
    ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO NOTHING;
    IF NOT FOUND THEN
        PERFORM core._raise(
            'TS301', 'IDEMPOTENCY_KEY_REUSED', jsonb_build_object('idempotency_key', p_key),
            'Use a new key for a new request.'
        );
    END IF;
END;
$$;

ALTER FUNCTION core._store_result(p_actor uuid, p_key text, p_hash bytea, p_result jsonb) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._store_result(p_actor uuid, p_key text, p_hash bytea, p_result jsonb) IS 'Stores a result under a key; nothing where p_key is NULL. See core._stored_result.';

CREATE FUNCTION core._stored_result(p_actor uuid, p_key text, p_hash bytea) RETURNS jsonb
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_key core.idempotency_keys;
BEGIN
    IF p_key IS NULL THEN
        RETURN NULL;
    ELSIF octet_length(p_key) NOT BETWEEN 1 AND 255 THEN
        PERFORM core._raise(
            'TS106', 'IDEMPOTENCY_KEY_INVALID', jsonb_build_object('bytes', octet_length(p_key), 'maximum_bytes', 255),
            'Use 1 to 255 bytes.'
        );
    END IF;
    SELECT k.* INTO v_key
    FROM core.idempotency_keys AS k
    WHERE k.actor_id = coalesce(p_actor, core._database_actor()) AND k.key = p_key;
    IF v_key.key IS NULL THEN
        RETURN NULL;
    ELSIF v_key.request_hash <> p_hash THEN
        PERFORM core._raise(
            'TS301', 'IDEMPOTENCY_KEY_REUSED', jsonb_build_object('idempotency_key', p_key),
            'Use a new key for a new request.'
        );
    END IF;
    RETURN coalesce(v_key.result, jsonb_build_object('transfer_id', v_key.transfer_id));
END;
$$;

ALTER FUNCTION core._stored_result(p_actor uuid, p_key text, p_hash bytea) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._stored_result(p_actor uuid, p_key text, p_hash bytea) IS 'The result stored with the key p_key of p_actor (or of this database login), if the request is the same; NULL when the key is new or NULL.';

CREATE FUNCTION core._stream_event(p_type text, p_stream uuid) RETURNS void
    LANGUAGE sql
    AS $$
    INSERT INTO core.outbox (type, channels, payload)
    SELECT p_type, ARRAY['creator:' || s.creator_id::text, 'stream:' || s.id::text], to_jsonb(v)
    FROM core.streams AS s
    INNER JOIN api.streams AS v ON v.stream_id = s.id
    WHERE s.id = p_stream
$$;

ALTER FUNCTION core._stream_event(p_type text, p_stream uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._stream_event(p_type text, p_stream uuid) IS 'Writes the event p_type with the stream as it is now.';

CREATE FUNCTION core._stream_fault(p_title text, p_visibility text, p_ticket_price bigint, p_seats integer, p_starts_at timestamp with time zone, p_sales_from timestamp with time zone, p_sales_to timestamp with time zone) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE
        WHEN (octet_length(btrim(p_title)) BETWEEN 1 AND 200 AND p_title ~ '\S') IS NOT TRUE THEN 'title'
        WHEN (p_visibility IN ('public', 'private')) IS NOT TRUE THEN 'visibility'
        WHEN (p_ticket_price BETWEEN 0 AND 1000000000) IS NOT TRUE THEN 'ticket_price'
        WHEN p_seats NOT BETWEEN 1 AND 10000000 THEN 'seats'
        WHEN p_starts_at NOT BETWEEN '2000-01-01 00:00:00+00' AND '9999-12-30 00:00:00+00' THEN 'starts_at'
        WHEN p_sales_from NOT BETWEEN '2000-01-01 00:00:00+00' AND '9999-12-30 00:00:00+00' THEN 'sales_from'
        WHEN
            p_sales_to NOT BETWEEN '2000-01-01 00:00:00+00' AND '9999-12-30 00:00:00+00' OR p_sales_to <= p_sales_from
            THEN 'sales_to'
    END
$$;

ALTER FUNCTION core._stream_fault(p_title text, p_visibility text, p_ticket_price bigint, p_seats integer, p_starts_at timestamp with time zone, p_sales_from timestamp with time zone, p_sales_to timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._stream_fault(p_title text, p_visibility text, p_ticket_price bigint, p_seats integer, p_starts_at timestamp with time zone, p_sales_from timestamp with time zone, p_sales_to timestamp with time zone) IS 'The name of the first field that will not do; NULL when all do.';

CREATE FUNCTION core._system_wallet(p_purpose text, p_asset text, p_for uuid) RETURNS uuid
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    v_ids uuid[];
BEGIN
    SELECT array_agg(w.id ORDER BY w.shard)
    INTO v_ids
    FROM core.wallets AS w
    WHERE w.owner_id IS NULL AND w.purpose = p_purpose AND w.asset = p_asset;
    IF v_ids IS NULL THEN
        PERFORM core._raise(
            'TS213', 'ASSET_NOT_FOUND', jsonb_build_object('asset', p_asset, 'purpose', p_purpose),
            'No system wallet of this purpose holds this asset.'
        );
    END IF;
    RETURN v_ids[1 + get_byte(uuid_send(p_for), 15) % cardinality(v_ids)];
END;
$$;

ALTER FUNCTION core._system_wallet(p_purpose text, p_asset text, p_for uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._system_wallet(p_purpose text, p_asset text, p_for uuid) IS 'The shard of a system wallet that is used on behalf of the row with this id.';

CREATE FUNCTION core._take_payout(p_payout core.payouts, p_account core.payout_accounts) RETURNS text
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_clearing CONSTANT uuid := core._system_wallet('payout_clearing', 'TOKEN', p_payout.id);
    v_payout core.payouts;
    v_hold core.holds;
    v_refusal text;
    v_receipt api.hold_receipt;
BEGIN
    PERFORM core._lock_wallets(ARRAY[p_payout.wallet_id, v_clearing]);
    PERFORM core._expire_holds(ARRAY[p_payout.wallet_id]);
    SELECT h.* INTO v_hold FROM core.holds AS h WHERE h.id = p_payout.hold_id;
    IF v_hold.status <> 'open' THEN
        UPDATE core.payouts AS p
        SET status = 'cancelled', reason = 'not_sent_in_time', closed_at = clock_timestamp(), next_at = NULL
        WHERE p.id = p_payout.id
        RETURNING p.* INTO v_payout;
        PERFORM core._payout_event('payout.cancelled', v_payout);
        RETURN v_payout.reason;
    ELSIF p_payout.status = 'held' THEN
        -- due by a clock that has run on a little faster than that of its hold
        UPDATE core.payouts AS p SET next_at = v_hold.expires_at + interval '1 second' WHERE p.id = p_payout.id;
        RETURN p_payout.reason;
    END IF;
    v_refusal := CASE
        WHEN (SELECT u.status FROM core.users AS u WHERE u.id = p_payout.user_id) <> 'active' THEN 'user_suspended'
        WHEN (SELECT w.debt FROM core.wallets AS w WHERE w.id = p_payout.wallet_id) > 0 THEN 'debt'
        WHEN p_account.removed_at IS NOT NULL THEN 'account_removed'
    END;
    IF v_refusal IS NULL THEN
        BEGIN
            -- first: the hold of a payout that waits is nobody's to capture
            UPDATE core.payouts AS p
            SET
                status = 'processing', reason = NULL, processing_at = clock_timestamp(),
                transfer_id = '00000000-0000-0000-0000-000000000000',
                next_at = CASE WHEN p.provider <> 'manual' THEN p.next_at END
            WHERE p.id = p_payout.id;
            v_receipt := api.capture_hold(p_payout.hold_id, v_clearing);
            UPDATE core.payouts AS p
            SET transfer_id = v_receipt.transfer_id
            WHERE p.id = p_payout.id
            RETURNING p.* INTO v_payout;
            PERFORM core._payout_event('payout.processing', v_payout);
            RETURN NULL;
        EXCEPTION
            WHEN OTHERS THEN
                -- whatever the ledger has against it: it must not stand in the way of those behind it
                IF sqlstate NOT LIKE 'TS%' THEN
                    RAISE;
                END IF;
                v_refusal := lower(sqlerrm);
        END;
    END IF;
    UPDATE core.payouts AS p
    SET status = 'held', reason = v_refusal, next_at = v_hold.expires_at
    WHERE p.id = p_payout.id
    RETURNING p.* INTO v_payout;
    PERFORM core._payout_event('payout.held', v_payout);
    RETURN v_refusal;
END;
$$;

ALTER FUNCTION core._take_payout(p_payout core.payouts, p_account core.payout_accounts) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._take_payout(p_payout core.payouts, p_account core.payout_accounts) IS 'Captures the hold of a requested payout into payout_clearing and lets it be processing; NULL. Or why not: user_suspended, debt, account_removed, wallet_frozen, wallet_closed, velocity_limit… and it is held; not_sent_in_time, and it is cancelled.';

CREATE FUNCTION core._take_room(p_rooms bigint[], p_rules core.velocity_rules, p_place integer, p_request core.transfer_request, p_sign integer) RETURNS bigint[]
    LANGUAGE plpgsql IMMUTABLE
    AS $$
DECLARE
    v_rooms bigint[] := p_rooms;
    v_count CONSTANT integer := cardinality(p_rules.rules);
    v_at integer;
    v_need bigint;
BEGIN
    FOR v_r IN 1..v_count LOOP
        CONTINUE WHEN p_rules.scopes[v_r] <> p_request.kind OR p_rules.assets[v_r] <> p_request.asset;
        v_at := (p_place - 1) * v_count + v_r;
        v_need := CASE WHEN p_rules.counted[v_r] THEN 1 ELSE p_request.amount END;
        CONTINUE WHEN v_rooms[v_at] = 9223372036854775807;
        IF p_sign > 0 AND v_rooms[v_at] < v_need THEN
            RETURN NULL;
        END IF;
        v_rooms[v_at] := v_rooms[v_at] - p_sign * v_need;
    END LOOP;
    RETURN v_rooms;
END;
$$;

ALTER FUNCTION core._take_room(p_rooms bigint[], p_rules core.velocity_rules, p_place integer, p_request core.transfer_request, p_sign integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._take_room(p_rooms bigint[], p_rules core.velocity_rules, p_place integer, p_request core.transfer_request, p_sign integer) IS 'The rooms of core._velocity_rooms after a payment by the wallet at p_place (p_sign 1) or after taking it back (-1); NULL when it does not fit.';

CREATE FUNCTION core._tell_of_job() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
    INSERT INTO core.outbox (type, channels, payload)
    VALUES (
        CASE WHEN NEW.failures_in_a_row > 0 THEN 'job.failed' ELSE 'job.recovered' END, ARRAY['ops'],
        jsonb_build_object(
            'job', NEW.job, 'outcome', NEW.outcome, 'failures_in_a_row', greatest(NEW.failures_in_a_row, OLD.failures_in_a_row),
            'last_error', NEW.last_error, 'last_success_at', NEW.last_success_at, 'finished_at', NEW.finished_at
        )
    );
    RETURN NULL;
END;
$$;

ALTER FUNCTION core._tell_of_job() OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._tell_of_job() IS 'Trigger: events job.failed at the third failure in a row of a job, job.recovered at the first success after that.';

CREATE FUNCTION core._ticket_cases(p_tickets api.ticket_request[], p_pending integer[], p_fee_bps numeric, p_creators uuid[]) RETURNS SETOF core.ticket_case
    LANGUAGE sql STABLE
    AS $$
    SELECT
        d.ord, d.viewer_id, d.stream_id, d.creator_id, d.idempotency_key, d.request_hash, d.price,
        CASE WHEN p_fee_bps > 0 THEN floor(d.price * p_fee_bps / 10000)::bigint ELSE 0 END,
        d.viewer_wallet_id, d.creator_wallet_id, d.kept_id, d.refusal,
        NOT d.waits AND NOT (d.open AND bool_or(d.waits) OVER (PARTITION BY d.viewer_id ORDER BY d.ord))
    FROM (
        SELECT
            n.*,
            (
                n.open AND (
                    coalesce(sum(n.able) OVER (PARTITION BY n.stream_id ORDER BY n.ord) - n.able >= n.seats_left, false)
                    OR sum(n.able) OVER (PARTITION BY n.viewer_id, n.stream_id ORDER BY n.ord) > n.able
                )
            ) OR (
                n.idempotency_key IS NOT NULL
                AND sum(n.able) OVER (PARTITION BY n.viewer_id, n.idempotency_key ORDER BY n.ord) > n.able
            ) AS waits
        FROM (
            SELECT
                c.*,
                c.kept_id IS NULL AND (c.refusal).error_code IS NULL AS open,
                (
                    c.kept_id IS NULL AND (c.refusal).error_code IS NULL
                    AND (p_creators IS NULL OR c.can_pay OR c.price = 0 OR c.viewer_id = ANY (p_creators)) IS TRUE
                )::integer AS able
            FROM (
                SELECT
                    r.ord::integer AS ord, r.viewer_id, r.stream_id, r.idempotency_key, h.request_hash, s.creator_id,
                    s.ticket_price AS price, s.seats - s.seats_sold AS seats_left, vw.id AS viewer_wallet_id,
                    cw.id AS creator_wallet_id,
                    vw.status = 'active' AND vw.balance - vw.minimum >= s.ticket_price
                    AND (p_fee_bps = 10000 OR cw.status IN ('active', 'debits_frozen')) AS can_pay,
                    CASE WHEN k.request_hash = h.request_hash THEN t.id END AS kept_id,
                    CASE
                        WHEN octet_length(r.idempotency_key) NOT BETWEEN 1 AND 255
                            THEN ROW('TS106', 'IDEMPOTENCY_KEY_INVALID', jsonb_build_object('bytes', octet_length(r.idempotency_key), 'maximum_bytes', 255))::core.refusal
                        WHEN k.request_hash <> h.request_hash THEN core._key_reused(r.idempotency_key)
                        WHEN u.status IS NULL
                            THEN ROW('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', r.viewer_id))::core.refusal
                        WHEN u.status <> 'active'
                            THEN ROW('TS502', 'USER_SUSPENDED', jsonb_build_object('user_id', r.viewer_id))::core.refusal
                        WHEN s.ticket_price IS NULL
                            THEN ROW('TS218', 'STREAM_NOT_FOUND', jsonb_build_object('stream_id', r.stream_id))::core.refusal
                        WHEN s.creator_id = r.viewer_id
                            THEN ROW('TS111', 'OWN_STREAM', jsonb_build_object('stream_id', r.stream_id))::core.refusal
                        WHEN t.id IS NOT NULL
                            THEN ROW('TS325', 'TICKET_ALREADY_PURCHASED', jsonb_build_object('stream_id', r.stream_id, 'ticket_id', t.id))::core.refusal
                        WHEN s.closed IS NOT NULL
                            THEN ROW('TS327', 'SALES_CLOSED', jsonb_build_object('stream_id', r.stream_id, 'reason', s.closed))::core.refusal
                        WHEN s.seats_sold >= s.seats
                            THEN ROW('TS326', 'SOLD_OUT', jsonb_build_object('stream_id', r.stream_id, 'seats', s.seats))::core.refusal
                    END AS refusal
                FROM unnest(p_tickets) WITH ORDINALITY AS r (viewer_id, stream_id, idempotency_key, ord)
                CROSS JOIN LATERAL (
                    SELECT core._request_hash(r.idempotency_key, record_send(ROW('ticket'::text, r.viewer_id, r.stream_id)))
                    OFFSET 0
                ) AS h (request_hash)
                -- LIMIT: a plain join, planned while the tables are small, reads all of one; and a session keeps its plans
                LEFT JOIN LATERAL (SELECT x.status FROM core.users AS x WHERE x.id = r.viewer_id LIMIT 1) AS u ON true
                LEFT JOIN LATERAL (
                    SELECT
                        x.creator_id, x.ticket_price, x.seats, x.seats_sold,
                        CASE
                            WHEN x.cancelled_at IS NOT NULL THEN 'cancelled'
                            WHEN x.status = 'ended' THEN 'ended'
                            WHEN x.visibility = 'public' THEN 'public_stream'
                            -- who is suspended cannot start it
                            WHEN (SELECT o.status FROM core.users AS o WHERE o.id = x.creator_id LIMIT 1) IS DISTINCT FROM 'active'
                                THEN 'creator_suspended'
                            WHEN x.sales_from > clock_timestamp() THEN 'not_yet'
                            WHEN x.sales_to <= clock_timestamp() THEN 'over'
                        END AS closed
                    FROM core.streams AS x
                    WHERE x.id = r.stream_id
                    LIMIT 1
                ) AS s ON true
                LEFT JOIN LATERAL (
                    SELECT x.request_hash FROM core.idempotency_keys AS x
                    WHERE x.actor_id = r.viewer_id AND x.key = r.idempotency_key LIMIT 1
                ) AS k ON true
                LEFT JOIN LATERAL (
                    SELECT x.id FROM core.tickets AS x WHERE x.stream_id = r.stream_id AND x.viewer_id = r.viewer_id LIMIT 1
                ) AS t ON true
                LEFT JOIN LATERAL (
                    SELECT w.id, w.status, w.balance, w.minimum FROM core.wallets AS w
                    WHERE w.owner_id = r.viewer_id AND w.asset = 'TOKEN' LIMIT 1
                ) AS vw ON true
                LEFT JOIN LATERAL (
                    SELECT w.id, w.status FROM core.wallets AS w WHERE w.owner_id = s.creator_id AND w.asset = 'TOKEN' LIMIT 1
                ) AS cw ON true
                WHERE p_pending IS NULL OR r.ord = ANY (p_pending)
                OFFSET 0
            ) AS c
        ) AS n
    ) AS d
    ORDER BY d.ord
$$;

ALTER FUNCTION core._ticket_cases(p_tickets api.ticket_request[], p_pending integer[], p_fee_bps numeric, p_creators uuid[]) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._ticket_cases(p_tickets api.ticket_request[], p_pending integer[], p_fee_bps numeric, p_creators uuid[]) IS 'The requests at positions p_pending (NULL: all), each with stream, price, fee, wallets, and what speaks against it. p_creators: who may get tokens by these requests; NULL while the wallets are not locked, so that anybody may be able to pay.';

CREATE FUNCTION core._tip_call_refusal(p_call uuid, p_creator uuid, p_sender uuid) RETURNS core.refusal
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$
DECLARE
    v_call core.calls;
BEGIN
    SELECT c.* INTO v_call FROM core.calls AS c WHERE c.id = p_call;
    IF v_call.id IS NULL THEN
        RETURN ROW('TS219', 'CALL_NOT_FOUND', jsonb_build_object('call_id', p_call))::core.refusal;
    ELSIF v_call.fan_id <> p_sender THEN
        RETURN ROW('TS508', 'NOT_CALL_PARTICIPANT', jsonb_build_object('call_id', p_call))::core.refusal;
    ELSIF v_call.creator_id <> p_creator THEN
        RETURN ROW('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'context', 'call_id', p_call))::core.refusal;
    END IF;
    RETURN NULL;
END;
$$;

ALTER FUNCTION core._tip_call_refusal(p_call uuid, p_creator uuid, p_sender uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._tip_call_refusal(p_call uuid, p_creator uuid, p_sender uuid) IS 'The refusal of a tip whose call is not there, not the sender''s, or with somebody else than the creator who is tipped; NULL when it is theirs.';

CREATE FUNCTION core._tip_fee(p_tip uuid) RETURNS bigint
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    RETURN (SELECT t.platform_fee FROM core.tips AS t WHERE t.id = p_tip);
END;
$$;

ALTER FUNCTION core._tip_fee(p_tip uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._tip_fee(p_tip uuid) IS 'The platform''s fee of a tip, in tokens.';

CREATE FUNCTION core._tip_stream_refusal(p_stream uuid, p_creator uuid) RETURNS core.refusal
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$
DECLARE
    v_creator uuid := (SELECT s.creator_id FROM core.streams AS s WHERE s.id = p_stream);
BEGIN
    IF v_creator IS NULL THEN
        RETURN ROW('TS218', 'STREAM_NOT_FOUND', jsonb_build_object('stream_id', p_stream))::core.refusal;
    ELSIF v_creator <> p_creator THEN
        RETURN ROW('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'context', 'stream_id', p_stream))::core.refusal;
    END IF;
    RETURN NULL;
END;
$$;

ALTER FUNCTION core._tip_stream_refusal(p_stream uuid, p_creator uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._tip_stream_refusal(p_stream uuid, p_creator uuid) IS 'The refusal of a tip whose stream is not there or somebody else''s than the creator who is tipped; NULL when it is theirs.';

CREATE FUNCTION core._transfer_payload(p_transfer_id uuid, p_from_wallet_id uuid, p_to_wallet_id uuid, p_amount bigint, p_asset text, p_kind text, p_reference text, p_created_at timestamp with time zone) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT jsonb_build_object(
        'transfer_id', p_transfer_id, 'from_wallet_id', p_from_wallet_id, 'to_wallet_id', p_to_wallet_id,
        'amount', p_amount, 'asset', p_asset, 'kind', p_kind, 'reference', p_reference, 'created_at', p_created_at
    )
$$;

ALTER FUNCTION core._transfer_payload(p_transfer_id uuid, p_from_wallet_id uuid, p_to_wallet_id uuid, p_amount bigint, p_asset text, p_kind text, p_reference text, p_created_at timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._transfer_payload(p_transfer_id uuid, p_from_wallet_id uuid, p_to_wallet_id uuid, p_amount bigint, p_asset text, p_kind text, p_reference text, p_created_at timestamp with time zone) IS 'Payload of the events transfer.posted and transfer.refunded (with the original). Names no balance: both sides get it.';

CREATE FUNCTION core._transfer_rows(p_from uuid, p_to uuid) RETURNS TABLE(id uuid, from_wallet_id uuid, from_seq bigint, from_balance bigint, to_wallet_id uuid, to_seq bigint, to_balance bigint, amount bigint, asset text, kind text, reference text, metadata text, actor_id uuid, db_user text, event_at timestamp with time zone, created_at timestamp with time zone)
    LANGUAGE sql STABLE
    AS $$
    SELECT
        t.id, t.from_wallet_id, t.from_seq::bigint, f.balance, t.to_wallet_id, t.to_seq::bigint, c.balance,
        t.amount::bigint, t.asset, t.kind, t.reference, t.metadata::text, t.actor_id, t.db_user, t.event_at, t.created_at
    FROM core.transfers AS t
    LEFT JOIN core.entries AS f
        ON f.wallet_id = t.from_wallet_id AND f.seq = t.from_seq AND f.transfer_id = t.id
        AND f.transfer_id >= p_from AND f.transfer_id < p_to
        AND f.amount::bigint = - t.amount::bigint AND f.created_at = t.created_at
    LEFT JOIN core.entries AS c
        ON c.wallet_id = t.to_wallet_id AND c.seq = t.to_seq AND c.transfer_id = t.id
        AND c.transfer_id >= p_from AND c.transfer_id < p_to
        AND c.amount::bigint = t.amount::bigint AND c.created_at = t.created_at
    WHERE t.id >= p_from AND t.id < p_to
$$;

ALTER FUNCTION core._transfer_rows(p_from uuid, p_to uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._transfer_rows(p_from uuid, p_to uuid) IS 'Transfers with an id from p_from up to p_to, each with the balances of its two entries, in the columns and types that are sealed.';

CREATE FUNCTION core._user_channels(p_first uuid, p_second uuid) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT array_remove(ARRAY['user:' || p_first::text, 'user:' || p_second::text], NULL)
$$;

ALTER FUNCTION core._user_channels(p_first uuid, p_second uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._user_channels(p_first uuid, p_second uuid) IS 'Channels user:<id> of both, leaving out who is NULL (the owner of a system wallet).';

CREATE FUNCTION core._uuid_floor(p_at timestamp with time zone) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (encode((int8send((((floor((EXTRACT(epoch FROM p_at) * (1000)::numeric)))::bigint << 16) | (28672)::bigint)) || '\x8000000000000000'::bytea), 'hex'::text))::uuid;

ALTER FUNCTION core._uuid_floor(p_at timestamp with time zone) OWNER TO tessera_owner;

COMMENT ON FUNCTION core._uuid_floor(p_at timestamp with time zone) IS 'The least UUID version 7 of p_at (to the millisecond).';

CREATE FUNCTION core._uuid_at(p_at timestamp with time zone) RETURNS uuid
    LANGUAGE sql PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    RETURN (encode((SUBSTRING(uuid_send(core._uuid_floor(p_at)) FROM 1 FOR 6) || set_byte(SUBSTRING(uuid_send(gen_random_uuid()) FROM 7), 0, (112 + ((random() * (15)::double precision))::integer))), 'hex'::text))::uuid;

ALTER FUNCTION core._uuid_at(p_at timestamp with time zone) OWNER TO tessera_owner;

COMMENT ON FUNCTION core._uuid_at(p_at timestamp with time zone) IS 'A new UUID version 7 of another time than now.';

CREATE FUNCTION core._uuid_time(p_id uuid) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN uuid_extract_timestamp(p_id);

ALTER FUNCTION core._uuid_time(p_id uuid) OWNER TO tessera_owner;

COMMENT ON FUNCTION core._uuid_time(p_id uuid) IS 'When a UUID version 7 was made, to the millisecond.';

CREATE FUNCTION core._velocity_refusal(p_rooms bigint[], p_rules core.velocity_rules, p_place integer, p_request core.transfer_request, p_now timestamp with time zone) RETURNS core.refusal
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    v_count CONSTANT integer := cardinality(p_rules.rules);
    v_room bigint;
    v_need bigint;
    v_window interval;
    v_ends_at timestamptz;
BEGIN
    FOR v_r IN 1..v_count LOOP
        CONTINUE WHEN p_rules.scopes[v_r] <> p_request.kind OR p_rules.assets[v_r] <> p_request.asset;
        v_room := p_rooms[(p_place - 1) * v_count + v_r];
        v_need := CASE WHEN p_rules.counted[v_r] THEN 1 ELSE p_request.amount END;
        CONTINUE WHEN v_room >= v_need;
        v_window := make_interval(secs => p_rules.seconds[v_r]);
        v_ends_at := date_bin(v_window, p_now, '2000-01-01 00:00:00+00') + v_window;
        RETURN ROW(
            'TS601', 'VELOCITY_LIMIT',
            jsonb_build_object(
                'limit', split_part(p_rules.rules[v_r], '/', 1), 'maximum', p_rules.maxima[v_r],
                'remaining', greatest(0, v_room), 'requested', v_need, 'wallet_id', p_request.from_wallet_id,
                'resets_at', v_ends_at, 'retry_after', ceil(extract(EPOCH FROM v_ends_at - p_now))::integer
            )
        )::core.refusal;
    END LOOP;
    RETURN NULL;
END;
$$;

ALTER FUNCTION core._velocity_refusal(p_rooms bigint[], p_rules core.velocity_rules, p_place integer, p_request core.transfer_request, p_now timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._velocity_refusal(p_rooms bigint[], p_rules core.velocity_rules, p_place integer, p_request core.transfer_request, p_now timestamp with time zone) IS 'TS601 with the limit, what is left of it and when its window ends; NULL when the payment breaks none.';

CREATE FUNCTION core._velocity_rooms(p_wallets uuid[], p_owners uuid[], p_rules core.velocity_rules, p_now timestamp with time zone) RETURNS bigint[]
    LANGUAGE sql STABLE
    AS $$
    SELECT array_agg(
        CASE
            WHEN p_owners[w.place] IS NULL THEN 9223372036854775807
            ELSE r.maximum - coalesce((
                SELECT c.used
                FROM core.velocity_counters AS c
                WHERE
                    c.wallet_id = w.wallet_id AND c.rule = r.rule
                    AND c.since = date_bin(make_interval(secs => r.seconds), p_now, '2000-01-01 00:00:00+00')
            ), 0)
        END
        ORDER BY w.place, r.number
    )
    FROM unnest(p_wallets) WITH ORDINALITY AS w (wallet_id, place)
    CROSS JOIN unnest(p_rules.rules, p_rules.seconds, p_rules.maxima) WITH ORDINALITY AS r (rule, seconds, maximum, number)
$$;

ALTER FUNCTION core._velocity_rooms(p_wallets uuid[], p_owners uuid[], p_rules core.velocity_rules, p_now timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._velocity_rooms(p_wallets uuid[], p_owners uuid[], p_rules core.velocity_rules, p_now timestamp with time zone) IS 'What each wallet may still pay in the current window of each rule, wallet by wallet; system wallets without end.';

CREATE FUNCTION core._velocity_rules(p_at timestamp with time zone) RETURNS core.velocity_rules
    LANGUAGE sql STABLE
    AS $$
    SELECT
        ROW(
            array_agg(concat_ws('/', l.name, coalesce(l.scope, '*'), coalesce(l.asset, '*'))), array_agg(l.scope),
            array_agg(l.asset),
            array_agg(
                CASE WHEN l.name LIKE '%_minute' THEN 60 WHEN l.name LIKE '%_hour' THEN 3600 ELSE 86400 END
            ),
            array_agg(l.name LIKE 'velocity_count%'), array_agg(floor(l.value)::bigint)
        )::core.velocity_rules
    FROM (
        SELECT DISTINCT ON (r.name, r.scope, r.asset) r.name, r.scope, r.asset, r.value
        FROM core.rates AS r
        WHERE
            r.name IN (
                'velocity_amount_minute', 'velocity_amount_hour', 'velocity_amount_day',
                'velocity_count_minute', 'velocity_count_hour', 'velocity_count_day'
            )
            AND r.valid_from <= p_at AND (r.valid_to IS NULL OR r.valid_to > p_at)
        ORDER BY r.name, r.scope, r.asset, r.valid_from DESC
    ) AS l
$$;

ALTER FUNCTION core._velocity_rules(p_at timestamp with time zone) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._velocity_rules(p_at timestamp with time zone) IS 'The rates velocity_{amount,count}_{minute,hour,day} in force at p_at: how much, or how often, a user''s wallet may pay in a window, by kind of transfer (scope) or over all kinds. Amounts in minor units.';

CREATE FUNCTION core._wallet_event(p_wallet uuid) RETURNS void
    LANGUAGE sql
    AS $$
    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'wallet.changed', ARRAY['user:' || w.owner_id::text],
        core._wallet_payload(w.id, w.asset, w.balance, w.held, w.minimum, w.version, 0)
    FROM core.wallets AS w
    WHERE w.id = p_wallet AND w.owner_id IS NOT NULL
$$;

ALTER FUNCTION core._wallet_event(p_wallet uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._wallet_event(p_wallet uuid) IS 'Writes the event wallet.changed with the wallet as it is now, its balance unchanged.';

CREATE FUNCTION core._wallet_payload(p_wallet_id uuid, p_asset text, p_balance bigint, p_held bigint, p_minimum bigint, p_version bigint, p_change bigint) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT jsonb_build_object(
        'wallet_id', p_wallet_id, 'asset', p_asset, 'balance', p_balance, 'held', p_held,
        'spendable', p_balance - p_held - p_minimum, 'version', p_version, 'change', p_change
    )
$$;

ALTER FUNCTION core._wallet_payload(p_wallet_id uuid, p_asset text, p_balance bigint, p_held bigint, p_minimum bigint, p_version bigint, p_change bigint) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._wallet_payload(p_wallet_id uuid, p_asset text, p_balance bigint, p_held bigint, p_minimum bigint, p_version bigint, p_change bigint) IS 'Payload of the event wallet.changed: the wallet as it is now, and by how much its balance is another.';

CREATE FUNCTION core._wallet_rows(p_from uuid, p_to uuid) RETURNS TABLE(id uuid, owner_id uuid, purpose text, asset text, shard bigint, created_at timestamp with time zone)
    LANGUAGE sql STABLE
    AS $$
    SELECT w.id, w.owner_id, w.purpose::text, w.asset, w.shard::bigint, w.created_at
    FROM core.wallets AS w
    WHERE w.id >= p_from AND w.id < p_to
$$;

ALTER FUNCTION core._wallet_rows(p_from uuid, p_to uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._wallet_rows(p_from uuid, p_to uuid) IS 'Wallets with an id from p_from up to p_to: whose they are, and of what; nothing that changes with use.';

CREATE FUNCTION core._webhook_wait(p_tries integer) RETURNS interval
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT (
        '{00:00:00,00:00:05,00:05:00,00:30:00,02:00:00,05:00:00,10:00:00,14:00:00,20:00:00,24:00:00}'::interval []
    )[p_tries + 1]
$$;

ALTER FUNCTION core._webhook_wait(p_tries integer) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._webhook_wait(p_tries integer) IS 'How long to wait after p_tries attempts before the next one, without jitter; NULL: there is no next one.';

CREATE FUNCTION core._webhook_wants(p_patterns text[], p_type text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT p_patterns && ARRAY['*', p_type, split_part(p_type, '.', 1) || '.*']
$$;

ALTER FUNCTION core._webhook_wants(p_patterns text[], p_type text) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._webhook_wants(p_patterns text[], p_type text) IS 'True where the patterns hold *, the type itself, or its group (call.* for call.ended).';

CREATE FUNCTION core._weigh_payment(p_payment uuid, p_reason text, p_actor uuid) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    v_payment core.payments := (SELECT p FROM core.payments AS p WHERE p.id = p_payment);
    v_refunded CONSTANT bigint := coalesce((
        SELECT sum(r.amount) FROM core.payment_refunds AS r WHERE r.payment_id = p_payment AND r.status <> 'failed'
    ), 0);
    v_disputed CONSTANT bigint := coalesce((
        SELECT sum(d.amount) FROM core.payment_disputes AS d WHERE d.payment_id = p_payment AND d.status <> 'won'
    ), 0);
    v_due bigint := 0;
    v_change bigint;
    v_part bigint;
    v_original record;
    v_moved core.transfer_result;
BEGIN
    IF v_payment.transfer_id IS NOT NULL THEN
        v_due := div(
            v_payment.tokens::numeric * least(v_refunded::numeric + v_disputed, v_payment.amount), v_payment.amount
        );
    END IF;
    v_change := v_due - v_payment.reversed;
    IF v_change < 0 THEN
        PERFORM core._give_tokens(v_payment, - v_change, 'purchase_restored');
    END IF;
    -- newest first; together they always have that much left (auditor: payment_reversed_is_what_moved)
    FOR v_original IN
        SELECT t.transfer_id, t.tokens - coalesce(b.taken, 0) AS rest
        FROM core.payment_transfers AS t
        LEFT JOIN LATERAL (SELECT sum(r.amount) AS taken FROM core.refunds AS r WHERE r.original_id = t.transfer_id) AS b ON true
        WHERE t.payment_id = p_payment AND t.kind <> 'reversal' AND t.tokens > coalesce(b.taken, 0)
        ORDER BY t.transfer_id DESC
    LOOP
        EXIT WHEN v_change <= 0;
        v_part := least(v_change, v_original.rest);
        SELECT m.* INTO v_moved FROM core._give_back(ARRAY[v_original.transfer_id], p_reason, p_actor, ARRAY[v_part]) AS m;
        IF v_moved.error_code IS NOT NULL THEN
            PERFORM core._raise(v_moved.error_code, v_moved.error, v_moved.detail, 'Nothing was taken back.');
        END IF;
        INSERT INTO core.payment_transfers (payment_id, transfer_id, tokens, owed, kind)
        SELECT p_payment, r.transfer_id, r.amount, r.owed, 'reversal' FROM core.refunds AS r WHERE r.transfer_id = v_moved.transfer_id;
        v_change := v_change - v_part;
    END LOOP;
    UPDATE core.payments AS p
    SET
        refunded = v_refunded, disputed = v_disputed, reversed = v_due,
        status = CASE
            WHEN p.transfer_id IS NULL THEN p.status
            WHEN v_disputed > 0 THEN 'disputed'
            WHEN v_refunded >= p.amount THEN 'refunded'
            ELSE 'paid'
        END
    WHERE p.id = p_payment;
    IF v_disputed > v_payment.disputed THEN
        PERFORM core._payment_event('payment.disputed', p_payment);
    ELSIF v_refunded > v_payment.refunded THEN
        PERFORM core._payment_event('payment.refunded', p_payment);
    ELSIF v_disputed < v_payment.disputed OR v_refunded < v_payment.refunded THEN
        PERFORM core._payment_event('payment.restored', p_payment);
    END IF;
END;
$$;

ALTER FUNCTION core._weigh_payment(p_payment uuid, p_reason text, p_actor uuid) OWNER TO tessera_ledger;

COMMENT ON FUNCTION core._weigh_payment(p_payment uuid, p_reason text, p_actor uuid) IS 'Puts a payment, and the tokens its buyer has of it, right by its refunds and disputes: takes back or restores the difference to floor(tokens × min(refunded + disputed, amount) ÷ amount).';

CREATE TABLE core.audit_log (
    id uuid DEFAULT core.uuid7() NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    actor_id uuid,
    db_user text DEFAULT SESSION_USER NOT NULL,
    action text NOT NULL,
    subject_id uuid,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    request_id text DEFAULT NULLIF(current_setting('tessera.request_id'::text, true), ''::text),
    address text DEFAULT NULLIF(current_setting('tessera.address'::text, true), ''::text),
    CONSTRAINT audit_log_action_check CHECK ((action ~ '^[a-z_]+(\.[a-z_]+)+$'::text)),
    CONSTRAINT audit_log_address_check CHECK ((octet_length(address) <= 64)),
    CONSTRAINT audit_log_request_id_check CHECK ((octet_length(request_id) <= 128))
)
PARTITION BY RANGE (id);

ALTER TABLE core.audit_log OWNER TO tessera_owner;

COMMENT ON TABLE core.audit_log IS 'Who did what to whom, where it matters afterwards: rights, keys, suspensions, money made by hand. Append-only.';

COMMENT ON COLUMN core.audit_log.actor_id IS 'The user who did it; NULL when a database user did.';

COMMENT ON COLUMN core.audit_log.subject_id IS 'What it was done to: a user, a key, a wallet.';

CREATE VIEW api.audit_log AS
 SELECT id AS audit_id,
    created_at,
    actor_id,
    db_user,
    action,
    subject_id,
    details,
    request_id,
    address
   FROM core.audit_log l;

ALTER VIEW api.audit_log OWNER TO tessera_owner;

COMMENT ON VIEW api.audit_log IS 'Who did what to what, when, from where. Ids are ordered by time.';

CREATE TABLE core.bans (
    creator_id uuid NOT NULL,
    user_id uuid NOT NULL,
    reason text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT bans_reason_check CHECK (((octet_length(reason) >= 1) AND (octet_length(reason) <= 255))),
    CONSTRAINT bans_somebody_else CHECK ((creator_id <> user_id))
);

ALTER TABLE core.bans OWNER TO tessera_owner;

COMMENT ON TABLE core.bans IS 'Whom a creator has banned from the chats of their streams and from calling them. Written by api.ban_user and api.unban_user.';

CREATE VIEW api.bans AS
 SELECT creator_id,
    user_id,
    reason,
    created_at
   FROM core.bans b;

ALTER VIEW api.bans OWNER TO tessera_owner;

COMMENT ON VIEW api.bans IS 'Whom creators have banned from their chats and from calling them.';

CREATE TABLE core.meter_blocks (
    call_id uuid NOT NULL,
    block_no integer NOT NULL,
    price bigint NOT NULL,
    platform_fee bigint NOT NULL,
    transfer_id uuid NOT NULL,
    fee_transfer_id uuid,
    paid_at timestamp with time zone NOT NULL,
    refunded_at timestamp with time zone,
    CONSTRAINT meter_blocks_block_no_check CHECK ((block_no >= 0)),
    CONSTRAINT meter_blocks_check CHECK (((platform_fee >= 0) AND (platform_fee <= price))),
    CONSTRAINT meter_blocks_price_check CHECK ((price > 0))
);

ALTER TABLE core.meter_blocks OWNER TO tessera_owner;

COMMENT ON TABLE core.meter_blocks IS 'Blocks of calls, each written in the commit of its payment: block n is n × block_us to (n + 1) × block_us of active time.';

COMMENT ON COLUMN core.meter_blocks.transfer_id IS 'The payment to the creator (the fee, where the fee takes all).';

COMMENT ON COLUMN core.meter_blocks.fee_transfer_id IS 'The fee beside it, if there is one.';

COMMENT ON COLUMN core.meter_blocks.refunded_at IS 'Given back, because the call was not seen any more when it began.';

CREATE VIEW api.call_blocks AS
 SELECT call_id,
    block_no,
    price,
    platform_fee,
    transfer_id,
    fee_transfer_id,
    paid_at,
    refunded_at
   FROM core.meter_blocks b;

ALTER VIEW api.call_blocks OWNER TO tessera_owner;

COMMENT ON VIEW api.call_blocks IS 'Paid blocks of calls: block n covers n × block_ms up to (n + 1) × block_ms of active time. Amounts in tokens.';

CREATE TABLE core.entries (
    wallet_id uuid NOT NULL,
    seq core.entry_seq NOT NULL,
    transfer_id uuid NOT NULL,
    amount core.entry_amount NOT NULL,
    balance bigint NOT NULL,
    created_at timestamp with time zone NOT NULL
)
PARTITION BY RANGE (transfer_id);

ALTER TABLE core.entries OWNER TO tessera_owner;

COMMENT ON TABLE core.entries IS 'Two rows a transfer: the debit (negative) and the credit, with the wallet''s running balance. Append-only.';

COMMENT ON COLUMN core.entries.seq IS 'Position in the wallet''s history: 1, 2, 3… without gaps. Unique with the wallet in each partition; over all of them by the wallet''s version, under its lock, and by the auditor.';

COMMENT ON COLUMN core.entries.balance IS 'Balance of the wallet after this entry.';

COMMENT ON COLUMN core.entries.created_at IS 'Never earlier than that of the entry before it in the same wallet.';

CREATE VIEW api.entries AS
 SELECT wallet_id,
    (seq)::bigint AS seq,
    transfer_id,
    (amount)::bigint AS amount,
    balance,
    created_at
   FROM core.entries e;

ALTER VIEW api.entries OWNER TO tessera_owner;

COMMENT ON VIEW api.entries IS 'Two rows a transfer: signed amount and the wallet''s balance after it; seq is 1, 2, 3… in each wallet.';

CREATE VIEW api.holds AS
 SELECT id AS hold_id,
    wallet_id,
    asset,
    amount,
    captured,
    released,
        CASE
            WHEN ((status = 'open'::text) AND (expires_at > now())) THEN ((amount - captured) - released)
            ELSE (0)::bigint
        END AS remaining,
        CASE
            WHEN ((status = 'open'::text) AND (expires_at <= now())) THEN 'expired'::text
            ELSE status
        END AS status,
    kind,
    reference,
    actor_id,
    db_user,
    metadata,
    created_at,
    expires_at,
    closed_at
   FROM core.holds h;

ALTER VIEW api.holds OWNER TO tessera_owner;

COMMENT ON VIEW api.holds IS 'Holds; remaining is what can still be captured, in minor units of the asset. A hold past expires_at shows as expired at once.';

CREATE TABLE core.job_runs (
    job text NOT NULL,
    every_seconds numeric(12,3) NOT NULL,
    process text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone NOT NULL,
    outcome text NOT NULL,
    items bigint,
    seconds numeric(12,3) NOT NULL,
    lag_seconds numeric(15,3),
    failures_in_a_row integer DEFAULT 0 NOT NULL,
    last_error text,
    last_success_at timestamp with time zone,
    next_run_at timestamp with time zone NOT NULL,
    first_run_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT job_runs_every_seconds_check CHECK ((every_seconds > (0)::numeric)),
    CONSTRAINT job_runs_failures CHECK (((outcome = 'done'::text) = (failures_in_a_row = 0))),
    CONSTRAINT job_runs_failures_in_a_row_check CHECK ((failures_in_a_row >= 0)),
    CONSTRAINT job_runs_items CHECK (((outcome = 'done'::text) = (items IS NOT NULL))),
    CONSTRAINT job_runs_job_check CHECK (((octet_length(job) >= 1) AND (octet_length(job) <= 63))),
    CONSTRAINT job_runs_lag_seconds_check CHECK ((lag_seconds >= (0)::numeric)),
    CONSTRAINT job_runs_last_error_check CHECK (((octet_length(last_error) >= 1) AND (octet_length(last_error) <= 255))),
    CONSTRAINT job_runs_order CHECK ((started_at <= finished_at)),
    CONSTRAINT job_runs_outcome_check CHECK ((outcome = ANY (ARRAY['done'::text, 'failed'::text, 'timeout'::text]))),
    CONSTRAINT job_runs_process_check CHECK (((octet_length(process) >= 1) AND (octet_length(process) <= 255))),
    CONSTRAINT job_runs_seconds_check CHECK ((seconds >= (0)::numeric))
)
WITH (fillfactor='20');

ALTER TABLE core.job_runs OWNER TO tessera_owner;

COMMENT ON TABLE core.job_runs IS 'How the newest run of each job of the scheduler ended, whichever process ran it. Written by the schedulers after each run, outside of the job''s own transactions.';

COMMENT ON COLUMN core.job_runs.every_seconds IS 'The job''s interval when it does not fail.';

COMMENT ON COLUMN core.job_runs.process IS 'Host and process id of the scheduler that ran it last.';

COMMENT ON COLUMN core.job_runs.items IS 'Things that the newest run has done; NULL where it failed.';

COMMENT ON COLUMN core.job_runs.seconds IS 'How long the newest run took.';

COMMENT ON COLUMN core.job_runs.lag_seconds IS 'Age of the oldest thing that was due and not done when the newest successful run ended; NULL where the job does not tell.';

COMMENT ON COLUMN core.job_runs.failures_in_a_row IS 'Runs since the last that succeeded, of all schedulers.';

COMMENT ON COLUMN core.job_runs.last_error IS 'Class of the newest failure, with its SQLSTATE and slug; no message, for it may tell secrets. Kept after a success.';

COMMENT ON COLUMN core.job_runs.next_run_at IS 'When the process that ran it last means to run it again.';

COMMENT ON COLUMN core.job_runs.first_run_at IS 'When it was first written down here.';

CREATE VIEW api.job_runs AS
 SELECT job,
    outcome,
    started_at,
    finished_at,
    seconds,
    items,
    lag_seconds,
    failures_in_a_row,
    last_error,
    last_success_at,
    ((clock_timestamp() - COALESCE(last_success_at, first_run_at)) > (((GREATEST(((3)::numeric * every_seconds), (60)::numeric) + seconds))::double precision * '00:00:01'::interval)) AS late,
    next_run_at,
    every_seconds,
    process,
    first_run_at
   FROM core.job_runs r;

ALTER VIEW api.job_runs OWNER TO tessera_owner;

COMMENT ON VIEW api.job_runs IS 'The newest run of each job of the scheduler. late: it has not succeeded for three of its intervals, or a minute where that is longer, and the time its newest run took.';

CREATE TABLE core.live_rooms (
    id uuid NOT NULL,
    kind text NOT NULL,
    opened_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    reopened_at timestamp with time zone,
    closed_at timestamp with time zone,
    CONSTRAINT live_rooms_kind_check CHECK ((kind = ANY (ARRAY['stream'::text, 'call'::text])))
);

ALTER TABLE core.live_rooms OWNER TO tessera_owner;

COMMENT ON TABLE core.live_rooms IS 'Rooms of the media server that somebody was let into, one a stream or call. Written by api.enter_room and api.note_live_event; the scheduler closes those whose stream or call is over.';

COMMENT ON COLUMN core.live_rooms.id IS 'The stream or the call.';

COMMENT ON COLUMN core.live_rooms.reopened_at IS 'When somebody was seen in it after it was over: a token outlives what it was given for by minutes.';

COMMENT ON COLUMN core.live_rooms.closed_at IS 'When the media server was told to close it.';

CREATE VIEW api.live_rooms AS
 SELECT ((r.kind || '-'::text) || (r.id)::text) AS room,
    r.kind,
    r.id AS subject_id,
    GREATEST(r.reopened_at, s.ended_at, c.ended_at) AS over_since,
    r.opened_at,
    r.reopened_at,
    r.closed_at
   FROM ((core.live_rooms r
     LEFT JOIN core.streams s ON (((r.kind = 'stream'::text) AND (s.id = r.id))))
     LEFT JOIN core.calls c ON (((r.kind = 'call'::text) AND (c.id = r.id))));

ALTER VIEW api.live_rooms OWNER TO tessera_owner;

COMMENT ON VIEW api.live_rooms IS 'Rooms of the media server that somebody was let into, the stream or call (subject_id) they are for, since when that is over (or somebody was seen there after that; NULL: it goes on), and when the room was closed.';

CREATE VIEW api.payout_days AS
 SELECT ((paid_at AT TIME ZONE 'UTC'::text))::date AS day,
    provider,
    currency,
    count(*) AS payouts,
    (sum(amount))::bigint AS amount,
    (sum(value))::bigint AS value,
    (sum(payout_amount))::bigint AS payout_amount
   FROM core.payouts p
  WHERE (status = 'paid'::text)
  GROUP BY (((paid_at AT TIME ZONE 'UTC'::text))::date), provider, currency;

ALTER VIEW api.payout_days OWNER TO tessera_owner;

COMMENT ON VIEW api.payout_days IS 'What was paid out, by day (UTC), provider and currency: tokens, their value in ten-thousandths of a US dollar, and payout_amount in ten-thousandths of the currency. What was taken back is not in it.';

CREATE VIEW api.sale_days AS
 SELECT ((paid_at AT TIME ZONE 'UTC'::text))::date AS day,
    provider,
    currency,
    count(*) AS payments,
    (sum((tokens - reversed)))::bigint AS amount,
    (sum((amount - LEAST((refunded + disputed), amount))))::bigint AS net
   FROM core.payments p
  WHERE (paid_at IS NOT NULL)
  GROUP BY (((paid_at AT TIME ZONE 'UTC'::text))::date), provider, currency;

ALTER VIEW api.sale_days OWNER TO tessera_owner;

COMMENT ON VIEW api.sale_days IS 'What tokens were sold for, by day (UTC) of payment, provider and currency: tokens less those taken back, and net, which is the money less what was refunded or is disputed, in the minor unit of the currency.';

CREATE VIEW api.margin AS
 SELECT d.day,
    'payouts'::text AS source,
    (sum(d.amount))::bigint AS amount,
    (- (sum(d.value))::bigint) AS value
   FROM api.payout_days d
  GROUP BY d.day
UNION ALL
 SELECT s.day,
    'token_sales'::text AS source,
    (sum(s.amount))::bigint AS amount,
    (
        CASE
            WHEN bool_and((c.value IS NOT NULL)) THEN sum(floor((((s.net)::numeric * c.value) * (
            CASE
                WHEN (s.currency = ANY (ARRAY['BIF'::text, 'CLP'::text, 'DJF'::text, 'GNF'::text, 'JPY'::text, 'KMF'::text, 'KRW'::text, 'MGA'::text, 'PYG'::text, 'RWF'::text, 'UGX'::text, 'VND'::text, 'VUV'::text, 'XAF'::text, 'XOF'::text, 'XPF'::text])) THEN 10000
                WHEN (s.currency = ANY (ARRAY['BHD'::text, 'JOD'::text, 'KWD'::text, 'OMR'::text, 'TND'::text])) THEN 10
                ELSE 100
            END)::numeric)))
            ELSE NULL::numeric
        END)::bigint AS value
   FROM (api.sale_days s
     LEFT JOIN LATERAL ( SELECT r.value
           FROM (core.rates r
             CROSS JOIN LATERAL ( SELECT (((s.day + 1))::timestamp without time zone AT TIME ZONE 'UTC'::text) AS midnight) m)
          WHERE ((r.name = 'currency_value'::text) AND (r.scope = lower(s.currency)))
          ORDER BY ((r.valid_from < m.midnight) AND (COALESCE(r.valid_to, 'infinity'::timestamp with time zone) >= m.midnight)) DESC, r.valid_from DESC
         LIMIT 1) c ON (true))
  GROUP BY s.day;

ALTER VIEW api.margin OWNER TO tessera_owner;

COMMENT ON VIEW api.margin IS 'What the platform earns, by day (UTC) and source: tokens, and ten-thousandths of a US dollar, negative where it pays. The margin is the sum of value. Sales count what their currency was worth at the end of the day (rate currency_value; the newest one where there was none yet); value is NULL where a currency of that day has no such rate at all.';

CREATE TABLE core.payment_customers (
    user_id uuid NOT NULL,
    provider text NOT NULL,
    customer text NOT NULL
);

ALTER TABLE core.payment_customers OWNER TO tessera_owner;

COMMENT ON TABLE core.payment_customers IS 'What a provider calls a user, where it keeps their payment methods.';

CREATE VIEW api.payment_customers AS
 SELECT user_id,
    provider,
    customer
   FROM core.payment_customers c;

ALTER VIEW api.payment_customers OWNER TO tessera_owner;

COMMENT ON VIEW api.payment_customers IS 'What providers call a user.';

CREATE TABLE core.payment_disputes (
    payment_id uuid NOT NULL,
    provider_dispute text NOT NULL,
    amount bigint NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    closed_at timestamp with time zone,
    status text DEFAULT 'open'::text NOT NULL,
    CONSTRAINT payment_disputes_amount_check CHECK ((amount > 0)),
    CONSTRAINT payment_disputes_closed CHECK (((status <> 'open'::text) = (closed_at IS NOT NULL))),
    CONSTRAINT payment_disputes_status_check CHECK ((status = ANY (ARRAY['open'::text, 'won'::text, 'lost'::text])))
);

ALTER TABLE core.payment_disputes OWNER TO tessera_owner;

COMMENT ON TABLE core.payment_disputes IS 'Disputes and chargebacks. Tokens are gone while one is open and when it is lost; one that is won restores them.';

CREATE VIEW api.payment_disputes AS
 SELECT d.payment_id,
    d.provider_dispute,
    d.amount,
    p.currency,
    d.status,
    d.opened_at,
    d.closed_at
   FROM (core.payment_disputes d
     JOIN core.payments p ON ((p.id = d.payment_id)));

ALTER VIEW api.payment_disputes OWNER TO tessera_owner;

COMMENT ON VIEW api.payment_disputes IS 'Disputes and chargebacks of payments; amount in the minor unit of currency.';

CREATE VIEW api.payments AS
 SELECT id AS payment_id,
    buyer_id,
    package_id,
    provider,
    status,
    tokens,
    amount,
    currency,
    refunded,
    disputed,
    reversed,
    transfer_id,
    reference,
    charge,
    failure,
    created_at,
    expires_at,
    paid_at,
    failed_at
   FROM core.payments p;

ALTER VIEW api.payments OWNER TO tessera_owner;

COMMENT ON VIEW api.payments IS 'Payments for tokens. amount, refunded and disputed in the minor unit of currency; tokens and reversed (taken back) in tokens.';

CREATE TABLE core.provider_days (
    provider text NOT NULL,
    day date NOT NULL,
    fetched_at timestamp with time zone NOT NULL
);

ALTER TABLE core.provider_days OWNER TO tessera_owner;

COMMENT ON TABLE core.provider_days IS 'Days (UTC) whose records were fetched from a provider.';

CREATE VIEW api.provider_days AS
 SELECT provider,
    day,
    fetched_at
   FROM core.provider_days d;

ALTER VIEW api.provider_days OWNER TO tessera_owner;

COMMENT ON VIEW api.provider_days IS 'Days (UTC) whose records were fetched from a provider, for api.reconcile.';

CREATE TABLE core.rate_names (
    name text NOT NULL,
    unit text NOT NULL,
    scoped text,
    meaning text NOT NULL,
    CONSTRAINT rate_names_name_check CHECK ((name ~ '^[a-z][a-z0-9_]{1,62}$'::text)),
    CONSTRAINT rate_names_unit_check CHECK ((unit = ANY (ARRAY['bps'::text, 'tokens'::text, 'minor_units'::text, 'usd'::text, 'seconds'::text, 'days'::text, 'count'::text])))
);

ALTER TABLE core.rate_names OWNER TO tessera_owner;

COMMENT ON TABLE core.rate_names IS 'The rates there are: a name that is not here cannot be set, so a slip of the pen is no rate.';

COMMENT ON COLUMN core.rate_names.scoped IS 'What the scope of such a rate names: kind (of transfer) or role. NULL: it has none.';

CREATE VIEW api.rate_names AS
 SELECT name,
    unit,
    scoped,
    meaning
   FROM core.rate_names n;

ALTER VIEW api.rate_names OWNER TO tessera_owner;

COMMENT ON VIEW api.rate_names IS 'The rates there are, their units and what they mean.';

CREATE TABLE core.refunds (
    original_id uuid NOT NULL,
    transfer_id uuid NOT NULL,
    amount bigint NOT NULL,
    owed bigint NOT NULL,
    policy text NOT NULL,
    reason text,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT refunds_amount_check CHECK ((amount > 0)),
    CONSTRAINT refunds_check CHECK (((owed >= 0) AND (owed <= amount))),
    CONSTRAINT refunds_policy_check CHECK ((policy = ANY (ARRAY['refuse'::text, 'within_balance'::text, 'create_debt'::text])))
);

ALTER TABLE core.refunds OWNER TO tessera_owner;

COMMENT ON TABLE core.refunds IS 'Which transfer gives back (part of) which; the sum never passes the original. Append-only.';

COMMENT ON COLUMN core.refunds.owed IS 'Part that the payee did not have: it went to the debt of their wallet.';

CREATE VIEW api.refunds AS
 SELECT original_id,
    transfer_id,
    amount,
    owed,
    policy,
    reason,
    created_at
   FROM core.refunds r;

ALTER VIEW api.refunds OWNER TO tessera_owner;

COMMENT ON VIEW api.refunds IS 'Refunds: transfer_id gives back amount of original_id; owed of it became debt of the wallet that paid it.';

CREATE TABLE core.relay_chunks (
    from_id bigint NOT NULL,
    to_id bigint NOT NULL,
    from_xid xid8 NOT NULL,
    to_xid xid8 NOT NULL,
    events bigint NOT NULL,
    CONSTRAINT relay_chunks_events_check CHECK ((events > 0)),
    CONSTRAINT relay_chunks_order CHECK (((from_id <= to_id) AND (from_xid <= to_xid)))
);

ALTER TABLE core.relay_chunks OWNER TO tessera_owner;

COMMENT ON TABLE core.relay_chunks IS 'What is still to be relayed between base and target, cut by ids, with the transactions that wrote it. Empty but after a backlog.';

CREATE VIEW api.relay_state AS
 SELECT epoch,
    events,
    entries,
    relayed_at,
    ( SELECT (COALESCE(sum(c.events), (0)::numeric))::bigint AS "coalesce"
           FROM core.relay_chunks c) AS in_chunks
   FROM core.relay_state r;

ALTER VIEW api.relay_state OWNER TO tessera_owner;

COMMENT ON VIEW api.relay_state IS 'The relay: the epoch that positions in channels belong to, how many events and rows of channels it has made, when it last did, and how many events are left of a backlog that it has cut into chunks.';

CREATE TABLE core.tickets (
    id uuid DEFAULT core.uuid7() NOT NULL,
    stream_id uuid NOT NULL,
    viewer_id uuid NOT NULL,
    price bigint NOT NULL,
    platform_fee bigint NOT NULL,
    transfer_id uuid,
    created_at timestamp with time zone NOT NULL,
    refunded_at timestamp with time zone,
    CONSTRAINT tickets_check CHECK (((platform_fee >= 0) AND (platform_fee <= price))),
    CONSTRAINT tickets_paid CHECK (((price = 0) = (transfer_id IS NULL))),
    CONSTRAINT tickets_price_check CHECK ((price >= 0))
);

ALTER TABLE core.tickets OWNER TO tessera_owner;

COMMENT ON TABLE core.tickets IS 'Who may watch a private stream, written in the commit of the payment.';

COMMENT ON COLUMN core.tickets.price IS 'Tokens that the viewer paid: platform_fee and the creator''s cut.';

COMMENT ON COLUMN core.tickets.transfer_id IS 'The payment to the creator (the fee, where the fee takes all); NULL for a free ticket.';

COMMENT ON COLUMN core.tickets.refunded_at IS 'The stream was cancelled and the price given back.';

CREATE VIEW api.tickets AS
 SELECT id AS ticket_id,
    stream_id,
    viewer_id,
    price,
    platform_fee,
    transfer_id,
    created_at,
    refunded_at
   FROM core.tickets t;

ALTER VIEW api.tickets OWNER TO tessera_owner;

COMMENT ON VIEW api.tickets IS 'Tickets; amounts in tokens.';

CREATE TABLE core.tips (
    id uuid NOT NULL,
    sender_id uuid NOT NULL,
    creator_id uuid NOT NULL,
    amount core.positive_amount NOT NULL,
    platform_fee bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    stream_id uuid,
    call_id uuid,
    message text
)
PARTITION BY RANGE (id);

ALTER TABLE core.tips OWNER TO tessera_owner;

COMMENT ON TABLE core.tips IS 'Tips, written in the commit of their transfer; append-only. No foreign keys, as for transfers: api.audit_ledger() looks for orphans.';

COMMENT ON COLUMN core.tips.id IS 'The id of the transfer to the creator (of the fee, where the fee takes all).';

COMMENT ON COLUMN core.tips.amount IS 'Tokens that the sender paid: platform_fee and the creator''s cut.';

COMMENT ON COLUMN core.tips.platform_fee IS 'floor(amount × rate platform_fee / 10000) tokens, a second transfer of kind fee.';

CREATE VIEW api.tips AS
 SELECT id AS tip_id,
    sender_id,
    creator_id,
    (amount)::bigint AS amount,
    platform_fee,
    ((amount)::bigint - platform_fee) AS creator_cut,
    message,
    stream_id,
    call_id,
    created_at
   FROM core.tips t;

ALTER VIEW api.tips OWNER TO tessera_owner;

COMMENT ON VIEW api.tips IS 'Tips; amounts in tokens, tip_id is the id of the transfer.';

CREATE TABLE core.transfers (
    id uuid NOT NULL,
    from_wallet_id uuid NOT NULL,
    to_wallet_id uuid NOT NULL,
    amount core.positive_amount NOT NULL,
    from_seq core.entry_seq NOT NULL,
    to_seq core.entry_seq NOT NULL,
    created_at timestamp with time zone NOT NULL,
    actor_id uuid,
    asset text NOT NULL,
    kind text NOT NULL,
    db_user text,
    reference text,
    metadata jsonb,
    event_at timestamp with time zone
)
PARTITION BY RANGE (id);

ALTER TABLE core.transfers OWNER TO tessera_owner;

COMMENT ON TABLE core.transfers IS 'One movement of an amount between two wallets of one asset. Append-only.';

COMMENT ON COLUMN core.transfers.from_seq IS 'seq of the debit in entries (from_wallet_id, from_seq).';

COMMENT ON COLUMN core.transfers.to_seq IS 'seq of the credit in entries (to_wallet_id, to_seq).';

COMMENT ON COLUMN core.transfers.actor_id IS 'The user on whose behalf the API asked; NULL when a database user did.';

COMMENT ON COLUMN core.transfers.kind IS 'Why it moved: transfer, tip, fee, grant…';

COMMENT ON COLUMN core.transfers.db_user IS 'session_user, when no actor was given.';

COMMENT ON COLUMN core.transfers.reference IS 'What it belongs to, in the caller''s words.';

COMMENT ON COLUMN core.transfers.event_at IS 'When it happened, where the caller said so; NULL when that is created_at. Balances and statements go by created_at.';

CREATE VIEW api.transfers AS
 SELECT id AS transfer_id,
    from_wallet_id,
    to_wallet_id,
    (amount)::bigint AS amount,
    asset,
    kind,
    reference,
    actor_id,
    db_user,
    metadata,
    created_at,
    COALESCE(event_at, created_at) AS event_at
   FROM core.transfers t;

ALTER VIEW api.transfers OWNER TO tessera_owner;

COMMENT ON VIEW api.transfers IS 'Every movement there ever was, one row each.';

CREATE TABLE core.webhook_attempts (
    delivery_id uuid NOT NULL,
    attempt integer NOT NULL,
    started_at timestamp with time zone NOT NULL,
    duration_ms integer,
    status smallint,
    error text,
    answer text,
    CONSTRAINT webhook_attempts_answer_check CHECK ((octet_length(answer) <= 4096)),
    CONSTRAINT webhook_attempts_attempt_check CHECK ((attempt > 0)),
    CONSTRAINT webhook_attempts_duration_ms_check CHECK ((duration_ms >= 0))
);

ALTER TABLE core.webhook_attempts OWNER TO tessera_owner;

COMMENT ON TABLE core.webhook_attempts IS 'What became of each attempt to send a delivery. Written by api.finish_webhook, and by api.lease_webhooks where nothing was heard of one.';

COMMENT ON COLUMN core.webhook_attempts.status IS 'Of the HTTP answer; NULL where none came.';

COMMENT ON COLUMN core.webhook_attempts.error IS 'Why it failed, in one word; NULL: it succeeded. interrupted: whoever sent it was never heard of again, and it may have arrived.';

COMMENT ON COLUMN core.webhook_attempts.answer IS 'The beginning of the answer''s body.';

CREATE VIEW api.webhook_attempts AS
 SELECT delivery_id,
    attempt,
    started_at,
    duration_ms,
    status,
    error,
    answer
   FROM core.webhook_attempts a;

ALTER VIEW api.webhook_attempts OWNER TO tessera_owner;

COMMENT ON VIEW api.webhook_attempts IS 'Attempts to send a delivery: when, how long, the status and the beginning of the answer, or why there was none.';

CREATE TABLE core.api_keys (
    id uuid DEFAULT core.uuid7() NOT NULL,
    user_id uuid NOT NULL,
    name text NOT NULL,
    prefix text NOT NULL,
    key_hash bytea NOT NULL,
    old_key_hash bytea,
    old_key_expires_at timestamp with time zone,
    scopes text[] NOT NULL,
    rate_limit_per_minute integer,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    rotated_at timestamp with time zone,
    expires_at timestamp with time zone,
    last_used_at timestamp with time zone,
    deleted_at timestamp with time zone,
    CONSTRAINT api_keys_key_hash_check CHECK ((octet_length(key_hash) = 32)),
    CONSTRAINT api_keys_name_check CHECK (((char_length(name) >= 1) AND (char_length(name) <= 80))),
    CONSTRAINT api_keys_old_key_expires CHECK (((old_key_hash IS NULL) = (old_key_expires_at IS NULL))),
    CONSTRAINT api_keys_old_key_hash_check CHECK ((octet_length(old_key_hash) = 32)),
    CONSTRAINT api_keys_prefix_check CHECK ((octet_length(prefix) = 12)),
    CONSTRAINT api_keys_rate_limit_per_minute_check CHECK (((rate_limit_per_minute >= 1) AND (rate_limit_per_minute <= 1000000)))
);

ALTER TABLE core.api_keys OWNER TO tessera_owner;

COMMENT ON TABLE core.api_keys IS 'Keys for programs. The key itself is shown once, when it is made.';

COMMENT ON COLUMN core.api_keys.prefix IS 'First characters of the key, to recognise it by.';

COMMENT ON COLUMN core.api_keys.key_hash IS 'SHA-256 of the key.';

COMMENT ON COLUMN core.api_keys.old_key_hash IS 'SHA-256 of the key before the last rotation, good until old_key_expires_at.';

COMMENT ON COLUMN core.api_keys.scopes IS 'What the key may do, as far as its user may.';

COMMENT ON COLUMN core.api_keys.rate_limit_per_minute IS 'Requests a minute; NULL for the limit of everybody.';

COMMENT ON COLUMN core.api_keys.last_used_at IS 'Written down about once a minute, not on each request.';

CREATE TABLE core.audit_log_default (
    id uuid DEFAULT core.uuid7() CONSTRAINT audit_log_id_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT now() CONSTRAINT audit_log_created_at_not_null NOT NULL,
    actor_id uuid,
    db_user text DEFAULT SESSION_USER CONSTRAINT audit_log_db_user_not_null NOT NULL,
    action text CONSTRAINT audit_log_action_not_null NOT NULL,
    subject_id uuid,
    details jsonb DEFAULT '{}'::jsonb CONSTRAINT audit_log_details_not_null NOT NULL,
    request_id text DEFAULT NULLIF(current_setting('tessera.request_id'::text, true), ''::text),
    address text DEFAULT NULLIF(current_setting('tessera.address'::text, true), ''::text),
    CONSTRAINT audit_log_action_check CHECK ((action ~ '^[a-z_]+(\.[a-z_]+)+$'::text)),
    CONSTRAINT audit_log_address_check CHECK ((octet_length(address) <= 64)),
    CONSTRAINT audit_log_request_id_check CHECK ((octet_length(request_id) <= 128))
);

ALTER TABLE core.audit_log_default OWNER TO tessera_owner;

COMMENT ON TABLE core.audit_log_default IS 'Partition of core.audit_log, by id: what no other one takes; empty unless api.make_partitions was not run for long.';

CREATE TABLE core.brought_forward (
    wallet_id uuid NOT NULL,
    detached_to timestamp with time zone NOT NULL,
    seq bigint NOT NULL,
    balance bigint NOT NULL,
    earned bigint NOT NULL,
    spent bigint NOT NULL,
    last_entry_at timestamp with time zone NOT NULL
);

ALTER TABLE core.brought_forward OWNER TO tessera_owner;

COMMENT ON TABLE core.brought_forward IS 'What detached months left in each wallet that has entries in them: the row with the latest detached_to is where the attached entries go on. Written and removed with the detaching and attaching.';

COMMENT ON COLUMN core.brought_forward.seq IS 'That of the last entry of the detached months.';

COMMENT ON COLUMN core.brought_forward.earned IS 'Sum of all credits up to then, minor units.';

COMMENT ON COLUMN core.brought_forward.spent IS 'Sum of all debits up to then, minor units, as a positive number.';

CREATE TABLE core.call_parties (
    user_id uuid NOT NULL,
    call_id uuid NOT NULL
);

ALTER TABLE core.call_parties OWNER TO tessera_owner;

COMMENT ON TABLE core.call_parties IS 'Who is in a call that is not over: nobody is in two.';

CREATE TABLE core.captures (
    hold_id uuid NOT NULL,
    transfer_id uuid NOT NULL,
    amount bigint NOT NULL,
    CONSTRAINT captures_amount_check CHECK ((amount > 0))
);

ALTER TABLE core.captures OWNER TO tessera_owner;

COMMENT ON TABLE core.captures IS 'The transfers that captured a hold. Append-only.';

CREATE TABLE core.channel_days (
    from_at timestamp with time zone NOT NULL,
    to_at timestamp with time zone NOT NULL,
    oldest_at timestamp with time zone,
    CONSTRAINT channel_days_order CHECK ((from_at < to_at))
);

ALTER TABLE core.channel_days OWNER TO tessera_owner;

COMMENT ON TABLE core.channel_days IS 'The partitions of core.channel_events. Written by core._make_channel_days, core._drop_channel_days and (oldest_at) api.relay_events.';

COMMENT ON COLUMN core.channel_days.oldest_at IS 'created_at of the oldest event that was relayed on that day; NULL where none was.';

CREATE TABLE core.channel_events (
    channel_id bigint NOT NULL,
    seq bigint NOT NULL,
    xid xid8 NOT NULL,
    id bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    relayed_at timestamp with time zone NOT NULL
)
PARTITION BY RANGE (relayed_at);

ALTER TABLE core.channel_events OWNER TO tessera_owner;

COMMENT ON TABLE core.channel_events IS 'The events of each channel in order, 1, 2, 3… without gaps: pointers to core.outbox. Partitions of days (UTC), each with the primary key (channel_id, seq). Written by api.relay_events only.';

COMMENT ON COLUMN core.channel_events.xid IS 'With id the key of the event in core.outbox…';

COMMENT ON COLUMN core.channel_events.created_at IS '… and its partition there.';

COMMENT ON COLUMN core.channel_events.relayed_at IS 'When it got its number; does not decrease with seq.';

CREATE TABLE core.channels (
    channel text NOT NULL COLLATE pg_catalog."C",
    id bigint NOT NULL,
    seq bigint NOT NULL,
    CONSTRAINT channels_seq_check CHECK ((seq >= 0))
)
WITH (fillfactor='70');

ALTER TABLE core.channels OWNER TO tessera_owner;

COMMENT ON TABLE core.channels IS 'Channels that ever had an event. Written by api.relay_events only; never deleted, for a channel that began anew would repeat its numbers.';

COMMENT ON COLUMN core.channels.id IS 'Short name of the channel in core.channel_events.';

COMMENT ON COLUMN core.channels.seq IS 'Number of its last event; the first is 1.';

ALTER TABLE core.channels ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME core.channels_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE UNLOGGED TABLE core.chat_counters (
    stream_id uuid NOT NULL,
    user_id uuid NOT NULL,
    since timestamp with time zone NOT NULL,
    used integer NOT NULL,
    CONSTRAINT chat_counters_used_check CHECK ((used >= 0))
)
WITH (fillfactor='50');

ALTER TABLE core.chat_counters OWNER TO tessera_owner;

COMMENT ON TABLE core.chat_counters IS 'How many messages somebody has posted to a stream in the minute (UTC) that began at since. Unlogged: after a crash everybody begins anew.';

CREATE TABLE core.creator_settings (
    user_id uuid NOT NULL,
    rate_per_minute bigint NOT NULL,
    ticket_price bigint,
    bio text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    accepts_calls boolean DEFAULT true NOT NULL,
    CONSTRAINT creator_settings_bio_check CHECK ((char_length(bio) <= 1000)),
    CONSTRAINT creator_settings_rate_per_minute_check CHECK (((rate_per_minute >= 1) AND (rate_per_minute <= 1000000000))),
    CONSTRAINT creator_settings_ticket_price_check CHECK (((ticket_price >= 1) AND (ticket_price <= 1000000000)))
);

ALTER TABLE core.creator_settings OWNER TO tessera_owner;

COMMENT ON TABLE core.creator_settings IS 'What a creator asks for. Clients never supply a price.';

COMMENT ON COLUMN core.creator_settings.rate_per_minute IS 'Price of a minute of a call, in tokens.';

COMMENT ON COLUMN core.creator_settings.ticket_price IS 'Price of a ticket to a stream, in tokens, unless the stream says otherwise; NULL for none.';

COMMENT ON COLUMN core.creator_settings.accepts_calls IS 'Whether fans may call now.';

CREATE TABLE core.entries_default (
    wallet_id uuid CONSTRAINT entries_wallet_id_not_null NOT NULL,
    seq core.entry_seq CONSTRAINT entries_seq_not_null NOT NULL,
    transfer_id uuid CONSTRAINT entries_transfer_id_not_null NOT NULL,
    amount core.entry_amount CONSTRAINT entries_amount_not_null NOT NULL,
    balance bigint CONSTRAINT entries_balance_not_null NOT NULL,
    created_at timestamp with time zone CONSTRAINT entries_created_at_not_null NOT NULL
);

ALTER TABLE core.entries_default OWNER TO tessera_owner;

COMMENT ON TABLE core.entries_default IS 'Partition of core.entries, by transfer_id: what no other one takes; empty unless api.make_partitions was not run for long.';

CREATE TABLE core.idempotency_keys (
    actor_id uuid NOT NULL,
    key core.idempotency_key NOT NULL,
    transfer_id uuid,
    created_at timestamp with time zone NOT NULL,
    request_hash core.request_hash NOT NULL,
    result jsonb
);

ALTER TABLE core.idempotency_keys OWNER TO tessera_owner;

COMMENT ON TABLE core.idempotency_keys IS 'Keys of money requests that took effect; written in the same commit as the effect. They do not expire.';

COMMENT ON COLUMN core.idempotency_keys.actor_id IS 'Whose key: the user, or for a database user core._database_actor().';

COMMENT ON COLUMN core.idempotency_keys.transfer_id IS 'The (first) transfer it led to; the answer is rebuilt from it and its entry.';

COMMENT ON COLUMN core.idempotency_keys.request_hash IS 'First 16 bytes of the SHA-256 of the request''s fields: a key sent with another request is refused.';

COMMENT ON COLUMN core.idempotency_keys.result IS 'The stored answer, where it cannot be rebuilt from the transfer.';

CREATE TABLE core.live_events (
    id text NOT NULL,
    event text NOT NULL,
    room text NOT NULL,
    identity text,
    created_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT live_events_id_check CHECK (((octet_length(id) >= 1) AND (octet_length(id) <= 255)))
);

ALTER TABLE core.live_events OWNER TO tessera_owner;

COMMENT ON TABLE core.live_events IS 'Events of the media server that were of use, each once. Written by api.note_live_event, deleted by the scheduler after a month.';

COMMENT ON COLUMN core.live_events.id IS 'The media server''s, the same in every repetition.';

COMMENT ON COLUMN core.live_events.created_at IS 'By the media server''s clock, in whole seconds; never later than now.';

CREATE TABLE core.login_attempts (
    account_hash bytea NOT NULL,
    address text NOT NULL,
    attempts integer NOT NULL,
    since timestamp with time zone NOT NULL,
    CONSTRAINT login_attempts_account_hash_check CHECK ((octet_length(account_hash) = 32)),
    CONSTRAINT login_attempts_address_check CHECK ((octet_length(address) <= 64)),
    CONSTRAINT login_attempts_attempts_check CHECK ((attempts > 0))
);

ALTER TABLE core.login_attempts OWNER TO tessera_owner;

COMMENT ON TABLE core.login_attempts IS 'Attempts to log in that have not succeeded, per account and address, so that guessing elsewhere cannot lock the owner out.';

COMMENT ON COLUMN core.login_attempts.account_hash IS 'SHA-256 of the email address, whether an account has it or not.';

COMMENT ON COLUMN core.login_attempts.address IS 'IPv4 address, or /64 of an IPv6 address.';

COMMENT ON COLUMN core.login_attempts.since IS 'Start of the window in which attempts are counted.';

CREATE TABLE core.outbox (
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    id bigint NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    type text NOT NULL,
    channels text[] NOT NULL,
    payload jsonb NOT NULL
)
PARTITION BY RANGE (created_at);

ALTER TABLE core.outbox OWNER TO tessera_owner;

COMMENT ON TABLE core.outbox IS 'Events, written in the commit that they tell of and after the wallets were locked, so that ids are causal per wallet. The relay reads them by transaction snapshot, never by id.';

COMMENT ON COLUMN core.outbox.channels IS 'Channels that get the event: user:<id>, creator:<id>, stream:<id>, call:<id>…';

CREATE TABLE core.outbox_default (
    xid xid8 DEFAULT pg_current_xact_id() CONSTRAINT outbox_xid_not_null NOT NULL,
    id bigint CONSTRAINT outbox_id_not_null NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() CONSTRAINT outbox_created_at_not_null NOT NULL,
    type text CONSTRAINT outbox_type_not_null NOT NULL,
    channels text[] CONSTRAINT outbox_channels_not_null NOT NULL,
    payload jsonb CONSTRAINT outbox_payload_not_null NOT NULL
);

ALTER TABLE core.outbox_default OWNER TO tessera_owner;

COMMENT ON TABLE core.outbox_default IS 'Partition of core.outbox, by created_at: what no other one takes; empty unless api.make_partitions was not run for long.';

ALTER TABLE core.outbox ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME core.outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE core.partitions (
    name text NOT NULL,
    table_name text NOT NULL,
    from_at timestamp with time zone NOT NULL,
    to_at timestamp with time zone NOT NULL,
    detached_to timestamp with time zone,
    CONSTRAINT partitions_order CHECK (((from_at < to_at) AND (to_at <= detached_to)))
);

ALTER TABLE core.partitions OWNER TO tessera_owner;

COMMENT ON TABLE core.partitions IS 'The partitions there are, attached and detached, but for the default ones. Written as core.partitioned.';

COMMENT ON COLUMN core.partitions.detached_to IS 'The partitions that were detached together, by the end of the last of them; NULL while attached.';

CREATE TABLE core.payment_transfers (
    payment_id uuid NOT NULL,
    transfer_id uuid NOT NULL,
    tokens bigint NOT NULL,
    owed bigint DEFAULT 0 NOT NULL,
    kind text NOT NULL,
    CONSTRAINT payment_transfers_check CHECK (((owed >= 0) AND (owed <= tokens))),
    CONSTRAINT payment_transfers_kind_check CHECK ((kind = ANY (ARRAY['purchase'::text, 'reversal'::text, 'restoration'::text]))),
    CONSTRAINT payment_transfers_tokens_check CHECK ((tokens > 0))
);

ALTER TABLE core.payment_transfers OWNER TO tessera_owner;

COMMENT ON TABLE core.payment_transfers IS 'The transfers of a payment: the purchase, what was taken back, what was restored. Append-only.';

COMMENT ON COLUMN core.payment_transfers.owed IS 'Of a reversal: the part that the buyer had spent, which went to the debt of their wallet.';

CREATE TABLE core.provider_records (
    provider text NOT NULL,
    day date NOT NULL,
    kind text NOT NULL,
    record_id text NOT NULL,
    payment_id uuid,
    amount bigint NOT NULL,
    currency text NOT NULL,
    CONSTRAINT provider_records_kind_check CHECK ((kind = ANY (ARRAY['payment'::text, 'refund'::text])))
);

ALTER TABLE core.provider_records OWNER TO tessera_owner;

COMMENT ON TABLE core.provider_records IS 'What a provider says it took (payment: record_id is the charge) and gave back (refund) on a day.';

CREATE UNLOGGED TABLE core.realtime_tickets (
    ticket_hash bytea NOT NULL,
    user_id uuid NOT NULL,
    session_id uuid,
    key_id uuid,
    token_epoch integer,
    token_expires_at timestamp with time zone,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT realtime_tickets_origin CHECK (((session_id IS NULL) <> (key_id IS NULL))),
    CONSTRAINT realtime_tickets_ticket_hash_check CHECK ((octet_length(ticket_hash) = 32))
);

ALTER TABLE core.realtime_tickets OWNER TO tessera_owner;

COMMENT ON TABLE core.realtime_tickets IS 'Tickets that let a browser say who it is on its WebSocket: each is good once, for half a minute. Unlogged: after a crash clients fetch another.';

COMMENT ON COLUMN core.realtime_tickets.ticket_hash IS 'SHA-256 of the ticket.';

COMMENT ON COLUMN core.realtime_tickets.session_id IS 'The session of the token that it was fetched with, or…';

COMMENT ON COLUMN core.realtime_tickets.key_id IS '… the API key.';

COMMENT ON COLUMN core.realtime_tickets.token_epoch IS 'Of that token: another one of the user ends it.';

COMMENT ON COLUMN core.realtime_tickets.token_expires_at IS 'When that token or key expires; NULL: never.';

CREATE TABLE core.refresh_tokens (
    token_hash bytea NOT NULL,
    session_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    used_at timestamp with time zone,
    successor_hash bytea,
    CONSTRAINT refresh_tokens_successor_hash_check CHECK ((octet_length(successor_hash) = 32)),
    CONSTRAINT refresh_tokens_token_hash_check CHECK ((octet_length(token_hash) = 32)),
    CONSTRAINT refresh_tokens_used_has_successor CHECK (((used_at IS NULL) = (successor_hash IS NULL)))
);

ALTER TABLE core.refresh_tokens OWNER TO tessera_owner;

COMMENT ON TABLE core.refresh_tokens IS 'Each is good for one refresh. Used again later than a lost answer explains, its session is revoked.';

COMMENT ON COLUMN core.refresh_tokens.token_hash IS 'SHA-256 of the token.';

COMMENT ON COLUMN core.refresh_tokens.successor_hash IS 'SHA-256 of the token that its use gave out.';

CREATE TABLE core.schema_functions (
    path text NOT NULL,
    sha256 text NOT NULL,
    signatures text[] NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE core.schema_functions OWNER TO tessera_owner;

COMMENT ON TABLE core.schema_functions IS 'Files of sql/functions as they are in force here, and the functions each of them made.';

CREATE TABLE core.schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL,
    applied_by text DEFAULT SESSION_USER NOT NULL,
    CONSTRAINT schema_migrations_version_check CHECK ((version > 0))
);

ALTER TABLE core.schema_migrations OWNER TO tessera_owner;

COMMENT ON TABLE core.schema_migrations IS 'Files of sql/migrations that were applied here, with the hash they had then.';

CREATE TABLE core.seal_marks (
    taken_at timestamp with time zone NOT NULL,
    xid xid8 NOT NULL
);

ALTER TABLE core.seal_marks OWNER TO tessera_owner;

COMMENT ON TABLE core.seal_marks IS 'Moments, and a transaction that got its number after each: what has a higher number began to write after that moment. Tells up to when no open transaction can still add anything.';

CREATE TABLE core.sessions (
    id uuid DEFAULT core.uuid7() NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    last_used_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone,
    revoke_reason text,
    user_agent text,
    address text,
    CONSTRAINT sessions_address_check CHECK ((octet_length(address) <= 64)),
    CONSTRAINT sessions_revoke_reason CHECK ((revoke_reason = ANY (ARRAY['logout'::text, 'refresh_token_reused'::text, 'suspended'::text, 'password_changed'::text, 'admin'::text]))),
    CONSTRAINT sessions_revoked_for_a_reason CHECK (((revoked_at IS NULL) = (revoke_reason IS NULL))),
    CONSTRAINT sessions_user_agent_check CHECK ((octet_length(user_agent) <= 512))
);

ALTER TABLE core.sessions OWNER TO tessera_owner;

COMMENT ON TABLE core.sessions IS 'One sign-in: the family of refresh tokens that descend from it, and the sid of its access tokens.';

COMMENT ON COLUMN core.sessions.expires_at IS 'When it ends unless a refresh moves it on.';

COMMENT ON COLUMN core.sessions.revoked_at IS 'From then on no token of the session is worth anything.';

CREATE TABLE core.tips_default (
    id uuid CONSTRAINT tips_id_not_null NOT NULL,
    sender_id uuid CONSTRAINT tips_sender_id_not_null NOT NULL,
    creator_id uuid CONSTRAINT tips_creator_id_not_null NOT NULL,
    amount core.positive_amount CONSTRAINT tips_amount_not_null NOT NULL,
    platform_fee bigint CONSTRAINT tips_platform_fee_not_null NOT NULL,
    created_at timestamp with time zone CONSTRAINT tips_created_at_not_null NOT NULL,
    stream_id uuid,
    call_id uuid,
    message text
);

ALTER TABLE core.tips_default OWNER TO tessera_owner;

COMMENT ON TABLE core.tips_default IS 'Partition of core.tips, by id: what no other one takes; empty unless api.make_partitions was not run for long.';

CREATE TABLE core.totp_secrets (
    user_id uuid NOT NULL,
    key_id text NOT NULL,
    secret bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    confirmed_at timestamp with time zone,
    last_step bigint DEFAULT 0 NOT NULL
);

ALTER TABLE core.totp_secrets OWNER TO tessera_owner;

COMMENT ON TABLE core.totp_secrets IS 'Secrets of users'' authenticator apps (RFC 6238), encrypted by the application like payout accounts.';

COMMENT ON COLUMN core.totp_secrets.confirmed_at IS 'When a first code was right: from then on codes are asked for.';

COMMENT ON COLUMN core.totp_secrets.last_step IS 'The time step of the last code that was taken: it and those before it are taken no more.';

CREATE TABLE core.transfers_default (
    id uuid CONSTRAINT transfers_id_not_null NOT NULL,
    from_wallet_id uuid CONSTRAINT transfers_from_wallet_id_not_null NOT NULL,
    to_wallet_id uuid CONSTRAINT transfers_to_wallet_id_not_null NOT NULL,
    amount core.positive_amount CONSTRAINT transfers_amount_not_null NOT NULL,
    from_seq core.entry_seq CONSTRAINT transfers_from_seq_not_null NOT NULL,
    to_seq core.entry_seq CONSTRAINT transfers_to_seq_not_null NOT NULL,
    created_at timestamp with time zone CONSTRAINT transfers_created_at_not_null NOT NULL,
    actor_id uuid,
    asset text CONSTRAINT transfers_asset_not_null NOT NULL,
    kind text CONSTRAINT transfers_kind_not_null NOT NULL,
    db_user text,
    reference text,
    metadata jsonb,
    event_at timestamp with time zone
);

ALTER TABLE core.transfers_default OWNER TO tessera_owner;

COMMENT ON TABLE core.transfers_default IS 'Partition of core.transfers, by id: what no other one takes; empty unless api.make_partitions was not run for long.';

CREATE TABLE core.velocity_counters (
    wallet_id uuid NOT NULL,
    rule text NOT NULL,
    since timestamp with time zone NOT NULL,
    used bigint NOT NULL,
    CONSTRAINT velocity_counters_used_check CHECK ((used >= 0))
)
WITH (fillfactor='70');

ALTER TABLE core.velocity_counters OWNER TO tessera_owner;

COMMENT ON TABLE core.velocity_counters IS 'What a user''s wallet used up of a velocity limit in the current window, while one is in force. Written under the wallet''s lock.';

COMMENT ON COLUMN core.velocity_counters.rule IS 'Name, scope and asset of the rate, joined by slashes.';

COMMENT ON COLUMN core.velocity_counters.since IS 'Start of the window: a whole number of windows after 2000-01-01 00:00 UTC. An older one counts for nothing.';

COMMENT ON COLUMN core.velocity_counters.used IS 'Minor units, or number of transfers.';

CREATE UNLOGGED TABLE core.viewers (
    stream_id uuid NOT NULL,
    user_id uuid NOT NULL,
    seen_until timestamp with time zone NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE core.viewers OWNER TO tessera_owner;

COMMENT ON TABLE core.viewers IS 'Who watches which stream, until when unless they are heard of again. Unlogged: after a crash the next beats fill it. Written by api.watch_streams and core._note_viewer; api.count_viewers counts it and takes out what has lapsed.';

CREATE TABLE core.webhook_secrets (
    endpoint_id uuid NOT NULL,
    secret text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    until timestamp with time zone,
    CONSTRAINT webhook_secrets_secret_check CHECK ((secret ~ '^whsec_[A-Za-z0-9+/]{32,88}={0,2}$'::text))
);

ALTER TABLE core.webhook_secrets OWNER TO tessera_owner;

COMMENT ON TABLE core.webhook_secrets IS 'What deliveries to an endpoint are signed with. In plain text, for they must be signed with it; nobody may read the table but the functions of webhooks.';

COMMENT ON COLUMN core.webhook_secrets.until IS 'Signs until then: it was replaced. NULL: the newest.';

ALTER TABLE ONLY core.audit_log ATTACH PARTITION core.audit_log_default DEFAULT;

ALTER TABLE ONLY core.entries ATTACH PARTITION core.entries_default DEFAULT;

ALTER TABLE ONLY core.outbox ATTACH PARTITION core.outbox_default DEFAULT;

ALTER TABLE ONLY core.tips ATTACH PARTITION core.tips_default DEFAULT;

ALTER TABLE ONLY core.transfers ATTACH PARTITION core.transfers_default DEFAULT;

ALTER TABLE ONLY core.adjustments
    ADD CONSTRAINT adjustments_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.assets
    ADD CONSTRAINT assets_pkey PRIMARY KEY (code);

ALTER TABLE ONLY core.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.audit_log_default
    ADD CONSTRAINT audit_log_default_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.audits
    ADD CONSTRAINT audits_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.bans
    ADD CONSTRAINT bans_pkey PRIMARY KEY (creator_id, user_id);

ALTER TABLE ONLY core.brought_forward
    ADD CONSTRAINT brought_forward_pkey PRIMARY KEY (wallet_id, detached_to);

ALTER TABLE ONLY core.call_clocks
    ADD CONSTRAINT call_clocks_pkey PRIMARY KEY (call_id);

ALTER TABLE ONLY core.call_parties
    ADD CONSTRAINT call_parties_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY core.calls
    ADD CONSTRAINT calls_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.captures
    ADD CONSTRAINT captures_pkey PRIMARY KEY (hold_id, transfer_id);

ALTER TABLE ONLY core.channel_days
    ADD CONSTRAINT channel_days_pkey PRIMARY KEY (from_at);

ALTER TABLE ONLY core.channels
    ADD CONSTRAINT channels_pkey PRIMARY KEY (channel);

ALTER TABLE ONLY core.chat_counters
    ADD CONSTRAINT chat_counters_pkey PRIMARY KEY (stream_id, user_id);

ALTER TABLE ONLY core.creator_settings
    ADD CONSTRAINT creator_settings_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY core.entries_default
    ADD CONSTRAINT entries_default_pkey PRIMARY KEY (wallet_id, seq);

ALTER TABLE ONLY core.holds
    ADD CONSTRAINT holds_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (actor_id, key);

ALTER TABLE ONLY core.job_runs
    ADD CONSTRAINT job_runs_pkey PRIMARY KEY (job);

ALTER TABLE ONLY core.live_events
    ADD CONSTRAINT live_events_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.live_rooms
    ADD CONSTRAINT live_rooms_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.login_attempts
    ADD CONSTRAINT login_attempts_pkey PRIMARY KEY (account_hash, address);

ALTER TABLE ONLY core.messages
    ADD CONSTRAINT messages_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.meter_blocks
    ADD CONSTRAINT meter_blocks_pkey PRIMARY KEY (call_id, block_no);

ALTER TABLE ONLY core.outbox_default
    ADD CONSTRAINT outbox_default_pkey PRIMARY KEY (xid, id);

ALTER TABLE ONLY core.partitioned
    ADD CONSTRAINT partitioned_pkey PRIMARY KEY (name);

ALTER TABLE ONLY core.partitions
    ADD CONSTRAINT partitions_pkey PRIMARY KEY (name);

ALTER TABLE ONLY core.payment_customers
    ADD CONSTRAINT payment_customers_pkey PRIMARY KEY (user_id, provider);

ALTER TABLE ONLY core.payment_disputes
    ADD CONSTRAINT payment_disputes_pkey PRIMARY KEY (payment_id, provider_dispute);

ALTER TABLE ONLY core.payment_events
    ADD CONSTRAINT payment_events_pkey PRIMARY KEY (provider, event_id);

ALTER TABLE ONLY core.payment_refunds
    ADD CONSTRAINT payment_refunds_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.payment_transfers
    ADD CONSTRAINT payment_transfers_pkey PRIMARY KEY (payment_id, transfer_id);

ALTER TABLE ONLY core.payments
    ADD CONSTRAINT payments_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.payout_accounts
    ADD CONSTRAINT payout_accounts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.payout_reports
    ADD CONSTRAINT payout_reports_pkey PRIMARY KEY (payout_id);

ALTER TABLE ONLY core.payouts
    ADD CONSTRAINT payouts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.provider_days
    ADD CONSTRAINT provider_days_pkey PRIMARY KEY (provider, day);

ALTER TABLE ONLY core.provider_records
    ADD CONSTRAINT provider_records_pkey PRIMARY KEY (provider, day, kind, record_id);

ALTER TABLE ONLY core.rate_names
    ADD CONSTRAINT rate_names_pkey PRIMARY KEY (name);

ALTER TABLE ONLY core.rates
    ADD CONSTRAINT rates_key UNIQUE NULLS NOT DISTINCT (name, asset, scope, valid_from);

ALTER TABLE ONLY core.rates
    ADD CONSTRAINT rates_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.realtime_tickets
    ADD CONSTRAINT realtime_tickets_pkey PRIMARY KEY (ticket_hash);

ALTER TABLE ONLY core.refresh_tokens
    ADD CONSTRAINT refresh_tokens_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY core.refunds
    ADD CONSTRAINT refunds_pkey PRIMARY KEY (original_id, transfer_id);

ALTER TABLE ONLY core.relay_chunks
    ADD CONSTRAINT relay_chunks_pkey PRIMARY KEY (from_id);

ALTER TABLE ONLY core.relay_state
    ADD CONSTRAINT relay_state_pkey PRIMARY KEY (one);

ALTER TABLE ONLY core.schema_functions
    ADD CONSTRAINT schema_functions_pkey PRIMARY KEY (path);

ALTER TABLE ONLY core.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY core.seal_marks
    ADD CONSTRAINT seal_marks_pkey PRIMARY KEY (taken_at, xid);

ALTER TABLE ONLY core.seals
    ADD CONSTRAINT seals_pkey PRIMARY KEY (block);

ALTER TABLE ONLY core.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.stream_totals
    ADD CONSTRAINT stream_totals_pkey PRIMARY KEY (stream_id, shard);

ALTER TABLE ONLY core.stream_viewers
    ADD CONSTRAINT stream_viewers_pkey PRIMARY KEY (stream_id);

ALTER TABLE ONLY core.streams
    ADD CONSTRAINT streams_channel_key UNIQUE (channel);

ALTER TABLE ONLY core.streams
    ADD CONSTRAINT streams_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.tickets
    ADD CONSTRAINT tickets_one_a_viewer UNIQUE (stream_id, viewer_id);

ALTER TABLE ONLY core.tickets
    ADD CONSTRAINT tickets_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.tickets
    ADD CONSTRAINT tickets_transfer_id_key UNIQUE (transfer_id);

ALTER TABLE ONLY core.tips
    ADD CONSTRAINT tips_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.tips_default
    ADD CONSTRAINT tips_default_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.token_packages
    ADD CONSTRAINT token_packages_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.totp_secrets
    ADD CONSTRAINT totp_secrets_pkey PRIMARY KEY (user_id);

ALTER TABLE ONLY core.transfers
    ADD CONSTRAINT transfers_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.transfers_default
    ADD CONSTRAINT transfers_default_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.velocity_counters
    ADD CONSTRAINT velocity_counters_pkey PRIMARY KEY (wallet_id, rule);

ALTER TABLE ONLY core.viewers
    ADD CONSTRAINT viewers_pkey PRIMARY KEY (stream_id, user_id);

ALTER TABLE ONLY core.wallets
    ADD CONSTRAINT wallets_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.webhook_attempts
    ADD CONSTRAINT webhook_attempts_pkey PRIMARY KEY (delivery_id, attempt);

ALTER TABLE ONLY core.webhook_cursors
    ADD CONSTRAINT webhook_cursors_pkey PRIMARY KEY (endpoint_id, channel);

ALTER TABLE ONLY core.webhook_deliveries
    ADD CONSTRAINT webhook_deliveries_event UNIQUE (endpoint_id, event_id);

ALTER TABLE ONLY core.webhook_deliveries
    ADD CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.webhook_endpoints
    ADD CONSTRAINT webhook_endpoints_pkey PRIMARY KEY (id);

ALTER TABLE ONLY core.webhook_queues
    ADD CONSTRAINT webhook_queues_pkey PRIMARY KEY (endpoint_id);

ALTER TABLE ONLY core.webhook_secrets
    ADD CONSTRAINT webhook_secrets_pkey PRIMARY KEY (endpoint_id, secret);

CREATE INDEX adjustments_pending_idx ON core.adjustments USING btree (id) WHERE (status = 'pending'::text);

CREATE UNIQUE INDEX api_keys_key_hash_key ON core.api_keys USING btree (key_hash);

CREATE UNIQUE INDEX api_keys_old_key_hash_key ON core.api_keys USING btree (old_key_hash) WHERE (old_key_hash IS NOT NULL);

CREATE INDEX api_keys_user_id_idx ON core.api_keys USING btree (user_id);

CREATE INDEX audit_log_actor_id_idx ON ONLY core.audit_log USING btree (actor_id, id);

CREATE INDEX audit_log_default_actor_id_id_idx ON core.audit_log_default USING btree (actor_id, id);

CREATE INDEX audit_log_subject_id_idx ON ONLY core.audit_log USING btree (subject_id, id);

CREATE INDEX audit_log_default_subject_id_id_idx ON core.audit_log_default USING btree (subject_id, id);

CREATE INDEX call_clocks_due_at_idx ON core.call_clocks USING btree (due_at);

CREATE INDEX calls_creator_id_idx ON core.calls USING btree (creator_id, id);

CREATE INDEX calls_fan_id_idx ON core.calls USING btree (fan_id, id);

CREATE INDEX chat_counters_since_idx ON core.chat_counters USING btree (since);

CREATE INDEX holds_open_by_expiry_idx ON core.holds USING btree (expires_at, wallet_id) WHERE (status = 'open'::text);

CREATE INDEX holds_open_by_wallet_idx ON core.holds USING btree (wallet_id, expires_at) WHERE (status = 'open'::text);

CREATE INDEX holds_wallet_idx ON core.holds USING btree (wallet_id, id);

CREATE INDEX live_events_received_at_idx ON core.live_events USING btree (received_at);

CREATE INDEX live_rooms_closed_at_idx ON core.live_rooms USING btree (closed_at) WHERE (closed_at IS NOT NULL);

CREATE INDEX live_rooms_open_idx ON core.live_rooms USING btree (id) WHERE (closed_at IS NULL);

CREATE INDEX login_attempts_since_idx ON core.login_attempts USING btree (since);

CREATE INDEX messages_stream_id_idx ON core.messages USING btree (stream_id, id);

CREATE INDEX payment_events_due_at_idx ON core.payment_events USING btree (due_at) WHERE (due_at IS NOT NULL);

CREATE INDEX payment_events_open_idx ON core.payment_events USING btree (received_at, provider, event_id) WHERE (outcome = ANY (ARRAY['unknown'::text, 'mismatch'::text, 'duplicate'::text, 'contradiction'::text, 'refused'::text]));

CREATE INDEX payment_events_payment_id_idx ON core.payment_events USING btree (payment_id, received_at) WHERE (payment_id IS NOT NULL);

CREATE INDEX payment_events_unknown_idx ON core.payment_events USING btree (provider, charge) WHERE (outcome = 'unknown'::text);

CREATE INDEX payment_refunds_closed_at_idx ON core.payment_refunds USING btree (closed_at) WHERE (status = 'done'::text);

CREATE INDEX payment_refunds_due_at_idx ON core.payment_refunds USING btree (due_at) WHERE (due_at IS NOT NULL);

CREATE INDEX payment_refunds_payment_id_idx ON core.payment_refunds USING btree (payment_id, id);

CREATE UNIQUE INDEX payment_refunds_provider_refund_key ON core.payment_refunds USING btree (payment_id, provider_refund) WHERE (provider_refund IS NOT NULL);

CREATE UNIQUE INDEX payment_transfers_transfer_id_key ON core.payment_transfers USING btree (transfer_id);

CREATE INDEX payments_buyer_id_idx ON core.payments USING btree (buyer_id, id);

CREATE INDEX payments_charge_idx ON core.payments USING btree (provider, charge) WHERE (charge IS NOT NULL);

CREATE INDEX payments_check_at_idx ON core.payments USING btree (check_at) WHERE (check_at IS NOT NULL);

CREATE INDEX payments_paid_at_idx ON core.payments USING btree (paid_at) WHERE (paid_at IS NOT NULL);

CREATE INDEX payments_reference_idx ON core.payments USING btree (provider, reference) WHERE (reference IS NOT NULL);

CREATE INDEX payout_accounts_key_idx ON core.payout_accounts USING btree (key_id, id);

CREATE INDEX payout_accounts_user_idx ON core.payout_accounts USING btree (user_id, created_at);

CREATE INDEX payouts_due_idx ON core.payouts USING btree (next_at) WHERE (next_at IS NOT NULL);

CREATE UNIQUE INDEX payouts_hold_key ON core.payouts USING btree (hold_id);

CREATE INDEX payouts_open_idx ON core.payouts USING btree (status, id) WHERE (status = ANY (ARRAY['requested'::text, 'held'::text, 'processing'::text]));

CREATE INDEX payouts_provider_idx ON core.payouts USING btree (provider, processing_at) WHERE (processing_at IS NOT NULL);

CREATE INDEX payouts_user_idx ON core.payouts USING btree (user_id, id);

CREATE INDEX provider_records_record_id_idx ON core.provider_records USING btree (provider, kind, record_id);

CREATE INDEX rates_velocity_idx ON core.rates USING btree (scope) WHERE (name = ANY (ARRAY['velocity_amount_minute'::text, 'velocity_amount_hour'::text, 'velocity_amount_day'::text, 'velocity_count_minute'::text, 'velocity_count_hour'::text, 'velocity_count_day'::text]));

CREATE INDEX realtime_tickets_expires_at_idx ON core.realtime_tickets USING btree (expires_at);

CREATE INDEX refresh_tokens_session_id_idx ON core.refresh_tokens USING btree (session_id);

CREATE UNIQUE INDEX refunds_transfer_id_key ON core.refunds USING btree (transfer_id);

CREATE INDEX sessions_expires_at_idx ON core.sessions USING btree (expires_at);

CREATE INDEX sessions_user_id_idx ON core.sessions USING btree (user_id);

CREATE INDEX stream_viewers_watched_idx ON core.stream_viewers USING btree (stream_id) WHERE (viewers > 0);

CREATE INDEX streams_creator_id_idx ON core.streams USING btree (creator_id, id);

CREATE INDEX streams_live_idx ON core.streams USING btree (id) WHERE (status = 'live'::text);

CREATE INDEX streams_no_show_idx ON core.streams USING btree (COALESCE(cancel_refused_at, starts_at), id) WHERE ((status = 'scheduled'::text) AND (starts_at IS NOT NULL));

CREATE INDEX tickets_viewer_id_idx ON core.tickets USING btree (viewer_id, id);

CREATE INDEX tips_creator_id_idx ON ONLY core.tips USING btree (creator_id, id);

CREATE INDEX tips_default_creator_id_id_idx ON core.tips_default USING btree (creator_id, id);

CREATE INDEX tips_sender_id_idx ON ONLY core.tips USING btree (sender_id, id);

CREATE INDEX tips_default_sender_id_id_idx ON core.tips_default USING btree (sender_id, id);

CREATE UNIQUE INDEX users_email_key ON core.users USING btree (lower(email));

CREATE INDEX users_referred_by_id_idx ON core.users USING btree (referred_by_id) WHERE (referred_by_id IS NOT NULL);

CREATE UNIQUE INDEX users_username_key ON core.users USING btree (username);

CREATE UNIQUE INDEX wallets_owner_asset_key ON core.wallets USING btree (owner_id, asset) WHERE (owner_id IS NOT NULL);

CREATE UNIQUE INDEX wallets_system_key ON core.wallets USING btree (purpose, asset, shard) WHERE (owner_id IS NULL);

CREATE INDEX webhook_deliveries_due_idx ON core.webhook_deliveries USING btree (endpoint_id, due_at) WHERE ((status = 'pending'::text) AND (leased_until IS NULL));

CREATE INDEX webhook_deliveries_ended_at_idx ON core.webhook_deliveries USING btree (ended_at) WHERE (ended_at IS NOT NULL);

CREATE INDEX webhook_deliveries_leased_idx ON core.webhook_deliveries USING btree (endpoint_id, leased_until) WHERE (leased_until IS NOT NULL);

CREATE INDEX webhook_deliveries_list_idx ON core.webhook_deliveries USING btree (endpoint_id, id);

CREATE INDEX webhook_deliveries_status_idx ON core.webhook_deliveries USING btree (endpoint_id, status, id);

CREATE INDEX webhook_endpoints_off_idx ON core.webhook_endpoints USING btree (id) WHERE ((status = 'disabled'::text) OR (deleted_at IS NOT NULL));

CREATE INDEX webhook_endpoints_user_id_idx ON core.webhook_endpoints USING btree (user_id, id) WHERE (deleted_at IS NULL);

CREATE INDEX webhook_queues_next_at_idx ON core.webhook_queues USING btree (next_at) WHERE (next_at IS NOT NULL);

CREATE UNIQUE INDEX webhook_secrets_newest_idx ON core.webhook_secrets USING btree (endpoint_id) WHERE (until IS NULL);

CREATE INDEX webhook_secrets_until_idx ON core.webhook_secrets USING btree (until) WHERE (until IS NOT NULL);

ALTER INDEX core.audit_log_actor_id_idx ATTACH PARTITION core.audit_log_default_actor_id_id_idx;

ALTER INDEX core.audit_log_pkey ATTACH PARTITION core.audit_log_default_pkey;

ALTER INDEX core.audit_log_subject_id_idx ATTACH PARTITION core.audit_log_default_subject_id_id_idx;

ALTER INDEX core.tips_creator_id_idx ATTACH PARTITION core.tips_default_creator_id_id_idx;

ALTER INDEX core.tips_pkey ATTACH PARTITION core.tips_default_pkey;

ALTER INDEX core.tips_sender_id_idx ATTACH PARTITION core.tips_default_sender_id_id_idx;

ALTER INDEX core.transfers_pkey ATTACH PARTITION core.transfers_default_pkey;

CREATE TRIGGER adjustments_guard_history BEFORE DELETE OR TRUNCATE ON core.adjustments FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger('Use api.set_rate and api.end_rate; rows of the audit log and of adjustments are not for changing.');

CREATE TRIGGER adjustments_guard_writes BEFORE INSERT OR UPDATE ON core.adjustments FOR EACH STATEMENT WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) EXECUTE FUNCTION core._guard_ledger('Use api.set_rate and api.end_rate; rows of the audit log and of adjustments are not for changing.');

CREATE TRIGGER api_keys_notify_deleted AFTER DELETE ON core.api_keys FOR EACH ROW EXECUTE FUNCTION core._notify_rights('user_id');

CREATE TRIGGER api_keys_notify_rights AFTER UPDATE OF key_hash, old_key_hash, old_key_expires_at, scopes, rate_limit_per_minute, expires_at, deleted_at ON core.api_keys FOR EACH ROW EXECUTE FUNCTION core._notify_rights('user_id');

CREATE TRIGGER audit_log_guard_history BEFORE DELETE OR UPDATE OR TRUNCATE ON core.audit_log FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger('Use api.set_rate and api.end_rate; rows of the audit log and of adjustments are not for changing.');

CREATE TRIGGER captures_guard_history BEFORE DELETE OR UPDATE OR TRUNCATE ON core.captures FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER captures_guard_writes BEFORE INSERT ON core.captures FOR EACH STATEMENT WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER entries_guard_history BEFORE DELETE OR UPDATE OR TRUNCATE ON core.entries FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER entries_guard_writes BEFORE INSERT ON core.entries FOR EACH STATEMENT WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER guard_partition BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON core.audit_log_default FOR EACH STATEMENT EXECUTE FUNCTION core._guard_partition();

CREATE TRIGGER guard_partition BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON core.entries_default FOR EACH STATEMENT EXECUTE FUNCTION core._guard_partition();

CREATE TRIGGER guard_partition BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON core.outbox_default FOR EACH STATEMENT EXECUTE FUNCTION core._guard_partition();

CREATE TRIGGER guard_partition BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON core.tips_default FOR EACH STATEMENT EXECUTE FUNCTION core._guard_partition();

CREATE TRIGGER guard_partition BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON core.transfers_default FOR EACH STATEMENT EXECUTE FUNCTION core._guard_partition();

CREATE TRIGGER holds_guard_history BEFORE DELETE OR TRUNCATE ON core.holds FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER holds_guard_writes BEFORE INSERT OR UPDATE ON core.holds FOR EACH STATEMENT WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER idempotency_keys_guard_history BEFORE DELETE OR UPDATE OR TRUNCATE ON core.idempotency_keys FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER job_runs_tell AFTER UPDATE ON core.job_runs FOR EACH ROW WHEN ((((new.failures_in_a_row = 3) AND (old.failures_in_a_row = 2)) OR ((new.failures_in_a_row = 0) AND (old.failures_in_a_row >= 3)))) EXECUTE FUNCTION core._tell_of_job();

CREATE TRIGGER meter_blocks_guard_history BEFORE DELETE OR TRUNCATE ON core.meter_blocks FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER meter_blocks_guard_writes BEFORE INSERT OR UPDATE ON core.meter_blocks FOR EACH STATEMENT WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER payment_events_guard_history BEFORE DELETE OR TRUNCATE ON core.payment_events FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER payment_events_guard_writes BEFORE INSERT OR UPDATE ON core.payment_events FOR EACH STATEMENT WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER payment_transfers_guard_history BEFORE DELETE OR UPDATE OR TRUNCATE ON core.payment_transfers FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER payment_transfers_guard_writes BEFORE INSERT ON core.payment_transfers FOR EACH STATEMENT WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER payments_guard_history BEFORE DELETE OR TRUNCATE ON core.payments FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER payments_guard_writes BEFORE INSERT OR UPDATE ON core.payments FOR EACH STATEMENT WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER payout_accounts_guard_history BEFORE DELETE OR TRUNCATE ON core.payout_accounts FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER payout_accounts_guard_writes BEFORE INSERT OR UPDATE ON core.payout_accounts FOR EACH STATEMENT WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER payouts_guard_history BEFORE DELETE OR TRUNCATE ON core.payouts FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER payouts_guard_writes BEFORE INSERT OR UPDATE ON core.payouts FOR EACH STATEMENT WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER rates_guard_history BEFORE DELETE OR TRUNCATE ON core.rates FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger('Use api.set_rate and api.end_rate; rows of the audit log and of adjustments are not for changing.');

CREATE TRIGGER rates_guard_writes BEFORE UPDATE ON core.rates FOR EACH STATEMENT WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) EXECUTE FUNCTION core._guard_ledger('Use api.set_rate and api.end_rate; rows of the audit log and of adjustments are not for changing.');

CREATE TRIGGER refunds_guard_history BEFORE DELETE OR UPDATE OR TRUNCATE ON core.refunds FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER refunds_guard_writes BEFORE INSERT ON core.refunds FOR EACH STATEMENT WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER seals_guard_history BEFORE DELETE OR UPDATE OR TRUNCATE ON core.seals FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger('api.seal_entries adds seals; nothing takes them away.');

CREATE TRIGGER seals_guard_writes BEFORE INSERT ON core.seals FOR EACH STATEMENT WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) EXECUTE FUNCTION core._guard_ledger('api.seal_entries adds seals; nothing takes them away.');

CREATE TRIGGER sessions_notify_deleted AFTER DELETE ON core.sessions FOR EACH ROW WHEN (((old.revoked_at IS NULL) AND (old.expires_at > now()))) EXECUTE FUNCTION core._notify_rights('user_id');

CREATE TRIGGER sessions_notify_revoked AFTER UPDATE OF revoked_at ON core.sessions FOR EACH ROW WHEN ((old.revoked_at IS DISTINCT FROM new.revoked_at)) EXECUTE FUNCTION core._notify_rights('user_id');

CREATE TRIGGER tickets_guard_history BEFORE DELETE OR TRUNCATE ON core.tickets FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER tickets_guard_writes BEFORE INSERT OR UPDATE ON core.tickets FOR EACH STATEMENT WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER tips_guard_history BEFORE DELETE OR UPDATE OR TRUNCATE ON core.tips FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER transfers_guard_history BEFORE DELETE OR UPDATE OR TRUNCATE ON core.transfers FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER transfers_guard_writes BEFORE INSERT ON core.transfers FOR EACH STATEMENT WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER users_guard_referral BEFORE UPDATE ON core.users FOR EACH ROW WHEN ((new.referred_by_id IS DISTINCT FROM old.referred_by_id)) EXECUTE FUNCTION core._guard_referral();

CREATE TRIGGER users_guard_referral_insert BEFORE INSERT ON core.users FOR EACH ROW WHEN ((new.referred_by_id IS NOT NULL)) EXECUTE FUNCTION core._guard_referral();

CREATE TRIGGER users_notify_rights AFTER UPDATE ON core.users FOR EACH ROW WHEN ((((old.status IS DISTINCT FROM new.status) OR (old.roles IS DISTINCT FROM new.roles)) OR (old.token_epoch IS DISTINCT FROM new.token_epoch))) EXECUTE FUNCTION core._notify_rights('id');

CREATE TRIGGER users_open_wallets AFTER INSERT ON core.users FOR EACH ROW EXECUTE FUNCTION core._open_wallets();

CREATE TRIGGER wallets_guard_history BEFORE DELETE OR TRUNCATE ON core.wallets FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE TRIGGER wallets_guard_writes BEFORE INSERT OR UPDATE ON core.wallets FOR EACH STATEMENT WHEN (((CURRENT_USER)::text <> 'tessera_ledger'::text)) EXECUTE FUNCTION core._guard_ledger();

ALTER TABLE ONLY core.api_keys
    ADD CONSTRAINT api_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES core.users(id);

ALTER TABLE ONLY core.creator_settings
    ADD CONSTRAINT creator_settings_user_id_fkey FOREIGN KEY (user_id) REFERENCES core.users(id);

ALTER TABLE ONLY core.partitions
    ADD CONSTRAINT partitions_table_name_fkey FOREIGN KEY (table_name) REFERENCES core.partitioned(name);

ALTER TABLE ONLY core.payout_accounts
    ADD CONSTRAINT payout_accounts_user_id_fkey FOREIGN KEY (user_id) REFERENCES core.users(id);

ALTER TABLE ONLY core.payout_reports
    ADD CONSTRAINT payout_reports_payout_id_fkey FOREIGN KEY (payout_id) REFERENCES core.payouts(id);

ALTER TABLE ONLY core.payouts
    ADD CONSTRAINT payouts_account_id_fkey FOREIGN KEY (account_id) REFERENCES core.payout_accounts(id);

ALTER TABLE ONLY core.payouts
    ADD CONSTRAINT payouts_user_id_fkey FOREIGN KEY (user_id) REFERENCES core.users(id);

ALTER TABLE ONLY core.rates
    ADD CONSTRAINT rates_asset_fkey FOREIGN KEY (asset) REFERENCES core.assets(code);

ALTER TABLE ONLY core.refresh_tokens
    ADD CONSTRAINT refresh_tokens_session_id_fkey FOREIGN KEY (session_id) REFERENCES core.sessions(id) ON DELETE CASCADE;

ALTER TABLE ONLY core.sessions
    ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES core.users(id);

ALTER TABLE ONLY core.totp_secrets
    ADD CONSTRAINT totp_secrets_user_id_fkey FOREIGN KEY (user_id) REFERENCES core.users(id);

ALTER TABLE ONLY core.users
    ADD CONSTRAINT users_referred_by_id_fkey FOREIGN KEY (referred_by_id) REFERENCES core.users(id);

ALTER TABLE ONLY core.wallets
    ADD CONSTRAINT wallets_asset_fkey FOREIGN KEY (asset) REFERENCES core.assets(code);

ALTER TABLE ONLY core.wallets
    ADD CONSTRAINT wallets_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES core.users(id);

GRANT USAGE ON SCHEMA api TO tessera_ledger;
GRANT USAGE ON SCHEMA api TO tessera_app;
GRANT USAGE ON SCHEMA api TO tessera_scheduler;
GRANT USAGE ON SCHEMA api TO tessera_dba;
GRANT USAGE ON SCHEMA api TO tessera_readonly;

GRANT USAGE ON SCHEMA core TO tessera_ledger;
GRANT USAGE ON SCHEMA core TO tessera_app;
GRANT USAGE ON SCHEMA core TO tessera_scheduler;
GRANT USAGE ON SCHEMA core TO tessera_dba;

REVOKE ALL ON FUNCTION core.uuid7() FROM PUBLIC;
GRANT ALL ON FUNCTION core.uuid7() TO tessera_ledger;
GRANT ALL ON FUNCTION core.uuid7() TO tessera_app;
GRANT ALL ON FUNCTION core.uuid7() TO tessera_scheduler;
GRANT ALL ON FUNCTION core.uuid7() TO tessera_dba;

GRANT SELECT ON TABLE core.call_clocks TO tessera_dba;
GRANT SELECT,INSERT,DELETE ON TABLE core.call_clocks TO tessera_ledger;

GRANT UPDATE(due_at) ON TABLE core.call_clocks TO tessera_ledger;

GRANT UPDATE(running_since) ON TABLE core.call_clocks TO tessera_ledger;

GRANT UPDATE(active_us) ON TABLE core.call_clocks TO tessera_ledger;

GRANT UPDATE(billed) ON TABLE core.call_clocks TO tessera_ledger;

GRANT UPDATE(platform_fees) ON TABLE core.call_clocks TO tessera_ledger;

GRANT UPDATE(fan_seen_at) ON TABLE core.call_clocks TO tessera_ledger;

GRANT UPDATE(creator_seen_at) ON TABLE core.call_clocks TO tessera_ledger;

GRANT UPDATE(fan_left_at) ON TABLE core.call_clocks TO tessera_ledger;

GRANT UPDATE(creator_left_at) ON TABLE core.call_clocks TO tessera_ledger;

GRANT UPDATE(blocks) ON TABLE core.call_clocks TO tessera_ledger;

GRANT UPDATE(warned) ON TABLE core.call_clocks TO tessera_ledger;

GRANT SELECT ON TABLE core.calls TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.calls TO tessera_ledger;

GRANT UPDATE(active_us) ON TABLE core.calls TO tessera_ledger;

GRANT UPDATE(billed) ON TABLE core.calls TO tessera_ledger;

GRANT UPDATE(platform_fees) ON TABLE core.calls TO tessera_ledger;

GRANT UPDATE(accepted_at) ON TABLE core.calls TO tessera_ledger;

GRANT UPDATE(ended_at) ON TABLE core.calls TO tessera_ledger;

GRANT UPDATE(ended_by) ON TABLE core.calls TO tessera_ledger;

GRANT UPDATE(blocks) ON TABLE core.calls TO tessera_ledger;

GRANT UPDATE(status) ON TABLE core.calls TO tessera_ledger;

GRANT UPDATE(end_reason) ON TABLE core.calls TO tessera_ledger;

GRANT SELECT ON TABLE api.calls TO tessera_app;
GRANT SELECT ON TABLE api.calls TO tessera_scheduler;
GRANT SELECT ON TABLE api.calls TO tessera_dba;
GRANT SELECT ON TABLE api.calls TO tessera_readonly;
GRANT SELECT ON TABLE api.calls TO tessera_ledger;

REVOKE ALL ON FUNCTION api.accept_call(p_call uuid, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.accept_call(p_call uuid, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.accept_call(p_call uuid, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.accept_call(p_call uuid, p_actor uuid) TO tessera_dba;

REVOKE ALL ON TABLE core.payout_accounts FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN,UPDATE ON TABLE core.payout_accounts TO tessera_owner;
GRANT SELECT ON TABLE core.payout_accounts TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.payout_accounts TO tessera_ledger;
GRANT SELECT ON TABLE core.payout_accounts TO tessera_app;
GRANT SELECT ON TABLE core.payout_accounts TO tessera_scheduler;

GRANT UPDATE(key_id) ON TABLE core.payout_accounts TO tessera_ledger;

GRANT UPDATE(details) ON TABLE core.payout_accounts TO tessera_ledger;

GRANT UPDATE(removed_at) ON TABLE core.payout_accounts TO tessera_ledger;

GRANT SELECT ON TABLE api.payout_accounts TO tessera_app;
GRANT SELECT ON TABLE api.payout_accounts TO tessera_scheduler;
GRANT SELECT ON TABLE api.payout_accounts TO tessera_dba;
GRANT SELECT ON TABLE api.payout_accounts TO tessera_readonly;
GRANT SELECT ON TABLE api.payout_accounts TO tessera_ledger;

REVOKE ALL ON FUNCTION api.add_payout_account(p_account uuid, p_user uuid, p_provider text, p_currency text, p_masked text, p_key_id text, p_details bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION api.add_payout_account(p_account uuid, p_user uuid, p_provider text, p_currency text, p_masked text, p_key_id text, p_details bytea) TO tessera_app;
GRANT ALL ON FUNCTION api.add_payout_account(p_account uuid, p_user uuid, p_provider text, p_currency text, p_masked text, p_key_id text, p_details bytea) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.add_payout_account(p_account uuid, p_user uuid, p_provider text, p_currency text, p_masked text, p_key_id text, p_details bytea) TO tessera_dba;

REVOKE ALL ON TABLE core.adjustments FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.adjustments TO tessera_owner;
GRANT SELECT ON TABLE core.adjustments TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.adjustments TO tessera_ledger;

GRANT UPDATE(status) ON TABLE core.adjustments TO tessera_ledger;

GRANT UPDATE(decided_by) ON TABLE core.adjustments TO tessera_ledger;

GRANT UPDATE(decided_db_user) ON TABLE core.adjustments TO tessera_ledger;

GRANT UPDATE(decided_at) ON TABLE core.adjustments TO tessera_ledger;

GRANT UPDATE(decision_reason) ON TABLE core.adjustments TO tessera_ledger;

GRANT UPDATE(transfer_id) ON TABLE core.adjustments TO tessera_ledger;

GRANT SELECT ON TABLE api.adjustments TO tessera_app;
GRANT SELECT ON TABLE api.adjustments TO tessera_scheduler;
GRANT SELECT ON TABLE api.adjustments TO tessera_dba;
GRANT SELECT ON TABLE api.adjustments TO tessera_readonly;
GRANT SELECT ON TABLE api.adjustments TO tessera_ledger;

REVOKE ALL ON FUNCTION api.approve_adjustment(p_adjustment uuid, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.approve_adjustment(p_adjustment uuid, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.approve_adjustment(p_adjustment uuid, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.approve_adjustment(p_adjustment uuid, p_actor uuid) TO tessera_dba;

GRANT SELECT ON TABLE core.payout_reports TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.payout_reports TO tessera_ledger;

GRANT UPDATE(state) ON TABLE core.payout_reports TO tessera_ledger;

GRANT UPDATE(reference) ON TABLE core.payout_reports TO tessera_ledger;

GRANT UPDATE(amount) ON TABLE core.payout_reports TO tessera_ledger;

GRANT UPDATE(currency) ON TABLE core.payout_reports TO tessera_ledger;

GRANT UPDATE(reason) ON TABLE core.payout_reports TO tessera_ledger;

GRANT UPDATE(reported_at) ON TABLE core.payout_reports TO tessera_ledger;

REVOKE ALL ON TABLE core.payouts FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN,UPDATE ON TABLE core.payouts TO tessera_owner;
GRANT SELECT ON TABLE core.payouts TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.payouts TO tessera_ledger;

GRANT UPDATE(status) ON TABLE core.payouts TO tessera_ledger;

GRANT UPDATE(reason) ON TABLE core.payouts TO tessera_ledger;

GRANT UPDATE(processing_at) ON TABLE core.payouts TO tessera_ledger;

GRANT UPDATE(paid_at) ON TABLE core.payouts TO tessera_ledger;

GRANT UPDATE(closed_at) ON TABLE core.payouts TO tessera_ledger;

GRANT UPDATE(next_at) ON TABLE core.payouts TO tessera_ledger;

GRANT UPDATE(sending_at) ON TABLE core.payouts TO tessera_ledger;

GRANT UPDATE(lease) ON TABLE core.payouts TO tessera_ledger;

GRANT UPDATE(attempts) ON TABLE core.payouts TO tessera_ledger;

GRANT UPDATE(provider_reference) ON TABLE core.payouts TO tessera_ledger;

GRANT UPDATE(transfer_id) ON TABLE core.payouts TO tessera_ledger;

GRANT UPDATE(paid_transfer_id) ON TABLE core.payouts TO tessera_ledger;

GRANT UPDATE(decided_by) ON TABLE core.payouts TO tessera_ledger;

GRANT SELECT ON TABLE api.payouts TO tessera_app;
GRANT SELECT ON TABLE api.payouts TO tessera_scheduler;
GRANT SELECT ON TABLE api.payouts TO tessera_dba;
GRANT SELECT ON TABLE api.payouts TO tessera_readonly;
GRANT SELECT ON TABLE api.payouts TO tessera_ledger;

REVOKE ALL ON FUNCTION api.approve_payout(p_payout uuid, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.approve_payout(p_payout uuid, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.approve_payout(p_payout uuid, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.approve_payout(p_payout uuid, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.attach_month(p_what text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.attach_month(p_what text) TO tessera_dba;

REVOKE ALL ON FUNCTION api.audit_ledger() FROM PUBLIC;
GRANT ALL ON FUNCTION api.audit_ledger() TO tessera_app;
GRANT ALL ON FUNCTION api.audit_ledger() TO tessera_scheduler;
GRANT ALL ON FUNCTION api.audit_ledger() TO tessera_dba;

REVOKE ALL ON FUNCTION api.balance_at(p_wallet uuid, p_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION api.balance_at(p_wallet uuid, p_at timestamp with time zone) TO tessera_app;
GRANT ALL ON FUNCTION api.balance_at(p_wallet uuid, p_at timestamp with time zone) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.balance_at(p_wallet uuid, p_at timestamp with time zone) TO tessera_dba;

REVOKE ALL ON FUNCTION api.balance_at_seq(p_wallet uuid, p_seq bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION api.balance_at_seq(p_wallet uuid, p_seq bigint) TO tessera_app;
GRANT ALL ON FUNCTION api.balance_at_seq(p_wallet uuid, p_seq bigint) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.balance_at_seq(p_wallet uuid, p_seq bigint) TO tessera_dba;

REVOKE ALL ON FUNCTION api.ban_user(p_creator uuid, p_user uuid, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.ban_user(p_creator uuid, p_user uuid, p_reason text) TO tessera_app;
GRANT ALL ON FUNCTION api.ban_user(p_creator uuid, p_user uuid, p_reason text) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.ban_user(p_creator uuid, p_user uuid, p_reason text) TO tessera_dba;

REVOKE ALL ON FUNCTION api.beat_calls(p_beats api.call_beat[]) FROM PUBLIC;
GRANT ALL ON FUNCTION api.beat_calls(p_beats api.call_beat[]) TO tessera_app;
GRANT ALL ON FUNCTION api.beat_calls(p_beats api.call_beat[]) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.beat_calls(p_beats api.call_beat[]) TO tessera_dba;

REVOKE ALL ON FUNCTION api.buy_ticket(p_viewer uuid, p_stream uuid, p_key text, OUT ticket_id uuid, OUT price bigint, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION api.buy_ticket(p_viewer uuid, p_stream uuid, p_key text, OUT ticket_id uuid, OUT price bigint, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) TO tessera_app;
GRANT ALL ON FUNCTION api.buy_ticket(p_viewer uuid, p_stream uuid, p_key text, OUT ticket_id uuid, OUT price bigint, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.buy_ticket(p_viewer uuid, p_stream uuid, p_key text, OUT ticket_id uuid, OUT price bigint, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) TO tessera_dba;

REVOKE ALL ON FUNCTION api.buy_tickets(p_tickets api.ticket_request[]) FROM PUBLIC;
GRANT ALL ON FUNCTION api.buy_tickets(p_tickets api.ticket_request[]) TO tessera_app;
GRANT ALL ON FUNCTION api.buy_tickets(p_tickets api.ticket_request[]) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.buy_tickets(p_tickets api.ticket_request[]) TO tessera_dba;

REVOKE ALL ON FUNCTION api.call_stats(p_user uuid, p_role text, p_from timestamp with time zone, p_to timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION api.call_stats(p_user uuid, p_role text, p_from timestamp with time zone, p_to timestamp with time zone) TO tessera_app;
GRANT ALL ON FUNCTION api.call_stats(p_user uuid, p_role text, p_from timestamp with time zone, p_to timestamp with time zone) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.call_stats(p_user uuid, p_role text, p_from timestamp with time zone, p_to timestamp with time zone) TO tessera_dba;

REVOKE ALL ON FUNCTION api.cancel_no_shows(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION api.cancel_no_shows(p_limit integer) TO tessera_app;
GRANT ALL ON FUNCTION api.cancel_no_shows(p_limit integer) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.cancel_no_shows(p_limit integer) TO tessera_dba;

REVOKE ALL ON FUNCTION api.cancel_payout(p_payout uuid, p_user uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.cancel_payout(p_payout uuid, p_user uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.cancel_payout(p_payout uuid, p_user uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.cancel_payout(p_payout uuid, p_user uuid) TO tessera_dba;

GRANT SELECT ON TABLE core.stream_totals TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.stream_totals TO tessera_ledger;

GRANT UPDATE(tips) ON TABLE core.stream_totals TO tessera_ledger;

GRANT UPDATE(tip_count) ON TABLE core.stream_totals TO tessera_ledger;

GRANT SELECT ON TABLE core.stream_viewers TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.stream_viewers TO tessera_ledger;

GRANT UPDATE(viewers) ON TABLE core.stream_viewers TO tessera_ledger;

GRANT UPDATE(peak) ON TABLE core.stream_viewers TO tessera_ledger;

GRANT UPDATE(counted_at) ON TABLE core.stream_viewers TO tessera_ledger;

GRANT SELECT ON TABLE core.streams TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.streams TO tessera_ledger;

GRANT UPDATE(title) ON TABLE core.streams TO tessera_ledger;

GRANT UPDATE(visibility) ON TABLE core.streams TO tessera_ledger;

GRANT UPDATE(status) ON TABLE core.streams TO tessera_ledger;

GRANT UPDATE(ticket_price) ON TABLE core.streams TO tessera_ledger;

GRANT UPDATE(seats) ON TABLE core.streams TO tessera_ledger;

GRANT UPDATE(seats_sold) ON TABLE core.streams TO tessera_ledger;

GRANT UPDATE(sales_from) ON TABLE core.streams TO tessera_ledger;

GRANT UPDATE(sales_to) ON TABLE core.streams TO tessera_ledger;

GRANT UPDATE(starts_at) ON TABLE core.streams TO tessera_ledger;

GRANT UPDATE(started_at) ON TABLE core.streams TO tessera_ledger;

GRANT UPDATE(ended_at) ON TABLE core.streams TO tessera_ledger;

GRANT UPDATE(cancelled_at) ON TABLE core.streams TO tessera_ledger;

GRANT UPDATE(updated_at) ON TABLE core.streams TO tessera_ledger;

GRANT UPDATE(cancel_refused_at) ON TABLE core.streams TO tessera_ledger;

GRANT SELECT ON TABLE api.streams TO tessera_app;
GRANT SELECT ON TABLE api.streams TO tessera_scheduler;
GRANT SELECT ON TABLE api.streams TO tessera_dba;
GRANT SELECT ON TABLE api.streams TO tessera_readonly;
GRANT SELECT ON TABLE api.streams TO tessera_ledger;

REVOKE ALL ON FUNCTION api.cancel_stream(p_stream uuid, p_reason text, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.cancel_stream(p_stream uuid, p_reason text, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.cancel_stream(p_stream uuid, p_reason text, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.cancel_stream(p_stream uuid, p_reason text, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.capture_hold(p_hold uuid, p_to uuid, p_amount bigint, p_close boolean, p_key text, p_reference text, p_actor uuid, p_metadata jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION api.capture_hold(p_hold uuid, p_to uuid, p_amount bigint, p_close boolean, p_key text, p_reference text, p_actor uuid, p_metadata jsonb) TO tessera_app;
GRANT ALL ON FUNCTION api.capture_hold(p_hold uuid, p_to uuid, p_amount bigint, p_close boolean, p_key text, p_reference text, p_actor uuid, p_metadata jsonb) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.capture_hold(p_hold uuid, p_to uuid, p_amount bigint, p_close boolean, p_key text, p_reference text, p_actor uuid, p_metadata jsonb) TO tessera_dba;

REVOKE ALL ON FUNCTION api.channel_position(p_channel text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.channel_position(p_channel text) TO tessera_app;
GRANT ALL ON FUNCTION api.channel_position(p_channel text) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.channel_position(p_channel text) TO tessera_dba;

REVOKE ALL ON FUNCTION api.claim_payment_refunds(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION api.claim_payment_refunds(p_limit integer) TO tessera_app;
GRANT ALL ON FUNCTION api.claim_payment_refunds(p_limit integer) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.claim_payment_refunds(p_limit integer) TO tessera_dba;

REVOKE ALL ON FUNCTION api.claim_payments(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION api.claim_payments(p_limit integer) TO tessera_app;
GRANT ALL ON FUNCTION api.claim_payments(p_limit integer) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.claim_payments(p_limit integer) TO tessera_dba;

REVOKE ALL ON FUNCTION api.claim_payout(p_lease interval) FROM PUBLIC;
GRANT ALL ON FUNCTION api.claim_payout(p_lease interval) TO tessera_app;
GRANT ALL ON FUNCTION api.claim_payout(p_lease interval) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.claim_payout(p_lease interval) TO tessera_dba;

GRANT SELECT ON TABLE core.assets TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.assets TO tessera_ledger;
GRANT SELECT ON TABLE core.assets TO tessera_app;
GRANT SELECT ON TABLE core.assets TO tessera_scheduler;

REVOKE ALL ON TABLE core.wallets FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.wallets TO tessera_owner;
GRANT SELECT ON TABLE core.wallets TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.wallets TO tessera_ledger;

GRANT UPDATE(balance) ON TABLE core.wallets TO tessera_ledger;

GRANT UPDATE(held) ON TABLE core.wallets TO tessera_ledger;

GRANT UPDATE(minimum) ON TABLE core.wallets TO tessera_ledger;

GRANT UPDATE(version) ON TABLE core.wallets TO tessera_ledger;

GRANT UPDATE(lifetime_earned) ON TABLE core.wallets TO tessera_ledger;

GRANT UPDATE(lifetime_spent) ON TABLE core.wallets TO tessera_ledger;

GRANT UPDATE(last_entry_at) ON TABLE core.wallets TO tessera_ledger;

GRANT UPDATE(status) ON TABLE core.wallets TO tessera_ledger;

GRANT UPDATE(debt) ON TABLE core.wallets TO tessera_ledger;

GRANT SELECT ON TABLE api.wallets TO tessera_app;
GRANT SELECT ON TABLE api.wallets TO tessera_scheduler;
GRANT SELECT ON TABLE api.wallets TO tessera_dba;
GRANT SELECT ON TABLE api.wallets TO tessera_readonly;
GRANT SELECT ON TABLE api.wallets TO tessera_ledger;

REVOKE ALL ON FUNCTION api.close_wallet(p_wallet uuid, p_reason text, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.close_wallet(p_wallet uuid, p_reason text, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.close_wallet(p_wallet uuid, p_reason text, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.close_wallet(p_wallet uuid, p_reason text, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.count_viewers(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION api.count_viewers(p_limit integer) TO tessera_app;
GRANT ALL ON FUNCTION api.count_viewers(p_limit integer) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.count_viewers(p_limit integer) TO tessera_dba;

REVOKE ALL ON FUNCTION api.create_asset(p_code text, p_scale integer, p_name text, p_opens_with_user boolean, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.create_asset(p_code text, p_scale integer, p_name text, p_opens_with_user boolean, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.create_asset(p_code text, p_scale integer, p_name text, p_opens_with_user boolean, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.create_asset(p_code text, p_scale integer, p_name text, p_opens_with_user boolean, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.create_stream(p_creator uuid, p_title text, p_channel text, p_visibility text, p_ticket_price bigint, p_seats integer, p_starts_at timestamp with time zone, p_sales_from timestamp with time zone, p_sales_to timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION api.create_stream(p_creator uuid, p_title text, p_channel text, p_visibility text, p_ticket_price bigint, p_seats integer, p_starts_at timestamp with time zone, p_sales_from timestamp with time zone, p_sales_to timestamp with time zone) TO tessera_app;
GRANT ALL ON FUNCTION api.create_stream(p_creator uuid, p_title text, p_channel text, p_visibility text, p_ticket_price bigint, p_seats integer, p_starts_at timestamp with time zone, p_sales_from timestamp with time zone, p_sales_to timestamp with time zone) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.create_stream(p_creator uuid, p_title text, p_channel text, p_visibility text, p_ticket_price bigint, p_seats integer, p_starts_at timestamp with time zone, p_sales_from timestamp with time zone, p_sales_to timestamp with time zone) TO tessera_dba;

GRANT SELECT ON TABLE core.token_packages TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.token_packages TO tessera_ledger;

GRANT UPDATE(active_to) ON TABLE core.token_packages TO tessera_ledger;

GRANT SELECT ON TABLE api.token_packages TO tessera_app;
GRANT SELECT ON TABLE api.token_packages TO tessera_scheduler;
GRANT SELECT ON TABLE api.token_packages TO tessera_dba;
GRANT SELECT ON TABLE api.token_packages TO tessera_readonly;
GRANT SELECT ON TABLE api.token_packages TO tessera_ledger;

REVOKE ALL ON FUNCTION api.create_token_package(p_name text, p_tokens bigint, p_bonus bigint, p_price bigint, p_currency text, p_active_from timestamp with time zone, p_active_to timestamp with time zone, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.create_token_package(p_name text, p_tokens bigint, p_bonus bigint, p_price bigint, p_currency text, p_active_from timestamp with time zone, p_active_to timestamp with time zone, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.create_token_package(p_name text, p_tokens bigint, p_bonus bigint, p_price bigint, p_currency text, p_active_from timestamp with time zone, p_active_to timestamp with time zone, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.create_token_package(p_name text, p_tokens bigint, p_bonus bigint, p_price bigint, p_currency text, p_active_from timestamp with time zone, p_active_to timestamp with time zone, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.create_webhook_endpoint(p_user uuid, p_url text, p_event_types text[], p_description text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.create_webhook_endpoint(p_user uuid, p_url text, p_event_types text[], p_description text) TO tessera_app;
GRANT ALL ON FUNCTION api.create_webhook_endpoint(p_user uuid, p_url text, p_event_types text[], p_description text) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.create_webhook_endpoint(p_user uuid, p_url text, p_event_types text[], p_description text) TO tessera_dba;

REVOKE ALL ON FUNCTION api.credit_with_referral(p_user uuid, p_amount bigint, p_asset text, p_reason text, p_key text, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.credit_with_referral(p_user uuid, p_amount bigint, p_asset text, p_reason text, p_key text, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.credit_with_referral(p_user uuid, p_amount bigint, p_asset text, p_reason text, p_key text, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.credit_with_referral(p_user uuid, p_amount bigint, p_asset text, p_reason text, p_key text, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.decline_call(p_call uuid, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.decline_call(p_call uuid, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.decline_call(p_call uuid, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.decline_call(p_call uuid, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.delete_webhook_endpoint(p_endpoint uuid, p_user uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.delete_webhook_endpoint(p_endpoint uuid, p_user uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.delete_webhook_endpoint(p_endpoint uuid, p_user uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.delete_webhook_endpoint(p_endpoint uuid, p_user uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.detach_month(p_what text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.detach_month(p_what text) TO tessera_dba;

REVOKE ALL ON FUNCTION api.due_payment_events(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION api.due_payment_events(p_limit integer) TO tessera_app;
GRANT ALL ON FUNCTION api.due_payment_events(p_limit integer) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.due_payment_events(p_limit integer) TO tessera_dba;

REVOKE ALL ON FUNCTION api.earnings_statement(p_user uuid, p_year integer) FROM PUBLIC;
GRANT ALL ON FUNCTION api.earnings_statement(p_user uuid, p_year integer) TO tessera_app;
GRANT ALL ON FUNCTION api.earnings_statement(p_user uuid, p_year integer) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.earnings_statement(p_user uuid, p_year integer) TO tessera_dba;

REVOKE ALL ON FUNCTION api.end_call(p_call uuid, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.end_call(p_call uuid, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.end_call(p_call uuid, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.end_call(p_call uuid, p_actor uuid) TO tessera_dba;

REVOKE ALL ON TABLE core.rates FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.rates TO tessera_owner;
GRANT SELECT ON TABLE core.rates TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.rates TO tessera_ledger;
GRANT SELECT ON TABLE core.rates TO tessera_app;
GRANT SELECT ON TABLE core.rates TO tessera_scheduler;

GRANT UPDATE(valid_to) ON TABLE core.rates TO tessera_ledger;

GRANT SELECT ON TABLE api.rates TO tessera_app;
GRANT SELECT ON TABLE api.rates TO tessera_scheduler;
GRANT SELECT ON TABLE api.rates TO tessera_dba;
GRANT SELECT ON TABLE api.rates TO tessera_readonly;
GRANT SELECT ON TABLE api.rates TO tessera_ledger;

REVOKE ALL ON FUNCTION api.end_rate(p_rate uuid, p_at timestamp with time zone, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.end_rate(p_rate uuid, p_at timestamp with time zone, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.end_rate(p_rate uuid, p_at timestamp with time zone, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.end_rate(p_rate uuid, p_at timestamp with time zone, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.end_stream(p_stream uuid, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.end_stream(p_stream uuid, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.end_stream(p_stream uuid, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.end_stream(p_stream uuid, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.end_token_package(p_package uuid, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.end_token_package(p_package uuid, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.end_token_package(p_package uuid, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.end_token_package(p_package uuid, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.enter_room(p_kind text, p_id uuid, p_user uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.enter_room(p_kind text, p_id uuid, p_user uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.enter_room(p_kind text, p_id uuid, p_user uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.enter_room(p_kind text, p_id uuid, p_user uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.expire_holds(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION api.expire_holds(p_limit integer) TO tessera_app;
GRANT ALL ON FUNCTION api.expire_holds(p_limit integer) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.expire_holds(p_limit integer) TO tessera_dba;

REVOKE ALL ON FUNCTION api.fail_payout(p_payout uuid, p_reason text, p_reference text, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.fail_payout(p_payout uuid, p_reason text, p_reference text, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.fail_payout(p_payout uuid, p_reason text, p_reference text, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.fail_payout(p_payout uuid, p_reason text, p_reference text, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.fan_webhooks(p_after uuid, p_cursors integer, p_events integer) FROM PUBLIC;
GRANT ALL ON FUNCTION api.fan_webhooks(p_after uuid, p_cursors integer, p_events integer) TO tessera_app;
GRANT ALL ON FUNCTION api.fan_webhooks(p_after uuid, p_cursors integer, p_events integer) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.fan_webhooks(p_after uuid, p_cursors integer, p_events integer) TO tessera_dba;

REVOKE ALL ON FUNCTION api.finish_webhook(p_delivery uuid, p_attempt integer, p_status integer, p_error text, p_duration_ms integer, p_answer text, p_retry_after integer) FROM PUBLIC;
GRANT ALL ON FUNCTION api.finish_webhook(p_delivery uuid, p_attempt integer, p_status integer, p_error text, p_duration_ms integer, p_answer text, p_retry_after integer) TO tessera_app;
GRANT ALL ON FUNCTION api.finish_webhook(p_delivery uuid, p_attempt integer, p_status integer, p_error text, p_duration_ms integer, p_answer text, p_retry_after integer) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.finish_webhook(p_delivery uuid, p_attempt integer, p_status integer, p_error text, p_duration_ms integer, p_answer text, p_retry_after integer) TO tessera_dba;

REVOKE ALL ON FUNCTION api.follow_channels(p_requests api.follow_request[], p_positions boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION api.follow_channels(p_requests api.follow_request[], p_positions boolean) TO tessera_app;
GRANT ALL ON FUNCTION api.follow_channels(p_requests api.follow_request[], p_positions boolean) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.follow_channels(p_requests api.follow_request[], p_positions boolean) TO tessera_dba;

REVOKE ALL ON FUNCTION api.freeze_wallet(p_wallet uuid, p_reason text, p_mode text, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.freeze_wallet(p_wallet uuid, p_reason text, p_mode text, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.freeze_wallet(p_wallet uuid, p_reason text, p_mode text, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.freeze_wallet(p_wallet uuid, p_reason text, p_mode text, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.grant_tokens(p_user uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid, p_asset text, OUT transfer_id uuid, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION api.grant_tokens(p_user uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid, p_asset text, OUT transfer_id uuid, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) TO tessera_app;
GRANT ALL ON FUNCTION api.grant_tokens(p_user uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid, p_asset text, OUT transfer_id uuid, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.grant_tokens(p_user uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid, p_asset text, OUT transfer_id uuid, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) TO tessera_dba;

REVOKE ALL ON FUNCTION api.hold_lag() FROM PUBLIC;
GRANT ALL ON FUNCTION api.hold_lag() TO tessera_app;
GRANT ALL ON FUNCTION api.hold_lag() TO tessera_scheduler;
GRANT ALL ON FUNCTION api.hold_lag() TO tessera_dba;

REVOKE ALL ON FUNCTION api.hold_payout(p_payout uuid, p_reason text, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.hold_payout(p_payout uuid, p_reason text, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.hold_payout(p_payout uuid, p_reason text, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.hold_payout(p_payout uuid, p_reason text, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.keep_channel_events() FROM PUBLIC;
GRANT ALL ON FUNCTION api.keep_channel_events() TO tessera_app;
GRANT ALL ON FUNCTION api.keep_channel_events() TO tessera_scheduler;
GRANT ALL ON FUNCTION api.keep_channel_events() TO tessera_dba;

REVOKE ALL ON FUNCTION api.lease_webhooks(p_limit integer, p_lease interval) FROM PUBLIC;
GRANT ALL ON FUNCTION api.lease_webhooks(p_limit integer, p_lease interval) TO tessera_scheduler;

REVOKE ALL ON FUNCTION api.leave_streams(p_beats api.watch_beat[]) FROM PUBLIC;
GRANT ALL ON FUNCTION api.leave_streams(p_beats api.watch_beat[]) TO tessera_app;
GRANT ALL ON FUNCTION api.leave_streams(p_beats api.watch_beat[]) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.leave_streams(p_beats api.watch_beat[]) TO tessera_dba;

REVOKE ALL ON FUNCTION api.make_partitions(p_ahead interval) FROM PUBLIC;
GRANT ALL ON FUNCTION api.make_partitions(p_ahead interval) TO tessera_app;
GRANT ALL ON FUNCTION api.make_partitions(p_ahead interval) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.make_partitions(p_ahead interval) TO tessera_dba;

REVOKE ALL ON FUNCTION api.meter_call_block(p_call uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.meter_call_block(p_call uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.meter_call_block(p_call uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.meter_call_block(p_call uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.meter_due_calls(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION api.meter_due_calls(p_limit integer) TO tessera_app;
GRANT ALL ON FUNCTION api.meter_due_calls(p_limit integer) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.meter_due_calls(p_limit integer) TO tessera_dba;

REVOKE ALL ON FUNCTION api.meter_lag() FROM PUBLIC;
GRANT ALL ON FUNCTION api.meter_lag() TO tessera_app;
GRANT ALL ON FUNCTION api.meter_lag() TO tessera_scheduler;
GRANT ALL ON FUNCTION api.meter_lag() TO tessera_dba;

REVOKE ALL ON FUNCTION api.note_live_event(p_id text, p_event text, p_room text, p_identity text, p_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION api.note_live_event(p_id text, p_event text, p_room text, p_identity text, p_at timestamp with time zone) TO tessera_app;
GRANT ALL ON FUNCTION api.note_live_event(p_id text, p_event text, p_room text, p_identity text, p_at timestamp with time zone) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.note_live_event(p_id text, p_event text, p_room text, p_identity text, p_at timestamp with time zone) TO tessera_dba;

REVOKE ALL ON FUNCTION api.note_payment_event(p_fact api.payment_fact) FROM PUBLIC;
GRANT ALL ON FUNCTION api.note_payment_event(p_fact api.payment_fact) TO tessera_app;
GRANT ALL ON FUNCTION api.note_payment_event(p_fact api.payment_fact) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.note_payment_event(p_fact api.payment_fact) TO tessera_dba;

GRANT SELECT ON TABLE core.payment_refunds TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.payment_refunds TO tessera_ledger;

GRANT UPDATE(due_at) ON TABLE core.payment_refunds TO tessera_ledger;

GRANT UPDATE(closed_at) ON TABLE core.payment_refunds TO tessera_ledger;

GRANT UPDATE(tries) ON TABLE core.payment_refunds TO tessera_ledger;

GRANT UPDATE(status) ON TABLE core.payment_refunds TO tessera_ledger;

GRANT UPDATE(provider_refund) ON TABLE core.payment_refunds TO tessera_ledger;

GRANT UPDATE(failure) ON TABLE core.payment_refunds TO tessera_ledger;

GRANT SELECT ON TABLE core.payments TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.payments TO tessera_ledger;

GRANT UPDATE(transfer_id) ON TABLE core.payments TO tessera_ledger;

GRANT UPDATE(refunded) ON TABLE core.payments TO tessera_ledger;

GRANT UPDATE(disputed) ON TABLE core.payments TO tessera_ledger;

GRANT UPDATE(reversed) ON TABLE core.payments TO tessera_ledger;

GRANT UPDATE(check_at) ON TABLE core.payments TO tessera_ledger;

GRANT UPDATE(paid_at) ON TABLE core.payments TO tessera_ledger;

GRANT UPDATE(failed_at) ON TABLE core.payments TO tessera_ledger;

GRANT UPDATE(checks) ON TABLE core.payments TO tessera_ledger;

GRANT UPDATE(status) ON TABLE core.payments TO tessera_ledger;

GRANT UPDATE(reference) ON TABLE core.payments TO tessera_ledger;

GRANT UPDATE(charge) ON TABLE core.payments TO tessera_ledger;

GRANT UPDATE(checkout_url) ON TABLE core.payments TO tessera_ledger;

GRANT UPDATE(failure) ON TABLE core.payments TO tessera_ledger;

GRANT SELECT ON TABLE api.payment_refunds TO tessera_app;
GRANT SELECT ON TABLE api.payment_refunds TO tessera_scheduler;
GRANT SELECT ON TABLE api.payment_refunds TO tessera_dba;
GRANT SELECT ON TABLE api.payment_refunds TO tessera_readonly;
GRANT SELECT ON TABLE api.payment_refunds TO tessera_ledger;

REVOKE ALL ON FUNCTION api.note_payment_refund(p_refund uuid, p_status text, p_provider_refund text, p_failure text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.note_payment_refund(p_refund uuid, p_status text, p_provider_refund text, p_failure text) TO tessera_app;
GRANT ALL ON FUNCTION api.note_payment_refund(p_refund uuid, p_status text, p_provider_refund text, p_failure text) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.note_payment_refund(p_refund uuid, p_status text, p_provider_refund text, p_failure text) TO tessera_dba;

REVOKE ALL ON FUNCTION api.note_payout(p_payout uuid, p_lease uuid, p_state text, p_again_in interval, p_reference text, p_amount bigint, p_currency text, p_reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.note_payout(p_payout uuid, p_lease uuid, p_state text, p_again_in interval, p_reference text, p_amount bigint, p_currency text, p_reason text) TO tessera_app;
GRANT ALL ON FUNCTION api.note_payout(p_payout uuid, p_lease uuid, p_state text, p_again_in interval, p_reference text, p_amount bigint, p_currency text, p_reason text) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.note_payout(p_payout uuid, p_lease uuid, p_state text, p_again_in interval, p_reference text, p_amount bigint, p_currency text, p_reason text) TO tessera_dba;

REVOKE ALL ON FUNCTION api.note_provider_day(p_provider text, p_day date, p_records jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION api.note_provider_day(p_provider text, p_day date, p_records jsonb) TO tessera_app;
GRANT ALL ON FUNCTION api.note_provider_day(p_provider text, p_day date, p_records jsonb) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.note_provider_day(p_provider text, p_day date, p_records jsonb) TO tessera_dba;

REVOKE ALL ON FUNCTION api.open_call(p_fan uuid, p_creator uuid, p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.open_call(p_fan uuid, p_creator uuid, p_key text) TO tessera_app;
GRANT ALL ON FUNCTION api.open_call(p_fan uuid, p_creator uuid, p_key text) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.open_call(p_fan uuid, p_creator uuid, p_key text) TO tessera_dba;

REVOKE ALL ON FUNCTION api.open_payment(p_buyer uuid, p_package uuid, p_provider text, p_success_url text, p_cancel_url text, p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.open_payment(p_buyer uuid, p_package uuid, p_provider text, p_success_url text, p_cancel_url text, p_key text) TO tessera_app;
GRANT ALL ON FUNCTION api.open_payment(p_buyer uuid, p_package uuid, p_provider text, p_success_url text, p_cancel_url text, p_key text) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.open_payment(p_buyer uuid, p_package uuid, p_provider text, p_success_url text, p_cancel_url text, p_key text) TO tessera_dba;

REVOKE ALL ON FUNCTION api.open_system_wallet(p_purpose text, p_asset text, p_minimum bigint, p_shards integer, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.open_system_wallet(p_purpose text, p_asset text, p_minimum bigint, p_shards integer, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.open_system_wallet(p_purpose text, p_asset text, p_minimum bigint, p_shards integer, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.open_system_wallet(p_purpose text, p_asset text, p_minimum bigint, p_shards integer, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.open_wallet(p_owner uuid, p_asset text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.open_wallet(p_owner uuid, p_asset text) TO tessera_app;
GRANT ALL ON FUNCTION api.open_wallet(p_owner uuid, p_asset text) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.open_wallet(p_owner uuid, p_asset text) TO tessera_dba;

REVOKE ALL ON FUNCTION api.partitions() FROM PUBLIC;
GRANT ALL ON FUNCTION api.partitions() TO tessera_app;
GRANT ALL ON FUNCTION api.partitions() TO tessera_scheduler;
GRANT ALL ON FUNCTION api.partitions() TO tessera_dba;

REVOKE ALL ON FUNCTION api.pause_call(p_call uuid, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.pause_call(p_call uuid, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.pause_call(p_call uuid, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.pause_call(p_call uuid, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.payout_balance(p_user uuid, OUT pending bigint, OUT payable bigint, OUT in_payouts bigint, OUT minimum bigint, OUT maturity_days integer) FROM PUBLIC;
GRANT ALL ON FUNCTION api.payout_balance(p_user uuid, OUT pending bigint, OUT payable bigint, OUT in_payouts bigint, OUT minimum bigint, OUT maturity_days integer) TO tessera_app;
GRANT ALL ON FUNCTION api.payout_balance(p_user uuid, OUT pending bigint, OUT payable bigint, OUT in_payouts bigint, OUT minimum bigint, OUT maturity_days integer) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.payout_balance(p_user uuid, OUT pending bigint, OUT payable bigint, OUT in_payouts bigint, OUT minimum bigint, OUT maturity_days integer) TO tessera_dba;

REVOKE ALL ON FUNCTION api.payout_lag(OUT lag interval, OUT requested bigint, OUT held bigint, OUT processing bigint, OUT unknown bigint, OUT tokens bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION api.payout_lag(OUT lag interval, OUT requested bigint, OUT held bigint, OUT processing bigint, OUT unknown bigint, OUT tokens bigint) TO tessera_app;
GRANT ALL ON FUNCTION api.payout_lag(OUT lag interval, OUT requested bigint, OUT held bigint, OUT processing bigint, OUT unknown bigint, OUT tokens bigint) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.payout_lag(OUT lag interval, OUT requested bigint, OUT held bigint, OUT processing bigint, OUT unknown bigint, OUT tokens bigint) TO tessera_dba;

REVOKE ALL ON FUNCTION api.place_hold(p_wallet uuid, p_amount bigint, p_expires_in interval, p_key text, p_kind text, p_reference text, p_actor uuid, p_metadata jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION api.place_hold(p_wallet uuid, p_amount bigint, p_expires_in interval, p_key text, p_kind text, p_reference text, p_actor uuid, p_metadata jsonb) TO tessera_app;
GRANT ALL ON FUNCTION api.place_hold(p_wallet uuid, p_amount bigint, p_expires_in interval, p_key text, p_kind text, p_reference text, p_actor uuid, p_metadata jsonb) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.place_hold(p_wallet uuid, p_amount bigint, p_expires_in interval, p_key text, p_kind text, p_reference text, p_actor uuid, p_metadata jsonb) TO tessera_dba;

REVOKE ALL ON FUNCTION api.post_journal(p_legs api.journal_leg[], p_key text, p_actor uuid, p_metadata jsonb, p_event_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION api.post_journal(p_legs api.journal_leg[], p_key text, p_actor uuid, p_metadata jsonb, p_event_at timestamp with time zone) TO tessera_app;
GRANT ALL ON FUNCTION api.post_journal(p_legs api.journal_leg[], p_key text, p_actor uuid, p_metadata jsonb, p_event_at timestamp with time zone) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.post_journal(p_legs api.journal_leg[], p_key text, p_actor uuid, p_metadata jsonb, p_event_at timestamp with time zone) TO tessera_dba;

REVOKE ALL ON FUNCTION api.post_message(p_stream uuid, p_user uuid, p_body text, p_key text, OUT message_id uuid, OUT created_at timestamp with time zone, OUT replayed boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION api.post_message(p_stream uuid, p_user uuid, p_body text, p_key text, OUT message_id uuid, OUT created_at timestamp with time zone, OUT replayed boolean) TO tessera_app;
GRANT ALL ON FUNCTION api.post_message(p_stream uuid, p_user uuid, p_body text, p_key text, OUT message_id uuid, OUT created_at timestamp with time zone, OUT replayed boolean) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.post_message(p_stream uuid, p_user uuid, p_body text, p_key text, OUT message_id uuid, OUT created_at timestamp with time zone, OUT replayed boolean) TO tessera_dba;

REVOKE ALL ON FUNCTION api.prune_webhooks(p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION api.prune_webhooks(p_limit integer) TO tessera_app;
GRANT ALL ON FUNCTION api.prune_webhooks(p_limit integer) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.prune_webhooks(p_limit integer) TO tessera_dba;

REVOKE ALL ON FUNCTION api.read_channel(p_channel text, p_epoch uuid, p_after_seq bigint, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION api.read_channel(p_channel text, p_epoch uuid, p_after_seq bigint, p_limit integer) TO tessera_app;
GRANT ALL ON FUNCTION api.read_channel(p_channel text, p_epoch uuid, p_after_seq bigint, p_limit integer) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.read_channel(p_channel text, p_epoch uuid, p_after_seq bigint, p_limit integer) TO tessera_dba;

REVOKE ALL ON FUNCTION api.read_channels(p_channels text[], p_after_seqs bigint[], p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION api.read_channels(p_channels text[], p_after_seqs bigint[], p_limit integer) TO tessera_app;
GRANT ALL ON FUNCTION api.read_channels(p_channels text[], p_after_seqs bigint[], p_limit integer) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.read_channels(p_channels text[], p_after_seqs bigint[], p_limit integer) TO tessera_dba;

REVOKE ALL ON FUNCTION api.reconcile(p_provider text, p_day date) FROM PUBLIC;
GRANT ALL ON FUNCTION api.reconcile(p_provider text, p_day date) TO tessera_app;
GRANT ALL ON FUNCTION api.reconcile(p_provider text, p_day date) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.reconcile(p_provider text, p_day date) TO tessera_dba;

REVOKE ALL ON FUNCTION api.reconcile_payouts(p_provider text, p_day date, p_records api.payout_record[]) FROM PUBLIC;
GRANT ALL ON FUNCTION api.reconcile_payouts(p_provider text, p_day date, p_records api.payout_record[]) TO tessera_app;
GRANT ALL ON FUNCTION api.reconcile_payouts(p_provider text, p_day date, p_records api.payout_record[]) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.reconcile_payouts(p_provider text, p_day date, p_records api.payout_record[]) TO tessera_dba;

REVOKE ALL ON FUNCTION api.reencrypt_payout_account(p_account uuid, p_old_key_id text, p_key_id text, p_details bytea) FROM PUBLIC;
GRANT ALL ON FUNCTION api.reencrypt_payout_account(p_account uuid, p_old_key_id text, p_key_id text, p_details bytea) TO tessera_app;
GRANT ALL ON FUNCTION api.reencrypt_payout_account(p_account uuid, p_old_key_id text, p_key_id text, p_details bytea) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.reencrypt_payout_account(p_account uuid, p_old_key_id text, p_key_id text, p_details bytea) TO tessera_dba;

REVOKE ALL ON FUNCTION api.refund_transfer(p_transfer uuid, p_amount bigint, p_key text, p_policy text, p_reason text, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.refund_transfer(p_transfer uuid, p_amount bigint, p_key text, p_policy text, p_reason text, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.refund_transfer(p_transfer uuid, p_amount bigint, p_key text, p_policy text, p_reason text, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.refund_transfer(p_transfer uuid, p_amount bigint, p_key text, p_policy text, p_reason text, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.register_user(p_email text, p_username text, p_display_name text, p_password_hash text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.register_user(p_email text, p_username text, p_display_name text, p_password_hash text) TO tessera_app;
GRANT ALL ON FUNCTION api.register_user(p_email text, p_username text, p_display_name text, p_password_hash text) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.register_user(p_email text, p_username text, p_display_name text, p_password_hash text) TO tessera_dba;

REVOKE ALL ON FUNCTION api.reject_adjustment(p_adjustment uuid, p_reason text, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.reject_adjustment(p_adjustment uuid, p_reason text, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.reject_adjustment(p_adjustment uuid, p_reason text, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.reject_adjustment(p_adjustment uuid, p_reason text, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.relay_events(p_limit integer, p_backlog boolean, p_age interval, p_channels text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION api.relay_events(p_limit integer, p_backlog boolean, p_age interval, p_channels text[]) TO tessera_app;
GRANT ALL ON FUNCTION api.relay_events(p_limit integer, p_backlog boolean, p_age interval, p_channels text[]) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.relay_events(p_limit integer, p_backlog boolean, p_age interval, p_channels text[]) TO tessera_dba;

REVOKE ALL ON FUNCTION api.relay_lag() FROM PUBLIC;
GRANT ALL ON FUNCTION api.relay_lag() TO tessera_app;
GRANT ALL ON FUNCTION api.relay_lag() TO tessera_scheduler;
GRANT ALL ON FUNCTION api.relay_lag() TO tessera_dba;

REVOKE ALL ON FUNCTION api.release_hold(p_hold uuid, p_key text, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.release_hold(p_hold uuid, p_key text, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.release_hold(p_hold uuid, p_key text, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.release_hold(p_hold uuid, p_key text, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.remove_message(p_stream uuid, p_message uuid, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.remove_message(p_stream uuid, p_message uuid, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.remove_message(p_stream uuid, p_message uuid, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.remove_message(p_stream uuid, p_message uuid, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.remove_payout_account(p_account uuid, p_user uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.remove_payout_account(p_account uuid, p_user uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.remove_payout_account(p_account uuid, p_user uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.remove_payout_account(p_account uuid, p_user uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.repeat_payout(p_user uuid, p_amount bigint, p_account uuid, p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.repeat_payout(p_user uuid, p_amount bigint, p_account uuid, p_key text) TO tessera_app;
GRANT ALL ON FUNCTION api.repeat_payout(p_user uuid, p_amount bigint, p_account uuid, p_key text) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.repeat_payout(p_user uuid, p_amount bigint, p_account uuid, p_key text) TO tessera_dba;

GRANT SELECT ON TABLE core.webhook_deliveries TO tessera_dba;
GRANT SELECT,INSERT,DELETE ON TABLE core.webhook_deliveries TO tessera_ledger;

GRANT UPDATE(status) ON TABLE core.webhook_deliveries TO tessera_ledger;

GRANT UPDATE(tries) ON TABLE core.webhook_deliveries TO tessera_ledger;

GRANT UPDATE(attempts) ON TABLE core.webhook_deliveries TO tessera_ledger;

GRANT UPDATE(due_at) ON TABLE core.webhook_deliveries TO tessera_ledger;

GRANT UPDATE(leased_at) ON TABLE core.webhook_deliveries TO tessera_ledger;

GRANT UPDATE(leased_until) ON TABLE core.webhook_deliveries TO tessera_ledger;

GRANT UPDATE(last_status) ON TABLE core.webhook_deliveries TO tessera_ledger;

GRANT UPDATE(last_error) ON TABLE core.webhook_deliveries TO tessera_ledger;

GRANT UPDATE(ended_at) ON TABLE core.webhook_deliveries TO tessera_ledger;

GRANT SELECT ON TABLE core.webhook_endpoints TO tessera_dba;
GRANT SELECT,INSERT,DELETE ON TABLE core.webhook_endpoints TO tessera_ledger;

GRANT UPDATE(url) ON TABLE core.webhook_endpoints TO tessera_ledger;

GRANT UPDATE(description) ON TABLE core.webhook_endpoints TO tessera_ledger;

GRANT UPDATE(event_types) ON TABLE core.webhook_endpoints TO tessera_ledger;

GRANT UPDATE(status) ON TABLE core.webhook_endpoints TO tessera_ledger;

GRANT UPDATE(disabled_at) ON TABLE core.webhook_endpoints TO tessera_ledger;

GRANT UPDATE(disabled_reason) ON TABLE core.webhook_endpoints TO tessera_ledger;

GRANT UPDATE(updated_at) ON TABLE core.webhook_endpoints TO tessera_ledger;

GRANT UPDATE(deleted_at) ON TABLE core.webhook_endpoints TO tessera_ledger;

GRANT SELECT ON TABLE api.webhook_deliveries TO tessera_app;
GRANT SELECT ON TABLE api.webhook_deliveries TO tessera_scheduler;
GRANT SELECT ON TABLE api.webhook_deliveries TO tessera_dba;
GRANT SELECT ON TABLE api.webhook_deliveries TO tessera_readonly;
GRANT SELECT ON TABLE api.webhook_deliveries TO tessera_ledger;

REVOKE ALL ON FUNCTION api.replay_webhook_delivery(p_delivery uuid, p_user uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.replay_webhook_delivery(p_delivery uuid, p_user uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.replay_webhook_delivery(p_delivery uuid, p_user uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.replay_webhook_delivery(p_delivery uuid, p_user uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.request_adjustment(p_from uuid, p_to uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.request_adjustment(p_from uuid, p_to uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.request_adjustment(p_from uuid, p_to uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.request_adjustment(p_from uuid, p_to uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.request_payout(p_user uuid, p_amount bigint, p_account uuid, p_key text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.request_payout(p_user uuid, p_amount bigint, p_account uuid, p_key text) TO tessera_app;
GRANT ALL ON FUNCTION api.request_payout(p_user uuid, p_amount bigint, p_account uuid, p_key text) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.request_payout(p_user uuid, p_amount bigint, p_account uuid, p_key text) TO tessera_dba;

GRANT SELECT ON TABLE core.payment_events TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.payment_events TO tessera_ledger;

GRANT UPDATE(payment_id) ON TABLE core.payment_events TO tessera_ledger;

GRANT UPDATE(applied_at) ON TABLE core.payment_events TO tessera_ledger;

GRANT UPDATE(due_at) ON TABLE core.payment_events TO tessera_ledger;

GRANT UPDATE(tries) ON TABLE core.payment_events TO tessera_ledger;

GRANT UPDATE(outcome) ON TABLE core.payment_events TO tessera_ledger;

GRANT UPDATE(error) ON TABLE core.payment_events TO tessera_ledger;

GRANT SELECT ON TABLE api.payment_events TO tessera_app;
GRANT SELECT ON TABLE api.payment_events TO tessera_scheduler;
GRANT SELECT ON TABLE api.payment_events TO tessera_dba;
GRANT SELECT ON TABLE api.payment_events TO tessera_readonly;
GRANT SELECT ON TABLE api.payment_events TO tessera_ledger;

REVOKE ALL ON FUNCTION api.resolve_payment_event(p_provider text, p_event text, p_reason text, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.resolve_payment_event(p_provider text, p_event text, p_reason text, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.resolve_payment_event(p_provider text, p_event text, p_reason text, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.resolve_payment_event(p_provider text, p_event text, p_reason text, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.resume_call(p_call uuid, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.resume_call(p_call uuid, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.resume_call(p_call uuid, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.resume_call(p_call uuid, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.reverse_payment(p_payment uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.reverse_payment(p_payment uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.reverse_payment(p_payment uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.reverse_payment(p_payment uuid, p_amount bigint, p_reason text, p_key text, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.rotate_webhook_secret(p_endpoint uuid, p_user uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.rotate_webhook_secret(p_endpoint uuid, p_user uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.rotate_webhook_secret(p_endpoint uuid, p_user uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.rotate_webhook_secret(p_endpoint uuid, p_user uuid) TO tessera_dba;

GRANT SELECT ON TABLE core.audits TO tessera_dba;
GRANT SELECT,INSERT,DELETE ON TABLE core.audits TO tessera_ledger;

GRANT SELECT ON TABLE api.audits TO tessera_app;
GRANT SELECT ON TABLE api.audits TO tessera_scheduler;
GRANT SELECT ON TABLE api.audits TO tessera_dba;
GRANT SELECT ON TABLE api.audits TO tessera_readonly;
GRANT SELECT ON TABLE api.audits TO tessera_ledger;

REVOKE ALL ON FUNCTION api.run_audit() FROM PUBLIC;
GRANT ALL ON FUNCTION api.run_audit() TO tessera_app;
GRANT ALL ON FUNCTION api.run_audit() TO tessera_scheduler;
GRANT ALL ON FUNCTION api.run_audit() TO tessera_dba;

REVOKE ALL ON TABLE core.seals FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.seals TO tessera_owner;
GRANT SELECT ON TABLE core.seals TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.seals TO tessera_ledger;

GRANT SELECT ON TABLE api.seals TO tessera_app;
GRANT SELECT ON TABLE api.seals TO tessera_scheduler;
GRANT SELECT ON TABLE api.seals TO tessera_dba;
GRANT SELECT ON TABLE api.seals TO tessera_readonly;
GRANT SELECT ON TABLE api.seals TO tessera_ledger;

REVOKE ALL ON FUNCTION api.seal_entries(p_limit integer, p_margin interval) FROM PUBLIC;
GRANT ALL ON FUNCTION api.seal_entries(p_limit integer, p_margin interval) TO tessera_app;
GRANT ALL ON FUNCTION api.seal_entries(p_limit integer, p_margin interval) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.seal_entries(p_limit integer, p_margin interval) TO tessera_dba;

REVOKE ALL ON FUNCTION api.seal_lag() FROM PUBLIC;
GRANT ALL ON FUNCTION api.seal_lag() TO tessera_app;
GRANT ALL ON FUNCTION api.seal_lag() TO tessera_scheduler;
GRANT ALL ON FUNCTION api.seal_lag() TO tessera_dba;

REVOKE ALL ON FUNCTION api.sealed_rows(p_block bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION api.sealed_rows(p_block bigint) TO tessera_dba;

REVOKE ALL ON FUNCTION api.send_tip(p_sender uuid, p_creator uuid, p_amount bigint, p_key text, p_message text, p_stream uuid, p_call uuid, OUT tip_id uuid, OUT amount bigint, OUT creator_cut bigint, OUT platform_fee bigint, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION api.send_tip(p_sender uuid, p_creator uuid, p_amount bigint, p_key text, p_message text, p_stream uuid, p_call uuid, OUT tip_id uuid, OUT amount bigint, OUT creator_cut bigint, OUT platform_fee bigint, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) TO tessera_app;
GRANT ALL ON FUNCTION api.send_tip(p_sender uuid, p_creator uuid, p_amount bigint, p_key text, p_message text, p_stream uuid, p_call uuid, OUT tip_id uuid, OUT amount bigint, OUT creator_cut bigint, OUT platform_fee bigint, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.send_tip(p_sender uuid, p_creator uuid, p_amount bigint, p_key text, p_message text, p_stream uuid, p_call uuid, OUT tip_id uuid, OUT amount bigint, OUT creator_cut bigint, OUT platform_fee bigint, OUT new_balance bigint, OUT created_at timestamp with time zone, OUT replayed boolean) TO tessera_dba;

REVOKE ALL ON FUNCTION api.send_tips(p_tips api.tip_request[]) FROM PUBLIC;
GRANT ALL ON FUNCTION api.send_tips(p_tips api.tip_request[]) TO tessera_app;
GRANT ALL ON FUNCTION api.send_tips(p_tips api.tip_request[]) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.send_tips(p_tips api.tip_request[]) TO tessera_dba;

REVOKE ALL ON FUNCTION api.set_rate(p_name text, p_value numeric, p_asset text, p_scope text, p_valid_from timestamp with time zone, p_valid_to timestamp with time zone, p_note text, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.set_rate(p_name text, p_value numeric, p_asset text, p_scope text, p_valid_from timestamp with time zone, p_valid_to timestamp with time zone, p_note text, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.set_rate(p_name text, p_value numeric, p_asset text, p_scope text, p_valid_from timestamp with time zone, p_valid_to timestamp with time zone, p_note text, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.set_rate(p_name text, p_value numeric, p_asset text, p_scope text, p_valid_from timestamp with time zone, p_valid_to timestamp with time zone, p_note text, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.set_referrer(p_user uuid, p_referrer uuid, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.set_referrer(p_user uuid, p_referrer uuid, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.set_referrer(p_user uuid, p_referrer uuid, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.set_referrer(p_user uuid, p_referrer uuid, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.set_wallet_minimum(p_wallet uuid, p_minimum bigint, p_reason text, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.set_wallet_minimum(p_wallet uuid, p_minimum bigint, p_reason text, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.set_wallet_minimum(p_wallet uuid, p_minimum bigint, p_reason text, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.set_wallet_minimum(p_wallet uuid, p_minimum bigint, p_reason text, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.settle_payment(p_provider text, p_event text, OUT payment_id uuid, OUT outcome text, OUT status text, OUT error text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.settle_payment(p_provider text, p_event text, OUT payment_id uuid, OUT outcome text, OUT status text, OUT error text) TO tessera_app;
GRANT ALL ON FUNCTION api.settle_payment(p_provider text, p_event text, OUT payment_id uuid, OUT outcome text, OUT status text, OUT error text) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.settle_payment(p_provider text, p_event text, OUT payment_id uuid, OUT outcome text, OUT status text, OUT error text) TO tessera_dba;

REVOKE ALL ON FUNCTION api.settle_payout(p_payout uuid, p_reference text, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.settle_payout(p_payout uuid, p_reference text, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.settle_payout(p_payout uuid, p_reference text, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.settle_payout(p_payout uuid, p_reference text, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.start_payment(p_payment uuid, p_reference text, p_checkout_url text, p_customer text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.start_payment(p_payment uuid, p_reference text, p_checkout_url text, p_customer text) TO tessera_app;
GRANT ALL ON FUNCTION api.start_payment(p_payment uuid, p_reference text, p_checkout_url text, p_customer text) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.start_payment(p_payment uuid, p_reference text, p_checkout_url text, p_customer text) TO tessera_dba;

REVOKE ALL ON FUNCTION api.start_stream(p_stream uuid, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.start_stream(p_stream uuid, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.start_stream(p_stream uuid, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.start_stream(p_stream uuid, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.statement(p_wallet uuid, p_from timestamp with time zone, p_to timestamp with time zone, p_before_seq bigint, p_limit integer, p_kind text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.statement(p_wallet uuid, p_from timestamp with time zone, p_to timestamp with time zone, p_before_seq bigint, p_limit integer, p_kind text) TO tessera_app;
GRANT ALL ON FUNCTION api.statement(p_wallet uuid, p_from timestamp with time zone, p_to timestamp with time zone, p_before_seq bigint, p_limit integer, p_kind text) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.statement(p_wallet uuid, p_from timestamp with time zone, p_to timestamp with time zone, p_before_seq bigint, p_limit integer, p_kind text) TO tessera_dba;

REVOKE ALL ON FUNCTION api.statement_summary(p_wallet uuid, p_from timestamp with time zone, p_to timestamp with time zone, OUT opening_balance bigint, OUT credits bigint, OUT debits bigint, OUT entries bigint, OUT closing_balance bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION api.statement_summary(p_wallet uuid, p_from timestamp with time zone, p_to timestamp with time zone, OUT opening_balance bigint, OUT credits bigint, OUT debits bigint, OUT entries bigint, OUT closing_balance bigint) TO tessera_app;
GRANT ALL ON FUNCTION api.statement_summary(p_wallet uuid, p_from timestamp with time zone, p_to timestamp with time zone, OUT opening_balance bigint, OUT credits bigint, OUT debits bigint, OUT entries bigint, OUT closing_balance bigint) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.statement_summary(p_wallet uuid, p_from timestamp with time zone, p_to timestamp with time zone, OUT opening_balance bigint, OUT credits bigint, OUT debits bigint, OUT entries bigint, OUT closing_balance bigint) TO tessera_dba;

REVOKE ALL ON FUNCTION api.stream_access(p_stream uuid, p_viewer uuid, OUT has_access boolean, OUT reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION api.stream_access(p_stream uuid, p_viewer uuid, OUT has_access boolean, OUT reason text) TO tessera_app;
GRANT ALL ON FUNCTION api.stream_access(p_stream uuid, p_viewer uuid, OUT has_access boolean, OUT reason text) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.stream_access(p_stream uuid, p_viewer uuid, OUT has_access boolean, OUT reason text) TO tessera_dba;

REVOKE ALL ON FUNCTION api.stream_audience(p_streams uuid[], p_names integer) FROM PUBLIC;
GRANT ALL ON FUNCTION api.stream_audience(p_streams uuid[], p_names integer) TO tessera_app;
GRANT ALL ON FUNCTION api.stream_audience(p_streams uuid[], p_names integer) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.stream_audience(p_streams uuid[], p_names integer) TO tessera_dba;

GRANT SELECT ON TABLE core.messages TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.messages TO tessera_ledger;

GRANT UPDATE(removed_at) ON TABLE core.messages TO tessera_ledger;

GRANT UPDATE(removed_by) ON TABLE core.messages TO tessera_ledger;

GRANT SELECT ON TABLE core.users TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.users TO tessera_ledger;
GRANT SELECT,INSERT,UPDATE ON TABLE core.users TO tessera_app;
GRANT SELECT ON TABLE core.users TO tessera_scheduler;

GRANT UPDATE(referred_by_id) ON TABLE core.users TO tessera_ledger;

GRANT SELECT ON TABLE api.messages TO tessera_app;
GRANT SELECT ON TABLE api.messages TO tessera_scheduler;
GRANT SELECT ON TABLE api.messages TO tessera_dba;
GRANT SELECT ON TABLE api.messages TO tessera_readonly;
GRANT SELECT ON TABLE api.messages TO tessera_ledger;

REVOKE ALL ON FUNCTION api.stream_messages(p_stream uuid, p_viewer uuid, p_before uuid, p_limit integer) FROM PUBLIC;
GRANT ALL ON FUNCTION api.stream_messages(p_stream uuid, p_viewer uuid, p_before uuid, p_limit integer) TO tessera_app;
GRANT ALL ON FUNCTION api.stream_messages(p_stream uuid, p_viewer uuid, p_before uuid, p_limit integer) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.stream_messages(p_stream uuid, p_viewer uuid, p_before uuid, p_limit integer) TO tessera_dba;

REVOKE ALL ON FUNCTION api.test_webhook_endpoint(p_endpoint uuid, p_user uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.test_webhook_endpoint(p_endpoint uuid, p_user uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.test_webhook_endpoint(p_endpoint uuid, p_user uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.test_webhook_endpoint(p_endpoint uuid, p_user uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.tip_stats(p_creator uuid, p_since timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION api.tip_stats(p_creator uuid, p_since timestamp with time zone) TO tessera_app;
GRANT ALL ON FUNCTION api.tip_stats(p_creator uuid, p_since timestamp with time zone) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.tip_stats(p_creator uuid, p_since timestamp with time zone) TO tessera_dba;

REVOKE ALL ON FUNCTION api.token_sales(p_from timestamp with time zone, p_to timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION api.token_sales(p_from timestamp with time zone, p_to timestamp with time zone) TO tessera_app;
GRANT ALL ON FUNCTION api.token_sales(p_from timestamp with time zone, p_to timestamp with time zone) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.token_sales(p_from timestamp with time zone, p_to timestamp with time zone) TO tessera_dba;

REVOKE ALL ON FUNCTION api.transfer(p_from uuid, p_to uuid, p_amount bigint, p_asset text, p_key text, p_kind text, p_reference text, p_actor uuid, p_metadata jsonb, p_event_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION api.transfer(p_from uuid, p_to uuid, p_amount bigint, p_asset text, p_key text, p_kind text, p_reference text, p_actor uuid, p_metadata jsonb, p_event_at timestamp with time zone) TO tessera_app;
GRANT ALL ON FUNCTION api.transfer(p_from uuid, p_to uuid, p_amount bigint, p_asset text, p_key text, p_kind text, p_reference text, p_actor uuid, p_metadata jsonb, p_event_at timestamp with time zone) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.transfer(p_from uuid, p_to uuid, p_amount bigint, p_asset text, p_key text, p_kind text, p_reference text, p_actor uuid, p_metadata jsonb, p_event_at timestamp with time zone) TO tessera_dba;

REVOKE ALL ON FUNCTION api.transfer_batch(p_requests api.transfer_request[]) FROM PUBLIC;
GRANT ALL ON FUNCTION api.transfer_batch(p_requests api.transfer_request[]) TO tessera_app;
GRANT ALL ON FUNCTION api.transfer_batch(p_requests api.transfer_request[]) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.transfer_batch(p_requests api.transfer_request[]) TO tessera_dba;

REVOKE ALL ON FUNCTION api.unban_user(p_creator uuid, p_user uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.unban_user(p_creator uuid, p_user uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.unban_user(p_creator uuid, p_user uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.unban_user(p_creator uuid, p_user uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.unfreeze_wallet(p_wallet uuid, p_reason text, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.unfreeze_wallet(p_wallet uuid, p_reason text, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.unfreeze_wallet(p_wallet uuid, p_reason text, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.unfreeze_wallet(p_wallet uuid, p_reason text, p_actor uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.update_stream(p_stream uuid, p_changes jsonb, p_actor uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.update_stream(p_stream uuid, p_changes jsonb, p_actor uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.update_stream(p_stream uuid, p_changes jsonb, p_actor uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.update_stream(p_stream uuid, p_changes jsonb, p_actor uuid) TO tessera_dba;

GRANT SELECT ON TABLE core.webhook_cursors TO tessera_dba;
GRANT SELECT,INSERT,DELETE ON TABLE core.webhook_cursors TO tessera_ledger;

GRANT UPDATE(epoch) ON TABLE core.webhook_cursors TO tessera_ledger;

GRANT UPDATE(seq) ON TABLE core.webhook_cursors TO tessera_ledger;

GRANT UPDATE(lost_at) ON TABLE core.webhook_cursors TO tessera_ledger;

GRANT SELECT ON TABLE core.webhook_queues TO tessera_dba;
GRANT SELECT,INSERT,DELETE ON TABLE core.webhook_queues TO tessera_ledger;

GRANT UPDATE(next_at) ON TABLE core.webhook_queues TO tessera_ledger;

GRANT UPDATE(failures) ON TABLE core.webhook_queues TO tessera_ledger;

GRANT UPDATE(failing_since) ON TABLE core.webhook_queues TO tessera_ledger;

GRANT SELECT ON TABLE api.webhook_endpoints TO tessera_app;
GRANT SELECT ON TABLE api.webhook_endpoints TO tessera_scheduler;
GRANT SELECT ON TABLE api.webhook_endpoints TO tessera_dba;
GRANT SELECT ON TABLE api.webhook_endpoints TO tessera_readonly;
GRANT SELECT ON TABLE api.webhook_endpoints TO tessera_ledger;

REVOKE ALL ON FUNCTION api.update_webhook_endpoint(p_endpoint uuid, p_changes jsonb, p_user uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.update_webhook_endpoint(p_endpoint uuid, p_changes jsonb, p_user uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.update_webhook_endpoint(p_endpoint uuid, p_changes jsonb, p_user uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.update_webhook_endpoint(p_endpoint uuid, p_changes jsonb, p_user uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.verify_seals(p_from_block bigint, p_to_block bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION api.verify_seals(p_from_block bigint, p_to_block bigint) TO tessera_app;
GRANT ALL ON FUNCTION api.verify_seals(p_from_block bigint, p_to_block bigint) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.verify_seals(p_from_block bigint, p_to_block bigint) TO tessera_dba;

REVOKE ALL ON FUNCTION api.wallet_balances(p_user uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION api.wallet_balances(p_user uuid) TO tessera_app;
GRANT ALL ON FUNCTION api.wallet_balances(p_user uuid) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.wallet_balances(p_user uuid) TO tessera_dba;

REVOKE ALL ON FUNCTION api.watch_streams(p_beats api.watch_beat[]) FROM PUBLIC;
GRANT ALL ON FUNCTION api.watch_streams(p_beats api.watch_beat[]) TO tessera_app;
GRANT ALL ON FUNCTION api.watch_streams(p_beats api.watch_beat[]) TO tessera_scheduler;
GRANT ALL ON FUNCTION api.watch_streams(p_beats api.watch_beat[]) TO tessera_dba;

REVOKE ALL ON FUNCTION api.webhook_lag() FROM PUBLIC;
GRANT ALL ON FUNCTION api.webhook_lag() TO tessera_app;
GRANT ALL ON FUNCTION api.webhook_lag() TO tessera_scheduler;
GRANT ALL ON FUNCTION api.webhook_lag() TO tessera_dba;

REVOKE ALL ON FUNCTION core._access_reason(p_stream uuid, p_viewer uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._act_rows(p_from uuid, p_to uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._active_us(p_clock core.call_clocks, p_block_us bigint, p_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._adjustment_event(p_type text, p_adjustment uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._admit(p_stream uuid, p_user uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._alive_until(p_clock core.call_clocks) FROM PUBLIC;

GRANT SELECT ON TABLE core.partitioned TO tessera_dba;
GRANT SELECT ON TABLE core.partitioned TO tessera_ledger;

REVOKE ALL ON FUNCTION core._attach_partition(p_table core.partitioned, p_partition text, p_from timestamp with time zone, p_to timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._audit_adjustments() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._audit_calls() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._audit_entries() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._audit_holds() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._audit_payments() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._audit_payouts() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._audit_refunds() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._audit_tickets() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._audit_tips() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._audit_wallets() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._call_cases(p_calls uuid[], p_now timestamp with time zone, p_closing boolean, p_most integer, p_grace interval, p_fee_bps numeric) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._call_event(p_type text, p_calls uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._cancel_stream(p_stream uuid, p_reason text, p_actor uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._channel_day(p_from timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._check_actor(p_actor uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._check_admin(p_actor uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._check_operator(p_actor uuid, p_user uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._check_payout_by_hand(p_payout core.payouts, p_actor uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._check_reason(p_reason text) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._check_seat_in_call(p_call uuid, p_user uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._check_tip(p_tip api.tip_request, p_sender_status text, p_creator_active boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._check_transfer(p_kind text, p_reference text, p_metadata jsonb, p_key text, p_actor_id uuid, p_actor_status text, p_event_at timestamp with time zone, p_own boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._check_webhook(p_url text, p_event_types text[], p_description text, p_status text) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._close_calls(p_endings core.call_ending[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._cluster() FROM PUBLIC;
GRANT ALL ON FUNCTION core._cluster() TO tessera_ledger;

REVOKE ALL ON FUNCTION core._count_velocity(p_wallets uuid[], p_owners uuid[], p_rules core.velocity_rules, p_rooms bigint[], p_now timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._credit_payment(p_payment core.payments, p_event core.payment_events) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._history() FROM PUBLIC;
GRANT ALL ON FUNCTION core._history() TO tessera_ledger;

GRANT SELECT ON TABLE core.relay_state TO tessera_dba;
GRANT SELECT ON TABLE core.relay_state TO tessera_ledger;

GRANT UPDATE(epoch) ON TABLE core.relay_state TO tessera_ledger;

GRANT UPDATE(cluster) ON TABLE core.relay_state TO tessera_ledger;

GRANT UPDATE(history) ON TABLE core.relay_state TO tessera_ledger;

GRANT UPDATE(base) ON TABLE core.relay_state TO tessera_ledger;

GRANT UPDATE(target) ON TABLE core.relay_state TO tessera_ledger;

GRANT UPDATE(last_id) ON TABLE core.relay_state TO tessera_ledger;

GRANT UPDATE(floor_id) ON TABLE core.relay_state TO tessera_ledger;

GRANT UPDATE(phase) ON TABLE core.relay_state TO tessera_ledger;

GRANT UPDATE(relayed_at) ON TABLE core.relay_state TO tessera_ledger;

GRANT UPDATE(events) ON TABLE core.relay_state TO tessera_ledger;

GRANT UPDATE(entries) ON TABLE core.relay_state TO tessera_ledger;

REVOKE ALL ON FUNCTION core._cut_chunks(p_state core.relay_state, p_limit integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._database_actor() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._disable_webhook(p_endpoint uuid, p_reason text) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._drop_channel_days(p_before timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION core._drop_channel_days(p_before timestamp with time zone) TO tessera_ledger;

REVOKE ALL ON FUNCTION core._entry_at(p_wallet uuid, p_at timestamp with time zone, OUT seq bigint, OUT balance bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._event_text(p_type text, p_at timestamp with time zone, p_payload jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._expire_holds(p_wallets uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._explain_refusal(p_requests core.transfer_request[], p_position integer, p_start integer, p_wallets core.locked_wallets, p_slots integer[], p_balances bigint[], p_payer_is_actor boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._fail_payment(p_payment core.payments, p_event core.payment_events) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._fill_replays(p_results core.transfer_result[], p_replays uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._find_twins(p_requests core.transfer_request[], p_refusals core.refusal[], p_db_actor uuid, OUT replays uuid[], OUT refusals core.refusal[], OUT firsts integer[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._first_unrelayed(p_base pg_snapshot, p_floor bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._follow_refusal(p_user uuid, p_channel text) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._free_payout(p_payout core.payouts) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._give_back(p_transfers uuid[], p_reason text, p_actor uuid, p_amounts bigint[], p_policy text) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._give_tokens(p_payment core.payments, p_tokens bigint, p_kind text) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._guard_ledger() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._guard_partition() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._guard_referral() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._hold_outbox() FROM PUBLIC;
GRANT ALL ON FUNCTION core._hold_outbox() TO tessera_ledger;

REVOKE ALL ON TABLE core.holds FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.holds TO tessera_owner;
GRANT SELECT ON TABLE core.holds TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.holds TO tessera_ledger;

GRANT UPDATE(captured) ON TABLE core.holds TO tessera_ledger;

GRANT UPDATE(released) ON TABLE core.holds TO tessera_ledger;

GRANT UPDATE(closed_at) ON TABLE core.holds TO tessera_ledger;

GRANT UPDATE(status) ON TABLE core.holds TO tessera_ledger;

REVOKE ALL ON FUNCTION core._hold_payload(p_hold core.holds) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._hold_receipt(p_hold core.holds, p_wallet core.wallets, p_transfer_id uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._hold_refusal(p_hold core.holds, p_id uuid, p_amount bigint, p_left bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._in_month(p_ids uuid[], p_now timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._is_backlog(p_state core.relay_state, p_limit integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._is_detached(p_transfer uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._journal_entries(p_requests core.transfer_request[], p_results core.transfer_result[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._kept_ticket(p_ord integer, p_ticket uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._key_reused(p_key text) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._lock_buyers(p_cases core.ticket_case[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._lock_call(p_call uuid, p_actor uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._lock_payment_of(p_event core.payment_events) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._lock_payout(p_payout uuid, p_user uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._lock_streams(p_ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._lock_ticket_wallets(p_streams uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._lock_wallets(p_ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._lock_webhook(p_endpoint uuid, p_user uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._make_channel_days(p_at timestamp with time zone, p_days integer) FROM PUBLIC;
GRANT ALL ON FUNCTION core._make_channel_days(p_at timestamp with time zone, p_days integer) TO tessera_ledger;

REVOKE ALL ON FUNCTION core._make_partitions(p_ahead interval) FROM PUBLIC;
GRANT ALL ON FUNCTION core._make_partitions(p_ahead interval) TO tessera_ledger;

REVOKE ALL ON FUNCTION core._meter_calls(p_calls uuid[], p_now timestamp with time zone, p_closing boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._microseconds(p_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._month_bounds(p_from timestamp with time zone, p_to timestamp with time zone, OUT low uuid, OUT high uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._month_sums(p_from uuid, p_to uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._months_fit(p_from uuid, p_to uuid, p_detached_to timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._months_moved(p_action text, p_what text, p_moved text[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._move_month(p_what text, p_detach boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION core._move_month(p_what text, p_detach boolean) TO tessera_ledger;

REVOKE ALL ON FUNCTION core._must_be_accepted(p_call core.calls) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._must_be_called(p_call core.calls, p_actor uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._must_not_be_over(p_call core.calls) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._new_partition(p_table core.partitioned, p_partition text, p_from timestamp with time zone, p_to timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._new_webhook_secret(p_endpoint uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._note_call_presence(p_call uuid, p_user uuid, p_event text, p_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._note_dispute(p_payment core.payments, p_event core.payment_events) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._note_refund(p_payment core.payments, p_event core.payment_events) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._note_viewer(p_stream uuid, p_user uuid, p_watching boolean, p_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._notify_rights() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._oldest_needed() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._open_adjustment(p_adjustment uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._open_stream(p_stream uuid, p_actor uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._open_wallets() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._partition_name(p_table text, p_from timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._payment_event(p_type text, p_payment uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._payment_order(p_payment core.payments, p_replayed boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._payout_event(p_type text, p_payout core.payouts) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._payout_review(p_account core.payout_accounts, p_amount bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._pending_earnings(p_wallet uuid, p_asset text) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._place_hold(p_wallet uuid, p_amount bigint, p_expires_in interval, p_key text, p_kind text, p_reference text, p_actor uuid, p_metadata jsonb, p_own boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._place_wallets(p_requests core.transfer_request[], p_ids uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._post_one(p_request core.transfer_request, p_refusal core.refusal, p_payer_is_actor boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._post_transfers(p_requests core.transfer_request[], p_refusals core.refusal[], p_payer_is_actor boolean, p_may_owe boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._raise(p_code text, p_slug text, p_detail jsonb, p_hint text) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._rate(p_name text, p_asset text, p_at timestamp with time zone, p_scope text) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._refund_order(p_refund uuid, p_replayed boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._refuse_payout(p_payout core.payouts, p_hint text) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._refuse_stream(p_field text, p_hint text) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._request_hash(p_key text, p_request bytea) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._return_blocks(p_cases core.call_case[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._seal_content(p_from uuid, p_to uuid, OUT transfers bigint, OUT wallets bigint, OUT acts bigint, OUT transfers_digest bytea, OUT wallets_digest bytea, OUT acts_digest bytea) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._seal_digest(p_seal core.seals) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._seat_in_stream(p_stream uuid, p_user uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._sell_tickets(p_paid core.ticket_case[], p_free core.ticket_case[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._set_wallet(p_wallet uuid, p_action text, p_status text, p_minimum bigint, p_reason text, p_actor uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._settle_call(p_call core.calls, p_now timestamp with time zone, p_actor uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._share_payout_account(p_account uuid, p_user uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._shut_partition(p_partition text) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._snapshot_of_others() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._store_result(p_actor uuid, p_key text, p_hash bytea, p_result jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._stored_result(p_actor uuid, p_key text, p_hash bytea) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._stream_event(p_type text, p_stream uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._stream_fault(p_title text, p_visibility text, p_ticket_price bigint, p_seats integer, p_starts_at timestamp with time zone, p_sales_from timestamp with time zone, p_sales_to timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._system_wallet(p_purpose text, p_asset text, p_for uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._take_payout(p_payout core.payouts, p_account core.payout_accounts) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._take_room(p_rooms bigint[], p_rules core.velocity_rules, p_place integer, p_request core.transfer_request, p_sign integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._tell_of_job() FROM PUBLIC;

REVOKE ALL ON FUNCTION core._ticket_cases(p_tickets api.ticket_request[], p_pending integer[], p_fee_bps numeric, p_creators uuid[]) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._tip_call_refusal(p_call uuid, p_creator uuid, p_sender uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._tip_fee(p_tip uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._tip_stream_refusal(p_stream uuid, p_creator uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._transfer_payload(p_transfer_id uuid, p_from_wallet_id uuid, p_to_wallet_id uuid, p_amount bigint, p_asset text, p_kind text, p_reference text, p_created_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._transfer_rows(p_from uuid, p_to uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._user_channels(p_first uuid, p_second uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._uuid_floor(p_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION core._uuid_floor(p_at timestamp with time zone) TO tessera_ledger;

REVOKE ALL ON FUNCTION core._uuid_at(p_at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION core._uuid_at(p_at timestamp with time zone) TO tessera_ledger;

REVOKE ALL ON FUNCTION core._uuid_time(p_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION core._uuid_time(p_id uuid) TO tessera_ledger;

REVOKE ALL ON FUNCTION core._velocity_refusal(p_rooms bigint[], p_rules core.velocity_rules, p_place integer, p_request core.transfer_request, p_now timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._velocity_rooms(p_wallets uuid[], p_owners uuid[], p_rules core.velocity_rules, p_now timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._velocity_rules(p_at timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._wallet_event(p_wallet uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._wallet_payload(p_wallet_id uuid, p_asset text, p_balance bigint, p_held bigint, p_minimum bigint, p_version bigint, p_change bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._wallet_rows(p_from uuid, p_to uuid) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._webhook_wait(p_tries integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._webhook_wants(p_patterns text[], p_type text) FROM PUBLIC;

REVOKE ALL ON FUNCTION core._weigh_payment(p_payment uuid, p_reason text, p_actor uuid) FROM PUBLIC;

REVOKE ALL ON TABLE core.audit_log FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.audit_log TO tessera_owner;
GRANT SELECT ON TABLE core.audit_log TO tessera_dba;
GRANT SELECT ON TABLE core.audit_log TO tessera_app;
GRANT SELECT ON TABLE core.audit_log TO tessera_scheduler;
GRANT SELECT,INSERT ON TABLE core.audit_log TO tessera_ledger;

GRANT INSERT(actor_id) ON TABLE core.audit_log TO tessera_app;
GRANT INSERT(actor_id) ON TABLE core.audit_log TO tessera_scheduler;

GRANT INSERT(action) ON TABLE core.audit_log TO tessera_app;
GRANT INSERT(action) ON TABLE core.audit_log TO tessera_scheduler;

GRANT INSERT(subject_id) ON TABLE core.audit_log TO tessera_app;
GRANT INSERT(subject_id) ON TABLE core.audit_log TO tessera_scheduler;

GRANT INSERT(details) ON TABLE core.audit_log TO tessera_app;
GRANT INSERT(details) ON TABLE core.audit_log TO tessera_scheduler;

GRANT INSERT(request_id) ON TABLE core.audit_log TO tessera_app;
GRANT INSERT(request_id) ON TABLE core.audit_log TO tessera_scheduler;

GRANT INSERT(address) ON TABLE core.audit_log TO tessera_app;
GRANT INSERT(address) ON TABLE core.audit_log TO tessera_scheduler;

GRANT SELECT ON TABLE api.audit_log TO tessera_app;
GRANT SELECT ON TABLE api.audit_log TO tessera_scheduler;
GRANT SELECT ON TABLE api.audit_log TO tessera_dba;
GRANT SELECT ON TABLE api.audit_log TO tessera_readonly;

GRANT SELECT ON TABLE core.bans TO tessera_dba;
GRANT SELECT,INSERT,DELETE ON TABLE core.bans TO tessera_ledger;

GRANT SELECT ON TABLE api.bans TO tessera_app;
GRANT SELECT ON TABLE api.bans TO tessera_scheduler;
GRANT SELECT ON TABLE api.bans TO tessera_dba;
GRANT SELECT ON TABLE api.bans TO tessera_readonly;

REVOKE ALL ON TABLE core.meter_blocks FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.meter_blocks TO tessera_owner;
GRANT SELECT ON TABLE core.meter_blocks TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.meter_blocks TO tessera_ledger;

GRANT UPDATE(refunded_at) ON TABLE core.meter_blocks TO tessera_ledger;

GRANT SELECT ON TABLE api.call_blocks TO tessera_app;
GRANT SELECT ON TABLE api.call_blocks TO tessera_scheduler;
GRANT SELECT ON TABLE api.call_blocks TO tessera_dba;
GRANT SELECT ON TABLE api.call_blocks TO tessera_readonly;

REVOKE ALL ON TABLE core.entries FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.entries TO tessera_owner;
GRANT SELECT ON TABLE core.entries TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.entries TO tessera_ledger;

GRANT SELECT ON TABLE api.entries TO tessera_app;
GRANT SELECT ON TABLE api.entries TO tessera_scheduler;
GRANT SELECT ON TABLE api.entries TO tessera_dba;
GRANT SELECT ON TABLE api.entries TO tessera_readonly;

GRANT SELECT ON TABLE api.holds TO tessera_app;
GRANT SELECT ON TABLE api.holds TO tessera_scheduler;
GRANT SELECT ON TABLE api.holds TO tessera_dba;
GRANT SELECT ON TABLE api.holds TO tessera_readonly;

GRANT SELECT ON TABLE core.job_runs TO tessera_dba;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE core.job_runs TO tessera_scheduler;
GRANT SELECT ON TABLE core.job_runs TO tessera_app;

GRANT SELECT ON TABLE api.job_runs TO tessera_app;
GRANT SELECT ON TABLE api.job_runs TO tessera_scheduler;
GRANT SELECT ON TABLE api.job_runs TO tessera_dba;
GRANT SELECT ON TABLE api.job_runs TO tessera_readonly;

GRANT SELECT ON TABLE core.live_rooms TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.live_rooms TO tessera_ledger;
GRANT SELECT,DELETE,UPDATE ON TABLE core.live_rooms TO tessera_scheduler;

GRANT UPDATE(reopened_at) ON TABLE core.live_rooms TO tessera_ledger;

GRANT UPDATE(closed_at) ON TABLE core.live_rooms TO tessera_ledger;

GRANT SELECT ON TABLE api.live_rooms TO tessera_app;
GRANT SELECT ON TABLE api.live_rooms TO tessera_scheduler;
GRANT SELECT ON TABLE api.live_rooms TO tessera_dba;
GRANT SELECT ON TABLE api.live_rooms TO tessera_readonly;

GRANT SELECT ON TABLE api.payout_days TO tessera_app;
GRANT SELECT ON TABLE api.payout_days TO tessera_scheduler;
GRANT SELECT ON TABLE api.payout_days TO tessera_dba;
GRANT SELECT ON TABLE api.payout_days TO tessera_readonly;

GRANT SELECT ON TABLE api.sale_days TO tessera_app;
GRANT SELECT ON TABLE api.sale_days TO tessera_scheduler;
GRANT SELECT ON TABLE api.sale_days TO tessera_dba;
GRANT SELECT ON TABLE api.sale_days TO tessera_readonly;

GRANT SELECT ON TABLE api.margin TO tessera_app;
GRANT SELECT ON TABLE api.margin TO tessera_scheduler;
GRANT SELECT ON TABLE api.margin TO tessera_dba;
GRANT SELECT ON TABLE api.margin TO tessera_readonly;

GRANT SELECT ON TABLE core.payment_customers TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.payment_customers TO tessera_ledger;

GRANT SELECT ON TABLE api.payment_customers TO tessera_app;
GRANT SELECT ON TABLE api.payment_customers TO tessera_scheduler;
GRANT SELECT ON TABLE api.payment_customers TO tessera_dba;
GRANT SELECT ON TABLE api.payment_customers TO tessera_readonly;

GRANT SELECT ON TABLE core.payment_disputes TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.payment_disputes TO tessera_ledger;

GRANT UPDATE(closed_at) ON TABLE core.payment_disputes TO tessera_ledger;

GRANT UPDATE(status) ON TABLE core.payment_disputes TO tessera_ledger;

GRANT SELECT ON TABLE api.payment_disputes TO tessera_app;
GRANT SELECT ON TABLE api.payment_disputes TO tessera_scheduler;
GRANT SELECT ON TABLE api.payment_disputes TO tessera_dba;
GRANT SELECT ON TABLE api.payment_disputes TO tessera_readonly;

GRANT SELECT ON TABLE api.payments TO tessera_app;
GRANT SELECT ON TABLE api.payments TO tessera_scheduler;
GRANT SELECT ON TABLE api.payments TO tessera_dba;
GRANT SELECT ON TABLE api.payments TO tessera_readonly;
GRANT SELECT ON TABLE api.payments TO tessera_ledger;

GRANT SELECT ON TABLE core.provider_days TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.provider_days TO tessera_ledger;

GRANT UPDATE(fetched_at) ON TABLE core.provider_days TO tessera_ledger;

GRANT SELECT ON TABLE api.provider_days TO tessera_app;
GRANT SELECT ON TABLE api.provider_days TO tessera_scheduler;
GRANT SELECT ON TABLE api.provider_days TO tessera_dba;
GRANT SELECT ON TABLE api.provider_days TO tessera_readonly;

GRANT SELECT ON TABLE core.rate_names TO tessera_dba;
GRANT SELECT ON TABLE core.rate_names TO tessera_ledger;
GRANT SELECT ON TABLE core.rate_names TO tessera_app;
GRANT SELECT ON TABLE core.rate_names TO tessera_scheduler;

GRANT SELECT ON TABLE api.rate_names TO tessera_app;
GRANT SELECT ON TABLE api.rate_names TO tessera_scheduler;
GRANT SELECT ON TABLE api.rate_names TO tessera_dba;
GRANT SELECT ON TABLE api.rate_names TO tessera_readonly;

REVOKE ALL ON TABLE core.refunds FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.refunds TO tessera_owner;
GRANT SELECT ON TABLE core.refunds TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.refunds TO tessera_ledger;

GRANT SELECT ON TABLE api.refunds TO tessera_app;
GRANT SELECT ON TABLE api.refunds TO tessera_scheduler;
GRANT SELECT ON TABLE api.refunds TO tessera_dba;
GRANT SELECT ON TABLE api.refunds TO tessera_readonly;

GRANT SELECT ON TABLE core.relay_chunks TO tessera_dba;
GRANT SELECT,INSERT,DELETE ON TABLE core.relay_chunks TO tessera_ledger;

GRANT SELECT ON TABLE api.relay_state TO tessera_app;
GRANT SELECT ON TABLE api.relay_state TO tessera_scheduler;
GRANT SELECT ON TABLE api.relay_state TO tessera_dba;
GRANT SELECT ON TABLE api.relay_state TO tessera_readonly;

REVOKE ALL ON TABLE core.tickets FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.tickets TO tessera_owner;
GRANT SELECT ON TABLE core.tickets TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.tickets TO tessera_ledger;

GRANT UPDATE(refunded_at) ON TABLE core.tickets TO tessera_ledger;

GRANT SELECT ON TABLE api.tickets TO tessera_app;
GRANT SELECT ON TABLE api.tickets TO tessera_scheduler;
GRANT SELECT ON TABLE api.tickets TO tessera_dba;
GRANT SELECT ON TABLE api.tickets TO tessera_readonly;
GRANT SELECT ON TABLE api.tickets TO tessera_ledger;

REVOKE ALL ON TABLE core.tips FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.tips TO tessera_owner;
GRANT SELECT ON TABLE core.tips TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.tips TO tessera_ledger;

GRANT SELECT ON TABLE api.tips TO tessera_app;
GRANT SELECT ON TABLE api.tips TO tessera_scheduler;
GRANT SELECT ON TABLE api.tips TO tessera_dba;
GRANT SELECT ON TABLE api.tips TO tessera_readonly;

REVOKE ALL ON TABLE core.transfers FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.transfers TO tessera_owner;
GRANT SELECT ON TABLE core.transfers TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.transfers TO tessera_ledger;

GRANT SELECT ON TABLE api.transfers TO tessera_app;
GRANT SELECT ON TABLE api.transfers TO tessera_scheduler;
GRANT SELECT ON TABLE api.transfers TO tessera_dba;
GRANT SELECT ON TABLE api.transfers TO tessera_readonly;

GRANT SELECT ON TABLE core.webhook_attempts TO tessera_dba;
GRANT SELECT,INSERT,DELETE ON TABLE core.webhook_attempts TO tessera_ledger;

GRANT SELECT ON TABLE api.webhook_attempts TO tessera_app;
GRANT SELECT ON TABLE api.webhook_attempts TO tessera_scheduler;
GRANT SELECT ON TABLE api.webhook_attempts TO tessera_dba;
GRANT SELECT ON TABLE api.webhook_attempts TO tessera_readonly;

GRANT SELECT ON TABLE core.api_keys TO tessera_dba;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE core.api_keys TO tessera_app;

REVOKE ALL ON TABLE core.audit_log_default FROM tessera_owner;
GRANT SELECT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.audit_log_default TO tessera_owner;
GRANT SELECT ON TABLE core.audit_log_default TO tessera_dba;
GRANT SELECT ON TABLE core.audit_log_default TO tessera_ledger;

GRANT SELECT ON TABLE core.brought_forward TO tessera_dba;
GRANT SELECT ON TABLE core.brought_forward TO tessera_ledger;

GRANT SELECT ON TABLE core.call_parties TO tessera_dba;
GRANT SELECT,INSERT,DELETE ON TABLE core.call_parties TO tessera_ledger;

REVOKE ALL ON TABLE core.captures FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.captures TO tessera_owner;
GRANT SELECT ON TABLE core.captures TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.captures TO tessera_ledger;

GRANT SELECT ON TABLE core.channel_days TO tessera_dba;
GRANT SELECT ON TABLE core.channel_days TO tessera_ledger;

GRANT UPDATE(oldest_at) ON TABLE core.channel_days TO tessera_ledger;

GRANT SELECT ON TABLE core.channel_events TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.channel_events TO tessera_ledger;

GRANT SELECT ON TABLE core.channels TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.channels TO tessera_ledger;

GRANT UPDATE(seq) ON TABLE core.channels TO tessera_ledger;

GRANT SELECT ON TABLE core.chat_counters TO tessera_dba;
GRANT SELECT,INSERT,DELETE ON TABLE core.chat_counters TO tessera_ledger;

GRANT UPDATE(since) ON TABLE core.chat_counters TO tessera_ledger;

GRANT UPDATE(used) ON TABLE core.chat_counters TO tessera_ledger;

GRANT SELECT ON TABLE core.creator_settings TO tessera_dba;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE core.creator_settings TO tessera_app;
GRANT SELECT ON TABLE core.creator_settings TO tessera_ledger;
GRANT SELECT ON TABLE core.creator_settings TO tessera_scheduler;

REVOKE ALL ON TABLE core.entries_default FROM tessera_owner;
GRANT SELECT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.entries_default TO tessera_owner;
GRANT SELECT ON TABLE core.entries_default TO tessera_dba;
GRANT SELECT ON TABLE core.entries_default TO tessera_ledger;

REVOKE ALL ON TABLE core.idempotency_keys FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.idempotency_keys TO tessera_owner;
GRANT SELECT ON TABLE core.idempotency_keys TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.idempotency_keys TO tessera_ledger;

GRANT SELECT ON TABLE core.live_events TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.live_events TO tessera_ledger;
GRANT SELECT,DELETE ON TABLE core.live_events TO tessera_scheduler;

GRANT SELECT ON TABLE core.login_attempts TO tessera_dba;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE core.login_attempts TO tessera_app;
GRANT SELECT,DELETE ON TABLE core.login_attempts TO tessera_scheduler;

GRANT SELECT ON TABLE core.outbox TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.outbox TO tessera_ledger;

REVOKE ALL ON TABLE core.outbox_default FROM tessera_owner;
GRANT SELECT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.outbox_default TO tessera_owner;
GRANT SELECT ON TABLE core.outbox_default TO tessera_dba;
GRANT SELECT ON TABLE core.outbox_default TO tessera_ledger;

GRANT SELECT ON SEQUENCE core.outbox_id_seq TO tessera_ledger;

GRANT SELECT ON TABLE core.partitions TO tessera_dba;
GRANT SELECT ON TABLE core.partitions TO tessera_ledger;

GRANT SELECT ON TABLE core.payment_transfers TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.payment_transfers TO tessera_ledger;

GRANT SELECT ON TABLE core.provider_records TO tessera_dba;
GRANT SELECT,INSERT,DELETE ON TABLE core.provider_records TO tessera_ledger;

GRANT SELECT ON TABLE core.realtime_tickets TO tessera_dba;
GRANT SELECT,INSERT,DELETE ON TABLE core.realtime_tickets TO tessera_app;
GRANT SELECT,DELETE ON TABLE core.realtime_tickets TO tessera_scheduler;

GRANT SELECT ON TABLE core.refresh_tokens TO tessera_dba;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE core.refresh_tokens TO tessera_app;
GRANT SELECT,DELETE ON TABLE core.refresh_tokens TO tessera_scheduler;

GRANT SELECT ON TABLE core.schema_functions TO tessera_dba;
GRANT SELECT ON TABLE core.schema_functions TO tessera_app;
GRANT SELECT ON TABLE core.schema_functions TO tessera_scheduler;

GRANT SELECT ON TABLE core.schema_migrations TO tessera_dba;
GRANT SELECT ON TABLE core.schema_migrations TO tessera_app;
GRANT SELECT ON TABLE core.schema_migrations TO tessera_scheduler;

GRANT SELECT ON TABLE core.seal_marks TO tessera_dba;
GRANT SELECT,INSERT,DELETE ON TABLE core.seal_marks TO tessera_ledger;

GRANT SELECT ON TABLE core.sessions TO tessera_dba;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE core.sessions TO tessera_app;
GRANT SELECT,DELETE ON TABLE core.sessions TO tessera_scheduler;

REVOKE ALL ON TABLE core.tips_default FROM tessera_owner;
GRANT SELECT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.tips_default TO tessera_owner;
GRANT SELECT ON TABLE core.tips_default TO tessera_dba;
GRANT SELECT ON TABLE core.tips_default TO tessera_ledger;

GRANT SELECT ON TABLE core.totp_secrets TO tessera_dba;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE core.totp_secrets TO tessera_app;
GRANT SELECT,UPDATE ON TABLE core.totp_secrets TO tessera_scheduler;

REVOKE ALL ON TABLE core.transfers_default FROM tessera_owner;
GRANT SELECT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.transfers_default TO tessera_owner;
GRANT SELECT ON TABLE core.transfers_default TO tessera_dba;
GRANT SELECT ON TABLE core.transfers_default TO tessera_ledger;

REVOKE ALL ON TABLE core.velocity_counters FROM tessera_owner;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE core.velocity_counters TO tessera_owner;
GRANT SELECT ON TABLE core.velocity_counters TO tessera_dba;
GRANT SELECT,INSERT ON TABLE core.velocity_counters TO tessera_ledger;

GRANT UPDATE(since) ON TABLE core.velocity_counters TO tessera_ledger;

GRANT UPDATE(used) ON TABLE core.velocity_counters TO tessera_ledger;

GRANT SELECT ON TABLE core.viewers TO tessera_dba;
GRANT SELECT,INSERT,DELETE ON TABLE core.viewers TO tessera_ledger;

GRANT UPDATE(seen_until) ON TABLE core.viewers TO tessera_ledger;

GRANT SELECT,INSERT,DELETE ON TABLE core.webhook_secrets TO tessera_ledger;

GRANT UPDATE(until) ON TABLE core.webhook_secrets TO tessera_ledger;

ALTER DEFAULT PRIVILEGES FOR ROLE tessera_ledger IN SCHEMA api GRANT ALL ON FUNCTIONS TO tessera_app;
ALTER DEFAULT PRIVILEGES FOR ROLE tessera_ledger IN SCHEMA api GRANT ALL ON FUNCTIONS TO tessera_scheduler;
ALTER DEFAULT PRIVILEGES FOR ROLE tessera_ledger IN SCHEMA api GRANT ALL ON FUNCTIONS TO tessera_dba;

ALTER DEFAULT PRIVILEGES FOR ROLE tessera_owner IN SCHEMA api GRANT SELECT ON TABLES TO tessera_app;
ALTER DEFAULT PRIVILEGES FOR ROLE tessera_owner IN SCHEMA api GRANT SELECT ON TABLES TO tessera_scheduler;
ALTER DEFAULT PRIVILEGES FOR ROLE tessera_owner IN SCHEMA api GRANT SELECT ON TABLES TO tessera_dba;
ALTER DEFAULT PRIVILEGES FOR ROLE tessera_owner IN SCHEMA api GRANT SELECT ON TABLES TO tessera_readonly;

ALTER DEFAULT PRIVILEGES FOR ROLE tessera_owner IN SCHEMA core GRANT SELECT ON TABLES TO tessera_dba;

ALTER DEFAULT PRIVILEGES FOR ROLE tessera_ledger REVOKE ALL ON FUNCTIONS FROM PUBLIC;

ALTER DEFAULT PRIVILEGES FOR ROLE tessera_owner REVOKE ALL ON FUNCTIONS FROM PUBLIC;
