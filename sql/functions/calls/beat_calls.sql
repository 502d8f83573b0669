-- beat_calls: signs of life of people in calls, many in one go.
-- Locks    the calls' clocks, in id order
-- Decides  that each is in the call they name and it was not lost before (not seen for longer than the rate call_grace: such a call
--          ends when it is metered)
-- Writes   call_clocks (fan_seen_at, creator_seen_at)
-- Errors   TS107 BATCH_TOO_LARGE, TS801 CONFIGURATION_ERROR (raised); per beat, in its pulse: TS219 CALL_NOT_FOUND,
--          TS508 NOT_CALL_PARTICIPANT
CREATE OR REPLACE FUNCTION api.beat_calls(p_beats api.call_beat []) RETURNS SETOF api.call_pulse
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
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

COMMENT ON FUNCTION api.beat_calls(api.call_beat []) IS
'Notes that people are there, up to 5000 at once; returns for each how their call stands. A call that is not seen for the rate call_grace ends, billed up to its last sign of life; one of its two people is enough. Of a call that is over nothing changes.';
