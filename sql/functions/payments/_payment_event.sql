-- _payment_event: the buyer hears of their payment.
-- Locks    nothing
-- Decides  nothing
-- Writes   outbox
-- Errors   none
CREATE OR REPLACE FUNCTION core._payment_event(p_type text, p_payment uuid) RETURNS void
LANGUAGE sql VOLATILE
AS $$
    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        p_type, ARRAY['user:' || p.buyer_id::text],
        to_jsonb(p) - 'reference' - 'charge' - 'buyer_id'
    FROM api.payments AS p
    WHERE p.payment_id = p_payment
$$;

COMMENT ON FUNCTION core._payment_event(text, uuid) IS 'Writes the event p_type with the payment as it is now, without the provider''s names.';
