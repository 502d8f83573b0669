-- _tip_call_refusal: a tip during a call is from its fan to its creator. A function of its own: tips elsewhere do not ask it.
-- Locks    nothing
-- Decides  that
-- Writes   nothing
-- Errors   TS101 INVALID_REQUEST, TS219 CALL_NOT_FOUND, TS508 NOT_CALL_PARTICIPANT (returned, not raised)
CREATE OR REPLACE FUNCTION core._tip_call_refusal(p_call uuid, p_creator uuid, p_sender uuid) RETURNS core.refusal
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
    v_call core.calls;
BEGIN
    SELECT c.* INTO v_call FROM core.calls AS c WHERE c.id = p_call;
    IF v_call.id IS NULL THEN
        RETURN ROW('TS219', 'CALL_NOT_FOUND', jsonb_build_object('call_id', p_call))::core.refusal;
    ELSIF v_call.fan_id <> p_sender THEN
        RETURN ROW('TS508', 'NOT_CALL_PARTICIPANT', jsonb_build_object('call_id', p_call))::core.refusal;
    ELSIF v_call.creator_id <> p_creator THEN
        RETURN ROW('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'context', 'call_id', p_call))::core.refusal;
    END IF;
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION core._tip_call_refusal(uuid, uuid, uuid) IS 'The refusal of a tip whose call is not there, not the sender''s, or with somebody else than the creator who is tipped; NULL when it is theirs.';
