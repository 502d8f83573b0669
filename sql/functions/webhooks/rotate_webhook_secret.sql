-- rotate_webhook_secret: a new secret, while the old one still signs too.
-- Locks    the endpoint's queue, the endpoint
-- Decides  that there are at most 5 that sign: of more, the oldest ends at once
-- Writes   webhook_secrets, webhook_endpoints (updated_at)
-- Errors   TS241 WEBHOOK_ENDPOINT_NOT_FOUND, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.rotate_webhook_secret(p_endpoint uuid, p_user uuid DEFAULT NULL)
RETURNS TABLE (secret text, old_secrets_until timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    c_signing CONSTANT integer := 5;
    v_endpoint CONSTANT core.webhook_endpoints := core._lock_webhook(p_endpoint, p_user);
    v_until CONSTANT timestamptz := clock_timestamp() + core._rate('webhook_secret_overlap') * interval '1 second';
BEGIN
    UPDATE core.webhook_secrets AS s SET until = v_until WHERE s.endpoint_id = v_endpoint.id AND s.until IS NULL;
    DELETE FROM core.webhook_secrets AS s
    USING (
        SELECT x.secret
        FROM core.webhook_secrets AS x
        WHERE x.endpoint_id = v_endpoint.id
        ORDER BY x.created_at DESC
        OFFSET c_signing - 1
    ) AS o
    WHERE s.endpoint_id = v_endpoint.id AND (s.secret = o.secret OR s.until <= clock_timestamp());
    DELETE FROM core.webhook_secrets AS s WHERE s.endpoint_id = v_endpoint.id AND s.until <= clock_timestamp();
    UPDATE core.webhook_endpoints AS e SET updated_at = clock_timestamp() WHERE e.id = v_endpoint.id;
    secret := core._new_webhook_secret(v_endpoint.id);
    old_secrets_until := v_until;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION api.rotate_webhook_secret(uuid, uuid) IS
'Gives an endpoint of p_user (NULL: of whomever) a new secret and returns it, here and nowhere else. Until old_secrets_until (the rate webhook_secret_overlap from now) deliveries are signed with the old one too; with at most 5 in all.';
