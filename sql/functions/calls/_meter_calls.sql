-- _meter_calls: pay the blocks of calls that are due, and end the calls that are over.
-- Locks    the wallets of the calls' people, and the revenue shards if there is a fee, in id order; called when the clocks
--          are locked
-- Decides  as core._call_cases; then as core._post_transfers. A block that cannot be paid ends its call; blocks that began when
--          the call was not seen any more are given back. Of a call that is far behind, some blocks now and the rest when it is
--          looked at next
-- Writes   wallets, transfers (call_block, fee; refund), entries, refunds, meter_blocks, call_clocks, calls, call_parties, outbox
--          'call.block_paid', 'call.low_balance', 'call.ended', 'call.missed', audit_log 'call.refund_refused'
-- Errors   TS801 CONFIGURATION_ERROR, TS902 INVARIANT_VIOLATED
CREATE OR REPLACE FUNCTION core._meter_calls(p_calls uuid [], p_now timestamptz, p_closing boolean DEFAULT false)
RETURNS SETOF api.meter_outcome
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    c_asset CONSTANT text := 'TOKEN';
    c_blocks CONSTANT integer := 2000;
    c_catch_up CONSTANT integer := 100;
    -- looked at so often in any case: rates change
    c_look CONSTANT interval := '1 hour';
    v_count CONSTANT integer := coalesce(cardinality(p_calls), 0);
    v_grace CONSTANT interval := make_interval(secs => core._rate('call_grace'));
    v_low CONSTANT integer := core._rate('call_low_balance');
    v_cases core.call_case[];
    v_requests core.transfer_request[];
    v_results core.transfer_result[];
    v_ords integer[];
    v_ids uuid[];
    v_numbers integer[];
    v_prices bigint[];
    v_fees bigint[];
    v_leads boolean[];
    v_paid integer[];
    v_refused text[];
    v_after boolean;
    v_returned integer[];
    v_endings core.call_ending[];
    v_outcomes api.meter_outcome[];
BEGIN
    IF v_count = 0 THEN
        RETURN;
    END IF;
    v_cases := ARRAY(
        SELECT c
        FROM core._call_cases(
            p_calls, p_now, p_closing, least(c_catch_up, greatest(1, c_blocks / v_count)), v_grace, core._rate('platform_fee', c_asset)
        ) AS c
    );
    IF EXISTS (SELECT FROM unnest(v_cases) AS c WHERE c.reason = 'not_seen' AND c.blocks > c.begun) THEN
        v_returned := core._return_blocks(v_cases);
    END IF;

    -- One or two legs a block, in the order of blocks.
    SELECT
        array_agg(ROW(
            l.fan_wallet_id, l.wallet_id, l.amount, c_asset, l.kind, l.call_id::text, NULL, NULL, NULL,
            CASE WHEN l.fee > 0 AND l.fee < l.block_price THEN (l.ord * 128 + l.number - l.blocks)::integer END, NULL, NULL
        )::core.transfer_request),
        array_agg(l.ord::integer), array_agg(l.call_id), array_agg(l.number), array_agg(l.block_price), array_agg(l.fee),
        array_agg(l.lead)
    INTO v_requests, v_ords, v_ids, v_numbers, v_prices, v_fees, v_leads
    FROM (
        SELECT c.ord, c.call_id, c.fan_wallet_id, c.blocks, c.block_price, c.fee, b.number, g.*
        FROM unnest(v_cases) WITH ORDINALITY AS c (
            call_id, fan_id, creator_id, fan_wallet_id, creator_wallet_id, block_us, block_price, block_limit, fee, status,
            due_at, running_since, active_before_us, active_us, alive_until, lost, blocks, billed, platform_fees, warned, begun,
            due, reason, place, ord
        )
        CROSS JOIN LATERAL generate_series(c.blocks, c.blocks + c.due - 1) AS b (number)
        CROSS JOIN LATERAL (
            SELECT c.creator_wallet_id AS wallet_id, c.block_price - c.fee AS amount, 'call_block' AS kind, true AS lead
            WHERE c.fee < c.block_price
            UNION ALL
            SELECT core._system_wallet('revenue', c_asset, c.fan_id), c.fee, 'fee', c.fee = c.block_price
            WHERE c.fee > 0
        ) AS g
        ORDER BY c.ord, b.number, g.lead DESC
    ) AS l;
    v_results := core._post_transfers(coalesce(v_requests, '{}'));

    INSERT INTO core.meter_blocks (call_id, block_no, price, platform_fee, transfer_id, fee_transfer_id, paid_at)
    SELECT
        r.call_id, r.number, r.price, r.fee, r.transfer_id, CASE WHEN r.fee > 0 AND r.fee < r.price THEN r.next_id END, r.created_at
    FROM (
        SELECT x.*, lead(x.transfer_id) OVER () AS next_id
        FROM ROWS FROM (
            unnest(v_ids), unnest(v_numbers), unnest(v_prices), unnest(v_fees), unnest(v_leads), unnest(v_results)
        ) AS x (
            call_id, number, price, fee, lead, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at,
            replayed, error_code, error, detail
        )
    ) AS r
    WHERE r.lead AND r.error_code IS NULL;

    -- Of each call how many blocks were paid, and what stood against the next one.
    SELECT array_agg(n.paid ORDER BY n.ord), array_agg(n.error ORDER BY n.ord), bool_or(n.last_paid > n.first_refused)
    INTO v_paid, v_refused, v_after
    FROM (
        SELECT
            r.ord, count(*) FILTER (WHERE r.transfer_id IS NOT NULL)::integer AS paid, lower(max(r.error)) AS error,
            max(r.number) FILTER (WHERE r.transfer_id IS NOT NULL) AS last_paid,
            min(r.number) FILTER (WHERE r.error IS NOT NULL) AS first_refused
        FROM (
            SELECT x.ord, x.number, x.transfer_id, x.error
            FROM ROWS FROM (unnest(v_ords), unnest(v_numbers), unnest(v_leads), unnest(v_results)) AS x (
                ord, number, lead, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed,
                error_code, error, detail
            )
            WHERE x.lead
            UNION ALL
            SELECT g.i, NULL, NULL, NULL FROM generate_subscripts(v_cases, 1) AS g (i)
        ) AS r
        GROUP BY r.ord
    ) AS n;
    IF v_after THEN
        PERFORM core._raise('TS902', 'INVARIANT_VIOLATED', '{"rule": "blocks_in_order"}', 'A block was paid after one that was refused.');
    END IF;

    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'call.block_paid', ARRAY['call:' || r.call_id::text],
        jsonb_build_object(
            'call_id', r.call_id, 'block_no', r.number, 'price', r.price, 'transfer_id', r.transfer_id, 'paid_at', r.created_at
        )
    FROM ROWS FROM (unnest(v_ids), unnest(v_numbers), unnest(v_prices), unnest(v_leads), unnest(v_results)) AS r (
        call_id, number, price, lead, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed,
        error_code, error, detail
    )
    WHERE r.lead AND r.error_code IS NULL;

    WITH state AS MATERIALIZED (
        SELECT
            c.call_id, c.fan_id, c.creator_id, c.block_us, c.block_price, c.status, c.due_at, c.alive_until, c.active_us, c.lost,
            c.warned, c.place, c.paid, coalesce(c.returned, 0) AS returned, c.blocks + c.paid AS blocks,
            c.billed + c.paid * c.block_price AS billed, c.platform_fees + c.paid * c.fee AS platform_fees,
            -- when what is paid is used up
            c.running_since + ((c.blocks + c.paid) * c.block_us - c.active_before_us) * interval '1 microsecond' AS next_block_at,
            CASE WHEN c.reason = 'user_suspended' THEN c.reason ELSE coalesce(c.refused, c.reason) END AS reason,
            CASE WHEN c.paid > 0 THEN (
                SELECT (w.balance - w.held - w.minimum) / c.block_price FROM core.wallets AS w WHERE w.id = c.fan_wallet_id
            ) END AS blocks_left
        FROM ROWS FROM (unnest(v_cases), unnest(v_paid), unnest(v_refused), unnest(v_returned)) AS c (
            call_id, fan_id, creator_id, fan_wallet_id, creator_wallet_id, block_us, block_price, block_limit, fee, status,
            due_at, running_since, active_before_us, active_us, alive_until, lost, blocks, billed, platform_fees, warned, begun,
            due, reason, place, paid, refused, returned
        )
    ), clock AS (
        UPDATE core.call_clocks AS k
        SET
            blocks = s.blocks, billed = s.billed, platform_fees = s.platform_fees,
            warned = coalesce(s.blocks_left <= v_low, s.warned),
            due_at = CASE s.status WHEN 'ringing' THEN s.due_at ELSE least(s.next_block_at, s.alive_until + v_grace, p_now + c_look) END
        FROM state AS s
        -- by their places: joined by id, all clocks are read while the table's statistics say that there are few
        WHERE k.ctid = s.place AND s.reason IS NULL
    ), warning AS (
        INSERT INTO core.outbox (type, channels, payload)
        SELECT
            'call.low_balance',
            ARRAY['call:' || s.call_id::text, 'user:' || s.fan_id::text, 'user:' || s.creator_id::text],
            jsonb_build_object('call_id', s.call_id, 'blocks_left', s.blocks_left, 'block_price', s.block_price)
        FROM state AS s
        WHERE s.reason IS NULL AND NOT s.warned AND s.blocks_left <= v_low
    )
    SELECT
        coalesce(array_agg(ROW(
            s.call_id, CASE s.status WHEN 'ringing' THEN 'missed' ELSE 'ended' END, s.reason, NULL,
            CASE
                WHEN s.status = 'ringing' THEN s.due_at
                WHEN s.lost THEN s.alive_until
                ELSE least(p_now, s.next_block_at)
            END,
            least(s.active_us, (s.blocks - s.returned) * s.block_us)
        )::core.call_ending) FILTER (WHERE s.reason IS NOT NULL), '{}'),
        array_agg(ROW(
            s.call_id,
            CASE WHEN s.reason IS NULL THEN s.status WHEN s.status = 'ringing' THEN 'missed' ELSE 'ended' END,
            s.reason, s.due_at, s.paid, s.paid * s.block_price, s.returned,
            CASE
                WHEN s.reason IS NOT NULL THEN NULL
                WHEN s.status = 'ringing' THEN s.due_at
                ELSE least(s.next_block_at, s.alive_until + v_grace, p_now + c_look)
            END
        )::api.meter_outcome)
    INTO v_endings, v_outcomes
    FROM state AS s;
    PERFORM core._close_calls(v_endings);
    RETURN QUERY SELECT o.* FROM unnest(v_outcomes) AS o;
END;
$$;

COMMENT ON FUNCTION core._meter_calls(uuid [], timestamptz, boolean) IS
'Brings calls up to p_now: pays the blocks that are due in one go, ends calls that nobody answered, that cannot be paid for, were not seen any more or have reached their limit; one outcome a call. p_closing: only blocks that have begun, not the one that begins at this very moment.';
