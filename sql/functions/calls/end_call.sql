-- end_call: a call is over; or, while it rings, it is called off.
-- Locks    the call's clock; then the wallets of its people, and a revenue shard if there is a fee, in id order
-- Decides  that p_actor is one of its people; what is due before it ends, as core._meter_calls; over already: nothing changes
-- Writes   calls, call_clocks, call_parties, outbox 'call.ended', 'call.missed', 'call.declined'; as core._meter_calls
-- Errors   TS211 USER_NOT_FOUND, TS219 CALL_NOT_FOUND, TS502 USER_SUSPENDED, TS508 NOT_CALL_PARTICIPANT, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.end_call(p_call uuid, p_actor uuid DEFAULT NULL) RETURNS SETOF api.calls
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
    IF v_call.ended_at IS NULL AND core._settle_call(v_call, v_now, p_actor) THEN
        PERFORM core._close_calls(ARRAY[ROW(
            p_call,
            CASE WHEN v_call.status <> 'ringing' THEN 'ended' WHEN v_call.creator_id = p_actor THEN 'declined' ELSE 'missed' END,
            CASE WHEN v_call.status <> 'ringing' THEN 'stopped' WHEN v_call.creator_id = p_actor THEN 'declined' ELSE 'cancelled' END,
            p_actor, v_now,
            (SELECT core._active_us(k, v_call.block_us, v_now) FROM core.call_clocks AS k WHERE k.call_id = p_call)
        )::core.call_ending]);
    END IF;
    RETURN QUERY SELECT c.* FROM api.calls AS c WHERE c.call_id = p_call;
END;
$$;

COMMENT ON FUNCTION api.end_call(uuid, uuid) IS
'Ends call p_call at this moment; blocks that have begun by then are paid, and that is all that is paid. p_actor must be one of its people where named. While it rings: the fan calls it off (missed), the creator declines. Over already: nothing changes, and the same totals are returned.';
