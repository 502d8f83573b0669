-- _payout_event: tell a payout's user what became of it, and operators of those that wait for one.
-- Locks    nothing
-- Decides  nothing
-- Writes   outbox 'payout.<status>'; of 'payout.held' operators hear too
-- Errors   none
CREATE OR REPLACE FUNCTION core._payout_event(p_type text, p_payout core.payouts) RETURNS void
LANGUAGE sql VOLATILE
AS $$
    INSERT INTO core.outbox (type, channels, payload)
    VALUES (
        p_type,
        array_remove(
            ARRAY[
                'user:' || p_payout.user_id::text,
                (
                    SELECT 'creator:' || u.id::text FROM core.users AS u
                    WHERE u.id = p_payout.user_id AND 'creator' = ANY (u.roles)
                ),
                CASE WHEN p_type = 'payout.held' THEN 'ops' END
            ],
            NULL
        ),
        jsonb_build_object(
            'payout_id', p_payout.id, 'user_id', p_payout.user_id, 'status', p_payout.status, 'reason', p_payout.reason,
            'amount', p_payout.amount, 'currency', p_payout.currency, 'payout_amount', p_payout.payout_amount,
            'provider', p_payout.provider, 'expected_at', p_payout.expected_at
        )
    )
$$;

COMMENT ON FUNCTION core._payout_event(text, core.payouts) IS
'Writes an event of a payout, for its user alone: to user:<id>, and to creator:<id> where they are a creator, both of which nobody else may follow. Of one that is held operators hear too (ops).';
