-- read_channel: the events of a channel after a position.
-- Locks    nothing
-- Decides  that the position is of this epoch, and that everything after it is kept
-- Writes   nothing
-- Errors   TS101 INVALID_REQUEST, TS345 POSITION_LOST
CREATE OR REPLACE FUNCTION api.read_channel(p_channel text, p_epoch uuid, p_after_seq bigint, p_limit integer DEFAULT 100)
RETURNS SETOF api.channel_event
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
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

COMMENT ON FUNCTION api.read_channel(text, uuid, bigint, integer) IS
'Events of a channel with numbers above p_after_seq, in order, at most p_limit (1 to 10000). TS345 POSITION_LOST, with the present epoch and seq, where the position is of another epoch or some of what follows is not kept any more. Who may read which channel is for the caller to see to.';
