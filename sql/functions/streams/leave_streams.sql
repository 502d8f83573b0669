-- leave_streams: viewers who have gone are counted no longer.
-- Locks    their leases
-- Decides  nothing
-- Writes   viewers
-- Errors   TS107 BATCH_TOO_LARGE
CREATE OR REPLACE FUNCTION api.leave_streams(p_beats api.watch_beat []) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
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

COMMENT ON FUNCTION api.leave_streams(api.watch_beat []) IS 'These users do not watch these streams any more; up to 2500 at once. Returns how many were counted until now.';
