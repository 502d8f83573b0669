-- Streams and their tickets.

CREATE TABLE core.streams (
    id uuid PRIMARY KEY DEFAULT core.uuid7(),
    creator_id uuid NOT NULL,
    title text NOT NULL CHECK (octet_length(title) BETWEEN 1 AND 200),
    channel text NOT NULL UNIQUE CHECK (channel ~ '^[a-z0-9][a-z0-9_-]{2,62}$'),
    visibility text NOT NULL DEFAULT 'public' CHECK (visibility IN ('public', 'private')),
    status text NOT NULL DEFAULT 'scheduled' CHECK (status IN ('scheduled', 'live', 'ended')),
    ticket_price bigint NOT NULL DEFAULT 0 CHECK (ticket_price BETWEEN 0 AND 1000000000),
    seats integer CHECK (seats BETWEEN 1 AND 10000000),
    seats_sold integer NOT NULL DEFAULT 0 CHECK (seats_sold >= 0),
    sales_from timestamptz,
    sales_to timestamptz,
    starts_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    cancelled_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT streams_seats_are_enough CHECK (seats_sold <= seats),
    CONSTRAINT streams_sales_window CHECK (sales_from < sales_to),
    CONSTRAINT streams_ended CHECK ((status = 'ended') = (ended_at IS NOT NULL)),
    CONSTRAINT streams_cancelled CHECK (cancelled_at IS NULL OR status = 'ended')
);
COMMENT ON TABLE core.streams IS 'Live streams of creators. Written by api.create_stream, update_stream, start_stream, end_stream, cancel_stream and buy_tickets.';
COMMENT ON COLUMN core.streams.visibility IS 'public: everybody may watch; private: whoever has a ticket.';
COMMENT ON COLUMN core.streams.ticket_price IS 'Tokens; 0 is a free ticket.';
COMMENT ON COLUMN core.streams.seats IS 'How many tickets there are; NULL: any number.';
COMMENT ON COLUMN core.streams.seats_sold IS 'Tickets sold, counted only where seats are limited.';
COMMENT ON COLUMN core.streams.sales_from IS 'Tickets are sold from then on (NULL: at once) up to sales_to (NULL: until the stream ends).';
COMMENT ON COLUMN core.streams.cancelled_at IS 'Ended by cancelling: every ticket was given back.';
CREATE INDEX streams_creator_id_idx ON core.streams (creator_id, id);
CREATE INDEX streams_live_idx ON core.streams (id) WHERE status = 'live';

CREATE TABLE core.tickets (
    id uuid PRIMARY KEY DEFAULT core.uuid7(),
    stream_id uuid NOT NULL,
    viewer_id uuid NOT NULL,
    price bigint NOT NULL CHECK (price >= 0),
    platform_fee bigint NOT NULL CHECK (platform_fee BETWEEN 0 AND price),
    transfer_id uuid UNIQUE,
    created_at timestamptz NOT NULL,
    refunded_at timestamptz,
    CONSTRAINT tickets_one_a_viewer UNIQUE (stream_id, viewer_id),
    CONSTRAINT tickets_paid CHECK ((price = 0) = (transfer_id IS NULL))
);
COMMENT ON TABLE core.tickets IS 'Who may watch a private stream, written in the commit of the payment.';
COMMENT ON COLUMN core.tickets.price IS 'Tokens that the viewer paid: platform_fee and the creator''s cut.';
COMMENT ON COLUMN core.tickets.transfer_id IS 'The payment to the creator (the fee, where the fee takes all); NULL for a free ticket.';
COMMENT ON COLUMN core.tickets.refunded_at IS 'The stream was cancelled and the price given back.';
CREATE INDEX tickets_viewer_id_idx ON core.tickets (viewer_id, id);

CREATE TYPE api.ticket_request AS (viewer_id uuid, stream_id uuid, idempotency_key text);
COMMENT ON TYPE api.ticket_request IS 'One ticket asked of api.buy_tickets. The key belongs to the viewer.';

CREATE TYPE api.ticket_outcome AS (
    ord integer,
    ticket_id uuid,
    price bigint,
    new_balance bigint,
    created_at timestamptz,
    replayed boolean,
    error_code text,
    error text,
    detail jsonb
);
COMMENT ON TYPE api.ticket_outcome IS 'What became of the ticket at position ord: its id, price and the viewer''s balance after it (NULL where nothing was paid); or error_code (TSnnn), its slug in error, and facts in detail, and nothing written. replayed: the key had done this before.';

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
COMMENT ON TYPE core.ticket_case IS 'A request for a ticket and what is known of it: ticket_id where its key bought one before; refusal; turn: whether it can be decided now, or only after the ones before it.';

CREATE VIEW api.streams AS
SELECT
    s.id AS stream_id,
    s.creator_id,
    s.title,
    s.channel,
    s.visibility,
    s.status,
    s.ticket_price,
    s.seats,
    s.seats - s.seats_sold AS seats_left,
    s.sales_from,
    s.sales_to,
    s.starts_at,
    s.started_at,
    s.ended_at,
    s.cancelled_at,
    s.created_at
FROM core.streams AS s;
COMMENT ON VIEW api.streams IS 'Streams: whose, when, who may watch, what a ticket costs (tokens) and how many are left (NULL: any number).';

CREATE VIEW api.tickets AS
SELECT
    t.id AS ticket_id,
    t.stream_id,
    t.viewer_id,
    t.price,
    t.platform_fee,
    t.transfer_id,
    t.created_at,
    t.refunded_at
FROM core.tickets AS t;
COMMENT ON VIEW api.tickets IS 'Tickets; amounts in tokens.';

GRANT SELECT, INSERT ON core.streams, core.tickets TO tessera_ledger;
GRANT UPDATE (
    title, visibility, status, ticket_price, seats, seats_sold, sales_from, sales_to, starts_at, started_at, ended_at,
    cancelled_at, updated_at
) ON core.streams TO tessera_ledger;
GRANT UPDATE (refunded_at) ON core.tickets TO tessera_ledger;
GRANT SELECT ON core.streams, core.tickets TO tessera_dba;
GRANT SELECT ON api.streams, api.tickets TO tessera_ledger;
REVOKE UPDATE, DELETE, TRUNCATE ON core.tickets FROM tessera_owner;
