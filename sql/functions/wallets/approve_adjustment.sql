-- approve_adjustment: the second person says yes, and the money moves.
-- Locks    the adjustment, then both wallets in id order
-- Decides  that it is pending and not asked for by the same person; then as core._post_transfers
-- Writes   wallets, transfers (adjustment), entries, adjustments, outbox 'transfer.posted', audit_log and outbox 'adjustment.approved'
-- Errors   TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND, TS217 ADJUSTMENT_NOT_FOUND, TS310 WALLET_FROZEN,
--          TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT, TS322 ADJUSTMENT_CLOSED, TS401 INSUFFICIENT_TOKENS,
--          TS502 USER_SUSPENDED, TS503 SAME_PERSON, TS504 FORBIDDEN, TS601 VELOCITY_LIMIT
CREATE OR REPLACE FUNCTION api.approve_adjustment(p_adjustment uuid, p_actor uuid DEFAULT NULL) RETURNS SETOF api.adjustments
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_adjustment core.adjustments;
    v_result core.transfer_result;
BEGIN
    PERFORM core._check_admin(p_actor);
    v_adjustment := core._open_adjustment(p_adjustment);
    -- Two users of the API come by one login. A person's own login is one person, whomever it names.
    IF v_adjustment.requested_by = p_actor OR v_adjustment.requested_db_user = session_user AND (
        v_adjustment.requested_by IS NULL OR p_actor IS NULL OR NOT pg_has_role(session_user, 'tessera_app', 'MEMBER')
    ) THEN
        PERFORM core._raise(
            'TS503', 'SAME_PERSON', jsonb_build_object('adjustment_id', p_adjustment), 'Somebody else has to approve it.'
        );
    END IF;
    -- the request's own reason goes to the books; who approved it is in the adjustment and the audit log
    v_result := (core._post_transfers(
        ARRAY[ROW(
            v_adjustment.from_wallet_id, v_adjustment.to_wallet_id, v_adjustment.amount, v_adjustment.asset, 'adjustment',
            v_adjustment.reason, p_actor, NULL, NULL, NULL, jsonb_build_object('adjustment_id', p_adjustment), NULL
        )::core.transfer_request]
    ))[1];
    IF v_result.error_code IS NOT NULL THEN
        PERFORM core._raise(v_result.error_code, v_result.error, v_result.detail, 'Nothing was moved; it can be approved later.');
    END IF;
    UPDATE core.adjustments AS a
    SET
        status = 'approved', decided_by = p_actor, decided_db_user = session_user, decided_at = v_result.created_at,
        transfer_id = v_result.transfer_id
    WHERE a.id = p_adjustment;
    INSERT INTO core.outbox (type, channels, payload)
    VALUES (
        'transfer.posted', core._user_channels(v_result.from_owner_id, v_result.to_owner_id),
        core._transfer_payload(
            v_result.transfer_id, v_adjustment.from_wallet_id, v_adjustment.to_wallet_id, v_adjustment.amount,
            v_adjustment.asset, 'adjustment', v_adjustment.reason, v_result.created_at
        )
    );
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (p_actor, 'adjustment.approved', p_adjustment, jsonb_build_object('transfer_id', v_result.transfer_id));
    PERFORM core._adjustment_event('adjustment.approved', p_adjustment);
    RETURN QUERY SELECT a.* FROM api.adjustments AS a WHERE a.adjustment_id = p_adjustment;
END;
$$;

COMMENT ON FUNCTION api.approve_adjustment(uuid, uuid) IS
'Approves adjustment p_adjustment and moves its money. Whoever asked for it is refused (TS503): the same user; the same database login, unless it is a login of the API and both times named a user. One that was decided before or has expired is TS322, so repeating it moves nothing.';
