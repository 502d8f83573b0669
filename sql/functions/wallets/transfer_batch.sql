-- transfer_batch: move money many times in one go; each request succeeds or is refused alone.
-- Locks    all wallets of the requests, in id order
-- Decides  kind, reference, metadata and key of each; that its actor exists and is not suspended; then as core._post_transfers
-- Writes   wallets, transfers, entries, idempotency_keys, outbox 'transfer.posted'
-- Errors   TS107 BATCH_TOO_LARGE (raised); per request, in its outcome: TS109 INVALID_KIND, TS101 INVALID_REQUEST,
--          TS105 METADATA_TOO_LARGE, TS106 IDEMPOTENCY_KEY_INVALID, TS211 USER_NOT_FOUND, TS502 USER_SUSPENDED,
--          TS102 INVALID_AMOUNT, TS210 WALLET_NOT_FOUND, TS104 SELF_TRANSFER, TS103 ASSET_MISMATCH,
--          TS501 NOT_WALLET_OWNER, TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS401 INSUFFICIENT_TOKENS,
--          TS314 BALANCE_LIMIT, TS301 IDEMPOTENCY_KEY_REUSED, TS601 VELOCITY_LIMIT
CREATE OR REPLACE FUNCTION api.transfer_batch(p_requests api.transfer_request []) RETURNS SETOF api.transfer_outcome
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_requests core.transfer_request[];
    v_refusals core.refusal[];
    v_results core.transfer_result[];
BEGIN
    SELECT
        array_agg(ROW(
            s.from_wallet_id, s.to_wallet_id, s.amount, s.asset, s.kind, s.reference, s.actor_id, s.idempotency_key,
            core._request_hash(s.idempotency_key, record_send(ROW(
                'transfer'::text, s.from_wallet_id, s.to_wallet_id, s.amount, s.asset, s.kind, s.reference, s.metadata,
                s.event_at
            ))),
            NULL, s.metadata, s.event_at
        )::core.transfer_request),
        array_agg(core._check_transfer(
            s.kind, s.reference, s.metadata, s.idempotency_key, s.actor_id, s.actor_status, s.event_at
        ))
    INTO v_requests, v_refusals
    FROM (
        SELECT
            coalesce(r.from_wallet_id, (
                SELECT w.id FROM core.wallets AS w WHERE w.owner_id = r.actor_id AND w.asset = coalesce(r.asset, 'TOKEN')
            )) AS from_wallet_id,
            coalesce(r.to_wallet_id, (
                SELECT w.id FROM core.wallets AS w WHERE w.owner_id = r.to_user_id AND w.asset = coalesce(r.asset, 'TOKEN')
            )) AS to_wallet_id,
            r.amount,
            coalesce(r.asset, 'TOKEN') AS asset,
            coalesce(r.kind, 'transfer') AS kind,
            r.reference,
            r.actor_id,
            r.idempotency_key,
            r.metadata,
            r.event_at,
            CASE WHEN r.actor_id IS NOT NULL THEN (SELECT u.status FROM core.users AS u WHERE u.id = r.actor_id) END
                AS actor_status
        FROM unnest(p_requests) AS r
        OFFSET 0 -- so that each column is worked out once, and core._check_transfer, given columns, is inlined
    ) AS s;

    v_results := core._post_transfers(v_requests, v_refusals, true);

    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'transfer.posted', core._user_channels(o.from_owner_id, o.to_owner_id),
        core._transfer_payload(
            o.transfer_id, o.from_wallet_id, o.to_wallet_id, o.amount, o.asset, o.kind, o.reference, o.created_at
        )
    FROM ROWS FROM (unnest(v_requests), unnest(v_results)) AS o (
        from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash, link, metadata,
        event_at, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed, error_code, error, detail
    )
    WHERE o.error_code IS NULL AND NOT o.replayed;

    RETURN QUERY
    SELECT
        o.ord::integer, o.transfer_id, o.from_wallet_id, o.to_wallet_id, o.amount, o.asset, o.from_balance, o.to_balance,
        o.created_at, o.replayed, o.error_code, o.error, o.detail
    FROM ROWS FROM (unnest(v_requests), unnest(v_results)) WITH ORDINALITY AS o (
        from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash, link, metadata,
        event_at, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed, error_code, error, detail,
        ord
    );
END;
$$;

COMMENT ON FUNCTION api.transfer_batch(api.transfer_request []) IS
'Moves money many times in one commit, up to 5000 requests; returns one outcome a request, in order. Requests apply one after another: a later one may spend what an earlier one brought. One that cannot be done is refused alone (error_code, error, detail) and the others go on. Repeating a key returns what it did the first time. See api.transfer for the rules.';
