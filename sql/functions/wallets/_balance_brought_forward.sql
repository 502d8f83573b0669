-- _balance_brought_forward: the balance of a wallet before its first entry that is still attached.
-- Errors   TS240 HISTORY_DETACHED
CREATE OR REPLACE FUNCTION core._balance_brought_forward(p_wallet core.wallets, p_at timestamptz, p_detached timestamptz)
RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_balance bigint;
    v_last timestamptz;
BEGIN
    SELECT b.balance, b.last_entry_at INTO v_balance, v_last FROM core.brought_forward AS b WHERE b.wallet_id = p_wallet.id;
    IF p_at < v_last THEN
        PERFORM core._raise(
            'TS240', 'HISTORY_DETACHED', jsonb_build_object('wallet_id', p_wallet.id, 'attached_from', p_detached),
            'Ask an operator to attach the months that are asked for.'
        );
    END IF;
    RETURN coalesce(v_balance, 0);
END;
$$;

COMMENT ON FUNCTION core._balance_brought_forward(core.wallets, timestamptz, timestamptz) IS
'What detached months left in a wallet, 0 where there are none; TS240 where the moment asked for is before the last entry of these.';
