-- add_payout_account: where a user wants to be paid.
-- Locks    the accounts of the user (advisory, until the transaction ends), so that those added at once are counted
-- Decides  that the user may act and has fewer than 10
-- Writes   payout_accounts, audit_log 'payout_account.added'
-- Errors   TS101 INVALID_REQUEST, TS211 USER_NOT_FOUND, TS363 TOO_MANY_PAYOUT_ACCOUNTS, TS502 USER_SUSPENDED
CREATE OR REPLACE FUNCTION api.add_payout_account(
    p_account uuid,
    p_user uuid,
    p_provider text,
    p_currency text,
    p_masked text,
    p_key_id text,
    p_details bytea
) RETURNS SETOF api.payout_accounts
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c_accounts CONSTANT integer := 10;
    v_field text;
BEGIN
    IF NOT EXISTS (SELECT FROM core.users AS u WHERE u.id = p_user) THEN
        PERFORM core._raise('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_user), 'Nothing was done.');
    END IF;
    PERFORM core._check_actor(p_user);
    v_field := CASE
        WHEN p_account IS NULL THEN 'account_id'
        WHEN (p_provider IN ('stripe', 'paystack', 'manual')) IS NOT TRUE THEN 'provider'
        WHEN (p_currency ~ '^[A-Z]{3}$') IS NOT TRUE THEN 'currency'
        WHEN (octet_length(p_masked) BETWEEN 1 AND 100) IS NOT TRUE THEN 'masked'
        WHEN (p_key_id ~ '^[A-Za-z0-9._-]{1,32}$') IS NOT TRUE THEN 'key_id'
        WHEN (octet_length(p_details) BETWEEN 29 AND 8192) IS NOT TRUE THEN 'details'
    END;
    IF v_field IS NOT NULL THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', v_field), 'Nothing was added.');
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.payout_accounts.' || p_user::text, 0));
    IF (
        SELECT count(*) FROM core.payout_accounts AS a WHERE a.user_id = p_user AND a.removed_at IS NULL
    ) >= c_accounts THEN
        PERFORM core._raise(
            'TS363', 'TOO_MANY_PAYOUT_ACCOUNTS', jsonb_build_object('maximum', c_accounts), 'Remove one first.'
        );
    END IF;
    INSERT INTO core.payout_accounts (id, user_id, provider, currency, masked, key_id, details)
    VALUES (p_account, p_user, p_provider, p_currency, p_masked, p_key_id, p_details);
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (
        p_user, 'payout_account.added', p_account,
        jsonb_build_object('provider', p_provider, 'currency', p_currency, 'masked', p_masked)
    );
    RETURN QUERY SELECT a.* FROM api.payout_accounts AS a WHERE a.account_id = p_account;
END;
$$;

COMMENT ON FUNCTION api.add_payout_account(uuid, uuid, text, text, text, text, bytea) IS
'Adds an account that user p_user wants to be paid to. p_details is what the application encrypted with its key p_key_id, p_masked what is shown of it. That it is the user who asks is for the caller to know (password or code).';
