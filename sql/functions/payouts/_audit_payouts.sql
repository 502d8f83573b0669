-- _audit_payouts: the invariants of payouts.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._audit_payouts() RETURNS TABLE (rule text, subject text, detail jsonb)
LANGUAGE sql STABLE
AS $$
    SELECT
        'waiting_payout_has_hold', 'payout ' || p.id::text,
        jsonb_build_object('amount', p.amount, 'status', p.status, 'hold_status', h.status, 'held', h.amount)
    FROM core.payouts AS p
    LEFT JOIN core.holds AS h ON h.id = p.hold_id
    WHERE
        h.id IS NULL OR h.amount <> p.amount OR h.wallet_id <> p.wallet_id OR h.kind <> 'payout'
        OR p.status IN ('requested', 'held') AND h.status NOT IN ('open', 'expired')
    UNION ALL
    SELECT 'payout_hold_has_payout', 'hold ' || h.id::text, jsonb_build_object('amount', h.amount)
    FROM core.holds AS h
    LEFT JOIN core.payouts AS p ON p.hold_id = h.id
    WHERE h.kind = 'payout' AND (p.id IS NULL OR h.status = 'open' AND p.status NOT IN ('requested', 'held'))
    UNION ALL
    SELECT
        'sent_payout_is_one_capture', 'payout ' || p.id::text,
        jsonb_build_object('amount', p.amount, 'status', p.status, 'captured', h.captured, 'transfer_id', p.transfer_id)
    FROM core.payouts AS p
    INNER JOIN core.holds AS h ON h.id = p.hold_id
    LEFT JOIN core.captures AS c ON c.hold_id = p.hold_id AND c.transfer_id = p.transfer_id
    WHERE
        p.transfer_id IS NOT NULL AND (c.amount IS DISTINCT FROM p.amount OR h.captured <> p.amount)
        OR p.transfer_id IS NULL AND h.captured <> 0
    UNION ALL
    SELECT
        'paid_payout_left_clearing', 'payout ' || p.id::text,
        jsonb_build_object('amount', p.amount, 'status', p.status, 'transfer_id', p.paid_transfer_id, 'moved', t.amount)
    FROM core.payouts AS p
    LEFT JOIN core.transfers AS t ON t.id = p.paid_transfer_id
    WHERE
        p.paid_transfer_id IS NOT NULL AND NOT core._is_detached(p.paid_transfer_id)
        AND (t.id IS NULL OR t.amount <> p.amount OR t.kind <> 'payout_paid' OR t.reference IS DISTINCT FROM p.id::text)
    UNION ALL
    SELECT 'payout_transfer_has_payout', 'transfer ' || t.id::text, jsonb_build_object('kind', t.kind, 'amount', t.amount)
    FROM core.transfers AS t
    LEFT JOIN core.payouts AS p ON p.transfer_id = t.id
    LEFT JOIN core.payouts AS q ON q.paid_transfer_id = t.id
    WHERE t.kind = 'payout' AND p.id IS NULL OR t.kind = 'payout_paid' AND q.id IS NULL
    UNION ALL
    SELECT
        'closed_payout_is_given_back_once', 'payout ' || p.id::text,
        jsonb_build_object('amount', p.amount, 'status', p.status, 'given_back', r.amount, 'of_paid', s.amount, 'hold_status', h.status)
    FROM core.payouts AS p
    INNER JOIN core.holds AS h ON h.id = p.hold_id
    LEFT JOIN (
        SELECT x.original_id, sum(x.amount) AS amount FROM core.refunds AS x GROUP BY x.original_id
    ) AS r ON r.original_id = p.transfer_id
    LEFT JOIN (
        SELECT x.original_id, sum(x.amount) AS amount FROM core.refunds AS x GROUP BY x.original_id
    ) AS s ON s.original_id = p.paid_transfer_id
    WHERE CASE
        WHEN p.status NOT IN ('failed', 'cancelled') THEN coalesce(r.amount, s.amount) IS NOT NULL
        WHEN p.transfer_id IS NULL THEN h.status NOT IN ('released', 'expired') OR h.captured <> 0
        ELSE r.amount IS DISTINCT FROM p.amount OR s.amount IS DISTINCT FROM CASE WHEN p.paid_transfer_id IS NOT NULL THEN p.amount END
    END
    UNION ALL
    SELECT
        'clearing_is_processing_payouts', 'asset TOKEN',
        jsonb_build_object('payout_clearing', w.balance, 'processing', coalesce(p.amount, 0))
    FROM (SELECT sum(c.balance) AS balance FROM core.wallets AS c WHERE c.purpose = 'payout_clearing' AND c.asset = 'TOKEN') AS w
    CROSS JOIN (SELECT sum(o.amount) AS amount FROM core.payouts AS o WHERE o.status = 'processing') AS p
    WHERE w.balance <> coalesce(p.amount, 0)
$$;

COMMENT ON FUNCTION core._audit_payouts() IS 'Broken invariants of payouts, as api.audit_ledger() returns them.';
