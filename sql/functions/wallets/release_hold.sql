-- release_hold: give back what a hold still sets aside.
-- Locks    the hold's wallet
-- Decides  that the hold is open
-- Writes   holds, wallets (held), idempotency_keys, outbox 'wallet.changed' and 'hold.released'
-- Errors   TS106 IDEMPOTENCY_KEY_INVALID, TS211 USER_NOT_FOUND, TS215 HOLD_NOT_FOUND, TS301 IDEMPOTENCY_KEY_REUSED,
--          TS316 HOLD_CLOSED, TS502 USER_SUSPENDED
CREATE OR REPLACE FUNCTION api.release_hold(p_hold uuid, p_key text DEFAULT NULL, p_actor uuid DEFAULT NULL)
RETURNS api.hold_receipt
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(p_key, record_send(ROW('release'::text, p_hold)));
    v_wallet_id CONSTANT uuid := (SELECT h.wallet_id FROM core.holds AS h WHERE h.id = p_hold);
    v_hold core.holds;
    v_refusal core.refusal;
    v_stored jsonb;
    v_left bigint;
    v_wallet core.wallets;
    v_receipt api.hold_receipt;
BEGIN
    PERFORM core._lock_wallets(ARRAY[v_wallet_id]);

    v_stored := core._stored_result(p_actor, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN jsonb_populate_record(NULL::api.hold_receipt, v_stored || '{"replayed": true}');
    END IF;
    PERFORM core._check_actor(p_actor);
    SELECT h.* INTO v_hold FROM core.holds AS h WHERE h.id = p_hold;
    v_left := v_hold.amount - v_hold.captured - v_hold.released;
    v_refusal := core._hold_refusal(v_hold, p_hold, v_left, v_left);
    IF v_refusal.error_code IS NOT NULL THEN
        PERFORM core._raise(v_refusal.error_code, v_refusal.error, v_refusal.detail, 'Nothing was released.');
    END IF;

    UPDATE core.holds AS h
    SET status = 'released', released = h.released + v_left, closed_at = clock_timestamp()
    WHERE h.id = p_hold
    RETURNING h.* INTO v_hold;
    UPDATE core.wallets AS w
    SET
        held = w.held - v_left,
        debt = CASE WHEN w.debt > 0 THEN greatest(0, w.minimum + w.held - v_left - w.balance) ELSE 0 END
    WHERE w.id = v_wallet_id
    RETURNING w.* INTO v_wallet;
    v_receipt := core._hold_receipt(v_hold, v_wallet, NULL);
    PERFORM core._store_result(p_actor, p_key, v_hash, to_jsonb(v_receipt));
    PERFORM core._wallet_event(v_wallet_id);
    INSERT INTO core.outbox (type, channels, payload)
    VALUES ('hold.released', core._user_channels(v_wallet.owner_id, NULL), core._hold_payload(v_hold));
    RETURN v_receipt;
END;
$$;

COMMENT ON FUNCTION api.release_hold(uuid, text, uuid) IS
'Gives back what hold p_hold still sets aside and closes it. One that has expired or is closed is TS316. p_key makes it safe to repeat.';
