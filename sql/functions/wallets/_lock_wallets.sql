-- _lock_wallets: the only place that locks wallets.
-- Locks    the wallets FOR NO KEY UPDATE, one after another in id order, so that two callers never wait in a circle
-- Returns  their rows as of the locks, column by column; ids that do not exist are missing from it
CREATE OR REPLACE FUNCTION core._lock_wallets(p_ids uuid []) RETURNS core.locked_wallets
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_locked core.locked_wallets;
BEGIN
    SELECT
        array_agg(w.id), array_agg(w.owner_id), array_agg(w.balance), array_agg(w.minimum + w.held),
        array_agg(w.lifetime_earned), array_agg(w.version), array_agg(w.asset), array_agg(w.status),
        max(w.last_entry_at)
    INTO v_locked
    FROM (
        SELECT
            k.id, k.owner_id, k.balance, k.minimum, k.held, k.lifetime_earned, k.version, k.asset, k.status,
            k.last_entry_at
        FROM core.wallets AS k
        WHERE k.id = ANY (p_ids)
        ORDER BY k.id
        FOR NO KEY UPDATE
    ) AS w;
    RETURN v_locked;
END;
$$;

COMMENT ON FUNCTION core._lock_wallets(uuid []) IS
'Locks wallets in id order and returns them as of the locks. Every money function locks its domain rows first, then calls this once.';
