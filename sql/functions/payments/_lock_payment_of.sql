-- _lock_payment_of: the payment that an event is about.
-- Locks    the payment
-- Decides  by the id it carries, else by the charge, else by the checkout; always one of the same provider
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._lock_payment_of(p_event core.payment_events) RETURNS core.payments
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_id uuid := p_event.payment_id;
    v_payment core.payments;
BEGIN
    IF v_id IS NULL THEN
        v_id := (
            SELECT p.id FROM core.payments AS p
            WHERE p.provider = p_event.provider AND p.charge = p_event.charge
            ORDER BY p.id LIMIT 1
        );
    END IF;
    IF v_id IS NULL THEN
        v_id := (
            SELECT p.id FROM core.payments AS p
            WHERE p.provider = p_event.provider AND p.reference = p_event.reference
            ORDER BY p.id LIMIT 1
        );
    END IF;
    SELECT p.* INTO v_payment FROM core.payments AS p WHERE p.id = v_id AND p.provider = p_event.provider FOR NO KEY UPDATE;
    RETURN v_payment;
END;
$$;

COMMENT ON FUNCTION core._lock_payment_of(core.payment_events) IS 'The payment that an event is about, locked; all NULL where there is none.';
