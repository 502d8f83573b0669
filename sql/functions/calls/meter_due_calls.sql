-- meter_due_calls: the calls that are due, many in one go.
-- Locks    the clocks of up to p_limit calls that are due, but for those that somebody else has locked (SKIP LOCKED); then
--          the wallets of their people, and the revenue shards if there is a fee, in id order
-- Decides  as core._meter_calls
-- Writes   as core._meter_calls
-- Errors   TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.meter_due_calls(p_limit integer DEFAULT 500) RETURNS SETOF api.meter_outcome
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
    v_due uuid[];
BEGIN
    v_due := ARRAY(
        SELECT k.call_id
        FROM core.call_clocks AS k
        WHERE k.due_at <= v_now
        ORDER BY k.due_at
        LIMIT least(greatest(coalesce(p_limit, 500), 1), 2000)
        FOR NO KEY UPDATE SKIP LOCKED
    );
    RETURN QUERY SELECT m.* FROM core._meter_calls(v_due, clock_timestamp()) AS m;
END;
$$;

COMMENT ON FUNCTION api.meter_due_calls(integer) IS
'Meters the calls that are due, up to p_limit of them (at most 2000), the longest due first: pays the block that starts, or those that have started meanwhile (up to 100 a call; the rest is due at once again), and ends calls that nobody answered, that the fan cannot pay for, that were not seen for the rate call_grace (billed up to their last sign of life) or that have reached their limit. One outcome a call; none: nothing is due. Any number may run at once.';
