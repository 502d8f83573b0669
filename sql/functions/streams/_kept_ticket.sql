-- _kept_ticket: the outcome of a request whose key bought this ticket before.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._kept_ticket(p_ord integer, p_ticket uuid) RETURNS api.ticket_outcome
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_outcome api.ticket_outcome;
BEGIN
    SELECT
        p_ord, t.id, t.price,
        e.balance - CASE WHEN t.platform_fee < t.price THEN t.platform_fee ELSE 0 END,
        t.created_at, true, NULL, NULL, NULL
    INTO v_outcome
    FROM core.tickets AS t
    LEFT JOIN core.transfers AS m ON m.id = t.transfer_id
    LEFT JOIN core.entries AS e ON e.wallet_id = m.from_wallet_id AND e.seq = m.from_seq AND e.transfer_id = m.id
    WHERE t.id = p_ticket;
    RETURN v_outcome;
END;
$$;

COMMENT ON FUNCTION core._kept_ticket(integer, uuid) IS 'What buying this ticket was answered with.';
