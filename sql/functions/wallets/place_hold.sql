-- place_hold: set an amount of a wallet aside.
-- Locks    the wallet
-- Decides  status; that the amount is there without any overdraft, holds that have expired not counted
-- Writes   holds, wallets (held), idempotency_keys, outbox 'wallet.changed' and 'hold.placed'; holds that have
--          expired
-- Errors   TS101 INVALID_REQUEST, TS102 INVALID_AMOUNT, TS105 METADATA_TOO_LARGE, TS106 IDEMPOTENCY_KEY_INVALID,
--          TS109 INVALID_KIND, TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND, TS301 IDEMPOTENCY_KEY_REUSED,
--          TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS401 INSUFFICIENT_TOKENS, TS502 USER_SUSPENDED
CREATE OR REPLACE FUNCTION api.place_hold(
    p_wallet uuid,
    p_amount bigint,
    p_expires_in interval,
    p_key text DEFAULT NULL,
    p_kind text DEFAULT 'hold',
    p_reference text DEFAULT NULL,
    p_actor uuid DEFAULT NULL,
    p_metadata jsonb DEFAULT NULL
) RETURNS api.hold_receipt
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(
        p_key, record_send(ROW('hold'::text, p_wallet, p_amount, p_expires_in, p_kind, p_reference, p_metadata))
    );
    v_status CONSTANT text := (SELECT u.status FROM core.users AS u WHERE u.id = p_actor);
    v_refusal CONSTANT core.refusal := core._check_transfer(p_kind, p_reference, p_metadata, p_key, p_actor, v_status);
    v_stored jsonb;
    v_wallet core.wallets;
    v_spendable bigint;
    v_now timestamptz;
    v_hold core.holds;
    v_receipt api.hold_receipt;
BEGIN
    PERFORM core._lock_wallets(ARRAY[p_wallet]);

    v_stored := core._stored_result(p_actor, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN jsonb_populate_record(NULL::api.hold_receipt, v_stored || '{"replayed": true}');
    ELSIF v_refusal.error_code IS NOT NULL THEN
        PERFORM core._raise(v_refusal.error_code, v_refusal.error, v_refusal.detail, 'Nothing was held.');
    ELSIF (p_amount BETWEEN 1 AND 1000000000000000) IS NOT TRUE THEN
        PERFORM core._raise(
            'TS102', 'INVALID_AMOUNT',
            jsonb_build_object('amount', p_amount, 'minimum', 1, 'maximum', 1000000000000000), 'Nothing was held.'
        );
    ELSIF (p_expires_in > interval '0' AND p_expires_in <= interval '366 days') IS NOT TRUE THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'expires_in', 'maximum_seconds', 31622400),
            'A hold lasts more than nothing and at most 366 days.'
        );
    END IF;
    PERFORM core._expire_holds(ARRAY[p_wallet]);
    SELECT w.* INTO v_wallet FROM core.wallets AS w WHERE w.id = p_wallet;
    -- not on overdraft: a negative minimum counts as none
    v_spendable := v_wallet.balance - v_wallet.held - greatest(v_wallet.minimum, 0);
    IF v_wallet.id IS NULL THEN
        PERFORM core._raise('TS210', 'WALLET_NOT_FOUND', jsonb_build_object('wallet_id', p_wallet), 'Nothing was held.');
    ELSIF v_wallet.status <> 'active' THEN
        PERFORM core._raise(
            CASE v_wallet.status WHEN 'closed' THEN 'TS311' ELSE 'TS310' END,
            CASE v_wallet.status WHEN 'closed' THEN 'WALLET_CLOSED' ELSE 'WALLET_FROZEN' END,
            jsonb_build_object('wallet_id', p_wallet, 'wallet_status', v_wallet.status), 'Nothing was held.'
        );
    ELSIF v_spendable < p_amount THEN
        PERFORM core._raise(
            'TS401', 'INSUFFICIENT_TOKENS',
            jsonb_build_object(
                'required', p_amount, 'current', v_spendable, 'shortfall', p_amount - v_spendable,
                'asset', v_wallet.asset
            ),
            'Nothing was held. A hold never draws on an overdraft.'
        );
    END IF;

    v_now := clock_timestamp();
    v_receipt := ROW(
        core.uuid7(), p_wallet, 'open', p_amount, 0, p_amount, v_wallet.balance, v_spendable - p_amount, NULL,
        v_now + p_expires_in, v_now, false
    );
    UPDATE core.wallets AS w SET held = w.held + p_amount WHERE w.id = p_wallet;
    INSERT INTO core.holds (
        id, wallet_id, amount, created_at, expires_at, actor_id, asset, kind, db_user, reference, metadata
    )
    VALUES (
        v_receipt.hold_id, p_wallet, p_amount, v_now, v_receipt.expires_at, p_actor, v_wallet.asset, p_kind,
        CASE WHEN p_actor IS NULL THEN session_user END, p_reference, p_metadata
    )
    RETURNING * INTO v_hold;
    PERFORM core._store_result(p_actor, p_key, v_hash, to_jsonb(v_receipt));
    PERFORM core._wallet_event(p_wallet);
    INSERT INTO core.outbox (type, channels, payload)
    VALUES ('hold.placed', core._user_channels(v_wallet.owner_id, NULL), core._hold_payload(v_hold));
    RETURN v_receipt;
END;
$$;

COMMENT ON FUNCTION api.place_hold(uuid, bigint, interval, text, text, text, uuid, jsonb) IS
'Sets p_amount (minor units) of wallet p_wallet aside for p_expires_in (up to 366 days): it cannot be spent until api.capture_hold pays it out, api.release_hold gives it back, or it expires. Never on overdraft. p_key makes it safe to repeat. p_kind, p_reference, p_metadata as in api.transfer; p_actor: who asks, on whose authority is for the caller to know.';
