-- _audit_payments: the invariants that tie payments to the ledger.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._audit_payments() RETURNS TABLE (rule text, subject text, detail jsonb)
LANGUAGE sql STABLE
AS $$
    SELECT
        'payment_has_its_transfer', 'payment ' || p.id::text,
        jsonb_build_object('tokens', p.tokens, 'moved', m.amount::bigint, 'kind', m.kind)
    FROM core.payments AS p
    LEFT JOIN core.transfers AS m ON m.id = p.transfer_id
    LEFT JOIN core.wallets AS f ON f.id = m.from_wallet_id
    LEFT JOIN core.wallets AS o ON o.id = m.to_wallet_id
    WHERE
        p.transfer_id IS NOT NULL AND NOT core._is_detached(p.transfer_id)
        AND (m.amount::bigint, m.kind, o.owner_id, f.purpose::text) IS DISTINCT FROM (p.tokens, 'purchase', p.buyer_id, 'issuance')
    UNION ALL
    SELECT 'purchase_has_its_payment', 'transfer ' || m.id::text, jsonb_build_object('amount', m.amount::bigint, 'kind', m.kind)
    FROM core.transfers AS m
    LEFT JOIN core.payment_transfers AS t ON t.transfer_id = m.id
    LEFT JOIN core.payments AS p ON p.id = t.payment_id
    WHERE
        m.kind IN ('purchase', 'purchase_restored')
        AND (
            p.id IS NULL OR t.tokens <> m.amount::bigint
            OR m.kind = 'purchase' AND p.transfer_id IS DISTINCT FROM m.id
        )
    UNION ALL
    SELECT
        'payment_reversal_is_a_refund', 'payment ' || t.payment_id::text,
        jsonb_build_object('transfer_id', t.transfer_id, 'tokens', t.tokens, 'refunded', r.amount)
    FROM core.payment_transfers AS t
    LEFT JOIN core.refunds AS r ON r.transfer_id = t.transfer_id
    WHERE t.kind = 'reversal' AND (r.amount, r.owed) IS DISTINCT FROM (t.tokens, t.owed)
    UNION ALL
    SELECT
        'payment_reversed_is_what_moved', 'payment ' || p.id::text,
        jsonb_build_object('reversed', p.reversed, 'moved', coalesce(s.moved, 0))
    FROM core.payments AS p
    LEFT JOIN (
        SELECT t.payment_id, sum(CASE t.kind WHEN 'reversal' THEN t.tokens ELSE - t.tokens END) AS moved
        FROM core.payment_transfers AS t
        WHERE t.kind <> 'purchase'
        GROUP BY t.payment_id
    ) AS s ON s.payment_id = p.id
    WHERE p.reversed <> coalesce(s.moved, 0)
    UNION ALL
    SELECT
        'payment_reversed_is_what_is_due', 'payment ' || p.id::text,
        jsonb_build_object('tokens', p.tokens, 'amount', p.amount, 'refunded', p.refunded, 'disputed', p.disputed, 'reversed', p.reversed)
    FROM core.payments AS p
    WHERE
        p.reversed <> CASE
            WHEN p.transfer_id IS NULL THEN 0
            ELSE div(p.tokens::numeric * least(p.refunded::numeric + p.disputed, p.amount), p.amount)
        END
    UNION ALL
    SELECT
        'payment_refunded_is_its_refunds', 'payment ' || p.id::text,
        jsonb_build_object('refunded', p.refunded, 'refunds', coalesce(r.amount, 0), 'disputed', p.disputed, 'disputes', coalesce(d.amount, 0))
    FROM core.payments AS p
    LEFT JOIN (
        SELECT r.payment_id, sum(r.amount) AS amount FROM core.payment_refunds AS r WHERE r.status <> 'failed' GROUP BY r.payment_id
    ) AS r ON r.payment_id = p.id
    LEFT JOIN (
        SELECT d.payment_id, sum(d.amount) AS amount FROM core.payment_disputes AS d WHERE d.status <> 'won' GROUP BY d.payment_id
    ) AS d ON d.payment_id = p.id
    WHERE p.refunded <> coalesce(r.amount, 0) OR p.disputed <> coalesce(d.amount, 0)
    UNION ALL
    SELECT
        'refunds_are_within_payment', 'payment ' || p.id::text, jsonb_build_object('amount', p.amount, 'refunded', p.refunded)
    FROM core.payments AS p
    WHERE p.refunded > p.amount
    UNION ALL
    SELECT
        'payment_status_fits', 'payment ' || p.id::text,
        jsonb_build_object('status', p.status, 'amount', p.amount, 'refunded', p.refunded, 'disputed', p.disputed)
    FROM core.payments AS p
    WHERE
        p.transfer_id IS NOT NULL
        AND p.status <> CASE WHEN p.disputed > 0 THEN 'disputed' WHEN p.refunded >= p.amount THEN 'refunded' ELSE 'paid' END
$$;

COMMENT ON FUNCTION core._audit_payments() IS 'Broken invariants of payments, as api.audit_ledger() returns them.';
