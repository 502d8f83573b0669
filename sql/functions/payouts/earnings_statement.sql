-- earnings_statement: what a user earned and was paid in a year.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   TS101 INVALID_REQUEST, TS210 WALLET_NOT_FOUND, TS240 HISTORY_DETACHED
CREATE OR REPLACE FUNCTION api.earnings_statement(p_user uuid, p_year integer)
RETURNS TABLE (month date, kind text, count bigint, amount bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET enable_seqscan = off
AS $$
DECLARE
    v_wallet CONSTANT uuid := (SELECT w.id FROM core.wallets AS w WHERE w.owner_id = p_user AND w.asset = 'TOKEN');
    v_from timestamptz;
    v_to timestamptz;
    v_before bigint;
BEGIN
    IF (p_year BETWEEN 2000 AND 9998) IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'year'), 'A year from 2000 on.');
    ELSIF v_wallet IS NULL THEN
        PERFORM core._raise('TS210', 'WALLET_NOT_FOUND', jsonb_build_object('user_id', p_user, 'asset', 'TOKEN'), 'Look it up in api.wallets.');
    END IF;
    v_from := make_timestamptz(p_year, 1, 1, 0, 0, 0, 'UTC');
    v_to := make_timestamptz(p_year + 1, 1, 1, 0, 0, 0, 'UTC');
    v_before := (core._entry_at(v_wallet, v_from - interval '1 microsecond')).seq;
    RETURN QUERY
    SELECT
        date_trunc('month', e.created_at)::date,
        CASE WHEN t.kind = 'refund' THEN 'refund.' || coalesce(o.kind, 'unknown') ELSE t.kind END,
        count(*),
        sum(e.amount)::bigint
    FROM core.entries AS e
    CROSS JOIN LATERAL (SELECT m.kind, m.id FROM core.transfers AS m WHERE m.id = e.transfer_id LIMIT 1) AS t
    LEFT JOIN core.refunds AS r ON t.kind = 'refund' AND r.transfer_id = t.id
    LEFT JOIN LATERAL (SELECT m.kind FROM core.transfers AS m WHERE m.id = r.original_id LIMIT 1) AS o ON true
    WHERE
        e.wallet_id = v_wallet AND e.seq > v_before
        AND e.created_at >= v_from AND e.created_at < v_to
        AND e.transfer_id >= core._uuid_floor(v_from) AND e.transfer_id < core._uuid_floor(v_to)
    GROUP BY 1, 2
    ORDER BY 1, 2;
END;
$$;

COMMENT ON FUNCTION api.earnings_statement(uuid, integer) IS
'What moved in the tokens of user p_user in the year p_year (UTC), by month and kind: positive came in, negative went out. What undoes something has its kind behind refund.: refund.tip was taken back of tips, refund.payout came back of payouts.';
