-- _expire_holds: give back what holds of some wallets set aside and no longer may.
-- Locks    nothing; called when the wallets are locked
-- Decides  which holds are past their time, by the clock
-- Writes   holds, wallets (held, debt), outbox 'wallet.changed' and 'hold.expired'
-- Errors   none
CREATE OR REPLACE FUNCTION core._expire_holds(p_wallets uuid []) RETURNS integer
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_count integer;
BEGIN
    WITH due AS MATERIALIZED (
        UPDATE core.holds AS h
        SET status = 'expired', released = h.amount - h.captured, closed_at = clock_timestamp()
        WHERE h.wallet_id = ANY (p_wallets) AND h.status = 'open' AND h.expires_at <= clock_timestamp()
        RETURNING h.wallet_id, h.amount - h.captured AS given_back, core._hold_payload(h) AS payload
    ), per_wallet AS MATERIALIZED (
        SELECT d.wallet_id, sum(d.given_back)::bigint AS given_back FROM due AS d GROUP BY d.wallet_id
    ), wallet AS (
        UPDATE core.wallets AS w
        SET
            held = w.held - p.given_back,
            debt = CASE WHEN w.debt > 0 THEN greatest(0, w.minimum + w.held - p.given_back - w.balance) ELSE 0 END
        FROM per_wallet AS p
        WHERE w.id = p.wallet_id
        RETURNING w.id, w.owner_id, core._wallet_payload(w.id, w.asset, w.balance, w.held, w.minimum, w.version, 0) AS payload
    ), event AS (
        INSERT INTO core.outbox (type, channels, payload)
        SELECT 'wallet.changed', core._user_channels(w.owner_id, NULL), w.payload
        FROM wallet AS w
        WHERE w.owner_id IS NOT NULL
        UNION ALL
        SELECT 'hold.expired', core._user_channels(w.owner_id, NULL), d.payload
        FROM due AS d
        INNER JOIN wallet AS w ON w.id = d.wallet_id
    )
    SELECT count(*) INTO v_count FROM due;
    RETURN v_count;
END;
$$;

COMMENT ON FUNCTION core._expire_holds(uuid []) IS
'Closes the holds of these locked wallets that are past expires_at and gives back what they set aside; how many there were.';
