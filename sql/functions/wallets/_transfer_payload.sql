-- _transfer_payload: what subscribers are told of a transfer.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._transfer_payload(
    p_transfer_id uuid,
    p_from_wallet_id uuid,
    p_to_wallet_id uuid,
    p_amount bigint,
    p_asset text,
    p_kind text,
    p_reference text,
    p_created_at timestamptz
) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT jsonb_build_object(
        'transfer_id', p_transfer_id, 'from_wallet_id', p_from_wallet_id, 'to_wallet_id', p_to_wallet_id,
        'amount', p_amount, 'asset', p_asset, 'kind', p_kind, 'reference', p_reference, 'created_at', p_created_at
    )
$$;

COMMENT ON FUNCTION core._transfer_payload(uuid, uuid, uuid, bigint, text, text, text, timestamptz) IS
'Payload of the events transfer.posted and transfer.refunded (with the original). Names no balance: both sides get it.';
