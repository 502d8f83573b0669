-- balance_at_seq: the balance of a wallet after an entry.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   TS240 HISTORY_DETACHED
CREATE OR REPLACE FUNCTION api.balance_at_seq(p_wallet uuid, p_seq bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    v_balance bigint;
    v_seq bigint := 0;
BEGIN
    -- in which month it was is not known: a look into the index of each partition
    SELECT e.balance INTO v_balance FROM core.entries AS e WHERE e.wallet_id = p_wallet AND e.seq = p_seq;
    IF v_balance IS NULL THEN
        SELECT b.seq, b.balance INTO v_seq, v_balance
        FROM core.brought_forward AS b
        WHERE b.wallet_id = p_wallet
        ORDER BY b.detached_to DESC
        LIMIT 1;
        IF p_seq BETWEEN 0 AND v_seq - 1 THEN
            PERFORM core._raise(
                'TS240', 'HISTORY_DETACHED', jsonb_build_object('wallet_id', p_wallet, 'seq', p_seq),
                'Ask an operator to attach the months that are asked for.'
            );
        ELSIF p_seq IS DISTINCT FROM coalesce(v_seq, 0) THEN
            RETURN NULL;
        END IF;
        RETURN coalesce(v_balance, (SELECT 0::bigint FROM core.wallets AS w WHERE w.id = p_wallet));
    END IF;
    RETURN v_balance;
END;
$$;

COMMENT ON FUNCTION api.balance_at_seq(uuid, bigint) IS
'The balance of a wallet, in minor units, right after its entry p_seq (0: before the first); NULL when there is no such entry. TS240 for one in months that are detached.';
