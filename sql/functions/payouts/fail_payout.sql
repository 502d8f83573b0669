-- fail_payout: a payout came to nothing, or was taken back after it was paid; its tokens are given back.
-- Locks    the payout, then its wallet, payout_clearing and (after it was paid) issuance, in id order
-- Decides  by its state what is to be undone; failed already: as it is. By hand as api.settle_payout
-- Writes   payouts; holds, wallets (held) of one that was not sent; else wallets, transfers (refund), entries, refunds;
--          outbox 'hold.released' or 'transfer.posted', 'payout.failed'; audit_log 'payout.failed'
-- Errors   TS101 INVALID_REQUEST, TS211 USER_NOT_FOUND, TS260 PAYOUT_NOT_FOUND, TS310 WALLET_FROZEN, TS311 WALLET_CLOSED,
--          TS314 BALANCE_LIMIT, TS360 PAYOUT_STATE, TS361 PAYOUT_WITH_PROVIDER, TS502 USER_SUSPENDED, TS503 SAME_PERSON,
--          TS504 FORBIDDEN, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.fail_payout(
    p_payout uuid,
    p_reason text,
    p_reference text DEFAULT NULL,
    p_actor uuid DEFAULT NULL
) RETURNS SETOF api.payouts
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_payout core.payouts := core._lock_payout(p_payout);
    v_back uuid[];
    v_refused core.transfer_result;
BEGIN
    PERFORM core._check_payout_by_hand(v_payout, p_actor);
    IF (p_reason ~ '^[a-z][a-z0-9_]{0,62}$') IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'reason'), 'A code: small letters, digits, underscores.');
    ELSIF v_payout.status = 'cancelled' THEN
        PERFORM core._refuse_payout(v_payout, 'It was cancelled, and its tokens are back.');
    ELSIF v_payout.status <> 'failed' THEN
        UPDATE core.payouts AS p
        SET
            status = 'failed', reason = p_reason, closed_at = clock_timestamp(), next_at = NULL,
            provider_reference = coalesce(left(nullif(p_reference, ''), 255), p.provider_reference),
            decided_by = coalesce(p_actor, p.decided_by)
        WHERE p.id = p_payout
        RETURNING p.* INTO v_payout;
        IF v_payout.transfer_id IS NULL THEN
            PERFORM core._free_payout(v_payout);
        ELSE
            -- the other way round: from issuance to payout_clearing, from there to the user
            v_back := array_remove(ARRAY[v_payout.paid_transfer_id, v_payout.transfer_id], NULL);
            PERFORM core._lock_wallets(ARRAY(
                SELECT t.from_wallet_id FROM core.transfers AS t WHERE t.id = ANY (v_back)
                UNION
                SELECT t.to_wallet_id FROM core.transfers AS t WHERE t.id = ANY (v_back)
            ));
            FOR v_refused IN SELECT r.* FROM core._give_back(v_back, 'payout ' || p_reason, p_actor) AS r WHERE r.error_code IS NOT NULL LOOP
                PERFORM core._raise(v_refused.error_code, v_refused.error, v_refused.detail, 'Nothing was given back.');
            END LOOP;
        END IF;
        PERFORM core._payout_event('payout.failed', v_payout);
        IF p_actor IS NOT NULL THEN
            INSERT INTO core.audit_log (actor_id, action, subject_id, details)
            VALUES (p_actor, 'payout.failed', p_payout, jsonb_build_object('amount', v_payout.amount, 'reason', p_reason));
        END IF;
    END IF;
    RETURN QUERY SELECT p.* FROM api.payouts AS p WHERE p.payout_id = p_payout;
END;
$$;

COMMENT ON FUNCTION api.fail_payout(uuid, text, text, uuid) IS
'A payout will not arrive: its tokens are given back, once, whether it waited, was sent, or had been paid and was taken back. p_reason is a code that its user is shown. p_actor: the operator who says so; a provider''s own payouts only after payout_override days (TS361). Failed already: nothing changes. Where the wallet takes nothing (TS310, TS311) it stays as it is.';
