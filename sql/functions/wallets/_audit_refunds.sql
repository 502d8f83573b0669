-- _audit_refunds: the invariants of refunds and of the debts they leave.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._audit_refunds() RETURNS TABLE (rule text, subject text, detail jsonb)
LANGUAGE sql STABLE
AS $$
    SELECT
        'refunds_are_within_original', 'transfer ' || s.original_id::text,
        jsonb_build_object('amount', t.amount, 'refunded', s.refunded)
    FROM (
        SELECT r.original_id, sum(r.amount) AS refunded FROM core.refunds AS r GROUP BY r.original_id
    ) AS s
    LEFT JOIN core.transfers AS t ON t.id = s.original_id
    WHERE t.id IS NULL OR s.refunded > t.amount
    UNION ALL
    SELECT
        'refund_undoes_its_original', 'transfer ' || r.transfer_id::text,
        jsonb_build_object('original_id', r.original_id, 'amount', r.amount, 'transfer_amount', t.amount)
    FROM core.refunds AS r
    LEFT JOIN core.transfers AS o ON o.id = r.original_id
    LEFT JOIN core.transfers AS t ON t.id = r.transfer_id
    WHERE
        t.amount::bigint IS DISTINCT FROM r.amount OR t.kind IS DISTINCT FROM 'refund'
        OR t.from_wallet_id IS DISTINCT FROM o.to_wallet_id OR t.to_wallet_id IS DISTINCT FROM o.from_wallet_id
    UNION ALL
    SELECT
        'debt_is_what_is_missing', 'wallet ' || w.id::text,
        jsonb_build_object('debt', w.debt, 'balance', w.balance, 'held', w.held, 'minimum', w.minimum)
    FROM core.wallets AS w
    WHERE w.debt <> 0 AND w.debt <> greatest(0, w.minimum + w.held - w.balance)
    UNION ALL
    SELECT
        'debt_comes_from_refunds', 'wallet ' || w.id::text,
        jsonb_build_object('debt', w.debt, 'owed', coalesce(s.owed, 0))
    FROM core.wallets AS w
    LEFT JOIN (
        SELECT t.from_wallet_id, sum(r.owed) AS owed
        FROM core.refunds AS r
        INNER JOIN core.transfers AS t ON t.id = r.transfer_id
        WHERE r.owed > 0
        GROUP BY t.from_wallet_id
    ) AS s ON s.from_wallet_id = w.id
    WHERE w.debt > coalesce(s.owed, 0)
$$;

COMMENT ON FUNCTION core._audit_refunds() IS 'Broken invariants of refunds and debts, as api.audit_ledger() returns them.';
