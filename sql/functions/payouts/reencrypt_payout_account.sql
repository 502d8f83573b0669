-- reencrypt_payout_account: the same details under another key.
-- Locks    the account
-- Decides  only if it still is under the key it was read with
-- Writes   payout_accounts
-- Errors   none
CREATE OR REPLACE FUNCTION api.reencrypt_payout_account(p_account uuid, p_old_key_id text, p_key_id text, p_details bytea)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE core.payout_accounts AS a
    SET key_id = p_key_id, details = p_details
    WHERE a.id = p_account AND a.key_id = p_old_key_id;
    RETURN FOUND;
END;
$$;

COMMENT ON FUNCTION api.reencrypt_payout_account(uuid, text, text, bytea) IS
'Replaces the encrypted details of p_account, if they are under p_old_key_id still; whether they were. The scheduler does so after a change of keys.';
