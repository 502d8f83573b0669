-- _store_result: keep the result of a request with its idempotency key, in the commit of its effect.
-- Locks    nothing
-- Decides  that the key is nobody's. Where a transaction cannot see whose it is, its snapshot being older, PostgreSQL ends
--          it with 40001; a request that shared no lock with this one and had the key first is another request
-- Writes   idempotency_keys
-- Errors   TS301 IDEMPOTENCY_KEY_REUSED
CREATE OR REPLACE FUNCTION core._store_result(p_actor uuid, p_key text, p_hash bytea, p_result jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF p_key IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO core.idempotency_keys (actor_id, key, created_at, request_hash, result)
    VALUES (coalesce(p_actor, core._database_actor()), p_key, clock_timestamp(), p_hash, p_result)
    ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO NOTHING;
    IF NOT FOUND THEN
        PERFORM core._raise(
            'TS301', 'IDEMPOTENCY_KEY_REUSED', jsonb_build_object('idempotency_key', p_key),
            'Use a new key for a new request.'
        );
    END IF;
END;
$$;

COMMENT ON FUNCTION core._store_result(uuid, text, bytea, jsonb) IS 'Stores a result under a key; nothing where p_key is NULL. See core._stored_result.';
