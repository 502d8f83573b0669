-- set_rate: a rate's value from a moment on.
-- Locks    the rate's name (advisory, until the transaction ends), so that two settings of it come one after the other;
--          then all rows of it, written as they are, so that a transaction with an older snapshot fails with 40001 instead
--          of not seeing the newest
-- Decides  that the rate is known, the value fits its unit, and no past is rewritten
-- Writes   rates, audit_log 'rate.set'
-- Errors   TS101 INVALID_REQUEST, TS211 USER_NOT_FOUND, TS213 ASSET_NOT_FOUND, TS216 RATE_NOT_FOUND, TS319 RATE_EXISTS,
--          TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.set_rate(
    p_name text,
    p_value numeric,
    p_asset text DEFAULT NULL,
    p_scope text DEFAULT NULL,
    p_valid_from timestamptz DEFAULT NULL,
    p_valid_to timestamptz DEFAULT NULL,
    p_note text DEFAULT NULL,
    p_actor uuid DEFAULT NULL
) RETURNS SETOF api.rates
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now timestamptz;
    v_from timestamptz;
    v_known core.rate_names;
    v_same core.rates;
    v_rate_id uuid;
    v_field text;
BEGIN
    PERFORM core._check_admin(p_actor);
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.rate.' || p_name, 0));
    UPDATE core.rates AS r SET valid_to = r.valid_to WHERE r.name = p_name;
    v_now := clock_timestamp();
    v_from := coalesce(p_valid_from, v_now);
    SELECT n.* INTO v_known FROM core.rate_names AS n WHERE n.name = p_name;
    IF v_known.name IS NULL THEN
        PERFORM core._raise('TS216', 'RATE_NOT_FOUND', jsonb_build_object('rate', p_name), 'api.rate_names lists them.');
    END IF;
    IF p_asset IS NOT NULL AND NOT EXISTS (SELECT FROM core.assets AS a WHERE a.code = p_asset) THEN
        PERFORM core._raise('TS213', 'ASSET_NOT_FOUND', jsonb_build_object('asset', p_asset), 'Nothing was set.');
    END IF;
    SELECT r.* INTO v_same
    FROM core.rates AS r
    WHERE
        r.name = p_name AND r.asset IS NOT DISTINCT FROM p_asset AND r.scope IS NOT DISTINCT FROM p_scope
        AND CASE
            WHEN p_valid_from IS NULL THEN r.valid_from <= v_now AND (r.valid_to IS NULL OR r.valid_to > v_now)
            ELSE r.valid_from = v_from
        END
    ORDER BY r.valid_from DESC
    LIMIT 1;
    IF v_same.id IS NOT NULL AND (v_same.value, v_same.valid_to) IS NOT DISTINCT FROM (p_value, p_valid_to) THEN
        RETURN QUERY SELECT r.* FROM api.rates AS r WHERE r.rate_id = v_same.id;
        RETURN;
    END IF;
    v_field := CASE
        WHEN (p_value >= 0 AND p_value < 1e15 AND scale(p_value) <= 12) IS NOT TRUE THEN 'value'
        WHEN v_known.unit = 'bps' AND p_value > 10000 THEN 'value'
        WHEN v_known.unit NOT IN ('usd', 'bps') AND p_value <> trunc(p_value) THEN 'value'
        WHEN v_known.unit = 'days' AND p_value > 36500 THEN 'value'
        -- what is counted is an integer, and a moment and a rate make another moment
        WHEN v_known.unit = 'seconds' AND p_value > 36500 * 86400::bigint THEN 'value'
        WHEN v_known.unit = 'count' AND p_value > 2147483647 THEN 'value'
        WHEN p_scope IS NOT NULL AND (v_known.scoped IS NULL OR p_scope !~ '^[a-z][a-z0-9_.]{0,62}$') THEN 'scope'
        WHEN v_from < v_now OR v_from >= '10000-01-01 00:00:00+00' THEN 'valid_from'
        WHEN p_valid_to <= v_from OR p_valid_to >= '10000-01-01 00:00:00+00' AND p_valid_to <> 'infinity' THEN 'valid_to'
        WHEN octet_length(p_note) > 500 THEN 'note'
    END;
    IF v_field IS NOT NULL THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', v_field, 'rate', p_name, 'unit', v_known.unit),
            'A rate begins now or later, ends after that, and its value fits its unit.'
        );
    END IF;
    IF p_valid_from IS NOT NULL AND v_same.id IS NOT NULL THEN
        PERFORM core._raise(
            'TS319', 'RATE_EXISTS', jsonb_build_object('rate', p_name, 'valid_from', v_from, 'value', v_same.value),
            'Choose another moment.'
        );
    END IF;
    INSERT INTO core.audit_log (actor_id, action, details)
    SELECT
        p_actor, 'rate.set',
        jsonb_build_object(
            'rate', p_name, 'asset', p_asset, 'scope', p_scope, 'value', p_value, 'valid_from', v_from,
            'valid_to', p_valid_to, 'value_before', (
                SELECT r.value
                FROM core.rates AS r
                WHERE
                    r.name = p_name AND r.asset IS NOT DISTINCT FROM p_asset AND r.scope IS NOT DISTINCT FROM p_scope
                    AND r.valid_from <= v_from AND (r.valid_to IS NULL OR r.valid_to > v_from)
                ORDER BY r.valid_from DESC
                LIMIT 1
            )
        );
    INSERT INTO core.rates (name, asset, scope, value, unit, valid_from, valid_to, note, created_by)
    VALUES (p_name, p_asset, p_scope, p_value, v_known.unit, v_from, p_valid_to, p_note, coalesce(p_actor::text, session_user))
    -- its first rows: there was none to lock
    ON CONFLICT ON CONSTRAINT rates_key DO NOTHING
    RETURNING id INTO STRICT v_rate_id;
    RETURN QUERY SELECT r.* FROM api.rates AS r WHERE r.rate_id = v_rate_id;
END;
$$;

COMMENT ON FUNCTION api.set_rate(text, numeric, text, text, timestamptz, timestamptz, text, uuid) IS
'Sets rate p_name to p_value (in the unit api.rate_names states) from p_valid_from (now by default, never the past) to p_valid_to (open by default). p_asset: only for that asset; p_scope: only for that kind of transfer or role. What was in force before stays as it is; of several in force the latest valid_from counts, so a rate with an end gives way to the one before it. Saying the same again changes nothing, and without p_valid_from neither does saying what is in force.';
