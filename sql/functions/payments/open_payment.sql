-- open_payment: a user wants to buy a package. Comes before anything is asked of the provider.
-- Locks    the idempotency key (advisory, until the transaction ends)
-- Decides  that the buyer may act and the package is on sale; amount and tokens are the package's
-- Writes   payments, idempotency_keys
-- Errors   TS101 INVALID_REQUEST, TS106 IDEMPOTENCY_KEY_INVALID, TS211 USER_NOT_FOUND, TS250 PACKAGE_NOT_FOUND,
--          TS301 IDEMPOTENCY_KEY_REUSED, TS502 USER_SUSPENDED, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.open_payment(
    p_buyer uuid,
    p_package uuid,
    p_provider text,
    p_success_url text,
    p_cancel_url text,
    p_key text DEFAULT NULL
) RETURNS api.payment_order
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(
        p_key, record_send(ROW('payment'::text, p_package, p_provider, p_success_url, p_cancel_url))
    );
    v_now CONSTANT timestamptz := clock_timestamp();
    v_field CONSTANT text := CASE
        WHEN p_buyer IS NULL THEN 'buyer_id'
        WHEN (p_provider IN ('stripe', 'paystack', 'paypal', 'sandbox')) IS NOT TRUE THEN 'provider'
        WHEN (octet_length(p_success_url) BETWEEN 1 AND 2000) IS NOT TRUE THEN 'success_url'
        WHEN (octet_length(p_cancel_url) BETWEEN 1 AND 2000) IS NOT TRUE THEN 'cancel_url'
    END;
    v_stored jsonb;
    v_package core.token_packages;
    v_payment core.payments;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.key.' || p_buyer::text || p_key, 0));
    v_stored := core._stored_result(p_buyer, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        SELECT p.* INTO v_payment FROM core.payments AS p WHERE p.id = (v_stored ->> 'payment_id')::uuid;
        RETURN core._payment_order(v_payment, true);
    ELSIF v_field IS NOT NULL THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', v_field), 'Nothing was opened.');
    END IF;
    PERFORM core._check_actor(p_buyer);
    SELECT k.* INTO v_package FROM core.token_packages AS k WHERE k.id = p_package;
    IF v_package.id IS NULL OR v_package.active_from > v_now OR v_package.active_to <= v_now THEN
        PERFORM core._raise(
            'TS250', 'PACKAGE_NOT_FOUND', jsonb_build_object('package_id', p_package), 'Choose one that is on sale.'
        );
    END IF;
    INSERT INTO core.payments (
        id, buyer_id, package_id, tokens, amount, currency, provider, created_at, expires_at, check_at, success_url, cancel_url
    )
    VALUES (
        core.uuid7(), p_buyer, p_package, v_package.tokens + v_package.bonus, v_package.price, v_package.currency, p_provider,
        v_now, v_now + make_interval(secs => least(core._rate('payment_valid'), 2592000)::integer), v_now + interval '1 minute',
        p_success_url, p_cancel_url
    )
    RETURNING * INTO v_payment;
    PERFORM core._store_result(p_buyer, p_key, v_hash, jsonb_build_object('payment_id', v_payment.id));
    RETURN core._payment_order(v_payment, false);
END;
$$;

COMMENT ON FUNCTION api.open_payment(uuid, uuid, text, text, text, text) IS
'Opens a payment of user p_buyer for package p_package by p_provider (stripe, paystack, paypal, sandbox) and returns it as the provider has to be told of it, with the payment''s id as idempotency key. Nothing is paid yet. Repeating p_key returns the same payment, with checkout_url once it is known.';
