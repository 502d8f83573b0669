-- _credit_payment: the money is there.
-- Locks    issuance and the buyer's wallet, in id order; the payment is locked
-- Decides  amount and currency are the payment's; it is credited once, whatever it was before
-- Writes   payments, payment_transfers, wallets, transfers, entries, outbox 'payment.paid'; what waited
--          for its charge to be known is due now (payment_events)
-- Errors   TS210 WALLET_NOT_FOUND, TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT, TS401 INSUFFICIENT_TOKENS
CREATE OR REPLACE FUNCTION core._credit_payment(p_payment core.payments, p_event core.payment_events) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_result core.transfer_result;
BEGIN
    IF (p_event.amount, p_event.currency) IS DISTINCT FROM (p_payment.amount, p_payment.currency) THEN
        RETURN 'mismatch';
    ELSIF p_payment.transfer_id IS NOT NULL THEN
        RETURN CASE WHEN p_event.charge <> p_payment.charge THEN 'duplicate' ELSE 'repeated' END;
    END IF;
    v_result := core._give_tokens(p_payment, p_payment.tokens, 'purchase');
    UPDATE core.payments AS p
    SET
        status = 'paid', transfer_id = v_result.transfer_id, paid_at = v_result.created_at, check_at = NULL,
        charge = coalesce(p_event.charge, p.charge), reference = coalesce(p.reference, p_event.reference)
    WHERE p.id = p_payment.id;
    PERFORM core._payment_event('payment.paid', p_payment.id);
    PERFORM core._weigh_payment(p_payment.id, 'told before it was paid', NULL);
    UPDATE core.payment_events AS e
    SET due_at = clock_timestamp()
    WHERE e.ctid = ANY (ARRAY(
        SELECT w.ctid FROM core.payment_events AS w
        WHERE w.provider = p_payment.provider AND w.charge = p_event.charge AND w.outcome = 'unknown'
        FOR NO KEY UPDATE SKIP LOCKED
    ));
    RETURN 'applied';
END;
$$;

COMMENT ON FUNCTION core._credit_payment(core.payments, core.payment_events) IS
'Gives a payment''s tokens to its buyer, once; what came of it: applied, repeated, duplicate (paid by a second charge), mismatch.';
