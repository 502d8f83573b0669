-- _settle_call: before somebody changes a call: pay for what has begun, and see that it still is; then note that they were seen.
-- Locks    the wallets of the call's people, and a revenue shard if there is a fee, in id order; called when its clock is locked
-- Decides  as core._meter_calls, closing; false: the call ended by that
-- Writes   as core._meter_calls; call_clocks (fan_seen_at, creator_seen_at)
-- Errors   TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION core._settle_call(p_call core.calls, p_now timestamptz, p_actor uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_outcome api.meter_outcome;
BEGIN
    LOOP
        SELECT m.* INTO v_outcome FROM core._meter_calls(ARRAY[p_call.id], p_now, true) AS m;
        IF v_outcome.end_reason IS NOT NULL THEN
            RETURN false;
        END IF;
        EXIT WHEN coalesce(v_outcome.blocks_paid, 0) = 0;
    END LOOP;
    UPDATE core.call_clocks AS k
    SET
        fan_seen_at = CASE WHEN p_actor = p_call.fan_id THEN greatest(k.fan_seen_at, p_now) ELSE k.fan_seen_at END,
        creator_seen_at = CASE WHEN p_actor = p_call.creator_id THEN greatest(k.creator_seen_at, p_now) ELSE k.creator_seen_at END
    WHERE k.call_id = p_call.id AND p_actor IS NOT NULL;
    RETURN true;
END;
$$;

COMMENT ON FUNCTION core._settle_call(core.calls, timestamptz, uuid) IS
'Brings a locked call up to p_now, as if it stopped then; whether it still goes on. p_actor, one of its people, counts as seen.';
