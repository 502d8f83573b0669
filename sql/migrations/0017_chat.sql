-- Chat of streams, what tips and viewers a stream has.

CREATE TABLE core.messages (
    id uuid PRIMARY KEY DEFAULT core.uuid7(),
    stream_id uuid NOT NULL,
    user_id uuid NOT NULL,
    body text NOT NULL CHECK (char_length(body) BETWEEN 1 AND 500),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    removed_at timestamptz,
    removed_by uuid,
    CONSTRAINT messages_removed CHECK (removed_by IS NULL OR removed_at IS NOT NULL)
);
COMMENT ON TABLE core.messages IS 'Messages in the chats of streams. Written by api.post_message and api.remove_message.';
COMMENT ON COLUMN core.messages.removed_at IS 'From then on nobody is shown the body; it is kept for whoever looks into complaints.';
COMMENT ON COLUMN core.messages.removed_by IS 'Its author, the stream''s creator or a moderator; NULL: an operator, by hand.';
CREATE INDEX messages_stream_id_idx ON core.messages (stream_id, id);

CREATE UNLOGGED TABLE core.chat_counters (
    stream_id uuid NOT NULL,
    user_id uuid NOT NULL,
    since timestamptz NOT NULL,
    used integer NOT NULL CHECK (used >= 0),
    CONSTRAINT chat_counters_pkey PRIMARY KEY (stream_id, user_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE core.chat_counters IS 'How many messages somebody has posted to a stream in the minute (UTC) that began at since. Unlogged: after a crash everybody begins anew.';
CREATE INDEX chat_counters_since_idx ON core.chat_counters (since);

CREATE TABLE core.stream_totals (
    stream_id uuid NOT NULL,
    shard smallint NOT NULL CHECK (shard BETWEEN 0 AND 15),
    tips bigint NOT NULL CHECK (tips >= 0),
    tip_count bigint NOT NULL CHECK (tip_count >= 0),
    CONSTRAINT stream_totals_pkey PRIMARY KEY (stream_id, shard)
) WITH (fillfactor = 50);
COMMENT ON TABLE core.stream_totals IS 'What was tipped during a stream, in 16 parts, so that sessions rarely wait for the same row. Written by api.send_tips in the commit of the tips.';
COMMENT ON COLUMN core.stream_totals.tips IS 'Tokens that senders paid, fees included. Refunds do not lower it.';

INSERT INTO core.stream_totals (stream_id, shard, tips, tip_count)
SELECT
    t.stream_id,
    0 AS shard,
    sum(t.amount::bigint) AS tips,
    count(*) AS tip_count
FROM core.tips AS t
WHERE t.stream_id IS NOT NULL
GROUP BY t.stream_id;

CREATE UNLOGGED TABLE core.viewers (
    stream_id uuid NOT NULL,
    user_id uuid NOT NULL,
    seen_until timestamptz NOT NULL,
    CONSTRAINT viewers_pkey PRIMARY KEY (stream_id, user_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE core.viewers IS 'Who watches which stream, until when unless they are heard of again. Unlogged: after a crash the next beats fill it. Written by api.watch_streams and core._note_viewer; api.count_viewers counts it and takes out what has lapsed.';

CREATE TABLE core.stream_viewers (
    stream_id uuid PRIMARY KEY,
    viewers integer NOT NULL CHECK (viewers >= 0),
    peak integer NOT NULL,
    counted_at timestamptz NOT NULL,
    CONSTRAINT stream_viewers_peak CHECK (peak >= viewers)
) WITH (fillfactor = 50);
COMMENT ON TABLE core.stream_viewers IS 'How many watch a stream, and how many did at most, as of the last time it had changed. Written by api.count_viewers.';
CREATE INDEX stream_viewers_watched_idx ON core.stream_viewers (stream_id) WHERE viewers > 0;

CREATE TYPE api.watch_beat AS (user_id uuid, stream_id uuid);
COMMENT ON TYPE api.watch_beat IS 'Somebody says that they are watching a stream.';

CREATE TYPE api.watch_outcome AS (
    ord integer,
    viewers integer,
    seen_until timestamptz,
    error_code text,
    error text,
    detail jsonb
);
COMMENT ON TYPE api.watch_outcome IS 'What became of the beat at position ord: how many watch, by the last count, and until when this viewer is counted; or error_code (TSnnn), its slug in error, and facts in detail.';

INSERT INTO core.rate_names (name, unit, scoped, meaning) VALUES
('chat_messages_minute', 'count', NULL, 'How many messages a user may post to a stream in a minute.'),
('viewer_lease', 'seconds', NULL, 'How long somebody counts as a viewer after they were last heard of.');
INSERT INTO core.rates (name, value, unit, valid_from, note) VALUES
('chat_messages_minute', 30, 'count', '-infinity', 'How many messages a user may post to a stream in a minute.'),
('viewer_lease', 45, 'seconds', '-infinity', 'How long somebody counts as a viewer after they were last heard of.');

CREATE OR REPLACE VIEW api.streams AS
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
    s.created_at,
    (
        SELECT coalesce(sum(t.tips), 0)::bigint FROM core.stream_totals AS t
        WHERE t.stream_id = s.id
    ) AS total_tips,
    coalesce((
        SELECT v.viewers FROM core.stream_viewers AS v
        WHERE v.stream_id = s.id
    ), 0) AS viewers,
    coalesce((
        SELECT v.peak FROM core.stream_viewers AS v
        WHERE v.stream_id = s.id
    ), 0) AS peak_viewers
FROM core.streams AS s;
COMMENT ON VIEW api.streams IS 'Streams: whose, when, who may watch, what a ticket costs (tokens) and how many are left (NULL: any number), what was tipped (tokens, refunds not taken off), how many watch.';

CREATE VIEW api.messages AS
SELECT
    m.id AS message_id,
    m.stream_id,
    m.user_id,
    u.username,
    CASE WHEN m.removed_at IS NULL THEN m.body END AS body,
    m.created_at,
    m.removed_at,
    m.removed_by
FROM core.messages AS m
LEFT JOIN core.users AS u ON u.id = m.user_id;
COMMENT ON VIEW api.messages IS 'Messages in the chats of streams; no body where one was removed.';

GRANT SELECT, INSERT ON core.messages, core.chat_counters, core.stream_totals, core.viewers, core.stream_viewers TO tessera_ledger;
GRANT UPDATE (removed_at, removed_by) ON core.messages TO tessera_ledger;
GRANT UPDATE (since, used) ON core.chat_counters TO tessera_ledger;
GRANT UPDATE (tips, tip_count) ON core.stream_totals TO tessera_ledger;
GRANT UPDATE (seen_until) ON core.viewers TO tessera_ledger;
GRANT UPDATE (viewers, peak, counted_at) ON core.stream_viewers TO tessera_ledger;
GRANT DELETE ON core.chat_counters, core.viewers TO tessera_ledger;
GRANT SELECT ON core.messages, core.chat_counters, core.stream_totals, core.viewers, core.stream_viewers TO tessera_dba;
GRANT SELECT ON api.messages TO tessera_ledger;
