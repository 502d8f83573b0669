-- claim_payment_refunds: refunds the provider has to be asked for.
-- Locks    those refunds; ones that somebody else has locked are passed over
-- Decides  each comes again later, twice as late each time, until an hour
-- Writes   payment_refunds (due_at, tries)
-- Errors   none
CREATE OR REPLACE FUNCTION api.claim_payment_refunds(p_limit integer DEFAULT 20) RETURNS SETOF api.refund_order
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
    WITH due AS (
        SELECT r.ctid AS place
        FROM core.payment_refunds AS r
        WHERE r.due_at <= clock_timestamp()
        ORDER BY r.due_at
        LIMIT least(p_limit, 200)
        FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE core.payment_refunds AS r
        SET
            tries = r.tries + 1,
            due_at = clock_timestamp() + least(interval '30 seconds' * 2 ^ least(r.tries, 12), interval '1 hour')
        WHERE r.ctid = ANY (ARRAY(SELECT d.place FROM due AS d))
        RETURNING r.id, r.tries
    )
    -- what is claimed here is not in the table yet for core._refund_order
    SELECT
        o.refund_id, o.payment_id, o.amount, c.tries, o.currency, o.provider, o.reference, o.charge, o.provider_refund, o.reason,
        o.replayed
    FROM claimed AS c
    CROSS JOIN LATERAL core._refund_order(c.id, false) AS o
$$;

COMMENT ON FUNCTION api.claim_payment_refunds(integer) IS
'Hands out refunds that the provider has not confirmed, p_limit at most (200): whoever gets one asks for it with its id as idempotency key, outside of any transaction. Each is handed out again later unless it is closed.';
