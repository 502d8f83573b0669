-- buy_ticket: a ticket of a private stream. The batch of one.
-- Locks    the stream; then the wallets of viewer and creator, and a revenue shard if there is a fee, in id order
-- Decides  as api.buy_tickets
-- Writes   wallets, transfers (stream_ticket, fee), entries, idempotency_keys, tickets, streams (seats_sold), outbox 'ticket.sold'
-- Errors   TS106 IDEMPOTENCY_KEY_INVALID, TS111 OWN_STREAM, TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND,
--          TS218 STREAM_NOT_FOUND, TS301 IDEMPOTENCY_KEY_REUSED, TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT,
--          TS325 TICKET_ALREADY_PURCHASED, TS326 SOLD_OUT, TS327 SALES_CLOSED, TS401 INSUFFICIENT_TOKENS, TS502 USER_SUSPENDED,
--          TS601 VELOCITY_LIMIT, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.buy_ticket(
    p_viewer uuid,
    p_stream uuid,
    p_key text DEFAULT NULL,
    OUT ticket_id uuid,
    OUT price bigint,
    OUT new_balance bigint,
    OUT created_at timestamptz,
    OUT replayed boolean
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_ticket api.ticket_outcome;
BEGIN
    SELECT t.* INTO v_ticket FROM api.buy_tickets(ARRAY[ROW(p_viewer, p_stream, p_key)::api.ticket_request]) AS t;
    IF v_ticket.error_code IS NOT NULL THEN
        PERFORM core._raise(v_ticket.error_code, v_ticket.error, v_ticket.detail, 'No ticket was sold.');
    END IF;
    ticket_id := v_ticket.ticket_id;
    price := v_ticket.price;
    new_balance := v_ticket.new_balance;
    created_at := v_ticket.created_at;
    replayed := v_ticket.replayed;
END;
$$;

COMMENT ON FUNCTION api.buy_ticket(uuid, uuid, text) IS
'Buys a ticket of stream p_stream for user p_viewer at the stream''s price; returns it and the viewer''s balance after it (NULL for a free or a repeated one). p_key makes it safe to repeat.';
