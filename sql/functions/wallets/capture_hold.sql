-- capture_hold: pay out what a hold set aside, whole or in part.
-- Locks    the hold's wallet and the payee's, in id order
-- Decides  that the hold is open and has as much left; then as core._post_transfers
-- Writes   holds, wallets, transfers, entries, captures, idempotency_keys, outbox 'transfer.posted', 'hold.captured'; other holds
--          of the wallet that have expired (core._expire_holds)
--          ('wallet.changed' is core._post_transfers', which writes the wallet last)
-- Errors   TS101 INVALID_REQUEST, TS102 INVALID_AMOUNT, TS103 ASSET_MISMATCH, TS104 SELF_TRANSFER, TS105 METADATA_TOO_LARGE,
--          TS106 IDEMPOTENCY_KEY_INVALID, TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND, TS215 HOLD_NOT_FOUND,
--          TS301 IDEMPOTENCY_KEY_REUSED, TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT,
--          TS316 HOLD_CLOSED, TS317 HOLD_EXCEEDED, TS362 HOLD_IN_USE, TS502 USER_SUSPENDED, TS601 VELOCITY_LIMIT
CREATE OR REPLACE FUNCTION api.capture_hold(
    p_hold uuid,
    p_to uuid,
    p_amount bigint DEFAULT NULL,
    p_close boolean DEFAULT false,
    p_key text DEFAULT NULL,
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
        p_key, record_send(ROW('capture'::text, p_hold, p_to, p_amount, p_close, p_reference, p_metadata))
    );
    v_status CONSTANT text := (SELECT u.status FROM core.users AS u WHERE u.id = p_actor);
    -- which wallet a hold is in never changes, so it may be read before the lock; the rest is read after it
    v_wallet_id CONSTANT uuid := (SELECT h.wallet_id FROM core.holds AS h WHERE h.id = p_hold);
    v_hold core.holds;
    v_refusal core.refusal := core._check_transfer('hold', p_reference, p_metadata, p_key, p_actor, v_status);
    v_stored jsonb;
    v_left bigint;
    v_amount bigint;
    v_returned bigint;
    v_result core.transfer_result;
    v_wallet core.wallets;
    v_receipt api.hold_receipt;
BEGIN
    PERFORM core._lock_wallets(ARRAY[v_wallet_id, p_to]);

    v_stored := core._stored_result(p_actor, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN jsonb_populate_record(NULL::api.hold_receipt, v_stored || '{"replayed": true}');
    END IF;
    -- before anything else changes, so that what is told of it is true
    PERFORM core._expire_holds(ARRAY[v_wallet_id]);
    SELECT h.* INTO v_hold FROM core.holds AS h WHERE h.id = p_hold;
    v_left := v_hold.amount - v_hold.captured - v_hold.released;
    v_amount := coalesce(p_amount, v_left);
    IF v_refusal.error_code IS NULL THEN
        v_refusal := core._hold_refusal(v_hold, p_hold, v_amount, v_left);
    END IF;
    IF v_refusal.error_code IS NOT NULL THEN
        PERFORM core._raise(v_refusal.error_code, v_refusal.error, v_refusal.detail, 'Nothing was captured.');
    END IF;
    v_returned := CASE WHEN p_close IS TRUE THEN v_left - v_amount ELSE 0 END;

    UPDATE core.holds AS h
    SET
        captured = h.captured + v_amount,
        released = h.released + v_returned,
        status = CASE WHEN v_amount + v_returned = v_left THEN 'captured' ELSE h.status END,
        closed_at = CASE WHEN v_amount + v_returned = v_left THEN clock_timestamp() END
    WHERE h.id = p_hold;
    -- what is captured is free for the transfer below, and for nobody else: the wallet is locked
    UPDATE core.wallets AS w
    SET
        held = w.held - v_amount - v_returned,
        debt = CASE WHEN w.debt > 0 THEN greatest(0, w.minimum + w.held - v_amount - v_returned - w.balance) ELSE 0 END
    WHERE w.id = v_wallet_id;
    v_result := (core._post_transfers(
        ARRAY[ROW(
            v_wallet_id, p_to, v_amount, v_hold.asset, v_hold.kind, coalesce(p_reference, v_hold.reference), p_actor, NULL,
            NULL, NULL, p_metadata, NULL
        )::core.transfer_request],
        NULL, false, true
    ))[1];
    IF v_result.error_code IS NOT NULL THEN
        PERFORM core._raise(v_result.error_code, v_result.error, v_result.detail, 'Nothing was captured.');
    END IF;
    INSERT INTO core.captures (hold_id, transfer_id, amount) VALUES (p_hold, v_result.transfer_id, v_amount);

    SELECT w.* INTO v_wallet FROM core.wallets AS w WHERE w.id = v_wallet_id;
    SELECT h.* INTO v_hold FROM core.holds AS h WHERE h.id = p_hold;
    v_receipt := core._hold_receipt(v_hold, v_wallet, v_result.transfer_id);
    PERFORM core._store_result(p_actor, p_key, v_hash, to_jsonb(v_receipt));
    INSERT INTO core.outbox (type, channels, payload)
    VALUES (
        'transfer.posted', core._user_channels(v_result.from_owner_id, v_result.to_owner_id),
        core._transfer_payload(
            v_result.transfer_id, v_wallet_id, p_to, v_amount, v_hold.asset, v_hold.kind,
            coalesce(p_reference, v_hold.reference), v_result.created_at
        )
    ), (
        'hold.captured', core._user_channels(v_wallet.owner_id, NULL),
        core._hold_payload(v_hold) || jsonb_build_object('transfer_id', v_result.transfer_id, 'paid', v_amount)
    );
    RETURN v_receipt;
END;
$$;

COMMENT ON FUNCTION api.capture_hold(uuid, uuid, bigint, boolean, text, text, uuid, jsonb) IS
'Pays p_amount (minor units; NULL: all that is left) of hold p_hold to wallet p_to. What is left stays held, for further captures, unless p_close gives it back. A hold that has expired or is closed is TS316. The transfer has the hold''s kind and, unless p_reference says otherwise, its reference. p_key makes it safe to repeat.';
