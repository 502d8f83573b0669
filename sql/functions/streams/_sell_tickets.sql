-- _sell_tickets: sell those tickets against which nothing speaks but, perhaps, the payment.
-- Locks    the wallets of viewers and creators, and the revenue shards if there is a fee, in id order; callers hold the streams
-- Decides  as core._post_transfers
-- Writes   wallets, transfers (stream_ticket, fee), entries, idempotency_keys, tickets, streams (seats_sold), outbox 'ticket.sold'
-- Errors   per ticket, in its outcome: those of core._post_transfers; TS301 IDEMPOTENCY_KEY_REUSED (raised) for a free ticket whose
--          key is taken meanwhile
CREATE OR REPLACE FUNCTION core._sell_tickets(p_paid core.ticket_case [], p_free core.ticket_case [])
RETURNS api.ticket_outcome []
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    c_asset CONSTANT text := 'TOKEN';
    v_sales CONSTANT core.ticket_case[] := p_paid || p_free;
    v_ids uuid[];
    v_now timestamptz;
    v_requests core.transfer_request[];
    v_leads boolean[];
    v_results core.transfer_result[];
    v_outcomes api.ticket_outcome[];
BEGIN
    IF v_sales IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT
        array_agg(ROW(
            c.viewer_wallet_id, l.wallet_id, l.amount, c_asset, l.kind, c.stream_id::text, c.viewer_id,
            CASE WHEN l.lead THEN c.idempotency_key END, CASE WHEN l.lead THEN c.request_hash END,
            CASE WHEN c.fee > 0 AND c.fee < c.price THEN c.ord END, NULL, NULL
        )::core.transfer_request),
        array_agg(l.lead)
    INTO v_requests, v_leads
    FROM unnest(p_paid) AS c
    CROSS JOIN LATERAL (
        SELECT c.creator_wallet_id AS wallet_id, c.price - c.fee AS amount, 'stream_ticket' AS kind, true AS lead
        WHERE c.fee < c.price
        UNION ALL
        SELECT core._system_wallet('revenue', c_asset, c.viewer_id), c.fee, 'fee', c.fee = c.price
        WHERE c.fee > 0
    ) AS l;
    v_results := core._post_transfers(v_requests);
    IF cardinality(v_results) > cardinality(p_paid) THEN
        SELECT array_agg(r.result) INTO v_results
        FROM (SELECT v_results[g.i] AS result FROM generate_subscripts(v_results, 1) AS g (i) WHERE v_leads[g.i]) AS r;
    END IF;
    v_now := clock_timestamp();
    v_ids := ARRAY(SELECT core.uuid7() FROM generate_series(1, cardinality(v_sales)) AS g (i));

    -- free tickets come last: there are no results for them
    SELECT array_agg(ROW(
        t.ord, CASE WHEN t.error_code IS NULL THEN t.id END, CASE WHEN t.error_code IS NULL THEN t.price END,
        t.from_balance - CASE WHEN t.fee < t.price THEN t.fee ELSE 0 END,
        CASE WHEN t.error_code IS NULL THEN coalesce(t.created_at, v_now) END, false, t.error_code, t.error, t.detail
    )::api.ticket_outcome)
    INTO v_outcomes
    FROM ROWS FROM (unnest(v_sales), unnest(v_ids), unnest(v_results)) AS t (
        ord, viewer_id, stream_id, creator_id, idempotency_key, request_hash, price, fee, viewer_wallet_id, creator_wallet_id,
        ticket_id, refusal, turn, id, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed,
        error_code, error, detail
    );

    INSERT INTO core.tickets (id, stream_id, viewer_id, price, platform_fee, transfer_id, created_at)
    SELECT t.id, t.stream_id, t.viewer_id, t.price, t.fee, t.transfer_id, coalesce(t.created_at, v_now)
    FROM ROWS FROM (unnest(v_sales), unnest(v_ids), unnest(v_results)) AS t (
        ord, viewer_id, stream_id, creator_id, idempotency_key, request_hash, price, fee, viewer_wallet_id, creator_wallet_id,
        ticket_id, refusal, turn, id, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed,
        error_code, error, detail
    )
    WHERE t.error_code IS NULL;

    UPDATE core.streams AS s SET seats_sold = s.seats_sold + n.tickets
    FROM (
        SELECT c.stream_id, count(*)::integer AS tickets
        FROM ROWS FROM (unnest(v_sales), unnest(v_outcomes)) AS c (
            ord, viewer_id, stream_id, creator_id, idempotency_key, request_hash, price, fee, viewer_wallet_id, creator_wallet_id,
            ticket_id, refusal, turn, ord_2, id, price_2, new_balance, created_at, replayed, error_code, error, detail
        )
        WHERE c.error_code IS NULL
        GROUP BY c.stream_id
    ) AS n
    WHERE s.id = n.stream_id AND s.seats IS NOT NULL;

    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'ticket.sold', ARRAY['creator:' || o.creator_id::text, 'user:' || o.viewer_id::text, 'stream:' || o.stream_id::text],
        jsonb_build_object(
            'ticket_id', o.id, 'stream_id', o.stream_id, 'viewer_id', o.viewer_id, 'price', o.price, 'created_at', o.created_at
        )
    FROM ROWS FROM (unnest(v_sales), unnest(v_outcomes)) AS o (
        ord, viewer_id, stream_id, creator_id, idempotency_key, request_hash, price, fee, viewer_wallet_id, creator_wallet_id,
        ticket_id, refusal, turn, ord_2, id, price_2, new_balance, created_at, replayed, error_code, error, detail
    )
    WHERE o.error_code IS NULL;

    PERFORM core._store_result(f.viewer_id, f.idempotency_key, f.request_hash, jsonb_build_object('ticket_id', f.id))
    FROM ROWS FROM (unnest(v_sales), unnest(v_ids)) AS f (
        ord, viewer_id, stream_id, creator_id, idempotency_key, request_hash, price, fee, viewer_wallet_id, creator_wallet_id,
        ticket_id, refusal, turn, id
    )
    WHERE f.price = 0;
    RETURN v_outcomes;
END;
$$;

COMMENT ON FUNCTION core._sell_tickets(core.ticket_case [], core.ticket_case []) IS
'Sells the tickets that cost something (p_paid), then the free ones (p_free); one outcome each, in this order.';
