-- _velocity_rules: the velocity limits in force at a time.
-- Locks    nothing
-- Decides  of the rows of a limit (name, asset, scope) in force the one with the latest valid_from
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._velocity_rules(p_at timestamptz) RETURNS core.velocity_rules
LANGUAGE sql STABLE
AS $$
    SELECT
        ROW(
            array_agg(concat_ws('/', l.name, coalesce(l.scope, '*'), coalesce(l.asset, '*'))), array_agg(l.scope),
            array_agg(l.asset),
            array_agg(
                CASE WHEN l.name LIKE '%_minute' THEN 60 WHEN l.name LIKE '%_hour' THEN 3600 ELSE 86400 END
            ),
            array_agg(l.name LIKE 'velocity_count%'), array_agg(floor(l.value)::bigint)
        )::core.velocity_rules
    FROM (
        SELECT DISTINCT ON (r.name, r.scope, r.asset) r.name, r.scope, r.asset, r.value
        FROM core.rates AS r
        WHERE
            r.name IN (
                'velocity_amount_minute', 'velocity_amount_hour', 'velocity_amount_day',
                'velocity_count_minute', 'velocity_count_hour', 'velocity_count_day'
            )
            AND r.valid_from <= p_at AND (r.valid_to IS NULL OR r.valid_to > p_at)
        ORDER BY r.name, r.scope, r.asset, r.valid_from DESC
    ) AS l
$$;

COMMENT ON FUNCTION core._velocity_rules(timestamptz) IS
'The rates velocity_{amount,count}_{minute,hour,day} in force at p_at: how much, or how often, a user''s wallet may pay in a window, by kind of transfer (scope) or over all kinds. Amounts in minor units.';
