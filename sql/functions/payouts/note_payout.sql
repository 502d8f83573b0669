-- note_payout: what a provider said of a payout, where that settles nothing.
-- Locks    the payout
-- Decides  who has taken it: what a former taker says is kept out
-- Writes   payout_reports, payouts (next_at; sending_at where it can be sent again)
-- Errors   TS101 INVALID_REQUEST, TS260 PAYOUT_NOT_FOUND
CREATE OR REPLACE FUNCTION api.note_payout(
    p_payout uuid,
    p_lease uuid,
    p_state text,
    p_again_in interval,
    p_reference text DEFAULT NULL,
    p_amount bigint DEFAULT NULL,
    p_currency text DEFAULT NULL,
    p_reason text DEFAULT NULL
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_payout CONSTANT core.payouts := core._lock_payout(p_payout);
BEGIN
    IF (p_state IN ('unknown', 'not_sent', 'not_found', 'pending', 'paid', 'failed')) IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'state'), 'Nothing was noted.');
    ELSIF v_payout.lease IS DISTINCT FROM p_lease OR v_payout.status NOT IN ('processing', 'paid') THEN
        RETURN false;
    END IF;
    INSERT INTO core.payout_reports AS r (payout_id, state, reference, amount, currency, reason, reported_at)
    VALUES (p_payout, p_state, left(p_reference, 255), p_amount, p_currency, left(p_reason, 500), clock_timestamp())
    ON CONFLICT (payout_id) DO UPDATE SET
        state = excluded.state, reference = coalesce(excluded.reference, r.reference),
        amount = coalesce(excluded.amount, r.amount), currency = coalesce(excluded.currency, r.currency),
        reason = excluded.reason, reported_at = excluded.reported_at;
    UPDATE core.payouts AS p
    SET
        next_at = CASE
            WHEN p.status = 'processing' THEN clock_timestamp() + p_again_in
            WHEN clock_timestamp() < p.paid_at + make_interval(days => core._rate('payout_watch')::integer)
                THEN clock_timestamp() + greatest(p_again_in, interval '1 hour')
        END,
        provider_reference = coalesce(left(p_reference, 255), p.provider_reference),
        sending_at = CASE WHEN p_state IN ('not_sent', 'not_found') AND p.status = 'processing' THEN NULL ELSE p.sending_at END
    WHERE p.id = p_payout;
    RETURN true;
END;
$$;

COMMENT ON FUNCTION api.note_payout(uuid, uuid, text, interval, text, bigint, text, text) IS
'Notes what was heard of a payout (or that nothing was: unknown) and when it is due again. After not_sent and not_found, and only then, it is sent when it is due. False, and nothing noted, where p_lease is no longer the payout''s. p_amount in ten-thousandths of p_currency.';
