-- balance_at: the balance of a wallet at a moment.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   TS210 WALLET_NOT_FOUND (core._seq_at)
CREATE OR REPLACE FUNCTION api.balance_at(p_wallet uuid, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    v_seq CONSTANT bigint := core._seq_at(p_wallet, p_at);
BEGIN
    RETURN coalesce((SELECT e.balance FROM core.entries AS e WHERE e.wallet_id = p_wallet AND e.seq = v_seq), 0);
END;
$$;

COMMENT ON FUNCTION api.balance_at(uuid, timestamptz) IS
'The balance of a wallet, in minor units, after its last entry with created_at <= p_at; 0 before its first. TS210 for an unknown wallet.';
