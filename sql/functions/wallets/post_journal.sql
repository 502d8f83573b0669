-- post_journal: movements that happen together or not at all, between any wallets, in any number of assets.
-- Locks    all wallets of the legs, in id order
-- Decides  kind and reference of each leg; then as core._post_transfers, all legs linked
-- Writes   wallets, transfers, entries, idempotency_keys, outbox 'transfer.posted' for each leg
-- Errors   TS101 INVALID_REQUEST, TS102 INVALID_AMOUNT, TS103 ASSET_MISMATCH, TS104 SELF_TRANSFER, TS105 METADATA_TOO_LARGE,
--          TS106 IDEMPOTENCY_KEY_INVALID, TS107 BATCH_TOO_LARGE, TS109 INVALID_KIND, TS210 WALLET_NOT_FOUND,
--          TS211 USER_NOT_FOUND, TS301 IDEMPOTENCY_KEY_REUSED, TS310 WALLET_FROZEN, TS311 WALLET_CLOSED,
--          TS314 BALANCE_LIMIT, TS401 INSUFFICIENT_TOKENS, TS502 USER_SUSPENDED, TS601 VELOCITY_LIMIT
CREATE OR REPLACE FUNCTION api.post_journal(
    p_legs api.journal_leg [],
    p_key text DEFAULT NULL,
    p_actor uuid DEFAULT NULL,
    p_metadata jsonb DEFAULT NULL,
    p_event_at timestamptz DEFAULT NULL
) RETURNS SETOF api.journal_entry
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_status CONSTANT text := (SELECT u.status FROM core.users AS u WHERE u.id = p_actor);
    v_hash CONSTANT bytea := core._request_hash(
        p_key, record_send(ROW('journal'::text, p_legs::text, p_metadata, p_event_at))
    );
    v_requests core.transfer_request[];
    v_refusals core.refusal[];
    v_results core.transfer_result[];
    v_refusal core.transfer_result;
    v_stored jsonb;
    v_ids uuid[];
BEGIN
    IF coalesce(cardinality(p_legs), 0) = 0 THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'legs'), 'A journal has at least one leg.');
    END IF;
    SELECT array_agg(l.from_wallet_id) || array_agg(l.to_wallet_id) INTO v_ids FROM unnest(p_legs) AS l;
    PERFORM core._lock_wallets(v_ids);
    v_stored := core._stored_result(p_actor, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN QUERY
        SELECT
            e.leg, e.transfer_id, e.from_wallet_id, e.to_wallet_id, e.amount, e.asset, e.from_balance, e.to_balance,
            e.created_at, true
        FROM jsonb_populate_recordset(NULL::api.journal_entry, v_stored) AS e;
        RETURN;
    END IF;
    SELECT
        array_agg(ROW(
            l.from_wallet_id, l.to_wallet_id, l.amount, coalesce(l.asset, 'TOKEN'), coalesce(l.kind, 'journal'), l.reference,
            p_actor, NULL, NULL, 1, p_metadata, p_event_at
        )::core.transfer_request),
        array_agg(core._check_transfer(
            coalesce(l.kind, 'journal'), l.reference, p_metadata, p_key, p_actor, v_status, p_event_at
        ))
    INTO v_requests, v_refusals
    FROM unnest(p_legs) AS l;

    v_results := core._post_transfers(v_requests, v_refusals);
    SELECT r.* INTO v_refusal FROM unnest(v_results) AS r WHERE r.error_code IS NOT NULL LIMIT 1;
    IF v_refusal.error_code IS NOT NULL THEN
        PERFORM core._raise(v_refusal.error_code, v_refusal.error, v_refusal.detail, 'No leg was posted.');
    END IF;

    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'transfer.posted', core._user_channels(r.from_owner_id, r.to_owner_id),
        core._transfer_payload(
            r.transfer_id, q.from_wallet_id, q.to_wallet_id, q.amount, q.asset, q.kind, q.reference, r.created_at
        )
    FROM unnest(v_requests) WITH ORDINALITY AS q (
        from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash, link, metadata,
        event_at, ord
    )
    CROSS JOIN LATERAL (SELECT (v_results[q.ord]).*) AS r;
    PERFORM core._store_result(p_actor, p_key, v_hash, (
        SELECT jsonb_agg(to_jsonb(e) ORDER BY e.leg) FROM core._journal_entries(v_requests, v_results) AS e
    ));
    RETURN QUERY SELECT e.* FROM core._journal_entries(v_requests, v_results) AS e;
END;
$$;

COMMENT ON FUNCTION api.post_journal(api.journal_leg [], text, uuid, jsonb, timestamptz) IS
'Posts the legs in order, up to 5000, all of them or (raising the first refusal) none; a later leg may use what an earlier one brought. A leg moves an amount between two wallets of one asset, so each asset sums to zero; an exchange goes through liquidity wallets: one leg in each asset. Any wallet may pay: the caller answers for that. p_key makes it safe to repeat; p_metadata (up to 4 KiB) and p_event_at go to every leg.';
