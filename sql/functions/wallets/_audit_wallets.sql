-- _audit_wallets: the invariants of wallets.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._audit_wallets() RETURNS TABLE (rule text, subject text, detail jsonb)
LANGUAGE sql STABLE
AS $$
    SELECT 'asset_sums_to_zero', 'asset ' || w.asset, jsonb_build_object('sum', sum(w.balance))
    FROM core.wallets AS w
    GROUP BY w.asset
    HAVING sum(w.balance) <> 0
    UNION ALL
    SELECT
        'balance_is_last_entry', 'wallet ' || w.id::text,
        jsonb_build_object('balance', w.balance, 'version', w.version, 'entry_balance', e.balance)
    FROM core.wallets AS w
    LEFT JOIN core.entries AS e ON e.wallet_id = w.id AND e.seq = w.version
    WHERE w.balance <> coalesce(e.balance, 0) OR (e.wallet_id IS NULL) <> (w.version = 0)
    UNION ALL
    SELECT
        'spendable_not_negative', 'wallet ' || w.id::text,
        jsonb_build_object('balance', w.balance, 'held', w.held, 'minimum', w.minimum, 'debt', w.debt)
    FROM core.wallets AS w
    WHERE w.balance - w.held < w.minimum - w.debt OR w.held < 0 OR w.debt < 0
    UNION ALL
    SELECT
        'lifetime_is_sum_of_entries', 'wallet ' || w.id::text,
        jsonb_build_object('earned', w.lifetime_earned, 'spent', w.lifetime_spent, 'credits', s.credits, 'debits', s.debits)
    FROM core.wallets AS w
    LEFT JOIN (
        SELECT
            e.wallet_id,
            sum(e.amount) FILTER (WHERE e.amount > 0) AS credits,
            - sum(e.amount) FILTER (WHERE e.amount < 0) AS debits
        FROM core.entries AS e
        GROUP BY e.wallet_id
    ) AS s ON s.wallet_id = w.id
    WHERE w.lifetime_earned <> coalesce(s.credits, 0) OR w.lifetime_spent <> coalesce(s.debits, 0)
    UNION ALL
    SELECT 'user_has_wallets', 'user ' || u.id::text, jsonb_build_object('asset', a.code)
    FROM core.users AS u
    CROSS JOIN core.assets AS a
    WHERE
        a.opens_with_user AND u.created_at > a.created_at
        AND NOT EXISTS (SELECT FROM core.wallets AS w WHERE w.owner_id = u.id AND w.asset = a.code)
$$;

COMMENT ON FUNCTION core._audit_wallets() IS 'Broken invariants of wallets, as api.audit_ledger() returns them.';
