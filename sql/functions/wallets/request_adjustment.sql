-- request_adjustment: ask for a movement by hand; somebody else must approve it.
-- Locks    the idempotency key (advisory, until the transaction ends)
-- Decides  the form of the request; what it may move is decided when it is approved
-- Writes   adjustments, idempotency_keys, audit_log and outbox 'adjustment.requested'
-- Errors   TS101 INVALID_REQUEST, TS102 INVALID_AMOUNT, TS103 ASSET_MISMATCH, TS104 SELF_TRANSFER,
--          TS106 IDEMPOTENCY_KEY_INVALID, TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND, TS301 IDEMPOTENCY_KEY_REUSED,
--          TS502 USER_SUSPENDED, TS504 FORBIDDEN, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.request_adjustment(
    p_from uuid,
    p_to uuid,
    p_amount bigint,
    p_reason text,
    p_key text DEFAULT NULL,
    p_actor uuid DEFAULT NULL
) RETURNS SETOF api.adjustments
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(
        p_key, record_send(ROW('adjustment'::text, p_from, p_to, p_amount, p_reason))
    );
    v_from core.wallets;
    v_to core.wallets;
    v_stored jsonb;
    v_id uuid;
    v_now timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.key.' || coalesce(p_actor, core._database_actor())::text || p_key, 0));
    v_stored := core._stored_result(p_actor, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN QUERY SELECT a.* FROM api.adjustments AS a WHERE a.adjustment_id = (v_stored ->> 'adjustment_id')::uuid;
        RETURN;
    END IF;
    PERFORM core._check_admin(p_actor);
    SELECT w.* INTO v_from FROM core.wallets AS w WHERE w.id = p_from;
    SELECT w.* INTO v_to FROM core.wallets AS w WHERE w.id = p_to;
    PERFORM core._check_reason(p_reason);
    IF (p_amount BETWEEN 1 AND 1000000000000000) IS NOT TRUE THEN
        PERFORM core._raise(
            'TS102', 'INVALID_AMOUNT',
            jsonb_build_object('amount', p_amount, 'minimum', 1, 'maximum', 1000000000000000), 'Nothing was asked for.'
        );
    ELSIF v_from.id IS NULL OR v_to.id IS NULL THEN
        PERFORM core._raise(
            'TS210', 'WALLET_NOT_FOUND',
            jsonb_build_object('wallet_id', CASE WHEN v_from.id IS NULL THEN p_from ELSE p_to END), 'Nothing was asked for.'
        );
    ELSIF p_from = p_to THEN
        PERFORM core._raise('TS104', 'SELF_TRANSFER', jsonb_build_object('wallet_id', p_from), 'Nothing was asked for.');
    ELSIF v_from.asset <> v_to.asset THEN
        PERFORM core._raise(
            'TS103', 'ASSET_MISMATCH', jsonb_build_object('from_asset', v_from.asset, 'to_asset', v_to.asset),
            'Nothing was asked for.'
        );
    END IF;
    v_now := clock_timestamp();
    INSERT INTO core.adjustments (
        from_wallet_id, to_wallet_id, amount, asset, reason, requested_by, requested_db_user, created_at, expires_at
    )
    VALUES (
        p_from, p_to, p_amount, v_from.asset, p_reason, p_actor, session_user, v_now,
        v_now + make_interval(days => least(core._rate('adjustment_valid'), 36500)::integer)
    )
    RETURNING id INTO v_id;
    PERFORM core._store_result(p_actor, p_key, v_hash, jsonb_build_object('adjustment_id', v_id));
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (
        p_actor, 'adjustment.requested', v_id,
        jsonb_build_object('from_wallet_id', p_from, 'to_wallet_id', p_to, 'amount', p_amount, 'asset', v_from.asset, 'reason', p_reason)
    );
    PERFORM core._adjustment_event('adjustment.requested', v_id);
    RETURN QUERY SELECT a.* FROM api.adjustments AS a WHERE a.adjustment_id = v_id;
END;
$$;

COMMENT ON FUNCTION api.request_adjustment(uuid, uuid, bigint, text, text, uuid) IS
'Asks for p_amount (minor units) to be moved by hand from wallet p_from to wallet p_to. Nothing moves until somebody else calls api.approve_adjustment, within the rate adjustment_valid (days). p_reason is required. p_key makes it safe to repeat; the adjustment is returned as it is now.';
