-- _return_blocks: give back the blocks that began when a call was not seen any more.
-- Locks    the wallets of the calls' people, and the revenue shards, in id order
-- Decides  which blocks; then as core._give_back
-- Writes   wallets, transfers (refund), entries, refunds, meter_blocks (refunded_at), outbox 'transfer.refunded' and
--          'call.refund_refused', audit_log 'call.refund_refused'
-- Errors   none: what cannot be given back (a wallet is frozen) is left to a person, who finds it in the audit log
CREATE OR REPLACE FUNCTION core._return_blocks(p_cases core.call_case []) RETURNS integer []
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    -- as many transfers as core._post_transfers takes, or fewer
    c_batch CONSTANT integer := 4000;
    v_transfers uuid[];
    v_some jsonb;
    v_refused jsonb;
    v_returned integer[];
BEGIN
    PERFORM core._lock_wallets(ARRAY(
        SELECT DISTINCT x.id
        FROM unnest(p_cases) AS c
        CROSS JOIN LATERAL (
            VALUES (c.fan_wallet_id), (c.creator_wallet_id), (core._system_wallet('revenue', 'TOKEN', c.fan_id))
        ) AS x (id)
    ));
    v_transfers := ARRAY(
        SELECT x.id
        FROM unnest(p_cases) AS c
        CROSS JOIN LATERAL (
            SELECT m.transfer_id, m.fee_transfer_id FROM core.meter_blocks AS m
            WHERE m.call_id = c.call_id AND m.block_no >= c.begun AND m.block_no < c.blocks OFFSET 0
        ) AS b
        CROSS JOIN LATERAL (VALUES (b.transfer_id), (b.fee_transfer_id)) AS x (id)
        WHERE c.reason = 'not_seen' AND x.id IS NOT NULL
    );
    FOR v_i IN 1..cardinality(v_transfers) BY c_batch LOOP
        SELECT jsonb_agg(g.detail || jsonb_build_object('error', g.error)) FILTER (WHERE g.error IS NOT NULL) INTO v_some
        FROM core._give_back(v_transfers[v_i:v_i + c_batch - 1], 'call not seen', NULL) AS g;
        v_refused := coalesce(v_refused || v_some, v_refused, v_some);
    END LOOP;
    WITH returned AS (
        UPDATE core.meter_blocks AS b
        SET refunded_at = clock_timestamp()
        FROM unnest(p_cases) AS c
        CROSS JOIN LATERAL (
            SELECT m.ctid AS place FROM core.meter_blocks AS m
            WHERE m.call_id = c.call_id AND m.block_no >= c.begun AND m.refunded_at IS NULL OFFSET 0
        ) AS p
        WHERE
            b.ctid = p.place AND c.reason = 'not_seen'
            AND b.price = (
                SELECT coalesce(sum(r.amount), 0) FROM core.refunds AS r WHERE r.original_id IN (b.transfer_id, b.fee_transfer_id)
            )
        RETURNING b.call_id
    )
    SELECT array_agg(n.blocks ORDER BY n.ord) INTO v_returned
    FROM (
        SELECT c.ord, (SELECT count(*) FROM returned AS r WHERE r.call_id = c.call_id)::integer AS blocks
        FROM ROWS FROM (unnest(p_cases)) WITH ORDINALITY AS c (
            call_id, fan_id, creator_id, fan_wallet_id, creator_wallet_id, block_us, block_price, block_limit, fee, status,
            due_at, running_since, active_before_us, active_us, alive_until, lost, blocks, billed, platform_fees, warned, begun,
            due, reason, place, ord
        )
    ) AS n;
    IF v_refused IS NOT NULL THEN
        INSERT INTO core.audit_log (action, details) VALUES (
            'call.refund_refused',
            jsonb_build_object('refused', v_refused, 'calls', (
                SELECT jsonb_agg(c.call_id) FROM unnest(p_cases) AS c WHERE c.reason = 'not_seen' AND c.blocks > c.begun
            ))
        );
        INSERT INTO core.outbox (type, channels, payload)
        SELECT 'call.refund_refused', ARRAY['ops'], jsonb_build_object('calls', jsonb_agg(c.call_id), 'refused', v_refused)
        FROM unnest(p_cases) AS c
        WHERE c.reason = 'not_seen' AND c.blocks > c.begun;
    END IF;
    RETURN v_returned;
END;
$$;

COMMENT ON FUNCTION core._return_blocks(core.call_case []) IS
'Gives back the paid blocks from number begun on of each of the cases that ends because it was not seen; how many of each.';
