-- count_viewers: how many watch each stream. The scheduler's part.
-- Locks    the counts that change, in order; leases that have lapsed, but for those that somebody renews just now
-- Decides  by the clock which leases count; of streams that are not live none does. A count that is older than the one there
--          changes nothing
-- Writes   stream_viewers, outbox 'stream.viewers' where the number is another; viewers and chat_counters, what is over
-- Errors   none
CREATE OR REPLACE FUNCTION api.count_viewers(p_limit integer DEFAULT 5000) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
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

COMMENT ON FUNCTION api.count_viewers(integer) IS
'Counts the viewers of live streams and returns how many numbers have changed; takes out up to p_limit leases that have lapsed. The scheduler calls it every 5 seconds, and subscribers get at most one number a stream each time.';
