-- statement_summary: what a statement begins and ends with.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   TS210 WALLET_NOT_FOUND (core._seq_at)
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
    FROM (
        SELECT
            core._seq_at(p_wallet, p_from - interval '1 microsecond') AS first,
            core._seq_at(p_wallet, p_to - interval '1 microsecond') AS last
    ) AS s
    CROSS JOIN LATERAL (SELECT api.balance_at_seq(p_wallet, s.first) AS balance) AS o
    CROSS JOIN LATERAL (
        SELECT
            (sum(d.amount) FILTER (WHERE d.amount > 0))::bigint AS credits,
            (- sum(d.amount) FILTER (WHERE d.amount < 0))::bigint AS debits,
            count(*) AS entries
        FROM core.entries AS d
        WHERE d.wallet_id = p_wallet AND d.seq > s.first AND d.seq <= s.last
    ) AS e
$$;

COMMENT ON FUNCTION api.statement_summary(uuid, timestamptz, timestamptz) IS
'Opening balance of a wallet at p_from, its credits, debits (as a positive number) and number of entries from p_from (inclusive) to p_to (exclusive), and the closing balance, which is opening + credits - debits. Minor units.';
