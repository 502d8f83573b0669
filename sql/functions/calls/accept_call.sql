-- accept_call: a creator answers; the first block is paid and the clock runs.
-- Locks    the call's clock; then the wallets of its people, and a revenue shard if there is a fee, in id order
-- Decides  that p_actor is its creator and it rings; active or paused already: nothing changes; then as core._meter_calls
-- Writes   calls, call_clocks, outbox 'call.accepted'; as core._meter_calls
-- Errors   TS211 USER_NOT_FOUND, TS219 CALL_NOT_FOUND, TS335 CALL_ENDED, TS502 USER_SUSPENDED, TS508 NOT_CALL_PARTICIPANT,
--          TS509 NOT_THE_CALLED, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.accept_call(p_call uuid, p_actor uuid DEFAULT NULL) RETURNS SETOF api.calls
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
    PERFORM core._must_be_called(v_call, p_actor);
    PERFORM core._must_not_be_over(v_call);
    IF v_call.status = 'ringing' THEN
        IF v_now < (SELECT k.due_at FROM core.call_clocks AS k WHERE k.call_id = p_call) THEN
            UPDATE core.calls AS c SET status = 'active', accepted_at = v_now WHERE c.id = p_call;
            UPDATE core.call_clocks AS k
            SET running_since = v_now, due_at = v_now, fan_seen_at = greatest(k.fan_seen_at, v_now), creator_seen_at = v_now
            WHERE k.call_id = p_call;
            PERFORM core._call_event('call.accepted', ARRAY[p_call]);
        END IF;
        PERFORM core._meter_calls(ARRAY[p_call], v_now);
    END IF;
    RETURN QUERY SELECT c.* FROM api.calls AS c WHERE c.call_id = p_call;
END;
$$;

COMMENT ON FUNCTION api.accept_call(uuid, uuid) IS
'Call p_call is active from now on, and its first block is paid in the same commit; p_actor must be its creator where named. Look at the status that is returned: ended where the fan could not pay any more, missed where it had rung for too long. Accepted already: nothing changes.';
