-- delete_webhook_endpoint: nothing is sent there any more, and nobody sees it.
-- Locks    the endpoint's queue, the endpoint
-- Decides  nothing
-- Writes   webhook_endpoints (deleted_at), webhook_queues, webhook_secrets; api.prune_webhooks takes out the rest
-- Errors   TS241 WEBHOOK_ENDPOINT_NOT_FOUND
CREATE OR REPLACE FUNCTION api.delete_webhook_endpoint(p_endpoint uuid, p_user uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_endpoint CONSTANT core.webhook_endpoints := core._lock_webhook(p_endpoint, p_user);
BEGIN
    UPDATE core.webhook_endpoints AS e SET deleted_at = clock_timestamp() WHERE e.id = v_endpoint.id;
    UPDATE core.webhook_queues AS q SET next_at = NULL WHERE q.endpoint_id = v_endpoint.id;
    DELETE FROM core.webhook_secrets AS s WHERE s.endpoint_id = v_endpoint.id;
END;
$$;

COMMENT ON FUNCTION api.delete_webhook_endpoint(uuid, uuid) IS
'Deletes an endpoint of p_user (NULL: of whomever), with its secrets and all that was to be sent there. What is on its way may still arrive.';
