-- claim_payments: payments the provider has to be asked about.
-- Locks    those payments; ones that somebody else has locked are passed over
-- Decides  each comes again later, twice as late each time, until an hour; ones that are long over never again
-- Writes   payments (check_at, checks)
-- Errors   none
CREATE OR REPLACE FUNCTION api.claim_payments(p_limit integer DEFAULT 20) RETURNS SETOF api.payment_order
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
    WITH due AS (
        SELECT p.ctid AS place
        FROM core.payments AS p
        WHERE p.check_at <= clock_timestamp()
        ORDER BY p.check_at
        LIMIT least(p_limit, 200)
        FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE core.payments AS p
        SET
            checks = p.checks + 1,
            check_at = CASE
                WHEN clock_timestamp() < p.expires_at + interval '7 days'
                    THEN clock_timestamp() + least(interval '15 seconds' * 2 ^ least(p.checks, 12), interval '1 hour')
            END
        WHERE p.ctid = ANY (ARRAY(SELECT d.place FROM due AS d))
        RETURNING p.*
    )
    SELECT o.*
    FROM claimed AS c
    CROSS JOIN LATERAL core._payment_order(ROW(c.*)::core.payments, false) AS o
$$;

COMMENT ON FUNCTION api.claim_payments(integer) IS
'Hands out payments that stay pending, oldest turn first, p_limit at most (200): whoever gets one asks its provider, outside of any transaction. Each is handed out again later unless it is settled.';
