-- wallet_balances: what a user has.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.wallet_balances(p_user uuid)
RETURNS TABLE (
    wallet_id uuid, asset text, scale smallint, balance bigint, held bigint, spendable bigint, lifetime_earned bigint,
    lifetime_spent bigint, status text
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
    SELECT
        w.id, w.asset, a.scale, w.balance, h.held, w.balance - h.held - w.minimum, w.lifetime_earned, w.lifetime_spent, w.status::text
    FROM core.wallets AS w
    INNER JOIN core.assets AS a ON a.code = w.asset
    CROSS JOIN LATERAL (
        SELECT
            w.held - CASE
                WHEN w.held > 0 THEN (
                    SELECT coalesce(sum(o.amount - o.captured - o.released), 0)
                    FROM core.holds AS o
                    WHERE o.wallet_id = w.id AND o.status = 'open' AND o.expires_at <= now()
                )
                ELSE 0
            END::bigint AS held
    ) AS h
    WHERE w.owner_id = p_user
    ORDER BY w.asset
$$;

COMMENT ON FUNCTION api.wallet_balances(uuid) IS
'The wallets of a user, one row an asset; amounts in minor units (10^-scale of the asset). held counts the holds that have not expired; spendable = balance - held - minimum, below zero while a debt is open. No rows for an unknown user.';
