-- _month_bounds: which ids the transfers of a time may have: whole months, as partitions are. Ids have no room for times from
-- the year 10889 on.
-- Errors   none
CREATE OR REPLACE FUNCTION core._month_bounds(p_from timestamptz, p_to timestamptz, OUT low uuid, OUT high uuid)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
    SELECT
        CASE
            WHEN p_from >= p.since AND p_from < '10000-01-01' THEN core._uuid_floor(date_trunc('month', p_from))
            ELSE '00000000-0000-0000-0000-000000000000'
        END,
        CASE
            WHEN p_to < '10000-01-01' THEN core._uuid_floor(date_trunc('month', greatest(p_to, p.since)) + interval '1 month')
            ELSE 'ffffffff-ffff-ffff-ffff-ffffffffffff'
        END
    FROM core.partitioned AS p
    WHERE p.name = 'transfers'
$$;

COMMENT ON FUNCTION core._month_bounds(timestamptz, timestamptz) IS
'Bounds of the ids of transfers that are dated from p_from up to p_to, wide enough to be those of partitions; all before the first partition''s end counts as one month.';
