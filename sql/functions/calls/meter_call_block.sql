-- meter_call_block: what is due for one call.
-- Locks    the call's clock; then the wallets of its people, and a revenue shard if there is a fee, in id order
-- Decides  as core._meter_calls; nothing is due: nothing changes
-- Writes   as core._meter_calls
-- Errors   TS219 CALL_NOT_FOUND, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.meter_call_block(p_call uuid) RETURNS api.meter_outcome
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_call CONSTANT core.calls := core._lock_call(p_call, NULL);
    v_outcome api.meter_outcome;
BEGIN
    SELECT m.* INTO v_outcome FROM core._meter_calls(ARRAY[v_call.id], clock_timestamp()) AS m;
    IF v_outcome.call_id IS NULL THEN
        v_outcome := ROW(v_call.id, v_call.status, v_call.end_reason, NULL, 0, 0, 0, NULL);
    END IF;
    RETURN v_outcome;
END;
$$;

COMMENT ON FUNCTION api.meter_call_block(uuid) IS
'Meters call p_call now, as api.meter_due_calls does with those that are due. Repeating it pays nothing twice; nothing due or over already: nothing changes.';
