-- statement: the entries of a wallet, newest first.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.statement(
    p_wallet uuid,
    p_from timestamptz DEFAULT NULL,
    p_to timestamptz DEFAULT NULL,
    p_before_seq bigint DEFAULT NULL,
    p_limit integer DEFAULT 100,
    p_kind text DEFAULT NULL
)
RETURNS TABLE (
    seq bigint, created_at timestamptz, amount bigint, balance bigint, transfer_id uuid, kind text,
    counterparty_wallet_id uuid, counterparty_user_id uuid, reference text, metadata jsonb
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_material = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
    SELECT
        e.seq, e.created_at, e.amount, e.balance, e.transfer_id, t.kind, c.id, c.owner_id, t.reference, t.metadata
    FROM core.entries AS e
    INNER JOIN core.transfers AS t ON t.id = e.transfer_id
    INNER JOIN core.wallets AS c ON c.id = CASE WHEN e.amount < 0 THEN t.to_wallet_id ELSE t.from_wallet_id END
    WHERE
        e.wallet_id = p_wallet
        AND e.seq < coalesce(p_before_seq, 9223372036854775807)
        AND (p_from IS NULL OR e.created_at >= p_from)
        AND (p_to IS NULL OR e.created_at < p_to)
        AND (p_kind IS NULL OR t.kind = p_kind)
    ORDER BY e.seq DESC
    LIMIT least(greatest(coalesce(p_limit, 100), 1), 1000)
$$;

COMMENT ON FUNCTION api.statement(uuid, timestamptz, timestamptz, bigint, integer, text) IS
'Entries of a wallet from p_from (inclusive) to p_to (exclusive), newest first, at most p_limit (1 to 1000, 100 if NULL); go on with p_before_seq = the last seq seen. amount is signed, balance is after the entry, both in minor units.';
