-- _close_calls: calls are over.
-- Locks    nothing; called when their clocks are locked
-- Decides  nothing; the totals are the sums of their blocks
-- Writes   calls, call_clocks and call_parties (removed), outbox 'call.ended', 'call.declined', 'call.missed'
-- Errors   none
CREATE OR REPLACE FUNCTION core._close_calls(p_endings core.call_ending []) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_ids CONSTANT uuid[] := ARRAY(SELECT e.call_id FROM unnest(p_endings) AS e);
BEGIN
    IF cardinality(v_ids) = 0 THEN
        RETURN;
    END IF;
    UPDATE core.calls AS c
    SET
        status = e.status, end_reason = e.reason, ended_by = e.ended_by, ended_at = greatest(e.ended_at, c.accepted_at, c.opened_at),
        active_us = e.active_us, blocks = e.blocks, billed = e.billed, platform_fees = e.platform_fees
    FROM (
        SELECT p.*, x.place, b.blocks, b.billed, b.platform_fees
        FROM unnest(p_endings) AS p
        CROSS JOIN LATERAL (SELECT a.ctid AS place FROM core.calls AS a WHERE a.id = p.call_id LIMIT 1) AS x
        CROSS JOIN LATERAL (
            SELECT
                count(*)::integer AS blocks, coalesce(sum(m.price), 0)::bigint AS billed,
                coalesce(sum(m.platform_fee), 0)::bigint AS platform_fees
            FROM core.meter_blocks AS m
            WHERE m.call_id = p.call_id AND m.refunded_at IS NULL
        ) AS b
    ) AS e
    WHERE c.ctid = e.place;
    DELETE FROM core.call_clocks AS k WHERE k.call_id = ANY (v_ids);
    DELETE FROM core.call_parties AS q
    WHERE q.call_id = ANY (v_ids) AND q.user_id = ANY (ARRAY(
        SELECT x.user_id
        FROM core.calls AS c
        CROSS JOIN LATERAL (VALUES (c.fan_id), (c.creator_id)) AS x (user_id)
        WHERE c.id = ANY (v_ids)
    ));
    PERFORM core._call_event('call.' || e.status, array_agg(e.call_id)) FROM unnest(p_endings) AS e GROUP BY e.status;
END;
$$;

COMMENT ON FUNCTION core._close_calls(core.call_ending []) IS 'Ends calls: writes how, and their totals, frees their people, and tells both of them.';
