-- replay_webhook_delivery: send it again, or sooner.
-- Locks    the endpoint's queue, the endpoint, the delivery
-- Decides  that the endpoint is active; what is on its way just now stays as it is
-- Writes   webhook_deliveries, webhook_queues
-- Errors   TS242 WEBHOOK_DELIVERY_NOT_FOUND, TS348 WEBHOOK_ENDPOINT_DISABLED
CREATE OR REPLACE FUNCTION api.replay_webhook_delivery(p_delivery uuid, p_user uuid DEFAULT NULL) RETURNS SETOF api.webhook_deliveries
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
    v_endpoint core.webhook_endpoints;
BEGIN
    SELECT e.* INTO v_endpoint
    FROM core.webhook_deliveries AS d
    INNER JOIN core.webhook_endpoints AS e ON e.id = d.endpoint_id
    WHERE d.id = p_delivery AND e.deleted_at IS NULL AND (p_user IS NULL OR e.user_id = p_user);
    IF v_endpoint.id IS NULL THEN
        PERFORM core._raise('TS242', 'WEBHOOK_DELIVERY_NOT_FOUND', jsonb_build_object('delivery_id', p_delivery), 'Nothing was done.');
    END IF;
    v_endpoint := core._lock_webhook(v_endpoint.id, p_user);
    IF v_endpoint.status <> 'active' THEN
        PERFORM core._raise(
            'TS348', 'WEBHOOK_ENDPOINT_DISABLED', jsonb_build_object('endpoint_id', v_endpoint.id, 'reason', v_endpoint.disabled_reason),
            'Enable the endpoint first.'
        );
    END IF;
    UPDATE core.webhook_deliveries AS d SET status = 'pending', tries = 0, due_at = v_now, ended_at = NULL
    WHERE d.id = p_delivery AND d.leased_until IS NULL;
    UPDATE core.webhook_queues AS q SET next_at = least(q.next_at, v_now) WHERE q.endpoint_id = v_endpoint.id;
    RETURN QUERY SELECT d.* FROM api.webhook_deliveries AS d WHERE d.delivery_id = p_delivery;
END;
$$;

COMMENT ON FUNCTION api.replay_webhook_delivery(uuid, uuid) IS
'Makes a delivery of p_user (NULL: of whomever) due at once, with the whole schedule before it again, whether it was delivered, is dead or waits; what is on its way just now stays as it is. Its webhook-id stays the same.';
