-- claim_payout: a scheduler takes the next payout that is due.
-- Locks    the payout, passing over those that others have; then its wallet and payout_clearing, in id order
-- Decides  whether it may be sent (the user, the wallet's debt, the account, the hold; a refusal of the ledger holds it),
--          and whether the provider may have heard of it
-- Writes   payouts; when it is sent for the first time holds, wallets, transfers, entries, captures; outbox
--          'transfer.posted', 'hold.captured', 'payout.processing', or 'payout.held', or 'payout.cancelled'
-- Errors   TS210 WALLET_NOT_FOUND, TS213 ASSET_NOT_FOUND, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.claim_payout(p_lease interval DEFAULT '2 minutes') RETURNS api.payout_task
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_payout core.payouts;
    v_account core.payout_accounts;
    v_lease CONSTANT uuid := gen_random_uuid();
    v_refusal text;
    v_action text;
BEGIN
    SELECT p.* INTO v_payout
    FROM core.payouts AS p
    WHERE p.next_at <= clock_timestamp()
    ORDER BY p.next_at
    LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED;
    IF v_payout.id IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT a.* INTO v_account FROM core.payout_accounts AS a WHERE a.id = v_payout.account_id;

    IF v_payout.status IN ('requested', 'held') THEN
        v_refusal := core._take_payout(v_payout, v_account);
        SELECT p.* INTO v_payout FROM core.payouts AS p WHERE p.id = v_payout.id;
        v_action := CASE WHEN v_refusal IS NOT NULL THEN v_payout.status WHEN v_payout.provider = 'manual' THEN 'queued' END;
    END IF;
    IF v_action IS NULL THEN
        v_action := CASE WHEN v_payout.sending_at IS NULL THEN 'send' ELSE 'ask' END;
        UPDATE core.payouts AS p
        SET
            next_at = clock_timestamp() + p_lease, lease = v_lease, attempts = least(p.attempts + 1, 1000000000),
            sending_at = coalesce(p.sending_at, clock_timestamp())
        WHERE p.id = v_payout.id
        RETURNING p.* INTO v_payout;
    END IF;
    RETURN ROW(
        v_payout.id, v_action, v_lease, v_payout.user_id, v_payout.account_id, v_payout.provider, v_account.key_id,
        CASE WHEN v_action IN ('send', 'ask') THEN v_account.details END, v_payout.payout_amount, v_payout.currency,
        v_payout.provider_reference, v_payout.sending_at, v_payout.attempts, v_payout.status
    )::api.payout_task;
END;
$$;

COMMENT ON FUNCTION api.claim_payout(interval) IS
'Takes the payout that is due longest and is nobody''s, for p_lease; of all that runs beside it nobody else gets it meanwhile. The caller commits, does what action says, and reports by api.settle_payout, api.fail_payout or api.note_payout. One whose taker died is due again when the lease is over, and its provider is asked then, not told.';
