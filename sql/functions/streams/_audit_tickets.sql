-- _audit_tickets: the invariants that tie tickets to the ledger and to their streams.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._audit_tickets() RETURNS TABLE (rule text, subject text, detail jsonb)
LANGUAGE sql STABLE
AS $$
    SELECT
        'ticket_has_transfer', 'ticket ' || t.id::text,
        jsonb_build_object('price', t.price, 'platform_fee', t.platform_fee, 'moved', m.amount, 'kind', m.kind)
    FROM core.tickets AS t
    INNER JOIN core.streams AS s ON s.id = t.stream_id
    LEFT JOIN core.transfers AS m ON m.id = t.transfer_id
    LEFT JOIN core.wallets AS f ON f.id = m.from_wallet_id
    LEFT JOIN core.wallets AS o ON o.id = m.to_wallet_id
    WHERE
        t.price > 0 AND NOT core._is_detached(t.transfer_id) AND (
            m.id IS NULL OR f.owner_id IS DISTINCT FROM t.viewer_id
            OR m.amount <> CASE m.kind WHEN 'stream_ticket' THEN t.price - t.platform_fee ELSE t.platform_fee END
            OR (m.kind = 'stream_ticket' AND o.owner_id IS DISTINCT FROM s.creator_id) OR m.kind NOT IN ('stream_ticket', 'fee')
        )
    UNION ALL
    SELECT 'ticket_transfer_has_ticket', 'transfer ' || m.id::text, jsonb_build_object('amount', m.amount)
    FROM core.transfers AS m
    LEFT JOIN core.tickets AS t ON t.transfer_id = m.id
    WHERE m.kind = 'stream_ticket' AND t.id IS NULL
    UNION ALL
    SELECT
        'seats_sold_are_tickets', 'stream ' || s.id::text,
        jsonb_build_object('seats', s.seats, 'seats_sold', s.seats_sold, 'tickets', count(t.id))
    FROM core.streams AS s
    LEFT JOIN core.tickets AS t ON t.stream_id = s.id
    GROUP BY s.id
    HAVING s.seats_sold <> count(t.id)
    UNION ALL
    SELECT
        'cancelled_stream_has_no_paid_ticket', 'ticket ' || t.id::text,
        jsonb_build_object('stream_id', s.id, 'price', t.price, 'refunded', coalesce(r.amount, 0))
    FROM core.tickets AS t
    INNER JOIN core.streams AS s ON s.id = t.stream_id
    LEFT JOIN (
        SELECT x.original_id, sum(x.amount) AS amount FROM core.refunds AS x GROUP BY x.original_id
    ) AS r ON r.original_id = t.transfer_id
    WHERE
        s.cancelled_at IS NOT NULL AND (t.refunded_at IS NULL OR (
            t.price > 0 AND r.amount IS DISTINCT FROM t.price - CASE WHEN t.platform_fee < t.price THEN t.platform_fee ELSE 0 END
        ))
    UNION ALL
    -- the fee beside the payment: the viewer's next entry
    SELECT
        'cancelled_stream_has_no_paid_ticket', 'ticket ' || t.id::text,
        jsonb_build_object('stream_id', s.id, 'platform_fee', t.platform_fee, 'refunded', coalesce(r.amount, 0))
    FROM core.tickets AS t
    INNER JOIN core.streams AS s ON s.id = t.stream_id
    INNER JOIN core.transfers AS m ON m.id = t.transfer_id
    LEFT JOIN core.entries AS e ON e.wallet_id = m.from_wallet_id AND e.seq = m.from_seq + 1
    LEFT JOIN (
        SELECT x.original_id, sum(x.amount) AS amount FROM core.refunds AS x GROUP BY x.original_id
    ) AS r ON r.original_id = e.transfer_id
    WHERE
        s.cancelled_at IS NOT NULL AND t.platform_fee > 0 AND t.platform_fee < t.price
        AND r.amount IS DISTINCT FROM t.platform_fee
$$;

COMMENT ON FUNCTION core._audit_tickets() IS 'Broken invariants of tickets, as api.audit_ledger() returns them.';
