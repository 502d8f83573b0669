-- _velocity_rooms: how much of each velocity limit the locked wallets have left.
-- Locks    nothing; the wallets are locked, and only payments from them change their counters
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._velocity_rooms(
    p_wallets uuid [],
    p_owners uuid [],
    p_rules core.velocity_rules,
    p_now timestamptz
) RETURNS bigint []
LANGUAGE sql STABLE
AS $$
    SELECT array_agg(
        CASE
            WHEN p_owners[w.place] IS NULL THEN 9223372036854775807
            ELSE r.maximum - coalesce((
                SELECT c.used
                FROM core.velocity_counters AS c
                WHERE
                    c.wallet_id = w.wallet_id AND c.rule = r.rule
                    AND c.since = date_bin(make_interval(secs => r.seconds), p_now, '2000-01-01 00:00:00+00')
            ), 0)
        END
        ORDER BY w.place, r.number
    )
    FROM unnest(p_wallets) WITH ORDINALITY AS w (wallet_id, place)
    CROSS JOIN unnest(p_rules.rules, p_rules.seconds, p_rules.maxima) WITH ORDINALITY AS r (rule, seconds, maximum, number)
$$;

COMMENT ON FUNCTION core._velocity_rooms(uuid [], uuid [], core.velocity_rules, timestamptz) IS
'What each wallet may still pay in the current window of each rule, wallet by wallet; system wallets without end.';
