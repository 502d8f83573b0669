-- _wallet_rows: wallets as they were opened, in the form that is sealed (docs/seals.md).
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._wallet_rows(p_from uuid, p_to uuid)
RETURNS TABLE (id uuid, owner_id uuid, purpose text, asset text, shard bigint, created_at timestamptz)
LANGUAGE sql STABLE
AS $$
    SELECT w.id, w.owner_id, w.purpose::text, w.asset, w.shard::bigint, w.created_at
    FROM core.wallets AS w
    WHERE w.id >= p_from AND w.id < p_to
$$;

COMMENT ON FUNCTION core._wallet_rows(uuid, uuid) IS 'Wallets with an id from p_from up to p_to: whose they are, and of what; nothing that changes with use.';
