-- buy_tickets: tickets of private streams, many in one go; each is sold or refused alone.
-- Locks    the streams, in id order; then the wallets of viewers and creators, and the revenue shards if there is a fee, in id
--          order
-- Decides  viewer, stream, sales window, one ticket a viewer, seats; the fee by the rate platform_fee; then as core._post_transfers.
--          A seat that one request could not pay for goes to the next one: where requests want the same seat, ticket or key they
--          take turns, and what a viewer asks for is decided in order
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
    c_batch CONSTANT integer := 2500;
    v_fee_bps CONSTANT numeric := core._rate('platform_fee', 'TOKEN');
    v_pending integer[];
    v_cases core.ticket_case[];
    v_free core.ticket_case[];
    v_creators uuid[];
    v_outcomes api.ticket_outcome[];
    v_told api.ticket_outcome[];
BEGIN
    IF cardinality(p_tickets) > c_batch THEN
        PERFORM core._raise('TS107', 'BATCH_TOO_LARGE', jsonb_build_object('size', cardinality(p_tickets), 'maximum', c_batch), 'Send less at once.');
    END IF;
    PERFORM core._lock_streams(ARRAY(SELECT DISTINCT r.stream_id FROM unnest(p_tickets) AS r));
    LOOP
        SELECT
            array_agg(c) FILTER (WHERE c.turn AND o.sells AND c.price > 0),
            array_agg(c) FILTER (WHERE c.turn AND o.sells AND c.price = 0),
            array_agg(
                CASE
                    WHEN c.ticket_id IS NOT NULL THEN core._kept_ticket(c.ord, c.ticket_id)
                    ELSE ROW(c.ord, NULL, NULL, NULL, NULL, false, (c.refusal).error_code, (c.refusal).error, (c.refusal).detail)::api.ticket_outcome
                END
            ) FILTER (WHERE c.turn AND NOT o.sells),
            array_agg(c.ord) FILTER (WHERE NOT c.turn)
        INTO v_cases, v_free, v_told, v_pending
        FROM core._ticket_cases(p_tickets, v_pending, v_fee_bps, v_creators) AS c
        CROSS JOIN LATERAL (SELECT c.ticket_id IS NULL AND (c.refusal).error_code IS NULL AS sells) AS o;
        IF v_pending IS NOT NULL AND v_creators IS NULL THEN
            v_pending := NULL;
            v_creators := core._lock_buyers(ARRAY(
                SELECT c FROM core._ticket_cases(p_tickets, NULL, v_fee_bps, NULL) AS c
                WHERE c.ticket_id IS NULL AND (c.refusal).error_code IS NULL
            ));
            CONTINUE;
        END IF;
        v_outcomes := v_outcomes || v_told || core._sell_tickets(v_cases, v_free);
        EXIT WHEN v_pending IS NULL;
    END LOOP;
    RETURN QUERY SELECT o.* FROM unnest(v_outcomes) AS o ORDER BY o.ord;
END;
$$;

COMMENT ON FUNCTION api.buy_tickets(api.ticket_request []) IS
'Sells tickets, many in one commit, up to 2500; returns one outcome a ticket, in order. The price is the stream''s, the creator gets it less the rate platform_fee (rounded down to a whole token). One ticket a viewer and stream; never more than there are seats. A ticket that cannot be sold is refused alone (error_code, error, detail); repeating a key returns the ticket it bought the first time.';
