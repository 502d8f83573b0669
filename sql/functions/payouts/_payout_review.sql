-- _payout_review: why a payout must wait for an operator.
-- Locks    nothing
-- Decides  the user's first payouts, large ones, those to a new account; NULL: none of these
-- Writes   nothing
-- Errors   TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION core._payout_review(p_account core.payout_accounts, p_amount bigint) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN CASE
        WHEN p_account.created_at > clock_timestamp() - make_interval(days => core._rate('payout_review_account', 'TOKEN')::integer)
            THEN 'new_account'
        WHEN p_amount > core._rate('payout_review_amount', 'TOKEN') THEN 'large_amount'
        WHEN core._rate('payout_review_first', 'TOKEN') > (
            SELECT count(*) FROM core.payouts AS p WHERE p.user_id = p_account.user_id AND p.status = 'paid'
        ) THEN 'first_payout'
    END;
END;
$$;

COMMENT ON FUNCTION core._payout_review(core.payout_accounts, bigint) IS
'new_account, large_amount or first_payout, by the rates payout_review_*; NULL for a payout that needs nobody''s eyes.';
