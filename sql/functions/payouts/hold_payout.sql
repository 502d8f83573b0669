-- hold_payout: an operator stops a payout before it is sent.
-- Locks    the payout
-- Decides  that it has not been sent
-- Writes   payouts, outbox 'payout.held', audit_log 'payout.held'
-- Errors   TS101 INVALID_REQUEST, TS211 USER_NOT_FOUND, TS260 PAYOUT_NOT_FOUND, TS360 PAYOUT_STATE, TS502 USER_SUSPENDED,
--          TS503 SAME_PERSON, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.hold_payout(p_payout uuid, p_reason text, p_actor uuid DEFAULT NULL) RETURNS SETOF api.payouts
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_payout core.payouts := core._lock_payout(p_payout);
BEGIN
    PERFORM core._check_operator(p_actor, v_payout.user_id);
    IF (p_reason ~ '^[a-z][a-z0-9_]{0,62}$') IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'reason'), 'A code: small letters, digits, underscores.');
    ELSIF v_payout.status NOT IN ('requested', 'held') THEN
        PERFORM core._refuse_payout(v_payout, 'What has been sent can no longer be held.');
    END IF;
    UPDATE core.payouts AS p
    SET
        status = 'held', reason = p_reason, decided_by = p_actor,
        next_at = (SELECT h.expires_at FROM core.holds AS h WHERE h.id = p.hold_id)
    WHERE p.id = p_payout
    RETURNING p.* INTO v_payout;
    PERFORM core._payout_event('payout.held', v_payout);
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (p_actor, 'payout.held', p_payout, jsonb_build_object('amount', v_payout.amount, 'reason', p_reason));
    RETURN QUERY SELECT p.* FROM api.payouts AS p WHERE p.payout_id = p_payout;
END;
$$;

COMMENT ON FUNCTION api.hold_payout(uuid, text, uuid) IS
'Holds a payout that has not been sent, with a reason (a code) that its user is shown, until api.approve_payout lets it pass, somebody cancels or fails it, or payout_open days are over.';
