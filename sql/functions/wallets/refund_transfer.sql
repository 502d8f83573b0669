-- refund_transfer: give back a transfer, whole or in part, by a transfer the other way.
-- Locks    both wallets of the transfer, in id order; refunds of one transfer thereby wait for each other
-- Decides  what is left to refund; by the policy what the payee can give or will owe; then as core._post_transfers
-- Writes   wallets, transfers, entries, refunds, idempotency_keys, outbox 'transfer.refunded', audit_log 'transfer.refunded'
-- Errors   TS101 INVALID_REQUEST, TS102 INVALID_AMOUNT, TS106 IDEMPOTENCY_KEY_INVALID, TS211 USER_NOT_FOUND,
--          TS214 TRANSFER_NOT_FOUND, TS301 IDEMPOTENCY_KEY_REUSED, TS310 WALLET_FROZEN, TS311 WALLET_CLOSED,
--          TS314 BALANCE_LIMIT, TS315 REFUND_EXCEEDED, TS318 NOT_REFUNDABLE, TS401 INSUFFICIENT_TOKENS,
--          TS502 USER_SUSPENDED, TS601 VELOCITY_LIMIT
CREATE OR REPLACE FUNCTION api.refund_transfer(
    p_transfer uuid,
    p_amount bigint DEFAULT NULL,
    p_key text DEFAULT NULL,
    p_policy text DEFAULT 'refuse',
    p_reason text DEFAULT NULL,
    p_actor uuid DEFAULT NULL
) RETURNS api.refund_receipt
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(
        p_key, record_send(ROW('refund'::text, p_transfer, p_amount, p_policy, p_reason))
    );
    v_status CONSTANT text := (SELECT u.status FROM core.users AS u WHERE u.id = p_actor);
    v_refusal core.refusal := core._check_transfer('refund', p_reason, NULL, p_key, p_actor, v_status, p_own => true);
    v_original core.transfers;
    v_stored jsonb;
    v_payee core.wallets;
    v_left bigint;
    v_amount bigint;
    v_owed bigint;
    v_result core.transfer_result;
    v_receipt api.refund_receipt;
BEGIN
    -- a transfer never changes, so it may be read before the lock
    SELECT t.* INTO v_original FROM core.transfers AS t WHERE t.id = p_transfer;
    PERFORM core._lock_wallets(ARRAY[v_original.from_wallet_id, v_original.to_wallet_id]);

    v_stored := core._stored_result(p_actor, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN jsonb_populate_record(NULL::api.refund_receipt, v_stored || '{"replayed": true}');
    END IF;
    PERFORM core._expire_holds(ARRAY[v_original.to_wallet_id]);
    SELECT w.* INTO v_payee FROM core.wallets AS w WHERE w.id = v_original.to_wallet_id;
    v_left := v_original.amount - coalesce((
        SELECT sum(r.amount) FROM core.refunds AS r WHERE r.original_id = p_transfer
    ), 0);
    v_amount := coalesce(p_amount, v_left);
    v_refusal := CASE
        WHEN v_refusal.error_code IS NOT NULL THEN v_refusal
        WHEN (p_policy IN ('refuse', 'within_balance', 'create_debt')) IS NOT TRUE
            THEN ROW('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'policy'))::core.refusal
        WHEN v_original.id IS NULL
            THEN ROW('TS214', 'TRANSFER_NOT_FOUND', jsonb_build_object('transfer_id', p_transfer))::core.refusal
        -- tokens of payments and payouts go back with their money: api.reverse_payment, api.fail_payout
        WHEN v_original.kind IN ('refund', 'purchase', 'purchase_restored', 'payout', 'payout_paid')
            THEN ROW('TS318', 'NOT_REFUNDABLE', jsonb_build_object('transfer_id', p_transfer, 'kind', v_original.kind))::core.refusal
        WHEN v_amount > v_left OR v_left = 0
            THEN ROW('TS315', 'REFUND_EXCEEDED', jsonb_build_object(
                'transfer_id', p_transfer, 'amount', v_original.amount::bigint, 'requested', v_amount, 'refundable', v_left
            ))::core.refusal
    END;
    IF v_refusal.error_code IS NOT NULL THEN
        PERFORM core._raise(v_refusal.error_code, v_refusal.error, v_refusal.detail, 'Nothing was refunded.');
    END IF;
    IF p_policy = 'within_balance' THEN
        -- nothing there: the whole amount, which is then refused as it should be
        v_amount := coalesce(nullif(least(v_amount, greatest(v_payee.balance - v_payee.held - v_payee.minimum, 0)), 0), v_amount);
    END IF;
    SELECT r.* INTO v_result FROM core._give_back(ARRAY[p_transfer], p_reason, p_actor, ARRAY[v_amount], p_policy) AS r;
    IF v_result.error_code IS NOT NULL THEN
        PERFORM core._raise(v_result.error_code, v_result.error, v_result.detail, 'Nothing was refunded.');
    END IF;
    v_owed := (SELECT r.owed FROM core.refunds AS r WHERE r.transfer_id = v_result.transfer_id);
    v_receipt := ROW(
        v_result.transfer_id, p_transfer, v_amount, v_owed, v_left - v_amount, v_result.from_balance, v_result.to_balance,
        v_result.created_at, false
    );
    PERFORM core._store_result(p_actor, p_key, v_hash, to_jsonb(v_receipt));
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (
        p_actor, 'transfer.refunded', p_transfer,
        jsonb_build_object(
            'transfer_id', v_result.transfer_id, 'amount', v_amount, 'owed', v_owed, 'policy', p_policy, 'reason', p_reason
        )
    );
    RETURN v_receipt;
END;
$$;

COMMENT ON FUNCTION api.refund_transfer(uuid, bigint, text, text, text, uuid) IS
'Gives back p_amount (minor units; NULL: all that is left) of transfer p_transfer by a linked transfer the other way. The refunds of a transfer never sum to more than it. Where the payee has spent it, p_policy decides: refuse (TS401), within_balance (what there is, TS401 if nothing), create_debt (all; the wallet goes below its floor, and every credit pays that debt off before anything can be spent). A refund is not refundable, nor is what a payment has paid for (api.reverse_payment). p_key makes it safe to repeat.';
