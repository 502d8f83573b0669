-- finish_webhook: what became of an attempt. The scheduler's part.
-- Locks    the endpoint's queue, the delivery; the endpoint where it is disabled
-- Decides  that the attempt is the present one; whether it was delivered, is tried again and when, or is dead; that what an endpoint
--          answered before it was changed says nothing of it now
-- Writes   webhook_deliveries, webhook_attempts, webhook_queues; webhook_endpoints and outbox 'webhook.disabled'
-- Errors   TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.finish_webhook(
    p_delivery uuid,
    p_attempt integer,
    p_status integer,
    p_error text,
    p_duration_ms integer,
    p_answer text DEFAULT NULL,
    p_retry_after integer DEFAULT NULL
) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c_day CONSTANT integer := 86400;
    v_now CONSTANT timestamptz := clock_timestamp();
    v_good CONSTANT boolean := p_error IS NULL AND coalesce(p_status BETWEEN 200 AND 299, false);
    v_error CONSTANT text := CASE WHEN NOT v_good THEN coalesce(p_error, 'status') END;
    v_delivery core.webhook_deliveries;
    v_former boolean;
    v_gone boolean;
    v_queue core.webhook_queues;
    v_wait interval;
    v_status text;
BEGIN
    PERFORM FROM core.webhook_queues AS q
    WHERE q.endpoint_id = (SELECT d.endpoint_id FROM core.webhook_deliveries AS d WHERE d.id = p_delivery)
    FOR NO KEY UPDATE;
    SELECT d.* INTO v_delivery
    FROM core.webhook_deliveries AS d
    WHERE d.id = p_delivery AND d.attempts = p_attempt AND d.leased_until IS NOT NULL
    FOR NO KEY UPDATE;
    IF v_delivery.id IS NULL THEN
        RETURN 'stale';
    END IF;
    -- it may have another URL by now
    v_former := coalesce((
        SELECT e.status = 'active' AND e.updated_at > v_delivery.leased_at FROM core.webhook_endpoints AS e WHERE e.id = v_delivery.endpoint_id
    ), false);
    v_gone := coalesce(p_status = 410, false) AND NOT v_former;
    -- a test is tried once
    v_wait := CASE WHEN NOT v_good AND NOT v_gone AND v_delivery.event_id IS NOT NULL THEN core._webhook_wait(v_delivery.tries + 1) END;
    v_status := CASE WHEN v_good THEN 'delivered' WHEN v_wait IS NULL THEN 'dead' ELSE 'pending' END;
    UPDATE core.webhook_deliveries AS d
    SET
        status = v_status, tries = d.tries + 1, leased_at = NULL, leased_until = NULL, last_status = p_status, last_error = v_error,
        due_at = CASE
            WHEN v_wait IS NULL THEN d.due_at
            ELSE v_now + greatest(v_wait * (1 + random() / 5), least(coalesce(p_retry_after, 0), c_day) * interval '1 second')
        END,
        ended_at = CASE WHEN v_status <> 'pending' THEN v_now END
    WHERE d.id = p_delivery;
    INSERT INTO core.webhook_attempts (delivery_id, attempt, started_at, duration_ms, status, error, answer)
    VALUES (p_delivery, p_attempt, v_delivery.leased_at, greatest(p_duration_ms, 0), p_status, v_error, left(p_answer, 1024));

    UPDATE core.webhook_queues AS q
    SET
        next_at = least(q.next_at, v_now),
        failures = CASE WHEN v_good THEN 0 WHEN v_former OR v_delivery.event_id IS NULL THEN q.failures ELSE q.failures + 1 END,
        failing_since = CASE
            WHEN v_good THEN NULL
            WHEN v_former OR v_delivery.event_id IS NULL THEN q.failing_since
            ELSE coalesce(q.failing_since, v_now)
        END
    WHERE q.endpoint_id = v_delivery.endpoint_id
    RETURNING q.* INTO v_queue;
    IF v_gone THEN
        PERFORM core._disable_webhook(v_delivery.endpoint_id, 'gone');
    ELSIF v_queue.failures > 0 AND v_queue.failures >= core._rate('webhook_disable_failures')
        AND v_queue.failing_since <= v_now - core._rate('webhook_disable_after') * interval '1 second' THEN
        PERFORM core._disable_webhook(v_delivery.endpoint_id, 'failing');
    END IF;
    RETURN CASE v_status WHEN 'pending' THEN 'retried' ELSE v_status END;
END;
$$;

COMMENT ON FUNCTION api.finish_webhook(uuid, integer, integer, text, integer, text, integer) IS
'Notes what became of attempt p_attempt to send a delivery: the status of the answer, or p_error in one word where there was none or it was no success; how long it took, the beginning of the answer, and for how many seconds the receiver asked to be left alone. Returns delivered; retried: it is due again by the schedule; dead: there is no further attempt; stale: it was another''s by then, and nothing is noted. 410, and failing for as long and as often as the rates webhook_disable_after and webhook_disable_failures say, disables the endpoint, of which its user is told by the event webhook.disabled; but not where the endpoint was changed after the attempt began: that is a failure to be tried again, and counts for nothing else.';
