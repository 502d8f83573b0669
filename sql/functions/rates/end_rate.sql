-- end_rate: a rate ends, now or later, and nothing comes after it but what was before.
-- Locks    the rate's name (advisory, until the transaction ends)
-- Decides  that the rate has not ended, and does not end in the past
-- Writes   rates (valid_to), audit_log 'rate.ended'
-- Errors   TS101 INVALID_REQUEST, TS211 USER_NOT_FOUND, TS216 RATE_NOT_FOUND, TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.end_rate(p_rate uuid, p_at timestamptz DEFAULT NULL, p_actor uuid DEFAULT NULL)
RETURNS SETOF api.rates
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_at timestamptz;
    v_now timestamptz;
    v_rate core.rates;
BEGIN
    PERFORM core._check_admin(p_actor);
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.rate.' || (SELECT r.name FROM core.rates AS r WHERE r.id = p_rate), 0));
    v_now := clock_timestamp();
    SELECT r.* INTO v_rate FROM core.rates AS r WHERE r.id = p_rate;
    v_at := coalesce(p_at, greatest(v_now, v_rate.valid_from + interval '1 microsecond'));
    IF v_rate.id IS NULL THEN
        PERFORM core._raise('TS216', 'RATE_NOT_FOUND', jsonb_build_object('rate_id', p_rate), 'api.rates lists them.');
    ELSIF v_rate.valid_to <= v_now OR v_at < v_now OR v_at <= v_rate.valid_from OR v_at >= '10000-01-01 00:00:00+00' THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'at', 'valid_from', v_rate.valid_from, 'valid_to', v_rate.valid_to),
            'A rate ends now or later, after it began, and only once.'
        );
    END IF;
    UPDATE core.rates AS r SET valid_to = v_at WHERE r.id = p_rate;
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (
        p_actor, 'rate.ended', p_rate,
        jsonb_build_object('rate', v_rate.name, 'value', v_rate.value, 'valid_to', v_at, 'valid_to_before', v_rate.valid_to)
    );
    RETURN QUERY SELECT r.* FROM api.rates AS r WHERE r.rate_id = p_rate;
END;
$$;

COMMENT ON FUNCTION api.end_rate(uuid, timestamptz, uuid) IS
'Lets the row p_rate of api.rates end at p_at (now by default). Where nothing else is in force then, what needs the rate is refused (CONFIGURATION_ERROR); a velocity limit is simply gone.';
