-- _lock_buyers: all wallets that requests for tickets may move, where these take turns: the later ones must not wait for a
-- wallet that sorts before one which the first ones have locked.
-- Locks    the wallets of viewers and creators, and the revenue shards if there is a fee, in id order; callers hold the streams
-- Decides  nothing
-- Writes   nothing
-- Errors   TS213 ASSET_NOT_FOUND
CREATE OR REPLACE FUNCTION core._lock_buyers(p_cases core.ticket_case []) RETURNS uuid []
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM core._lock_wallets(ARRAY(
        SELECT v.id
        FROM unnest(p_cases) AS c
        CROSS JOIN LATERAL (VALUES
            (c.viewer_wallet_id), (c.creator_wallet_id),
            (CASE WHEN c.fee > 0 THEN core._system_wallet('revenue', 'TOKEN', c.viewer_id) END)
        ) AS v (id)
        WHERE c.price > 0
    ));
    RETURN ARRAY(SELECT DISTINCT c.creator_id FROM unnest(p_cases) AS c);
END;
$$;

COMMENT ON FUNCTION core._lock_buyers(core.ticket_case []) IS
'Locks the wallets of these requests in one go; returns the creators who may be paid.';
