-- tip_stats: what a creator got in tips since a moment.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.tip_stats(p_creator uuid, p_since timestamptz DEFAULT NULL)
RETURNS TABLE (count bigint, sum bigint, average numeric, max bigint, unique_tippers bigint, top jsonb)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH tippers AS (
        SELECT t.sender_id, sum(t.amount)::bigint AS total, count(*) AS tips, max(t.amount::bigint) AS largest
        FROM core.tips AS t
        WHERE t.creator_id = p_creator AND (p_since IS NULL OR t.created_at >= p_since)
        GROUP BY t.sender_id
    ), leaders AS (
        SELECT s.sender_id, s.total, s.tips, u.username
        FROM tippers AS s
        INNER JOIN core.users AS u ON u.id = s.sender_id
        ORDER BY s.total DESC, s.sender_id
        LIMIT 5
    )
    SELECT
        coalesce(sum(s.tips), 0)::bigint,
        coalesce(sum(s.total), 0)::bigint,
        coalesce(round(sum(s.total) / nullif(sum(s.tips), 0), 2), 0),
        coalesce(max(s.largest), 0),
        count(*),
        coalesce((
            SELECT jsonb_agg(
                jsonb_build_object('user_id', l.sender_id, 'username', l.username, 'total', l.total, 'count', l.tips)
                ORDER BY l.total DESC, l.sender_id
            )
            FROM leaders AS l
        ), '[]')
    FROM tippers AS s
$$;

COMMENT ON FUNCTION api.tip_stats(uuid, timestamptz) IS
'Tips that a creator got since p_since (NULL: ever), in tokens as paid by the senders: count, sum, average (2 decimals), largest, number of tippers, and the five who gave most as JSON [{user_id, username, total, count}].';
