-- call_stats: somebody's calls in numbers.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.call_stats(
    p_user uuid,
    p_role text,
    p_from timestamptz DEFAULT NULL,
    p_to timestamptz DEFAULT NULL
) RETURNS api.call_numbers
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ROW(
        count(*), count(*) FILTER (WHERE c.status = 'ended'), count(*) FILTER (WHERE c.status = 'declined'),
        count(*) FILTER (WHERE c.status = 'missed'), coalesce(sum(c.blocks), 0)::bigint, coalesce(sum(c.billed), 0)::bigint,
        coalesce(sum(c.platform_fees), 0)::bigint, coalesce(sum(c.active_us), 0)::bigint / 1000,
        coalesce((avg(c.active_us) FILTER (WHERE c.status = 'ended'))::bigint / 1000, 0),
        coalesce(max(c.active_us) / 1000, 0)
    )::api.call_numbers
    FROM core.calls AS c
    WHERE
        (c.fan_id = p_user AND p_role IS DISTINCT FROM 'creator' OR c.creator_id = p_user AND p_role IS DISTINCT FROM 'fan')
        AND c.ended_at IS NOT NULL AND (p_from IS NULL OR c.opened_at >= p_from) AND (p_to IS NULL OR c.opened_at < p_to)
$$;

COMMENT ON FUNCTION api.call_stats(uuid, text, timestamptz, timestamptz) IS
'Calls of user p_user that are over, opened from p_from up to p_to (NULL: no bound), as p_role fan, creator or both (NULL).';
