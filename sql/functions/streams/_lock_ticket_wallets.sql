-- _lock_ticket_wallets: the wallets that giving back all tickets of some streams will touch.
-- Locks    the wallets of their viewers and creators, and the revenue shards, in id order; called when the streams are locked
-- Errors   none
CREATE OR REPLACE FUNCTION core._lock_ticket_wallets(p_streams uuid []) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    -- all at once: what was given back already is summed up under their locks
    PERFORM core._lock_wallets(ARRAY(
        SELECT DISTINCT x.id
        FROM core.tickets AS t
        INNER JOIN core.transfers AS p ON p.id = t.transfer_id
        CROSS JOIN LATERAL (
            VALUES (p.from_wallet_id), (p.to_wallet_id), (CASE WHEN t.platform_fee > 0 THEN core._system_wallet('revenue', p.asset, t.viewer_id) END)
        ) AS x (id)
        WHERE t.stream_id = ANY (p_streams) AND t.refunded_at IS NULL
    ));
END;
$$;

COMMENT ON FUNCTION core._lock_ticket_wallets(uuid []) IS
'Locks, in id order, every wallet that takes part when the tickets of these locked streams are given back.';
