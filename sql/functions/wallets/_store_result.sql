-- _store_result: keep the result of a request with its idempotency key, in the commit of its effect.
-- Locks    nothing
-- Decides  nothing
-- Writes   idempotency_keys
-- Errors   none
CREATE OR REPLACE FUNCTION core._store_result(p_actor uuid, p_key text, p_hash bytea, p_result jsonb) RETURNS void
LANGUAGE sql VOLATILE
AS $$
    INSERT INTO core.idempotency_keys (actor_id, key, created_at, request_hash, result)
    SELECT coalesce(p_actor, core._database_actor()), p_key, clock_timestamp(), p_hash, p_result
    WHERE p_key IS NOT NULL
$$;

COMMENT ON FUNCTION core._store_result(uuid, text, bytea, jsonb) IS 'Stores a result under a key; nothing where p_key is NULL. See core._stored_result.';
