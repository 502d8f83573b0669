-- _seat_in_stream: what somebody is in the room of a stream.
-- Locks    nothing
-- Decides  as core._admit; nobody enters what has ended
-- Writes   nothing
-- Errors   TS218 STREAM_NOT_FOUND, TS328 STREAM_ENDED, TS506 NO_ACCESS_TO_STREAM
CREATE OR REPLACE FUNCTION core._seat_in_stream(p_stream uuid, p_user uuid) RETURNS boolean
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_stream core.streams;
BEGIN
    PERFORM core._admit(p_stream, p_user);
    SELECT s.* INTO v_stream FROM core.streams AS s WHERE s.id = p_stream;
    IF v_stream.status = 'ended' THEN
        PERFORM core._raise(
            'TS328', 'STREAM_ENDED', jsonb_build_object('stream_id', p_stream, 'ended_at', v_stream.ended_at), 'There is nothing to see.'
        );
    END IF;
    RETURN v_stream.creator_id = p_user;
END;
$$;

COMMENT ON FUNCTION core._seat_in_stream(uuid, uuid) IS 'Whether user p_user sends in the room of stream p_stream; raises where they may not even enter.';
