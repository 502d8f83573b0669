-- send_tips: tip creators, many tips in one go; each succeeds or is refused alone.
-- Locks    the wallets of senders and creators, and the revenue shards if there is a fee, in id order; then a part of the
--          totals of the streams that tips name, in id order
-- Decides  sender, creator, message, context, stream; the fee by the rate platform_fee; then as core._post_transfers
-- Writes   wallets, transfers (tip, fee), entries, idempotency_keys, tips, stream_totals, outbox 'tip.sent'
-- Errors   TS107 BATCH_TOO_LARGE, TS801 CONFIGURATION_ERROR (raised); per tip, in its outcome: TS101 INVALID_REQUEST,
--          TS102 INVALID_AMOUNT, TS104 SELF_TRANSFER, TS106 IDEMPOTENCY_KEY_INVALID, TS108 MESSAGE_TOO_LONG,
--          TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND, TS212 CREATOR_NOT_FOUND, TS218 STREAM_NOT_FOUND, TS219 CALL_NOT_FOUND,
--          TS301 IDEMPOTENCY_KEY_REUSED, TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT,
--          TS401 INSUFFICIENT_TOKENS, TS502 USER_SUSPENDED, TS508 NOT_CALL_PARTICIPANT, TS601 VELOCITY_LIMIT
CREATE OR REPLACE FUNCTION api.send_tips(p_tips api.tip_request []) RETURNS SETOF api.tip_outcome
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    c_asset CONSTANT text := 'TOKEN';
    v_fee_bps CONSTANT numeric := core._rate('platform_fee', c_asset);
    v_requests core.transfer_request[];
    v_refusals core.refusal[];
    v_fees bigint[];
    v_leads boolean[];
    v_names text[];
    v_streamed boolean;
    v_results core.transfer_result[];
BEGIN
    SELECT
        array_agg(ROW(
            t.sender_wallet_id, l.wallet_id, l.amount, c_asset, l.kind, NULL, t.sender_id,
            CASE WHEN l.lead THEN t.idempotency_key END,
            CASE WHEN l.lead THEN core._request_hash(t.idempotency_key, record_send(ROW(
                'tip'::text, t.sender_id, t.creator_id, t.amount, t.message, t.stream_id, t.call_id
            ))) END,
            CASE WHEN t.fee > 0 AND t.fee < t.amount THEN t.ord::integer END, NULL, NULL
        )::core.transfer_request),
        array_agg(core._check_tip(t.tip, t.sender_status, t.creator_active)),
        array_agg(t.fee) FILTER (WHERE l.lead),
        array_agg(t.sender_name) FILTER (WHERE l.lead),
        array_agg(l.lead),
        bool_or(t.stream_id IS NOT NULL)
    INTO v_requests, v_refusals, v_fees, v_names, v_leads, v_streamed
    FROM (
        SELECT
            r.ord, r.sender_id, r.creator_id, r.amount, r.idempotency_key, r.message, r.stream_id, r.call_id,
            ROW(r.sender_id, r.creator_id, r.amount, r.idempotency_key, r.message, r.stream_id, r.call_id)::api.tip_request AS tip,
            s.status AS sender_status, s.username AS sender_name,
            c.status = 'active' AND 'creator' = ANY (c.roles) AS creator_active,
            sw.id AS sender_wallet_id, cw.id AS creator_wallet_id,
            CASE WHEN v_fee_bps > 0 AND r.amount > 0 THEN floor(r.amount * v_fee_bps / 10000)::bigint ELSE 0 END AS fee
        FROM unnest(p_tips) WITH ORDINALITY
            AS r (sender_id, creator_id, amount, idempotency_key, message, stream_id, call_id, ord)
        -- LIMIT: a plain join, planned while the tables are small, reads all of one; and a session keeps its plans
        LEFT JOIN LATERAL (SELECT u.status, u.username FROM core.users AS u WHERE u.id = r.sender_id LIMIT 1) AS s ON true
        LEFT JOIN LATERAL (SELECT u.status, u.roles FROM core.users AS u WHERE u.id = r.creator_id LIMIT 1) AS c ON true
        LEFT JOIN LATERAL (
            SELECT w.id FROM core.wallets AS w WHERE w.owner_id = r.sender_id AND w.asset = c_asset LIMIT 1
        ) AS sw ON true
        LEFT JOIN LATERAL (
            SELECT w.id FROM core.wallets AS w WHERE w.owner_id = r.creator_id AND w.asset = c_asset LIMIT 1
        ) AS cw ON true
    ) AS t
    CROSS JOIN LATERAL (
        SELECT t.creator_wallet_id AS wallet_id, t.amount - t.fee AS amount, 'tip' AS kind, true AS lead
        WHERE t.fee = 0 OR t.fee < t.amount
        UNION ALL
        SELECT core._system_wallet('revenue', c_asset, t.sender_id), t.fee, 'fee', t.fee = t.amount
        WHERE t.fee > 0
    ) AS l;

    v_results := core._post_transfers(v_requests, v_refusals);
    IF cardinality(v_results) > cardinality(p_tips) THEN
        SELECT array_agg(r.result) INTO v_results
        FROM (SELECT v_results[g.i] AS result FROM generate_subscripts(v_results, 1) AS g (i) WHERE v_leads[g.i]) AS r;
    END IF;

    INSERT INTO core.tips (id, sender_id, creator_id, amount, platform_fee, created_at, stream_id, call_id, message)
    SELECT o.transfer_id, o.sender_id, o.creator_id, o.amount, o.fee, o.created_at, o.stream_id, o.call_id, o.message
    FROM ROWS FROM (unnest(p_tips), unnest(v_fees), unnest(v_results)) AS o (
        sender_id, creator_id, amount, idempotency_key, message, stream_id, call_id, fee,
        transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed, error_code, error, detail
    )
    WHERE o.error_code IS NULL AND NOT o.replayed;

    IF v_streamed THEN
        INSERT INTO core.stream_totals AS s (stream_id, shard, tips, tip_count)
        SELECT o.stream_id, pg_backend_pid() % 16, sum(o.amount), count(*)
        FROM ROWS FROM (unnest(p_tips), unnest(v_results)) AS o (
            sender_id, creator_id, amount, idempotency_key, message, stream_id, call_id,
            transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed, error_code, error, detail
        )
        WHERE o.error_code IS NULL AND NOT o.replayed AND o.stream_id IS NOT NULL
        GROUP BY o.stream_id
        ORDER BY o.stream_id
        ON CONFLICT ON CONSTRAINT stream_totals_pkey DO UPDATE
        SET tips = s.tips + excluded.tips, tip_count = s.tip_count + excluded.tip_count;
    END IF;

    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'tip.sent',
        array_remove(ARRAY[
            'creator:' || o.creator_id::text, 'user:' || o.sender_id::text, 'stream:' || o.stream_id::text, 'call:' || o.call_id::text
        ], NULL),
        jsonb_build_object(
            'tip_id', o.transfer_id, 'sender_id', o.sender_id, 'sender_name', o.sender_name, 'creator_id', o.creator_id,
            'amount', o.amount, 'message', o.message, 'stream_id', o.stream_id, 'call_id', o.call_id, 'created_at', o.created_at
        )
    FROM ROWS FROM (unnest(p_tips), unnest(v_names), unnest(v_results)) AS o (
        sender_id, creator_id, amount, idempotency_key, message, stream_id, call_id, sender_name,
        transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed, error_code, error, detail
    )
    WHERE o.error_code IS NULL AND NOT o.replayed;

    RETURN QUERY
    SELECT
        f.ord::integer, f.transfer_id, f.amount, f.amount - f.fee, f.fee, f.from_balance - CASE WHEN f.fee < f.amount THEN f.fee ELSE 0 END,
        f.created_at, f.replayed, f.error_code, f.error, f.detail
    FROM (
        SELECT
            o.ord, o.transfer_id, o.from_balance, o.created_at, o.replayed, o.error_code, o.error, o.detail,
            CASE WHEN o.error_code IS NULL THEN o.amount END AS amount,
            CASE
                WHEN o.replayed THEN core._tip_fee(o.transfer_id)
                WHEN o.error_code IS NULL THEN o.fee
            END AS fee
        FROM ROWS FROM (unnest(p_tips), unnest(v_fees), unnest(v_results)) WITH ORDINALITY AS o (
            sender_id, creator_id, amount, idempotency_key, message, stream_id, call_id, fee,
            transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed, error_code, error, detail,
            ord
        )
    ) AS f;
END;
$$;

COMMENT ON FUNCTION api.send_tips(api.tip_request []) IS
'Tips creators, many tips in one commit, up to 2500; returns one outcome a tip, in order. The creator gets the amount less the rate platform_fee (rounded down to a whole token). A tip that cannot be done is refused alone (error_code, error, detail); repeating a key returns the tip it made the first time.';
