-- _ticket_cases: what is known of requests for tickets, once their streams are locked.
-- Locks    nothing
-- Decides  replays by their keys; refusals; and whose turn it is. A request waits while one before it could still have its seat,
--          its ticket or its key; and so do the later ones of its viewer, who spends in order. Once the wallets are locked
--          (p_creators), one that cannot be paid for in any case is before nobody
-- Writes   nothing
-- Errors   TS106 IDEMPOTENCY_KEY_INVALID, TS111 OWN_STREAM, TS211 USER_NOT_FOUND, TS218 STREAM_NOT_FOUND,
--          TS301 IDEMPOTENCY_KEY_REUSED, TS325 TICKET_ALREADY_PURCHASED, TS326 SOLD_OUT, TS327 SALES_CLOSED,
--          TS502 USER_SUSPENDED (returned, not raised)
CREATE OR REPLACE FUNCTION core._ticket_cases(
    p_tickets api.ticket_request [], p_pending integer [], p_fee_bps numeric, p_creators uuid []
)
RETURNS SETOF core.ticket_case
LANGUAGE sql STABLE
AS $$
    SELECT
        d.ord, d.viewer_id, d.stream_id, d.creator_id, d.idempotency_key, d.request_hash, d.price,
        CASE WHEN p_fee_bps > 0 THEN floor(d.price * p_fee_bps / 10000)::bigint ELSE 0 END,
        d.viewer_wallet_id, d.creator_wallet_id, d.kept_id, d.refusal,
        NOT d.waits AND NOT (d.open AND bool_or(d.waits) OVER (PARTITION BY d.viewer_id ORDER BY d.ord))
    FROM (
        SELECT
            n.*,
            (
                n.open AND (
                    coalesce(sum(n.able) OVER (PARTITION BY n.stream_id ORDER BY n.ord) - n.able >= n.seats_left, false)
                    OR sum(n.able) OVER (PARTITION BY n.viewer_id, n.stream_id ORDER BY n.ord) > n.able
                )
            ) OR (
                n.idempotency_key IS NOT NULL
                AND sum(n.able) OVER (PARTITION BY n.viewer_id, n.idempotency_key ORDER BY n.ord) > n.able
            ) AS waits
        FROM (
            SELECT
                c.*,
                c.kept_id IS NULL AND (c.refusal).error_code IS NULL AS open,
                (
                    c.kept_id IS NULL AND (c.refusal).error_code IS NULL
                    AND (p_creators IS NULL OR c.can_pay OR c.price = 0 OR c.viewer_id = ANY (p_creators)) IS TRUE
                )::integer AS able
            FROM (
                SELECT
                    r.ord::integer AS ord, r.viewer_id, r.stream_id, r.idempotency_key, h.request_hash, s.creator_id,
                    s.ticket_price AS price, s.seats - s.seats_sold AS seats_left, vw.id AS viewer_wallet_id,
                    cw.id AS creator_wallet_id,
                    vw.status = 'active' AND vw.balance - vw.minimum >= s.ticket_price
                    AND (p_fee_bps = 10000 OR cw.status IN ('active', 'debits_frozen')) AS can_pay,
                    CASE WHEN k.request_hash = h.request_hash THEN t.id END AS kept_id,
                    CASE
                        WHEN octet_length(r.idempotency_key) NOT BETWEEN 1 AND 255
                            THEN ROW('TS106', 'IDEMPOTENCY_KEY_INVALID', jsonb_build_object('bytes', octet_length(r.idempotency_key), 'maximum_bytes', 255))::core.refusal
                        WHEN k.request_hash <> h.request_hash THEN core._key_reused(r.idempotency_key)
                        WHEN u.status IS NULL
                            THEN ROW('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', r.viewer_id))::core.refusal
                        WHEN u.status <> 'active'
                            THEN ROW('TS502', 'USER_SUSPENDED', jsonb_build_object('user_id', r.viewer_id))::core.refusal
                        WHEN s.ticket_price IS NULL
                            THEN ROW('TS218', 'STREAM_NOT_FOUND', jsonb_build_object('stream_id', r.stream_id))::core.refusal
                        WHEN s.creator_id = r.viewer_id
                            THEN ROW('TS111', 'OWN_STREAM', jsonb_build_object('stream_id', r.stream_id))::core.refusal
                        WHEN t.id IS NOT NULL
                            THEN ROW('TS325', 'TICKET_ALREADY_PURCHASED', jsonb_build_object('stream_id', r.stream_id, 'ticket_id', t.id))::core.refusal
                        WHEN s.closed IS NOT NULL
                            THEN ROW('TS327', 'SALES_CLOSED', jsonb_build_object('stream_id', r.stream_id, 'reason', s.closed))::core.refusal
                        WHEN s.seats_sold >= s.seats
                            THEN ROW('TS326', 'SOLD_OUT', jsonb_build_object('stream_id', r.stream_id, 'seats', s.seats))::core.refusal
                    END AS refusal
                FROM unnest(p_tickets) WITH ORDINALITY AS r (viewer_id, stream_id, idempotency_key, ord)
                CROSS JOIN LATERAL (
                    SELECT core._request_hash(r.idempotency_key, record_send(ROW('ticket'::text, r.viewer_id, r.stream_id)))
                    OFFSET 0
                ) AS h (request_hash)
                -- LIMIT: a plain join, planned while the tables are small, reads all of one; and a session keeps its plans
                LEFT JOIN LATERAL (SELECT x.status FROM core.users AS x WHERE x.id = r.viewer_id LIMIT 1) AS u ON true
                LEFT JOIN LATERAL (
                    SELECT
                        x.creator_id, x.ticket_price, x.seats, x.seats_sold,
                        CASE
                            WHEN x.cancelled_at IS NOT NULL THEN 'cancelled'
                            WHEN x.status = 'ended' THEN 'ended'
                            WHEN x.visibility = 'public' THEN 'public_stream'
                            -- who is suspended cannot start it
                            WHEN (SELECT o.status FROM core.users AS o WHERE o.id = x.creator_id LIMIT 1) IS DISTINCT FROM 'active'
                                THEN 'creator_suspended'
                            WHEN x.sales_from > clock_timestamp() THEN 'not_yet'
                            WHEN x.sales_to <= clock_timestamp() THEN 'over'
                        END AS closed
                    FROM core.streams AS x
                    WHERE x.id = r.stream_id
                    LIMIT 1
                ) AS s ON true
                LEFT JOIN LATERAL (
                    SELECT x.request_hash FROM core.idempotency_keys AS x
                    WHERE x.actor_id = r.viewer_id AND x.key = r.idempotency_key LIMIT 1
                ) AS k ON true
                LEFT JOIN LATERAL (
                    SELECT x.id FROM core.tickets AS x WHERE x.stream_id = r.stream_id AND x.viewer_id = r.viewer_id LIMIT 1
                ) AS t ON true
                LEFT JOIN LATERAL (
                    SELECT w.id, w.status, w.balance, w.minimum FROM core.wallets AS w
                    WHERE w.owner_id = r.viewer_id AND w.asset = 'TOKEN' LIMIT 1
                ) AS vw ON true
                LEFT JOIN LATERAL (
                    SELECT w.id, w.status FROM core.wallets AS w WHERE w.owner_id = s.creator_id AND w.asset = 'TOKEN' LIMIT 1
                ) AS cw ON true
                WHERE p_pending IS NULL OR r.ord = ANY (p_pending)
                OFFSET 0
            ) AS c
        ) AS n
    ) AS d
    ORDER BY d.ord
$$;

COMMENT ON FUNCTION core._ticket_cases(api.ticket_request [], integer [], numeric, uuid []) IS
'The requests at positions p_pending (NULL: all), each with stream, price, fee, wallets, and what speaks against it. p_creators: who may get tokens by these requests; NULL while the wallets are not locked, so that anybody may be able to pay.';
