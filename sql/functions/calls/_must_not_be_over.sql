-- _must_not_be_over: nothing can be done with a call that is over.
-- Errors   TS335 CALL_ENDED
CREATE OR REPLACE FUNCTION core._must_not_be_over(p_call core.calls) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF p_call.ended_at IS NOT NULL THEN
        PERFORM core._raise(
            'TS335', 'CALL_ENDED',
            jsonb_build_object('call_id', p_call.id, 'call_status', p_call.status, 'end_reason', p_call.end_reason),
            'Nothing was changed.'
        );
    END IF;
END;
$$;

COMMENT ON FUNCTION core._must_not_be_over(core.calls) IS 'Raises when a call is over.';
