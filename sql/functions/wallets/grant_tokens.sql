-- grant_tokens: mint into a user's wallet, out of the issuance wallet.
-- Locks    one shard of the issuance wallet and the user's wallet, in id order
-- Decides  that the user exists; then as core._post_transfers
-- Writes   wallets, transfers, entries, idempotency_keys, outbox 'transfer.posted', audit_log 'tokens.granted'
-- Errors   TS101 INVALID_REQUEST, TS102 INVALID_AMOUNT, TS106 IDEMPOTENCY_KEY_INVALID, TS210 WALLET_NOT_FOUND,
--          TS211 USER_NOT_FOUND, TS213 ASSET_NOT_FOUND, TS301 IDEMPOTENCY_KEY_REUSED, TS310 WALLET_FROZEN,
--          TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT, TS401 INSUFFICIENT_TOKENS, TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.grant_tokens(
    p_user uuid,
    p_amount bigint,
    p_reason text,
    p_key text DEFAULT NULL,
    p_actor uuid DEFAULT NULL,
    p_asset text DEFAULT 'TOKEN',
    OUT transfer_id uuid,
    OUT new_balance bigint,
    OUT created_at timestamptz,
    OUT replayed boolean
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_to uuid := (SELECT w.id FROM core.wallets AS w WHERE w.owner_id = p_user AND w.asset = p_asset);
    v_status text := (SELECT u.status FROM core.users AS u WHERE u.id = p_actor);
    v_refusal core.refusal := core._check_transfer('grant', p_reason, NULL, p_key, p_actor, v_status);
    v_from uuid;
    v_result core.transfer_result;
BEGIN
    IF p_reason IS NULL OR btrim(p_reason) = '' THEN
        v_refusal := ROW('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'reason'))::core.refusal;
    ELSIF NOT EXISTS (SELECT FROM core.users AS u WHERE u.id = p_user) THEN
        v_refusal := ROW('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_user))::core.refusal;
    ELSIF v_refusal.error_code IS NULL AND EXISTS (SELECT FROM core.users AS u WHERE u.id = p_actor AND NOT 'admin' = ANY (u.roles)) THEN
        v_refusal := ROW('TS504', 'FORBIDDEN', jsonb_build_object('user_id', p_actor, 'role', 'admin'))::core.refusal;
    END IF;
    v_from := CASE WHEN v_refusal IS NULL THEN core._system_wallet('issuance', p_asset, p_user) END;
    v_result := (core._post_transfers(
        ARRAY[ROW(
            v_from, v_to, p_amount, p_asset, 'grant', p_reason, p_actor, p_key,
            core._request_hash(p_key, record_send(ROW('grant'::text, p_user, p_amount, p_asset, p_reason))),
            NULL, NULL, NULL
        )::core.transfer_request],
        ARRAY[v_refusal]
    ))[1];
    IF v_result.error_code IS NOT NULL THEN
        PERFORM core._raise(v_result.error_code, v_result.error, v_result.detail, 'Nothing was granted.');
    END IF;
    IF NOT v_result.replayed THEN
        INSERT INTO core.outbox (type, channels, payload)
        VALUES (
            'transfer.posted', core._user_channels(NULL, p_user),
            core._transfer_payload(
                v_result.transfer_id, v_from, v_to, p_amount, p_asset, 'grant', p_reason, v_result.created_at
            )
        );
        INSERT INTO core.audit_log (actor_id, action, subject_id, details)
        VALUES (
            p_actor, 'tokens.granted', p_user,
            jsonb_build_object('transfer_id', v_result.transfer_id, 'amount', p_amount, 'asset', p_asset, 'reason', p_reason)
        );
    END IF;
    transfer_id := v_result.transfer_id;
    new_balance := v_result.to_balance;
    created_at := v_result.created_at;
    replayed := v_result.replayed;
END;
$$;

COMMENT ON FUNCTION api.grant_tokens(uuid, bigint, text, text, uuid, text) IS
'Mints p_amount (minor units of p_asset) into the wallet of user p_user, from the system wallet issuance, which goes below zero by as much. An operator''s act: p_reason is required and it is written to the audit log. Repeating p_key grants once.';
