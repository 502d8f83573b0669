-- _open_stream: a stream that its owner may still change.
-- Locks    the stream
-- Decides  that it exists, is p_actor's (NULL: whoever asks may) and has not ended
-- Writes   nothing
-- Errors   TS211 USER_NOT_FOUND, TS218 STREAM_NOT_FOUND, TS328 STREAM_ENDED, TS502 USER_SUSPENDED, TS505 NOT_STREAM_OWNER
CREATE OR REPLACE FUNCTION core._open_stream(p_stream uuid, p_actor uuid) RETURNS core.streams
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_stream core.streams;
BEGIN
    PERFORM core._check_actor(p_actor);
    PERFORM core._lock_streams(ARRAY[p_stream]);
    SELECT s.* INTO v_stream FROM core.streams AS s WHERE s.id = p_stream;
    IF v_stream.id IS NULL THEN
        PERFORM core._raise('TS218', 'STREAM_NOT_FOUND', jsonb_build_object('stream_id', p_stream), 'api.streams lists them.');
    ELSIF v_stream.creator_id <> p_actor THEN
        PERFORM core._raise('TS505', 'NOT_STREAM_OWNER', jsonb_build_object('stream_id', p_stream), 'Only its creator may.');
    ELSIF v_stream.status = 'ended' THEN
        PERFORM core._raise(
            'TS328', 'STREAM_ENDED', jsonb_build_object('stream_id', p_stream, 'ended_at', v_stream.ended_at), 'Nothing was changed.'
        );
    END IF;
    RETURN v_stream;
END;
$$;

COMMENT ON FUNCTION core._open_stream(uuid, uuid) IS 'The stream, locked; raises when there is none, it is somebody else''s or it has ended.';
