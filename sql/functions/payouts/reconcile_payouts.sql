-- reconcile_payouts: where a provider's records and ours do not match.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.reconcile_payouts(p_provider text, p_day date, p_records api.payout_record [] DEFAULT NULL)
RETURNS TABLE (payout_id uuid, mismatch text, detail jsonb)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH ours AS (
        SELECT p.*
        FROM core.payouts AS p
        WHERE
            p.provider = p_provider AND p.processing_at >= p_day::timestamp AT TIME ZONE 'UTC'
            AND p.processing_at < (p_day + 1)::timestamp AT TIME ZONE 'UTC'
    ), theirs AS (
        SELECT r.payout_id AS id, r.reference, r.state, r.amount, r.currency FROM unnest(p_records) AS r
        UNION ALL
        SELECT r.payout_id, r.reference, r.state, r.amount, r.currency
        FROM core.payout_reports AS r
        INNER JOIN ours AS o ON o.id = r.payout_id
        WHERE p_records IS NULL
    ), compared AS (
        SELECT
            coalesce(o.id, t.id) AS id,
            CASE
                WHEN o.id IS NULL AND x.id IS NULL THEN 'unknown_here'
                WHEN o.id IS NULL THEN NULL -- of another day
                WHEN t.id IS NULL AND o.status IN ('processing', 'paid') AND o.provider <> 'manual' THEN 'missing_there'
                WHEN t.id IS NULL THEN NULL
                WHEN count(*) OVER (PARTITION BY t.id) > 1 THEN 'twice_there'
                WHEN t.amount <> o.payout_amount OR upper(t.currency) <> o.currency THEN 'amount'
                WHEN t.state IN ('pending', 'paid') AND o.status NOT IN ('processing', 'paid') THEN 'failed_here'
                WHEN t.state = 'paid' AND o.status <> 'paid' THEN 'paid_there'
                WHEN t.state IN ('failed', 'not_found') AND o.status IN ('processing', 'paid') THEN 'failed_there'
                WHEN t.state = 'unknown' AND o.status = 'processing' THEN 'unknown'
                WHEN o.status = 'processing' AND o.expected_at < clock_timestamp() THEN 'late'
            END AS mismatch,
            jsonb_build_object(
                'here', o.status, 'there', t.state, 'payout_amount', o.payout_amount, 'currency', o.currency, 'amount_there', t.amount,
                'currency_there', t.currency, 'reference', coalesce(t.reference, o.provider_reference)
            ) AS detail
        FROM ours AS o
        FULL JOIN theirs AS t ON t.id = o.id
        LEFT JOIN core.payouts AS x ON x.id = t.id
    )
    SELECT c.id, c.mismatch, c.detail FROM compared AS c WHERE c.mismatch IS NOT NULL ORDER BY c.id, c.mismatch
$$;

COMMENT ON FUNCTION api.reconcile_payouts(text, date, api.payout_record []) IS
'Payouts that went to p_provider on p_day (UTC) and do not match what it says: unknown_here, missing_there, twice_there, amount, failed_here (it has or will have paid, and the tokens were given back), paid_there, failed_there, unknown, late. p_records is the provider''s own list; without one, what it said last of each. No rows: all match.';
