-- settle_payout: the money has arrived.
-- Locks    the payout, then payout_clearing and issuance, in id order
-- Decides  that it is processing; paid already: as it is. By hand (p_actor) only where no provider answers for it, or has
--          not for payout_override days
-- Writes   payouts, wallets, transfers (payout_paid), entries, outbox 'payout.paid', audit_log 'payout.paid'
-- Errors   TS211 USER_NOT_FOUND, TS213 ASSET_NOT_FOUND, TS260 PAYOUT_NOT_FOUND, TS360 PAYOUT_STATE,
--          TS361 PAYOUT_WITH_PROVIDER, TS502 USER_SUSPENDED, TS503 SAME_PERSON, TS504 FORBIDDEN, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.settle_payout(p_payout uuid, p_reference text DEFAULT NULL, p_actor uuid DEFAULT NULL)
RETURNS SETOF api.payouts
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_payout core.payouts := core._lock_payout(p_payout);
    v_result core.transfer_result;
BEGIN
    PERFORM core._check_payout_by_hand(v_payout, p_actor);
    IF v_payout.status = 'processing' THEN
        v_result := (core._post_transfers(
            ARRAY[ROW(
                (SELECT t.to_wallet_id FROM core.transfers AS t WHERE t.id = v_payout.transfer_id),
                core._system_wallet('issuance', 'TOKEN', v_payout.user_id), v_payout.amount, 'TOKEN', 'payout_paid',
                p_payout::text, p_actor, NULL, NULL, NULL, NULL, NULL
            )::core.transfer_request]
        ))[1];
        IF v_result.error_code IS NOT NULL THEN
            PERFORM core._raise(v_result.error_code, v_result.error, v_result.detail, 'Nothing was settled.');
        END IF;
        UPDATE core.payouts AS p
        SET
            status = 'paid', reason = NULL, paid_at = v_result.created_at, paid_transfer_id = v_result.transfer_id,
            provider_reference = coalesce(left(nullif(p_reference, ''), 255), p.provider_reference),
            decided_by = coalesce(p_actor, p.decided_by),
            next_at = CASE WHEN p.provider <> 'manual' THEN v_result.created_at + interval '1 hour' END
        WHERE p.id = p_payout
        RETURNING p.* INTO v_payout;
        PERFORM core._payout_event('payout.paid', v_payout);
        IF p_actor IS NOT NULL THEN
            INSERT INTO core.audit_log (actor_id, action, subject_id, details)
            VALUES (p_actor, 'payout.paid', p_payout, jsonb_build_object('amount', v_payout.amount, 'reference', p_reference));
        END IF;
    ELSIF v_payout.status <> 'paid' THEN
        PERFORM core._refuse_payout(v_payout, 'Only a payout that has been sent can be paid.');
    END IF;
    RETURN QUERY SELECT p.* FROM api.payouts AS p WHERE p.payout_id = p_payout;
END;
$$;

COMMENT ON FUNCTION api.settle_payout(uuid, text, uuid) IS
'The provider, or the bank, has paid: the payout''s tokens leave payout_clearing for issuance, once. p_reference is the provider''s. p_actor: the operator who says so; a provider''s own payouts only after payout_override days (TS361). Paid already: nothing changes.';
