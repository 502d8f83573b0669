-- _hold_receipt: a hold and its wallet as they are now.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._hold_receipt(p_hold core.holds, p_wallet core.wallets, p_transfer_id uuid)
RETURNS api.hold_receipt
LANGUAGE sql STABLE
AS $$
    SELECT ROW(
        p_hold.id, p_hold.wallet_id, p_hold.status, p_hold.amount, p_hold.captured,
        p_hold.amount - p_hold.captured - p_hold.released, p_wallet.balance,
        p_wallet.balance - p_wallet.held - p_wallet.minimum, p_transfer_id, p_hold.expires_at, p_hold.created_at, false
    )::api.hold_receipt
$$;

COMMENT ON FUNCTION core._hold_receipt(core.holds, core.wallets, uuid) IS 'The receipt of a hold function, not replayed.';
