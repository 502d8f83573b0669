-- _admit: who may not watch a stream gets no further.
-- Locks    nothing
-- Decides  as api.stream_access
-- Writes   nothing
-- Errors   TS218 STREAM_NOT_FOUND, TS506 NO_ACCESS_TO_STREAM
CREATE OR REPLACE FUNCTION core._admit(p_stream uuid, p_user uuid) RETURNS void
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_reason text := (api.stream_access(p_stream, p_user)).reason;
BEGIN
    IF v_reason = 'no_ticket' THEN
        PERFORM core._raise(
            'TS506', 'NO_ACCESS_TO_STREAM', jsonb_build_object('stream_id', p_stream, 'reason', v_reason), 'Buy a ticket first.'
        );
    END IF;
END;
$$;

COMMENT ON FUNCTION core._admit(uuid, uuid) IS 'Raises where user p_user may not watch stream p_stream.';
