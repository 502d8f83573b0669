-- _audit_tips: the invariants that tie tips to the ledger.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._audit_tips() RETURNS TABLE (rule text, subject text, detail jsonb)
LANGUAGE sql STABLE
AS $$
    SELECT
        'tip_has_transfer', 'tip ' || t.id::text,
        jsonb_build_object('amount', t.amount, 'platform_fee', t.platform_fee, 'moved', m.amount, 'kind', m.kind)
    FROM core.tips AS t
    LEFT JOIN core.transfers AS m ON m.id = t.id
    LEFT JOIN core.wallets AS f ON f.id = m.from_wallet_id
    LEFT JOIN core.wallets AS o ON o.id = m.to_wallet_id
    WHERE
        m.id IS NULL OR f.owner_id IS DISTINCT FROM t.sender_id
        OR m.amount <> CASE m.kind WHEN 'tip' THEN t.amount - t.platform_fee ELSE t.platform_fee END
        OR (m.kind = 'tip' AND o.owner_id IS DISTINCT FROM t.creator_id)
        OR m.kind NOT IN ('tip', 'fee') OR t.platform_fee < 0 OR t.platform_fee > t.amount
    UNION ALL
    SELECT 'tip_transfer_has_tip', 'transfer ' || m.id::text, jsonb_build_object('amount', m.amount)
    FROM core.transfers AS m
    LEFT JOIN core.tips AS t ON t.id = m.id
    WHERE m.kind = 'tip' AND t.id IS NULL
    UNION ALL
    SELECT 'fees_are_those_of_tips', 'platform_fee', jsonb_build_object('tips_tickets_and_blocks', t.fees, 'transfers', m.fees)
    FROM (
        SELECT
            (SELECT coalesce(sum(p.platform_fee), 0) FROM core.tips AS p)
            + (SELECT coalesce(sum(k.platform_fee), 0) FROM core.tickets AS k WHERE NOT core._is_detached(k.transfer_id))
            + (SELECT coalesce(sum(b.platform_fee), 0) FROM core.meter_blocks AS b WHERE NOT core._is_detached(b.transfer_id)) AS fees
    ) AS t
    CROSS JOIN (SELECT coalesce(sum(amount), 0) AS fees FROM core.transfers WHERE kind = 'fee') AS m
    WHERE t.fees <> m.fees
    UNION ALL
    -- tips of detached months are not there to be added up, but their streams are no younger than they
    SELECT
        'stream_total_is_sum_of_tips', 'stream ' || coalesce(k.stream_id, t.stream_id)::text,
        jsonb_build_object('tips', t.tips, 'total', k.tips, 'tip_count', t.tip_count, 'total_count', k.tip_count)
    FROM (
        SELECT x.stream_id, sum(x.tips) AS tips, sum(x.tip_count) AS tip_count FROM core.stream_totals AS x GROUP BY x.stream_id
    ) AS k
    FULL JOIN (
        SELECT x.stream_id, sum(x.amount) AS tips, count(*) AS tip_count FROM core.tips AS x
        WHERE x.stream_id IS NOT NULL
        GROUP BY x.stream_id
    ) AS t ON t.stream_id = k.stream_id
    WHERE
        coalesce(t.tips, 0) > coalesce(k.tips, 0) OR coalesce(t.tip_count, 0) > coalesce(k.tip_count, 0)
        OR (t.tips IS DISTINCT FROM k.tips OR t.tip_count IS DISTINCT FROM k.tip_count)
        AND NOT core._is_detached(coalesce(k.stream_id, t.stream_id))
$$;

COMMENT ON FUNCTION core._audit_tips() IS 'Broken invariants between tips and their transfers, as api.audit_ledger() returns them.';
