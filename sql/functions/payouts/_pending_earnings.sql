-- _pending_earnings: how much of what came into a wallet is not old enough to be paid out.
-- Locks    nothing
-- Decides  everything that came in within the last earnings_maturity days counts, bought, given or earned, but what was
--          given back to the wallet; less what was taken back of it since
-- Writes   nothing
-- Errors   TS210 WALLET_NOT_FOUND, TS240 HISTORY_DETACHED, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION core._pending_earnings(p_wallet uuid, p_asset text) RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_days CONSTANT integer := core._rate('earnings_maturity', p_asset);
    v_from timestamptz;
    v_seq bigint;
    v_pending bigint;
BEGIN
    IF v_days = 0 THEN
        RETURN 0;
    END IF;
    v_from := statement_timestamp() - make_interval(days => v_days);
    v_seq := (core._entry_at(p_wallet, v_from)).seq;
    -- the ids' bound leaves out months that are over: one month of entries is one partition
    SELECT coalesce(sum(t.amount - r.given_back), 0) INTO v_pending
    FROM core.entries AS e
    CROSS JOIN LATERAL (
        SELECT m.id, m.amount, m.kind FROM core.transfers AS m WHERE m.id = e.transfer_id LIMIT 1
    ) AS t
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(f.amount), 0) AS given_back FROM core.refunds AS f WHERE f.original_id = t.id
    ) AS r
    WHERE
        e.wallet_id = p_wallet AND e.seq > v_seq AND e.amount > 0 AND t.kind <> 'refund'
        AND e.transfer_id >= core._uuid_floor(date_trunc('month', v_from AT TIME ZONE 'UTC') AT TIME ZONE 'UTC');
    RETURN v_pending;
END;
$$;

COMMENT ON FUNCTION core._pending_earnings(uuid, text) IS
'Minor units that came into a wallet within the last earnings_maturity days and were not taken back; what was given back to it (kind refund) does not count. Spending takes the oldest first, so what can be paid out is what can be spent less this. Reads the entries of those days only, and none while the rate is 0.';
