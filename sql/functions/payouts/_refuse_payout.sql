-- _refuse_payout: what is asked for does not fit the state a payout is in.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   TS360 PAYOUT_STATE
CREATE OR REPLACE FUNCTION core._refuse_payout(p_payout core.payouts, p_hint text) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM core._raise(
        'TS360', 'PAYOUT_STATE',
        jsonb_build_object('payout_id', p_payout.id, 'payout_status', p_payout.status, 'reason', p_payout.reason), p_hint
    );
END;
$$;

COMMENT ON FUNCTION core._refuse_payout(core.payouts, text) IS 'Raises TS360 with the state of the payout.';
