-- _raise: end the caller's work with one of Tessera's own errors (docs/errors.md).
-- Errors   the one it is told to raise
CREATE OR REPLACE FUNCTION core._raise(p_code text, p_slug text, p_detail jsonb, p_hint text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = p_code,
        MESSAGE = p_slug,
        DETAIL = coalesce(p_detail, '{}')::text,
        HINT = coalesce(p_hint, '');
END;
$$;

COMMENT ON FUNCTION core._raise(text, text, jsonb, text) IS
'Raises SQLSTATE p_code (TSnnn) with the slug as message, the facts as JSON in DETAIL and what to do in HINT.';
