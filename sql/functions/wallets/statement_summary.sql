-- statement_summary: what a statement begins and ends with.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   TS210 WALLET_NOT_FOUND, TS240 HISTORY_DETACHED (core._entry_at)
CREATE OR REPLACE FUNCTION api.statement_summary(
    p_wallet uuid,
    p_from timestamptz,
    p_to timestamptz,
    OUT opening_balance bigint,
    OUT credits bigint,
    OUT debits bigint,
    OUT entries bigint,
    OUT closing_balance bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
    SELECT
        o.balance, coalesce(e.credits, 0), coalesce(e.debits, 0), coalesce(e.entries, 0),
        o.balance + coalesce(e.credits, 0) - coalesce(e.debits, 0)
    FROM core._entry_at(p_wallet, greatest(p_from, '2000-01-01') - interval '1 microsecond') AS o
    CROSS JOIN core._entry_at(p_wallet, greatest(coalesce(p_to, 'infinity'), '2000-01-01') - interval '1 microsecond') AS c
    CROSS JOIN core._month_bounds(p_from, p_to) AS m
    CROSS JOIN LATERAL (
        SELECT
            (sum(d.amount) FILTER (WHERE d.amount > 0))::bigint AS credits,
            (- sum(d.amount) FILTER (WHERE d.amount < 0))::bigint AS debits,
            count(*) AS entries
        FROM core.entries AS d
        WHERE
            d.wallet_id = p_wallet AND d.seq > o.seq AND d.seq <= c.seq
            AND d.transfer_id >= m.low AND d.transfer_id < m.high
    ) AS e
$$;

COMMENT ON FUNCTION api.statement_summary(uuid, timestamptz, timestamptz) IS
'Opening balance of a wallet at p_from, its credits, debits (as a positive number) and number of entries from p_from (inclusive) to p_to (exclusive), and the closing balance, which is opening + credits - debits. Minor units. NULL: no limit.';
