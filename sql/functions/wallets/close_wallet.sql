-- close_wallet: a wallet is closed for good.
-- Locks    the wallet
-- Decides  as core._set_wallet
-- Writes   wallets (status, minimum), audit_log 'wallet.closed'
-- Errors   TS101 INVALID_REQUEST, TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND, TS323 WALLET_NOT_EMPTY,
--          TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.close_wallet(p_wallet uuid, p_reason text, p_actor uuid DEFAULT NULL) RETURNS SETOF api.wallets
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM core._set_wallet(p_wallet, 'wallet.closed', 'closed', NULL, p_reason, p_actor);
    RETURN QUERY SELECT w.* FROM api.wallets AS w WHERE w.wallet_id = p_wallet;
END;
$$;

COMMENT ON FUNCTION api.close_wallet(uuid, text, uuid) IS
'Closes wallet p_wallet for good; it must have nothing in it, held, or owed (TS323). Closed already: nothing changes.';
