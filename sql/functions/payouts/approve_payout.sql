-- approve_payout: an operator has looked at a payout that is held, and lets it pass.
-- Locks    the payout
-- Decides  that it is held (requested already: as it is) and whose it is
-- Writes   payouts, outbox 'payout.requested', audit_log 'payout.approved'
-- Errors   TS211 USER_NOT_FOUND, TS260 PAYOUT_NOT_FOUND, TS360 PAYOUT_STATE, TS502 USER_SUSPENDED, TS503 SAME_PERSON,
--          TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.approve_payout(p_payout uuid, p_actor uuid DEFAULT NULL) RETURNS SETOF api.payouts
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_payout core.payouts := core._lock_payout(p_payout);
    v_reason CONSTANT text := v_payout.reason;
BEGIN
    PERFORM core._check_operator(p_actor, v_payout.user_id);
    IF v_payout.status = 'held' THEN
        UPDATE core.payouts AS p
        SET status = 'requested', reason = NULL, next_at = clock_timestamp(), decided_by = p_actor
        WHERE p.id = p_payout
        RETURNING p.* INTO v_payout;
        PERFORM core._payout_event('payout.requested', v_payout);
        INSERT INTO core.audit_log (actor_id, action, subject_id, details)
        VALUES (p_actor, 'payout.approved', p_payout, jsonb_build_object('amount', v_payout.amount, 'reason', v_reason));
    ELSIF v_payout.status <> 'requested' THEN
        PERFORM core._refuse_payout(v_payout, 'Only a payout that is held can be approved.');
    END IF;
    RETURN QUERY SELECT p.* FROM api.payouts AS p WHERE p.payout_id = p_payout;
END;
$$;

COMMENT ON FUNCTION api.approve_payout(uuid, uuid) IS
'Lets a held payout pass: a scheduler sends it. Nobody approves their own (TS503). Requested already: nothing changes.';
