-- credit_with_referral: a reward for a user, and a match of it for whoever referred them.
-- Locks    the wallets of the user, the referrer and the rewards shard, in id order
-- Decides  the match by the rate `referral` (that of scope ambassador for an ambassador), rounded down to the asset's minor
--          unit; whether the referrer can take it; then as core._post_transfers, both linked
-- Writes   wallets, transfers (reward, referral), entries, idempotency_keys, outbox 'transfer.posted' for each
-- Errors   TS101 INVALID_REQUEST, TS102 INVALID_AMOUNT, TS106 IDEMPOTENCY_KEY_INVALID, TS210 WALLET_NOT_FOUND,
--          TS211 USER_NOT_FOUND, TS213 ASSET_NOT_FOUND, TS301 IDEMPOTENCY_KEY_REUSED, TS310 WALLET_FROZEN,
--          TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT, TS401 INSUFFICIENT_TOKENS, TS502 USER_SUSPENDED,
--          TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.credit_with_referral(
    p_user uuid,
    p_amount bigint,
    p_asset text,
    p_reason text,
    p_key text DEFAULT NULL,
    p_actor uuid DEFAULT NULL
) RETURNS api.referral_receipt
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(
        p_key, record_send(ROW('reward'::text, p_user, p_amount, p_asset, p_reason))
    );
    v_status CONSTANT text := (SELECT u.status FROM core.users AS u WHERE u.id = p_actor);
    v_refusal core.refusal := core._check_transfer('reward', p_reason, NULL, p_key, p_actor, v_status, p_own => true);
    v_user_id CONSTANT uuid := (SELECT u.id FROM core.users AS u WHERE u.id = p_user);
    v_wallet_id CONSTANT uuid := (SELECT w.id FROM core.wallets AS w WHERE w.owner_id = p_user AND w.asset = p_asset);
    v_referrer core.users;
    v_rewards_id uuid;
    v_match_wallet core.wallets;
    v_match bigint := 0;
    v_skipped text;
    v_stored jsonb;
    v_requests core.transfer_request[];
    v_results core.transfer_result[];
    v_receipt api.referral_receipt;
BEGIN
    IF p_reason IS NULL OR btrim(p_reason) = '' THEN
        v_refusal := ROW('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'reason'))::core.refusal;
    ELSIF v_user_id IS NULL THEN
        v_refusal := ROW('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_user))::core.refusal;
    END IF;
    IF v_refusal.error_code IS NULL THEN
        v_rewards_id := core._system_wallet('rewards', p_asset, p_user);
        SELECT r.* INTO v_referrer
        FROM core.users AS u
        INNER JOIN core.users AS r ON r.id = u.referred_by_id
        WHERE u.id = p_user;
        SELECT w.* INTO v_match_wallet FROM core.wallets AS w WHERE w.owner_id = v_referrer.id AND w.asset = p_asset;
    END IF;
    PERFORM core._lock_wallets(ARRAY[v_wallet_id, v_match_wallet.id, v_rewards_id]);

    v_stored := core._stored_result(p_actor, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN jsonb_populate_record(NULL::api.referral_receipt, v_stored || '{"replayed": true}');
    ELSIF v_refusal.error_code IS NOT NULL THEN
        PERFORM core._raise(v_refusal.error_code, v_refusal.error, v_refusal.detail, 'Nothing was credited.');
    END IF;
    SELECT w.* INTO v_match_wallet FROM core.wallets AS w WHERE w.id = v_match_wallet.id;
    IF v_referrer.id IS NOT NULL THEN
        -- once more than the whole is no match of anybody's; amounts out of range are refused below
        v_match := floor(least(greatest(p_amount, 0), 1000000000000000) * core._rate(
            'referral', p_asset, NULL, CASE WHEN 'ambassador' = ANY (v_referrer.roles) THEN 'ambassador' END
        ) / 10000);
    END IF;
    v_skipped := CASE
        WHEN v_referrer.id IS NULL THEN 'no_referrer'
        WHEN v_referrer.status <> 'active' THEN 'referrer_suspended'
        WHEN (v_match_wallet.status IN ('active', 'debits_frozen')
            AND v_match_wallet.lifetime_earned <= 9000000000000000000 - v_match) IS NOT TRUE THEN 'wallet_not_open'
        WHEN v_match = 0 THEN 'rounds_to_zero'
    END;
    v_requests := ARRAY[ROW(
        v_rewards_id, v_wallet_id, p_amount, p_asset, 'reward', p_reason, p_actor, NULL, NULL, 1, NULL, NULL
    )::core.transfer_request];
    IF v_skipped IS NULL THEN
        v_requests := v_requests || ROW(
            v_rewards_id, v_match_wallet.id, v_match, p_asset, 'referral', p_reason, p_actor, NULL, NULL, 1,
            jsonb_build_object('referred_id', p_user), NULL
        )::core.transfer_request;
    END IF;
    v_results := core._post_transfers(v_requests);
    IF (v_results[1]).error_code IS NOT NULL THEN
        PERFORM core._raise((v_results[1]).error_code, (v_results[1]).error, (v_results[1]).detail, 'Nothing was credited.');
    END IF;

    v_receipt := ROW(
        (v_results[1]).transfer_id, p_amount, (v_results[1]).to_balance, v_referrer.id, (v_results[2]).transfer_id,
        CASE WHEN v_skipped IS NULL THEN v_match ELSE 0 END, v_skipped, (v_results[1]).created_at, false
    );
    PERFORM core._store_result(p_actor, p_key, v_hash, to_jsonb(v_receipt));
    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'transfer.posted', core._user_channels(NULL, e.to_owner_id),
        core._transfer_payload(
            e.transfer_id, v_rewards_id, e.to_wallet_id, e.amount, p_asset, e.kind, p_reason, e.created_at
        )
    FROM (
        SELECT
            (v_results[g.i]).to_owner_id, (v_results[g.i]).transfer_id, (v_requests[g.i]).to_wallet_id,
            (v_requests[g.i]).amount, (v_requests[g.i]).kind, (v_results[g.i]).created_at
        FROM generate_subscripts(v_results, 1) AS g (i)
    ) AS e;
    RETURN v_receipt;
END;
$$;

COMMENT ON FUNCTION api.credit_with_referral(uuid, bigint, text, text, text, uuid) IS
'Credits p_amount (minor units of p_asset) from the system wallet rewards to user p_user, and in the same commit a match to whoever referred them: p_amount × rate `referral` (bps; that of scope ambassador for an ambassador) / 10000, rounded down to the minor unit, on top and not out of the user''s part. Where the referrer cannot take it, or it rounds to 0, the reward goes without, and match_skipped says why. p_key makes it safe to repeat.';
