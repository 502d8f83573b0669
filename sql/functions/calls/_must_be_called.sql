-- _must_be_called: what only the creator who is called can do.
-- Errors   TS509 NOT_THE_CALLED
CREATE OR REPLACE FUNCTION core._must_be_called(p_call core.calls, p_actor uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF p_call.fan_id = p_actor THEN
        PERFORM core._raise('TS509', 'NOT_THE_CALLED', jsonb_build_object('call_id', p_call.id), 'Only the creator who is called may.');
    END IF;
END;
$$;

COMMENT ON FUNCTION core._must_be_called(core.calls, uuid) IS 'Raises when the fan of a call would answer it.';
