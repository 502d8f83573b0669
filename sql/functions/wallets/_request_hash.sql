-- _request_hash: what tells one request from another under the same idempotency key.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._request_hash(p_key text, p_request bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN p_key IS NOT NULL THEN substring(sha256(p_request) FROM 1 FOR 16) END
$$;

COMMENT ON FUNCTION core._request_hash(text, bytea) IS
'First 16 bytes of the SHA-256 of a request, given as record_send(ROW(…)) of its fields; NULL where there is no key.';
