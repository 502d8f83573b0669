-- freeze_wallet: a wallet gives nothing any more, or neither gives nor takes.
-- Locks    the wallet
-- Decides  as core._set_wallet
-- Writes   wallets (status, minimum), audit_log 'wallet.frozen'
-- Errors   TS101 INVALID_REQUEST, TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND, TS311 WALLET_CLOSED,
--          TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.freeze_wallet(
    p_wallet uuid,
    p_reason text,
    p_mode text DEFAULT 'debits',
    p_actor uuid DEFAULT NULL
) RETURNS SETOF api.wallets
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF (p_mode IN ('debits', 'all')) IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'mode'), 'debits, or all.');
    END IF;
    PERFORM core._set_wallet(p_wallet, 'wallet.frozen', CASE p_mode WHEN 'all' THEN 'frozen' ELSE 'debits_frozen' END, NULL, p_reason, p_actor);
    RETURN QUERY SELECT w.* FROM api.wallets AS w WHERE w.wallet_id = p_wallet;
END;
$$;

COMMENT ON FUNCTION api.freeze_wallet(uuid, text, text, uuid) IS
'Freezes wallet p_wallet: p_mode debits (it still takes money) or all. Payments, holds and captures from it, and with all also to it, are refused (WALLET_FROZEN); releases go on. Frozen as it is already: nothing changes.';
