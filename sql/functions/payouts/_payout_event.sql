-- _payout_event: tell a payout's user what became of it.
-- Locks    nothing
-- Decides  nothing
-- Writes   outbox 'payout.<status>'
-- Errors   none
CREATE OR REPLACE FUNCTION core._payout_event(p_payout core.payouts, p_type text) RETURNS void
LANGUAGE sql VOLATILE
AS $$
    INSERT INTO core.outbox (type, channels, payload)
    VALUES (
        p_type, core._user_channels(p_payout.user_id, NULL),
        jsonb_build_object(
            'payout_id', p_payout.id, 'status', p_payout.status, 'reason', p_payout.reason, 'amount', p_payout.amount,
            'currency', p_payout.currency, 'money', p_payout.money, 'provider', p_payout.provider,
            'expected_at', p_payout.expected_at
        )
    )
$$;

COMMENT ON FUNCTION core._payout_event(core.payouts, text) IS
'Writes an event of a payout for its user alone: what somebody is paid is nobody else''s business, so it is in no channel that others follow.';
