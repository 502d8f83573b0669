-- _hold_refusal: why an open hold cannot be captured or released.
-- Locks    nothing; called when the hold's wallet is locked
-- Decides  that it exists, is open by status and clock, belongs to no payout, and has as much left
-- Writes   nothing
-- Errors   TS102 INVALID_AMOUNT, TS215 HOLD_NOT_FOUND, TS316 HOLD_CLOSED, TS317 HOLD_EXCEEDED,
--          TS362 HOLD_IN_USE (returned, not raised)
CREATE OR REPLACE FUNCTION core._hold_refusal(p_hold core.holds, p_id uuid, p_amount bigint, p_left bigint)
RETURNS core.refusal
LANGUAGE sql VOLATILE
AS $$
    SELECT CASE
        WHEN p_hold.id IS NULL
            THEN ROW('TS215', 'HOLD_NOT_FOUND', jsonb_build_object('hold_id', p_id))::core.refusal
        WHEN p_hold.status <> 'open' OR p_hold.expires_at <= clock_timestamp()
            THEN ROW('TS316', 'HOLD_CLOSED', jsonb_build_object(
                'hold_id', p_id, 'hold_status', CASE p_hold.status WHEN 'open' THEN 'expired' ELSE p_hold.status END,
                'expires_at', p_hold.expires_at
            ))::core.refusal
        -- its own functions have moved the payout on by then
        WHEN p_hold.kind = 'payout' AND EXISTS (
            SELECT FROM core.payouts AS p WHERE p.hold_id = p_hold.id AND p.status IN ('requested', 'held')
        )
            THEN ROW('TS362', 'HOLD_IN_USE', jsonb_build_object('hold_id', p_id, 'kind', p_hold.kind))::core.refusal
        WHEN p_amount < 1
            THEN ROW('TS102', 'INVALID_AMOUNT', jsonb_build_object(
                'amount', p_amount, 'minimum', 1, 'maximum', 1000000000000000
            ))::core.refusal
        WHEN p_amount > p_left
            THEN ROW('TS317', 'HOLD_EXCEEDED', jsonb_build_object(
                'hold_id', p_id, 'requested', p_amount, 'remaining', p_left
            ))::core.refusal
    END
$$;

COMMENT ON FUNCTION core._hold_refusal(core.holds, uuid, bigint, bigint) IS
'The refusal of a capture or release of p_amount; NULL when nothing speaks against it.';
