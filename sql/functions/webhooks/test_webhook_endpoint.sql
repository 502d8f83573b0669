-- test_webhook_endpoint: a test event, to an endpoint alone.
-- Locks    the endpoint's queue, the endpoint
-- Decides  that it is active
-- Writes   webhook_deliveries, webhook_queues
-- Errors   TS241 WEBHOOK_ENDPOINT_NOT_FOUND, TS348 WEBHOOK_ENDPOINT_DISABLED
CREATE OR REPLACE FUNCTION api.test_webhook_endpoint(p_endpoint uuid, p_user uuid DEFAULT NULL) RETURNS SETOF api.webhook_deliveries
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_endpoint CONSTANT core.webhook_endpoints := core._lock_webhook(p_endpoint, p_user);
    v_now CONSTANT timestamptz := clock_timestamp();
    v_id uuid;
BEGIN
    IF v_endpoint.status <> 'active' THEN
        PERFORM core._raise(
            'TS348', 'WEBHOOK_ENDPOINT_DISABLED', jsonb_build_object('endpoint_id', p_endpoint, 'reason', v_endpoint.disabled_reason),
            'Enable the endpoint first.'
        );
    END IF;
    INSERT INTO core.webhook_deliveries AS d (endpoint_id, type, payload, event_at, due_at)
    VALUES (p_endpoint, 'webhook.test', jsonb_build_object('endpoint_id', p_endpoint, 'user_id', v_endpoint.user_id), v_now, v_now)
    RETURNING d.id INTO v_id;
    UPDATE core.webhook_queues AS q SET next_at = least(q.next_at, v_now) WHERE q.endpoint_id = p_endpoint;
    RETURN QUERY SELECT d.* FROM api.webhook_deliveries AS d WHERE d.delivery_id = v_id;
END;
$$;

COMMENT ON FUNCTION api.test_webhook_endpoint(uuid, uuid) IS
'Sends the event webhook.test to an endpoint of p_user (NULL: of whomever), whatever types it wants, and returns the delivery. It is tried once.';
