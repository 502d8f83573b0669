-- stream_messages: a page of a stream's chat, for who may watch it.
-- Locks    nothing
-- Decides  as api.stream_access
-- Writes   nothing
-- Errors   TS218 STREAM_NOT_FOUND, TS506 NO_ACCESS_TO_STREAM
CREATE OR REPLACE FUNCTION api.stream_messages(
    p_stream uuid,
    p_viewer uuid,
    p_before uuid DEFAULT NULL,
    p_limit integer DEFAULT 50
) RETURNS SETOF api.messages
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
    PERFORM core._admit(p_stream, p_viewer);
    RETURN QUERY
    SELECT m.* FROM api.messages AS m
    WHERE
        m.stream_id = p_stream AND m.removed_at IS NULL
        AND m.message_id < coalesce(p_before, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
    ORDER BY m.message_id DESC
    LIMIT least(greatest(coalesce(p_limit, 50), 1), 1000);
END;
$$;

COMMENT ON FUNCTION api.stream_messages(uuid, uuid, uuid, integer) IS
'Messages of stream p_stream that are not removed, newest first, up to p_limit (1000 at most), those before p_before, as user p_viewer may read them.';
