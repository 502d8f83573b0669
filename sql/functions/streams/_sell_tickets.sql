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

    -- Free tickets come last: there are no results for them. A paid one has the id of its payment, as a tip has.
    SELECT array_agg(
        CASE
            WHEN t.error_code IS NOT NULL
                THEN ROW(t.ord, NULL, NULL, NULL, NULL, false, t.error_code, t.error, t.detail)::api.ticket_outcome
            WHEN t.price = 0
                THEN ROW(t.ord, core.uuid7(), 0, NULL, v_now, false, NULL, NULL, NULL)::api.ticket_outcome
            ELSE ROW(
                t.ord, t.transfer_id, t.price, t.from_balance - CASE WHEN t.fee < t.price THEN t.fee ELSE 0 END, t.created_at,
                false, NULL, NULL, NULL
            )::api.ticket_outcome
        END
    )
    INTO v_outcomes
    FROM ROWS FROM (unnest(v_sales), unnest(v_results)) AS t (
        ord, viewer_id, stream_id, creator_id, idempotency_key, request_hash, price, fee, viewer_wallet_id, creator_wallet_id,
        ticket_id, refusal, turn, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed,
        error_code, error, detail
    );

    INSERT INTO core.tickets (id, stream_id, viewer_id, price, platform_fee, transfer_id, created_at)
    SELECT t.id, t.stream_id, t.viewer_id, t.price, t.fee, CASE WHEN t.price > 0 THEN t.id END, t.created_at
    FROM ROWS FROM (unnest(v_sales), unnest(v_outcomes)) AS t (
        ord, viewer_id, stream_id, creator_id, idempotency_key, request_hash, price, fee, viewer_wallet_id, creator_wallet_id,
        ticket_id, refusal, turn, told_ord, id, told_price, new_balance, created_at, replayed, error_code, error, detail
    )
    WHERE t.error_code IS NULL;

    UPDATE core.streams AS s SET seats_sold = s.seats_sold + n.tickets
    FROM (
        SELECT c.stream_id, count(*)::integer AS tickets
        FROM ROWS FROM (unnest(v_sales), unnest(v_outcomes)) AS c (
            ord, viewer_id, stream_id, creator_id, idempotency_key, request_hash, price, fee, viewer_wallet_id,
            creator_wallet_id, ticket_id, refusal, turn, told_ord, id, told_price, new_balance, created_at, replayed,
            error_code, error, detail
        )
        WHERE c.error_code IS NULL
        GROUP BY c.stream_id
    ) AS n
    WHERE s.id = n.stream_id;

    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'ticket.sold', ARRAY['creator:' || t.creator_id::text, 'user:' || t.viewer_id::text, 'stream:' || t.stream_id::text],
        jsonb_build_object(
            'ticket_id', t.id, 'stream_id', t.stream_id, 'creator_id', t.creator_id, 'viewer_id', t.viewer_id, 'price', t.price,
            'created_at', t.created_at
        )
    FROM ROWS FROM (unnest(v_sales), unnest(v_outcomes)) AS t (
        ord, viewer_id, stream_id, creator_id, idempotency_key, request_hash, price, fee, viewer_wallet_id, creator_wallet_id,
        ticket_id, refusal, turn, told_ord, id, told_price, new_balance, created_at, replayed, error_code, error, detail
    )
    WHERE t.error_code IS NULL;

    PERFORM core._store_result(t.viewer_id, t.idempotency_key, t.request_hash, jsonb_build_object('ticket_id', t.id))
    FROM ROWS FROM (unnest(p_free), unnest(v_outcomes[cardinality(v_sales) - cardinality(p_free) + 1:])) AS t (
        ord, viewer_id, stream_id, creator_id, idempotency_key, request_hash, price, fee, viewer_wallet_id, creator_wallet_id,
        ticket_id, refusal, turn, told_ord, id, told_price, new_balance, created_at, replayed, error_code, error, detail
    );
    RETURN v_outcomes;
END;
$$;

COMMENT ON FUNCTION core._sell_tickets(core.ticket_case [], core.ticket_case []) IS
'Sells the tickets that cost something (p_paid), then the free ones (p_free); one outcome each, in this order.';
