-- note_provider_day: what a provider says it took and gave back on a day.
-- Locks    the day (advisory, until the transaction ends)
-- Decides  what was fetched before is replaced
-- Writes   provider_days, provider_records
-- Errors   TS101 INVALID_REQUEST
CREATE OR REPLACE FUNCTION api.note_provider_day(p_provider text, p_day date, p_records jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_count integer;
BEGIN
    IF (p_provider IN ('stripe', 'paystack', 'paypal', 'sandbox') AND p_day IS NOT NULL AND jsonb_typeof(p_records) = 'array') IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'records'), 'Nothing was kept.');
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.provider_day.' || p_provider || p_day::text, 0));
    DELETE FROM core.provider_records AS r WHERE r.provider = p_provider AND r.day = p_day;
    INSERT INTO core.provider_records (provider, day, kind, record_id, payment_id, amount, currency)
    SELECT p_provider, p_day, r.kind, r.record_id, r.payment_id, r.amount, r.currency
    FROM jsonb_to_recordset(p_records) AS r (kind text, record_id text, payment_id uuid, amount bigint, currency text);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    INSERT INTO core.provider_days (provider, day, fetched_at) VALUES (p_provider, p_day, clock_timestamp())
    ON CONFLICT ON CONSTRAINT provider_days_pkey DO UPDATE SET fetched_at = excluded.fetched_at;
    RETURN v_count;
END;
$$;

COMMENT ON FUNCTION api.note_provider_day(text, date, jsonb) IS
'Keeps the records of p_provider for the day p_day (UTC), in place of those kept before: an array of {kind: payment|refund, record_id, payment_id, amount, currency}; amounts in the minor unit. Then api.reconcile compares.';
