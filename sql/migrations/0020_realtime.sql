-- Following channels over a WebSocket (docs/realtime.md).

CREATE UNLOGGED TABLE core.realtime_tickets (
    ticket_hash bytea PRIMARY KEY CHECK (octet_length(ticket_hash) = 32),
    user_id uuid NOT NULL,
    session_id uuid,
    key_id uuid,
    token_epoch integer,
    token_expires_at timestamptz,
    expires_at timestamptz NOT NULL,
    CONSTRAINT realtime_tickets_origin CHECK ((session_id IS NULL) <> (key_id IS NULL))
);
COMMENT ON TABLE core.realtime_tickets IS 'Tickets that let a browser say who it is on its WebSocket: each is good once, for half a minute. Unlogged: after a crash clients fetch another.';
COMMENT ON COLUMN core.realtime_tickets.ticket_hash IS 'SHA-256 of the ticket.';
COMMENT ON COLUMN core.realtime_tickets.session_id IS 'The session of the token that it was fetched with, or…';
COMMENT ON COLUMN core.realtime_tickets.key_id IS '… the API key.';
COMMENT ON COLUMN core.realtime_tickets.token_epoch IS 'Of that token: another one of the user ends it.';
COMMENT ON COLUMN core.realtime_tickets.token_expires_at IS 'When that token or key expires; NULL: never.';
CREATE INDEX realtime_tickets_expires_at_idx ON core.realtime_tickets (expires_at);

CREATE TYPE api.follow_request AS (user_id uuid, channel text);
COMMENT ON TYPE api.follow_request IS 'Somebody wants to follow a channel.';

CREATE TYPE api.follow_outcome AS (
    ord integer,
    epoch uuid,
    seq bigint,
    first_seq bigint,
    error_code text,
    error text,
    detail jsonb
);
COMMENT ON TYPE api.follow_outcome IS 'Where the channel of the request with this number stands: the epoch, its last event (0: it never had one) and the first that is kept; or why that user may not follow it.';

CREATE TYPE api.channel_told AS (channel text, first_seq bigint, ids bigint []);
COMMENT ON TYPE api.channel_told IS 'The new events of a channel by their ids, numbered from first_seq on.';
CREATE TYPE api.event_told AS (id bigint, text text);
COMMENT ON TYPE api.event_told IS 'An event as JSON without its number: what follows after {"seq":<number>, in a frame.';
CREATE TYPE api.channel_read AS (place integer, first_seq bigint, last_seq bigint, events text);
COMMENT ON TYPE api.channel_read IS 'Events of the channel with this place in the question, from first_seq to last_seq: JSON objects with seq, type, at (ISO 8601, UTC) and data, one a line. Place 0 is the log itself: events is its epoch, last_seq how many rows it ever had.';

CREATE TYPE api.audience AS (stream_id uuid, viewers integer, user_ids uuid []);
COMMENT ON TYPE api.audience IS 'Who watches a stream now: how many, and who unless they are too many to tell (NULL).';

GRANT SELECT, INSERT, DELETE ON core.realtime_tickets TO tessera_app;
GRANT SELECT, DELETE ON core.realtime_tickets TO tessera_scheduler;
GRANT SELECT ON core.realtime_tickets TO tessera_dba;
