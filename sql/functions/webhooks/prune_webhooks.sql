-- prune_webhooks: deliveries that ended long ago, and endpoints that were deleted. The scheduler's part.
-- Locks    what it deletes
-- Decides  what ended before the rate webhook_deliveries_kept; what waits for so long for an endpoint that is disabled
-- Writes   deletes webhook_deliveries with their attempts, webhook_secrets that sign no more; of deleted endpoints everything
-- Errors   TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.prune_webhooks(p_limit integer DEFAULT 1000) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- a plan for an empty list would read a whole partial index: such a list fits any predicate
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
    v_before CONSTANT timestamptz := v_now - core._rate('webhook_deliveries_kept') * interval '1 day';
    v_limit CONSTANT integer := least(greatest(coalesce(p_limit, 1000), 1), 10000);
    v_old uuid [];
    v_gone uuid [];
BEGIN
    v_old := ARRAY(SELECT d.id FROM core.webhook_deliveries AS d WHERE d.ended_at < v_before ORDER BY d.ended_at LIMIT v_limit FOR UPDATE SKIP LOCKED);
    v_old := v_old || ARRAY(
        SELECT d.id
        FROM core.webhook_endpoints AS e
        INNER JOIN core.webhook_deliveries AS d ON d.endpoint_id = e.id
        WHERE (e.status = 'disabled' OR e.deleted_at IS NOT NULL)
            AND (e.deleted_at IS NOT NULL OR d.status = 'pending' AND (d.leased_until IS NULL OR d.leased_until <= v_now) AND d.created_at < v_before)
        LIMIT greatest(v_limit - cardinality(v_old), 0)
        FOR UPDATE OF d SKIP LOCKED
    );
    DELETE FROM core.webhook_attempts AS a WHERE a.delivery_id = ANY (v_old);
    DELETE FROM core.webhook_deliveries AS d WHERE d.id = ANY (v_old);
    DELETE FROM core.webhook_secrets AS s WHERE s.until <= v_now;
    v_gone := ARRAY(
        SELECT e.id
        FROM core.webhook_endpoints AS e
        WHERE (e.status = 'disabled' OR e.deleted_at IS NOT NULL) AND e.deleted_at < v_now - interval '1 hour'
            AND NOT EXISTS (SELECT FROM core.webhook_deliveries AS d WHERE d.endpoint_id = e.id)
        LIMIT v_limit
        FOR UPDATE SKIP LOCKED
    );
    DELETE FROM core.webhook_cursors AS c WHERE c.endpoint_id = ANY (v_gone);
    DELETE FROM core.webhook_queues AS q WHERE q.endpoint_id = ANY (v_gone);
    DELETE FROM core.webhook_secrets AS s WHERE s.endpoint_id = ANY (v_gone);
    DELETE FROM core.webhook_endpoints AS e WHERE e.id = ANY (v_gone);
    RETURN cardinality(v_old) + cardinality(v_gone);
END;
$$;

COMMENT ON FUNCTION api.prune_webhooks(integer) IS
'Deletes up to p_limit deliveries that ended longer ago than the rate webhook_deliveries_kept says, or have waited for so long for an endpoint that is disabled, or whose endpoint was deleted; and endpoints that were deleted more than an hour ago and have none left. Returns how many that were. The scheduler calls it.';
