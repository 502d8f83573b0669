-- _month_bounds: which ids the transfers of a time may have: whole months, as partitions are.
-- Errors   none
CREATE OR REPLACE FUNCTION core._month_bounds(p_from timestamptz, p_to timestamptz, OUT low uuid, OUT high uuid)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
    SELECT
        CASE
            WHEN p_from >= p.since AND isfinite(p_from) THEN core._uuid_floor(date_trunc('month', p_from))
            ELSE '00000000-0000-0000-0000-000000000000'
        END,
        CASE
            WHEN isfinite(p_to) THEN core._uuid_floor(date_trunc('month', greatest(p_to, p.since)) + interval '1 month')
            ELSE 'ffffffff-ffff-ffff-ffff-ffffffffffff'
        END
    FROM core.partitioned AS p
    WHERE p.name = 'transfers'
$$;

COMMENT ON FUNCTION core._month_bounds(timestamptz, timestamptz) IS
'Bounds of the ids of transfers that are dated from p_from up to p_to, wide enough to be those of partitions; all before the first partition''s end counts as one month.';
