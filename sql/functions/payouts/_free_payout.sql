-- _free_payout: give back what a payout that was never sent holds.
-- Locks    the wallet; called when the payout is locked and no longer requested or held
-- Decides  a hold whose time is over has given it back already, or does so now
-- Writes   holds, wallets (held), outbox 'hold.released' or 'hold.expired'
-- Errors   none
CREATE OR REPLACE FUNCTION core._free_payout(p_payout core.payouts) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM core._lock_wallets(ARRAY[p_payout.wallet_id]);
    PERFORM core._expire_holds(ARRAY[p_payout.wallet_id]);
    IF EXISTS (SELECT FROM core.holds AS h WHERE h.id = p_payout.hold_id AND h.status = 'open') THEN
        PERFORM api.release_hold(p_payout.hold_id);
    END IF;
END;
$$;

COMMENT ON FUNCTION core._free_payout(core.payouts) IS 'Releases the hold of a payout that was never sent; nothing where it has expired.';
