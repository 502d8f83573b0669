-- _check_seat_in_call: the room of a call is for its two people, while they pay for it.
-- Locks    nothing
-- Decides  that p_user is one of its people, it was accepted and is not over
-- Writes   nothing
-- Errors   TS219 CALL_NOT_FOUND, TS335 CALL_ENDED, TS337 CALL_NOT_ACTIVE, TS508 NOT_CALL_PARTICIPANT
CREATE OR REPLACE FUNCTION core._check_seat_in_call(p_call uuid, p_user uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_call core.calls;
BEGIN
    SELECT c.* INTO v_call FROM core.calls AS c WHERE c.id = p_call;
    IF v_call.id IS NULL THEN
        PERFORM core._raise('TS219', 'CALL_NOT_FOUND', jsonb_build_object('call_id', p_call), 'api.calls lists them.');
    ELSIF p_user NOT IN (v_call.fan_id, v_call.creator_id) THEN
        PERFORM core._raise('TS508', 'NOT_CALL_PARTICIPANT', jsonb_build_object('call_id', p_call), 'Only its two people may.');
    END IF;
    PERFORM core._must_be_accepted(v_call);
END;
$$;

COMMENT ON FUNCTION core._check_seat_in_call(uuid, uuid) IS 'Raises where user p_user may not into the room of call p_call: nobody may while it rings, for nothing is paid yet.';
