-- _stored_result: what an idempotency key already led to, for requests whose result is stored with the key.
-- Locks    nothing; called when what the request works on is locked, so that a twin has committed or rolled back by now
-- Decides  same key and same request: the result; same key, other request: an error
-- Writes   nothing
-- Errors   TS106 IDEMPOTENCY_KEY_INVALID, TS301 IDEMPOTENCY_KEY_REUSED
CREATE OR REPLACE FUNCTION core._stored_result(p_actor uuid, p_key text, p_hash bytea) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_key core.idempotency_keys;
BEGIN
    IF p_key IS NULL THEN
        RETURN NULL;
    ELSIF octet_length(p_key) NOT BETWEEN 1 AND 255 THEN
        PERFORM core._raise(
            'TS106', 'IDEMPOTENCY_KEY_INVALID', jsonb_build_object('bytes', octet_length(p_key), 'maximum_bytes', 255),
            'Use 1 to 255 bytes.'
        );
    END IF;
    SELECT k.* INTO v_key
    FROM core.idempotency_keys AS k
    WHERE k.actor_id = coalesce(p_actor, core._database_actor()) AND k.key = p_key;
    IF v_key.key IS NULL THEN
        RETURN NULL;
    ELSIF v_key.request_hash <> p_hash THEN
        PERFORM core._raise(
            'TS301', 'IDEMPOTENCY_KEY_REUSED', jsonb_build_object('idempotency_key', p_key),
            'Use a new key for a new request.'
        );
    END IF;
    RETURN coalesce(v_key.result, jsonb_build_object('transfer_id', v_key.transfer_id));
END;
$$;

COMMENT ON FUNCTION core._stored_result(uuid, text, bytea) IS
'The result stored with the key p_key of p_actor (or of this database login), if the request is the same; NULL when the key is new or NULL.';
