-- _lock_call: a call that somebody wants to change.
-- Locks    the call's clock
-- Decides  that the call exists and p_actor is one of its people (NULL: whoever asks may)
-- Writes   nothing
-- Errors   TS211 USER_NOT_FOUND, TS219 CALL_NOT_FOUND, TS502 USER_SUSPENDED, TS508 NOT_CALL_PARTICIPANT
CREATE OR REPLACE FUNCTION core._lock_call(p_call uuid, p_actor uuid) RETURNS core.calls
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_call core.calls;
BEGIN
    PERFORM core._check_actor(p_actor);
    PERFORM FROM core.call_clocks AS k WHERE k.call_id = p_call FOR NO KEY UPDATE;
    SELECT c.* INTO v_call FROM core.calls AS c WHERE c.id = p_call;
    IF v_call.id IS NULL THEN
        PERFORM core._raise('TS219', 'CALL_NOT_FOUND', jsonb_build_object('call_id', p_call), 'api.calls lists them.');
    ELSIF p_actor NOT IN (v_call.fan_id, v_call.creator_id) THEN
        PERFORM core._raise('TS508', 'NOT_CALL_PARTICIPANT', jsonb_build_object('call_id', p_call), 'Only its two people may.');
    END IF;
    RETURN v_call;
END;
$$;

COMMENT ON FUNCTION core._lock_call(uuid, uuid) IS 'The call, its clock locked where it is not over; raises when there is none or it is other people''s.';
