-- webhook_lag: how far sending webhooks is behind.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.webhook_lag() RETURNS TABLE (lag interval, waiting bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    c_counted CONSTANT integer := 10000;
    v_now CONSTANT timestamptz := clock_timestamp();
BEGIN
    lag := (
        SELECT v_now - q.next_at FROM core.webhook_queues AS q WHERE q.next_at <= v_now ORDER BY q.next_at LIMIT 1
    );
    waiting := (
        SELECT count(*)
        FROM (
            SELECT FROM core.webhook_deliveries AS d
            WHERE d.status = 'pending' AND d.leased_until IS NULL AND d.due_at <= v_now
            LIMIT c_counted
        ) AS w
    );
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION api.webhook_lag() IS
'For how long the endpoint that has waited longest has had something due that nobody looked at (NULL: none has), and how many deliveries are due and not on their way (10,000 are counted at most): those for which their endpoint has no room, and those of endpoints that are disabled, wait without a lag.';
