-- _audit_holds: the invariants of holds and their captures.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._audit_holds() RETURNS TABLE (rule text, subject text, detail jsonb)
LANGUAGE sql STABLE
AS $$
    SELECT
        'held_is_open_holds', 'wallet ' || w.id::text,
        jsonb_build_object('held', w.held, 'open_holds', coalesce(s.open_holds, 0))
    FROM core.wallets AS w
    LEFT JOIN (
        SELECT h.wallet_id, sum(h.amount - h.captured - h.released) AS open_holds
        FROM core.holds AS h
        WHERE h.status = 'open'
        GROUP BY h.wallet_id
    ) AS s ON s.wallet_id = w.id
    WHERE w.held <> coalesce(s.open_holds, 0)
    UNION ALL
    SELECT
        'hold_is_in_a_wallet_of_its_asset', 'hold ' || h.id::text,
        jsonb_build_object('wallet_id', h.wallet_id, 'asset', h.asset, 'wallet_asset', w.asset)
    FROM core.holds AS h
    LEFT JOIN core.wallets AS w ON w.id = h.wallet_id
    WHERE w.asset IS DISTINCT FROM h.asset
    UNION ALL
    SELECT
        'captured_is_sum_of_captures', 'hold ' || h.id::text,
        jsonb_build_object('captured', h.captured, 'captures', coalesce(s.captures, 0))
    FROM core.holds AS h
    LEFT JOIN (
        SELECT c.hold_id, sum(c.amount) AS captures FROM core.captures AS c GROUP BY c.hold_id
    ) AS s ON s.hold_id = h.id
    WHERE h.captured <> coalesce(s.captures, 0)
    UNION ALL
    SELECT
        'capture_has_hold_and_transfer', 'transfer ' || c.transfer_id::text,
        jsonb_build_object('hold_id', c.hold_id, 'amount', c.amount, 'transfer_amount', t.amount)
    FROM core.captures AS c
    LEFT JOIN core.holds AS h ON h.id = c.hold_id
    LEFT JOIN core.transfers AS t ON t.id = c.transfer_id
    WHERE h.id IS NULL OR t.amount::bigint IS DISTINCT FROM c.amount OR t.from_wallet_id IS DISTINCT FROM h.wallet_id
    UNION ALL
    SELECT 'hold_names_who_asked', 'hold ' || h.id::text, '{}'
    FROM core.holds AS h
    WHERE h.actor_id IS NULL AND h.db_user IS NULL
    UNION ALL
    SELECT
        'hold_is_open_or_used_up', 'hold ' || h.id::text,
        jsonb_build_object('status', h.status, 'amount', h.amount, 'captured', h.captured, 'released', h.released)
    FROM core.holds AS h
    WHERE
        (h.status = 'open') <> (h.captured + h.released < h.amount) OR h.captured + h.released > h.amount
        OR (h.status = 'open') <> (h.closed_at IS NULL)
$$;

COMMENT ON FUNCTION core._audit_holds() IS 'Broken invariants of holds and captures, as api.audit_ledger() returns them.';
