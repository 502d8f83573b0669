-- _give_tokens: tokens of a payment move from issuance to its buyer.
-- Locks    one shard of issuance and the buyer's wallet, in id order; the payment is locked
-- Decides  as core._post_transfers
-- Writes   wallets, transfers (purchase, purchase_restored), entries, payment_transfers; the payment's event tells of it
-- Errors   TS210 WALLET_NOT_FOUND, TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT, TS401 INSUFFICIENT_TOKENS
CREATE OR REPLACE FUNCTION core._give_tokens(p_payment core.payments, p_tokens bigint, p_kind text) RETURNS core.transfer_result
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_wallet CONSTANT uuid := (
        SELECT w.id FROM core.wallets AS w WHERE w.owner_id = p_payment.buyer_id AND w.asset = 'TOKEN'
    );
    v_result core.transfer_result;
BEGIN
    v_result := (core._post_transfers(ARRAY[ROW(
        core._system_wallet('issuance', 'TOKEN', p_payment.id), v_wallet, p_tokens, 'TOKEN', p_kind, p_payment.id::text,
        NULL, NULL, NULL, NULL, jsonb_build_object('payment_id', p_payment.id, 'provider', p_payment.provider), NULL
    )::core.transfer_request]))[1];
    IF v_result.error_code IS NOT NULL THEN
        PERFORM core._raise(v_result.error_code, v_result.error, v_result.detail, 'No tokens were given.');
    END IF;
    INSERT INTO core.payment_transfers (payment_id, transfer_id, tokens, kind)
    VALUES (
        p_payment.id, v_result.transfer_id, p_tokens, CASE p_kind WHEN 'purchase' THEN 'purchase' ELSE 'restoration' END
    );
    RETURN v_result;
END;
$$;

COMMENT ON FUNCTION core._give_tokens(core.payments, bigint, text) IS
'Gives p_tokens of a payment to its buyer: kind purchase when it is paid, purchase_restored when what was taken back returns.';
