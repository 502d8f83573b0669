-- _take_back: part of a transfer goes back to where it came from; what the payee has spent, they owe.
-- Locks    both wallets, in id order
-- Decides  as core._post_transfers, which lets the payee go into debt
-- Writes   wallets, transfers (refund), entries, refunds, outbox 'transfer.refunded'
-- Errors   TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT
CREATE OR REPLACE FUNCTION core._take_back(
    p_transfer uuid,
    p_amount bigint,
    p_reason text,
    p_actor uuid,
    OUT transfer_id uuid,
    OUT owed bigint
)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_original core.transfers;
    v_result core.transfer_result;
BEGIN
    SELECT t.* INTO v_original FROM core.transfers AS t WHERE t.id = p_transfer;
    v_result := (core._post_transfers(
        ARRAY[ROW(
            v_original.to_wallet_id, v_original.from_wallet_id, p_amount, v_original.asset, 'refund', p_reason, p_actor, NULL,
            NULL, NULL, jsonb_build_object('refund_of', p_transfer), NULL
        )::core.transfer_request],
        NULL, false, true
    ))[1];
    IF v_result.error_code IS NOT NULL THEN
        PERFORM core._raise(v_result.error_code, v_result.error, v_result.detail, 'Nothing was taken back.');
    END IF;
    transfer_id := v_result.transfer_id;
    SELECT least(p_amount, greatest(0, w.minimum + w.held - v_result.from_balance)) INTO owed
    FROM core.wallets AS w
    WHERE w.id = v_original.to_wallet_id;
    INSERT INTO core.refunds (original_id, transfer_id, amount, owed, policy, reason, created_at)
    VALUES (p_transfer, v_result.transfer_id, p_amount, owed, 'create_debt', p_reason, v_result.created_at);
    INSERT INTO core.outbox (type, channels, payload)
    VALUES (
        'transfer.refunded', core._user_channels(v_result.from_owner_id, v_result.to_owner_id),
        core._transfer_payload(
            v_result.transfer_id, v_original.to_wallet_id, v_original.from_wallet_id, p_amount, v_original.asset, 'refund',
            p_reason, v_result.created_at
        ) || jsonb_build_object('original_id', p_transfer)
    );
END;
$$;

COMMENT ON FUNCTION core._take_back(uuid, bigint, text, uuid) IS
'Takes back p_amount of transfer p_transfer, of which the caller knows that so much is left; the part that the payee had spent is their debt.';
