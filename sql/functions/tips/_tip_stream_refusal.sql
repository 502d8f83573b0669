-- _tip_stream_refusal: a tip during a stream is for the stream's creator. A function of its own: tips elsewhere do not ask it.
-- Locks    nothing
-- Decides  that
-- Writes   nothing
-- Errors   TS101 INVALID_REQUEST, TS218 STREAM_NOT_FOUND (returned, not raised)
CREATE OR REPLACE FUNCTION core._tip_stream_refusal(p_stream uuid, p_creator uuid) RETURNS core.refusal
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
    v_creator uuid := (SELECT s.creator_id FROM core.streams AS s WHERE s.id = p_stream);
BEGIN
    IF v_creator IS NULL THEN
        RETURN ROW('TS218', 'STREAM_NOT_FOUND', jsonb_build_object('stream_id', p_stream))::core.refusal;
    ELSIF v_creator <> p_creator THEN
        RETURN ROW('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'context', 'stream_id', p_stream))::core.refusal;
    END IF;
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION core._tip_stream_refusal(uuid, uuid) IS 'The refusal of a tip whose stream is not there or somebody else''s than the creator who is tipped; NULL when it is theirs.';
