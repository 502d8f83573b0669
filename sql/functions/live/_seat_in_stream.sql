-- _seat_in_stream: what somebody is in the room of a stream.
-- Locks    nothing
-- Decides  as api.stream_access; nobody enters what has ended
-- Writes   nothing
-- Errors   TS218 STREAM_NOT_FOUND, TS328 STREAM_ENDED, TS506 NO_ACCESS_TO_STREAM
CREATE OR REPLACE FUNCTION core._seat_in_stream(p_stream uuid, p_user uuid) RETURNS boolean
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_reason text := (api.stream_access(p_stream, p_user)).reason;
    v_ended_at timestamptz;
BEGIN
    IF v_reason = 'no_ticket' THEN
        PERFORM core._raise(
            'TS506', 'NO_ACCESS_TO_STREAM', jsonb_build_object('stream_id', p_stream, 'reason', v_reason), 'Buy a ticket first.'
        );
    END IF;
    SELECT s.ended_at INTO v_ended_at FROM core.streams AS s WHERE s.id = p_stream;
    IF v_ended_at IS NOT NULL THEN
        PERFORM core._raise(
            'TS328', 'STREAM_ENDED', jsonb_build_object('stream_id', p_stream, 'ended_at', v_ended_at), 'There is nothing to see.'
        );
    END IF;
    RETURN v_reason = 'owner';
END;
$$;

COMMENT ON FUNCTION core._seat_in_stream(uuid, uuid) IS 'Whether user p_user sends in the room of stream p_stream; raises where they may not even enter.';
