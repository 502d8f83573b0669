-- buy_tickets: tickets of private streams, many in one go; each is sold or refused alone.
-- Locks    the streams, in id order; then the wallets of viewers and creators, and the revenue shards if there is a fee, in id
--          order
-- Decides  viewer, stream, sales window, one ticket a viewer, seats; the fee by the rate platform_fee; then as core._post_transfers.
--          A seat that one request could not pay for goes to the next one
-- Writes   wallets, transfers (stream_ticket, fee), entries, idempotency_keys, tickets, streams (seats_sold), outbox 'ticket.sold'
-- Errors   TS107 BATCH_TOO_LARGE, TS801 CONFIGURATION_ERROR (raised); per ticket, in its outcome: TS106 IDEMPOTENCY_KEY_INVALID,
--          TS111 OWN_STREAM, TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND, TS218 STREAM_NOT_FOUND, TS301 IDEMPOTENCY_KEY_REUSED,
--          TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT, TS325 TICKET_ALREADY_PURCHASED, TS326 SOLD_OUT,
--          TS327 SALES_CLOSED, TS401 INSUFFICIENT_TOKENS, TS502 USER_SUSPENDED, TS601 VELOCITY_LIMIT
CREATE OR REPLACE FUNCTION api.buy_tickets(p_tickets api.ticket_request []) RETURNS SETOF api.ticket_outcome
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    c_asset CONSTANT text := 'TOKEN';
    c_batch CONSTANT integer := 2500;
    v_fee_bps CONSTANT numeric := core._rate('platform_fee', c_asset);
    v_pending integer[] := ARRAY(SELECT g.i FROM generate_series(1, cardinality(p_tickets)) AS g (i));
    v_outcomes api.ticket_outcome[] := array_fill(NULL::api.ticket_outcome, ARRAY[coalesce(cardinality(p_tickets), 0)]);
    v_cases core.ticket_case[];
    v_case core.ticket_case;
    v_ticket core.tickets;
    v_sold core.tickets[];
    v_ords integer[];
    v_requests core.transfer_request[];
    v_results core.transfer_result[];
    v_result core.transfer_result;
    v_i integer;
BEGIN
    IF cardinality(p_tickets) > c_batch THEN
        PERFORM core._raise('TS107', 'BATCH_TOO_LARGE', jsonb_build_object('size', cardinality(p_tickets), 'maximum', c_batch), 'Send less at once.');
    END IF;
    PERFORM core._lock_streams(ARRAY(SELECT r.stream_id FROM unnest(p_tickets) AS r));
    WHILE cardinality(v_pending) > 0 LOOP
        v_cases := ARRAY(SELECT c FROM core._ticket_cases(p_tickets, v_pending, v_fee_bps) AS c WHERE c.turn ORDER BY c.ord);
        v_pending := ARRAY(SELECT p.i FROM unnest(v_pending) AS p (i) WHERE p.i <> ALL (ARRAY(SELECT c.ord FROM unnest(v_cases) AS c)));

        -- One or two legs a ticket that is paid for; v_ords: of each ticket the leg that its outcome is taken from.
        SELECT
            array_agg(ROW(
                l.from_id, l.to_id, l.amount, c_asset, l.kind, l.stream_id::text, l.viewer_id,
                CASE WHEN l.lead THEN l.idempotency_key END, CASE WHEN l.lead THEN l.request_hash END,
                l.ord, NULL, NULL
            )::core.transfer_request ORDER BY l.ord, l.lead DESC),
            array_agg(CASE WHEN l.lead THEN l.ord END ORDER BY l.ord, l.lead DESC)
        INTO v_requests, v_ords
        FROM (
            SELECT
                c.ord, c.stream_id, c.viewer_id, c.idempotency_key, c.request_hash, c.viewer_wallet_id AS from_id,
                c.creator_wallet_id AS to_id, c.price - c.fee AS amount, 'stream_ticket' AS kind, true AS lead
            FROM unnest(v_cases) AS c
            WHERE c.price > c.fee AND c.ticket_id IS NULL AND (c.refusal).error_code IS NULL
            UNION ALL
            SELECT
                c.ord, c.stream_id, c.viewer_id, c.idempotency_key, c.request_hash, c.viewer_wallet_id,
                core._system_wallet('revenue', c_asset, c.viewer_id), c.fee, 'fee', c.fee = c.price
            FROM unnest(v_cases) AS c
            WHERE c.fee > 0 AND c.ticket_id IS NULL AND (c.refusal).error_code IS NULL
        ) AS l;
        v_results := core._post_transfers(coalesce(v_requests, '{}'));

        v_sold := '{}';
        FOREACH v_case IN ARRAY v_cases LOOP
            v_result := NULL;
            IF v_case.ticket_id IS NOT NULL THEN
                v_outcomes[v_case.ord] := core._kept_ticket(v_case.ord, v_case.ticket_id);
                CONTINUE;
            ELSIF (v_case.refusal).error_code IS NULL AND v_case.price > 0 THEN
                v_i := array_position(v_ords, v_case.ord);
                v_result := v_results[v_i];
                v_case.refusal := ROW(v_result.error_code, v_result.error, v_result.detail);
                IF v_case.fee > 0 AND v_case.fee < v_case.price THEN
                    v_result.from_balance := (v_results[v_i + 1]).from_balance;
                END IF;
            END IF;
            IF (v_case.refusal).error_code IS NOT NULL THEN
                v_outcomes[v_case.ord] := ROW(
                    v_case.ord, NULL, NULL, NULL, NULL, false,
                    (v_case.refusal).error_code, (v_case.refusal).error, (v_case.refusal).detail
                );
                CONTINUE;
            END IF;
            v_ticket := ROW(
                core.uuid7(), v_case.stream_id, v_case.viewer_id, v_case.price, v_case.fee, v_result.transfer_id,
                coalesce(v_result.created_at, clock_timestamp()), NULL
            );
            v_sold := v_sold || v_ticket;
            v_outcomes[v_case.ord] := ROW(
                v_case.ord, v_ticket.id, v_ticket.price, v_result.from_balance, v_ticket.created_at, false, NULL, NULL, NULL
            );
            IF v_case.price = 0 THEN
                PERFORM core._store_result(
                    v_case.viewer_id, v_case.idempotency_key, v_case.request_hash, jsonb_build_object('ticket_id', v_ticket.id)
                );
            END IF;
        END LOOP;
        INSERT INTO core.tickets SELECT t.* FROM unnest(v_sold) AS t;
        UPDATE core.streams AS s SET seats_sold = s.seats_sold + n.tickets
        FROM (SELECT t.stream_id, count(*)::integer AS tickets FROM unnest(v_sold) AS t GROUP BY t.stream_id) AS n
        WHERE s.id = n.stream_id AND s.seats IS NOT NULL;
    END LOOP;

    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'ticket.sold', ARRAY['creator:' || s.creator_id::text, 'user:' || r.viewer_id::text, 'stream:' || r.stream_id::text],
        jsonb_build_object(
            'ticket_id', o.ticket_id, 'stream_id', r.stream_id, 'viewer_id', r.viewer_id, 'price', o.price, 'created_at', o.created_at
        )
    FROM unnest(v_outcomes) AS o
    INNER JOIN unnest(p_tickets) WITH ORDINALITY AS r (viewer_id, stream_id, idempotency_key, ord) ON r.ord = o.ord
    INNER JOIN core.streams AS s ON s.id = r.stream_id
    WHERE o.error_code IS NULL AND NOT o.replayed;
    RETURN QUERY SELECT o.* FROM unnest(v_outcomes) AS o;
END;
$$;

COMMENT ON FUNCTION api.buy_tickets(api.ticket_request []) IS
'Sells tickets, many in one commit, up to 2500; returns one outcome a ticket, in order. The price is the stream''s, the creator gets it less the rate platform_fee (rounded down to a whole token). One ticket a viewer and stream; never more than there are seats. A ticket that cannot be sold is refused alone (error_code, error, detail); repeating a key returns the ticket it bought the first time.';
