-- place_hold: set an amount of a wallet aside.
-- Locks    the wallet
-- Decides  status; that the amount is there without any overdraft, holds that have expired not counted
-- Writes   holds, wallets (held), idempotency_keys, outbox 'wallet.changed' and 'hold.placed'; holds that have
--          expired
-- Errors   TS101 INVALID_REQUEST, TS102 INVALID_AMOUNT, TS105 METADATA_TOO_LARGE, TS106 IDEMPOTENCY_KEY_INVALID,
--          TS109 INVALID_KIND, TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND, TS301 IDEMPOTENCY_KEY_REUSED,
--          TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS401 INSUFFICIENT_TOKENS, TS502 USER_SUSPENDED
CREATE OR REPLACE FUNCTION api.place_hold(
    p_wallet uuid,
    p_amount bigint,
    p_expires_in interval,
    p_key text DEFAULT NULL,
    p_kind text DEFAULT 'hold',
    p_reference text DEFAULT NULL,
    p_actor uuid DEFAULT NULL,
    p_metadata jsonb DEFAULT NULL
) RETURNS api.hold_receipt
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
    RETURN core._place_hold(p_wallet, p_amount, p_expires_in, p_key, p_kind, p_reference, p_actor, p_metadata, false);
END;
$$;

COMMENT ON FUNCTION api.place_hold(uuid, bigint, interval, text, text, text, uuid, jsonb) IS
'Sets p_amount (minor units) of wallet p_wallet aside for p_expires_in (up to 366 days): it cannot be spent until api.capture_hold pays it out, api.release_hold gives it back, or it expires. Never on overdraft. p_key makes it safe to repeat. p_kind, p_reference, p_metadata as in api.transfer; p_actor: who asks, on whose authority is for the caller to know.';
