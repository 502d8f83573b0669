-- stream_audience: who watches these streams now.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.stream_audience(p_streams uuid [], p_names integer DEFAULT 100) RETURNS SETOF api.audience
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    SELECT
        s.id,
        CASE
            WHEN cardinality(w.ids) <= p_names THEN cardinality(w.ids)
            -- counting them all is for the job api.count_viewers
            ELSE greatest(cardinality(w.ids), (SELECT n.viewers FROM core.stream_viewers AS n WHERE n.stream_id = s.id))
        END,
        CASE WHEN cardinality(w.ids) <= p_names THEN w.ids END
    FROM unnest(p_streams) AS s (id)
    CROSS JOIN LATERAL (
        SELECT ARRAY(
            SELECT v.user_id FROM core.viewers AS v
            WHERE v.stream_id = s.id AND v.seen_until > v_now
            ORDER BY v.stream_id, v.user_id
            LIMIT p_names + 1
        ) AS ids
    ) AS w;
END;
$$;

COMMENT ON FUNCTION api.stream_audience(uuid [], integer) IS
'Viewers of streams as of now: their ids where they are at most p_names, else how many there were when they were last counted.';
