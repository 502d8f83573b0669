-- unfreeze_wallet: a frozen wallet is as any other again.
-- Locks    the wallet
-- Decides  as core._set_wallet
-- Writes   wallets (status, minimum), audit_log 'wallet.unfrozen'
-- Errors   TS101 INVALID_REQUEST, TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND, TS311 WALLET_CLOSED,
--          TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.unfreeze_wallet(p_wallet uuid, p_reason text, p_actor uuid DEFAULT NULL) RETURNS SETOF api.wallets
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM core._set_wallet(p_wallet, 'wallet.unfrozen', 'active', NULL, p_reason, p_actor);
    RETURN QUERY SELECT w.* FROM api.wallets AS w WHERE w.wallet_id = p_wallet;
END;
$$;

COMMENT ON FUNCTION api.unfreeze_wallet(uuid, text, uuid) IS
'Ends the freeze of wallet p_wallet. Not frozen: nothing changes. A closed one is TS311.';
