-- decline_call: a creator does not want to talk.
-- Locks    the call's clock
-- Decides  that p_actor is its creator and it rings; declined already: nothing changes
-- Writes   calls, call_clocks, call_parties, outbox 'call.declined'
-- Errors   TS211 USER_NOT_FOUND, TS219 CALL_NOT_FOUND, TS335 CALL_ENDED, TS336 CALL_NOT_RINGING, TS502 USER_SUSPENDED,
--          TS508 NOT_CALL_PARTICIPANT, TS509 NOT_THE_CALLED
CREATE OR REPLACE FUNCTION api.decline_call(p_call uuid, p_actor uuid DEFAULT NULL) RETURNS SETOF api.calls
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_call CONSTANT core.calls := core._lock_call(p_call, p_actor);
BEGIN
    PERFORM core._must_be_called(v_call, p_actor);
    IF v_call.status = 'ringing' THEN
        PERFORM core._close_calls(ARRAY[ROW(p_call, 'declined', 'declined', p_actor, clock_timestamp(), 0)::core.call_ending]);
    ELSIF v_call.ended_at IS NULL THEN
        PERFORM core._raise(
            'TS336', 'CALL_NOT_RINGING', jsonb_build_object('call_id', p_call, 'call_status', v_call.status), 'It can be ended.'
        );
    ELSIF v_call.status <> 'declined' THEN
        PERFORM core._must_not_be_over(v_call);
    END IF;
    RETURN QUERY SELECT c.* FROM api.calls AS c WHERE c.call_id = p_call;
END;
$$;

COMMENT ON FUNCTION api.decline_call(uuid, uuid) IS 'Declines call p_call, which rings; p_actor must be its creator where named. Declined already: nothing changes.';
