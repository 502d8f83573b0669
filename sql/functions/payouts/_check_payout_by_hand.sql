-- _check_payout_by_hand: whether an operator may say what became of a payout.
-- Locks    nothing
-- Decides  an operator, not the one who is paid; a payout that a provider may have is the provider's to tell of, until
--          payout_override days have passed since it was sent
-- Writes   nothing
-- Errors   TS211 USER_NOT_FOUND, TS361 PAYOUT_WITH_PROVIDER, TS502 USER_SUSPENDED, TS503 SAME_PERSON, TS504 FORBIDDEN,
--          TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION core._check_payout_by_hand(p_payout core.payouts, p_actor uuid) RETURNS void
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    PERFORM core._check_operator(p_actor, p_payout.user_id);
    IF
        p_actor IS NOT NULL AND p_payout.provider <> 'manual' AND p_payout.status IN ('processing', 'paid')
        AND p_payout.processing_at + make_interval(days => core._rate('payout_override')::integer) > clock_timestamp()
    THEN
        PERFORM core._raise(
            'TS361', 'PAYOUT_WITH_PROVIDER',
            jsonb_build_object(
                'payout_id', p_payout.id, 'provider', p_payout.provider,
                'from', p_payout.processing_at + make_interval(days => core._rate('payout_override')::integer)
            ),
            'The provider is asked about it; by hand it can be closed from then on.'
        );
    END IF;
END;
$$;

COMMENT ON FUNCTION core._check_payout_by_hand(core.payouts, uuid) IS
'Raises when p_actor is named and may not say what became of the payout; nothing where none is named (then it is a scheduler, or a database login).';
