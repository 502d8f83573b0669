-- _velocity_refusal: which velocity limit a payment would break.
-- Locks    nothing
-- Decides  the first rule that has no room
-- Writes   nothing
-- Errors   TS601 VELOCITY_LIMIT (returned, not raised)
CREATE OR REPLACE FUNCTION core._velocity_refusal(
    p_rooms bigint [],
    p_rules core.velocity_rules,
    p_place integer,
    p_request core.transfer_request,
    p_now timestamptz
) RETURNS core.refusal
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_count CONSTANT integer := cardinality(p_rules.rules);
    v_room bigint;
    v_need bigint;
    v_window interval;
    v_ends_at timestamptz;
BEGIN
    FOR v_r IN 1..v_count LOOP
        CONTINUE WHEN p_rules.scopes[v_r] <> p_request.kind OR p_rules.assets[v_r] <> p_request.asset;
        v_room := p_rooms[(p_place - 1) * v_count + v_r];
        v_need := CASE WHEN p_rules.counted[v_r] THEN 1 ELSE p_request.amount END;
        CONTINUE WHEN v_room >= v_need;
        v_window := make_interval(secs => p_rules.seconds[v_r]);
        v_ends_at := date_bin(v_window, p_now, '2000-01-01 00:00:00+00') + v_window;
        RETURN ROW(
            'TS601', 'VELOCITY_LIMIT',
            jsonb_build_object(
                'limit', split_part(p_rules.rules[v_r], '/', 1), 'maximum', p_rules.maxima[v_r],
                'remaining', greatest(0, v_room), 'requested', v_need, 'wallet_id', p_request.from_wallet_id,
                'resets_at', v_ends_at, 'retry_after', ceil(extract(EPOCH FROM v_ends_at - p_now))::integer
            )
        )::core.refusal;
    END LOOP;
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION core._velocity_refusal(
    bigint [], core.velocity_rules, integer, core.transfer_request, timestamptz
) IS
'TS601 with the limit, what is left of it and when its window ends; NULL when the payment breaks none.';
