-- balance_at_seq: the balance of a wallet after an entry.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.balance_at_seq(p_wallet uuid, p_seq bigint) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
    SELECT CASE
        WHEN p_seq = 0 THEN (SELECT 0::bigint FROM core.wallets AS w WHERE w.id = p_wallet)
        ELSE (SELECT e.balance FROM core.entries AS e WHERE e.wallet_id = p_wallet AND e.seq = p_seq)
    END
$$;

COMMENT ON FUNCTION api.balance_at_seq(uuid, bigint) IS
'The balance of a wallet, in minor units, right after its entry p_seq (0: before the first); NULL when there is no such entry.';
