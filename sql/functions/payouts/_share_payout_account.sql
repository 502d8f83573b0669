-- _share_payout_account: an account that is not to be removed meanwhile.
-- Locks    the account, FOR SHARE
-- Decides  that it is p_user's
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._share_payout_account(p_account uuid, p_user uuid) RETURNS core.payout_accounts
LANGUAGE sql VOLATILE
AS $$
    SELECT a.* FROM core.payout_accounts AS a WHERE a.id = p_account AND a.user_id = p_user FOR SHARE
$$;

COMMENT ON FUNCTION core._share_payout_account(uuid, uuid) IS 'The account, if it is the user''s, removed or not; whoever removes it waits.';
