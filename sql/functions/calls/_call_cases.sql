-- _call_cases: what is due for calls at a moment.
-- Locks    nothing; called when their clocks are locked
-- Decides  how long each was active by then, or by its last sign of life where that is longer ago than the rate call_grace; which
--          blocks must be paid by then (p_closing: those that have begun; else also the one that begins just now), and why it
--          ends in any case
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._call_cases(
    p_calls uuid [],
    p_now timestamptz,
    p_closing boolean,
    p_most integer,
    p_grace interval,
    p_fee_bps numeric
) RETURNS SETOF core.call_case
LANGUAGE sql STABLE
AS $$
    SELECT
        b.call_id, b.fan_id, b.creator_id, b.fan_wallet_id, b.creator_wallet_id, b.block_us, b.block_price, b.block_limit,
        CASE WHEN p_fee_bps > 0 THEN floor(b.block_price * p_fee_bps / 10000)::bigint ELSE 0 END,
        b.status, b.due_at, b.running_since, b.active_before_us, b.active_us, b.alive_until, b.lost, b.blocks, b.billed,
        b.platform_fees, b.warned, b.begun,
        CASE WHEN b.suspended THEN 0 ELSE least(greatest(b.begun - b.blocks, 0), p_most) END,
        CASE
            WHEN b.status = 'ringing' AND p_now >= b.due_at THEN 'no_answer'
            WHEN b.status = 'ringing' THEN NULL
            WHEN b.suspended THEN CASE WHEN b.lost THEN 'not_seen' ELSE 'user_suspended' END
            WHEN b.begun - b.blocks > p_most THEN NULL
            WHEN b.lost THEN 'not_seen'
            WHEN b.active_us >= b.block_limit * b.block_us THEN 'time_limit'
        END,
        b.place
    FROM (
        SELECT
            a.*,
            CASE
                WHEN a.running_since IS NULL THEN a.blocks
                WHEN p_closing AND NOT a.lost THEN least((a.active_us + a.block_us - 1) / a.block_us, a.block_limit)
                ELSE least(a.active_us / a.block_us + 1, a.block_limit)
            END::integer AS begun
        FROM (
            SELECT
                c.id AS call_id, c.fan_id, c.creator_id, c.fan_wallet_id, c.creator_wallet_id, c.block_us, c.block_price,
                c.block_limit, c.status, k.due_at, k.running_since, k.active_us AS active_before_us,
                CASE
                    WHEN l.lost THEN core._active_us(k.whole, NULL, l.alive_until)
                    ELSE core._active_us(k.whole, c.block_us, p_now)
                END AS active_us,
                l.alive_until, l.lost, k.blocks, k.billed, k.platform_fees, k.warned, k.place,
                f.status <> 'active' OR m.status <> 'active' AS suspended
            FROM unnest(p_calls) AS p (id)
            CROSS JOIN LATERAL (SELECT x.*, x.ctid AS place, x AS whole FROM core.call_clocks AS x WHERE x.call_id = p.id LIMIT 1) AS k
            CROSS JOIN LATERAL (SELECT x.* FROM core.calls AS x WHERE x.id = p.id LIMIT 1) AS c
            CROSS JOIN LATERAL (SELECT u.status FROM core.users AS u WHERE u.id = c.fan_id LIMIT 1) AS f
            CROSS JOIN LATERAL (SELECT u.status FROM core.users AS u WHERE u.id = c.creator_id LIMIT 1) AS m
            CROSS JOIN LATERAL (
                SELECT
                    core._alive_until(k.whole) AS alive_until,
                    c.status IN ('active', 'paused') AND p_now >= core._alive_until(k.whole) + p_grace AS lost
            ) AS l
        ) AS a
    ) AS b
$$;

COMMENT ON FUNCTION core._call_cases(uuid [], timestamptz, boolean, integer, interval, numeric) IS
'Calls p_calls as they are at p_now, with at most p_most blocks each to pay now; p_grace: the rate call_grace; p_fee_bps: the rate platform_fee.';
