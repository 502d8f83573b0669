-- _note_refund: the provider tells of a refund.
-- Locks    what core._weigh_payment locks; the payment is locked
-- Decides  which of our refunds it is: the one with its name, the one whose id it carries, the oldest of this amount that
--          has no name yet; else it was made at the provider. One that failed stays failed, whatever comes after;
--          a reversal told of after its dispute was won is over
-- Writes   payment_refunds, and what core._weigh_payment writes
-- Errors   those of core._weigh_payment
CREATE OR REPLACE FUNCTION core._note_refund(p_payment core.payments, p_event core.payment_events) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_status CONSTANT text := CASE
        WHEN p_event.kind <> 'refunded' THEN 'failed'
        WHEN
            p_event.reason = 'reversal'
            AND (SELECT bool_and(d.status = 'won') FROM core.payment_disputes AS d WHERE d.payment_id = p_payment.id)
            THEN 'failed'
        ELSE 'done'
    END;
    v_id uuid;
    v_was text;
BEGIN
    SELECT r.id, r.status INTO v_id, v_was
    FROM core.payment_refunds AS r
    WHERE
        r.payment_id = p_payment.id AND (
            r.provider_refund = p_event.item OR r.id = p_event.refund_id
            OR r.provider_refund IS NULL AND p_event.refund_id IS NULL AND r.status <> 'failed' AND r.amount = p_event.amount
        )
    ORDER BY r.provider_refund = p_event.item DESC NULLS LAST, r.id = p_event.refund_id DESC NULLS LAST, r.id
    LIMIT 1;
    IF v_id IS NULL AND p_event.currency IS DISTINCT FROM p_payment.currency
        OR v_id IS NULL AND (p_event.amount > 0) IS NOT TRUE
        OR v_id IS NULL AND v_status = 'done' AND p_event.amount > p_payment.amount - p_payment.refunded
    THEN
        RETURN 'mismatch';
    ELSIF v_id IS NULL THEN
        INSERT INTO core.payment_refunds (id, payment_id, amount, created_at, closed_at, status, provider_refund, reason, failure)
        VALUES (
            core.uuid7(), p_payment.id, p_event.amount, clock_timestamp(), clock_timestamp(), v_status, p_event.item,
            'by the provider', CASE v_status WHEN 'failed' THEN coalesce(p_event.reason, 'failed') END
        );
    ELSIF v_was = 'failed' OR v_was = v_status THEN
        -- its name is news where it had none, and keeps another refund of this amount apart from it
        UPDATE core.payment_refunds AS r SET provider_refund = p_event.item
        WHERE r.id = v_id AND r.provider_refund IS NULL AND p_event.item IS NOT NULL;
        RETURN 'repeated';
    ELSE
        UPDATE core.payment_refunds AS r
        SET
            status = v_status, closed_at = clock_timestamp(), due_at = NULL,
            provider_refund = coalesce(r.provider_refund, p_event.item),
            failure = CASE v_status WHEN 'failed' THEN coalesce(p_event.reason, 'failed') END
        WHERE r.id = v_id;
    END IF;
    PERFORM core._weigh_payment(p_payment.id, 'refund ' || coalesce(p_event.item, ''), NULL);
    RETURN 'applied';
END;
$$;

COMMENT ON FUNCTION core._note_refund(core.payments, core.payment_events) IS
'Takes in that a refund was made or has failed; what came of it: applied, repeated, mismatch. Nobody pays for the same refund twice.';
