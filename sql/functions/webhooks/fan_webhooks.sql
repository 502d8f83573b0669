-- fan_webhooks: events of channels become deliveries to the endpoints that want them. The scheduler's part.
-- Locks    cursors that are behind, skipping those that another has; then the queues of their endpoints in order
-- Decides  of each channel that moved, what is new: at most p_events events. A position whose events are not all there any more
--          goes on at the present one
-- Writes   webhook_deliveries, each event once an endpoint; webhook_cursors; webhook_queues
-- Errors   TS101 INVALID_REQUEST
CREATE OR REPLACE FUNCTION api.fan_webhooks(p_after uuid DEFAULT NULL, p_cursors integer DEFAULT 200, p_events integer DEFAULT 100)
RETURNS TABLE (last_endpoint uuid, events bigint, deliveries bigint, lost bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    c_bytes CONSTANT integer := 19000;
    v_now CONSTANT timestamptz := clock_timestamp();
    v_epoch CONSTANT uuid := (SELECT r.epoch FROM core.relay_state AS r);
    v_endpoints uuid [];
    v_channels text [];
    v_woken uuid [];
BEGIN
    IF (p_cursors BETWEEN 1 AND 10000 AND p_events BETWEEN 1 AND 10000) IS NOT TRUE THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', CASE WHEN p_cursors BETWEEN 1 AND 10000 THEN 'p_events' ELSE 'p_cursors' END),
            'Limits of 1 to 10000.'
        );
    END IF;
    SELECT array_agg(b.endpoint_id), array_agg(b.channel) INTO v_endpoints, v_channels
    FROM (
        SELECT w.endpoint_id, w.channel
        FROM core.webhook_cursors AS w
        -- in subqueries: however few rows the planner expects, each position costs a few looks into indexes
        WHERE w.endpoint_id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
            AND (w.epoch <> v_epoch OR w.seq <> coalesce((SELECT c.seq FROM core.channels AS c WHERE c.channel = w.channel), 0))
            AND (
                SELECT
                    e.status = 'active' AND e.deleted_at IS NULL
                    AND (SELECT u.status = 'active' FROM core.users AS u WHERE u.id = e.user_id)
                FROM core.webhook_endpoints AS e
                WHERE e.id = w.endpoint_id
            )
        ORDER BY w.endpoint_id, w.channel
        LIMIT p_cursors
        FOR NO KEY UPDATE OF w SKIP LOCKED
    ) AS b;
    IF v_endpoints IS NULL THEN
        RETURN QUERY SELECT NULL::uuid, 0::bigint, 0::bigint, 0::bigint;
        RETURN;
    END IF;

    WITH behind AS MATERIALIZED (
        SELECT
            w.endpoint_id, w.channel, w.seq AS from_seq, c.id AS channel_id, r.epoch, e.event_types,
            coalesce(c.seq, 0) AS head,
            CASE WHEN w.epoch = r.epoch AND w.seq <= coalesce(c.seq, 0) THEN least(c.seq, w.seq + p_events) END AS to_seq
        FROM unnest(v_endpoints, v_channels) AS k (endpoint_id, channel)
        INNER JOIN core.webhook_cursors AS w ON w.endpoint_id = k.endpoint_id AND w.channel = k.channel
        INNER JOIN core.webhook_endpoints AS e ON e.id = w.endpoint_id
        CROSS JOIN core.relay_state AS r
        LEFT JOIN core.channels AS c ON c.channel = w.channel
    ), found AS MATERIALIZED (
        SELECT
            b.endpoint_id, b.channel, o.id, o.type, o.payload, o.created_at, core._webhook_wants(b.event_types, o.type) AS wanted,
            b.to_seq - b.from_seq AS expected, count(*) OVER (PARTITION BY b.endpoint_id, b.channel) AS present
        FROM behind AS b
        CROSS JOIN LATERAL (
            SELECT x.xid, x.id, x.created_at
            FROM core.channel_events AS x
            WHERE x.channel_id = b.channel_id AND x.seq > b.from_seq AND x.seq <= b.to_seq
        ) AS n
        CROSS JOIN LATERAL (
            SELECT x.id, x.type, x.payload, x.created_at FROM core.outbox AS x WHERE x.xid = n.xid AND x.id = n.id AND x.created_at = n.created_at
        ) AS o
    ), steps AS MATERIALIZED (
        SELECT b.*, coalesce(f.present = f.expected, b.to_seq = b.from_seq, false) AS whole
        FROM behind AS b
        LEFT JOIN (SELECT DISTINCT y.endpoint_id, y.channel, y.expected, y.present FROM found AS y) AS f
            ON f.endpoint_id = b.endpoint_id AND f.channel = b.channel
    ), made AS (
        -- in an order that all keep to: of an event in two channels the second waits for the first
        INSERT INTO core.webhook_deliveries AS d (endpoint_id, event_id, type, payload, event_at, due_at)
        SELECT DISTINCT ON (f.endpoint_id, f.id)
            f.endpoint_id, f.id, f.type,
            CASE
                WHEN octet_length(f.payload::text) <= c_bytes THEN f.payload
                ELSE jsonb_build_object('omitted', true, 'bytes', octet_length(f.payload::text))
            END,
            f.created_at, v_now
        FROM found AS f
        WHERE f.present = f.expected AND f.wanted
        ORDER BY f.endpoint_id, f.id
        ON CONFLICT ON CONSTRAINT webhook_deliveries_event DO NOTHING
        RETURNING d.endpoint_id
    ), moved AS (
        UPDATE core.webhook_cursors AS w
        SET
            epoch = s.epoch, seq = CASE WHEN s.whole THEN s.to_seq ELSE s.head END,
            lost_at = CASE WHEN s.whole THEN w.lost_at ELSE v_now END
        FROM steps AS s
        WHERE w.endpoint_id = s.endpoint_id AND w.channel = s.channel
        RETURNING s.whole, CASE WHEN s.whole THEN s.to_seq - s.from_seq ELSE 0 END AS events
    )
    SELECT
        (SELECT sum(m.events)::bigint FROM moved AS m), (SELECT count(*) FROM moved AS m WHERE NOT m.whole),
        (SELECT count(*) FROM made AS d), ARRAY(SELECT DISTINCT d.endpoint_id FROM made AS d)
    INTO events, lost, deliveries, v_woken;

    PERFORM FROM core.webhook_queues AS q WHERE q.endpoint_id = ANY (v_woken) ORDER BY q.endpoint_id FOR NO KEY UPDATE;
    UPDATE core.webhook_queues AS q SET next_at = v_now
    WHERE q.endpoint_id = ANY (v_woken) AND (q.next_at > v_now OR q.next_at IS NULL);
    last_endpoint := v_endpoints[cardinality(v_endpoints)];
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION api.fan_webhooks(uuid, integer, integer) IS
'Turns events of the channels user:<id> and creator:<id> into deliveries to the endpoints of that user that want them: the next p_events events of up to p_cursors channels of endpoints after p_after. Returns the endpoint it got to (NULL: there was none left), how many events it looked at, deliveries it made, and positions that were lost. Call it from the last endpoint on until there is none left, and from the beginning until nothing is done; the scheduler does.';
