-- _webhook_wants: whether an endpoint wants events of a type.
-- Locks    nothing
-- Decides  that
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._webhook_wants(p_patterns text [], p_type text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT p_patterns && ARRAY['*', p_type, split_part(p_type, '.', 1) || '.*']
$$;

COMMENT ON FUNCTION core._webhook_wants(text [], text) IS 'True where the patterns hold *, the type itself, or its group (call.* for call.ended).';
