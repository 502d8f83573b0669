-- _audit_entries: the invariants of entries, transfers and keys.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._audit_entries() RETURNS TABLE (rule text, subject text, detail jsonb)
LANGUAGE sql STABLE
AS $$
    WITH history AS (
        SELECT
            e.wallet_id, e.seq, e.transfer_id, e.amount, e.balance, e.created_at,
            lag(e.seq::bigint, 1, 0::bigint) OVER w AS seq_before,
            lag(e.balance, 1, 0::bigint) OVER w AS balance_before,
            lag(e.created_at) OVER w AS created_before
        FROM core.entries AS e
        WINDOW w AS (PARTITION BY e.wallet_id ORDER BY e.seq)
    )
    SELECT
        'seq_gapless', 'wallet ' || h.wallet_id::text, jsonb_build_object('seq', h.seq, 'seq_before', h.seq_before)
    FROM history AS h
    WHERE h.seq <> h.seq_before + 1
    UNION ALL
    SELECT
        'running_balance', 'wallet ' || h.wallet_id::text,
        jsonb_build_object('seq', h.seq, 'balance_before', h.balance_before, 'amount', h.amount, 'balance', h.balance)
    FROM history AS h
    WHERE h.balance <> h.balance_before + h.amount
    UNION ALL
    SELECT
        'entries_in_time_order', 'wallet ' || h.wallet_id::text,
        jsonb_build_object('seq', h.seq, 'created_at', h.created_at, 'created_before', h.created_before)
    FROM history AS h
    WHERE h.created_at < h.created_before
    UNION ALL
    SELECT
        'entry_has_transfer', 'wallet ' || e.wallet_id::text, jsonb_build_object('seq', e.seq, 'transfer_id', e.transfer_id)
    FROM core.entries AS e
    LEFT JOIN core.transfers AS t
        ON
            t.id = e.transfer_id
            AND (
                (t.from_wallet_id = e.wallet_id AND t.from_seq = e.seq AND t.amount = - e.amount)
                OR (t.to_wallet_id = e.wallet_id AND t.to_seq = e.seq AND t.amount = e.amount)
            )
    WHERE t.id IS NULL
    UNION ALL
    SELECT
        'transfer_has_two_entries', 'transfer ' || t.id::text,
        jsonb_build_object('amount', t.amount, 'debit', d.amount, 'credit', c.amount)
    FROM core.transfers AS t
    LEFT JOIN core.entries AS d ON d.wallet_id = t.from_wallet_id AND d.seq = t.from_seq AND d.transfer_id = t.id
    LEFT JOIN core.entries AS c ON c.wallet_id = t.to_wallet_id AND c.seq = t.to_seq AND c.transfer_id = t.id
    WHERE d.amount IS DISTINCT FROM - t.amount OR c.amount IS DISTINCT FROM t.amount::bigint
    UNION ALL
    SELECT
        'transfer_is_within_an_asset', 'transfer ' || t.id::text,
        jsonb_build_object('asset', t.asset, 'from_asset', f.asset, 'to_asset', o.asset)
    FROM core.transfers AS t
    LEFT JOIN core.wallets AS f ON f.id = t.from_wallet_id
    LEFT JOIN core.wallets AS o ON o.id = t.to_wallet_id
    WHERE f.asset IS DISTINCT FROM t.asset OR o.asset IS DISTINCT FROM t.asset OR t.from_wallet_id = t.to_wallet_id
    UNION ALL
    SELECT 'transfer_names_who_asked', 'transfer ' || t.id::text, '{}'
    FROM core.transfers AS t
    WHERE t.actor_id IS NULL AND t.db_user IS NULL
    UNION ALL
    SELECT
        'event_is_not_after_transfer', 'transfer ' || t.id::text,
        jsonb_build_object('event_at', t.event_at, 'created_at', t.created_at)
    FROM core.transfers AS t
    WHERE t.event_at > t.created_at
    UNION ALL
    SELECT
        'key_has_transfer', 'idempotency key ' || k.key,
        jsonb_build_object('actor_id', k.actor_id, 'transfer_id', k.transfer_id)
    FROM core.idempotency_keys AS k
    LEFT JOIN core.transfers AS t ON t.id = k.transfer_id
    WHERE k.transfer_id IS NOT NULL AND t.id IS NULL
$$;

COMMENT ON FUNCTION core._audit_entries() IS 'Broken invariants of entries, transfers and idempotency keys, as api.audit_ledger() returns them.';
