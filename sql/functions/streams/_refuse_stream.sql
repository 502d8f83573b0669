-- _refuse_stream: say which field of a stream will not do.
-- Errors   TS101 INVALID_REQUEST
CREATE OR REPLACE FUNCTION core._refuse_stream(p_field text, p_hint text) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM core._raise(
        'TS101', 'INVALID_REQUEST',
        jsonb_build_object('field', p_field) || CASE WHEN p_field = 'title' THEN '{"maximum_bytes": 200}' ELSE '{}' END::jsonb, p_hint
    );
END;
$$;

COMMENT ON FUNCTION core._refuse_stream(text, text) IS 'Raises for the field p_field of a stream; p_hint: what did not happen.';
