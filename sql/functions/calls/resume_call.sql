-- resume_call: the clock runs again where it stopped.
-- Locks    the call's clock; then the wallets of its people, and a revenue shard if there is a fee, in id order
-- Decides  that p_actor is one of its people and it pauses; active already: nothing changes; then as core._meter_calls
-- Writes   calls, call_clocks, outbox 'call.resumed'; as core._meter_calls
-- Errors   TS211 USER_NOT_FOUND, TS219 CALL_NOT_FOUND, TS335 CALL_ENDED, TS337 CALL_NOT_ACTIVE, TS502 USER_SUSPENDED,
--          TS508 NOT_CALL_PARTICIPANT, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.resume_call(p_call uuid, p_actor uuid DEFAULT NULL) RETURNS SETOF api.calls
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_call CONSTANT core.calls := core._lock_call(p_call, p_actor);
    v_now CONSTANT timestamptz := clock_timestamp();
BEGIN
    PERFORM core._must_be_accepted(v_call);
    IF core._settle_call(v_call, v_now, p_actor) AND v_call.status = 'paused' THEN
        UPDATE core.calls AS c SET status = 'active' WHERE c.id = p_call;
        UPDATE core.call_clocks AS k SET running_since = v_now WHERE k.call_id = p_call;
        PERFORM core._call_event('call.resumed', ARRAY[p_call]);
        PERFORM core._meter_calls(ARRAY[p_call], v_now);
    END IF;
    RETURN QUERY SELECT c.* FROM api.calls AS c WHERE c.call_id = p_call;
END;
$$;

COMMENT ON FUNCTION api.resume_call(uuid, uuid) IS
'The clock of call p_call goes on from where it stopped: what is left of a paid block is used up first. p_actor must be one of its people where named. Active already: nothing changes.';
