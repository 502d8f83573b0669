-- expire_holds: close holds that are past their time. The scheduler's part: whoever spends from a wallet does it for that one.
-- Locks    the wallets of up to p_limit such holds, in id order
-- Decides  which holds are past expires_at, by the clock, after the locks
-- Writes   holds, wallets (held, debt), outbox 'hold.expired'
-- Errors   none
CREATE OR REPLACE FUNCTION api.expire_holds(p_limit integer DEFAULT 500) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_wallets uuid[];
BEGIN
    SELECT array_agg(DISTINCT d.wallet_id) INTO v_wallets
    FROM (
        SELECT h.wallet_id
        FROM core.holds AS h
        WHERE h.status = 'open' AND h.expires_at <= clock_timestamp()
        ORDER BY h.expires_at
        LIMIT least(greatest(coalesce(p_limit, 500), 1), 5000)
    ) AS d;
    IF v_wallets IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM core._lock_wallets(v_wallets);
    RETURN core._expire_holds(v_wallets);
END;
$$;

COMMENT ON FUNCTION api.expire_holds(integer) IS
'Closes holds past their expires_at, p_limit or so of them (up to 5000), the longest due first; returns how many. Nobody has to wait for it: an expired hold never stands in the way of a payment, a hold or a capture.';
