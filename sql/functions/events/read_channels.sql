-- read_channels: what came after a position in each of many channels.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   TS101 INVALID_REQUEST
CREATE OR REPLACE FUNCTION api.read_channels(p_channels text [], p_after_seqs bigint [], p_limit integer DEFAULT 100)
RETURNS SETOF api.channel_read
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
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

COMMENT ON FUNCTION api.read_channels(text [], bigint [], integer) IS
'Events of up to 1000 channels with numbers above the position of each, in order, at most p_limit a channel: a row for each channel that has any, the events as JSON objects, one a line; before them a row of place 0 with the epoch, and how many rows the log ever had, of the same moment. What is not kept any more is left out: the first number is then not the one after the position. Who may read which channel is for the caller to see to. For other readers there is api.read_channel.';
