-- start_payment: the provider has made a checkout of it.
-- Locks    the payment
-- Decides  what is known already stays
-- Writes   payments, payment_customers
-- Errors   TS251 PAYMENT_NOT_FOUND
CREATE OR REPLACE FUNCTION api.start_payment(
    p_payment uuid,
    p_reference text,
    p_checkout_url text,
    p_customer text DEFAULT NULL
) RETURNS api.payment_order
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_payment core.payments;
BEGIN
    UPDATE core.payments AS p
    SET reference = coalesce(p.reference, p_reference), checkout_url = coalesce(p.checkout_url, p_checkout_url)
    WHERE p.id = p_payment
    RETURNING * INTO v_payment;
    IF v_payment.id IS NULL THEN
        PERFORM core._raise('TS251', 'PAYMENT_NOT_FOUND', jsonb_build_object('payment_id', p_payment), 'Nothing was changed.');
    END IF;
    IF p_customer IS NOT NULL THEN
        INSERT INTO core.payment_customers (user_id, provider, customer)
        VALUES (v_payment.buyer_id, v_payment.provider, p_customer)
        ON CONFLICT ON CONSTRAINT payment_customers_pkey DO NOTHING;
    END IF;
    RETURN core._payment_order(v_payment, false);
END;
$$;

COMMENT ON FUNCTION api.start_payment(uuid, text, text, text) IS
'Notes what the provider answered to payment p_payment: its own name of the checkout, where the buyer pays, and what it calls the buyer. The first answer stays.';
