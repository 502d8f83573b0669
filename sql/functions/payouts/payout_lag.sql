-- payout_lag: how payouts stand, for metrics.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.payout_lag(
    OUT lag interval, OUT requested bigint, OUT held bigint, OUT processing bigint, OUT unknown bigint, OUT tokens bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
    SELECT
        greatest(clock_timestamp() - (SELECT min(d.next_at) FROM core.payouts AS d WHERE d.next_at IS NOT NULL), interval '0'),
        count(*) FILTER (WHERE p.status = 'requested'),
        count(*) FILTER (WHERE p.status = 'held'),
        count(*) FILTER (WHERE p.status = 'processing'),
        count(*) FILTER (WHERE p.status = 'processing' AND r.state = 'unknown'),
        coalesce(sum(p.amount), 0)::bigint
    FROM core.payouts AS p
    LEFT JOIN core.payout_reports AS r ON r.payout_id = p.id
    WHERE p.status IN ('requested', 'held', 'processing')
$$;

COMMENT ON FUNCTION api.payout_lag() IS
'Age of the payout that is due longest (NULL: none is watched), how many are requested, held, processing, and processing with an unknown outcome, and the tokens in all of them.';
