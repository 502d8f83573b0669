-- _ticket_cases: what is known of requests for tickets, once their streams are locked.
-- Locks    nothing
-- Decides  replays by their keys; refusals; and whose turn it is: of the requests of a viewer for a stream the first, of those
--          for a stream as many as there are seats. The others wait until these are decided
-- Writes   nothing
-- Errors   TS106 IDEMPOTENCY_KEY_INVALID, TS111 OWN_STREAM, TS211 USER_NOT_FOUND, TS218 STREAM_NOT_FOUND,
--          TS301 IDEMPOTENCY_KEY_REUSED, TS325 TICKET_ALREADY_PURCHASED, TS326 SOLD_OUT, TS327 SALES_CLOSED,
--          TS502 USER_SUSPENDED (returned, not raised)
CREATE OR REPLACE FUNCTION core._ticket_cases(p_tickets api.ticket_request [], p_pending integer [], p_fee_bps numeric)
RETURNS SETOF core.ticket_case
LANGUAGE sql STABLE
AS $$
    SELECT
        d.ord, d.viewer_id, d.stream_id, d.creator_id, d.idempotency_key, d.request_hash, d.price,
        CASE WHEN p_fee_bps > 0 THEN floor(d.price * p_fee_bps / 10000)::bigint ELSE 0 END,
        d.viewer_wallet_id, d.creator_wallet_id, d.kept_id, d.refusal,
        d.kept_id IS NOT NULL OR (d.refusal).error_code IS NOT NULL OR (
            d.nth = 1 AND coalesce(d.place <= d.seats_left, true)
        )
    FROM (
        SELECT
            n.*,
            count(*) FILTER (WHERE n.nth = 1 AND n.kept_id IS NULL AND (n.refusal).error_code IS NULL)
                OVER (PARTITION BY n.stream_id ORDER BY n.ord) AS place
        FROM (
            SELECT
                c.*,
                row_number() OVER (PARTITION BY c.viewer_id, c.stream_id ORDER BY c.ord) AS nth,
                CASE
                    WHEN octet_length(c.idempotency_key) NOT BETWEEN 1 AND 255
                        THEN ROW('TS106', 'IDEMPOTENCY_KEY_INVALID', jsonb_build_object('bytes', octet_length(c.idempotency_key), 'maximum_bytes', 255))::core.refusal
                    WHEN c.key_hash <> c.request_hash THEN core._key_reused(c.idempotency_key)
                    WHEN c.viewer_status IS NULL
                        THEN ROW('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', c.viewer_id))::core.refusal
                    WHEN c.viewer_status <> 'active'
                        THEN ROW('TS502', 'USER_SUSPENDED', jsonb_build_object('user_id', c.viewer_id))::core.refusal
                    WHEN c.price IS NULL
                        THEN ROW('TS218', 'STREAM_NOT_FOUND', jsonb_build_object('stream_id', c.stream_id))::core.refusal
                    WHEN c.creator_id = c.viewer_id
                        THEN ROW('TS111', 'OWN_STREAM', jsonb_build_object('stream_id', c.stream_id))::core.refusal
                    WHEN c.has_id IS NOT NULL
                        THEN ROW('TS325', 'TICKET_ALREADY_PURCHASED', jsonb_build_object('stream_id', c.stream_id, 'ticket_id', c.has_id))::core.refusal
                    WHEN c.closed IS NOT NULL
                        THEN ROW('TS327', 'SALES_CLOSED', jsonb_build_object('stream_id', c.stream_id, 'reason', c.closed))::core.refusal
                    WHEN c.seats_left <= 0
                        THEN ROW('TS326', 'SOLD_OUT', jsonb_build_object('stream_id', c.stream_id, 'seats', c.seats))::core.refusal
                END AS refusal
            FROM (
                SELECT
                    r.ord::integer AS ord, r.viewer_id, r.stream_id, r.idempotency_key, h.request_hash,
                    u.status AS viewer_status, s.creator_id, s.ticket_price AS price, s.seats, s.seats - s.seats_sold AS seats_left,
                    CASE
                        WHEN s.cancelled_at IS NOT NULL THEN 'cancelled'
                        WHEN s.status = 'ended' THEN 'ended'
                        WHEN s.visibility = 'public' THEN 'public_stream'
                        WHEN s.sales_from > clock_timestamp() THEN 'not_yet'
                        WHEN s.sales_to <= clock_timestamp() THEN 'over'
                    END AS closed,
                    k.request_hash AS key_hash,
                    CASE WHEN k.request_hash = h.request_hash THEN t.id END AS kept_id,
                    t.id AS has_id, vw.id AS viewer_wallet_id, cw.id AS creator_wallet_id
                FROM unnest(p_tickets) WITH ORDINALITY AS r (viewer_id, stream_id, idempotency_key, ord)
                CROSS JOIN LATERAL (
                    SELECT core._request_hash(r.idempotency_key, record_send(ROW('ticket'::text, r.viewer_id, r.stream_id)))
                ) AS h (request_hash)
                LEFT JOIN LATERAL (SELECT x.status FROM core.users AS x WHERE x.id = r.viewer_id LIMIT 1) AS u ON true
                LEFT JOIN LATERAL (SELECT x.* FROM core.streams AS x WHERE x.id = r.stream_id LIMIT 1) AS s ON true
                LEFT JOIN LATERAL (
                    SELECT x.request_hash FROM core.idempotency_keys AS x
                    WHERE x.actor_id = r.viewer_id AND x.key = r.idempotency_key LIMIT 1
                ) AS k ON true
                LEFT JOIN LATERAL (
                    SELECT x.id FROM core.tickets AS x WHERE x.stream_id = r.stream_id AND x.viewer_id = r.viewer_id LIMIT 1
                ) AS t ON true
                LEFT JOIN LATERAL (
                    SELECT w.id FROM core.wallets AS w WHERE w.owner_id = r.viewer_id AND w.asset = 'TOKEN' LIMIT 1
                ) AS vw ON true
                LEFT JOIN LATERAL (
                    SELECT w.id FROM core.wallets AS w WHERE w.owner_id = s.creator_id AND w.asset = 'TOKEN' LIMIT 1
                ) AS cw ON true
                WHERE r.ord = ANY (p_pending)
            ) AS c
        ) AS n
    ) AS d
    ORDER BY d.ord
$$;

COMMENT ON FUNCTION core._ticket_cases(api.ticket_request [], integer [], numeric) IS
'The requests at positions p_pending, each with stream, price, fee, wallets, and what speaks against it.';
