-- _check_reason: what people do by hand has a reason, which is kept.
-- Locks    nothing
-- Decides  that
-- Writes   nothing
-- Errors   TS101 INVALID_REQUEST
CREATE OR REPLACE FUNCTION core._check_reason(p_reason text) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
    IF p_reason IS NULL OR p_reason !~ '\S' OR octet_length(p_reason) > 255 THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'reason', 'maximum_bytes', 255), 'Say why.');
    END IF;
END;
$$;

COMMENT ON FUNCTION core._check_reason(text) IS 'Raises when the reason is missing, blank or longer than 255 bytes.';
