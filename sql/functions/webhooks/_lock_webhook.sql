-- _lock_webhook: an endpoint of a user, locked.
-- Locks    its queue, then the endpoint
-- Decides  that it is there, and the user's (NULL: whose ever it is)
-- Writes   nothing
-- Errors   TS241 WEBHOOK_ENDPOINT_NOT_FOUND
CREATE OR REPLACE FUNCTION core._lock_webhook(p_endpoint uuid, p_user uuid) RETURNS core.webhook_endpoints
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_endpoint core.webhook_endpoints;
BEGIN
    PERFORM FROM core.webhook_queues AS q WHERE q.endpoint_id = p_endpoint FOR NO KEY UPDATE;
    SELECT e.* INTO v_endpoint
    FROM core.webhook_endpoints AS e
    WHERE e.id = p_endpoint AND e.deleted_at IS NULL AND (p_user IS NULL OR e.user_id = p_user)
    FOR NO KEY UPDATE;
    IF v_endpoint.id IS NULL THEN
        PERFORM core._raise('TS241', 'WEBHOOK_ENDPOINT_NOT_FOUND', jsonb_build_object('endpoint_id', p_endpoint), 'Nothing was done.');
    END IF;
    RETURN v_endpoint;
END;
$$;

COMMENT ON FUNCTION core._lock_webhook(uuid, uuid) IS 'The endpoint p_endpoint of p_user (NULL: of whomever), with its queue and itself locked.';
