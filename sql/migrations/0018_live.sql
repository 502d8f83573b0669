-- Rooms of the media server (LiveKit), and what it has told of them.

CREATE TABLE core.live_rooms (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('stream', 'call')),
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reopened_at timestamptz,
    closed_at timestamptz
);
COMMENT ON TABLE core.live_rooms IS 'Rooms of the media server that somebody was let into, one a stream or call. Written by api.enter_room and api.note_live_event; the scheduler closes those whose stream or call is over.';
COMMENT ON COLUMN core.live_rooms.id IS 'The stream or the call.';
COMMENT ON COLUMN core.live_rooms.reopened_at IS 'When somebody was seen in it after it was over: a token outlives what it was given for by minutes.';
COMMENT ON COLUMN core.live_rooms.closed_at IS 'When the media server was told to close it.';
CREATE INDEX live_rooms_open_idx ON core.live_rooms (id) WHERE closed_at IS NULL;
CREATE INDEX live_rooms_closed_at_idx ON core.live_rooms (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE core.live_events (
    id text PRIMARY KEY CHECK (octet_length(id) BETWEEN 1 AND 255),
    event text NOT NULL,
    room text NOT NULL,
    identity text,
    created_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE core.live_events IS 'Events of the media server that were of use, each once. Written by api.note_live_event, deleted by the scheduler after a month.';
COMMENT ON COLUMN core.live_events.id IS 'The media server''s, the same in every repetition.';
COMMENT ON COLUMN core.live_events.created_at IS 'By the media server''s clock, in whole seconds; never later than now.';
CREATE INDEX live_events_received_at_idx ON core.live_events (received_at);

CREATE TYPE api.live_seat AS (room text, name text, publishes boolean);
COMMENT ON TYPE api.live_seat IS 'A place in a room of the media server: the room, the name shown there, and whether its holder may send sound, pictures and data.';

CREATE VIEW api.live_rooms AS
SELECT
    r.kind || '-' || r.id::text AS room,
    r.kind,
    r.id AS subject_id,
    greatest(r.reopened_at, s.ended_at, c.ended_at) AS over_since,
    r.opened_at,
    r.reopened_at,
    r.closed_at
FROM core.live_rooms AS r
LEFT JOIN core.streams AS s ON r.kind = 'stream' AND s.id = r.id
LEFT JOIN core.calls AS c ON r.kind = 'call' AND c.id = r.id;
COMMENT ON VIEW api.live_rooms IS 'Rooms of the media server that somebody was let into, the stream or call (subject_id) they are for, since when that is over (or somebody was seen there after that; NULL: it goes on), and when the room was closed.';

GRANT SELECT, INSERT ON core.live_rooms, core.live_events TO tessera_ledger;
GRANT UPDATE (reopened_at, closed_at) ON core.live_rooms TO tessera_ledger;
GRANT SELECT, UPDATE, DELETE ON core.live_rooms TO tessera_scheduler;
GRANT SELECT, DELETE ON core.live_events TO tessera_scheduler;
GRANT SELECT ON core.live_rooms, core.live_events TO tessera_dba;
