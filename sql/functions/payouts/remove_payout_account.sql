-- remove_payout_account: a user no longer wants to be paid there.
-- Locks    the account, FOR NO KEY UPDATE
-- Decides  that it is the user's and not removed. Payouts that wait to be sent there are held by api.claim_payout; what is
--          with the provider goes on
-- Writes   payout_accounts, audit_log 'payout_account.removed'
-- Errors   TS211 USER_NOT_FOUND, TS261 PAYOUT_ACCOUNT_NOT_FOUND, TS502 USER_SUSPENDED
CREATE OR REPLACE FUNCTION api.remove_payout_account(p_account uuid, p_user uuid) RETURNS SETOF api.payout_accounts
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM core._check_actor(p_user);
    UPDATE core.payout_accounts AS a
    SET removed_at = clock_timestamp()
    WHERE a.id = p_account AND a.user_id = p_user AND a.removed_at IS NULL;
    IF NOT FOUND THEN
        PERFORM core._raise(
            'TS261', 'PAYOUT_ACCOUNT_NOT_FOUND', jsonb_build_object('account_id', p_account), 'Nothing was removed.'
        );
    END IF;
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (p_user, 'payout_account.removed', p_account, '{}');
    RETURN QUERY SELECT a.* FROM api.payout_accounts AS a WHERE a.account_id = p_account;
END;
$$;

COMMENT ON FUNCTION api.remove_payout_account(uuid, uuid) IS
'Removes account p_account of user p_user. A payout that has not been sent there is held (account_removed) when its turn comes. The row stays, for the books.';
