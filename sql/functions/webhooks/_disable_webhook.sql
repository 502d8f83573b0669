-- _disable_webhook: nothing is sent to an endpoint any more, and its user hears of it.
-- Locks    the endpoint; the caller holds its queue
-- Decides  that it is active
-- Writes   webhook_endpoints, outbox 'webhook.disabled'
-- Errors   none
CREATE OR REPLACE FUNCTION core._disable_webhook(p_endpoint uuid, p_reason text) RETURNS void
LANGUAGE sql VOLATILE
AS $$
    WITH off AS (
        UPDATE core.webhook_endpoints AS e
        SET status = 'disabled', disabled_at = clock_timestamp(), disabled_reason = p_reason, updated_at = clock_timestamp()
        WHERE e.id = p_endpoint AND e.status = 'active' AND e.deleted_at IS NULL
        RETURNING e.*
    )
    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'webhook.disabled', ARRAY['user:' || o.user_id::text],
        jsonb_build_object(
            'endpoint_id', o.id, 'url', o.url, 'description', o.description, 'reason', o.disabled_reason, 'disabled_at', o.disabled_at
        )
    FROM off AS o
$$;

COMMENT ON FUNCTION core._disable_webhook(uuid, text) IS 'Disables an endpoint that is active, with the event webhook.disabled for its user.';
