-- reverse_payment: give a payment's money back, wholly or in part.
-- Locks    the payment, then issuance and the buyer's wallet, in id order
-- Decides  that it is paid and so much of it is neither refunded nor disputed. What the buyer has spent of the tokens, they owe
-- Writes   payment_refunds, payments, payment_transfers, wallets, transfers, entries, refunds, idempotency_keys,
--          outbox 'payment.refunded', 'transfer.refunded', audit_log 'payment.refunded'
-- Errors   TS101 INVALID_REQUEST, TS106 IDEMPOTENCY_KEY_INVALID, TS211 USER_NOT_FOUND, TS251 PAYMENT_NOT_FOUND,
--          TS301 IDEMPOTENCY_KEY_REUSED, TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT,
--          TS350 PAYMENT_NOT_PAID, TS351 PAYMENT_REFUND_EXCEEDED, TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.reverse_payment(
    p_payment uuid,
    p_amount bigint,
    p_reason text,
    p_key text DEFAULT NULL,
    p_actor uuid DEFAULT NULL
) RETURNS api.refund_order
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(
        p_key, record_send(ROW('payment_refund'::text, p_payment, p_amount, p_reason))
    );
    v_payment core.payments;
    v_stored jsonb;
    v_left bigint;
    v_amount bigint;
    v_id uuid;
BEGIN
    PERFORM core._check_admin(p_actor);
    PERFORM core._check_reason(p_reason);
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.key.' || coalesce(p_actor, core._database_actor())::text || p_key, 0));
    SELECT p.* INTO v_payment FROM core.payments AS p WHERE p.id = p_payment FOR NO KEY UPDATE;
    v_stored := core._stored_result(p_actor, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN core._refund_order((v_stored ->> 'refund_id')::uuid, true);
    END IF;
    v_left := greatest(0, v_payment.amount - v_payment.refunded - v_payment.disputed);
    v_amount := coalesce(p_amount, v_left);
    IF v_payment.id IS NULL THEN
        PERFORM core._raise('TS251', 'PAYMENT_NOT_FOUND', jsonb_build_object('payment_id', p_payment), 'Nothing was refunded.');
    ELSIF v_payment.transfer_id IS NULL THEN
        PERFORM core._raise(
            'TS350', 'PAYMENT_NOT_PAID', jsonb_build_object('payment_id', p_payment, 'payment_status', v_payment.status),
            'Nothing was refunded.'
        );
    ELSIF v_amount NOT BETWEEN 1 AND v_left THEN
        PERFORM core._raise(
            'TS351', 'PAYMENT_REFUND_EXCEEDED',
            jsonb_build_object(
                'payment_id', p_payment, 'amount', v_payment.amount, 'requested', v_amount, 'refundable', v_left,
                'currency', v_payment.currency
            ),
            'Nothing was refunded.'
        );
    END IF;
    INSERT INTO core.payment_refunds (id, payment_id, actor_id, amount, created_at, due_at, reason)
    VALUES (
        core.uuid7(), p_payment, p_actor, v_amount, clock_timestamp(), clock_timestamp() + interval '45 seconds', p_reason
    )
    RETURNING id INTO v_id;
    PERFORM core._weigh_payment(p_payment, p_reason, p_actor);
    PERFORM core._store_result(p_actor, p_key, v_hash, jsonb_build_object('refund_id', v_id));
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (
        p_actor, 'payment.refunded', p_payment,
        jsonb_build_object('refund_id', v_id, 'amount', v_amount, 'currency', v_payment.currency, 'reason', p_reason)
    );
    RETURN core._refund_order(v_id, false);
END;
$$;

COMMENT ON FUNCTION api.reverse_payment(uuid, bigint, text, text, uuid) IS
'Refunds p_amount (minor unit of the payment''s currency; NULL: all that is left) of payment p_payment: takes the same part of its tokens back at once, into debt where they are spent, and leaves the refund to be asked of the provider with its id as idempotency key. If the provider refuses, api.note_payment_refund restores the tokens.';
