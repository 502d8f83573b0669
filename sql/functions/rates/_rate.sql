-- _rate: the value of a rate in force.
-- Locks    nothing
-- Decides  of the rows in force: the scope asked for before none, the asset asked for before none, then the latest valid_from
-- Writes   nothing
-- Errors   TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION core._rate(
    p_name text,
    p_asset text DEFAULT NULL,
    p_at timestamptz DEFAULT NULL,
    p_scope text DEFAULT NULL
) RETURNS numeric
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_value numeric;
    v_at timestamptz := coalesce(p_at, statement_timestamp());
BEGIN
    SELECT r.value
    INTO v_value
    FROM core.rates AS r
    WHERE
        r.name = p_name AND (r.asset = p_asset OR r.asset IS NULL) AND (r.scope = p_scope OR r.scope IS NULL)
        AND r.valid_from <= v_at AND (r.valid_to IS NULL OR r.valid_to > v_at)
    ORDER BY r.scope NULLS LAST, r.asset NULLS LAST, r.valid_from DESC
    LIMIT 1;
    IF v_value IS NULL THEN
        PERFORM core._raise(
            'TS801', 'CONFIGURATION_ERROR', jsonb_build_object('rate', p_name, 'asset', p_asset, 'scope', p_scope, 'at', v_at),
            'Set the rate: api.set_rate, or PUT /admin/rates.'
        );
    END IF;
    RETURN v_value;
END;
$$;

COMMENT ON FUNCTION core._rate(text, text, timestamptz, text) IS
'The value of the rate p_name for p_asset and p_scope in force at p_at (now by default), in the unit its row states. TS801 if there is none: nothing falls back to a number in code.';
