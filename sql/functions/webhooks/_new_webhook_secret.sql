-- _new_webhook_secret: an endpoint gets a new secret.
-- Locks    nothing: the caller holds the endpoint's queue
-- Decides  nothing
-- Writes   webhook_secrets
-- Errors   none
CREATE OR REPLACE FUNCTION core._new_webhook_secret(p_endpoint uuid) RETURNS text
LANGUAGE sql VOLATILE
AS $$
    INSERT INTO core.webhook_secrets AS s (endpoint_id, secret)
    -- three random UUIDs have more randomness than the digest can hold
    SELECT p_endpoint, 'whsec_' || encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'base64')
    RETURNING s.secret
$$;

COMMENT ON FUNCTION core._new_webhook_secret(uuid) IS 'Makes and stores 32 random bytes as a secret of Standard Webhooks, and returns it.';
