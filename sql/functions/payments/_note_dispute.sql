-- _note_dispute: the provider tells of a dispute.
-- Locks    what core._weigh_payment locks; the payment is locked
-- Decides  an outcome stays, whatever comes after; the other outcome is for a person. What the provider took for it
--          meanwhile (a refund whose event has the reason reversal) is back when it is won
-- Writes   payment_disputes, payment_refunds, and what core._weigh_payment writes
-- Errors   those of core._weigh_payment
CREATE OR REPLACE FUNCTION core._note_dispute(p_payment core.payments, p_event core.payment_events) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_status CONSTANT text := CASE p_event.kind WHEN 'dispute_won' THEN 'won' WHEN 'dispute_lost' THEN 'lost' ELSE 'open' END;
    v_was CONSTANT text := (
        SELECT d.status FROM core.payment_disputes AS d
        WHERE d.payment_id = p_payment.id AND d.provider_dispute = p_event.item
    );
    v_now CONSTANT timestamptz := clock_timestamp();
BEGIN
    IF v_was IS NOT NULL AND (v_status = 'open' OR v_was = v_status) THEN
        RETURN 'repeated';
    ELSIF v_was IN ('won', 'lost') THEN
        RETURN 'contradiction';
    ELSIF v_was IS NULL AND (
        p_event.item IS NULL OR p_event.currency IS DISTINCT FROM p_payment.currency OR (p_event.amount BETWEEN 1 AND 1000000000000000) IS NOT TRUE
    ) THEN
        RETURN 'mismatch';
    END IF;
    INSERT INTO core.payment_disputes (payment_id, provider_dispute, amount, opened_at, closed_at, status)
    VALUES (p_payment.id, p_event.item, p_event.amount, v_now, CASE WHEN v_status <> 'open' THEN v_now END, v_status)
    ON CONFLICT ON CONSTRAINT payment_disputes_pkey DO UPDATE SET status = excluded.status, closed_at = excluded.closed_at;
    IF v_status = 'won' THEN
        UPDATE core.payment_refunds AS r
        SET status = 'failed', closed_at = v_now, due_at = NULL, failure = 'dispute_won'
        WHERE
            r.payment_id = p_payment.id AND r.status <> 'failed'
            AND r.provider_refund IN (
                SELECT e.item FROM core.payment_events AS e
                WHERE e.payment_id = p_payment.id AND e.kind = 'refunded' AND e.reason = 'reversal'
            );
    END IF;
    PERFORM core._weigh_payment(p_payment.id, 'dispute ' || p_event.item, NULL);
    RETURN 'applied';
END;
$$;

COMMENT ON FUNCTION core._note_dispute(core.payments, core.payment_events) IS
'Takes in that a dispute was opened, won or lost; what came of it: applied, repeated, contradiction, mismatch.';
