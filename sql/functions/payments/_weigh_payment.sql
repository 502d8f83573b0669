-- _weigh_payment: what its refunds and disputes come to, and whether the buyer has as many tokens of it as is right.
-- Locks    issuance and the buyer's wallet, in id order; the payment is locked
-- Decides  by what is so now, not by what came last, so that no order and no repetition of events matters: of the money,
--          what is refunded or disputed counts once, and the same part of the tokens is taken back or restored
-- Writes   payments, payment_transfers, wallets, transfers, entries, refunds, outbox 'payment.refunded', 'payment.disputed',
--          'payment.restored', 'transfer.refunded'
-- Errors   TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT
CREATE OR REPLACE FUNCTION core._weigh_payment(p_payment uuid, p_reason text, p_actor uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_payment core.payments := (SELECT p FROM core.payments AS p WHERE p.id = p_payment);
    v_refunded CONSTANT bigint := coalesce((
        SELECT sum(r.amount) FROM core.payment_refunds AS r WHERE r.payment_id = p_payment AND r.status <> 'failed'
    ), 0);
    v_disputed CONSTANT bigint := coalesce((
        SELECT sum(d.amount) FROM core.payment_disputes AS d WHERE d.payment_id = p_payment AND d.status <> 'won'
    ), 0);
    v_due bigint := 0;
    v_change bigint;
    v_part bigint;
    v_original record;
    v_moved core.transfer_result;
BEGIN
    IF v_payment.transfer_id IS NOT NULL THEN
        v_due := div(
            v_payment.tokens::numeric * least(v_refunded::numeric + v_disputed, v_payment.amount), v_payment.amount
        );
    END IF;
    v_change := v_due - v_payment.reversed;
    IF v_change < 0 THEN
        PERFORM core._give_tokens(v_payment, - v_change, 'purchase_restored');
    END IF;
    -- newest first; together they always have that much left (auditor: payment_reversed_is_what_moved)
    FOR v_original IN
        SELECT t.transfer_id, t.tokens - coalesce(b.taken, 0) AS rest
        FROM core.payment_transfers AS t
        LEFT JOIN LATERAL (SELECT sum(r.amount) AS taken FROM core.refunds AS r WHERE r.original_id = t.transfer_id) AS b ON true
        WHERE t.payment_id = p_payment AND t.kind <> 'reversal' AND t.tokens > coalesce(b.taken, 0)
        ORDER BY t.transfer_id DESC
    LOOP
        EXIT WHEN v_change <= 0;
        v_part := least(v_change, v_original.rest);
        SELECT m.* INTO v_moved FROM core._give_back(ARRAY[v_original.transfer_id], p_reason, p_actor, ARRAY[v_part]) AS m;
        IF v_moved.error_code IS NOT NULL THEN
            PERFORM core._raise(v_moved.error_code, v_moved.error, v_moved.detail, 'Nothing was taken back.');
        END IF;
        INSERT INTO core.payment_transfers (payment_id, transfer_id, tokens, owed, kind)
        SELECT p_payment, r.transfer_id, r.amount, r.owed, 'reversal' FROM core.refunds AS r WHERE r.transfer_id = v_moved.transfer_id;
        v_change := v_change - v_part;
    END LOOP;
    UPDATE core.payments AS p
    SET
        refunded = v_refunded, disputed = v_disputed, reversed = v_due,
        status = CASE
            WHEN p.transfer_id IS NULL THEN p.status
            WHEN v_disputed > 0 THEN 'disputed'
            WHEN v_refunded >= p.amount THEN 'refunded'
            ELSE 'paid'
        END
    WHERE p.id = p_payment;
    IF v_disputed > v_payment.disputed THEN
        PERFORM core._payment_event('payment.disputed', p_payment);
    ELSIF v_refunded > v_payment.refunded THEN
        PERFORM core._payment_event('payment.refunded', p_payment);
    ELSIF v_disputed < v_payment.disputed OR v_refunded < v_payment.refunded THEN
        PERFORM core._payment_event('payment.restored', p_payment);
    END IF;
END;
$$;

COMMENT ON FUNCTION core._weigh_payment(uuid, text, uuid) IS
'Puts a payment, and the tokens its buyer has of it, right by its refunds and disputes: takes back or restores the difference to floor(tokens × min(refunded + disputed, amount) ÷ amount).';
