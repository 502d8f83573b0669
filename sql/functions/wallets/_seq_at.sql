-- _seq_at: how many entries a wallet had at a moment.
-- Locks    nothing
-- Decides  by binary search over seq (time never runs backwards in a wallet), so that no index on time is needed
-- Writes   nothing
-- Errors   TS210 WALLET_NOT_FOUND
CREATE OR REPLACE FUNCTION core._seq_at(p_wallet uuid, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_low bigint := 0;
    v_high bigint;
    v_middle bigint;
    v_at timestamptz;
BEGIN
    SELECT w.version INTO v_high FROM core.wallets AS w WHERE w.id = p_wallet;
    IF v_high IS NULL THEN
        PERFORM core._raise('TS210', 'WALLET_NOT_FOUND', jsonb_build_object('wallet_id', p_wallet), 'Look it up in api.wallets.');
    END IF;
    -- the last entry at or before p_at is in (v_low, v_high]; 63 steps at most
    WHILE v_low < v_high LOOP
        v_middle := v_low + (v_high - v_low + 1) / 2;
        SELECT e.created_at INTO v_at FROM core.entries AS e WHERE e.wallet_id = p_wallet AND e.seq = v_middle;
        IF v_at <= p_at THEN
            v_low := v_middle;
        ELSE
            v_high := v_middle - 1;
        END IF;
    END LOOP;
    RETURN v_low;
END;
$$;

COMMENT ON FUNCTION core._seq_at(uuid, timestamptz) IS
'seq of the last entry of a wallet with created_at <= p_at; 0 before its first. TS210 for an unknown wallet.';
