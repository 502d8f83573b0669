-- due_payment_events: events that were kept and not yet applied.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.due_payment_events(p_limit integer DEFAULT 100)
RETURNS TABLE (provider text, event_id text, lag_seconds integer)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
    SELECT e.provider, e.event_id, extract(EPOCH FROM clock_timestamp() - e.due_at)::integer
    FROM core.payment_events AS e
    WHERE e.due_at <= clock_timestamp()
    ORDER BY e.due_at
    LIMIT least(p_limit, 1000)
$$;

COMMENT ON FUNCTION api.due_payment_events(integer) IS 'Events for api.settle_payment, longest due first, p_limit at most (1000), and for how many seconds each has been due.';
