-- _months_moved: what became of taking months out or back in.
-- Locks    nothing
-- Decides  that there was something of that name
-- Writes   audit_log, where something was moved
-- Errors   TS101 INVALID_REQUEST
CREATE OR REPLACE FUNCTION core._months_moved(p_action text, p_what text, p_moved text []) RETURNS text []
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF p_moved IS NULL THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'p_what', 'value', p_what),
            'Say books (transfers, entries and tips), outbox or audit_log.'
        );
    ELSIF cardinality(p_moved) > 0 THEN
        INSERT INTO core.audit_log (action, details)
        VALUES (p_action, jsonb_build_object('what', p_what, 'partitions', p_moved));
    END IF;
    RETURN p_moved;
END;
$$;

COMMENT ON FUNCTION core._months_moved(text, text, text []) IS 'Notes the act p_action on the partitions p_moved, and returns them; raises where p_what is none of the names there are (NULL).';
