-- reconcile: what a provider says of a day, against the ledger.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.reconcile(p_provider text, p_day date)
RETURNS TABLE (finding text, payment_id uuid, record_id text, detail jsonb)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH told AS (
        SELECT
            r.kind, r.record_id, r.amount, r.currency, coalesce(c.id, i.id, f.id) AS payment_id, coalesce(o.id, d.id) AS refund_id
        FROM core.provider_records AS r
        LEFT JOIN core.payments AS c ON r.kind = 'payment' AND c.provider = r.provider AND c.charge = r.record_id
        LEFT JOIN core.payments AS i ON i.provider = r.provider AND i.id = r.payment_id
        LEFT JOIN core.payment_refunds AS d ON r.kind = 'refund' AND d.provider_refund = r.record_id
        -- where the provider's own name is not told, a record has our id
        LEFT JOIN core.payment_refunds AS o
            ON r.kind = 'refund' AND o.id = CASE WHEN r.record_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN r.record_id::uuid END
        LEFT JOIN core.payments AS f ON f.provider = r.provider AND f.id = coalesce(o.payment_id, d.payment_id)
        WHERE r.provider = p_provider AND r.day = p_day
    )
    SELECT 'day_not_fetched', NULL::uuid, NULL::text, '{}'::jsonb
    WHERE NOT EXISTS (SELECT FROM core.provider_days AS d WHERE d.provider = p_provider AND d.day = p_day)
    UNION ALL
    SELECT t.kind || '_unknown_here', NULL, t.record_id, jsonb_build_object('amount', t.amount, 'currency', t.currency)
    FROM told AS t
    WHERE t.payment_id IS NULL
    UNION ALL
    SELECT
        'payment_not_credited', p.id, t.record_id,
        jsonb_build_object('amount', t.amount, 'currency', t.currency, 'status', p.status)
    FROM told AS t
    INNER JOIN core.payments AS p ON p.id = t.payment_id
    WHERE t.kind = 'payment' AND p.transfer_id IS NULL
    UNION ALL
    SELECT
        'payment_differs', p.id, t.record_id,
        jsonb_build_object('provider', jsonb_build_array(t.amount, t.currency), 'here', jsonb_build_array(p.amount, p.currency))
    FROM told AS t
    INNER JOIN core.payments AS p ON p.id = t.payment_id
    WHERE t.kind = 'payment' AND (t.amount, t.currency) <> (p.amount, p.currency)
    UNION ALL
    SELECT
        'payment_charged_twice', p.id, t.record_id, jsonb_build_object('charge', p.charge)
    FROM told AS t
    INNER JOIN core.payments AS p ON p.id = t.payment_id
    WHERE t.kind = 'payment' AND p.charge <> t.record_id
    UNION ALL
    SELECT
        'refund_not_here', p.id, t.record_id, jsonb_build_object('amount', t.amount, 'currency', t.currency)
    FROM told AS t
    INNER JOIN core.payments AS p ON p.id = t.payment_id
    WHERE
        t.kind = 'refund' AND NOT EXISTS (
            SELECT FROM core.payment_refunds AS r
            WHERE
                r.payment_id = p.id AND r.amount = t.amount AND r.status <> 'failed'
                AND (r.id = t.refund_id OR t.refund_id IS NULL AND p_provider = 'paystack')
        )
    UNION ALL
    -- the provider's day and ours need not be the same
    SELECT
        'payment_unknown_there', p.id, p.charge, jsonb_build_object('amount', p.amount, 'currency', p.currency)
    FROM core.payments AS p
    WHERE
        p.provider = p_provider AND p.paid_at >= p_day::timestamp AT TIME ZONE 'UTC'
        AND p.paid_at < (p_day + 1)::timestamp AT TIME ZONE 'UTC'
        AND EXISTS (SELECT FROM core.provider_days AS d WHERE d.provider = p_provider AND d.day = p_day)
        AND NOT EXISTS (
            SELECT FROM core.provider_records AS r
            WHERE r.provider = p_provider AND r.kind = 'payment' AND (r.record_id = p.charge OR r.payment_id = p.id)
                AND r.day BETWEEN p_day - 2 AND p_day + 2
        )
    UNION ALL
    -- made when it was asked for, or up to the day on which we heard that it is done
    SELECT
        'refund_unknown_there', p.id, coalesce(f.provider_refund, f.id::text),
        jsonb_build_object('refund_id', f.id, 'amount', f.amount, 'currency', p.currency)
    FROM core.payment_refunds AS f
    INNER JOIN core.payments AS p ON p.id = f.payment_id
    WHERE
        p.provider = p_provider AND f.status = 'done'
        AND f.closed_at >= p_day::timestamp AT TIME ZONE 'UTC' AND f.closed_at < (p_day + 1)::timestamp AT TIME ZONE 'UTC'
        AND EXISTS (
            SELECT FROM core.provider_days AS d
            WHERE d.provider = p_provider AND d.day = (f.created_at AT TIME ZONE 'UTC')::date
        )
        AND EXISTS (SELECT FROM core.provider_days AS d WHERE d.provider = p_provider AND d.day = p_day)
        AND NOT EXISTS (
            SELECT FROM core.provider_records AS r
            WHERE
                r.provider = p_provider AND r.kind = 'refund' AND r.day BETWEEN (f.created_at AT TIME ZONE 'UTC')::date - 2 AND p_day + 2
                AND (
                    r.record_id IN (f.provider_refund, f.id::text)
                    -- Paystack names some otherwise in its list
                    OR p_provider = 'paystack' AND r.payment_id = p.id AND r.amount = f.amount
                )
        )
$$;

COMMENT ON FUNCTION api.reconcile(text, date) IS
'Compares what p_provider says of the day p_day (UTC; kept by api.note_provider_day) with the ledger, and returns a row for whatever does not match: payments and refunds that one side does not know, amounts that differ, payments charged twice. No rows: all is well.';
