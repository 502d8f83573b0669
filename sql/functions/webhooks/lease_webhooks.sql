-- lease_webhooks: deliveries to be sent now, for whoever asks and nobody else. The scheduler's part.
-- Locks    queues of endpoints that have something due, skipping those that another has; then deliveries
-- Decides  who has waited longest comes first; an endpoint gets no more at once than the rate webhook_in_flight says, and one
--          after the other while it fails. What was leased and not heard of again is due
-- Writes   webhook_deliveries, webhook_queues; webhook_attempts 'interrupted'
-- Errors   TS101 INVALID_REQUEST, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.lease_webhooks(p_limit integer DEFAULT 50, p_lease interval DEFAULT '1 minute')
RETURNS TABLE (
    delivery_id uuid, attempt integer, endpoint_id uuid, url text, secrets text [], type text, event_at timestamptz, payload jsonb
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
    v_bound CONSTANT integer := greatest(core._rate('webhook_in_flight'), 1);
    v_left integer := p_limit;
    v_queue record;
    v_room integer;
    v_leased bigint;
BEGIN
    IF (p_limit BETWEEN 1 AND 1000 AND p_lease BETWEEN interval '1 millisecond' AND interval '1 hour') IS NOT TRUE THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', CASE WHEN p_limit BETWEEN 1 AND 1000 THEN 'p_lease' ELSE 'p_limit' END),
            'A limit of 1 to 1000, for an hour at most.'
        );
    END IF;
    FOR v_queue IN
        SELECT q.endpoint_id, q.failures
        FROM core.webhook_queues AS q
        WHERE q.next_at <= v_now
        ORDER BY q.next_at
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        EXIT WHEN v_left <= 0;
        IF NOT EXISTS (
            SELECT FROM core.webhook_endpoints AS e
            INNER JOIN core.users AS u ON u.id = e.user_id
            WHERE e.id = v_queue.endpoint_id AND e.status = 'active' AND e.deleted_at IS NULL AND u.status = 'active'
        ) THEN
            -- an endpoint is woken when it is enabled; nobody says when its user is suspended no more
            UPDATE core.webhook_queues AS q
            SET next_at = (
                SELECT v_now + interval '1 minute'
                FROM core.webhook_endpoints AS e
                WHERE e.id = q.endpoint_id AND e.status = 'active' AND e.deleted_at IS NULL
            )
            WHERE q.endpoint_id = v_queue.endpoint_id;
            CONTINUE;
        END IF;
        WITH silent AS (
            SELECT d.id, d.attempts, d.leased_at
            FROM core.webhook_deliveries AS d
            WHERE d.endpoint_id = v_queue.endpoint_id AND d.leased_until <= v_now
            FOR NO KEY UPDATE
        ), noted AS (
            INSERT INTO core.webhook_attempts (delivery_id, attempt, started_at, error)
            SELECT s.id, s.attempts, s.leased_at, 'interrupted' FROM silent AS s
        )
        UPDATE core.webhook_deliveries AS d SET leased_at = NULL, leased_until = NULL, last_status = NULL, last_error = 'interrupted'
        FROM silent AS s
        WHERE d.id = s.id;
        v_room := least(
            v_left,
            CASE WHEN v_queue.failures > 0 THEN 1 ELSE v_bound END - (
                SELECT count(*) FROM core.webhook_deliveries AS d WHERE d.endpoint_id = v_queue.endpoint_id AND d.leased_until IS NOT NULL
            )
        );
        v_leased := 0;
        IF v_room > 0 THEN
            RETURN QUERY
            UPDATE core.webhook_deliveries AS d
            SET leased_at = v_now, leased_until = v_now + p_lease, attempts = d.attempts + 1
            FROM (
                SELECT x.id
                FROM core.webhook_deliveries AS x
                WHERE x.endpoint_id = v_queue.endpoint_id AND x.status = 'pending' AND x.leased_until IS NULL AND x.due_at <= v_now
                ORDER BY x.due_at
                LIMIT v_room
                FOR NO KEY UPDATE
            ) AS n
            INNER JOIN core.webhook_endpoints AS e ON e.id = v_queue.endpoint_id
            WHERE d.id = n.id
            RETURNING
                d.id, d.attempts, d.endpoint_id, e.url,
                ARRAY(
                    SELECT s.secret
                    FROM core.webhook_secrets AS s
                    WHERE s.endpoint_id = v_queue.endpoint_id AND (s.until IS NULL OR s.until > v_now)
                    ORDER BY s.created_at DESC
                ),
                d.type, d.event_at, d.payload;
            GET DIAGNOSTICS v_leased = ROW_COUNT;
            v_left := v_left - v_leased;
        END IF;
        UPDATE core.webhook_queues AS q
        SET
            next_at = least(
                (SELECT min(d.leased_until) FROM core.webhook_deliveries AS d WHERE d.endpoint_id = q.endpoint_id AND d.leased_until IS NOT NULL),
                -- where there is no room, whoever finishes says so
                CASE WHEN v_left <= 0 OR v_room > v_leased THEN (
                    SELECT CASE WHEN min(d.due_at) IS NOT NULL THEN greatest(min(d.due_at), v_now) END
                    FROM core.webhook_deliveries AS d
                    WHERE d.endpoint_id = q.endpoint_id AND d.status = 'pending' AND d.leased_until IS NULL
                ) END
            )
        WHERE q.endpoint_id = v_queue.endpoint_id;
    END LOOP;
END;
$$;

REVOKE EXECUTE ON FUNCTION api.lease_webhooks(integer, interval) FROM tessera_app, tessera_dba;
COMMENT ON FUNCTION api.lease_webhooks(integer, interval) IS
'Up to p_limit deliveries that are due, with what is needed to send and sign them, and the number of the attempt. They are the caller''s for p_lease: send them after the commit and tell api.finish_webhook; what is not heard of by then is due again, with the same id. For the scheduler only, for it shows secrets.';
