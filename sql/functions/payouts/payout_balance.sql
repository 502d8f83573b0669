-- payout_balance: what of a user's tokens can be paid out now.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   TS210 WALLET_NOT_FOUND, TS240 HISTORY_DETACHED, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.payout_balance(
    p_user uuid,
    OUT pending bigint,
    OUT payable bigint,
    OUT in_payouts bigint,
    OUT minimum bigint,
    OUT maturity_days integer
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    v_wallet uuid;
    v_free bigint;
BEGIN
    SELECT b.wallet_id, b.spendable INTO v_wallet, v_free FROM api.wallet_balances(p_user) AS b WHERE b.asset = 'TOKEN';
    IF v_wallet IS NULL THEN
        PERFORM core._raise('TS210', 'WALLET_NOT_FOUND', jsonb_build_object('user_id', p_user, 'asset', 'TOKEN'), 'Look it up in api.wallets.');
    END IF;
    -- never on overdraft
    v_free := v_free + (SELECT least(w.minimum, 0) FROM core.wallets AS w WHERE w.id = v_wallet);
    pending := core._pending_earnings(v_wallet, 'TOKEN');
    payable := greatest(v_free - pending, 0);
    minimum := core._rate('minimum_payout', 'TOKEN');
    maturity_days := core._rate('earnings_maturity', 'TOKEN');
    SELECT coalesce(sum(p.amount), 0)::bigint INTO in_payouts
    FROM core.payouts AS p
    WHERE p.user_id = p_user AND p.status IN ('requested', 'held', 'processing');
END;
$$;

COMMENT ON FUNCTION api.payout_balance(uuid) IS
'Of the tokens of user p_user: pending (came in less than maturity_days ago), payable (can be asked for now, if it is the minimum at least), in_payouts (on their way).';
