-- make_partitions: make the partitions of the coming months.
-- Locks    one run at a time; for milliseconds the default partition of each table, which nobody writes to
-- Decides  which months there are none for yet, up to the month that p_ahead from now is in
-- Writes   partitions, core.partitioned
-- Errors   none of ours; 55P03 when a lock is not to be had in 2 s: try again later, nothing is lost meanwhile
CREATE OR REPLACE FUNCTION api.make_partitions(p_ahead interval DEFAULT '3 months') RETURNS text []
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT core._make_partitions(least(greatest(p_ahead, '1 month'), '5 years'))
$$;

COMMENT ON FUNCTION api.make_partitions(interval) IS
'Makes the partitions of the months up to p_ahead from now (1 month to 5 years) and returns the names of those it made; none when they are there. The scheduler calls it daily. Rows of months that had none are in the default partition, which then becomes theirs.';
