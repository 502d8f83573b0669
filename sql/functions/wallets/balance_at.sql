-- balance_at: the balance of a wallet at a moment.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   TS210 WALLET_NOT_FOUND, TS240 HISTORY_DETACHED (core._entry_at)
CREATE OR REPLACE FUNCTION api.balance_at(p_wallet uuid, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN CASE WHEN p_at IS NOT NULL THEN (core._entry_at(p_wallet, p_at)).balance END;
END;
$$;

COMMENT ON FUNCTION api.balance_at(uuid, timestamptz) IS
'The balance of a wallet, in minor units, after its last entry with created_at <= p_at; 0 before its first; NULL for a p_at of NULL. TS210 for an unknown wallet, TS240 for a moment in months that are detached.';
