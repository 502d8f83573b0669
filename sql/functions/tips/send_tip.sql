-- send_tip: tip a creator. The batch of one.
-- Locks    the wallets of sender and creator, and a revenue shard if there is a fee, in id order
-- Decides  as api.send_tips
-- Writes   wallets, transfers (tip, fee), entries, idempotency_keys, tips, stream_totals, outbox 'tip.sent'
-- Errors   TS101 INVALID_REQUEST, TS102 INVALID_AMOUNT, TS104 SELF_TRANSFER, TS106 IDEMPOTENCY_KEY_INVALID,
--          TS108 MESSAGE_TOO_LONG, TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND, TS212 CREATOR_NOT_FOUND,
--          TS218 STREAM_NOT_FOUND, TS219 CALL_NOT_FOUND, TS301 IDEMPOTENCY_KEY_REUSED, TS310 WALLET_FROZEN, TS311 WALLET_CLOSED,
--          TS314 BALANCE_LIMIT, TS401 INSUFFICIENT_TOKENS, TS502 USER_SUSPENDED, TS508 NOT_CALL_PARTICIPANT, TS601 VELOCITY_LIMIT, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.send_tip(
    p_sender uuid,
    p_creator uuid,
    p_amount bigint,
    p_key text DEFAULT NULL,
    p_message text DEFAULT NULL,
    p_stream uuid DEFAULT NULL,
    p_call uuid DEFAULT NULL,
    OUT tip_id uuid,
    OUT amount bigint,
    OUT creator_cut bigint,
    OUT platform_fee bigint,
    OUT new_balance bigint,
    OUT created_at timestamptz,
    OUT replayed boolean
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_tip api.tip_outcome;
BEGIN
    SELECT t.* INTO v_tip
    FROM api.send_tips(ARRAY[ROW(p_sender, p_creator, p_amount, p_key, p_message, p_stream, p_call)::api.tip_request]) AS t;
    IF v_tip.error_code IS NOT NULL THEN
        PERFORM core._raise(v_tip.error_code, v_tip.error, v_tip.detail, 'No tip was sent.');
    END IF;
    tip_id := v_tip.tip_id;
    amount := v_tip.amount;
    creator_cut := v_tip.creator_cut;
    platform_fee := v_tip.platform_fee;
    new_balance := v_tip.new_balance;
    created_at := v_tip.created_at;
    replayed := v_tip.replayed;
END;
$$;

COMMENT ON FUNCTION api.send_tip(uuid, uuid, bigint, text, text, uuid, uuid) IS
'Tips creator p_creator with p_amount tokens from user p_sender; returns the tip, who got what, and the sender''s balance after it. p_key makes it safe to repeat; p_message up to 500 characters; p_stream or p_call says where it was sent.';
