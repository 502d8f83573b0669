-- _must_be_accepted: what only a call that goes on can do.
-- Errors   TS335 CALL_ENDED, TS337 CALL_NOT_ACTIVE
CREATE OR REPLACE FUNCTION core._must_be_accepted(p_call core.calls) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM core._must_not_be_over(p_call);
    IF p_call.status = 'ringing' THEN
        PERFORM core._raise('TS337', 'CALL_NOT_ACTIVE', jsonb_build_object('call_id', p_call.id, 'call_status', p_call.status), 'It has to be accepted first.');
    END IF;
END;
$$;

COMMENT ON FUNCTION core._must_be_accepted(core.calls) IS 'Raises when a call is over, or rings still.';
