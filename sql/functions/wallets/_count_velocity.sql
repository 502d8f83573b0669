-- _count_velocity: write down what payments used up of the velocity limits.
-- Locks    nothing; the wallets are locked, and only payments from them change their counters
-- Decides  nothing
-- Writes   velocity_counters
-- Errors   none
CREATE OR REPLACE FUNCTION core._count_velocity(
    p_wallets uuid [],
    p_owners uuid [],
    p_rules core.velocity_rules,
    p_rooms bigint [],
    p_now timestamptz
) RETURNS void
LANGUAGE sql VOLATILE
AS $$
    INSERT INTO core.velocity_counters AS c (wallet_id, rule, since, used)
    SELECT
        p_wallets[1 + (o.ord::integer - 1) / cardinality(p_rules.rules)],
        p_rules.rules[1 + (o.ord::integer - 1) % cardinality(p_rules.rules)],
        date_bin(
            make_interval(secs => p_rules.seconds[1 + (o.ord::integer - 1) % cardinality(p_rules.rules)]),
            p_now, '2000-01-01 00:00:00+00'
        ),
        p_rules.maxima[1 + (o.ord::integer - 1) % cardinality(p_rules.rules)] - o.room
    FROM unnest(p_rooms) WITH ORDINALITY AS o (room, ord)
    WHERE
        p_owners[1 + (o.ord::integer - 1) / cardinality(p_rules.rules)] IS NOT NULL
        AND o.room < p_rules.maxima[1 + (o.ord::integer - 1) % cardinality(p_rules.rules)]
    ON CONFLICT (wallet_id, rule) DO UPDATE SET since = excluded.since, used = excluded.used
    WHERE (c.since, c.used) IS DISTINCT FROM (excluded.since, excluded.used)
$$;

COMMENT ON FUNCTION core._count_velocity(uuid [], uuid [], core.velocity_rules, bigint [], timestamptz) IS
'Stores the counters behind what is left in p_rooms (core._velocity_rooms, after the payments).';
