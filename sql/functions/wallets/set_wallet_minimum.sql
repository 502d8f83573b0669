-- set_wallet_minimum: how low a wallet may go.
-- Locks    the wallet
-- Decides  as core._set_wallet
-- Writes   wallets (status, minimum), audit_log 'wallet.minimum_set'
-- Errors   TS101 INVALID_REQUEST, TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND, TS311 WALLET_CLOSED,
--          TS401 INSUFFICIENT_TOKENS, TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.set_wallet_minimum(
    p_wallet uuid,
    p_minimum bigint,
    p_reason text,
    p_actor uuid DEFAULT NULL
) RETURNS SETOF api.wallets
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_minimum IS NULL THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'minimum'), 'Say how low.');
    END IF;
    PERFORM core._set_wallet(p_wallet, 'wallet.minimum_set', NULL, p_minimum, p_reason, p_actor);
    RETURN QUERY SELECT w.* FROM api.wallets AS w WHERE w.wallet_id = p_wallet;
END;
$$;

COMMENT ON FUNCTION api.set_wallet_minimum(uuid, bigint, text, uuid) IS
'Sets how low wallet p_wallet may go, in minor units: negative for an overdraft, positive for a reserve that cannot be spent, 0 for neither. Refused with TS401 while the wallet has less than that.';
