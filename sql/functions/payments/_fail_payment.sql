-- _fail_payment: nothing came of it.
-- Locks    nothing; the payment is locked
-- Decides  only one that is pending fails: money that was taken counts, whatever is told before or after
-- Writes   payments, outbox 'payment.failed'
-- Errors   none
CREATE OR REPLACE FUNCTION core._fail_payment(p_payment core.payments, p_event core.payment_events) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF p_payment.status <> 'pending' THEN
        RETURN 'repeated';
    END IF;
    UPDATE core.payments AS p
    SET status = 'failed', failed_at = clock_timestamp(), failure = coalesce(left(p_event.reason, 255), 'failed'), check_at = NULL
    WHERE p.id = p_payment.id;
    PERFORM core._payment_event('payment.failed', p_payment.id);
    RETURN 'applied';
END;
$$;

COMMENT ON FUNCTION core._fail_payment(core.payments, core.payment_events) IS 'Ends a pending payment; what came of it: applied, or repeated where it was not pending.';
