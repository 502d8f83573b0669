-- cancel_payout: a payout that has not been sent is taken back.
-- Locks    the payout, then the wallet
-- Decides  that it waits still; cancelled already: as it is
-- Writes   payouts, holds, wallets (held), outbox 'hold.released', 'payout.cancelled', audit_log 'payout.cancelled'
-- Errors   TS211 USER_NOT_FOUND, TS260 PAYOUT_NOT_FOUND, TS360 PAYOUT_STATE, TS502 USER_SUSPENDED
CREATE OR REPLACE FUNCTION api.cancel_payout(p_payout uuid, p_user uuid DEFAULT NULL) RETURNS SETOF api.payouts
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_payout core.payouts;
BEGIN
    PERFORM core._check_actor(p_user);
    v_payout := core._lock_payout(p_payout, p_user);
    IF v_payout.status IN ('requested', 'held') THEN
        UPDATE core.payouts AS p
        SET status = 'cancelled', reason = 'by_user', closed_at = clock_timestamp(), next_at = NULL
        WHERE p.id = p_payout
        RETURNING p.* INTO v_payout;
        PERFORM core._free_payout(v_payout);
        PERFORM core._payout_event('payout.cancelled', v_payout);
        INSERT INTO core.audit_log (actor_id, action, subject_id, details)
        VALUES (p_user, 'payout.cancelled', p_payout, jsonb_build_object('amount', v_payout.amount));
    ELSIF v_payout.status <> 'cancelled' THEN
        PERFORM core._refuse_payout(v_payout, 'What has been sent can no longer be cancelled.');
    END IF;
    RETURN QUERY SELECT p.* FROM api.payouts AS p WHERE p.payout_id = p_payout;
END;
$$;

COMMENT ON FUNCTION api.cancel_payout(uuid, uuid) IS
'Takes back a payout that is requested or held and gives its tokens back. p_user: whose it must be; without one it is the database login that acts. Cancelled already: nothing changes.';
