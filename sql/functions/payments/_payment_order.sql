-- _payment_order: a payment as its provider is told of it.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._payment_order(p_payment core.payments, p_replayed boolean) RETURNS api.payment_order
LANGUAGE sql STABLE
AS $$
    SELECT ROW(
        p_payment.id, p_payment.buyer_id, p_payment.package_id, p_payment.tokens, p_payment.amount, p_payment.created_at,
        p_payment.expires_at, p_payment.currency, p_payment.provider,
        (SELECT k.name FROM core.token_packages AS k WHERE k.id = p_payment.package_id),
        (SELECT u.email FROM core.users AS u WHERE u.id = p_payment.buyer_id),
        (
            SELECT c.customer FROM core.payment_customers AS c
            WHERE c.user_id = p_payment.buyer_id AND c.provider = p_payment.provider
        ),
        p_payment.reference, p_payment.charge, p_payment.checkout_url, p_payment.success_url, p_payment.cancel_url, p_replayed
    )::api.payment_order
$$;

COMMENT ON FUNCTION core._payment_order(core.payments, boolean) IS 'The row with what a provider has to know besides: the package''s name, the buyer''s e-mail address and their name at the provider.';
