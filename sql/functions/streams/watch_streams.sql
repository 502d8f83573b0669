-- watch_streams: viewers say that they are watching, many in one go; each counts or is refused alone.
-- Locks    the leases of these viewers, in order
-- Decides  that the viewer may act and, as api.stream_access does, may watch; that the stream is live. The stream's creator is
--          answered and not counted
-- Writes   viewers, up to the rate viewer_lease from now
-- Errors   TS107 BATCH_TOO_LARGE, TS801 CONFIGURATION_ERROR (raised); per beat, in its outcome: TS211 USER_NOT_FOUND,
--          TS218 STREAM_NOT_FOUND, TS330 STREAM_NOT_LIVE, TS502 USER_SUSPENDED, TS506 NO_ACCESS_TO_STREAM
CREATE OR REPLACE FUNCTION api.watch_streams(p_beats api.watch_beat []) RETURNS SETOF api.watch_outcome
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    c_batch CONSTANT integer := 2500;
    v_until CONSTANT timestamptz := clock_timestamp() + make_interval(secs => core._rate('viewer_lease')::integer);
    v_outcomes api.watch_outcome[];
    v_counted boolean[];
BEGIN
    IF cardinality(p_beats) > c_batch THEN
        PERFORM core._raise('TS107', 'BATCH_TOO_LARGE', jsonb_build_object('size', cardinality(p_beats), 'maximum', c_batch), 'Send less at once.');
    END IF;
    SELECT
        array_agg(ROW(
            c.ord,
            CASE WHEN (c.refusal).error_code IS NULL THEN c.viewers END, CASE WHEN (c.refusal).error_code IS NULL THEN v_until END,
            (c.refusal).error_code, (c.refusal).error, (c.refusal).detail
        )::api.watch_outcome ORDER BY c.ord),
        array_agg((c.refusal).error_code IS NULL AND c.reason <> 'owner' ORDER BY c.ord)
    INTO v_outcomes, v_counted
    FROM (
        SELECT
            b.ord::integer AS ord, a.reason, coalesce(n.viewers, 0) AS viewers,
            CASE
                WHEN u.status IS NULL
                    THEN ROW('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', b.user_id))::core.refusal
                WHEN u.status <> 'active'
                    THEN ROW('TS502', 'USER_SUSPENDED', jsonb_build_object('user_id', b.user_id))::core.refusal
                WHEN a.reason IS NULL
                    THEN ROW('TS218', 'STREAM_NOT_FOUND', jsonb_build_object('stream_id', b.stream_id))::core.refusal
                WHEN a.reason = 'no_ticket'
                    THEN ROW('TS506', 'NO_ACCESS_TO_STREAM', jsonb_build_object('stream_id', b.stream_id, 'reason', a.reason))::core.refusal
                WHEN s.status <> 'live'
                    THEN ROW('TS330', 'STREAM_NOT_LIVE', jsonb_build_object('stream_id', b.stream_id, 'stream_status', s.status))::core.refusal
            END AS refusal
        FROM unnest(p_beats) WITH ORDINALITY AS b (user_id, stream_id, ord)
        CROSS JOIN LATERAL (SELECT core._access_reason(b.stream_id, b.user_id)) AS a (reason)
        LEFT JOIN LATERAL (SELECT x.status FROM core.users AS x WHERE x.id = b.user_id LIMIT 1) AS u ON true
        LEFT JOIN LATERAL (SELECT x.status FROM core.streams AS x WHERE x.id = b.stream_id LIMIT 1) AS s ON true
        LEFT JOIN LATERAL (SELECT x.viewers FROM core.stream_viewers AS x WHERE x.stream_id = b.stream_id LIMIT 1) AS n ON true
    ) AS c;
    INSERT INTO core.viewers AS v (stream_id, user_id, seen_until)
    SELECT DISTINCT b.stream_id, b.user_id, v_until
    FROM ROWS FROM (unnest(p_beats), unnest(v_counted)) AS b (user_id, stream_id, counted)
    WHERE b.counted
    ORDER BY b.stream_id, b.user_id
    ON CONFLICT ON CONSTRAINT viewers_pkey DO UPDATE SET seen_until = greatest(v.seen_until, excluded.seen_until);
    RETURN QUERY SELECT o.* FROM unnest(v_outcomes) AS o;
END;
$$;

COMMENT ON FUNCTION api.watch_streams(api.watch_beat []) IS
'Viewers of live streams are counted from now for as long as the rate viewer_lease says, or until their next beat; up to 2500 at once, one outcome a beat, in order. Beat about three times in a lease.';
