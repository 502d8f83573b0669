-- pause_call: the clock stops.
-- Locks    the call's clock; then the wallets of its people, and a revenue shard if there is a fee, in id order
-- Decides  that p_actor is one of its people and it is active; paused already: nothing changes; what is due before it stops, as
--          core._meter_calls
-- Writes   calls, call_clocks, outbox 'call.paused'; as core._meter_calls
-- Errors   TS211 USER_NOT_FOUND, TS219 CALL_NOT_FOUND, TS335 CALL_ENDED, TS337 CALL_NOT_ACTIVE, TS502 USER_SUSPENDED,
--          TS508 NOT_CALL_PARTICIPANT, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.pause_call(p_call uuid, p_actor uuid DEFAULT NULL) RETURNS SETOF api.calls
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
    IF core._settle_call(v_call, v_now, p_actor) AND v_call.status = 'active' THEN
        UPDATE core.calls AS c SET status = 'paused' WHERE c.id = p_call;
        UPDATE core.call_clocks AS k
        SET
            active_us = core._active_us(k, v_call.block_us, v_now),
            running_since = NULL,
            due_at = least(core._alive_until(k) + make_interval(secs => core._rate('call_grace')), v_now + interval '1 hour')
        WHERE k.call_id = p_call;
        PERFORM core._call_event('call.paused', ARRAY[p_call]);
    END IF;
    RETURN QUERY SELECT c.* FROM api.calls AS c WHERE c.call_id = p_call;
END;
$$;

COMMENT ON FUNCTION api.pause_call(uuid, uuid) IS
'Stops the clock of call p_call at this moment; blocks that have begun by then are paid. p_actor must be one of its people where named. Paused already: nothing changes. Look at the status that is returned: ended where what was due could not be paid.';
