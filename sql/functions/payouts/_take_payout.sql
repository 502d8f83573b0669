-- _take_payout: the tokens of a payout leave its user's wallet, right before it is sent.
-- Locks    the wallet and payout_clearing; called when the payout is locked
-- Decides  whether it may be sent: why not is returned, and the payout is held with that reason, or cancelled where its hold
--          is over
-- Writes   payouts, holds, wallets, transfers (payout), entries, captures, outbox 'payout.processing', 'payout.held', 'payout.cancelled'
-- Errors   TS210 WALLET_NOT_FOUND, TS213 ASSET_NOT_FOUND; kept, as a reason: TS310 WALLET_FROZEN, TS311 WALLET_CLOSED,
--          TS314 BALANCE_LIMIT, TS601 VELOCITY_LIMIT, and whatever else the ledger refuses
CREATE OR REPLACE FUNCTION core._take_payout(p_payout core.payouts, p_account core.payout_accounts) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_clearing CONSTANT uuid := core._system_wallet('payout_clearing', 'TOKEN', p_payout.id);
    v_payout core.payouts;
    v_hold core.holds;
    v_refusal text;
    v_receipt api.hold_receipt;
BEGIN
    PERFORM core._lock_wallets(ARRAY[p_payout.wallet_id, v_clearing]);
    PERFORM core._expire_holds(ARRAY[p_payout.wallet_id]);
    SELECT h.* INTO v_hold FROM core.holds AS h WHERE h.id = p_payout.hold_id;
    IF v_hold.status <> 'open' THEN
        UPDATE core.payouts AS p
        SET status = 'cancelled', reason = 'not_sent_in_time', closed_at = clock_timestamp(), next_at = NULL
        WHERE p.id = p_payout.id
        RETURNING p.* INTO v_payout;
        PERFORM core._payout_event('payout.cancelled', v_payout);
        RETURN v_payout.reason;
    ELSIF p_payout.status = 'held' THEN
        -- due by a clock that has run on a little faster than that of its hold
        UPDATE core.payouts AS p SET next_at = v_hold.expires_at + interval '1 second' WHERE p.id = p_payout.id;
        RETURN p_payout.reason;
    END IF;
    v_refusal := CASE
        WHEN (SELECT u.status FROM core.users AS u WHERE u.id = p_payout.user_id) <> 'active' THEN 'user_suspended'
        WHEN (SELECT w.debt FROM core.wallets AS w WHERE w.id = p_payout.wallet_id) > 0 THEN 'debt'
        WHEN p_account.removed_at IS NOT NULL THEN 'account_removed'
    END;
    IF v_refusal IS NULL THEN
        BEGIN
            -- first: the hold of a payout that waits is nobody's to capture
            UPDATE core.payouts AS p
            SET
                status = 'processing', reason = NULL, processing_at = clock_timestamp(),
                transfer_id = '00000000-0000-0000-0000-000000000000',
                next_at = CASE WHEN p.provider <> 'manual' THEN p.next_at END
            WHERE p.id = p_payout.id;
            v_receipt := api.capture_hold(p_payout.hold_id, v_clearing);
            UPDATE core.payouts AS p
            SET transfer_id = v_receipt.transfer_id
            WHERE p.id = p_payout.id
            RETURNING p.* INTO v_payout;
            PERFORM core._payout_event('payout.processing', v_payout);
            RETURN NULL;
        EXCEPTION
            WHEN OTHERS THEN
                -- whatever the ledger has against it: it must not stand in the way of those behind it
                IF sqlstate NOT LIKE 'TS%' THEN
                    RAISE;
                END IF;
                v_refusal := lower(sqlerrm);
        END;
    END IF;
    UPDATE core.payouts AS p
    SET status = 'held', reason = v_refusal, next_at = v_hold.expires_at
    WHERE p.id = p_payout.id
    RETURNING p.* INTO v_payout;
    PERFORM core._payout_event('payout.held', v_payout);
    RETURN v_refusal;
END;
$$;

COMMENT ON FUNCTION core._take_payout(core.payouts, core.payout_accounts) IS
'Captures the hold of a requested payout into payout_clearing and lets it be processing; NULL. Or why not: user_suspended, debt, account_removed, wallet_frozen, wallet_closed, velocity_limit… and it is held; not_sent_in_time, and it is cancelled.';
