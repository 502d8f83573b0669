-- settle_payment: make of an event what follows from it.
-- Locks    the event, then the payment, then issuance and the buyer's wallet, in id order
-- Decides  an event that is done with changes nothing. What the ledger refuses (a frozen wallet) is undone, noted, and
--          tried again later; so is what no payment is known for yet
-- Writes   payment_events; payments, payment_refunds, payment_disputes, payment_transfers; wallets, transfers, entries,
--          refunds, outbox; 'payment.event_opened' for operators when it begins to wait for a person
-- Errors   TS252 PAYMENT_EVENT_NOT_FOUND
CREATE OR REPLACE FUNCTION api.settle_payment(
    p_provider text,
    p_event text,
    OUT payment_id uuid,
    OUT outcome text,
    OUT status text,
    OUT error text
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    c_tries CONSTANT integer := 30;
    v_event core.payment_events;
    v_payment core.payments;
BEGIN
    SELECT e.* INTO v_event
    FROM core.payment_events AS e
    WHERE e.provider = p_provider AND e.event_id = p_event
    FOR NO KEY UPDATE;
    IF v_event.event_id IS NULL THEN
        PERFORM core._raise(
            'TS252', 'PAYMENT_EVENT_NOT_FOUND', jsonb_build_object('provider', p_provider, 'event_id', p_event), 'Nothing was done.'
        );
    END IF;
    v_payment := core._lock_payment_of(v_event);
    payment_id := v_payment.id;
    IF v_event.due_at IS NULL THEN
        outcome := 'repeated';
        status := v_payment.status;
        RETURN;
    END IF;
    BEGIN
        outcome := CASE
            WHEN v_event.kind = 'other' THEN 'ignored'
            WHEN v_payment.id IS NULL THEN 'unknown'
            WHEN v_event.kind = 'paid' THEN core._credit_payment(v_payment, v_event)
            WHEN v_event.kind = 'failed' THEN core._fail_payment(v_payment, v_event)
            WHEN v_event.kind IN ('refunded', 'refund_failed') THEN core._note_refund(v_payment, v_event)
            WHEN v_event.kind IN ('disputed', 'dispute_won', 'dispute_lost') THEN core._note_dispute(v_payment, v_event)
            ELSE 'applied'
        END;
    EXCEPTION WHEN OTHERS THEN
        IF sqlstate NOT LIKE 'TS%' THEN
            RAISE;
        END IF;
        outcome := 'refused';
        error := sqlerrm;
    END;
    IF v_event.kind = 'look' THEN
        UPDATE core.payments AS p SET check_at = clock_timestamp() WHERE p.id = v_payment.id AND p.transfer_id IS NULL;
    END IF;
    UPDATE core.payment_events AS e
    SET
        payment_id = coalesce(v_payment.id, e.payment_id), outcome = settle_payment.outcome, error = settle_payment.error,
        tries = e.tries + 1, applied_at = CASE WHEN settle_payment.outcome = 'applied' THEN clock_timestamp() END,
        due_at = CASE
            WHEN settle_payment.outcome IN ('unknown', 'refused') AND e.tries < c_tries
                THEN clock_timestamp() + least(interval '30 seconds' * 2 ^ least(e.tries, 12), interval '1 day')
        END
    WHERE e.provider = p_provider AND e.event_id = p_event;
    IF
        outcome IN ('unknown', 'mismatch', 'duplicate', 'contradiction', 'refused') AND outcome <> v_event.outcome
    THEN
        INSERT INTO core.outbox (type, channels, payload)
        VALUES (
            'payment.event_opened', ARRAY['ops'],
            jsonb_build_object(
                'provider', p_provider, 'event_id', p_event, 'kind', v_event.kind, 'outcome', outcome, 'error', error,
                'payment_id', v_payment.id, 'amount', v_event.amount, 'currency', v_event.currency
            )
        );
    END IF;
    status := (SELECT p.status FROM core.payments AS p WHERE p.id = v_payment.id);
END;
$$;

COMMENT ON FUNCTION api.settle_payment(text, text) IS
'Applies event p_event of p_provider, once, and returns what became of it (outcome as in api.payment_events; repeated where it was done with before), the payment and its status. Paid: the tokens move from issuance to the buyer in the same commit. Events may come in any order.';
