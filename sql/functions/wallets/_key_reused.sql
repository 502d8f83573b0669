-- _key_reused: the refusal of a key that already stands for another request.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   TS301 IDEMPOTENCY_KEY_REUSED (returned, not raised)
CREATE OR REPLACE FUNCTION core._key_reused(p_key text) RETURNS core.refusal
LANGUAGE sql IMMUTABLE
AS $$
    SELECT ROW('TS301', 'IDEMPOTENCY_KEY_REUSED', jsonb_build_object('idempotency_key', p_key))::core.refusal
$$;

COMMENT ON FUNCTION core._key_reused(text) IS 'The refusal TS301: the key was used before for another request.';
