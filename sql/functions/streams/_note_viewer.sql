-- _note_viewer: a media server has seen somebody come or go. Reports may come late and in any order.
-- Locks    the lease of this viewer
-- Decides  nothing about access: who was let in has been asked before. The stream's creator is not counted. Going ends a lease
--          only where nothing was heard of them after p_at
-- Writes   viewers
-- Errors   TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION core._note_viewer(p_stream uuid, p_user uuid, p_watching boolean, p_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_until CONSTANT timestamptz :=
        least(p_at, clock_timestamp()) + make_interval(secs => core._rate('viewer_lease')::integer);
BEGIN
    IF p_watching THEN
        INSERT INTO core.viewers AS v (stream_id, user_id, seen_until)
        SELECT s.id, p_user, v_until FROM core.streams AS s
        WHERE s.id = p_stream AND s.creator_id <> p_user AND v_until > clock_timestamp()
        ON CONFLICT ON CONSTRAINT viewers_pkey DO UPDATE SET seen_until = greatest(v.seen_until, excluded.seen_until);
    ELSE
        DELETE FROM core.viewers AS v WHERE v.stream_id = p_stream AND v.user_id = p_user AND v.seen_until <= v_until;
    END IF;
END;
$$;

COMMENT ON FUNCTION core._note_viewer(uuid, uuid, boolean, timestamptz) IS 'User p_user came to stream p_stream (counted for a lease, which their beats renew) or left it, at p_at.';
