-- _refund_order: a refund as the provider is asked for it.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._refund_order(p_refund uuid, p_replayed boolean) RETURNS api.refund_order
LANGUAGE sql STABLE
AS $$
    SELECT ROW(
        r.id, r.payment_id, r.amount, r.tries, p.currency, p.provider, p.reference, p.charge, r.provider_refund, r.reason,
        p_replayed
    )::api.refund_order
    FROM core.payment_refunds AS r
    INNER JOIN core.payments AS p ON p.id = r.payment_id
    WHERE r.id = p_refund
$$;

COMMENT ON FUNCTION core._refund_order(uuid, boolean) IS 'A refund with what its provider has to know of the payment.';
