-- _hold_payload: what subscribers are told of a hold.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._hold_payload(p_hold core.holds) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT jsonb_build_object(
        'hold_id', p_hold.id, 'wallet_id', p_hold.wallet_id, 'asset', p_hold.asset, 'status', p_hold.status,
        'amount', p_hold.amount, 'captured', p_hold.captured, 'released', p_hold.released, 'kind', p_hold.kind,
        'reference', p_hold.reference, 'expires_at', p_hold.expires_at
    )
$$;

COMMENT ON FUNCTION core._hold_payload(core.holds) IS 'Payload of the events hold.placed, hold.captured (with the transfer), hold.released and hold.expired: the hold as it is now.';
