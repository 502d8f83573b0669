-- _audit_calls: the invariants that tie calls, their clocks and their blocks to the ledger.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._audit_calls() RETURNS TABLE (rule text, subject text, detail jsonb)
LANGUAGE sql STABLE
AS $$
    SELECT
        'call_total_is_sum_of_blocks', 'call ' || c.id::text,
        jsonb_build_object(
            'blocks', coalesce(k.blocks, c.blocks), 'billed', coalesce(k.billed, c.billed), 'fees', coalesce(k.platform_fees, c.platform_fees),
            'sum_of_blocks', b.billed, 'sum_of_fees', b.fees, 'count', b.blocks
        )
    FROM core.calls AS c
    LEFT JOIN core.call_clocks AS k ON k.call_id = c.id
    LEFT JOIN (
        SELECT m.call_id, count(*) AS blocks, sum(m.price) AS billed, sum(m.platform_fee) AS fees
        FROM core.meter_blocks AS m
        WHERE m.refunded_at IS NULL
        GROUP BY m.call_id
    ) AS b ON b.call_id = c.id
    WHERE
        (coalesce(k.blocks, c.blocks), coalesce(k.billed, c.billed), coalesce(k.platform_fees, c.platform_fees))
        IS DISTINCT FROM (coalesce(b.blocks, 0), coalesce(b.billed, 0), coalesce(b.fees, 0))
    UNION ALL
    SELECT 'block_has_transfer', 'call ' || b.call_id::text, jsonb_build_object('block_no', b.block_no, 'price', b.price, 'moved', m.amount)
    FROM core.meter_blocks AS b
    LEFT JOIN core.calls AS c ON c.id = b.call_id
    LEFT JOIN core.transfers AS m ON m.id = b.transfer_id
    LEFT JOIN core.transfers AS f ON f.id = b.fee_transfer_id
    WHERE
        NOT core._is_detached(b.transfer_id) AND (
            m.id IS NULL OR m.from_wallet_id IS DISTINCT FROM c.fan_wallet_id
            OR m.kind IS DISTINCT FROM CASE WHEN b.platform_fee = b.price THEN 'fee' ELSE 'call_block' END
            OR (m.kind = 'call_block' AND m.to_wallet_id IS DISTINCT FROM c.creator_wallet_id)
            OR m.amount + coalesce(f.amount::bigint, 0) <> b.price OR coalesce(f.amount::bigint, 0) <> b.platform_fee AND m.kind <> 'fee'
            OR (f.id IS NOT NULL AND (f.kind <> 'fee' OR f.from_wallet_id <> c.fan_wallet_id))
            OR b.price IS DISTINCT FROM c.block_price
        )
    UNION ALL
    SELECT 'call_transfer_has_block', 'transfer ' || m.id::text, jsonb_build_object('amount', m.amount, 'call', m.reference)
    FROM core.transfers AS m
    WHERE
        m.kind = 'call_block'
        AND NOT EXISTS (SELECT FROM core.meter_blocks AS b WHERE b.call_id::text = m.reference AND b.transfer_id = m.id)
    UNION ALL
    SELECT
        'blocks_are_in_order_and_within_limit', 'call ' || b.call_id::text,
        jsonb_build_object('blocks', count(*), 'last', max(b.block_no), 'limit', c.block_limit)
    FROM core.meter_blocks AS b
    LEFT JOIN core.calls AS c ON c.id = b.call_id
    GROUP BY b.call_id, c.id
    HAVING c.id IS NULL OR max(b.block_no) + 1 <> count(*) OR count(*) > c.block_limit
    UNION ALL
    SELECT
        'blocks_are_for_active_time', 'call ' || c.id::text,
        jsonb_build_object('blocks', c.blocks, 'active_us', c.active_us, 'block_us', c.block_us)
    FROM core.calls AS c
    WHERE
        c.status = 'ended'
        AND (c.blocks > c.active_us / c.block_us + 1 OR c.active_us > c.blocks * c.block_us)
        AND NOT EXISTS (SELECT FROM core.audit_log AS l WHERE l.action = 'call.refund_refused' AND l.details -> 'calls' ? c.id::text)
    UNION ALL
    SELECT
        'returned_block_is_refunded', 'call ' || b.call_id::text,
        jsonb_build_object('block_no', b.block_no, 'price', b.price, 'refunded', coalesce(r.amount, 0))
    FROM core.meter_blocks AS b
    CROSS JOIN LATERAL (
        SELECT sum(x.amount) AS amount FROM core.refunds AS x WHERE x.original_id IN (b.transfer_id, b.fee_transfer_id)
    ) AS r
    WHERE b.refunded_at IS NOT NULL AND r.amount IS DISTINCT FROM b.price
    UNION ALL
    SELECT 'live_call_has_clock_and_people', 'call ' || c.id::text, jsonb_build_object('status', c.status, 'clock', k.call_id IS NOT NULL, 'people', p.people)
    FROM core.calls AS c
    LEFT JOIN core.call_clocks AS k ON k.call_id = c.id
    LEFT JOIN (
        SELECT q.call_id, count(*) AS people FROM core.call_parties AS q GROUP BY q.call_id
    ) AS p ON p.call_id = c.id
    WHERE
        (c.ended_at IS NULL) <> (k.call_id IS NOT NULL) OR coalesce(p.people, 0) <> CASE WHEN c.ended_at IS NULL THEN 2 ELSE 0 END
        OR (c.status = 'active') <> (k.running_since IS NOT NULL)
$$;

COMMENT ON FUNCTION core._audit_calls() IS 'Broken invariants of calls, as api.audit_ledger() returns them.';
