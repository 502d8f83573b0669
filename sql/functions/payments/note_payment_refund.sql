-- note_payment_refund: what the provider answered to a refund of ours.
-- Locks    the payment, then issuance and the buyer's wallet, in id order
-- Decides  one that failed stays failed. Where the webhook was first and took the answer for another refund's, it is put right
-- Writes   payment_refunds, and what core._weigh_payment writes
-- Errors   TS101 INVALID_REQUEST, TS253 PAYMENT_REFUND_NOT_FOUND, TS310 WALLET_FROZEN, TS311 WALLET_CLOSED,
--          TS314 BALANCE_LIMIT
CREATE OR REPLACE FUNCTION api.note_payment_refund(
    p_refund uuid,
    p_status text,
    p_provider_refund text,
    p_failure text DEFAULT NULL
) RETURNS SETOF api.payment_refunds
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    v_refund core.payment_refunds;
BEGIN
    IF (p_status IN ('pending', 'done', 'failed')) IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'status'), 'Nothing was changed.');
    END IF;
    PERFORM FROM core.payments AS p
    WHERE p.id = (SELECT r.payment_id FROM core.payment_refunds AS r WHERE r.id = p_refund)
    FOR NO KEY UPDATE;
    SELECT r.* INTO v_refund FROM core.payment_refunds AS r WHERE r.id = p_refund;
    IF v_refund.id IS NULL THEN
        PERFORM core._raise(
            'TS253', 'PAYMENT_REFUND_NOT_FOUND', jsonb_build_object('refund_id', p_refund), 'Nothing was changed.'
        );
    ELSIF EXISTS (
        SELECT FROM core.payment_refunds AS r
        WHERE r.payment_id = v_refund.payment_id AND r.id <> p_refund AND r.provider_refund = p_provider_refund
    ) THEN
        -- it was told of already, and counts there
        UPDATE core.payment_refunds AS r
        SET status = 'failed', closed_at = coalesce(r.closed_at, clock_timestamp()), due_at = NULL, failure = 'told_twice'
        WHERE r.id = p_refund AND r.provider_refund IS NULL;
    ELSIF v_refund.provider_refund <> p_provider_refund THEN
        -- a refund made at the provider was taken for this one: this one is one more
        INSERT INTO core.payment_refunds (
            id, payment_id, actor_id, amount, created_at, closed_at, status, provider_refund, reason, failure
        )
        VALUES (
            core.uuid7(), v_refund.payment_id, v_refund.actor_id, v_refund.amount, clock_timestamp(),
            CASE WHEN p_status <> 'pending' THEN clock_timestamp() END, p_status, p_provider_refund, v_refund.reason,
            CASE p_status WHEN 'failed' THEN coalesce(left(p_failure, 255), 'failed') END
        );
    ELSE
        UPDATE core.payment_refunds AS r
        SET
            provider_refund = coalesce(r.provider_refund, p_provider_refund),
            status = p_status,
            closed_at = CASE WHEN p_status <> 'pending' THEN clock_timestamp() END,
            due_at = CASE WHEN p_status = 'pending' THEN r.due_at END,
            failure = CASE p_status WHEN 'failed' THEN coalesce(left(p_failure, 255), 'failed') END
        WHERE
            r.id = p_refund
            AND (r.status = 'pending' OR r.status = 'done' AND p_status = 'failed');
    END IF;
    PERFORM core._weigh_payment(v_refund.payment_id, v_refund.reason, v_refund.actor_id);
    RETURN QUERY SELECT r.* FROM api.payment_refunds AS r WHERE r.refund_id = p_refund;
END;
$$;

COMMENT ON FUNCTION api.note_payment_refund(uuid, text, text, text) IS
'Notes what the provider made of refund p_refund: pending, done, or failed, which restores the tokens. p_provider_refund is its name there. Repeating it changes nothing.';
