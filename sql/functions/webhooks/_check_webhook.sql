-- _check_webhook: the form of what an endpoint is to be.
-- Locks    nothing
-- Decides  that; NULL is whatever it was. Where a URL leads to is checked whenever something is sent there (docs/webhooks.md)
-- Writes   nothing
-- Errors   TS101 INVALID_REQUEST
CREATE OR REPLACE FUNCTION core._check_webhook(p_url text, p_event_types text [], p_description text, p_status text) RETURNS void
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_field CONSTANT text := CASE
        WHEN octet_length(p_url) NOT BETWEEN 8 AND 2048 OR p_url !~ '^https?://[^[:space:]]+$' THEN 'url'
        WHEN cardinality(p_event_types) NOT BETWEEN 1 AND 50 OR EXISTS (
            SELECT FROM unnest(p_event_types) AS t (pattern)
            WHERE (t.pattern ~ '^([*]|[a-z][a-z0-9_]*[.]([*]|[a-z0-9_.]+))$' AND char_length(t.pattern) <= 100) IS NOT TRUE
        ) THEN 'event_types'
        WHEN char_length(p_description) > 200 THEN 'description'
        WHEN p_status NOT IN ('active', 'disabled') THEN 'status'
    END;
BEGIN
    IF v_field IS NOT NULL THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', v_field),
            'A URL of http or https, up to 50 types of events (*, call.*, tip.sent), a description of up to 200 characters, active or disabled.'
        );
    END IF;
END;
$$;

COMMENT ON FUNCTION core._check_webhook(text, text [], text, text) IS 'Raises where a field of an endpoint has not the form it must have.';
