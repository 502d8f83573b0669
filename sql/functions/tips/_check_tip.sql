-- _check_tip: what can be said against a tip before any wallet is locked.
-- Locks    nothing
-- Decides  sender, creator, message, context, key, stream, call
-- Writes   nothing
-- Errors   TS211 USER_NOT_FOUND, TS502 USER_SUSPENDED, TS212 CREATOR_NOT_FOUND, TS102 INVALID_AMOUNT,
--          TS108 MESSAGE_TOO_LONG, TS101 INVALID_REQUEST, TS106 IDEMPOTENCY_KEY_INVALID,
--          TS218 STREAM_NOT_FOUND, TS219 CALL_NOT_FOUND, TS508 NOT_CALL_PARTICIPANT (returned, not raised)
CREATE OR REPLACE FUNCTION core._check_tip(p_tip api.tip_request, p_sender_status text, p_creator_active boolean)
RETURNS core.refusal
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN p_sender_status IS NULL
            THEN ROW('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_tip.sender_id))::core.refusal
        WHEN p_sender_status <> 'active'
            THEN ROW('TS502', 'USER_SUSPENDED', jsonb_build_object('user_id', p_tip.sender_id))::core.refusal
        WHEN p_creator_active IS NOT TRUE
            THEN ROW('TS212', 'CREATOR_NOT_FOUND', jsonb_build_object('creator_id', p_tip.creator_id))::core.refusal
        WHEN p_tip.amount BETWEEN 1 AND 1000000000000000 IS NOT TRUE
            THEN ROW('TS102', 'INVALID_AMOUNT', jsonb_build_object('amount', p_tip.amount, 'minimum', 1, 'maximum', 1000000000000000))::core.refusal
        WHEN char_length(p_tip.message) > 500
            THEN ROW('TS108', 'MESSAGE_TOO_LONG', jsonb_build_object('length', char_length(p_tip.message), 'maximum', 500))::core.refusal
        WHEN p_tip.stream_id IS NOT NULL AND p_tip.call_id IS NOT NULL
            THEN ROW('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'context'))::core.refusal
        WHEN octet_length(p_tip.idempotency_key) NOT BETWEEN 1 AND 255
            THEN ROW('TS106', 'IDEMPOTENCY_KEY_INVALID', jsonb_build_object('bytes', octet_length(p_tip.idempotency_key), 'maximum_bytes', 255))::core.refusal
        WHEN p_tip.stream_id IS NOT NULL THEN core._tip_stream_refusal(p_tip.stream_id, p_tip.creator_id)
        WHEN p_tip.call_id IS NOT NULL THEN core._tip_call_refusal(p_tip.call_id, p_tip.creator_id, p_tip.sender_id)
    END
$$;

COMMENT ON FUNCTION core._check_tip(api.tip_request, text, boolean) IS
'The refusal of a tip that is malformed or whose sender or creator is not there; NULL when nothing speaks against it.';
