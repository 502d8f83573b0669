-- The relay: events of the outbox become a dense, ordered log of each channel (docs/relay.md).

CREATE FUNCTION core._cluster() RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.system_identifier::text FROM pg_control_system() AS c
$$;
COMMENT ON FUNCTION core._cluster() IS 'The system identifier of this cluster: numbers of transactions mean something in one cluster only.';

CREATE FUNCTION core._history() RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
|| '/' || (
    SELECT d.oid::text
    FROM pg_database AS d
    WHERE d.datname = current_database()
);
COMMENT ON FUNCTION core._history() IS 'Timeline and database: another one after a restore to a moment, a failover, or a copy, none of which must have seen the newest events.';
GRANT EXECUTE ON FUNCTION core._cluster(), core._history() TO tessera_ledger;

CREATE TABLE core.relay_state (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch uuid NOT NULL DEFAULT gen_random_uuid(),
    cluster text NOT NULL DEFAULT core._cluster(),
    history text NOT NULL DEFAULT core._history(),
    base pg_snapshot NOT NULL DEFAULT pg_current_snapshot(),
    target pg_snapshot,
    last_id bigint NOT NULL DEFAULT 0 CHECK (last_id >= 0),
    floor_id bigint NOT NULL DEFAULT 0 CHECK (floor_id >= 0),
    phase text NOT NULL DEFAULT 'own' CHECK (phase IN ('own', 'foreign', 'restored')),
    relayed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    events bigint NOT NULL DEFAULT 0,
    entries bigint NOT NULL DEFAULT 0,
    CONSTRAINT relay_state_restored CHECK (target IS NOT NULL OR phase <> 'restored')
)
-- rewritten with every chunk
WITH (fillfactor = 20);
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
-- What was written before is nobody's to read any more.
INSERT INTO core.relay_state (last_id) SELECT coalesce(max(o.id), 0) FROM core.outbox AS o;

CREATE TABLE core.relay_chunks (
    from_id bigint PRIMARY KEY,
    to_id bigint NOT NULL,
    from_xid xid8 NOT NULL,
    to_xid xid8 NOT NULL,
    events bigint NOT NULL CHECK (events > 0),
    CONSTRAINT relay_chunks_order CHECK (from_id <= to_id AND from_xid <= to_xid)
);
COMMENT ON TABLE core.relay_chunks IS 'What is still to be relayed between base and target, cut by ids, with the transactions that wrote it. Empty but after a backlog.';

CREATE TABLE core.channels (
    channel text COLLATE "C" PRIMARY KEY,
    id bigint GENERATED ALWAYS AS IDENTITY,
    seq bigint NOT NULL CHECK (seq >= 0)
)
WITH (fillfactor = 70);
COMMENT ON TABLE core.channels IS 'Channels that ever had an event. Written by api.relay_events only; never deleted, for a channel that began anew would repeat its numbers.';
COMMENT ON COLUMN core.channels.id IS 'Short name of the channel in core.channel_events.';
COMMENT ON COLUMN core.channels.seq IS 'Number of its last event; the first is 1.';

CREATE TABLE core.channel_events (
    channel_id bigint NOT NULL,
    seq bigint NOT NULL,
    xid xid8 NOT NULL,
    id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    relayed_at timestamptz NOT NULL
) PARTITION BY RANGE (relayed_at);
COMMENT ON TABLE core.channel_events IS 'The events of each channel in order, 1, 2, 3… without gaps: pointers to core.outbox. Partitions of days (UTC), each with the primary key (channel_id, seq). Written by api.relay_events only.';
COMMENT ON COLUMN core.channel_events.xid IS 'With id the key of the event in core.outbox…';
COMMENT ON COLUMN core.channel_events.created_at IS '… and its partition there.';
COMMENT ON COLUMN core.channel_events.relayed_at IS 'When it got its number; does not decrease with seq.';

CREATE TABLE core.channel_days (
    from_at timestamptz PRIMARY KEY,
    to_at timestamptz NOT NULL,
    oldest_at timestamptz,
    CONSTRAINT channel_days_order CHECK (from_at < to_at)
);
COMMENT ON TABLE core.channel_days IS 'The partitions of core.channel_events. Written by core._make_channel_days, core._drop_channel_days and (oldest_at) api.relay_events.';
COMMENT ON COLUMN core.channel_days.oldest_at IS 'created_at of the oldest event that was relayed on that day; NULL where none was.';

CREATE FUNCTION core._channel_day(p_from timestamptz) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN 'channel_events_p' || to_char(p_from AT TIME ZONE 'UTC', 'YYYY_MM_DD');
COMMENT ON FUNCTION core._channel_day(timestamptz) IS 'Name of the partition of core.channel_events that begins at p_from.';

CREATE FUNCTION core._make_channel_days(p_at timestamptz, p_days integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '2s'
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
COMMENT ON FUNCTION core._make_channel_days(timestamptz, integer) IS 'As the owner of the tables: makes the partitions of core.channel_events for the day of p_at and p_days more; how many were missing.';

CREATE FUNCTION core._drop_channel_days(p_before timestamptz) RETURNS text []
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '300ms'
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
COMMENT ON FUNCTION core._drop_channel_days(timestamptz) IS 'As the owner of the tables: drops the partitions of core.channel_events that end at p_before or earlier; returns their names.';

CREATE FUNCTION core._hold_outbox() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '2s'
AS $$
BEGIN
    -- changes nothing, and waits for all who write
    ALTER TABLE core.outbox OWNER TO tessera_owner;
END;
$$;
COMMENT ON FUNCTION core._hold_outbox() IS 'As the owner of the table: until the transaction ends nobody writes events, and nobody has written any that are not committed. Once after a restore into another cluster.';
GRANT EXECUTE ON FUNCTION core._make_channel_days(timestamptz, integer), core._drop_channel_days(timestamptz), core._hold_outbox()
TO tessera_ledger;

CREATE VIEW api.relay_state AS
SELECT
    r.epoch,
    r.events,
    r.entries,
    r.relayed_at,
    (SELECT coalesce(sum(c.events), 0)::bigint FROM core.relay_chunks AS c) AS in_chunks
FROM core.relay_state AS r;
COMMENT ON VIEW api.relay_state IS 'The relay: the epoch that positions in channels belong to, how many events and rows of channels it has made, when it last did, and how many events are left of a backlog that it has cut into chunks.';

CREATE TYPE api.channel_event AS (seq bigint, type text, payload jsonb, created_at timestamptz);
COMMENT ON TYPE api.channel_event IS 'An event of a channel: its number there, what it tells, and when that was written.';

INSERT INTO core.rate_names (name, unit, scoped, meaning)
VALUES ('channel_events_kept', 'days', NULL, 'How long events can be read again from a channel after they were relayed.');
INSERT INTO core.rates (name, value, unit, valid_from, note)
VALUES ('channel_events_kept', 7, 'days', '-infinity', 'How long events can be read again from a channel after they were relayed.');

GRANT SELECT ON core.relay_state, core.relay_chunks, core.channels, core.channel_events, core.channel_days
TO tessera_ledger, tessera_dba;
GRANT SELECT ON SEQUENCE core.outbox_id_seq TO tessera_ledger;
GRANT UPDATE (epoch, cluster, history, base, target, last_id, floor_id, phase, relayed_at, events, entries) ON core.relay_state TO tessera_ledger;
GRANT INSERT, DELETE ON core.relay_chunks TO tessera_ledger;
GRANT INSERT ON core.channels, core.channel_events TO tessera_ledger;
GRANT UPDATE (seq) ON core.channels TO tessera_ledger;
GRANT UPDATE (oldest_at) ON core.channel_days TO tessera_ledger;
