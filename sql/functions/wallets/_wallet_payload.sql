-- _wallet_payload: what the owner of a wallet is told when it has changed.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._wallet_payload(
    p_wallet_id uuid,
    p_asset text,
    p_balance bigint,
    p_held bigint,
    p_minimum bigint,
    p_version bigint,
    p_change bigint
) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT jsonb_build_object(
        'wallet_id', p_wallet_id, 'asset', p_asset, 'balance', p_balance, 'held', p_held,
        'spendable', p_balance - p_held - p_minimum, 'version', p_version, 'change', p_change
    )
$$;

COMMENT ON FUNCTION core._wallet_payload(uuid, text, bigint, bigint, bigint, bigint, bigint) IS
'Payload of the event wallet.changed: the wallet as it is now, and by how much its balance is another.';
