-- note_payment_event: keep what a provider tells, before anything is made of it.
-- Locks    nothing
-- Decides  each event is kept once
-- Writes   payment_events
-- Errors   TS101 INVALID_REQUEST
CREATE OR REPLACE FUNCTION api.note_payment_event(p_fact api.payment_fact) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF (
        (p_fact).provider IN ('stripe', 'paystack', 'paypal', 'sandbox')
        AND octet_length((p_fact).event_id) BETWEEN 1 AND 255 AND (p_fact).type IS NOT NULL AND (p_fact).body IS NOT NULL
        AND (p_fact).kind IN (
            'paid', 'failed', 'refunded', 'refund_failed', 'disputed', 'dispute_won', 'dispute_lost', 'look', 'other'
        )
    ) IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'event'), 'Nothing was kept.');
    END IF;
    INSERT INTO core.payment_events (
        provider, event_id, type, kind, payment_id, refund_id, amount, currency, reference, charge, item, reason, body
    )
    SELECT
        (p_fact).provider, (p_fact).event_id, left((p_fact).type, 255), (p_fact).kind, (p_fact).payment_id, (p_fact).refund_id,
        (p_fact).amount, left((p_fact).currency, 16), left((p_fact).reference, 255), left((p_fact).charge, 255),
        left((p_fact).item, 255), left((p_fact).reason, 255), (p_fact).body
    ON CONFLICT ON CONSTRAINT payment_events_pkey DO NOTHING;
    RETURN FOUND;
END;
$$;

COMMENT ON FUNCTION api.note_payment_event(api.payment_fact) IS
'Keeps an event of a provider whose signature was found right; false where it was kept before. It takes effect by api.settle_payment, in a transaction of its own.';
