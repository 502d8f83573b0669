-- _lock_wallets: the only place that locks wallets.
-- Locks    the wallets FOR NO KEY UPDATE, one after another in id order, so that two callers never wait in a circle
-- Decides  nothing
-- Writes   nothing
-- Errors   none; ids that do not exist are passed over
CREATE OR REPLACE FUNCTION core._lock_wallets(p_ids uuid []) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM
    FROM core.wallets AS w
    WHERE w.id = ANY (p_ids)
    ORDER BY w.id
    FOR NO KEY UPDATE;
END;
$$;

COMMENT ON FUNCTION core._lock_wallets(uuid []) IS
'Locks wallets in id order. Every money function locks its domain rows first, then calls this once, and only then reads what it decides by.';
