-- _kept_ticket: the outcome of a request whose key bought this ticket before.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._kept_ticket(p_ord integer, p_ticket uuid) RETURNS api.ticket_outcome
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_ticket core.tickets;
    v_transfer core.transfers;
    v_balance bigint;
BEGIN
    -- one after the other: a join, planned while the tables are small, may read all of a wallet's entries
    SELECT t.* INTO v_ticket FROM core.tickets AS t WHERE t.id = p_ticket;
    SELECT m.* INTO v_transfer FROM core.transfers AS m WHERE m.id = v_ticket.transfer_id;
    SELECT e.balance - CASE WHEN v_ticket.platform_fee < v_ticket.price THEN v_ticket.platform_fee ELSE 0 END
    INTO v_balance
    FROM core.entries AS e
    WHERE e.wallet_id = v_transfer.from_wallet_id AND e.seq = v_transfer.from_seq AND e.transfer_id = v_transfer.id;
    RETURN ROW(p_ord, v_ticket.id, v_ticket.price, v_balance, v_ticket.created_at, true, NULL, NULL, NULL)::api.ticket_outcome;
END;
$$;

COMMENT ON FUNCTION core._kept_ticket(integer, uuid) IS 'What buying this ticket was answered with.';
